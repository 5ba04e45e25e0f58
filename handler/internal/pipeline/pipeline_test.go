package pipeline_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/sink"
)

// A fakeSink records what it takes. fail, if set, decides over each alert.
type fakeSink struct {
	name string
	fail func(*alert.Alert) error

	mu    sync.Mutex
	posts [][]*alert.Alert
}

func (s *fakeSink) Name() string { return s.name }

func (s *fakeSink) Deliver(_ context.Context, alerts []*alert.Alert) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(alerts))
	var taken []*alert.Alert
	for i, a := range alerts {
		if s.fail != nil {
			errs[i] = s.fail(a)
		}
		if errs[i] == nil {
			taken = append(taken, a)
		}
	}
	if len(taken) > 0 {
		s.posts = append(s.posts, taken)
	}
	return errs
}

// taken is every alert that the sink took, in order.
func (s *fakeSink) taken() []*alert.Alert { return slices.Concat(s.posts...) }

// A world is a pipeline with two sinks and everything else switched off.
type world struct {
	pipeline.Options
	teams, rows *fakeSink
}

func newWorld(t *testing.T) *world {
	t.Helper()
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{teams: &fakeSink{name: "teams"}, rows: &fakeSink{name: "loganalytics"}}
	w.Options = pipeline.Options{
		Rules: set, Directory: pipeline.None{}, Surroundings: pipeline.None{}, Exceptions: pipeline.None{},
		Routes:  []pipeline.Route{{Sink: w.teams, ForPeople: true}, {Sink: w.rows}},
		Ledger:  sink.NewMemoryLedger(),
		Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{},
		Portal: alert.Portal{Base: "https://portal.azure.com"},
		Now:    func() time.Time { return time.Date(2026, 11, 9, 8, 20, 0, 0, time.UTC) },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	return w
}

func (w *world) detect(t *testing.T, bodies ...string) *pipeline.Batch {
	t.Helper()
	in := &invocation.Events{Partition: invocation.Partition{Hub: "podwatch", ID: "3"}}
	for i, body := range bodies {
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(body), Sequence: int64(100 + i)})
	}
	return pipeline.New(w.Options).Detect(t.Context(), in)
}

