//go:build unix && !linux

package devhost

import (
	"os/exec"
	"syscall"
)

// separate gives the child a process group of its own.
func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
