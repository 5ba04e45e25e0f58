package deliver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/state"
)

// A recorder is a sink that records what it is given and answers as told.
type recorder struct {
	name   string
	answer func(n int, ids []string) error // n: the request, from 0; nil: all are accepted

	mu       sync.Mutex
	requests [][]string // ids
	totals   []int
}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Post(ctx context.Context, g alert.Group) (int, error) {
	var ids []string
	for _, a := range g.Alerts {
		ids = append(ids, a.AlertId)
	}
	r.mu.Lock()
	n := len(r.requests)
	r.requests = append(r.requests, ids)
	r.totals = append(r.totals, g.Total)
	r.mu.Unlock()
	if r.answer == nil {
		return len(ids), nil
	}
	return len(ids), r.answer(n, ids)
}

func failing(e outbound.Error) func(int, []string) error {
	return func(int, []string) error { return &e }
}

// A world is one storage with dispatchers on it.
type world struct {
	ledger, documents state.Documents
	log               bytes.Buffer
}

func newWorld() *world { return &world{ledger: state.NewMemory(), documents: state.NewMemory()} }

func (w *world) dispatcher(routes ...deliver.Route) *deliver.Dispatcher {
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	return deliver.New(routes, state.NewLedger(w.ledger, log), state.NewStorms(w.documents, time.Now), state.NewDeadLetters(w.documents, time.Now), log)
}

func people(s deliver.Sink) deliver.Route { return deliver.Route{Sink: s, People: true} }
func rows(s deliver.Sink) deliver.Route   { return deliver.Route{Sink: s} }

func newAlert(id string) *alert.Alert {
	return &alert.Alert{AlertId: id, RuleId: "r", CallerId: "dana", ClusterId: "/c", RiskScore: 47}
}

func alerts(ids ...string) []*alert.Alert {
	var all []*alert.Alert
	for _, id := range ids {
		all = append(all, newAlert(id))
	}
	return all
}

func findingOf(a *alert.Alert) alert.Finding {
	return alert.Finding{ID: a.AlertId, Match: rule.Match{Routine: a.Routine, Rule: &rule.Rule{ID: a.RuleId, BuildingBlock: a.BuildingBlock}}}
}

func deliverAll(t *testing.T, d *deliver.Dispatcher, all ...*alert.Alert) deliver.Result {
	t.Helper()
	return d.Deliver(t.Context(), slices.Values([][]*alert.Alert{all}))
}

func failed(r deliver.Result) []string {
	var ids []string
	for _, f := range r.Failed {
		a, err := alert.Parse(f.Alert)
		if err != nil {
			panic(err)
		}
		ids = append(ids, a.AlertId)
	}
	return ids
}

func TestDeliveredOnce(t *testing.T) {
	w := newWorld()
	cards, table := &recorder{name: "cards"}, &recorder{name: "table"}
	d := w.dispatcher(people(cards), rows(table))
	r := deliverAll(t, d, alerts("1", "2")...)
	if r.Alerts != 2 || r.Delivered != 4 || len(r.Failed) != 0 || !r.Complete {
		t.Errorf("result %+v", r)
	}
	// Another instance has the same batch.
	again := w.dispatcher(people(cards), rows(table))
	if p := again.Pending(t.Context(), []alert.Finding{findingOf(newAlert("1")), findingOf(newAlert("3"))}); len(p) != 1 || p[0].ID != "3" {
		t.Errorf("pending %v, want 3 alone", p)
	}
	deliverAll(t, again, alerts("1", "2")...)
	if len(cards.requests) != 1 || len(table.requests) != 1 {
		t.Errorf("%d cards and %d requests for rows, want one each", len(cards.requests), len(table.requests))
	}
}

// TestNotForPeople holds what does not interrupt anybody: it is recorded, and known
// to be complete when it comes again.
func TestNotForPeople(t *testing.T) {
	for name, change := range map[string]func(*alert.Alert){
		"suppressed":     func(a *alert.Alert) { a.Suppressed = true },
		"routine":        func(a *alert.Alert) { a.Routine = true },
		"building block": func(a *alert.Alert) { a.BuildingBlock = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			cards, table := &recorder{name: "cards"}, &recorder{name: "table"}
			d := w.dispatcher(people(cards), rows(table))
			a := newAlert("1")
			change(a)
			deliverAll(t, d, a)
			if len(cards.requests) != 0 || len(table.requests) != 1 {
				t.Errorf("%d cards, %d requests for rows", len(cards.requests), len(table.requests))
			}
			if p := w.dispatcher(people(cards), rows(table)).Pending(t.Context(), []alert.Finding{findingOf(a)}); len(p) != 0 {
				t.Error("it is pending when it comes again")
			}
		})
	}
}

