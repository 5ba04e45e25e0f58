package deliver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/state"
)

// Times of a batch at one sink.
const (
	awaitAnswer = state.PostTime    // of a request that was sent
	postFor     = awaitAnswer / 4   // 15 s: after that no new request begins
	patience    = awaitAnswer / 12  // 5 s: a longer pause that a sink asks for parks it
	firstDelay  = awaitAnswer / 120 // 500 ms: before the second attempt
)

// A visit is the delivery of one batch to one route. Only one goroutine uses it
// at a time.
type visit struct {
	*Dispatcher
	Route
	began     time.Time
	parked    error // why no further request is made
	delivered int
	held      int
	failed    map[*alert.Alert]failure
	lacking   int   // alerts that the sink did not take
	first     error // of the first of them
	firstID   string
}

type failure struct {
	final bool
	err   error
}

func (d *Dispatcher) visit(route Route) *visit {
	return &visit{Dispatcher: d, Route: route, began: time.Now(), failed: map[*alert.Alert]failure{}}
}

// take delivers a piece: admit, claim, post, settle.
func (v *visit) take(ctx context.Context, alerts []*alert.Alert) {
	defer v.survive(alerts)
	var wanted, unwanted []*alert.Alert
	for _, a := range alerts {
		switch {
		case v.wants(a):
			wanted = append(wanted, a)
		case !a.Routine:
			unwanted = append(unwanted, a)
		}
	}
	v.decline(ctx, unwanted)
	for _, g := range v.admit(ctx, wanted) {
		v.post(ctx, g)
	}
}

// survive is deferred: after a panic the piece goes to the queue. Redelivery finds
// what was delivered in the ledger.
func (v *visit) survive(alerts []*alert.Alert) {
	cause := recover()
	if cause == nil {
		return
	}
	v.log.Error("panic in a delivery; this is a bug in podwatch", "sink", v.Sink.Name(), "alerts", len(alerts),
		"err", fmt.Sprint(cause), "stack", string(debug.Stack()))
	v.fail(slices.DeleteFunc(slices.Clone(alerts), func(a *alert.Alert) bool { return !v.wants(a) }),
		fmt.Errorf("deliver to %s: panic: %v", v.Sink.Name(), cause), false)
}

// decline settles alerts that this sink does not get. Then they are known to be
// complete when they come again, before anything is looked up for them. Routine
// alerts are recognised without.
func (v *visit) decline(ctx context.Context, alerts []*alert.Alert) {
	if len(alerts) > 0 {
		v.ledger.Settle(ctx, v.ledger.Claim(ctx, v.keys(alerts)), state.Unwanted)
	}
}

func (v *visit) keys(alerts []*alert.Alert) []state.Key {
	keys := make([]state.Key, len(alerts))
	for i, a := range alerts {
		keys[i] = state.Key{Sink: v.Sink.Name(), ID: a.AlertId}
	}
	return keys
}

// admit returns the groups that are to be posted now and holds the others. It
// does so also while the sink is parked, so that a storm does not fill the queue.
func (v *visit) admit(ctx context.Context, alerts []*alert.Alert) []alert.Group {
	if !v.People {
		return []alert.Group{{Alerts: alerts, Total: len(alerts)}}
	}
	var own, others []*alert.Alert
	for _, a := range alerts {
		if a.Own() {
			own = append(own, a)
		} else {
			others = append(others, a)
		}
	}
	name := v.Sink.Name()
	return slices.Concat(v.admitTo(ctx, ownChannel(name), alert.Groups(own)), v.admitTo(ctx, name, alert.Groups(others)))
}

// ownChannel is the storm channel of a sink's alerts about podwatch itself: a storm
// of deletions must not hold back that the feed is silent.
func ownChannel(sink string) string { return sink + "-own" }

