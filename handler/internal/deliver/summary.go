package deliver

import (
	"context"
	"fmt"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/state"
)

// Summarize posts the summaries of storms that ended, one group each, to the
// sinks for people. A summary that was not posted is due again at the next call.
func (d *Dispatcher) Summarize(ctx context.Context) Result {
	result := Result{Complete: true}
	for _, route := range d.routes {
		if !route.People {
			continue
		}
		v := d.visit(route)
		for summary, err := range d.storms.Ended(ctx, route.Sink.Name()) {
			if err != nil {
				result.Failed = append(result.Failed, Failure{Err: fmt.Errorf("read the summary of a storm: %w", err)})
				continue
			}
			result.Alerts += summary.Count
			if err := v.summarize(ctx, summary); err != nil {
				result.Failed = append(result.Failed, Failure{Err: err})
			}
			if v.closed() {
				break
			}
		}
		result.Delivered += v.delivered
		v.report()
	}
	return result
}

// summarize posts one summary and forgets it. Its claim has the summary's id, so
// that two instances, or one that is killed in between, post it once.
func (v *visit) summarize(ctx context.Context, s state.Summary) error {
	g := groupOf(s)
	claim := v.ledger.Claim(ctx, []state.Key{{Sink: v.Sink.Name(), ID: s.ID}})
	if claim[0].Owner == state.Theirs {
		return nil // the next call finds it settled, or takes over
	}
	if claim[0].Owner == state.Mine {
		_, err := v.attempt(ctx, g, claim)
		v.settle(ctx, g.Alerts[:1], claim, err)
		if f, failed := v.failed[g.Alerts[0]]; failed && !f.final {
			return fmt.Errorf("post the summary of %d alerts to %s: %w", s.Count, v.Sink.Name(), f.err)
		}
	}
	return v.storms.Forget(ctx, s)
}

// groupOf is the group of alerts that the sink shows for a summary. Texts that
// are no alerts, and documents that could not be read, are counted.
func groupOf(s state.Summary) alert.Group {
	g := alert.Group{Key: s.Group, Total: s.Count, Groups: s.Groups}
	unreadable := s.Unreadable
	for _, text := range s.Texts {
		a, err := alert.Parse(text)
		if err != nil {
			unreadable++
			continue
		}
		g.Alerts = append(g.Alerts, a)
	}
	return g
}
