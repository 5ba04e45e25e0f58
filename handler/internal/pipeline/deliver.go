package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink"
)

// deliver hands the alerts to all sinks side by side and returns those that at
// least one sink still lacks. settled is what the ledger answered about them.
func (p *Pipeline) deliver(ctx context.Context, alerts []*alert.Alert, settled *settled, counts *Counts) []*alert.Alert {
	if len(alerts) == 0 {
		return nil
	}
	tallies := make([]tally, len(p.Routes))
	var wait sync.WaitGroup
	for i, route := range p.Routes {
		wait.Go(func() {
			err := p.guard("deliver to "+route.Name(), func() error {
				tallies[i] = p.deliverTo(ctx, route, alerts, settled)
				return nil
			})
			if err != nil {
				tallies[i] = lackingAll(alerts, err)
			}
		})
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
	failures        map[*alert.Alert]error // why, where a sink said so
}

// deliverTo delivers to one sink what it should have and does not have yet, and
// holds storms back from people.
func (p *Pipeline) deliverTo(ctx context.Context, route Route, alerts []*alert.Alert, settled *settled) tally {
	if route.ForPeople {
		return p.deliverBy(ctx, route, alerts, settled, p.post)
	}
	return p.deliverBy(ctx, route, alerts, settled, p.send)
}

// deliverAtOnce is deliverTo without regard to storms.
func (p *Pipeline) deliverAtOnce(ctx context.Context, route Route, alerts []*alert.Alert, settled *settled) tally {
	return p.deliverBy(ctx, route, alerts, settled, p.send)
}

// deliverBy hands to send what the sink should have and does not have yet. What an
// exception keeps from the sink is marked all the same: only with that mark does
// a repeat of the record find its alert settled at every sink, before look-ups.
func (p *Pipeline) deliverBy(ctx context.Context, route Route, alerts []*alert.Alert, settled *settled, send func(context.Context, Route, []*alert.Alert) tally) tally {
	var wanted, unwanted []*alert.Alert
	for _, a := range alerts {
		switch {
		case !p.mayWant(route, a):
		case route.ForPeople && a.Suppressed:
			unwanted = append(unwanted, a)
		default:
			wanted = append(wanted, a)
		}
	}
	p.mark(ctx, route, unwanted)
	var all tally
	left := p.flights.alone(ctx, route.Name(), wanted, func(mine []*alert.Alert) {
		if due := settled.lacking(ctx, route, mine); len(due) > 0 {
			all.add(send(ctx, route, due))
		}
	})
	all.lacking = append(all.lacking, left...)
	return all
}

// post sends alerts to a sink for people, a card for each group, unless their
// storm is being held back. After a failure that is not the group's own the other
// groups are not tried: the sink is down or busy, and they go to the queue. Nor
// is a storage that failed asked again.
func (p *Pipeline) post(ctx context.Context, route Route, due []*alert.Alert) tally {
	var all tally
	var down error
	windows := true
	for _, group := range alert.Group(due) {
		if down != nil {
			all.add(lackingAll(group, down))
			continue
		}
		if windows {
			held, err := p.hold(ctx, group)
			if held {
				all.held += len(group)
				continue
			}
			windows = err == nil
		}
		t := p.send(ctx, route, group)
		all.add(t)
		for _, err := range t.failures {
			if !rejected(err) && !errors.Is(err, errBroke) {
				down = err
			}
		}
	}
	return all
}

// lackingAll is the tally of alerts that were not tried because of err.
func lackingAll(alerts []*alert.Alert, err error) tally {
	t := tally{lacking: alerts, failures: map[*alert.Alert]error{}}
	for _, a := range alerts {
		t.failures[a] = err
	}
	return t
}

func (t *tally) add(other tally) {
	t.delivered += other.delivered
	t.held += other.held
	t.lacking = append(t.lacking, other.lacking...)
	if t.failures == nil {
		t.failures = map[*alert.Alert]error{}
	}
	maps.Copy(t.failures, other.failures)
}

// mayWant reports whether an alert belongs at a sink unless an exception
// suppresses it, which is known only after the look-ups.
func (p *Pipeline) mayWant(route Route, a *alert.Alert) bool {
	if !route.ForPeople {
		return true
	}
	if a.Routine {
		return false
	}
	r := p.Rules.Rule(a.RuleId)
	return r == nil || !r.BuildingBlock
}

// holdWithin bounds what the storm window may cost a card.
const holdWithin = 5 * time.Second

// hold keeps a group for the summary of its window and reports whether it did.
// When storage fails the group is to be posted at once.
func (p *Pipeline) hold(ctx context.Context, group []*alert.Alert) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, holdWithin)
	defer cancel()
	admitted := false
	err := p.guard("hold a storm", func() (err error) {
		if admitted, err = p.Windows.Admit(ctx, group); admitted || err != nil {
			return err
		}
		return p.Windows.Hold(ctx, group)
	})
	if err != nil {
		p.Log.Warn("the storm window cannot be used; alerts are posted at once", "alerts", len(group), "err", err)
	}
	return err == nil && !admitted, err
}

