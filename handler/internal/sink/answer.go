package sink

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A verdict is what an HTTP status means for the delivery.
type verdict int

const (
	accepted  verdict = iota // any 2xx
	rejected                 // for good: the same request will be refused again
	retryable                // the other side is busy or broken
	unknown                  // not an answer that a sink should give: retryable, but not often
)

// classify reads a status. Redirects are unknown: they are never followed, since
// the request carries a secret, and a login page answers like that for a while.
func classify(status int) verdict {
	switch {
	case status >= 200 && status <= 299:
		return accepted
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500 && status <= 599:
		return retryable
	case status >= 400 && status <= 499:
		return rejected
	}
	return unknown
}

// longestRetryAfter is the most that is believed of a Retry-After.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads how long the other side asks to wait, in seconds or as a
// date, and Azure's own finer headers. 0 means that it does not say. A date is
// held against the answer's own Date, so that a wrong clock here does no harm.
func retryAfter(h http.Header, now time.Time) time.Duration {
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

const (
	maxBody   = 64 << 10 // bytes of an answer that are read at all
	maxScan   = 4 << 10  // bytes of it that are searched for a reason
	maxReason = 300      // bytes that get into an error
)

// reason returns what the body of an answer says of the refusal: code and
// message where it is Azure's error object, else its beginning.
func reason(body []byte, r *redactor) string {
	var answer struct {
		Error struct{ Code, Message string }
	}
	text := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Error.Code+answer.Error.Message != "" {
		text = answer.Error.Code
		if answer.Error.Message != "" {
			text = strings.TrimPrefix(text+": "+answer.Error.Message, ": ")
		}
	}
	if len(text) > maxScan {
		// A secret that the limit cuts in two would not be recognised, so nothing
		// is kept that could be the first half of one.
		text = text[:max(maxScan-r.longest, 0)]
	}
	return oneLine(r.text(text), maxReason)
}

// limitBodies bounds every answer before any other code reads it: the Azure
// pipeline downloads the body of an error whole.
type limitBodies struct{ next http.RoundTripper }

func (l limitBodies) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}
