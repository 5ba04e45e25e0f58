package devhost

import (
	"os/exec"
	"syscall"
)

// separate gives the child a process group of its own and has the kernel kill
// it when podwatch dies without cleaning up.
func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