// TestAPanicCostsTheRequest: the other sink has the alerts, and the one that
// panicked gets them again.
func TestAPanicCostsTheRequest(t *testing.T) {
	w := newWorld()
	table := &recorder{name: "table"}
	broken := &recorder{name: "cards", answer: func(int, []string) error { panic("a bug") }}
	r := deliverAll(t, w.dispatcher(people(broken), rows(table)), alerts("1", "2")...)
	if got := failed(r); !slices.Equal(got, []string{"1", "2"}) || r.Failed[0].Final || r.Delivered != 2 {
		t.Errorf("failed %v, result %+v", got, r)
	}
	if !strings.Contains(w.log.String(), "a bug") || !strings.Contains(w.log.String(), "stack=") {
		t.Errorf("the log has no stack: %s", w.log.String())
	}
	good := &recorder{name: "cards"}
	if r := deliverAll(t, w.dispatcher(people(good), rows(table)), alerts("1", "2")...); r.Delivered != 2 || len(table.requests) != 1 {
		t.Errorf("result %+v, %d requests for rows", r, len(table.requests))
	}
}

// brokenDocuments panics at each call.
type brokenDocuments struct{ state.Documents }

func (brokenDocuments) Fetch(context.Context, string) (state.Document, error) { panic("a bug") }
func (brokenDocuments) Create(context.Context, string, []byte) (state.Document, error) {
	panic("a bug")
}

// TestAPanicInStorageCostsItsRequest: the alerts are posted all the same.
func TestAPanicInStorageCostsItsRequest(t *testing.T) {
	w := &world{ledger: brokenDocuments{}, documents: brokenDocuments{}}
	cards, table := &recorder{name: "cards"}, &recorder{name: "table"}
	d := w.dispatcher(people(cards), rows(table))
	if p := d.Pending(t.Context(), []alert.Finding{findingOf(newAlert("1"))}); len(p) != 1 {
		t.Errorf("pending %v, want the finding", p)
	}
	if r := deliverAll(t, d, alerts("1")...); r.Delivered != 2 || len(r.Failed) != 0 {
		t.Errorf("result %+v", r)
	}
	if !strings.Contains(w.log.String(), "a bug") {
		t.Errorf("the log is silent about it: %s", w.log.String())
	}
}

// TestAPanicBetweenRequestsCostsThePiece: it goes to the queue, and the other sink
// has its alerts.
func TestAPanicBetweenRequestsCostsThePiece(t *testing.T) {
	w := newWorld()
	cards, table := &recorder{name: "cards"}, &recorder{name: "table"}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	broken := deliver.New([]deliver.Route{people(cards), rows(table)}, state.NewLedger(w.ledger, log), nil, nil, log) // no storms at all
	r := deliverAll(t, broken, alerts("1")...)
	if !slices.Equal(failed(r), []string{"1"}) || r.Failed[0].Final || len(table.requests) != 1 || !strings.Contains(w.log.String(), "stack=") {
		t.Errorf("result %+v, %d rows, log %s", r, len(table.requests), w.log.String())
	}
}

// TestWhatAnAnswerMeans holds, for each kind of failure, how often the sink is
// asked within one batch, how long that takes, and whether another try is of use.
func TestWhatAnAnswerMeans(t *testing.T) {
	for _, c := range []struct {
		name     string
		failure  outbound.Error
		requests int
		atMost   time.Duration
		final    bool
	}{
		{"unreachable is tried until no request may begin", outbound.Error{Kind: outbound.Unreachable}, 5, 15 * time.Second, false},
		{"busy is tried until no request may begin", outbound.Error{Kind: outbound.Busy, Status: 503}, 5, 15 * time.Second, false},
		{"busy for a moment is waited for", outbound.Error{Kind: outbound.Busy, Status: 429, RetryAfter: 5 * time.Second}, 3, 15 * time.Second, false},
		{"busy for longer parks the sink", outbound.Error{Kind: outbound.Busy, Status: 429, RetryAfter: 6 * time.Second}, 1, 0, false},
		{"no answer parks the sink", outbound.Error{Kind: outbound.Unanswered}, 1, 0, false},
		{"no token parks the sink", outbound.Error{Kind: outbound.NoToken}, 1, 0, false},
		{"a missing permission parks the sink", outbound.Error{Kind: outbound.Forbidden, Status: 403}, 1, 0, false},
		{"a rejected alert is not tried again", outbound.Error{Kind: outbound.Rejected, Status: 400}, 1, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.failure.Err = errors.New("cause")
				s := &recorder{name: "cards", answer: failing(c.failure)}
				start := time.Now()
				r := deliverAll(t, newWorld().dispatcher(people(s)), alerts("1")...)
				if took := time.Since(start); len(s.requests) != c.requests || took > c.atMost {
					t.Errorf("%d requests in %v, want %d in at most %v", len(s.requests), took, c.requests, c.atMost)
				}
				if len(r.Failed) != 1 || r.Failed[0].Final != c.final {
					t.Errorf("failed %+v, want one with Final %t", r.Failed, c.final)
				}
			})
		})
	}
}

