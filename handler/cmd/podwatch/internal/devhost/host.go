// Package devhost replaces the Azure Functions host on a developer's
// machine and in tests.
//
// A [Host] reads the same host.json and function.json files, starts the same
// executable and speaks to it in the same bytes as the host in Azure; it applies
// outputs to a storage service, triggers on its queues and on the clock, retries
// and restarts as the host does, and refuses what the host refuses. Where the
// real host would hang or lose something silently, it reports it.
//
// It listens on loopback only, and [Host.Wait] returns when nothing that it
// started is left. What reads as a limit here, and not in Azure: one instance,
// no HTTP triggers, no input bindings, and batches come from [Host.Deliver]
// instead of an Event Hub.
package devhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Options configure a Host. App is required.
type Options struct {
	// App is the staged folder with host.json, the functions and the
	// executable.
	App string

	// Settings are app settings. They win over the environment, which wins
	// over local.settings.json in App, as with Core Tools.
	Settings map[string]string

	// Ignore are variables of the environment that are no settings of the app.
	Ignore []string

	// Admin is the address of the admin endpoints, "127.0.0.1:0" for any free
	// port, empty for none. Only loopback addresses are accepted.
	Admin string

	// Log gets the messages of the host itself. Required.
	Log *slog.Logger

	// Console gets the handler's own lines; stream is "stdout" or "stderr".
	// nil: they go to Log, ranked as the host ranks them. It must be safe for
	// concurrent use.
	Console func(stream, line string)

	// MaxErrors is how many counted ends of the handler stop the host: 0 for
	// the host's own limit of three, -1 for never.
	MaxErrors int

	// Scale maps each wait of the host (retry delay, poll interval, visibility
	// timeout) so that a test need not live through it; nil keeps them as
	// configured.
	Scale func(time.Duration) time.Duration

	// Step, when set, is called at each [Step] of an invocation, from many
	// goroutines. An error fails the step as if the host or the storage
	// service had failed there.
	Step func(context.Context, Step) error

	// Done, when set, is called once for each finished invocation, from many
	// goroutines.
	Done func(Result)

	// NoTimers keeps the triggers of timers quiet; admin invocations still work.
	NoTimers bool
}

// A StepName names a point in the life of an invocation.
type StepName string

// The steps of one try, in order. StepOutput comes once for each output binding
// that the reply has something for, those of queues first.
const (
	StepPost   StepName = "post"   // the request is about to be sent
	StepReply  StepName = "reply"  // a good answer was read, nothing is applied yet
	StepOutput StepName = "output" // one output binding is about to be applied
	StepDone   StepName = "done"   // all outputs are applied, the trigger knows nothing yet
)

// A Step is one point of one try.
type Step struct {
	Name         StepName
	Function     string
	InvocationID string // the same for all tries
	Try          int    // from 0
	Binding      string // StepOutput only
}

// A Result is the outcome of an invocation, after its last try.
type Result struct {
	Function     string
	InvocationID string
	Tries        int
	Err          error
	Duration     time.Duration
}

// ErrStopped is returned for work that the host dropped because it stops. A
// batch is then not checkpointed: in Azure it would be handed over again.
var ErrStopped = errors.New("the host stops")

// A Host is a running stand-in. Its methods are safe for concurrent use.
type Host struct {
	o       Options
	app     *FunctionApp
	id      string
	began   time.Time
	client  *http.Client
	base    string // http://127.0.0.1:port
	worker  *worker
	storage *storage
	admin   string // address of the admin endpoints

	ctx     context.Context // ends when the host has ended
	cancel  context.CancelFunc
	serving context.Context // ends before ctx when Stop is called
	stop    context.CancelFunc
	group   *errgroup.Group
	wait    func() error // finish, once

	mu         sync.Mutex
	work       sync.WaitGroup           // triggers, and invocations begun by Deliver and admin
	partitions sync.Map                 // of a function: chan struct{} with room for the batch in flight
	sequence   map[string]int64         // last sequence number by partition
	wake       map[string]chan struct{} // by queue: something was added
}

// Start reads the app, starts its executable and returns when it answers. The
// host runs until ctx ends, Close is called, or the handler ends too often.
func Start(ctx context.Context, o Options) (*Host, error) {
	settings, err := appSettings(o)
	if err != nil {
		return nil, err
	}
	app, err := LoadApp(o.App, settings)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(app.Broken)) {
		o.Log.Error("function does not load", "function", name, "err", app.Broken[name])
	}
	if len(app.Functions) == 0 {
		return nil, fmt.Errorf("no function in %q: the host looks for function.json one folder below host.json and no deeper", app.Root)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if o.Scale == nil {
		o.Scale = func(d time.Duration) time.Duration { return d }
	}
	h := &Host{
		o: o, app: app, id: uuid.NewString(), began: time.Now(),
		// No proxy, no client timeout: each try has its own deadline.
		client:   &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}},
		base:     fmt.Sprintf("http://127.0.0.1:%d", port),
		storage:  &storage{settings: settings},
		sequence: map[string]int64{},
		wake:     map[string]chan struct{}{},
	}
	h.worker = h.newWorker(port)
	listener, err := ListenLocal(o.Admin)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	h.cancel = cancel
	h.group, h.ctx = errgroup.WithContext(running)
	h.serving, h.stop = context.WithCancel(h.ctx)
	proc, err := h.worker.start()
	if err != nil {
		cancel()
		if listener != nil {
			listener.Close()
		}
		return nil, err
	}
	h.group.Go(func() error { return h.worker.run(h.ctx, proc) })
	h.listen(listener)
	h.wait = sync.OnceValue(h.finish)
	if err := h.worker.await(h.ctx); err != nil {
		ended := ctx.Err()
		return nil, errors.Join(ended, h.Close())
	}
	return h, nil
}

