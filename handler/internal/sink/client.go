package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"podwatch/handler/internal/outbound"
)

// Options of a delivery. The zero value is right for production.
type Options struct {
	Transport http.RoundTripper // nil: that of package outbound
	Logger    *slog.Logger      // one debug line for a try that failed and will be repeated; nil: none
	Tries     int               // at most, within the context's deadline; 0: 8
}

const (
	oddTries = 2                      // after answers that no sink should give
	delay    = 500 * time.Millisecond // before the second try, then doubling
	maxDelay = 16 * time.Second       // between two tries
	maxWait  = 2 * time.Minute        // longest wait that the other side can ask for within a delivery
)

// A Client makes the deliveries of one sink. It is safe for concurrent use.
type Client struct {
	name string
	http *outbound.Client
	o    Options
}

// NewClient returns the client of the sink with that name, which delivers to a
// service at endpoint.
func NewClient(name, service string, endpoint outbound.Endpoint, token outbound.Token, o Options) *Client {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Tries = cmp.Or(o.Tries, 8)
	return &Client{
		name: name,
		http: &outbound.Client{Service: service, Endpoint: endpoint, Token: token, Transport: o.Transport},
		o:    o,
	}
}

// Fail returns the error of this sink for alerts that cannot become a request.
func (c *Client) Fail(err error) *Error { return &Error{Sink: c.name, Err: err} }

// Do makes one delivery: it tries until the answer is 2xx, the other side
// refuses for good, or no further try fits before the deadline. When the other
// side asks to wait for longer than that, Do gives up at once and reports the
// time, so that the caller can park the alert. The error is an [*Error]. request
// makes the request of a try.
func (c *Client) Do(ctx context.Context, request func(ctx context.Context) (*http.Request, error)) error {
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return c.outOfTime(ctx, n-1, nil)
		}
		failure, most := c.once(ctx, request)
		if failure == nil || most == 1 {
			return errorOrNil(failure)
		}
		if ctx.Err() != nil {
			return c.outOfTime(ctx, n, failure)
		}
		if n >= most {
			failure.Err = fmt.Errorf("%w (%s)", failure.Err, tries(n))
			return failure
		}
		wait := waitAfter(n, failure.RetryAfter)
		if deadline, ok := ctx.Deadline(); wait > maxWait || ok && time.Until(deadline) <= wait {
			failure.Err = fmt.Errorf("%w (%s, no time for another)", failure.Err, tries(n))
			return failure
		}
		c.o.Logger.DebugContext(ctx, "delivery will be tried again", "sink", c.name, "attempt", n,
			"wait_ms", wait.Milliseconds(), "err", failure)
		if !sleep(ctx, wait) {
			return c.outOfTime(ctx, n, failure)
		}
	}
}

// once makes one try. A failure comes with the most tries that it is worth.
func (c *Client) once(ctx context.Context, request func(ctx context.Context) (*http.Request, error)) (failure *Error, most int) {
	r, err := request(ctx)
	if err != nil {
		return c.Fail(errors.New("make the request: its address is not a URL")), 1
	}
	_, err = c.http.Do(r)
	var e *outbound.Error
	if !errors.As(err, &e) || e.Status >= 200 && e.Status <= 299 {
		return nil, 0 // the status is the acceptance; what the body says is of no use
	}
	failure = &Error{Sink: c.name, Status: e.Status, Retryable: true, RetryAfter: e.RetryAfter, Err: e}
	switch odd := e.Status != 0 && e.Status < 400 || e.Status > 599; {
	case e.Kind == outbound.Forbidden, e.Kind == outbound.Rejected:
		failure.Retryable = false
		return failure, 1
	case e.Kind == outbound.NoToken:
		return failure, 1 // credentials have tries of their own
	case odd:
		return failure, min(oddTries, c.o.Tries)
	}
	return failure, c.o.Tries
}

func errorOrNil(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// outOfTime is the error of a delivery that its context ended.
func (c *Client) outOfTime(ctx context.Context, n int, last *Error) *Error {
	e := &Error{Sink: c.name, Retryable: true, Err: fmt.Errorf("out of time before the first try: %w", ctx.Err())}
	if n > 0 {
		e.Err = fmt.Errorf("out of time after %s: %w", tries(n), ctx.Err())
	}
	if last != nil {
		e.Status, e.RetryAfter = last.Status, last.RetryAfter
		if !errors.Is(last.Err, ctx.Err()) {
			e.Err = fmt.Errorf("%w; last: %w", e.Err, last.Err)
		}
	}
	return e
}

// waitAfter returns how long to wait after try n: what the other side asks for,
// else a delay that doubles and is spread by a fifth, so that instances which
// failed together do not come back together.
func waitAfter(n int, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	d := min(delay<<min(n-1, 16), maxDelay)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// sleep waits and reports false when the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}
