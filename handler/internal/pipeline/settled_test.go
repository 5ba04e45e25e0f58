package pipeline_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/pipeline"
)

// slowLedger answers after 5 ms and counts the questions.
type slowLedger struct {
	pipeline.Ledger
	questions, now, most atomic.Int64
}

func (l *slowLedger) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	l.questions.Add(1)
	now := l.now.Add(1)
	defer l.now.Add(-1)
	for most := l.most.Load(); now > most && !l.most.CompareAndSwap(most, now); most = l.most.Load() {
	}
	time.Sleep(5 * time.Millisecond)
	return l.Ledger.Delivered(ctx, sink, alertID)
}

// TestASlowLedgerDoesNotUseUpTheInvocation: it is asked once about each alert and
// sink, many questions at a time, and nothing else waits for it.
func TestASlowLedgerDoesNotUseUpTheInvocation(t *testing.T) {
	w := newWorld(t)
	bodies := deletions(t, 1000)
	synctest.Test(t, func(t *testing.T) {
		ledger := &slowLedger{Ledger: w.Ledger}
		w.Ledger = ledger
		begun := time.Now()
		w.detect(t, bodies...)
		if took := time.Since(begun); took > 200*time.Millisecond {
			t.Errorf("the batch waited %s for the ledger, want 2,000 questions of 5 ms, 64 at once", took)
		}
		if n := ledger.questions.Load(); n != 2000 {
			t.Errorf("%d questions about 1,000 alerts and 2 sinks", n)
		}
		if most := ledger.most.Load(); most > 64 {
			t.Errorf("%d questions at once, want at most 64", most)
		}
	})
	if len(w.rows.taken()) != 1000 || len(w.teams.taken()) != 1000 {
		t.Errorf("%d rows, %d on cards", len(w.rows.taken()), len(w.teams.taken()))
	}
}

// duringLookUps runs a function while callers are looked up.
type duringLookUps struct {
	pipeline.None
	run func()
}

func (d duringLookUps) Resolve(context.Context, []*caller.Caller) { d.run() }

// TestWhatAnotherInvocationDeliversDuringTheLookUpsIsNotRepeated: the ledger's
// answer is outdated by then.
func TestWhatAnotherInvocationDeliversDuringTheLookUpsIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	body := record(t, "act-match-user")
	var p *pipeline.Pipeline
	var looking atomic.Bool
	w.Directory = duringLookUps{run: func() {
		if looking.CompareAndSwap(false, true) {
			p.Detect(t.Context(), events(body))
		}
	}}
	p = pipeline.New(w.Options)
	p.Detect(t.Context(), events(body))
	if cards, rows := len(w.teams.taken()), len(w.rows.taken()); cards != 1 || rows != 1 {
		t.Errorf("%d cards and %d rows, want one each", cards, rows)
	}
}
