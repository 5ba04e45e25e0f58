package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	budget     = 2 * time.Second        // of all look-ups of a batch at one service
	patience   = 500 * time.Millisecond // without an answer at the end of the budget: the service is slow
	retryDelay = 100 * time.Millisecond
	maxDelay   = time.Second // a longer wait is not a look-up's to spend
)

// errBudget marks the end of a look-up's own time, as opposed to the end of the
// invocation around it.
var errBudget = errors.New("look-up budget spent")

// WithBudget bounds the look-ups of one batch at one service to two seconds.
// Reaching the limit counts against the service; the end of ctx itself does not.
func WithBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, budget, errBudget)
}

// A Lookup asks a service for facts that make an alert easier to judge. It fails
// open: a question gets at most two attempts, and a failure is remembered, so that
// it costs time once. It is safe for concurrent use.
type Lookup struct {
	client   *Client
	now      func() time.Time
	log      *slog.Logger
	failures *lru.Cache[string, failure] // what is not to be asked for a while, and why
}

// NewLookup returns the Lookup of a client's service. Each pause is one line in log.
func NewLookup(c *Client, now func() time.Time, log *slog.Logger) *Lookup {
	failures, _ := lru.New[string, failure](maxPauses) // fails for a size below one only
	return &Lookup{client: c, now: now, log: log, failures: failures}
}

// A Question is one request of a look-up.
type Question struct {
	URL  string // of [Lookup.URL], or a link
	Body any    // JSON to post; nil: GET
	Link bool   // the URL is from an earlier answer: its failure is that link's alone

	// Service is what is paused when the service fails or asks to wait, Area what
	// is paused when a permission is missing. Anything else that goes wrong is
	// remembered for this question alone.
	Service, Area string
}

// URL returns the address of a path at the service; see [Endpoint.URL].
func (l *Lookup) URL(path string, query map[string][]string) string {
	return l.client.Endpoint.URL(path, query)
}

// Ask asks and decodes the answer into out. Its error is an [*Error], or wraps the
// one that is remembered.
func (l *Lookup) Ask(ctx context.Context, q Question, out any) error {
	method, body := http.MethodGet, []byte(nil)
	if q.Body != nil {
		method = http.MethodPost
		body, _ = json.Marshal(q.Body) // strings only
	}
	digest := sha256.Sum256(append([]byte(q.URL+"\n"), body...))
	key := string(digest[:])
	if err := l.paused("service "+q.Service, "area "+q.Area, key); err != nil {
		return err
	}
	started := l.now()
	e := l.ask(ctx, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, method, q.URL, bytes.NewReader(body))
	}, out)
	if e == nil {
		return nil
	}
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), errBudget) && l.now().Sub(started) >= patience {
		area, wait := q.affected(e, key)
		l.pause(ctx, area, e, wait)
	}
	return e
}

// affected returns what a failure pauses, and for how long.
func (q Question) affected(e *Error, key string) (area string, wait time.Duration) {
	switch {
	case e.Status == http.StatusNotFound:
		return "", 0 // an answer
	case e.Kind == NoToken, e.Status == http.StatusTooManyRequests:
		return "service " + q.Service, cmp.Or(e.RetryAfter, pauseOther)
	case q.Link, e.Kind == Rejected, e.Kind == Unreadable:
		return key, pauseOther
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return "area " + q.Area, pauseForbidden
	case e.Kind == Forbidden:
		return key, pauseOther
	}
	return "service " + q.Service, cmp.Or(e.RetryAfter, pauseOther)
}

// ask makes a second attempt after what may pass within the budget.
func (l *Lookup) ask(ctx context.Context, request func() (*http.Request, error), out any) *Error {
	for n := 1; ; n++ {
		e := l.once(request, out)
		if e == nil || n == 2 || e.Kind != Unreachable && e.Kind != Unanswered && e.Kind != Busy {
			return e
		}
		wait := cmp.Or(e.RetryAfter, retryDelay)
		if wait > maxDelay {
			return e
		}
		select {
		case <-ctx.Done():
			return e
		case <-time.After(wait):
		}
	}
}

func (l *Lookup) once(request func() (*http.Request, error), out any) *Error {
	r, err := request()
	if err != nil {
		return &Error{Service: l.client.Service, Kind: Unreadable, Err: errElsewhere}
	}
	r.Header.Set("Accept", "application/json")
	if r.Method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	body, err := l.client.Do(r)
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if json.Unmarshal(body, out) != nil {
		return &Error{Service: l.client.Service, Kind: Unreadable, Err: errNotJSON}
	}
	return nil
}

// Answered reports whether err is an answer with that status.
func Answered(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// Remedy names the permission or role that podwatch's identity needs, as the end of a
// note about err, when one is what is missing.
func Remedy(err error, needs string) string {
	if Answered(err, http.StatusForbidden) || Answered(err, http.StatusUnauthorized) {
		return "; podwatch's identity needs " + needs
	}
	return ""
}

// How long a failure is remembered. A refusal outlives the others because it takes
// a person to mend it.
const (
	pauseForbidden = 10 * time.Minute
	pauseOther     = time.Minute
	pauseLongest   = time.Hour // a Retry-After beyond this is cut
)

// maxPauses bounds the memory of failures; forgetting one costs one more request.
const maxPauses = 1024

type failure struct {
	err   *Error
	until time.Time
}

// paused returns why one of the areas is paused and until when, or nil.
func (l *Lookup) paused(areas ...string) error {
	for _, area := range areas {
		if f, ok := l.failures.Get(area); ok && l.now().Before(f.until) {
			return fmt.Errorf("%w, no new attempt before %sZ", f.err, f.until.UTC().Format(time.TimeOnly))
		}
	}
	return nil
}

// pause remembers a failure of an area for a while.
func (l *Lookup) pause(ctx context.Context, area string, e *Error, wait time.Duration) {
	if wait <= 0 {
		return
	}
	until := l.now().Add(min(wait, pauseLongest))
	l.failures.Add(area, failure{e, until})
	l.log.LogAttrs(ctx, slog.LevelWarn, "look-ups paused", slog.Any("err", e), slog.Time("until", until))
}