// send delivers and marks. The mark comes after the sink's acceptance, so a
// crash in between costs one repeat and never an alert.
func (p *Pipeline) send(ctx context.Context, route Route, due []*alert.Alert) tally {
	var t tally
	failures := p.handOver(ctx, route, due)
	var accepted []*alert.Alert
	for i, a := range due {
		if failures == nil || failures[i] == nil {
			accepted = append(accepted, a)
			continue
		}
		t.lacking = append(t.lacking, a)
		if t.failures == nil {
			t.failures = map[*alert.Alert]error{}
		}
		t.failures[a] = failures[i]
	}
	t.delivered = len(accepted)
	p.mark(ctx, route, accepted)
	if len(t.lacking) > 0 {
		// One line per sink and attempt, not one per alert. What is refused for
		// good is an error only where it is given up; here there is another try.
		p.Log.Warn("a sink did not take alerts", "sink", route.Name(), "alerts", len(t.lacking),
			"alert_id", t.lacking[0].AlertId, "err", t.failures[t.lacking[0]])
	}
	return t
}

// handOver calls the sink. One that panics, as on an alert that breaks its card,
// counts as having accepted nothing.
func (p *Pipeline) handOver(ctx context.Context, route Route, due []*alert.Alert) (failures []error) {
	err := p.guard("post to "+route.Name(), func() error {
		failures = route.Deliver(ctx, due)
		return nil
	})
	if err != nil {
		return slices.Repeat([]error{err}, len(due))
	}
	return failures
}

// marksAtOnce and markWithin bound the marks of one delivery: a ledger that is
// down must not use up the time of the invocation.
const (
	marksAtOnce = 16
	markWithin  = 10 * time.Second
)

// mark notes what a sink accepted. It does so even when ctx has ended, because
// the last alert of a slow delivery was accepted all the same.
func (p *Pipeline) mark(ctx context.Context, route Route, accepted []*alert.Alert) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markWithin)
	defer cancel()
	var marking errgroup.Group
	marking.SetLimit(marksAtOnce)
	for _, a := range accepted {
		marking.Go(func() error {
			err := p.guard("mark delivery", func() error { return p.Ledger.Mark(ctx, route.Name(), a.AlertId) })
			if err != nil {
				return fmt.Errorf("alert %q: %w", a.AlertId, err)
			}
			return nil
		})
	}
	if err := marking.Wait(); err != nil {
		p.Log.Warn("the ledger cannot be written; alerts may be delivered twice", "sink", route.Name(), "alerts", len(accepted), "err", err)
	}
}

// giveUp writes the one error line for alerts that a sink refuses for good.
func (p *Pipeline) giveUp(route Route, alerts []*alert.Alert, err error) {
	p.Log.Error("a sink refuses alerts for good; they go to the poison queue", "sink", route.Name(), "alerts", len(alerts),
		"alert_id", alerts[0].AlertId, "err", err)
}

// rejected reports whether trying again is of no use.
func rejected(err error) bool {
	var e *sink.Error
	return errors.As(err, &e) && !e.Retryable
}

// ErrRejected marks an alert that no further try will deliver.
var ErrRejected = errors.New("refused for good")

// Redeliver tries once more to deliver an alert from the queue to the sinks that
// lack it. A storm is held back here as well: an outage must not end in a card
// for each alert that waited. An error that is [ErrRejected] means that no
// further try is of use; any other means that the queue should hand the alert
// over again later.
func (p *Pipeline) Redeliver(ctx context.Context, a *alert.Alert) (Counts, error) {
	return p.redeliver(ctx, a, p.deliverTo)
}

// redeliver delivers one alert by the given way to all sinks, one after another.
func (p *Pipeline) redeliver(ctx context.Context, a *alert.Alert, deliverTo func(context.Context, Route, []*alert.Alert, *settled) tally) (Counts, error) {
	counts := Counts{Alerts: 1}
	settled := p.ask(ctx, p.Routes, []*alert.Alert{a})
	defer settled.close()
	var failures []error
	var refusing []Route
	for _, route := range p.Routes {
		t := deliverTo(ctx, route, []*alert.Alert{a}, settled)
		counts.Delivered += t.delivered
		counts.Held += t.held
		if len(t.lacking) == 0 {
			continue
		}
		err := t.failures[a]
		if err == nil {
			err = fmt.Errorf("%s did not take it", route.Name())
		}
		if rejected(err) {
			refusing = append(refusing, route)
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return counts, nil
	}
	counts.Undelivered = 1
	err := fmt.Errorf("redeliver alert %q: %w", a.AlertId, errors.Join(failures...))
	if len(refusing) < len(failures) {
		return counts, err // the refusals are for the last try to report
	}
	for i, route := range refusing {
		p.giveUp(route, []*alert.Alert{a}, failures[i])
	}
	return counts, errors.Join(ErrRejected, err)
}
