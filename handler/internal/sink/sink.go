// Package sink delivers over HTTP: it retries the attempts of package outbound
// where that is of use.
//
// [Client.Do] is one delivery. It returns only when the other side accepted or
// the delivery is given up, never later than the context's deadline, and its
// error is always an [*Error] without a URL and without any of the client's
// secrets. A delivery whose answer was lost is tried again, so the other side
// may see it twice: at least once is the promise, and the ledger makes it once
// for the eye.
//
// A ledger ([NewBlobLedger], [NewMemoryLedger]) remembers which sink accepted
// which alert. The sinks themselves are in the folders below.
package sink

import (
	"fmt"
	"strings"
	"time"
)

// An Error says why a sink did not take an alert. Its text carries no URL and no
// secret; neither does anything that it wraps.
type Error struct {
	Sink       string        // name of the sink: teams, loganalytics
	Status     int           // HTTP status of the last answer; 0: there was none
	Retryable  bool          // false: refused for good, no further try is of use
	RetryAfter time.Duration // how long the other side asked to wait; 0: it did not say
	Err        error         // the cause, never nil
}

// Error returns the sink's name and the cause.
func (e *Error) Error() string {
	text := fmt.Sprintf("deliver to %s: %v", e.Sink, e.Err)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (asked to wait %s)", e.RetryAfter.Round(time.Millisecond))
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// oneLine makes text from elsewhere fit for an error: control characters and
// runs of white space become one space, and what exceeds limit bytes is cut.
func oneLine(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r <= 0xa0 || r == '\u2028' || r == '\u2029'
	}), " ")
	if len(text) <= limit {
		return text
	}
	for limit > 0 && text[limit]&0xc0 == 0x80 {
		limit--
	}
	return text[:limit] + "..."
}
