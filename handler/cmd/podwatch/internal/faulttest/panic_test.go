package faulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/surroundings"
)

// breaker is the caller whose alert breaks a sink that is told to break.
const breaker = "breaker@example.com"

// brokenAnswer panics where a look-up makes a request, in a goroutine of its own.
type brokenAnswer struct{}

func (brokenAnswer) RoundTrip(*http.Request) (*http.Response, error) { panic("answer") }

// brokenClient is a client of a service whose every request panics.
func brokenClient() *outbound.Client {
	e, err := outbound.ParseService("http://127.0.0.1")
	if err != nil {
		panic(err)
	}
	return &outbound.Client{Service: "A service", Endpoint: e, Transport: brokenAnswer{}}
}

// brokenDocuments panic at every request.
type brokenDocuments struct{}

func (brokenDocuments) Fetch(context.Context, string) (state.Document, error) { panic("fetch") }
func (brokenDocuments) Create(context.Context, string, []byte) (state.Document, error) {
	panic("create")
}
func (brokenDocuments) Replace(context.Context, state.Document, []byte) (state.Document, error) {
	panic("replace")
}
func (brokenDocuments) Delete(context.Context, state.Document) error          { panic("delete") }
func (brokenDocuments) List(context.Context, string) iter.Seq2[string, error] { panic("list") }

// A memorySink takes alerts, and breaks on that of breaker if it is told to.
type memorySink struct {
	name   string
	broken bool

	mu    sync.Mutex
	taken []*alert.Alert
}

func (s *memorySink) Name() string { return s.name }

func (s *memorySink) Post(_ context.Context, g alert.Group) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken && slices.ContainsFunc(g.Alerts, func(a *alert.Alert) bool { return a.CallerName == breaker }) {
		panic("sink")
	}
	s.taken = append(s.taken, g.Alerts...)
	return len(g.Alerts), nil
}

// stages are what a test may break before the app is put together.
type stages struct {
	parts          enrich.Parts
	ledger, storms state.Documents
	cards, rows    *memorySink
}

// TestAPanicCostsNoMoreThanWhatItsStageWorkedOn breaks one stage after the other
// over a batch of two deletions. The host must get its 200, since it would send
// the batch again for ever; no deletion may be lost, and that which breaks nothing
// is delivered.
func TestAPanicCostsNoMoreThanWhatItsStageWorkedOn(t *testing.T) {
	const bad, good = "pod-bad", "pod-good"
	both := []string{bad, good}
	type outcome struct {
		cards, rows, queued []string // pods
		noted               []string // pods whose row has a note that something is missing
	}
	for name, test := range map[string]struct {
		breaks func(*stages)
		want   outcome
	}{
		"nothing": {func(*stages) {}, outcome{cards: both, rows: both}},
		"asking the directory": {func(s *stages) { s.parts.Directory = directory.New(brokenClient(), time.Now, s.parts.Log) },
			outcome{cards: both, rows: both, noted: both}},
		"asking Azure Resource Manager": {func(s *stages) { s.parts.Surroundings = surroundings.New(brokenClient(), time.Now, s.parts.Log) },
			outcome{cards: both, rows: both, noted: both}},
		"the directory itself":    {func(s *stages) { s.parts.Directory = nil }, outcome{cards: both, rows: both, noted: both}},
		"the surroundings itself": {func(s *stages) { s.parts.Surroundings = nil }, outcome{cards: both, rows: both, noted: both}},
		"the exceptions":          {func(s *stages) { s.parts.Exceptions = nil }, outcome{cards: both, rows: both, noted: both}},
		"the ledger":              {func(s *stages) { s.ledger = brokenDocuments{} }, outcome{cards: both, rows: both}},
		"a storm window":          {func(s *stages) { s.storms = brokenDocuments{} }, outcome{cards: both, rows: both}},
		"a card":                  {func(s *stages) { s.cards.broken = true }, outcome{cards: []string{good}, rows: both, queued: []string{bad}}},
		"a row, in one post":      {func(s *stages) { s.rows.broken = true }, outcome{cards: both, queued: both}},
		"a card and its rows":     {func(s *stages) { s.cards.broken, s.rows.broken = true, true }, outcome{cards: []string{good}, queued: both}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buffer := new(bytes.Buffer)
			log := slog.New(slog.NewJSONHandler(buffer, nil))
			s := &stages{
				parts: enrich.Parts{Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings),
					Exceptions: new(exception.Set), Now: func() time.Time { return began }, Log: log},
				ledger: state.NewMemory(), storms: state.NewMemory(), cards: &memorySink{name: "teams"}, rows: &memorySink{name: "loganalytics"},
			}
			test.breaks(s)
			answer := detect(t, s, log, envelope(body(kubeRecords(bad, breaker, "AKS-1", 1)[0], kubeRecords(good, "dana@example.com", "AKS-1", 2)[0])))
			if answer.Code != http.StatusOK {
				t.Fatalf("status %d: the host sends the batch again for ever", answer.Code)
			}
			var reply struct {
				Outputs struct {
					Undelivered []string
					Unreadable  string
				}
			}
			if err := json.Unmarshal(answer.Body.Bytes(), &reply); err != nil {
				t.Fatalf("%v in %s", err, answer.Body)
			}
			var queued, noted []*alert.Alert
			for _, text := range reply.Outputs.Undelivered {
				a, err := alert.Parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				queued = append(queued, a)
			}
			for _, a := range s.rows.taken {
				notes := strings.Join(a.Notes, "\n")
				if strings.Contains(notes, "this alert is not complete") {
					noted = append(noted, a)
				}
				if strings.Contains(notes, "goroutine") {
					t.Errorf("a stack in a note: %s", notes)
				}
			}
			for _, c := range []struct {
				what string
				got  []*alert.Alert
				want []string
			}{
				{"on cards", s.cards.taken, test.want.cards}, {"rows", s.rows.taken, test.want.rows},
				{"in the queue", queued, test.want.queued}, {"with a note", noted, test.want.noted},
			} {
				var got []string
				for _, a := range c.got {
					got = append(got, a.Pod)
				}
				if slices.Sort(got); !slices.Equal(got, c.want) {
					t.Errorf("%s: %q, want %q", c.what, got, c.want)
				}
			}
			if reply.Outputs.Unreadable != "" {
				t.Errorf("unreadable output %q", reply.Outputs.Unreadable)
			}
			if said := strings.Contains(buffer.String(), "this is a bug in podwatch") || strings.Contains(buffer.String(), "which is a bug"); said != (name != "nothing") {
				t.Errorf("the bug is in the log: %t in %s", said, buffer)
			}
		})
	}
}

// detect posts one batch to an app of these stages, through the server.
func detect(t *testing.T, s *stages, log *slog.Logger, batch string) *httptest.ResponseRecorder {
	t.Helper()
	cfg, err := config.Load(func(name string) string {
		return map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "0"}[name]
	}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(cfg, log, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a.Enricher = enrich.New(s.parts)
	routes := []deliver.Route{{Sink: s.cards, People: true}, {Sink: s.rows}}
	storms := state.NewStorms(s.storms, time.Now)
	a.Dispatcher = deliver.New(routes, state.NewLedger(s.ledger, log), storms, state.NewDeadLetters(s.storms, time.Now), log)
	request := httptest.NewRequest(http.MethodPost, "/Detect", strings.NewReader(batch))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	server.New(a, log).ServeHTTP(answer, request)
	return answer
}
