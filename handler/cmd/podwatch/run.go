package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/cmd/podwatch/internal/files"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/emulator"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// samples is the export that run feeds: message bodies as diagnostic settings
// write them. Their times lie before sampleEnd and are moved to now.
//
//go:embed samples/*.json
var samples embed.FS

var (
	sampleEnd  = time.Date(2026, 11, 9, 8, 17, 0, 0, time.UTC)
	sampleTime = regexp.MustCompile(`2026-11-09T\d\d:\d\d:\d\d`)
)

const (
	dropPoll   = 300 * time.Millisecond
	dropFolder = ".podwatch/drop"

	defaultPagePort = 7072
	finishWithin    = 15 * time.Second
	localPartition  = "0" // where dropped files go
	partitions      = 4   // over which the samples are spread
)

type runOptions struct {
	app, local, drop   string
	port, pagePort     int
	noSamples, verbose bool
	asJSON             bool
	hub                hubRunOptions

	// For tests: what else the host should do, and a look at the running parts
	// before anything is fed.
	host    func(*devhost.Options)
	started func(*localRun)
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [--event-hub [NAME]]",
		Short: "Run the handler on this machine and show its alerts",
		Long: `run starts all that podwatch needs on this machine: storage (Azurite), a stand-in
for the Functions host that runs the staged app, and an inbox that takes the
alerts in place of Teams and Log Analytics. It feeds the sample export, prints
each alert, and goes on until Ctrl-C, which ends everything it started.

More can be fed with podwatch feed and by putting files into the drop folder, in any
form that podwatch replay reads. What came of a file is printed.

With --event-hub it follows a real hub, or the stand-in of infra/local, instead of
feeding the samples: from its oldest message on, or with --latest from what comes
next, and after a restart from where it stopped. One batch of each partition is
under way at a time, and the checkpoint moves behind it when it has succeeded.
Checkpoints and the ledger are kept in the --storage folder; remove it to begin
anew. The consumer group must not be the app's own: a hub gives each message of a
group to one consumer, and the app would miss what goes here. The hub comes from
the flags or the app settings, as for podwatch send; with a namespace it needs the
role Azure Event Hubs Data Receiver.

No alert leaves this machine: the settings of both sinks are replaced.`,
		Example: `  podwatch run
  podwatch run --event-hub podwatch-logs --namespace NAME.servicebus.windows.net --latest`,
		Args: func(_ *cobra.Command, args []string) error { return o.hub.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.hub.prepare(args); err != nil {
				return usageError(err)
			}
			return runLocally(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *runOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.app, "app", "dist", "staged app: host.json, the functions and the handler")
	f.StringVar(&o.local, "local", "", "folder with the local services' node_modules (default infra/local of the project)")
	f.IntVar(&o.port, "port", 7071, "port of the admin address, 0 for any")
	f.IntVar(&o.pagePort, "page-port", defaultPagePort, "port of the page, 0 for any")
	f.StringVar(&o.drop, "drop", dropFolder, "folder whose new files are fed")
	f.BoolVar(&o.noSamples, "no-samples", false, "do not feed the sample export")
	f.BoolVar(&o.asJSON, "json", false, "print alerts as one JSON object a line")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the host's and the handler's logs")
	o.hub.flags(cmd)
}

// A folder that a run has for itself, and the flag that names it.
type runFolder struct{ flag, path string }

func (o *runOptions) folders() []runFolder {
	folders := []runFolder{{"--drop", o.drop}}
	if o.hub.storage != "" {
		folders = append(folders, runFolder{"--storage", o.hub.storage})
	}
	return folders
}

// A localRun is everything that run has started.
type localRun struct {
	o       runOptions
	out     *printer
	say     func(format string, args ...any) // to the person, on standard error
	log     *slog.Logger
	storage *emulator.Azurite
	storms  *state.Storms // of the app, in storage
	inbox   *inbox.Inbox
	page    net.Listener
	admin   string // address of the host
	host    *devhost.Host
	invoked chan struct{}      // holds one when an invocation has ended
	ready   atomic.Bool        // host is set
	taken   atomic.Int64       // messages of the hub that were evaluated
	fed     map[string]dropped // by name: what of the drop folder is fed, or was there before
	leftOut map[string]bool    // entries of the drop folder that were named
}

// runLocally runs until ctx ends or a part of it fails. Nothing that it started
// is left when it returns.
func runLocally(ctx context.Context, o runOptions, stdout, stderr io.Writer) error {
	r := &localRun{o: o, out: newPrinter(stdout, o.asJSON), invoked: make(chan struct{}, 1), leftOut: map[string]bool{}}
	said := &syncWriter{w: stderr}
	r.say = func(format string, args ...any) { fmt.Fprintf(said, format+"\n", args...) }
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	r.log = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: level}))
	if err := r.checkApp(); err != nil {
		return err
	}
	for _, need := range []precondition{nodejs.precondition(), temporaryFolder} {
		if _, err := need.check(ctx); err != nil {
			return err
		}
	}
	if err := r.openPorts(ctx); err != nil {
		return err
	}
	defer r.page.Close()
	for _, f := range o.folders() {
		release, err := lockFolder(f.path, f.flag)
		if err != nil {
			return err
		}
		defer release()
	}
	if err := o.hub.connection.Reach(ctx); err != nil { // nil where no hub is named
		return err
	}
	var err error
	if r.fed, _, err = listDrop(o.drop); err != nil {
		return err
	}
	if err := r.startStorage(ctx); err != nil {
		return quietly(err)
	}
	defer r.storage.Close()

	// What the host delivers to outlives ctx: a batch in flight is finished.
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	r.inbox = inbox.New(inbox.Options{Modules: filepath.Join(r.o.local, "node_modules"), Feed: r.feedCommand()})
	group.Go(func() error { return devhost.Serve(lasting, r.page, r.pages(), r.log) })
	group.Go(func() error { return r.printAlerts(lasting) })
	group.Go(func() error {
		defer end()
		return r.work(ctx)
	})
	return quietly(group.Wait())
}

