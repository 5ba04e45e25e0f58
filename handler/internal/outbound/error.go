package outbound

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Kind is what a failed attempt means for the next one.
type Kind int

// The kinds of failure.
const (
	Unreachable Kind = iota // no connection, or lost before the request was sent whole
	Unanswered              // the request was sent whole: the service may have acted on it
	NoToken                 // the identity got no token: nothing was sent
	Busy                    // 408, 429, 5xx, or an answer that no service should give, such as a redirect
	Forbidden               // 401, 403, 404 and other 4xx: refused until somebody mends a permission or a place; without a status: not asked for that
	Rejected                // 400, 413: about this request
	Unreadable              // an answer that cannot be used: too large, not JSON, or a link to another host
)

// An Error is an attempt that failed. It contains nothing that the service sent
// but a status and a checked error code.
type Error struct {
	Service    string
	Kind       Kind
	Status     int           // HTTP status; 0: no answer
	Code       string        // the service's error code; "": none
	RetryAfter time.Duration // how long the service asked to wait; 0: it did not
	Err        error         // the cause where there is no status; may be nil
}

// Error describes the failure in a sentence that begins with the service's name.
func (e *Error) Error() string {
	text := e.Service + " "
	switch {
	case e.Kind == Unreachable:
		text += "could not be reached"
	case e.Kind == Unanswered:
		text += "did not answer"
	case e.Kind == NoToken:
		text += "was not asked: podwatch's identity got no token"
	case e.Kind == Forbidden && e.Status == 0:
		text += "was not asked"
	case e.Kind == Unreadable:
		text += "gave an unreadable answer"
	case e.Status == http.StatusTooManyRequests:
		text += "asked podwatch to wait"
	case e.Status >= 300 && e.Status <= 399:
		text += "answered with a redirect, which is not followed"
	case e.Kind == Busy:
		text += "had an error of its own"
	case e.Status == http.StatusNotFound:
		text += "does not know it"
	case e.Kind == Forbidden:
		text += "refused the request"
	default:
		text += "rejected the request"
	}
	if e.Status != 0 && (e.Status < 200 || e.Status > 299) {
		text += " (" + strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.Status, e.Code)) + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Explain adds words of the caller to the cause; "" adds nothing.
func (e *Error) Explain(words string) {
	switch {
	case words == "":
	case e.Err == nil:
		e.Err = errors.New(words)
	default:
		e.Err = fmt.Errorf("%w (%s)", e.Err, words)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// errorOf classifies an answer that is not 2xx.
func errorOf(service string, resp *http.Response, body []byte) *Error {
	e := &Error{Service: service, Status: resp.StatusCode, Code: errorCode(body)}
	switch s := resp.StatusCode; {
	case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s < 400, s > 499:
		e.Kind, e.RetryAfter = Busy, RetryAfter(resp.Header, time.Now())
	case s == http.StatusBadRequest, s == http.StatusRequestEntityTooLarge:
		e.Kind = Rejected
	default:
		e.Kind = Forbidden
	}
	return e
}

// safeCode is the form of Azure's error codes; anything else is not repeated.
var safeCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]*$`)

const longestCode = 80

// errorCode reads the code of Azure's usual error body.
func errorCode(body []byte) string {
	var e struct{ Error struct{ Code string } }
	if json.Unmarshal(body, &e) != nil || len(e.Error.Code) > longestCode || !safeCode.MatchString(e.Error.Code) {
		return ""
	}
	return e.Error.Code
}

var (
	errElsewhere = errors.New("the address is not below the service's endpoint")
	errTooLarge  = errors.New("too large")
	errNotJSON   = errors.New("not the expected JSON")
)

// A cause is an error in fixed words. It keeps of the chain only what callers
// tell apart.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// causeOf describes why a request got no answer. The texts of the network's own
// errors contain addresses, and those of a proxy whatever it likes.
func causeOf(ctx context.Context, err error) error {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &cause{"canceled", context.Canceled}
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return &cause{"timed out", context.DeadlineExceeded}
	case errors.As(err, &certificate):
		return &cause{"its certificate is not trusted, or is another host's", nil}
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return &cause{"the proxy could not be used", nil}
	case errors.As(err, &dns):
		return &cause{"its host name was not found", nil}
	case errors.As(err, &errno):
		return &cause{errno.Error(), nil}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &cause{"the connection was closed", nil}
	}
	return &cause{"the connection failed", nil}
}

// longestRetryAfter is the most that is believed of a Retry-After.
const longestRetryAfter = 24 * time.Hour

// RetryAfter reads how long the service asks to wait, in seconds or as a date,
// and Azure's own finer headers; 0: it does not. A date is compared with the
// answer's own Date, so that a wrong clock here does no harm.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if d := units(h.Get(name), time.Millisecond); d > 0 {
			return d
		}
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d := units(value, time.Second); d > 0 {
		return d
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), longestRetryAfter)
}

func units(value string, unit time.Duration) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || math.IsNaN(n) || n <= 0 {
		return 0
	}
	if n >= float64(longestRetryAfter/unit) {
		return longestRetryAfter
	}
	return time.Duration(n * float64(unit))
}