// admitTo is admit for the groups of one storm channel.
func (v *visit) admitTo(ctx context.Context, channel string, groups []alert.Group) (now []alert.Group) {
	if len(groups) == 0 {
		return nil
	}
	keys, firsts := make([]string, len(groups)), make([]string, len(groups))
	for i, g := range groups {
		keys[i], firsts[i] = g.Key, g.Alerts[0].AlertId
	}
	admitted, err := v.storms.Admit(ctx, channel, keys, firsts)
	if err != nil {
		v.log.Warn("the storm windows cannot be used; at most 20 groups a minute are posted", "sink", v.Sink.Name(), "groups", len(groups), "err", err)
	}
	var later []alert.Group
	for i, g := range groups {
		if admitted[i] {
			now = append(now, g)
		} else {
			later = append(later, g)
		}
	}
	v.hold(ctx, channel, later)
	return now
}

// hold stores groups for the summary of their storm. What cannot be stored fails,
// and comes back through the queue.
func (v *visit) hold(ctx context.Context, channel string, groups []alert.Group) {
	var held []state.Held
	for _, g := range groups {
		for _, a := range g.Alerts {
			held = append(held, state.Held{Group: g.Key, ID: a.AlertId, Rank: a.RiskScore, Text: a.JSON()})
		}
	}
	if len(held) == 0 {
		return
	}
	if err := v.storms.Hold(ctx, channel, held); err != nil {
		for _, g := range groups {
			v.fail(g.Alerts, fmt.Errorf("hold for the summary of a storm: %w", err), false)
		}
		return
	}
	v.held += len(held)
}

// post delivers one group, request by request.
func (v *visit) post(ctx context.Context, g alert.Group) {
	if len(g.Alerts) == 0 {
		return
	}
	if v.closed() {
		v.fail(g.Alerts, v.parked, false)
		return
	}
	mine, theirs := v.claim(ctx, &g)
	v.fail(theirs, errTheirs, false)
	for len(mine) > 0 {
		n, err := v.attempt(ctx, g, mine)
		n = min(max(n, 1), len(mine))
		v.settle(ctx, g.Alerts[:n], mine[:n], err)
		g.Alerts, mine = g.Alerts[n:], mine[n:]
		if len(mine) > 0 && v.closed() {
			v.fail(g.Alerts, v.parked, false)
			v.ledger.Settle(ctx, mine, state.Open)
			return
		}
	}
}

// claim reduces a group to the alerts that this call owns, and returns those that
// another owner has: by the time the queue hands these over again, they are settled
// or free.
func (v *visit) claim(ctx context.Context, g *alert.Group) (mine []state.Claim, theirs []*alert.Alert) {
	claims := v.ledger.Claim(ctx, v.keys(g.Alerts))
	var alerts []*alert.Alert
	mine = claims[:0]
	for i, c := range claims {
		switch {
		case c.Owner == state.Mine:
			alerts, mine = append(alerts, g.Alerts[i]), append(mine, c)
		case c.Owner == state.Theirs:
			theirs = append(theirs, g.Alerts[i])
		default:
			g.Total-- // delivered before
		}
	}
	g.Total -= len(theirs)
	g.Alerts = alerts
	return mine, theirs
}

var errTheirs = errors.New("another instance is delivering it")

// closed reports whether no further request may begin, and notes why.
func (v *visit) closed() bool {
	if v.parked == nil && time.Since(v.began) >= postFor {
		v.parked = fmt.Errorf("no request begins later than %v after a batch", postFor)
	}
	return v.parked != nil
}

// attempt posts the first alerts of a group until the sink answers for good, or no
// further request may begin.
func (v *visit) attempt(ctx context.Context, g alert.Group, mine []state.Claim) (n int, err error) {
	for delay := firstDelay; ; delay *= 2 {
		if !mine[0].MayPost() {
			return len(mine), errExpired
		}
		n, err = v.once(ctx, g)
		wait, again := v.again(err, delay)
		if !again || !v.sleep(ctx, wait) {
			return n, err
		}
	}
}

var errExpired = errors.New("the claim ended before the request could begin")

