package pipeline

import (
	"context"
	"errors"
	"fmt"

	"podwatch/handler/internal/alert"
)

// Heartbeat does what must happen when nothing arrives: it posts the summaries
// of storms whose window has ended, and the alerts that the state of the feed
// calls for. What fails is tried again by the next heartbeat, since both are
// kept in storage until they were delivered.
func (p *Pipeline) Heartbeat(ctx context.Context) (Counts, error) {
	var counts Counts
	summaries := p.Windows.Summaries(ctx, func(ctx context.Context, alerts []*alert.Alert) error {
		return p.summarise(ctx, alerts, &counts)
	})
	// Storm windows do not apply to the feed's alerts: they are few, and each is
	// about something else.
	feed := p.Feed.Check(ctx, func(ctx context.Context, a *alert.Alert) error {
		c, err := p.Redeliver(ctx, a)
		counts.Alerts++
		counts.Delivered += c.Delivered
		counts.Undelivered += c.Undelivered
		return err
	})
	return counts, errors.Join(summaries, feed)
}

// summarise posts the alerts of an ended window as one card to every sink for
// people. An alert that such a sink refuses for good is not kept for another
// try: it is on record at the other sinks, and send has logged the refusal.
func (p *Pipeline) summarise(ctx context.Context, held []*alert.Alert, counts *Counts) error {
	counts.Alerts += len(held)
	for _, route := range p.Routes {
		if !route.ForPeople {
			continue
		}
		due := held[:0:0]
		for _, a := range held {
			if !p.delivered(ctx, route, a) {
				due = append(due, a)
			}
		}
		if len(due) == 0 {
			continue
		}
		t := p.send(ctx, route, due)
		counts.Delivered += t.delivered
		if n := len(t.lacking) - len(t.rejected); n > 0 {
			counts.Undelivered += n
			return fmt.Errorf("post summary of %d alerts: %s did not take it; the next heartbeat tries again", n, route.Name())
		}
	}
	return nil
}
