package outbound

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How long a failure is remembered. A refusal outlives the others because it takes
// a person to mend it.
const (
	pauseForbidden = 10 * time.Minute
	pauseOther     = time.Minute
	pauseLongest   = time.Hour // a Retry-After beyond this is cut
)

// maxPauses bounds the memory of failures; forgetting one costs one more request.
const maxPauses = 1024

// pauses remembers what is not to be asked for a while, and why. It is safe for
// concurrent use.
type pauses struct {
	now      func() time.Time
	log      *slog.Logger
	failures *lru.Cache[string, failure]
}

type failure struct {
	err   *Error
	until time.Time
}

// newPauses returns an empty memory. Each pause is one line in log.
func newPauses(now func() time.Time, log *slog.Logger) *pauses {
	failures, _ := lru.New[string, failure](maxPauses) // fails for a size below one only
	return &pauses{now: now, log: log, failures: failures}
}

// paused returns why one of the areas is paused and until when, or nil.
func (p *pauses) paused(areas ...string) error {
	for _, area := range areas {
		if f, ok := p.failures.Get(area); ok && p.now().Before(f.until) {
			return fmt.Errorf("%w, no new attempt before %sZ", f.err, f.until.UTC().Format(time.TimeOnly))
		}
	}
	return nil
}

// pause remembers a failure of an area for a while.
func (p *pauses) pause(ctx context.Context, area string, e *Error, wait time.Duration) {
	if wait <= 0 {
		return
	}
	until := p.now().Add(min(wait, pauseLongest))
	p.failures.Add(area, failure{e, until})
	p.log.LogAttrs(ctx, slog.LevelWarn, "look-ups paused", slog.Any("err", e), slog.Time("until", until))
}