// record reads a sample.
func record(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "records", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDetectRaisesOneAlertForADeletionHoweverOftenItArrives(t *testing.T) {
	w := newWorld(t)
	body := record(t, "act-match-user")
	batch := w.detect(t, body, body, record(t, "act-duplicate-success"))
	if got := batch.Counts; got.Messages != 3 || got.Records != 4 || got.Matches != 4 || got.Alerts+got.Repeats != 4 {
		t.Errorf("counts are %+v", got)
	}
	before := len(w.rows.taken())
	again := w.detect(t, body)
	if again.Counts.Alerts != 0 || again.Counts.Repeats != 1 || len(w.rows.taken()) != before {
		t.Errorf("a second batch with the same deletion counts %+v", again.Counts)
	}
	ids := map[string]bool{}
	for _, a := range w.rows.taken() {
		if ids[a.AlertId] {
			t.Errorf("alert %s was delivered twice", a.AlertId)
		}
		ids[a.AlertId] = true
	}
}

func TestDetectNamesWhoAndWhere(t *testing.T) {
	w := newWorld(t)
	w.detect(t, record(t, "act-match-user"))
	if len(w.rows.taken()) != 1 {
		t.Fatalf("%d alerts, want 1", len(w.rows.taken()))
	}
	a := w.rows.taken()[0]
	for _, got := range []struct{ name, got, want string }{
		{"CallerKind", a.CallerKind, "user"},
		{"CallerName", a.CallerName, "dana.ortiz@example.com"},
		{"CallerAppName", a.CallerAppName, "Azure CLI"},
		{"CallerIp", a.CallerIp, "203.0.113.24"},
		{"CallerRole", a.CallerRole, "Azure Arc Kubernetes Writer"},
		{"ClusterName", a.ClusterName, "arc-plant-07"},
		{"ClusterKind", a.ClusterKind, "arc"},
		{"Namespace", a.Namespace, "line-control"},
		{"Pod", a.Pod, "scanner-6f9c7d8b54-k2x9p"},
		{"DeletionKind", a.DeletionKind, "delete"},
		{"Severity", a.Severity, "medium"},
	} {
		if got.got != got.want {
			t.Errorf("%s is %q, want %q", got.name, got.got, got.want)
		}
	}
	if !strings.HasPrefix(a.Links.Cluster, "https://portal.azure.com/#resource/subscriptions/") || a.Links.ActivityLog == "" {
		t.Errorf("links are %+v", a.Links)
	}
}

func TestDetectCountsRoutineAndRecordsItOnlyWhenAsked(t *testing.T) {
	body := record(t, "kube-delete-replicaset-controller")
	w := newWorld(t)
	if got := w.detect(t, body).Counts; got.Routine != 1 || got.Alerts != 0 {
		t.Errorf("counts are %+v", got)
	}
	w = newWorld(t)
	w.RecordRoutine = true
	if got := w.detect(t, body).Counts; got.Routine != 1 || got.Alerts != 1 {
		t.Errorf("counts with RECORD_ROUTINE are %+v", got)
	}
	if len(w.teams.taken()) != 0 || len(w.rows.taken()) != 1 || !w.rows.taken()[0].Routine {
		t.Errorf("routine reached people, or no row: %d cards, %d rows", len(w.teams.taken()), len(w.rows.taken()))
	}
}

func TestUnreadablePiecesLeaveWithTheirPlaceAndCostNothingElse(t *testing.T) {
	w := newWorld(t)
	batch := w.detect(t, "not json at all", record(t, "act-match-user"), "\xc3( broken")
	if len(w.rows.taken()) != 1 {
		t.Errorf("%d alerts, want the readable message's", len(w.rows.taken()))
	}
	if len(batch.Unreadable) != 2 {
		t.Fatalf("unreadable: %v", batch.Unreadable)
	}
	first := batch.Unreadable[0]
	if first.Partition != "3" || first.Sequence != 100 || first.Reason == "" || first.Text != "not json at all" {
		t.Errorf("the first piece is %+v", first)
	}
	var written strings.Builder
	batch.Unreadable[1].WriteTo(&written)
	var piece struct{ Partition, Reason, Text, Base64 string }
	if err := json.Unmarshal([]byte(written.String()), &piece); err != nil {
		t.Fatalf("%v in %s", err, &written)
	}
	if data, err := base64.StdEncoding.DecodeString(piece.Base64); err != nil || string(data) != "\xc3( broken" || piece.Text != "" || piece.Reason == "" || piece.Partition != "3" {
		t.Errorf("bytes that are not text are kept as %s", &written)
	}
	if size := batch.Unreadable[1].Size(); written.Len() > size {
		t.Errorf("%d bytes, expected at most %d", written.Len(), size)
	}
}

func TestASinkThatFailsDoesNotKeepTheOthersWaiting(t *testing.T) {
	w := newWorld(t)
	w.teams.fail = func(*alert.Alert) error {
		return &sink.Error{Sink: "teams", Status: 500, Retryable: true, Err: errors.New("down")}
	}
	batch := w.detect(t, record(t, "act-match-user"))
	if len(batch.Undelivered) != 1 || len(w.rows.taken()) != 1 {
		t.Fatalf("%d undelivered and %d rows, want one each", len(batch.Undelivered), len(w.rows.taken()))
	}
	w.teams.fail = nil
	queued, err := alert.Parse(batch.Undelivered[0].JSON())
	if err != nil {
		t.Fatal(err)
	}
	counts, err := pipeline.New(w.Options).Redeliver(t.Context(), queued)
	if err != nil || counts.Delivered != 1 || len(w.teams.taken()) != 1 || len(w.rows.taken()) != 1 {
		t.Errorf("redelivery: %+v, %v; %d cards, %d rows", counts, err, len(w.teams.taken()), len(w.rows.taken()))
	}
}

func TestRedeliverTellsALaterTryFromNoUse(t *testing.T) {
	w := newWorld(t)
	a := &alert.Alert{AlertId: "1", RuleId: "r"}
	w.teams.fail = func(*alert.Alert) error {
		return &sink.Error{Sink: "teams", Status: 404, Err: errors.New("the flow is gone")}
	}
	if _, err := pipeline.New(w.Options).Redeliver(t.Context(), a); !errors.Is(err, pipeline.ErrRejected) || !strings.Contains(err.Error(), "the flow is gone") {
		t.Errorf("refused for good: %v", err)
	}
	if len(w.rows.taken()) != 1 {
		t.Error("the other sink did not get it")
	}
	w.teams.fail = func(*alert.Alert) error {
		return &sink.Error{Sink: "teams", Status: 503, Retryable: true, Err: errors.New("busy")}
	}
	if _, err := pipeline.New(w.Options).Redeliver(t.Context(), a); err == nil || errors.Is(err, pipeline.ErrRejected) {
		t.Errorf("busy: %v", err)
	}
}

// except suppresses everything.
type except struct{ pipeline.None }

func (except) Suppress(*alert.Alert, func() kql.Document) string { return "maintenance" }

func TestSuppressedAlertsAreOnRecordAndInterruptNobody(t *testing.T) {
	w := newWorld(t)
	w.Exceptions = except{}
	batch := w.detect(t, record(t, "act-match-user"))
	if batch.Counts.Suppressed != 1 || len(w.teams.taken()) != 0 || len(w.rows.taken()) != 1 {
		t.Fatalf("counts %+v, %d cards, %d rows", batch.Counts, len(w.teams.taken()), len(w.rows.taken()))
	}
	if a := w.rows.taken()[0]; !a.Suppressed || a.SuppressedBy != "maintenance" {
		t.Errorf("the row says suppressed %t by %q", a.Suppressed, a.SuppressedBy)
	}
}

// deletions makes n deletions of different pods by one person.
func deletions(t *testing.T, n int) []string {
	t.Helper()
	var bodies []string
	for i := range n {
		body := record(t, "kube-delete-force")
		body = strings.ReplaceAll(body, `\"auditID\":\"`, fmt.Sprintf(`\"auditID\":\"%04d-`, i))
		bodies = append(bodies, body)
	}
	return bodies
}

func TestDeletionsOfOneCallerAreOneCard(t *testing.T) {
	w := newWorld(t)
	w.detect(t, deletions(t, 7)...)
	if len(w.teams.posts) != 1 || len(w.teams.posts[0]) != 7 || len(w.rows.taken()) != 7 {
		t.Errorf("%d posts with %d alerts, %d rows; want one post with 7, and 7 rows", len(w.teams.posts), len(w.teams.taken()), len(w.rows.taken()))
	}
}

// counting counts how often it is asked, and for how many.
type counting struct {
	pipeline.None
	calls, callers, alerts int
}

func (c *counting) Resolve(_ context.Context, callers []*caller.Caller) {
	c.calls++
	c.callers += len(callers)
	for _, who := range callers {
		who.Name = "Dana Ortiz"
	}
}

func (c *counting) Surround(_ context.Context, alerts []*alert.Alert, _ []*event.Event) {
	c.alerts += len(alerts)
}

func TestLookUpsAreOncePerBatchAndWithinMaxSignals(t *testing.T) {
	w := newWorld(t)
	asked := &counting{}
	w.Directory, w.Surroundings = asked, asked
	batch := w.detect(t, deletions(t, 130)...)
	if asked.calls != 1 || asked.callers != 100 || asked.alerts != 100 {
		t.Errorf("asked %d times for %d callers and %d alerts, want once for 100", asked.calls, asked.callers, asked.alerts)
	}
	if batch.Counts.Alerts != 130 || len(w.rows.taken()) != 130 || len(w.teams.taken()) != 130 {
		t.Errorf("counts %+v, %d rows, %d on cards: something was dropped", batch.Counts, len(w.rows.taken()), len(w.teams.taken()))
	}
	plain := 0
	for _, a := range w.rows.taken() {
		if a.CallerName != "Dana Ortiz" {
			plain++
			if !slices.ContainsFunc(a.Notes, func(n string) bool { return strings.Contains(n, "max_signals") }) {
				t.Fatalf("an alert without look-ups does not say so: %q", a.Notes)
			}
		}
	}
	if plain != 30 {
		t.Errorf("%d alerts without look-ups, want 30", plain)
	}
	if again := w.detect(t, deletions(t, 130)...); asked.calls != 1 || again.Counts.Repeats != 130 {
		t.Errorf("the same batch again asks %d times and counts %+v", asked.calls, again.Counts)
	}
}

// brokenLedger cannot be read or written.
type brokenLedger struct{}

func (brokenLedger) Delivered(context.Context, string, string) (bool, error) {
	return false, errors.New("storage is down")
}
func (brokenLedger) Mark(context.Context, string, string) error { return errors.New("storage is down") }

func TestWithoutLedgerAlertsGoOutRatherThanNot(t *testing.T) {
	w := newWorld(t)
	w.Ledger = brokenLedger{}
	batch := w.detect(t, record(t, "act-match-user"))
	if len(w.teams.taken()) != 1 || len(w.rows.taken()) != 1 || len(batch.Undelivered) != 0 {
		t.Errorf("%d cards, %d rows, %d undelivered", len(w.teams.taken()), len(w.rows.taken()), len(batch.Undelivered))
	}
}

// panicking breaks on one record.
type panicking struct{ pipeline.Rules }

func (p panicking) Match(dst []rule.Match, ev *event.Event) []rule.Match {
	if strings.Contains(ev.ResourceID(), "arc-broken") {
		panic("a bug")
	}
	return p.Rules.Match(dst, ev)
}

func TestARecordThatBreaksPodwatchCostsItself(t *testing.T) {
	w := newWorld(t)
	w.Rules = panicking{w.Rules}
	broken := strings.ReplaceAll(record(t, "act-lowercase-resourceid"), "arc-plant-07", "arc-broken")
	batch := w.detect(t, broken, record(t, "act-match-user"))
	if len(w.rows.taken()) != 1 || len(batch.Unreadable) != 1 || !strings.Contains(batch.Unreadable[0].Reason, "podwatch broke on it") {
		t.Errorf("%d rows, unreadable %v", len(w.rows.taken()), batch.Unreadable)
	}
}

// closedWindow holds everything back, or fails to.
type closedWindow struct {
	pipeline.None
	held []*alert.Alert
	err  error
}

func (c *closedWindow) Admit(context.Context, []*alert.Alert) (bool, error) { return false, nil }
func (c *closedWindow) Hold(_ context.Context, alerts []*alert.Alert) error {
	c.held = append(c.held, alerts...)
	return c.err
}
func (c *closedWindow) Summaries(ctx context.Context, post func(context.Context, []*alert.Alert) error) error {
	return post(ctx, c.held)
}

func TestAStormIsHeldForPeopleAndSummarised(t *testing.T) {
	w := newWorld(t)
	window := &closedWindow{}
	w.Windows = window
	batch := w.detect(t, deletions(t, 3)...)
	if batch.Counts.Held != 3 || len(w.teams.taken()) != 0 || len(w.rows.taken()) != 3 || len(batch.Undelivered) != 0 {
		t.Errorf("counts %+v, %d cards, %d rows", batch.Counts, len(w.teams.posts), len(w.rows.taken()))
	}
	p := pipeline.New(w.Options)
	for range 2 {
		if _, err := p.Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.teams.posts) != 1 || len(w.teams.posts[0]) != 3 {
		t.Errorf("%d summaries, want one of three alerts although the heartbeat came twice", len(w.teams.posts))
	}
}

func TestAStormIsPostedWhenItCannotBeHeld(t *testing.T) {
	w := newWorld(t)
	w.Windows = &closedWindow{err: errors.New("storage is down")}
	if w.detect(t, deletions(t, 3)...); len(w.teams.taken()) != 3 {
		t.Errorf("%d alerts posted, want 3", len(w.teams.taken()))
	}
}
