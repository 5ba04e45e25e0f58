// Package enrich makes alerts of findings: it adds the names of callers, what
// else happened, and whether an exception expects it.
//
// Look-ups are bounded in time and fail open: an alert notes what is missing. A
// panic in a step costs that step, and the alert gets a note. Findings become
// alerts in pieces, so that a batch of very many occupies the memory of one
// piece.
package enrich

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/surroundings"
)

// Parts are what an Enricher asks. The zero value of each works and knows nothing.
type Parts struct {
	Directory    *directory.Directory
	Surroundings *surroundings.Surroundings
	Exceptions   *exception.Set
	Portal       alert.Portal
	Now          func() time.Time
	Log          *slog.Logger
}

// An Enricher is safe for concurrent use.
type Enricher struct{ Parts }

// New returns an Enricher of the given parts.
func New(p Parts) *Enricher { return &Enricher{p} }

// pieceSize is the number of alerts of one piece.
const pieceSize = 1000

// Enrich yields the alerts of findings, in their order, at most 1,000 at a time.
// around yields the events that arrived beside them. Of each rule, only the first
// max_signals findings of the batch are looked up; the others become alerts too.
func (e *Enricher) Enrich(ctx context.Context, findings []alert.Finding, around iter.Seq[*event.Event]) iter.Seq[[]*alert.Alert] {
	return func(yield func([]*alert.Alert) bool) {
		signals := alert.Signals{}
		for part := range slices.Chunk(findings, pieceSize) {
			if !yield(e.piece(ctx, part, around, signals)) {
				return
			}
		}
	}
}

// A draft is a finding on its way to an alert.
type draft struct {
	*alert.Alert
	event *event.Event // nil: the record could not be read again
	who   caller.Caller
}

func (e *Enricher) piece(ctx context.Context, findings []alert.Finding, around iter.Seq[*event.Event], signals alert.Signals) []*alert.Alert {
	now := e.Now()
	alerts := make([]*alert.Alert, len(findings))
	var looked []*draft
	for i, f := range findings {
		d := e.draft(f, now)
		alerts[i] = d.Alert
		switch within := signals.Within(f.Rule); {
		case d.event != nil && within:
			looked = append(looked, &d)
			continue // its event is kept for as long as the look-ups take
		case d.event != nil:
			d.Note(fmt.Sprintf("nothing was looked up for this alert: the rule raised more than %d at once (max_signals)", f.Rule.MaxSignals))
		}
		e.complete(&d)
	}
	e.lookUp(ctx, looked, around)
	for _, d := range looked {
		e.complete(d)
	}
	return alerts
}

// draft makes the alert of a finding from its record alone.
func (e *Enricher) draft(f alert.Finding, now time.Time) (d draft) {
	err := e.guard("read the record again", func() error {
		ev, err := f.Event()
		if err != nil {
			return err
		}
		who := caller.From(ev)
		d = draft{Alert: alert.New(f, ev, who, now), event: ev, who: who}
		return nil
	})
	if err != nil {
		d = draft{Alert: alert.Bare(f, now, err.Error())}
	}
	return d
}

// lookUp asks for all alerts of a piece at once.
func (e *Enricher) lookUp(ctx context.Context, drafts []*draft, around iter.Seq[*event.Event]) {
	if len(drafts) == 0 {
		return
	}
	callers := make([]*caller.Caller, len(drafts))
	for i, d := range drafts {
		who := d.who.Clone()
		callers[i] = &who
	}
	e.step("look up callers", drafts, func() {
		e.Directory.Resolve(ctx, callers)
		for i, d := range drafts {
			d.SetCaller(d.who, *callers[i])
		}
	})
	for i, d := range drafts {
		d.who = *callers[i]
	}
	e.step("look up what else happened", drafts, func() { e.lookAround(ctx, drafts, around) })
}

// lookAround adds to alerts what else their callers did, and what else happened to
// their clusters. Nothing is asked on account of routine.
func (e *Enricher) lookAround(ctx context.Context, drafts []*draft, around iter.Seq[*event.Event]) {
	var questions []surroundings.Question
	var asked []*draft
	for _, d := range drafts {
		if !d.Routine {
			asked = append(asked, d)
			questions = append(questions, surroundings.Question{
				Subscription: d.SubscriptionId, Cluster: d.ClusterId, Callers: d.who.Names(),
				Time: d.EventTime, CorrelationID: d.CorrelationId, Operation: d.Operation,
			})
		}
	}
	for i, answer := range e.Surroundings.Look(ctx, questions, surroundings.FromEvents(around)) {
		d := asked[i]
		d.ResourceTags, d.Timeline = answer.Tags, answer.Timeline
		if answer.Explanation != "" {
			d.Note(answer.Explanation)
		}
		for _, n := range answer.Notes {
			d.Note(n)
		}
	}
}

// complete adds what follows from all that was found out: links, and whether an
// exception suppresses the alert.
func (e *Enricher) complete(d *draft) {
	e.step("complete the alert", []*draft{d}, func() {
		d.Links = e.Portal.Links(d.Alert)
		if d.event != nil {
			d.SuppressedBy = e.Exceptions.Suppress(d.Alert, d.event)
			d.Suppressed = d.SuppressedBy != ""
		}
	})
}

// step runs a step for alerts, to which it notes if that failed.
func (e *Enricher) step(name string, drafts []*draft, f func()) {
	err := e.guard(name, func() error { f(); return nil })
	if err == nil {
		return
	}
	for _, d := range drafts {
		d.Note(fmt.Sprintf("this alert is not complete: %v", err))
	}
}

// guard runs a step and turns a panic into an error: it is a bug of podwatch and
// must cost no more than the step.
func (e *Enricher) guard(step string, f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			// Of a panic in a goroutine the text contains the stack, which is for the log.
			what, _, _ := strings.Cut(fmt.Sprint(cause), "\n")
			err = fmt.Errorf("%s: panic: %s", step, what)
			e.Log.Error("panic in enrichment; this is a bug in podwatch", "step", step, "err", fmt.Sprint(cause), "stack", string(debug.Stack()))
		}
	}()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}
