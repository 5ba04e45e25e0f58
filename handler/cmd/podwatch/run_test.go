package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/internal/alert"
)

var repository = filepath.Join("..", "..", "..")

// stageRun stages the project's own functions with the handler of testdata.
func stageRun(t *testing.T) string {
	t.Helper()
	return stage(t, runHandler)
}

// stage stages the project's own functions with an executable, as `make stage` does.
func stage(t *testing.T, build func() (string, error)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dist")
	err := os.CopyFS(dir, os.DirFS(filepath.Join(repository, "function_app")))
	if err == nil {
		err = os.Link(built(t, build), filepath.Join(dir, "handler")) // not written here: it is run at once
	}
	text, missing := os.ReadFile(filepath.Join(repository, "host.json"))
	if err = errors.Join(err, missing); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "host.json"), string(text))
	return dir
}

func TestRunFeedsShowsAndEndsEverything(t *testing.T) {
	withoutSettings(t)
	t.Setenv("TEAMS_WEBHOOK_URL", "https://must.not.be.used/?sig=x")
	t.Setenv("RULES_DIR", "/must.not.be.used")
	drop := filepath.Join(t.TempDir(), "drop")
	if err := os.MkdirAll(drop, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		writeFile(t, filepath.Join(drop, name), text)
	}
	write("old.json", "{}") // was there before: not fed
	app := stageRun(t)
	r := startRun(t, func(*running) runOptions { return runOptions{app: app, drop: drop, asJSON: true} })
	stdout, stderr, ended := &r.stdout, &r.stderr, r.ended
	stderr.await(t, "The sample export is fed: 7 messages, 0 cards in Teams, 7 rows in Log Analytics.", ended)

	admin := "http://" + r.run.admin
	page := regexp.MustCompile(`Alerts +(http://127\.0\.0\.1:\d+)/`).FindStringSubmatch(stderr.String())[1]
	stdout.awaitCount(t, `"AlertId":"a1"`, 7, ended)

	write("new.json", `{"records":[]}`)
	write(".hidden", `{}`)
	write("text.json", strings.Repeat("x", 1<<20+1))
	stderr.await(t, filepath.Join(drop, "new.json")+" is fed: empty: no record\n", ended)
	stderr.await(t, "text.json is fed: read 1 record: 1 unreadable (byte 0: text that is no JSON)\n", ended)
	stderr.await(t, ".hidden is left out: hidden\n", ended)

	if err := os.RemoveAll(drop); err != nil {
		t.Fatal(err)
	}
	stderr.await(t, "was removed and is made again", ended)
	write("again.json", `{"records":[]}`)
	stderr.await(t, "again.json is fed: empty: no record\n", ended)

	resp, err := http.Post(admin+"/admin/functions/Detect", "application/json", strings.NewReader(`{"input":"{}"}`))
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Errorf("admin: %v, %v", resp, err)
	}
	resp.Body.Close()
	stdout.awaitCount(t, `"AlertId":"a1"`, 10, ended)

	r.end()
	if err := <-r.done; err != nil {
		t.Errorf("run = %v", err)
	}
	for _, address := range []string{admin, page} {
		if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(address, "http://"), time.Second); err == nil {
			conn.Close()
			t.Errorf("something still listens on %s", address)
		}
	}
	text := stderr.String()
	for _, want := range []string{`handler: {"level":"WARN","msg":"odd"}`, "handler: warning: <U+001B>[2J<U+202E>"} {
		if !strings.Contains(text, want) {
			t.Errorf("standard error lacks %q:\n%s", want, text)
		}
	}
	if !strings.Contains(text, "App settings of this shell that are not used: TEAMS_WEBHOOK_URL, RULES_DIR\n") {
		t.Errorf("the settings of the shell are not reported:\n%s", text)
	}
	for _, no := range []string{"usual", "old.json", "must.not"} {
		if strings.Contains(text, no) {
			t.Errorf("standard error has %q:\n%s", no, text)
		}
	}
	for line := range strings.Lines(stdout.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("standard output has a line that is not JSON: %s", line)
		}
	}
}

// An interrupt while the samples are fed is an ordinary end.
func TestRunInterruptedWhileSamplesAreFed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	err := runLocally(ctx, runOptions{
		app: stageRun(t), local: filepath.Join(repository, "infra", "local"), drop: t.TempDir(),
		host: func(o *devhost.Options) {
			o.Step = func(ctx context.Context, s devhost.Step) error {
				if s.Name != devhost.StepReply || s.Function != "Detect" {
					return nil
				}
				cancel() // Ctrl-C with the answer to the first sample in hand
				<-ctx.Done()
				return ctx.Err()
			}
		},
	}, &stdout, &stderr)
	if err != nil || strings.Contains(stderr.String(), "ERROR") || strings.Contains(stderr.String(), "is fed:") {
		t.Errorf("run = %v, standard error:\n%s", err, stderr.String())
	}
}

