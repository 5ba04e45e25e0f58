package faulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/surroundings"
)

// Each of these breaks one stage: at every call, or where a name tells which
// deletion it meets, at that of breaker only.
const breaker = "breaker@example.com"

type brokenRules struct{ pipeline.Rules }

func (r brokenRules) Match(ev *event.Event) []rule.Match {
	if bytes.Contains(ev.Raw, []byte(breaker)) {
		panic("rules")
	}
	return r.Rules.Match(ev)
}

type broken struct{ pipeline.None }

func (broken) Resolve(context.Context, []*caller.Caller) { panic("directory") }
func (broken) Look(context.Context, []surroundings.Question, []surroundings.Operation) []surroundings.Answer {
	panic("surroundings")
}
func (broken) Wants() bool                                         { return true }
func (broken) Seen(context.Context, []string) error                { panic("feed") }
func (broken) Admit(context.Context, []*alert.Alert) (bool, error) { panic("storm window") }
func (broken) Suppress(a *alert.Alert, _ func() map[string]any) (name string) {
	if a.CallerName == breaker {
		panic("exceptions")
	}
	return ""
}

// brokenLedger breaks where it is asked, or where it is written.
type brokenLedger struct {
	pipeline.Ledger
	asked bool
}

func (l brokenLedger) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	if l.asked {
		panic("ledger")
	}
	return l.Ledger.Delivered(ctx, sink, alertID)
}

func (l brokenLedger) Mark(context.Context, string, string) error { panic("ledger") }

// A memorySink takes alerts, and breaks on that of breaker if it is told to.
type memorySink struct {
	name   string
	broken bool

	mu    sync.Mutex
	taken []*alert.Alert
}

func (s *memorySink) Name() string { return s.name }

func (s *memorySink) Deliver(_ context.Context, alerts []*alert.Alert) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken && slices.ContainsFunc(alerts, func(a *alert.Alert) bool { return a.CallerName == breaker }) {
		panic("sink")
	}
	s.taken = append(s.taken, alerts...)
	return nil
}

// brokenAnswer breaks where a look-up reads an answer, in a goroutine of its own.
type brokenAnswer struct{}

func (brokenAnswer) RoundTrip(*http.Request) (*http.Response, error) { panic("answer") }

// TestAPanicCostsNoMoreThanWhatItsStageWorkedOn breaks one stage after the other
// over a batch of two deletions. The host must get its 200, since it would send
// the batch again for ever; no deletion may be lost, and that which breaks nothing
// is delivered.
func TestAPanicCostsNoMoreThanWhatItsStageWorkedOn(t *testing.T) {
	const bad, good = "pod-bad", "pod-good"
	both := []string{bad, good}
	type outcome struct {
		cards, rows, queued []string // pods
		unreadable          bool     // the bad record
		noted               []string // pods whose row has a note about it
	}
	for name, test := range map[string]struct {
		breaks func(o *pipeline.Options, cards, rows *memorySink)
		want   outcome
	}{
		"nothing": {func(*pipeline.Options, *memorySink, *memorySink) {}, outcome{cards: both, rows: both}},
		"a rule": {func(o *pipeline.Options, _, _ *memorySink) { o.Rules = brokenRules{o.Rules} },
			outcome{cards: []string{good}, rows: []string{good}, unreadable: true}},
		"making an alert of a match": {func(o *pipeline.Options, _, _ *memorySink) {
			var first sync.Once
			o.Now = func() time.Time { first.Do(func() { panic("alert") }); return began }
		}, outcome{cards: []string{good}, rows: []string{good}, unreadable: true}},
		"the feed's state":   {func(o *pipeline.Options, _, _ *memorySink) { o.Feed = broken{} }, outcome{cards: both, rows: both}},
		"asking the ledger":  {func(o *pipeline.Options, _, _ *memorySink) { o.Ledger = brokenLedger{o.Ledger, true} }, outcome{cards: both, rows: both}},
		"writing the ledger": {func(o *pipeline.Options, _, _ *memorySink) { o.Ledger = brokenLedger{o.Ledger, false} }, outcome{cards: both, rows: both}},
		"the directory":      {func(o *pipeline.Options, _, _ *memorySink) { o.Directory = broken{} }, outcome{cards: both, rows: both, noted: both}},
		"the surroundings":   {func(o *pipeline.Options, _, _ *memorySink) { o.Surroundings = broken{} }, outcome{cards: both, rows: both, noted: both}},
		"a call to Azure Resource Manager": {func(o *pipeline.Options, _, _ *memorySink) {
			e, err := outbound.ParseService("http://127.0.0.1")
			if err != nil {
				panic(err)
			}
			s := surroundings.New(&outbound.Client{Endpoint: e, Transport: brokenAnswer{}}, time.Now, o.Log)
			o.Surroundings = s
		}, outcome{cards: both, rows: both, noted: both}},
		"an exception":        {func(o *pipeline.Options, _, _ *memorySink) { o.Exceptions = broken{} }, outcome{cards: both, rows: both, noted: []string{bad}}},
		"a storm window":      {func(o *pipeline.Options, _, _ *memorySink) { o.Windows = broken{} }, outcome{cards: both, rows: both}},
		"a card":              {func(_ *pipeline.Options, cards, _ *memorySink) { cards.broken = true }, outcome{cards: []string{good}, rows: both, queued: []string{bad}}},
		"a row, in one post":  {func(_ *pipeline.Options, _, rows *memorySink) { rows.broken = true }, outcome{cards: both, queued: both}},
		"a card and its rows": {func(_ *pipeline.Options, cards, rows *memorySink) { cards.broken, rows.broken = true, true }, outcome{cards: []string{good}, queued: both}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := builtIn()
			if err != nil {
				t.Fatal(err)
			}
			log := new(bytes.Buffer)
			cards, rows := &memorySink{name: "teams"}, &memorySink{name: "loganalytics"}
			o := pipeline.Options{
				Rules: set, Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: pipeline.None{},
				Routes: []pipeline.Route{{Sink: cards, ForPeople: true}, {Sink: rows}},
				Ledger: sink.NewMemoryLedger(), Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{},
				Now: func() time.Time { return began }, Log: slog.New(slog.NewJSONHandler(log, nil)),
			}
			test.breaks(&o, cards, rows)
			handler := server.New(server.Options{Pipeline: pipeline.New(o), BodyLimit: 1 << 20, Deadline: time.Minute, Log: o.Log})
			request := httptest.NewRequest(http.MethodPost, "/Detect", strings.NewReader(envelope(body(
				kubeRecords(bad, breaker, "AKS-1", 1)[0], kubeRecords(good, "dana@example.com", "AKS-1", 2)[0]))))
			request.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
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
			for _, a := range rows.taken {
				if strings.Contains(strings.Join(a.Notes, "\n"), "internal error") {
					noted = append(noted, a)
				}
			}
			for _, c := range []struct {
				what string
				got  []*alert.Alert
				want []string
			}{
				{"on cards", cards.taken, test.want.cards}, {"rows", rows.taken, test.want.rows},
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
			unreadable := reply.Outputs.Unreadable
			if strings.Contains(unreadable, bad) != test.want.unreadable || strings.Contains(unreadable, "podwatch broke on it") != test.want.unreadable ||
				strings.Contains(unreadable, good) {
				t.Errorf("unreadable output %q, want the bad record and a reason: %t", unreadable, test.want.unreadable)
			}
			if stack := strings.Contains(log.String(), `"stack":"goroutine`); stack != (name != "nothing") {
				t.Errorf("a stack in the log: %t in %s", stack, log)
			}
		})
	}
}
