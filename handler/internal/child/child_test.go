package child_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/child"
)

// role makes the test binary a parent that runs itself as a child, or that child.
const role = "CHILD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "parent":
		runParent()
	case "child":
		runChild()
	}
	os.Exit(m.Run())
}

func runParent() {
	self, err := os.Executable()
	if err == nil {
		_, err = child.Start(child.Command{Path: self, Env: append(os.Environ(), role+"=child")})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	select {}
}

// runChild holds a connection to the test until its standard input closes.
func runChild() {
	if _, err := net.Dial("tcp", os.Getenv("CHILD_TEST_ADDRESS")); err != nil {
		os.Exit(3)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestChildEndsWithAKilledParent(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	parent := exec.CommandContext(t.Context(), self)
	parent.Env = append(os.Environ(), role+"=parent", "CHILD_TEST_ADDRESS="+l.Addr().String())
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the child outlives its parent: read = %v", err)
	}
}

func TestStopAndKill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		end    func(*child.Process)
		code   int
	}{
		"stop closes standard input": {"cat; echo end; exit 4", func(p *child.Process) { p.Stop(time.Minute) }, 4},
		"kill needs no help":         {"trap '' TERM; cat; exec sleep 600", func(p *child.Process) { p.Kill(); p.Kill() }, 128 + 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Skip("needs bash")
			}
			p, err := child.Start(child.Command{Path: bash, Args: []string{"-c", c.script}, Env: os.Environ()})
			if err != nil {
				t.Fatal(err)
			}
			c.end(p)
			if code := p.Wait(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

func TestLinesAreWhole(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	var mu sync.Mutex
	var got []string
	p, err := child.Start(child.Command{Path: bash, Args: []string{"-c", `printf 'a\r\nb'; printf 'c\n\nlast'; head -c 3000000 /dev/zero | tr '\0' x >&2`},
		Env: os.Environ(), Line: func(stream, line string) {
			mu.Lock()
			defer mu.Unlock()
			if stream == "stderr" {
				line = fmt.Sprintf("%t", len(line) >= 1<<20 && len(line) < 2<<20)
			}
			got = append(got, stream+" "+line)
		}})
	if err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text := strings.Join(got, "|")
	for _, want := range []string{"stdout a|", "stdout bc|", "stdout |", "stdout last", "stderr true"} {
		if !strings.Contains(text+"|", want) {
			t.Errorf("lines %.200q lack %q", text, want)
		}
	}
}

func TestStartSaysWhatItCannotStart(t *testing.T) {
	t.Parallel()
	if _, err := child.Start(child.Command{Path: "/nowhere/handler"}); err == nil || !strings.Contains(err.Error(), `start "/nowhere/handler"`) {
		t.Errorf("err = %v", err)
	}
}
