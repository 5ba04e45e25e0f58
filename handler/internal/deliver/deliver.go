// Package deliver hands alerts to the sinks.
//
// When [Dispatcher.Deliver] returns, each alert was accepted by every sink that
// wants it, is held in storage for a summary, or is in Result.Failed; no
// goroutine of it is left. Delivery is at least once, and once for the eye: per
// alert and sink one instance owns the claim and posts (see [state.Ledger]).
//
// Sinks are insisted on, but a batch waits for none: 15 seconds after it began
// no new request begins, and a sink that timed out or asks for a longer pause is
// left to the queue at once. A request that was sent is awaited for 60 seconds.
package deliver

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/state"
)

// A Sink delivers to one place. Post makes one request with the first n alerts
// of a group, as many as fit into it; with a nil error they were accepted. Its
// error is an *outbound.Error where the cause is known, and n then counts the
// alerts that the error is about, at least one. Posting the same alert twice must
// do no harm beyond a repeated card.
type Sink interface {
	Name() string
	Post(ctx context.Context, g alert.Group) (n int, err error)
}

// A Route is a sink and what goes to it. A sink for people interrupts somebody:
// suppressed and routine alerts and those of building-block rules do not go
// there, alerts that belong together go as one group, and storms are held.
type Route struct {
	Sink   Sink
	People bool
}

// wants reports whether an alert belongs at a route.
func (r Route) wants(a *alert.Alert) bool {
	return !r.People || !a.Suppressed && !a.Routine && !a.BuildingBlock
}

// mayWant is wants for what is known of a finding. Whether an exception suppresses
// it is not; one that was suppressed before is settled in the ledger.
func (r Route) mayWant(f alert.Finding) bool {
	return !r.People || !f.Routine && !f.Rule.BuildingBlock
}

// A Dispatcher delivers along its routes. It is safe for concurrent use.
type Dispatcher struct {
	routes []Route
	ledger *state.Ledger
	storms *state.Storms
	dead   *state.DeadLetters
	log    *slog.Logger

	mu      sync.Mutex
	refused map[string]time.Time // when it was logged that a sink must be mended
}

// New returns a Dispatcher.
func New(routes []Route, l *state.Ledger, s *state.Storms, dead *state.DeadLetters, log *slog.Logger) *Dispatcher {
	return &Dispatcher{routes: routes, ledger: l, storms: s, dead: dead, log: log, refused: map[string]time.Time{}}
}

// Pending returns the findings that some route may want and does not have, in
// their order. It asks route by route, each about those that no route before
// lacks.
func (d *Dispatcher) Pending(ctx context.Context, findings []alert.Finding) []alert.Finding {
	lacking := make([]bool, len(findings))
	for _, route := range d.routes {
		var keys []state.Key
		var asked []int
		for i, f := range findings {
			if !lacking[i] && route.mayWant(f) {
				keys = append(keys, state.Key{Sink: route.Sink.Name(), ID: f.ID})
				asked = append(asked, i)
			}
		}
		for k, settled := range d.ledger.Settled(ctx, keys) {
			lacking[asked[k]] = !settled
		}
	}
	var pending []alert.Finding
	for i, f := range findings {
		if lacking[i] {
			pending = append(pending, f)
		}
	}
	return pending
}

// A Result is what became of the alerts of one batch.
type Result struct {
	Alerts     int
	Suppressed int
	Delivered  int // alert and sink
	Held       int // alert and sink: kept for the summary of a storm
	Failed     []Failure
	Complete   bool // false: more alerts failed than Failed has room for, and the batch must come again
}

// A Failure is an alert that at least one sink lacks.
type Failure struct {
	Alert []byte // its JSON
	Final bool   // every sink that lacks it rejects it for good
	Err   error
}

// maxFailed bounds Result.Failed: an invocation's reply must stay of a size that
// the host can store.
const maxFailed = 1000

// Deliver delivers one batch, in pieces, in order.
func (d *Dispatcher) Deliver(ctx context.Context, pieces iter.Seq[[]*alert.Alert]) Result {
	result := Result{Complete: true}
	visits := make([]*visit, len(d.routes))
	for i, route := range d.routes {
		visits[i] = d.visit(route)
	}
	for alerts := range pieces {
		result.Alerts += len(alerts)
		for _, a := range alerts {
			if a.Suppressed {
				result.Suppressed++
			}
		}
		var wait sync.WaitGroup // to all routes, side by side
		for _, v := range visits {
			wait.Go(func() { v.take(ctx, alerts) })
		}
		wait.Wait()
		result.collect(visits, alerts)
	}
	for _, v := range visits {
		result.Delivered += v.delivered
		result.Held += v.held
		v.report()
	}
	return result
}

// collect adds the alerts of a piece that a route lacks.
func (r *Result) collect(visits []*visit, alerts []*alert.Alert) {
	for _, a := range alerts {
		failure := Failure{Final: true}
		for _, v := range visits {
			if f, failed := v.failed[a]; failed {
				failure.Final = failure.Final && f.final
				failure.Err = joined(failure.Err, f.err)
			}
		}
		switch {
		case failure.Err == nil:
		case len(r.Failed) == maxFailed:
			r.Complete = false
		default:
			failure.Err = fmt.Errorf("deliver alert %q: %w", a.AlertId, failure.Err)
			failure.Alert = a.JSON()
			r.Failed = append(r.Failed, failure)
		}
	}
	for _, v := range visits {
		clear(v.failed)
	}
}

func joined(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w; %w", a, b)
}

// cureEvery is how often a sink that refuses podwatch is logged as an error.
const cureEvery = 15 * time.Minute

// Refused writes the error line of a sink that refuses podwatch until somebody mends
// it, unless one was written in the last 15 minutes. It reports whether it did.
func (d *Dispatcher) Refused(sink string, attrs ...any) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.refused[sink]; ok && time.Since(at) < cureEvery {
		return false
	}
	d.refused[sink] = time.Now()
	d.log.Error("a sink refuses podwatch until somebody mends it; alerts wait in the queue", append([]any{"sink", sink}, attrs...)...)
	return true
}
