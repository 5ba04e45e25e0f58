package lookup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"
)

// A Kind says why a look-up gave nothing.
type Kind string

// The kinds of failure.
const (
	Refused     Kind = "refused"      // 401 or 403: a permission is missing
	NotFound    Kind = "not found"    // 404: an answer, not a fault
	Throttled   Kind = "throttled"    // 429
	Rejected    Kind = "rejected"     // another 4xx
	Redirected  Kind = "redirected"   // 3xx, which is not followed
	ServerError Kind = "server error" // 5xx
	Slow        Kind = "slow"         // the batch's budget ran out
	Unreachable Kind = "unreachable"  // no connection, or one that broke
	NoToken     Kind = "no token"     // the identity could not sign in
	Malformed   Kind = "malformed"    // an answer that is not the JSON it should be
	TooLarge    Kind = "too large"    // an answer beyond Options.MaxBody
	ForeignLink Kind = "foreign link" // a next page on another host
	Canceled    Kind = "canceled"     // the invocation around the look-up ended
)

// A Failure is a look-up without an answer. Its text is fit for an alert: it
// holds nothing that the service sent but a status and a checked error code.
type Failure struct {
	Service    string
	Kind       Kind
	Status     int       // HTTP status, 0 for none
	Code       string    // the service's error code, "" for none
	Until      time.Time // no call is made before this; zero when not remembered
	Remembered bool      // no call was made for this answer

	retryAfter time.Duration
}

// Error says what happened, beginning with the service's name.
func (f *Failure) Error() string {
	text := f.Service + " "
	switch f.Kind {
	case Refused:
		text += "refused the look-up" + f.status()
	case NotFound:
		text += "does not know it" + f.status()
	case Throttled:
		text += "asked podwatch to wait" + f.status()
	case Rejected:
		text += "rejected the look-up" + f.status()
	case Redirected:
		text += "answered with a redirect, which is not followed" + f.status()
	case ServerError:
		text += "had an error of its own" + f.status()
	case Slow:
		text += "did not answer in time"
	case Unreachable:
		text += "could not be reached"
	case NoToken:
		text += "was not asked: podwatch's identity got no token" + f.status()
	case Malformed:
		text += "gave an unreadable answer"
	case TooLarge:
		text += "gave too large an answer"
	case ForeignLink:
		text += "pointed to another host for the rest"
	case Canceled:
		text += "was not waited for: the invocation ended"
	}
	if f.Remembered {
		text += ", no new attempt before " + f.Until.UTC().Format(time.TimeOnly) + "Z"
	}
	return text
}

func (f *Failure) status() string {
	switch {
	case f.Status != 0 && f.Code != "":
		return fmt.Sprintf(" (HTTP %d %s)", f.Status, f.Code)
	case f.Status != 0:
		return fmt.Sprintf(" (HTTP %d)", f.Status)
	case f.Code != "":
		return " (" + f.Code + ")"
	}
	return ""
}

// Is reports whether err is a Failure of the given kind.
func Is(err error, kind Kind) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == kind
}

func failureOf(ctx context.Context, err error) *Failure {
	var token *tokenError
	var large *http.MaxBytesError
	switch {
	case errors.Is(context.Cause(ctx), errBudget):
		return &Failure{Kind: Slow}
	case ctx.Err() != nil:
		return &Failure{Kind: Canceled}
	case errors.As(err, &token):
		return &Failure{Kind: NoToken, Code: token.code}
	case errors.As(err, &large):
		return &Failure{Kind: TooLarge}
	}
	return &Failure{Kind: Unreachable}
}

func failureOfStatus(resp *http.Response, body []byte, now time.Time) *Failure {
	f := &Failure{Status: resp.StatusCode, Code: errorCode(body)}
	switch s := resp.StatusCode; {
	case s >= 300 && s < 400:
		f.Kind = Redirected
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		f.Kind = Refused
	case s == http.StatusNotFound:
		f.Kind = NotFound
	case s == http.StatusTooManyRequests:
		f.Kind, f.retryAfter = Throttled, retryAfter(resp, now)
	case s == http.StatusRequestTimeout, s >= 500:
		f.Kind, f.retryAfter = ServerError, retryAfter(resp, now)
	default:
		f.Kind = Rejected
	}
	return f
}

// safeCode is the form of Azure's error codes; anything else is not repeated.
var safeCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,79}$`)

// errorCode reads the code of Azure's usual error body.
func errorCode(body []byte) string {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || !safeCode.MatchString(e.Error.Code) {
		return ""
	}
	return e.Error.Code
}
