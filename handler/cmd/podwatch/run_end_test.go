//go:build unix

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// However podwatch run ends, Azurite and the handler end with it. Each of them inherits
// the end of a pipe, which is closed when all are gone.
func TestEveryEndOfRunLeavesNothing(t *testing.T) {
	t.Parallel()
	tool, app := buildTool(t), stage(t, handler)
	local, err := filepath.Abs(filepath.Join(repository, "infra", "local"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signal syscall.Signal
		status int
	}{
		"killed":                         {syscall.SIGKILL, -1},
		"the terminal is closed":         {syscall.SIGHUP, 0},
		"terminated":                     {syscall.SIGTERM, 0},
		"interrupted, as by Ctrl-C once": {syscall.SIGINT, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alive, inherited, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer alive.Close()
			drop := t.TempDir()
			var stdout, stderr watched
			cmd := exec.CommandContext(t.Context(), tool, "run", "--app", app, "--local", local, "--port", "0", "--page-port", "0", "--drop", drop, "--no-samples")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + drop}
			cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &stdout, &stderr, []*os.File{inherited}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			inherited.Close()
			ended := make(chan struct{})
			go func() {
				_ = cmd.Wait() // the status says it
				close(ended)
			}()
			stderr.await(t, "Ctrl-C ends everything.", func() bool {
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			<-ended
			if status := cmd.ProcessState.ExitCode(); status != c.status {
				t.Errorf("exit status %d, want %d:\n%s", status, c.status, &stderr)
			}
			if err := alive.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := alive.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a child is still there: %v", err)
			}
			release, err := lockFolder(drop, "--drop")
			if err != nil {
				t.Fatal(err)
			}
			release()
		})
	}
}