// again decides whether a failed request is repeated within this batch, and parks
// the sink where that is of no use.
func (v *visit) again(err error, delay time.Duration) (wait time.Duration, again bool) {
	var e *outbound.Error
	switch {
	case err == nil:
		return 0, false
	case !errors.As(err, &e):
		return 0, false // not the sink: this group alone
	case e.Kind == outbound.Rejected:
		return 0, false
	case e.Kind == outbound.Unanswered, e.Kind == outbound.Forbidden, e.Kind == outbound.NoToken, e.RetryAfter > patience:
		v.parked = err
		return 0, false
	}
	wait = max(delay, e.RetryAfter)
	if time.Since(v.began)+wait >= postFor {
		v.parked = err
		return 0, false
	}
	return wait, true
}

// sleep waits and reports false when the context ended first.
func (v *visit) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// once makes one request. A panic in a sink costs the alerts of this request.
func (v *visit) once(ctx context.Context, g alert.Group) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, awaitAnswer)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			v.log.Error("panic in a sink; this is a bug in podwatch", "sink", v.Sink.Name(), "alert_id", g.Alerts[0].AlertId,
				"err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			n, err = len(g.Alerts), fmt.Errorf("post to %s: panic: %v", v.Sink.Name(), cause)
		}
	}()
	n, err = v.Sink.Post(ctx, g)
	if e, ok := errors.AsType[*outbound.Error](err); ok && e.Status >= 200 && e.Status <= 299 {
		err = nil // the status is the acceptance; the body has nothing to add
	}
	return n, err
}

// settle records what became of alerts that were posted.
func (v *visit) settle(ctx context.Context, alerts []*alert.Alert, claims []state.Claim, err error) {
	outcome := outcomeOf(err)
	switch outcome {
	case state.Accepted:
		v.delivered += len(alerts)
	case state.Unanswered:
		v.unanswered(ctx, alerts, claims, err)
	default:
		e, ok := errors.AsType[*outbound.Error](err)
		v.fail(alerts, err, ok && e.Kind == outbound.Rejected)
	}
	v.ledger.Settle(ctx, claims, outcome)
}

// outcomeOf is what the error of a post means for its alerts.
func outcomeOf(err error) state.Outcome {
	var e *outbound.Error
	switch {
	case err == nil:
		return state.Accepted
	case errors.As(err, &e) && e.Kind == outbound.Unanswered:
		return state.Unanswered
	}
	return state.Open
}

// unanswered records alerts whose request was sent whole and not answered. They
// are tried once more; the second time they count as accepted, because a service
// that accepts late would otherwise show the same alert for ever.
func (v *visit) unanswered(ctx context.Context, alerts []*alert.Alert, claims []state.Claim, err error) {
	for i, c := range claims {
		if !c.Unanswered {
			v.fail(alerts[i:i+1], err, false)
			continue
		}
		v.delivered++
		if !alerts[i].Own() { // the notice of it would be a reason for the next one
			v.ledger.NoteUnanswered(ctx, c.Key)
		}
		v.log.Warn("a sink did not answer twice; the alert counts as accepted", "sink", v.Sink.Name(), "alert_id", alerts[i].AlertId, "err", err)
	}
}

func (v *visit) fail(alerts []*alert.Alert, err error, final bool) {
	for _, a := range alerts {
		v.failed[a] = failure{final, err}
		if v.lacking++; v.first == nil {
			v.first, v.firstID = err, a.AlertId
		}
	}
}

// report writes one line for all that the sink lacks of a batch.
func (v *visit) report() {
	if v.lacking == 0 {
		return
	}
	attrs := []any{"alerts", v.lacking, "alert_id", v.firstID, "err", v.first}
	if e, ok := errors.AsType[*outbound.Error](v.first); ok && e.Kind == outbound.Forbidden && v.Refused(v.Sink.Name(), attrs...) {
		return
	}
	v.log.Warn("a sink did not take alerts", append([]any{"sink", v.Sink.Name()}, attrs...)...)
}