// TestAParkedSinkIsLeftAlone: after a failure that is not the group's own, the other
// groups of the batch go to the queue at once; after a rejection they are posted.
func TestAParkedSinkIsLeftAlone(t *testing.T) {
	for kind, requests := range map[outbound.Kind]int{outbound.Unanswered: 1, outbound.Rejected: 2} {
		s := &recorder{name: "cards", answer: failing(outbound.Error{Kind: kind, Err: errors.New("cause")})}
		a, b := newAlert("1"), newAlert("2")
		b.CallerId = "robin"
		r := deliverAll(t, newWorld().dispatcher(people(s)), a, b)
		if len(s.requests) != requests || len(r.Failed) != 2 {
			t.Errorf("kind %d: %d requests, failed %v", kind, len(s.requests), failed(r))
		}
	}
}

// TestUnansweredTwiceIsAccepted: a service that accepts late would otherwise show
// the same alert for ever.
func TestUnansweredTwiceIsAccepted(t *testing.T) {
	w := newWorld()
	late := &recorder{name: "cards", answer: failing(outbound.Error{Kind: outbound.Unanswered, Err: errors.New("timed out")})}
	if r := deliverAll(t, w.dispatcher(people(late)), alerts("1")...); len(r.Failed) != 1 {
		t.Errorf("first: %+v", r)
	}
	if r := deliverAll(t, w.dispatcher(people(late)), alerts("1")...); len(r.Failed) != 0 || r.Delivered != 1 {
		t.Errorf("second: %+v", r)
	}
	if !strings.Contains(w.log.String(), "did not answer twice") {
		t.Errorf("the log has no warning: %s", w.log.String())
	}
	deliverAll(t, w.dispatcher(people(late)), alerts("1")...)
	if len(late.requests) != 2 {
		t.Errorf("%d requests, want 2", len(late.requests))
	}
	own := newAlert("own") // counting it would be the reason for another one
	own.Source = alert.OwnSource
	for range 2 {
		deliverAll(t, w.dispatcher(people(late)), own)
	}
	if n, err := state.NewLedger(w.ledger, slog.New(slog.DiscardHandler)).CountUnanswered(t.Context()); n != 1 || err != nil {
		t.Errorf("%d alerts are noted, %v; want 1", n, err)
	}
}

// TestOneInstancePosts: while one instance posts, another that has the same alert
// leaves it to the queue.
func TestOneInstancePosts(t *testing.T) {
	w := newWorld()
	second := &recorder{name: "cards"}
	var other deliver.Result
	first := &recorder{name: "cards", answer: func(int, []string) error {
		other = deliverAll(t, w.dispatcher(people(second)), alerts("1")...)
		return nil
	}}
	r := deliverAll(t, w.dispatcher(people(first)), alerts("1")...)
	if r.Delivered != 1 || len(second.requests) != 0 || !slices.Equal(failed(other), []string{"1"}) || other.Failed[0].Final {
		t.Errorf("first %+v, second posted %d and failed %v", r, len(second.requests), failed(other))
	}
	// The queue hands it over again.
	if r := deliverAll(t, w.dispatcher(people(second)), alerts("1")...); len(r.Failed) != 0 || len(second.requests) != 0 {
		t.Errorf("redelivered: %+v, %d posts", r, len(second.requests))
	}
}

// TestTooManyFailures: a reply has no room for more than 1,000.
func TestTooManyFailures(t *testing.T) {
	var pieces [][]*alert.Alert
	for i := range 2 {
		var piece []*alert.Alert
		for j := range 600 {
			piece = append(piece, newAlert(fmt.Sprintf("%d-%d", i, j)))
		}
		pieces = append(pieces, piece)
	}
	s := &recorder{name: "table", answer: failing(outbound.Error{Kind: outbound.Forbidden, Err: errors.New("cause")})}
	r := newWorld().dispatcher(rows(s)).Deliver(t.Context(), slices.Values(pieces))
	if r.Alerts != 1200 || len(r.Failed) != 1000 || r.Complete {
		t.Errorf("%d alerts, %d failed, complete %t", r.Alerts, len(r.Failed), r.Complete)
	}
}

