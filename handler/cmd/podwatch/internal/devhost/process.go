package devhost

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A command says what to start.
type command struct {
	path string
	args []string
	dir  string
	env  []string // the whole environment

	// line gets each line of the child's output without its end. stream is
	// "stdout" or "stderr". It is called from two goroutines at a time.
	line func(stream, line string)
}

// A process is a running program that does not outlive podwatch. It is in a
// process group of its own, so that Ctrl-C reaches podwatch alone and podwatch
// decides how its children end. On Linux the kernel kills it even when podwatch
// itself is killed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output was read
	code int
}

// maxLine bounds one line of output; the rest of a longer one is dropped.
const maxLine = 1 << 20

// startProcess starts c. The caller must call wait, after kill if need be.
func startProcess(c command) (*process, error) {
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes open
	separate(cmd)
	stdout := &lines{stream: "stdout", line: c.line}
	stderr := &lines{stream: "stderr", line: c.line}
	cmd.Stdout, cmd.Stderr = stdout, stderr

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ties the parent-death signal to the thread that
		// started the child, so this thread must live as long as it does.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the exit code says more than the error
		stdout.flush()
		stderr.flush()
		p.code = exitCode(cmd.ProcessState)
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %q: %w", c.path, err)
	}
	return p, nil
}

// kill ends the child and what it started at once, without a warning. It may be
// called at any time and any number of times.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		killGroup(p.cmd)
	}
}

// terminate asks the child to end and waits for that, at most so long. Where a
// child cannot be asked it does nothing.
func (p *process) terminate(within time.Duration) {
	if !askToEnd(p.cmd) {
		return
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
}

// wait returns the child's exit code, 128 plus the signal's number when a
// signal ended it.
func (p *process) wait() int {
	<-p.done
	return p.code
}

// id is the child's process id.
func (p *process) id() int { return p.cmd.Process.Pid }

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
	r := bufio.NewReader(strings.NewReader(string(b)))
	for {
		text, err := r.ReadString('\n')
		if l.part.Len() < maxLine {
			l.part.WriteString(text)
		}
		if err == io.EOF {
			return len(b), nil
		}
		l.emit()
	}
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
