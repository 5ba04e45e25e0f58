//go:build unix

package devhost

import (
	"os"
	"os/exec"
	"syscall"
)

// killGroup kills the child and everything in its process group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // gone already is fine
}

// askToEnd lets the child end in its own way.
func askToEnd(cmd *exec.Cmd) bool {
	return cmd.Process.Signal(syscall.SIGTERM) == nil
}

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