func (h *Host) newWorker(port int) *worker {
	return &worker{
		app: h.app, port: port, log: h.o.Log, maxErrors: cmp.Or(h.o.MaxErrors, defaultErrors),
		env:     handlerEnv(h.app, port, uuid.NewString()),
		console: h.consoleLine,
		exited:  h.client.CloseIdleConnections,
		ready:   make(chan struct{}),
	}
}

// listen starts the triggers and the admin endpoints.
func (h *Host) listen(admin net.Listener) {
	for _, fn := range h.app.Functions {
		switch kind := strings.ToLower(fn.Trigger.Type); {
		case fn.Disabled:
		case kind == "queuetrigger":
			h.wake[queueKey(fn.Trigger)] = make(chan struct{}, 1)
			h.work.Go(func() { h.listenQueue(h.serving, fn) })
		case kind == "timertrigger" && !h.o.NoTimers:
			h.work.Go(func() { h.listenTimer(h.serving, fn) })
		}
	}
	if admin != nil {
		h.admin = admin.Addr().String()
		mux := http.NewServeMux()
		mux.HandleFunc("POST /admin/functions/{name}", h.adminInvoke)
		mux.HandleFunc("GET /admin/host/status", h.adminHost)
		h.group.Go(func() error { return Serve(h.ctx, admin, mux, h.o.Log) })
	}
}

// finish waits for all that the host started.
func (h *Host) finish() error {
	err := h.group.Wait()
	h.cancel()
	h.finishWork()
	h.client.CloseIdleConnections()
	return err
}

// Wait returns when everything that the host started has ended. The error is
// nil when ctx ended or Close was called.
func (h *Host) Wait() error { return h.wait() }

// finishWork lets no new work begin and waits for what is under way.
func (h *Host) finishWork() {
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.work.Wait()
}

// Stop ends the host as SIGTERM ends the real one. A try that is under way is
// awaited, a wait for the next try is not. Then the handler is killed without a
// signal. No batch is checkpointed any more, not even one that succeeded meanwhile:
// its Deliver returns [ErrStopped]. Stop returns what Wait returns.
func (h *Host) Stop() error {
	h.finishWork()
	return h.Close()
}

// Close ends the host as a crash of its machine does: at once, with the handler and
// the tries that are under way. It returns what Wait returns.
func (h *Host) Close() error {
	h.cancel()
	return h.Wait()
}

// Kill ends the handler's process from outside, as a crash or the kernel's
// out-of-memory killer would. The host counts that and starts it again.
func (h *Host) Kill() {
	h.worker.mu.Lock()
	defer h.worker.mu.Unlock()
	h.worker.proc.Kill()
}

// Process returns the handler's present process id and how often the handler
// was started so far.
func (h *Host) Process() (pid, starts int) { return h.worker.state() }

// Admin is the address of the admin endpoints ("127.0.0.1:7071"), empty if there
// are none.
func (h *Host) Admin() string { return h.admin }

// App is what the host read from the staged folder.
func (h *Host) App() *FunctionApp { return h.app }

// begin registers work that finish must wait for; false when the host stops.
func (h *Host) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.serving.Err() != nil {
		return false
	}
	h.work.Add(1)
	return true
}

// appSettings merges the places a setting may come from.
func appSettings(o Options) (map[string]string, error) {
	local, err := LocalSettings(o.App)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	maps.Copy(settings, local)
	for _, entry := range os.Environ() {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" && !slices.Contains(o.Ignore, name) {
			settings[name] = value
		}
	}
	maps.Copy(settings, o.Settings)
	return settings, nil
}

// consoleLine hands on one line of the handler's. Lines on stderr are warnings
// or errors by the words in them, as the host ranks them.
func (h *Host) consoleLine(stream, line string) {
	if h.o.Console != nil {
		h.o.Console(stream, line)
		return
	}
	level := slog.LevelInfo
	if stream == "stderr" {
		level = slog.LevelError
		if strings.Contains(strings.ToLower(line), "warn") {
			level = slog.LevelWarn
		}
	}
	h.o.Log.Log(h.ctx, level, "handler", "line", line)
}

// sleep waits for d as the host would, scaled, or until it stops.
func (h *Host) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-h.serving.Done():
	case <-time.After(h.o.Scale(d)):
	}
}

// ListenLocal opens addr ("127.0.0.1:7071") and refuses what others could reach.
// An empty addr opens nothing.
func ListenLocal(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listen on %q: not on loopback, and whoever reaches it could use it", addr)
	}
	return net.Listen("tcp", addr)
}