// errEnd ends the group when ctx has ended by itself.
var errEnd = errors.New("end")

// quietly drops the errors that only mean that the run was ended.
func quietly(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errEnd) {
		return nil
	}
	return err
}

// work starts the host, feeds it, and stays until the end.
func (r *localRun) work(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	interrupted := context.AfterFunc(ctx, end)
	o := devhost.Options{App: r.o.app, Settings: r.settings(), Ignore: r.shellSettings(), Admin: r.admin, Log: r.log, Console: r.console, Done: r.ended}
	if len(o.Ignore) > 0 {
		r.say("App settings of this shell that are not used: %s", strings.Join(o.Ignore, ", "))
	}
	if r.o.host != nil {
		r.o.host(&o)
	}
	host, err := devhost.Start(life, o)
	if err != nil {
		return fmt.Errorf("start the app in %q: %w", r.o.app, err)
	}
	interrupted() // from now on close decides
	r.host = host
	r.ready.Store(true)
	defer host.Close()
	r.greet()
	if r.o.started != nil {
		r.o.started(r)
	}
	if !r.o.noSamples && !r.o.hub.wanted() {
		if err := r.feedSamples(ctx); err != nil {
			return cmp.Or(ctx.Err(), err) // a sample that was interrupted has not failed
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	followed := make(chan struct{})
	group.Go(func() error {
		defer close(followed)
		return r.follow(ctx)
	})
	group.Go(func() error { return r.close(ctx, followed) })
	group.Go(func() error { return r.watchDrop(ctx) })
	group.Go(func() error { return r.watchHeld(ctx) })
	group.Go(func() error {
		if err := host.Wait(); err != nil {
			return err
		}
		return errEnd
	})
	group.Go(func() error {
		select {
		case <-r.storage.Done():
			return errors.New("azurite ended: there is no storage any more")
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return group.Wait()
}

// ended notes the end of an invocation.
func (r *localRun) ended(devhost.Result) {
	select {
	case r.invoked <- struct{}{}:
	default: // one is noted already
	}
}

// close ends the host when ctx has ended and the batches of the hub are done. One
// that does not end, because a sink of the operator's is down, is not waited for
// any longer: it comes again.
func (r *localRun) close(ctx context.Context, followed <-chan struct{}) error {
	<-ctx.Done()
	select {
	case <-followed:
	case <-time.After(finishWithin):
	}
	_ = r.host.Close() // the wait for the host reports it
	return ctx.Err()
}

// checkApp finds what is not built or installed before anything is started.
func (r *localRun) checkApp() error {
	if _, err := os.Stat(filepath.Join(r.o.app, "host.json")); err != nil {
		return fmt.Errorf("no app in %q (%w): run `make run`, which stages it", r.o.app, err)
	}
	if r.o.local == "" {
		local, err := emulator.FindLocal(r.o.app)
		if err != nil {
			return fmt.Errorf("find the local services: %w: name their folder with --local", err)
		}
		r.o.local = local
	}
	return nil
}

// openPorts takes both ports first, so that a taken one is said at once.
func (r *localRun) openPorts(ctx context.Context) error {
	if r.o.port == r.o.pagePort && r.o.port != 0 {
		return fmt.Errorf("--port and --page-port are both %d: choose two ports (0 takes any)", r.o.port)
	}
	admin, err := listenOn(ctx, r.o.port, "--port", "/admin/host/status")
	if err != nil {
		return err
	}
	// The host opens the port itself; this look spares the wait for a message.
	r.admin = admin.Addr().String()
	if err := admin.Close(); err != nil {
		return err
	}
	r.page, err = listenOn(ctx, r.o.pagePort, "--page-port", "/api/info")
	return err
}

// listenOn opens a port on loopback. When it is taken, a request of path shows whether the
// program there is another run of this one.
func listenOn(ctx context.Context, port int, flag, path string) (net.Listener, error) {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := devhost.ListenLocal(addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	who := "another program"
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil); err == nil {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				who = "podwatch run or func start, which is still running"
			}
		}
	}
	return nil, fmt.Errorf("port %d is taken by %s: end that, or choose another port with %s (0 takes any)", port, who, flag)
}

func (r *localRun) startStorage(ctx context.Context) error {
	r.say("Starting storage (Azurite) and the app in %s ...", r.o.app)
	var err error
	if r.storage, err = emulator.Start(ctx, emulator.Options{Dir: r.o.local, DefaultPorts: true, Data: r.o.hub.storage}); err != nil {
		return err
	}
	account, err := storage.Open(&config.Storage{ConnectionString: config.Secret(r.storage.ConnectionString)}, nil)
	if err != nil {
		r.storage.Close()
		return err
	}
	r.storms = state.NewStorms(account.Documents(state.StateContainer), time.Now)
	return nil
}

// settings turn both sinks to the inbox and the storage to Azurite.
func (r *localRun) settings() map[string]string {
	settings := map[string]string{
		"FUNCTIONS_WORKER_RUNTIME": "custom",
		"AzureWebJobsStorage":      r.storage.ConnectionString,
		"EventHub":                 "Endpoint=sb://podwatch.local;SharedAccessKeyName=none;SharedAccessKey=none",
		"EVENT_HUB_NAME":           "podwatch-logs",
		"EVENT_HUB_CONSUMER_GROUP": "$Default",
	}
	maps.Copy(settings, inbox.Settings("http://"+r.page.Addr().String()))
	maps.Copy(settings, r.o.hub.settings())
	return settings
}

// shellSettings names the app settings that this shell has, which may be those of a
// deployed app. A run that follows a hub takes them.
func (r *localRun) shellSettings() (names []string) {
	if r.o.hub.wanted() {
		return nil
	}
	for _, name := range config.Settings() {
		if os.Getenv(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

func (r *localRun) greet() {
	var names []string
	for _, fn := range r.host.App().Functions {
		names = append(names, fn.Name)
	}
	connection := "UseDevelopmentStorage=true"
	switch {
	case r.storage.Default:
	case r.o.verbose:
		connection = r.storage.ConnectionString
	default:
		connection = "ports 10000 to 10002 were taken; --verbose prints the connection string"
	}
	r.say(`
podwatch runs: %s

  Alerts      http://%s/
  Feed it     %s
  or          drop a file into %s
%s  Storage     %s

  Ctrl-C ends everything.
`, strings.Join(names, ", "), r.page.Addr(), r.feedCommand(), r.o.drop, r.o.hub.greeting(), connection)
}

// console shows of the handler's lines what a person should see.
func (r *localRun) console(stream, line string) {
	var entry struct{ Level, Msg string }
	isLog := json.Unmarshal([]byte(line), &entry) == nil && entry.Level != ""
	if r.o.verbose || stream == "stderr" || isLog && (entry.Level == "WARN" || entry.Level == "ERROR") {
		r.say("handler: %s", visible(line))
	}
}

// feedSamples feeds the sample export as if it had just been exported.
func (r *localRun) feedSamples(ctx context.Context) error {
	names, err := fs.Glob(samples, "samples/*.json")
	if err != nil {
		return err
	}
	offset := time.Since(sampleEnd).Truncate(time.Second)
	for i, name := range names {
		body, err := samples.ReadFile(name)
		if err != nil {
			return err
		}
		body = sampleTime.ReplaceAllFunc(body, func(text []byte) []byte {
			at, err := time.Parse("2006-01-02T15:04:05", string(text))
			if err != nil {
				return text
			}
			return at.Add(offset).AppendFormat(nil, "2006-01-02T15:04:05")
		})
		if err := r.feed(ctx, strconv.Itoa(i%partitions), body); err != nil {
			return fmt.Errorf("feed the sample %q: %w", name, err)
		}
	}
	counts := r.inbox.Counts()
	r.say("The sample export is fed: %d messages, %d cards in Teams, %d rows in Log Analytics.", len(names), counts.Cards, counts.Rows)
	return nil
}

func (r *localRun) feed(ctx context.Context, partition string, body []byte) error {
	return r.host.Deliver(ctx, partition, invocation.Message{Body: body})
}

// A dropped file is known by what changes when it is written again.
type dropped struct {
	size int64
	time time.Time
}

// watchDrop feeds each file that appears in the drop folder once it has stopped
// growing. What lay there before stays unread until it is touched. A folder that was
// removed is made again.
func (r *localRun) watchDrop(ctx context.Context) error {
	growing := map[string]dropped{}
	tick := time.Tick(dropPoll)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		present, others, err := listDrop(r.o.drop)
		if errors.Is(err, fs.ErrNotExist) {
			if _, err = lockFolder(r.o.drop, "--drop"); err == nil { // released with the first lock, by its name
				r.say("%s was removed and is made again", visible(r.o.drop))
			}
		}
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(others)) {
			if path := filepath.Join(r.o.drop, name); !r.leftOut[path] {
				r.leftOut[path] = true
				r.say("%s is left out: %s", visible(path), others[name])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(present)) {
			switch now := present[name]; {
			case r.fed[name] == now:
			case growing[name] != now:
				growing[name] = now // look again: it may still be written
			default:
				delete(growing, name)
				if r.feedFile(ctx, filepath.Join(r.o.drop, name)) {
					r.fed[name] = now
				}
			}
		}
	}
}

// listDrop returns the files of the drop folder, and why its other entries are none.
func listDrop(dir string) (present map[string]dropped, others map[string]string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the drop folder: %w", err)
	}
	present, others = map[string]dropped{}, map[string]string{}
	for _, entry := range entries {
		why := files.Ignored(entry)
		if entry.IsDir() {
			why = "a folder"
		}
		if why != "" && entry.Name() != lockName {
			others[entry.Name()] = why
		} else if info, err := entry.Info(); err == nil && why == "" {
			present[entry.Name()] = dropped{info.Size(), info.ModTime()}
		}
	}
	return present, others, nil
}

// printAlerts prints each row of the inbox as it arrives, also the last ones
// before the end of ctx: the ledger has them, so no later run would print them.
func (r *localRun) printAlerts(ctx context.Context) error {
	last := 0
	for {
		entries, err := r.inbox.Next(ctx, last)
		if err != nil {
			entries, err = r.inbox.Next(ctx, last) // the end may have won against a row
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			last = e.ID
			switch {
			case e.Refused != "":
				r.say("%s did not take a delivery (status %d): %s", e.Sink, e.Status, visible(e.Refused))
			case e.Sink == inbox.LogAnalytics:
				if err := r.out.alert(e.Data); err != nil {
					return err
				}
			}
		}
	}
}

// syncWriter keeps lines of several writers whole.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