// A running is a run in this process.
type running struct {
	stdout, stderr watched
	run            *localRun
	end            context.CancelFunc
	done           chan error
}

// startRun starts a run with the project's local services, and returns when its host runs.
func startRun(t *testing.T, options func(*running) runOptions) *running {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	r := &running{end: end, done: make(chan error, 1)}
	started := make(chan struct{})
	o := options(r)
	o.local = filepath.Join(repository, "infra", "local")
	o.started = func(run *localRun) {
		r.run = run // before any batch, whose steps may use it
		close(started)
	}
	go func() { r.done <- runLocally(ctx, o, &r.stdout, &r.stderr) }()
	select {
	case <-started:
	case err := <-r.done:
		t.Fatalf("run ended at once: %v\n%s", err, &r.stderr)
	}
	return r
}

// ended reports whether the run has ended.
func (r *running) ended() bool { return len(r.done) > 0 }

// watched is a buffer that a test can wait on.
type watched struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *watched) await(t *testing.T, text string, ended func() bool) {
	t.Helper()
	w.awaitCount(t, text, 1, ended)
}

func (w *watched) awaitCount(t *testing.T, text string, n int, ended func() bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		w.mu.Lock()
		found := strings.Count(w.b.String(), text)
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		if found >= n {
			return
		}
		tick := time.NewTimer(200 * time.Millisecond) // to see an early end
		select {
		case <-changed:
		case <-tick.C:
			if ended() {
				t.Fatalf("run ended early:\n%s", w)
			}
		case <-limit:
			t.Fatalf("no %q (found %d of %d) in:\n%s", text, found, n, w)
		}
		tick.Stop()
	}
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	app := t.TempDir()
	for name, tt := range map[string]struct {
		prepare func(*runOptions)
		want    string
	}{
		"no app": {func(o *runOptions) { o.app = filepath.Join(app, "nowhere") }, "make run"},
		"no local services": {func(o *runOptions) {
			writeFile(t, filepath.Join(app, "host.json"), "{}")
		}, "--local"},
		"no Azurite": {func(o *runOptions) { o.local = app }, "make deps"},
		"a taken port": {func(o *runOptions) {
			o.local = app
			l, err := devhost.ListenLocal("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			o.port = l.Addr().(*net.TCPAddr).Port
		}, "taken by another program: end that, or choose another port with --port"},
		"a port of another run": {func(o *runOptions) {
			o.local = app
			server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
			l, err := devhost.ListenLocal("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			o.pagePort = l.Addr().(*net.TCPAddr).Port
		}, "podwatch run or func start"},
	} {
		t.Run(name, func(t *testing.T) {
			writeFile(t, filepath.Join(app, "host.json"), "{}")
			o := runOptions{app: app, drop: t.TempDir()}
			tt.prepare(&o)
			err := runLocally(t.Context(), o, &watched{}, &watched{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// tempFile makes a file in a folder of its own.
func tempFile(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	writeFile(t, path, text)
	return path
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSamplesAreMessagesOfOneExport(t *testing.T) {
	entries, err := samples.ReadDir("samples")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		body, err := samples.ReadFile("samples/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		var message struct {
			Records []struct{ Time time.Time }
		}
		if err := json.Unmarshal(body, &message); err != nil || len(message.Records) == 0 {
			t.Errorf("%s: %d records, %v", entry.Name(), len(message.Records), err)
		}
		for i, r := range message.Records {
			if age := sampleEnd.Sub(r.Time); age < 0 || age > 25*time.Minute {
				t.Errorf("%s: record %d is %s before the end of the samples, want within 25 minutes", entry.Name(), i, age)
			}
		}
		if _, err := strconv.Atoi(entry.Name()[:2]); err != nil {
			t.Errorf("%s: the name does not say its place in the order", entry.Name())
		}
	}
}

func TestPrinterSteersNoTerminal(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out, false)
	row, err := json.Marshal(alert.Alert{
		RuleName: "Pods deleted", Severity: "medium", EventTime: time.Date(2026, 3, 4, 9, 15, 22, 0, time.UTC),
		CallerName: "x\x1b[2J\u202e\r\nFAKE", CallerKind: "user", Namespace: "shop", Pod: "cart", DeletionKind: "delete",
		Timeline: []alert.TimelineEntry{{Operation: "pulled the credential", Caller: "x"}, {Operation: "assigned a role"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.alert(row); err != nil {
		t.Fatal(err)
	}
	want := `
MEDIUM  Pods deleted  2026-03-04 09:15:22 UTC
  who      x<U+001B>[2J<U+202E><U+000D><U+000A>FAKE, user
  what     delete shop/cart
  before   00:00:00 pulled the credential, x
           00:00:00 assigned a role
`
	if out.String() != want {
		t.Errorf("printed %q\nwant    %q", out.String(), want)
	}
}
