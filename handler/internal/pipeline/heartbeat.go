package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"podwatch/handler/internal/alert"
)

// Heartbeat does what must happen when nothing arrives: it posts the summaries
// of storms whose window has ended, and the alerts that the state of the feed
// calls for. What fails is tried again by the next heartbeat, since both are
// kept in storage until they were delivered.
func (p *Pipeline) Heartbeat(ctx context.Context) (Counts, error) {
	var counts Counts
	summaries := p.guard("post summaries", func() error {
		return p.Windows.Summaries(ctx, func(ctx context.Context, alerts []*alert.Alert) error {
			return p.summarise(ctx, alerts, &counts)
		})
	})
	// Storm windows do not apply to the feed's alerts: they are few, and each is
	// about something else.
	feed := p.Feed.Check(ctx, func(ctx context.Context, a *alert.Alert) error {
		c, err := p.redeliver(ctx, a, p.deliverAtOnce)
		counts.Alerts++
		counts.Delivered += c.Delivered
		counts.Undelivered += c.Undelivered
		if errors.Is(err, ErrRejected) {
			return p.bury(ctx, []*alert.Alert{a}, err)
		}
		return err
	})
	return counts, errors.Join(summaries, feed)
}

// summarise posts the alerts of an ended window as one card to every sink for
// people. What such a sink refuses for good goes to the poison queue instead of
// being tried at each heartbeat.
func (p *Pipeline) summarise(ctx context.Context, held []*alert.Alert, counts *Counts) error {
	counts.Alerts += len(held)
	people := slices.DeleteFunc(slices.Clone(p.Routes), func(r Route) bool { return !r.ForPeople })
	settled := p.ask(ctx, people, held)
	defer settled.close()
	var failures []error
	for _, route := range people {
		t := p.deliverAtOnce(ctx, route, held, settled)
		counts.Delivered += t.delivered
		counts.Undelivered += len(t.lacking)
		var refused []*alert.Alert
		for _, a := range t.lacking {
			if rejected(t.failures[a]) {
				refused = append(refused, a)
			}
		}
		if len(refused) > 0 {
			p.giveUp(route, refused, t.failures[refused[0]])
			failures = append(failures, p.bury(ctx, refused, t.failures[refused[0]]))
		}
		if n := len(t.lacking) - len(refused); n > 0 {
			failures = append(failures, fmt.Errorf("post summary of %d alerts: %s did not take it; the next heartbeat tries again", n, route.Name()))
		}
	}
	return errors.Join(failures...)
}

// bury puts alerts into the poison queue, with the reason.
func (p *Pipeline) bury(ctx context.Context, alerts []*alert.Alert, reason error) error {
	for _, a := range alerts {
		a.Note("not delivered: " + reason.Error())
		if err := p.Poison.Bury(ctx, a); err != nil {
			return fmt.Errorf("put alert %q into the poison queue: %w", a.AlertId, err)
		}
	}
	return nil
}
