package devhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"podwatch/handler/internal/child"
)

// The host's ways with its one process.
const (
	pingInterval   = 25 * time.Millisecond
	restartCode    = 200 // exit code that asks for a restart and is no error
	errorWindow    = 30 * time.Minute
	defaultErrors  = 3 // counted errors that stop the host
	lastLines      = 3 // lines of stderr that become the text of a crash
	awaitTimeouts  = 4 // initialization timeouts that an invocation waits for a ready process
	pingHTTPClient = 10 * time.Second
)

// errExitedClean explains what an exit with code 0 leads to.
var errExitedClean = errors.New("the handler exited with code 0: the host does not restart it and posts into the void from now on")

// A worker owns the process that host.json names: it starts it, finds out when
// it answers, and starts it again when it ends, as the host does.
type worker struct {
	app       *FunctionApp
	port      int
	env       []string
	log       *slog.Logger
	console   func(stream, line string)
	maxErrors int // -1: never give up
	exited    func()

	mu       sync.Mutex
	proc     *child.Process
	ready    chan struct{} // closed when the present process has answered
	forgiven bool          // the present process is being ended by the host itself
	starts   int
	failures []time.Time
	stderr   []string
}

// start launches the first process. The host does not retry this: an executable
// that cannot be launched is an error of the app.
func (w *worker) start() (*child.Process, error) {
	proc, err := child.Start(child.Command{Path: w.app.Executable, Dir: w.app.Root, Env: w.env, Line: w.line})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proc, w.forgiven, w.starts = proc, false, w.starts+1
	select {
	case <-w.ready:
		w.ready = make(chan struct{})
	default: // whoever waited for the last process now waits for this one
	}
	return proc, nil
}

func (w *worker) line(stream, line string) {
	if stream == "stderr" {
		w.mu.Lock()
		w.stderr = append(w.stderr, line)
		w.stderr = w.stderr[max(0, len(w.stderr)-lastLines):]
		w.mu.Unlock()
	}
	w.console(stream, line)
}

// run keeps the process going until ctx ends or the host would stop. The first
// process was started by start.
func (w *worker) run(ctx context.Context, proc *child.Process) error {
	for {
		pinging, stop := context.WithCancel(ctx)
		pinged := make(chan error, 1)
		go func() {
			err := w.ping(pinging)
			if err == nil {
				w.setReady()
			} else {
				proc.Kill()
			}
			pinged <- err
		}()
		select {
		case <-ctx.Done():
			proc.Kill()
		case <-proc.Done():
		}
		stop()
		code, failure := proc.Wait(), <-pinged
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(failure, context.Canceled) {
			failure = nil // it ended before it answered
		}
		w.exited()
		again, err := w.afterExit(code, failure)
		if err != nil {
			return err
		}
		if !again {
			w.setReady() // the host believes so: what is posted fails
			<-ctx.Done()
			return nil
		}
		if proc, err = w.start(); err != nil {
			return err
		}
	}
}

// afterExit applies the host's table of exit codes.
func (w *worker) afterExit(code int, failure error) (again bool, err error) {
	w.mu.Lock()
	forgiven, stderr := w.forgiven, strings.Join(w.stderr, "\n")
	w.stderr = nil
	w.mu.Unlock()
	switch {
	case forgiven:
		w.log.Info("handler ended by the host, restarting")
		return true, nil
	case failure == nil && code == 0:
		w.log.Error(errExitedClean.Error())
		return false, nil
	case failure == nil && code == restartCode:
		w.log.Info("handler asked for a restart")
		return true, nil
	}
	if failure == nil {
		failure = fmt.Errorf("exit code %d", code)
	}
	now := time.Now()
	if n := len(w.failures); n > 0 && now.Sub(w.failures[n-1]) > errorWindow {
		w.failures = nil
	}
	w.failures = append(w.failures, now)
	w.log.Error("handler ended", "err", failure, "exit_code", code, "count", len(w.failures), "stderr", stderr)
	if w.maxErrors > 0 && len(w.failures) >= w.maxErrors {
		if stderr != "" {
			stderr = ": " + stderr
		}
		return false, fmt.Errorf("the handler ended %d times (%w) and the host stops%s", len(w.failures), failure, stderr)
	}
	return true, nil
}

// ping asks for / until anything answers. A refused connection means "not yet";
// every other outcome, whatever the status, means ready.
func (w *worker) ping(ctx context.Context) error {
	client := &http.Client{Timeout: pingHTTPClient, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port)) + "/"
	ticks := int(w.app.initializationTimeout / pingInterval)
	tick := time.Tick(pingInterval)
	for range ticks {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
	}
	return fmt.Errorf("no answer to GET / on port %d within %s", w.port, w.app.initializationTimeout)
}

func (w *worker) setReady() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ready:
	default:
		close(w.ready)
	}
}

// await blocks until the process has answered its ping.
func (w *worker) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeouts*w.app.initializationTimeout)
	defer cancel()
	w.mu.Lock()
	ready := w.ready
	w.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the handler: %w", ctx.Err())
	}
}

// kill ends the process of this start, unless it has ended. It is the host's own
// doing, which the host does not count as an error.
func (w *worker) kill(start int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.starts == start {
		w.forgiven = true
		w.proc.Kill()
	}
}

// state returns the process id and how often the process was started.
func (w *worker) state() (pid, starts int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.proc.ID(), w.starts
}

// Ports of handlers are below those that systems give to connections and to listeners
// that take any, so that no other program gets the handler's while it starts again.
const (
	firstPort = 20_000
	ports     = 12_000
)

// lastPort counts, atomically, from a random port of the range, so that two programs do
// not compete for one.
var lastPort = rand.Uint32N(ports)

// freePort returns a port that is free now and that no other host in this process
// got. The Functions host, too, picks the handler's port before it starts the handler.
func freePort() (port int, err error) {
	for range ports {
		port = firstPort + int(atomic.AddUint32(&lastPort, 1)%ports)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port for the handler: %w", err)
}

// handlerEnv is what the host gives the handler: its own environment, which the
// app settings are part of, and where to listen. Later entries win.
func handlerEnv(app *FunctionApp, port int, workerID string) []string {
	var env []string
	for name, value := range app.settings {
		env = append(env, name+"="+value)
	}
	p := strconv.Itoa(port)
	return append(env,
		"FUNCTIONS_CUSTOMHANDLER_PORT="+p,
		"FUNCTIONS_HTTPWORKER_PORT="+p,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID="+workerID,
		"FUNCTIONS_HTTPWORKER_ID="+workerID,
		"FUNCTIONS_APP_ROOT_PATH="+app.Root,
		child.EndWithStdin+"=1",
	)
}
