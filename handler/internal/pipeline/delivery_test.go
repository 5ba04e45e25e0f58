package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/sink"
)

func events(bodies ...string) *invocation.Events {
	in := &invocation.Events{}
	for _, body := range bodies {
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(body), Sequence: -1})
	}
	return in
}

// asked tells of each look-up of the ledger.
type asked struct {
	pipeline.Ledger
	tell func(sink string)
}

func (l asked) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	done, err := l.Ledger.Delivered(ctx, sink, alertID)
	l.tell(sink)
	return done, err
}

// TestTheSameDeletionOnTwoPartitionsAtOnceIsOneCard: both invocations find the
// ledger empty, the second while the first is with Teams.
func TestTheSameDeletionOnTwoPartitionsAtOnceIsOneCard(t *testing.T) {
	w := newWorld(t)
	posting, second := make(chan struct{}), make(chan struct{})
	var first sync.Once
	w.teams.fail = func(*alert.Alert) error {
		first.Do(func() { close(posting); <-second })
		return nil
	}
	var met sync.Once
	w.Ledger = asked{w.Ledger, func(sink string) {
		select {
		case <-posting: // the first has asked already
			if sink == "teams" {
				met.Do(func() { close(second) })
			}
		default:
		}
	}}
	body := record(t, "act-match-user")
	p := pipeline.New(w.Options)
	var wait sync.WaitGroup
	wait.Go(func() { p.Detect(t.Context(), events(body)) })
	<-posting
	wait.Go(func() { p.Detect(t.Context(), events(body)) })
	wait.Wait()
	if cards, rows := len(w.teams.taken()), len(w.rows.taken()); cards != 1 || rows != 1 {
		t.Errorf("%d cards and %d rows, want one each", cards, rows)
	}
}

// TestADeliveryThatFailsIsTriedByTheOneThatWaitedForIt: the second invocation
// must not take the first's failure for a delivery.
func TestADeliveryThatFailsIsTriedByTheOneThatWaitedForIt(t *testing.T) {
	w := newWorld(t)
	var tries int
	w.teams.fail = func(*alert.Alert) error {
		if tries++; tries == 1 {
			return &sink.Error{Sink: "teams", Status: 503, Retryable: true, Err: errors.New("busy")}
		}
		return nil
	}
	body := record(t, "act-match-user")
	p := pipeline.New(w.Options)
	var wait sync.WaitGroup
	undelivered := make(chan int, 2)
	for range 2 {
		wait.Go(func() { undelivered <- len(p.Detect(t.Context(), events(body)).Undelivered) })
	}
	wait.Wait()
	if n := <-undelivered + <-undelivered; len(w.teams.taken()) != 1 || n != 1 {
		t.Errorf("%d cards, %d in the queue; want one card, and one in the queue that the ledger will stop", len(w.teams.taken()), n)
	}
}

// lateLedger does not work when the context has ended, as storage does not.
type lateLedger struct{ pipeline.Ledger }

func (l lateLedger) Mark(ctx context.Context, sink, alertID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.Ledger.Mark(ctx, sink, alertID)
}

func TestWhatWasAcceptedAtTheLastMomentIsMarked(t *testing.T) {
	w := newWorld(t)
	w.Ledger = lateLedger{w.Ledger}
	ctx, cancel := context.WithCancel(t.Context())
	w.teams.fail = func(*alert.Alert) error { cancel(); return nil }
	p := pipeline.New(w.Options)
	p.Detect(ctx, events(record(t, "act-match-user")))
	p.Detect(t.Context(), events(record(t, "act-match-user")))
	if n := len(w.teams.taken()); n != 1 {
		t.Errorf("%d cards, want one", n)
	}
}

// TestASinkThatIsDownIsNotAskedForEachGroup: each try may take most of a minute.
func TestASinkThatIsDownIsNotAskedForEachGroup(t *testing.T) {
	w := newWorld(t)
	tries := 0
	w.teams.fail = func(*alert.Alert) error {
		tries++
		return &sink.Error{Sink: "teams", Status: 500, Retryable: true, Err: errors.New("down")}
	}
	other := strings.ReplaceAll(record(t, "act-match-user"), "dana.ortiz", "robin")
	other = strings.ReplaceAll(strings.ReplaceAll(other, "c0a2d6f4-15be", "d0a2d6f4-15be"), "d7b0c5a2", "e7b0c5a2")
	batch := w.detect(t, record(t, "act-match-user"), other)
	if len(batch.Undelivered) != 2 || tries != 1 || len(w.rows.taken()) != 2 {
		t.Errorf("%d undelivered after %d tries, %d rows; want both after one try, and both rows", len(batch.Undelivered), tries, len(w.rows.taken()))
	}
}

// admitFirst lets the first alert through and holds the others.
type admitFirst struct {
	pipeline.None
	held []*alert.Alert
	seen bool
}

func (f *admitFirst) Admit(context.Context, []*alert.Alert) (bool, error) {
	first := !f.seen
	f.seen = true
	return first, nil
}

func (f *admitFirst) Hold(_ context.Context, alerts []*alert.Alert) error {
	f.held = append(f.held, alerts...)
	return nil
}

func TestAnOutageDoesNotEndInACardForEachAlertThatWaited(t *testing.T) {
	w := newWorld(t)
	window := &admitFirst{}
	w.Windows = window
	p := pipeline.New(w.Options)
	for _, id := range []string{"1", "2", "3"} {
		counts, err := p.Redeliver(t.Context(), &alert.Alert{AlertId: id, RuleId: "r", CallerId: "dana"})
		if err != nil || counts.Delivered+counts.Held != 2 {
			t.Errorf("alert %s: %+v, %v", id, counts, err)
		}
	}
	if len(w.teams.taken()) != 1 || len(window.held) != 2 || len(w.rows.taken()) != 3 {
		t.Errorf("%d cards, %d held, %d rows; want 1, 2 and 3", len(w.teams.taken()), len(window.held), len(w.rows.taken()))
	}
}

// grave keeps what is buried.
type grave struct {
	buried []*alert.Alert
	err    error
}

func (g *grave) Bury(_ context.Context, a *alert.Alert) error {
	if g.err == nil {
		g.buried = append(g.buried, a)
	}
	return g.err
}

func TestASummaryThatIsRefusedForGoodGoesToThePoisonQueue(t *testing.T) {
	w := newWorld(t)
	w.Windows = &closedWindow{held: []*alert.Alert{{AlertId: "1", RuleId: "r"}, {AlertId: "2", RuleId: "r"}}}
	w.teams.fail = func(*alert.Alert) error {
		return &sink.Error{Sink: "teams", Status: 404, Err: errors.New("the flow is gone")}
	}
	g := &grave{err: errors.New("storage is down")}
	w.Poison = g
	if _, err := pipeline.New(w.Options).Heartbeat(t.Context()); err == nil {
		t.Error("the held alerts would be forgotten although they are nowhere")
	}
	g.err = nil
	if _, err := pipeline.New(w.Options).Heartbeat(t.Context()); err != nil {
		t.Error(err)
	}
	if len(g.buried) != 2 {
		t.Fatalf("%d alerts in the poison queue, want 2", len(g.buried))
	}
	for _, a := range g.buried {
		if notes := strings.Join(a.Notes, "|"); !strings.HasPrefix(notes, "not delivered: ") || !strings.Contains(notes, "the flow is gone") {
			t.Errorf("alert %s does not say why: %q", a.AlertId, notes)
		}
	}
}
