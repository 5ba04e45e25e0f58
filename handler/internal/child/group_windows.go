package child

import (
	"os"
	"os/exec"
	"syscall"
)

// separate keeps Ctrl-C of the console away from the child.
func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup kills the child. Windows has no process groups in this sense; the
// handler and Azurite start nothing themselves.
func killGroup(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // gone already is fine
}

func exitCode(state *os.ProcessState) int { return state.ExitCode() }