// TestARefusalIsOneErrorLine: somebody must mend it, and reads about it every 15
// minutes.
func TestARefusalIsOneErrorLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := &recorder{name: "cards", answer: failing(outbound.Error{Kind: outbound.Forbidden, Status: 403, Err: errors.New("cause")})}
		d := w.dispatcher(people(s))
		for i := range 31 {
			deliverAll(t, d, alerts(fmt.Sprint(i))...)
			time.Sleep(time.Minute)
		}
		if n := strings.Count(w.log.String(), "level=ERROR"); n != 3 {
			t.Errorf("%d error lines in 31 minutes, want 3:\n%s", n, w.log.String())
		}
	})
}

// TestStorm: the first alerts of a group are posted, those of the next minutes are
// one summary.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cards, table := &recorder{name: "cards"}, &recorder{name: "table"}
		d := w.dispatcher(people(cards), rows(table))
		deliverAll(t, d, alerts("1")...)
		r := deliverAll(t, d, alerts("2", "3")...)
		if r.Held != 2 || len(r.Failed) != 0 || len(cards.requests) != 1 || len(table.requests) != 2 {
			t.Errorf("result %+v, %d cards, %d requests for rows", r, len(cards.requests), len(table.requests))
		}
		if r := d.Summarize(t.Context()); r.Alerts != 0 {
			t.Errorf("a summary of %d alerts before the window ended", r.Alerts)
		}
		time.Sleep(state.StormLength + time.Second)
		// A sink that is down keeps the summary.
		cards.answer = failing(outbound.Error{Kind: outbound.Forbidden, Err: errors.New("cause")})
		if r := d.Summarize(t.Context()); len(r.Failed) != 1 {
			t.Errorf("while the sink is down: %+v", r)
		}
		cards.answer = nil
		if r := d.Summarize(t.Context()); r.Alerts != 2 || len(r.Failed) != 0 {
			t.Errorf("summary: %+v", r)
		}
		if last := len(cards.totals) - 1; cards.totals[last] != 2 {
			t.Errorf("the summary is about %d alerts, want 2", cards.totals[last])
		}
		posted := len(cards.requests)
		if d.Summarize(t.Context()); len(cards.requests) != posted {
			t.Error("the summary is posted again")
		}
	})
}

// TestHeldAndPosted: an alert that one instance posts with its batch and another one,
// which has it in a batch of its own, holds, is on one card. What a summary showed is
// not posted when it comes again.
func TestHeldAndPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		second := &recorder{name: "cards"}
		first := &recorder{name: "cards", answer: func(n int, _ []string) error {
			if n == 0 {
				if r := deliverAll(t, w.dispatcher(people(second)), alerts("2", "3")...); r.Held != 2 {
					t.Errorf("the other instance: %+v", r)
				}
			}
			return nil
		}}
		d := w.dispatcher(people(first))
		deliverAll(t, d, alerts("1", "2")...)
		time.Sleep(state.StormLength + time.Second)
		d.Summarize(t.Context())
		deliverAll(t, w.dispatcher(people(second)), alerts("3")...)
		want := [][]string{{"1", "2"}, {"3"}}
		if !slices.EqualFunc(first.requests, want, slices.Equal) || first.totals[1] != 1 || len(second.requests) != 0 {
			t.Errorf("posted %v, totals %v, and by the other instance %v; want %v", first.requests, first.totals, second.requests, want)
		}
	})
}

// TestAnAlertAboutPodwatchDoesNotWaitForAStorm of deletions; a storm of its own kind is
// held like any other.
func TestAnAlertAboutPodwatchDoesNotWaitForAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cards := &recorder{name: "cards"}
		d := newWorld().dispatcher(people(cards))
		var storm []*alert.Alert
		for i := range 50 {
			a := newAlert(fmt.Sprint(i))
			a.CallerId = fmt.Sprint("user", i)
			storm = append(storm, a)
		}
		if r := deliverAll(t, d, storm...); r.Held != 30 {
			t.Fatalf("result %+v", r)
		}
		for i := range 25 {
			own := newAlert(fmt.Sprint("own", i))
			own.Source = alert.OwnSource
			deliverAll(t, d, own)
		}
		if n := len(cards.requests); n != 40 || cards.requests[20][0] != "own0" {
			t.Errorf("%d cards, want 20 of the storm and 20 about podwatch", n)
		}
		time.Sleep(state.StormLength + time.Second)
		if r := d.Summarize(t.Context()); r.Alerts != 35 || len(r.Failed) > 0 || cards.totals[40] != 1 {
			t.Errorf("summaries: %+v of %v alerts", r, cards.totals[40:])
		}
	})
}

