// Package child runs programs that do not outlive podwatch.
//
// A child has a pipe from podwatch as its standard input and ends when it closes,
// which every system does however podwatch ends. The child has to watch it: a Node.js
// program by a few lines around it, the handler by [EndWithStdin].
//
// Children are in a process group of their own, so that Ctrl-C reaches podwatch alone
// and podwatch decides in which order its children end.
package child

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// EndWithStdin is the variable that makes the handler watch its standard input. The
// Functions host does not set it.
const EndWithStdin = "PODWATCH_END_WITH_STDIN"

// A Command is what to start.
type Command struct {
	Path string
	Args []string
	Dir  string
	Env  []string // the whole environment

	// Line gets each line of the child's output without its end. stream is
	// "stdout" or "stderr". It is called from two goroutines at a time.
	Line func(stream, line string)
}

// A Process is a running program.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended and its output was read
	code  int
}

// maxLine bounds one line of output; the rest of a longer one is dropped.
const maxLine = 1 << 20

// Start starts c. The caller must call Wait, after Kill if need be.
func Start(c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes open
	separate(cmd)
	stdout := &lines{stream: "stdout", line: c.Line}
	stderr := &lines{stream: "stderr", line: c.Line}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", c.Path, err)
	}
	p := &Process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the exit code is more precise than the error
		stdout.flush()
		stderr.flush()
		p.code = exitCode(cmd.ProcessState)
		close(p.done)
	}()
	return p, nil
}

// Kill ends the child and what it started at once. It may be called at any time and
// any number of times.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		killGroup(p.cmd)
	}
}

// Stop closes the child's standard input and waits for its end, at most so long.
func (p *Process) Stop(within time.Duration) {
	p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(within):
	}
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns the child's exit code, 128 plus the signal's number when a signal
// ended it.
func (p *Process) Wait() int {
	<-p.done
	return p.code
}

// ID is the child's process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// lines cuts a stream into lines.
type lines struct {
	stream string
	line   func(stream, line string)

	mu   sync.Mutex
	part strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(b) {
		if l.part.Len() < maxLine {
			l.part.Write(line)
		}
		if bytes.HasSuffix(line, []byte("\n")) {
			l.emit()
		}
	}
	return len(b), nil
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part.Len() > 0 {
		l.emit()
	}
}

func (l *lines) emit() {
	text := strings.TrimRight(l.part.String(), "\r\n")
	l.part.Reset()
	if l.line != nil {
		l.line(l.stream, text)
	}
}
