package main

import (
	"context"
	"fmt"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/sink/teams"
)

// heldEvery is how often the console repeats how long alerts are still held.
const heldEvery = time.Minute

// watchHeld shows the page and the console which alerts are held for a summary, after
// each invocation that may have changed it.
func (r *localRun) watchHeld(ctx context.Context) error {
	tick := time.Tick(heldEvery)
	var before inbox.Held
	for again := false; ; {
		held, err := r.held(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.log.Warn("count the alerts that are held", "err", err)
		case held != before || again && held.Alerts > 0:
			r.inbox.SetHeld(held)
			r.say("%s", heldText(held, time.Now()))
			before = held
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.invoked:
			again = false
		case <-tick:
			again = true
		}
	}
}

// held asks the storage what waits for a summary. It is posted by the first timer behind
// the end of the window.
func (r *localRun) held(ctx context.Context) (inbox.Held, error) {
	n, until, err := r.storms.Waiting(ctx, teams.Name)
	if n == 0 || err != nil {
		return inbox.Held{}, err
	}
	if now := time.Now().Round(0); until.Before(now) {
		until = now
	}
	h := inbox.Held{Alerts: n}
	for _, fn := range r.host.App().Functions {
		if at := fn.Next(until); !at.IsZero() {
			h.Due = at.UTC()
		}
	}
	return h, nil
}

func heldText(h inbox.Held, now time.Time) string {
	if h.Alerts == 0 {
		return "No alert is held any more: the summary is posted."
	}
	return fmt.Sprintf("%s: the summary comes at %s, in %s.", count(h.Alerts, "alert is held", "alerts are held"), h.Due.Local().Format(time.TimeOnly), h.Due.Sub(now).Round(time.Second))
}