// slowToRead is storage in which what was held takes long to read.
type slowToRead struct{ state.Documents }

func (s slowToRead) Fetch(ctx context.Context, name string) (state.Document, error) {
	if strings.Contains(name, "/held/") {
		time.Sleep(20 * time.Second)
	}
	return s.Documents.Fetch(ctx, name)
}

// TestASummaryThatTakesLongToReadIsPosted.
func TestASummaryThatTakesLongToReadIsPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.documents = slowToRead{w.documents}
		cards := &recorder{name: "cards"}
		d := w.dispatcher(people(cards))
		deliverAll(t, d, alerts("1")...)
		deliverAll(t, d, alerts("2")...)
		time.Sleep(state.StormLength + time.Second)
		if r := d.Summarize(t.Context()); len(r.Failed) > 0 || len(cards.requests) != 2 {
			t.Errorf("%+v, %d cards", r, len(cards.requests))
		}
	})
}

// TestASummaryOfWhatAnotherInstanceIsPosting waits until that has told of it, or is dead
// for long enough to be taken over from. Nothing is lost, and nothing said twice.
func TestASummaryOfWhatAnotherInstanceIsPosting(t *testing.T) {
	for name, c := range map[string]struct {
		posted bool // by the other instance
		total  int
	}{"it posts ten of them": {true, 20}, "it was killed before": {false, 30}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				cards := &recorder{name: "cards"}
				d := w.dispatcher(people(cards))
				deliverAll(t, d, alerts("0")...)
				var ids []string
				var keys []state.Key
				for i := range 30 {
					ids = append(ids, fmt.Sprint(i+1))
					keys = append(keys, state.Key{Sink: "cards", ID: ids[i]})
				}
				deliverAll(t, d, alerts(ids...)...)
				time.Sleep(state.StormLength + time.Second)
				other := state.NewLedger(w.ledger, slog.New(slog.DiscardHandler))
				claims := other.Claim(t.Context(), keys[:10])
				if r := d.Summarize(t.Context()); len(r.Failed) > 0 || len(cards.requests) != 1 {
					t.Errorf("while they are claimed: %+v, %d cards", r, len(cards.requests))
				}
				if c.posted {
					other.Settle(t.Context(), claims, state.Accepted)
				}
				time.Sleep(5 * time.Minute)
				if r := w.dispatcher(people(cards)).Summarize(t.Context()); len(r.Failed) > 0 || len(cards.requests) != 2 || cards.totals[1] != c.total {
					t.Errorf("%+v, cards about %v alerts, want one about %d", r, cards.totals[1:], c.total)
				}
				if r := d.Summarize(t.Context()); r.Alerts != 0 {
					t.Errorf("the summary is due again: %+v", r)
				}
			})
		})
	}
}

// TestARejectedSummaryIsKept: its alerts become dead letters instead of being tried
// at each heartbeat.
func TestARejectedSummaryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cards := &recorder{name: "cards"}
		d := w.dispatcher(people(cards))
		deliverAll(t, d, alerts("1")...)
		deliverAll(t, d, alerts("2")...)
		time.Sleep(state.StormLength + time.Second)
		cards.answer = failing(outbound.Error{Kind: outbound.Rejected, Status: 400, Err: errors.New("cause")})
		d.Summarize(t.Context())
		var kept []string
		for letter, err := range state.NewDeadLetters(w.documents, time.Now).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			a, err := alert.Parse(letter.Text)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, a.AlertId)
		}
		if !slices.Equal(kept, []string{"2"}) {
			t.Errorf("dead letters %v, want 2", kept)
		}
		posted := len(cards.requests)
		if d.Summarize(t.Context()); len(cards.requests) != posted {
			t.Error("the summary is posted again")
		}
	})
}

// TestTheRareComesFirst: of one batch the groups of the highest risk are posted
// first, of those the smallest.
func TestTheRareComesFirst(t *testing.T) {
	cards := &recorder{name: "cards"}
	many, rare, grave := alerts("1", "2", "3"), newAlert("4"), newAlert("5")
	rare.CallerId, grave.CallerId, grave.RiskScore = "robin", "kim", 73
	deliverAll(t, newWorld().dispatcher(people(cards)), append(many, rare, grave)...)
	want := [][]string{{"5"}, {"4"}, {"1", "2", "3"}}
	if !slices.EqualFunc(cards.requests, want, slices.Equal) {
		t.Errorf("posted %v, want %v", cards.requests, want)
	}
}
