package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink"
)

// deliver hands the alerts to all sinks side by side and returns those that at
// least one sink still lacks.
func (p *Pipeline) deliver(ctx context.Context, alerts []*alert.Alert, counts *Counts) []*alert.Alert {
	if len(alerts) == 0 {
		return nil
	}
	tallies := make([]tally, len(p.Routes))
	var wait sync.WaitGroup
	for i, route := range p.Routes {
		wait.Go(func() { tallies[i] = p.deliverTo(ctx, route, alerts) })
	}
	wait.Wait()
	lacking := map[*alert.Alert]bool{}
	for _, t := range tallies {
		counts.Delivered += t.delivered
		counts.Held += t.held
		for _, a := range t.lacking {
			lacking[a] = true
		}
	}
	var undelivered []*alert.Alert
	for _, a := range alerts {
		if lacking[a] {
			undelivered = append(undelivered, a)
		}
	}
	return undelivered
}

// A tally is what became of a batch at one sink.
type tally struct {
	delivered, held int
	lacking         []*alert.Alert
	rejected        map[*alert.Alert]error // of those, refused for good
}

// deliverTo delivers to one sink what it should have and does not have yet.
func (p *Pipeline) deliverTo(ctx context.Context, route Route, alerts []*alert.Alert) tally {
	var due []*alert.Alert
	for _, a := range alerts {
		if p.wants(route, a) && !p.delivered(ctx, route, a) {
			due = append(due, a)
		}
	}
	if len(due) == 0 {
		return tally{}
	}
	if !route.ForPeople {
		return p.send(ctx, route, due)
	}
	var all tally
	for _, group := range alert.Group(due) {
		if p.hold(ctx, group) {
			all.held += len(group)
			continue
		}
		all.add(p.send(ctx, route, group))
	}
	return all
}

func (t *tally) add(other tally) {
	t.delivered += other.delivered
	t.held += other.held
	t.lacking = append(t.lacking, other.lacking...)
	for a, err := range other.rejected {
		if t.rejected == nil {
			t.rejected = map[*alert.Alert]error{}
		}
		t.rejected[a] = err
	}
}

// wants reports whether an alert belongs at a sink at all.
func (p *Pipeline) wants(route Route, a *alert.Alert) bool {
	if !route.ForPeople {
		return true
	}
	if a.Suppressed || a.Routine {
		return false
	}
	r := p.Rules.Rule(a.RuleId)
	return r == nil || !r.BuildingBlock
}

// delivered asks the ledger. When it cannot answer, the alert counts as not
// delivered: twice is better than never.
func (p *Pipeline) delivered(ctx context.Context, route Route, a *alert.Alert) bool {
	done, err := p.Ledger.Delivered(ctx, route.Name(), a.AlertId)
	if err != nil {
		p.Log.Warn("the ledger cannot be read; the alert may be delivered twice", "sink", route.Name(), "alert_id", a.AlertId, "err", err)
	}
	return done
}

// everywhere reports whether every sink that wants the alert has it.
func (p *Pipeline) everywhere(ctx context.Context, a *alert.Alert) bool {
	for _, route := range p.Routes {
		done, err := p.Ledger.Delivered(ctx, route.Name(), a.AlertId)
		if !done || err != nil {
			return false
		}
	}
	return len(p.Routes) > 0
}

// hold keeps a group for the summary of its window. When storage fails it is
// posted at once.
func (p *Pipeline) hold(ctx context.Context, group []*alert.Alert) bool {
	admitted, err := p.Windows.Admit(ctx, group)
	if err == nil && admitted {
		return false
	}
	if err == nil {
		err = p.Windows.Hold(ctx, group)
	}
	if err != nil {
		p.Log.Warn("the storm window cannot be used; the alerts are posted at once", "alerts", len(group), "err", err)
		return false
	}
	return true
}

// send delivers and marks. The mark comes after the sink's acceptance, so a
// crash in between costs one repeat and never an alert.
func (p *Pipeline) send(ctx context.Context, route Route, due []*alert.Alert) tally {
	var t tally
	failures := route.Deliver(ctx, due)
	for i, a := range due {
		var failure error
		if failures != nil {
			failure = failures[i]
		}
		if failure == nil {
			t.delivered++
			if err := p.Ledger.Mark(ctx, route.Name(), a.AlertId); err != nil {
				p.Log.Warn("the ledger cannot be written; the alert may be delivered twice", "sink", route.Name(), "alert_id", a.AlertId, "err", err)
			}
			continue
		}
		t.lacking = append(t.lacking, a)
		if rejected(failure) {
			if t.rejected == nil {
				t.rejected = map[*alert.Alert]error{}
			}
			t.rejected[a] = failure
		}
	}
	p.logFailures(route, due, failures, &t)
	return t
}

// logFailures writes one line per sink and attempt, not one per alert.
func (p *Pipeline) logFailures(route Route, due []*alert.Alert, failures []error, t *tally) {
	if len(t.lacking) == 0 {
		return
	}
	first := t.lacking[0]
	for i, a := range due {
		if a != first {
			continue
		}
		if len(t.rejected) > 0 {
			p.Log.Error("a sink refuses alerts for good", "sink", route.Name(), "alerts", len(t.lacking), "alert_id", first.AlertId, "err", failures[i])
		} else {
			p.Log.Warn("a sink did not take alerts", "sink", route.Name(), "alerts", len(t.lacking), "alert_id", first.AlertId, "err", failures[i])
		}
	}
}

// rejected reports whether trying again is of no use.
func rejected(err error) bool {
	var e *sink.Error
	return errors.As(err, &e) && !e.Retryable
}

// ErrRejected marks an alert that no further try will deliver.
var ErrRejected = errors.New("refused for good")

// Redeliver tries once more to deliver an alert from the queue to the sinks that
// lack it. An error that is [ErrRejected] means that no further try is of use;
// any other means that the queue should hand the alert over again later.
func (p *Pipeline) Redeliver(ctx context.Context, a *alert.Alert) (Counts, error) {
	counts := Counts{Alerts: 1}
	var failures []error
	final := true
	for _, route := range p.Routes {
		if !p.wants(route, a) || p.delivered(ctx, route, a) {
			continue
		}
		t := p.send(ctx, route, []*alert.Alert{a})
		counts.Delivered += t.delivered
		if len(t.lacking) == 0 {
			continue
		}
		if err := t.rejected[a]; err != nil {
			failures = append(failures, err)
			continue
		}
		final = false
		failures = append(failures, fmt.Errorf("%s did not take it", route.Name()))
	}
	if len(failures) == 0 {
		return counts, nil
	}
	counts.Undelivered = 1
	err := fmt.Errorf("redeliver alert %q: %w", a.AlertId, errors.Join(failures...))
	if final {
		err = errors.Join(ErrRejected, err)
	}
	return counts, err
}
