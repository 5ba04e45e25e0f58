package deliver

import (
	"context"
	"fmt"
	"time"

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
		for _, channel := range []string{ownChannel(route.Sink.Name()), route.Sink.Name()} {
			v.summarizeAll(ctx, channel, &result)
		}
		result.Delivered += v.delivered
		v.report()
	}
	return result
}

// summarizeAll posts the summaries of one storm channel. Each begins anew: reading what
// was held takes its time, and must not use up that of the posts.
func (v *visit) summarizeAll(ctx context.Context, channel string, result *Result) {
	for summary, err := range v.storms.Ended(ctx, channel) {
		if v.parked != nil {
			return
		}
		if err == nil {
			v.began = time.Now()
			result.Alerts += summary.Count
			err = v.summarize(ctx, summary)
		} else {
			err = fmt.Errorf("read the summary of a storm: %w", err)
		}
		if err != nil {
			result.Failed = append(result.Failed, Failure{Err: err})
		}
	}
}

// summarize posts one summary and forgets it. Its claim has the summary's id, so
// that two instances, or one that is killed in between, post it once. Alerts that
// were posted beside being held, by an instance that had them in another batch, are
// left out; those that it shows are settled. While another instance has one of them,
// the summary waits: that instance may be dead, and no other would report the alert.
func (v *visit) summarize(ctx context.Context, s state.Summary) error {
	g := groupOf(s)
	if len(g.Alerts) == 0 {
		return v.bury(ctx, s)
	}
	claim := v.ledger.Claim(ctx, []state.Key{{Sink: v.Sink.Name(), ID: s.ID}})
	switch claim[0].Owner {
	case state.Theirs:
		return nil // the next call finds it settled, or takes over
	case state.Nobody:
		return v.storms.Forget(ctx, s)
	}
	examples := g.Alerts
	mine, theirs := v.claim(ctx, &g)
	switch {
	case len(theirs) > 0:
		v.ledger.Settle(ctx, append(mine, claim...), state.Open)
		return nil // the next call finds them settled, or takes over
	case g.Total <= 0:
		v.ledger.Settle(ctx, claim, state.Unwanted)
		return v.storms.Forget(ctx, s)
	case len(mine) == 0:
		g.Alerts = examples // of a group with more alerts than texts
	}
	_, err := v.attempt(ctx, g, claim)
	v.ledger.Settle(ctx, mine, outcomeOf(err))
	v.settle(ctx, g.Alerts[:1], claim, err)
	f, failed := v.failed[g.Alerts[0]]
	switch {
	case failed && f.final:
		return v.bury(ctx, s)
	case failed:
		return fmt.Errorf("post the summary of %d alerts to %s: %w", s.Count, v.Sink.Name(), f.err)
	}
	return v.storms.Forget(ctx, s)
}

// bury makes dead letters of the alerts of a summary that the sink rejects for
// good.
func (v *visit) bury(ctx context.Context, s state.Summary) error {
	for _, text := range s.Texts {
		if err := v.dead.Add(ctx, text, "the summary of its storm was rejected by "+v.Sink.Name()); err != nil {
			return fmt.Errorf("keep the summary of %d alerts as dead letters: %w", s.Count, err)
		}
	}
	v.log.Error("a sink rejects the summary of a storm for good; its alerts are kept as dead letters", "sink", v.Sink.Name(), "alerts", s.Count)
	return v.storms.Forget(ctx, s)
}

// groupOf is the group of alerts that the sink shows for a summary. Texts that
// are no alerts count in its total only.
func groupOf(s state.Summary) alert.Group {
	g := alert.Group{Key: s.Group, Total: s.Count, Groups: s.Groups}
	for _, text := range s.Texts {
		if a, err := alert.Parse(text); err == nil {
			g.Alerts = append(g.Alerts, a)
		}
	}
	if s.Unreadable > 0 && len(g.Alerts) > 0 {
		g.Alerts[0].Note(fmt.Sprintf("of this storm %d stored documents could not be read; they are kept aside in storage", s.Unreadable))
	}
	return g
}
