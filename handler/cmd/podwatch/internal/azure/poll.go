package azure

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// A Wait is how [Client.Until] waits.
type Wait struct {
	Where string        // which causes apply, see Explain
	Every time.Duration // between two tries, unless the service asks for another time
	Limit time.Duration // of all of it
}

// A Failure is something that waiting does not mend, or has not mended in time.
type Failure struct {
	Cause
	Waited time.Duration // 0: there was nothing to wait for
	Err    error         // the latest error; nil: none, only not yet
}

func (f *Failure) Error() string {
	text := f.What
	if f.Err != nil && f.Err.Error() != f.What {
		text = fmt.Sprintf("%s (%v)", f.What, f.Err)
	}
	if f.Waited > 0 {
		text = fmt.Sprintf("gave up after %v: %s", f.Waited.Round(time.Second), text)
	}
	return text
}

// Unwrap returns the latest error.
func (f *Failure) Unwrap() error { return f.Err }

// progressEvery is how often the same state is said again.
const progressEvery = 30 * time.Second

// Until calls try until it returns no error and nothing to wait for. An error of a
// cause that passes is awaited for as long as that cause takes, any other ends the
// loop. The error is a *Failure, or the end of ctx.
func (c *Client) Until(ctx context.Context, w Wait, try func(context.Context) (waitingFor string, err error)) error {
	begin, said, saidAt := c.Now(), "", time.Time{}
	since := map[string]time.Time{} // when a cause was first met
	for {
		c.after.Store(0)
		state, err := try(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && state == "" {
			return nil
		}
		cause, now := Cause{What: state}, c.Now()
		from, limit := begin, w.Limit
		if err != nil {
			cause = Explain(w.Where, err)
			if since[cause.What].IsZero() {
				since[cause.What] = now
			}
			from, limit = since[cause.What], cause.Passes
			if limit == 0 {
				return &Failure{Cause: cause, Err: err}
			}
		}
		if now.Sub(from) >= limit {
			return &Failure{Cause: cause, Waited: now.Sub(from), Err: err}
		}
		if cause.What != said || now.Sub(saidAt) >= progressEvery {
			said, saidAt = cause.What, now
			c.Say(fmt.Sprintf("waiting: %s (for %v, at most %v)", cause.What, now.Sub(from).Round(time.Second), limit))
		}
		pause := cmp.Or(time.Duration(c.after.Load()), w.Every) // what the service asks for
		if err := c.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
