package sink

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"
)

// Options bound a delivery. The zero value is right for production.
type Options struct {
	Transport http.RoundTripper // nil: [NewTransport]
	Logger    *slog.Logger      // one debug line for a try that failed and will be repeated; nil: none
	Timeout   time.Duration     // of one try, answer included; 0: 10 s
	Tries     int               // at most, within the context's deadline; 0: 8
	Delay     time.Duration     // before the second try, then doubling; 0: 500 ms
	MaxDelay  time.Duration     // between two tries; 0: 16 s
	MaxWait   time.Duration     // longest wait that the other side can ask for within a delivery; 0: 2 min
}

// unknownTries caps the tries after answers that no sink should give.
const unknownTries = 2

// NewTransport returns a transport of its own: TLS 1.2 or later, proxies from
// the environment, few idle connections.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

// A Client makes the deliveries of one sink. It is safe for concurrent use.
type Client struct {
	name   string
	http   *http.Client
	redact *redactor
	o      Options
}

// NewClient returns the client of the sink with that name. secrets are never
// told, in whatever encoding; see also [URLSecrets].
func NewClient(name string, o Options, secrets ...string) *Client {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Tries = cmp.Or(o.Tries, 8)
	o.Delay = cmp.Or(o.Delay, 500*time.Millisecond)
	o.MaxDelay = cmp.Or(o.MaxDelay, 16*time.Second)
	o.MaxWait = cmp.Or(o.MaxWait, 2*time.Minute)
	return &Client{
		name: name,
		http: &http.Client{
			Transport: limitBodies{o.Transport},
			// A redirect would carry the secret to another place.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		redact: newRedactor(secrets),
		o:      o,
	}
}

// HTTP returns the client that tries must use: it follows no redirect and bounds
// every answer.
func (c *Client) HTTP() *http.Client { return c.http }

// Fail returns the error of this sink for a failure outside of HTTP.
func (c *Client) Fail(retryable bool, err error) *Error {
	return &Error{Sink: c.name, Retryable: retryable, Err: c.redact.err(err)}
}

// A Try makes one HTTP request with the given context. It returns the answer
// with its body open, or the error of the HTTP client. An [*Error] instead is
// final: the try itself knows what it means.
type Try func(ctx context.Context) (*http.Response, error)

// Do makes one delivery: it tries until the answer is 2xx, the other side
// refuses for good, or no further try fits before the deadline. When the other
// side asks to wait for longer than that, Do gives up at once and reports the
// time, so that the caller can park the alert. The error is an [*Error].
func (c *Client) Do(ctx context.Context, try Try) error {
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return c.outOfTime(ctx, n-1, nil)
		}
		failure, v := c.once(ctx, try)
		if failure == nil {
			return nil
		}
		if v == rejected {
			return failure
		}
		if ctx.Err() != nil {
			return c.outOfTime(ctx, n, failure)
		}
		if n >= c.o.Tries || v == unknown && n >= unknownTries {
			failure.Err = fmt.Errorf("%w (%s)", failure.Err, tries(n))
			return failure
		}
		wait := c.wait(n, failure.RetryAfter)
		if deadline, ok := ctx.Deadline(); wait > c.o.MaxWait || ok && time.Until(deadline) <= wait {
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

// once makes one try and reads its answer to the end.
func (c *Client) once(ctx context.Context, try Try) (*Error, verdict) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	resp, err := try(ctx)
	if err != nil {
		return c.noAnswer(err)
	}
	defer resp.Body.Close()
	// Read to the end (of what is let through), so that the connection is used
	// again. The status has been said; a body cut short does not change it.
	body, _ := io.ReadAll(resp.Body)
	v := classify(resp.StatusCode)
	if v == accepted {
		return nil, v
	}
	text := fmt.Sprintf("%d %s", resp.StatusCode, cmp.Or(http.StatusText(resp.StatusCode), "unknown status"))
	if why := reason(body, c.redact); why != "" {
		text += ": " + why
	}
	if resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		text += ": redirects are not followed"
	}
	failure := &Error{Sink: c.name, Status: resp.StatusCode, Retryable: v != rejected, Err: errors.New(text)}
	if failure.Retryable {
		failure.RetryAfter = retryAfter(resp.Header, time.Now())
	}
	return failure, v
}

// noAnswer judges a try that got no answer.
func (c *Client) noAnswer(err error) (*Error, verdict) {
	var own *Error
	if errors.As(err, &own) {
		return own, rejected // not in Retryable's sense: no further try here
	}
	failure := &Error{Sink: c.name, Retryable: true, Err: c.redact.err(err)}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return failure, unknown
	}
	return failure, retryable
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

// wait returns how long to wait after try n: what the other side asks for, else
// a delay that doubles and is spread by a fifth, so that instances which failed
// together do not come back together.
func (c *Client) wait(n int, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	delay := c.o.MaxDelay
	if n < 16 {
		delay = min(c.o.Delay<<(n-1), c.o.MaxDelay)
	}
	return time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64()))
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
