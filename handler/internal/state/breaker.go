package state

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	askTime   = 3 * time.Second // a request that takes longer has failed
	pauseTime = 5 * time.Second // no request after a failure
)

// errPaused is the failure of a request that was not made.
var errPaused = errors.New("storage failed less than five seconds ago")

// A breaker limits what an unavailable storage costs: a batch has thousands of
// deliveries, and the time that each would wait is the time that all have to be
// posted.
type breaker struct {
	log *slog.Logger

	mu     sync.Mutex
	failed time.Time // of the latest failure; zero after a success
}

// ask makes one request, unless one failed a moment ago. What ends because ctx
// has ended is not a failure of storage.
func (b *breaker) ask(ctx context.Context, request func(context.Context) error) error {
	if b.paused() {
		return errPaused
	}
	limited, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := request(limited)
	if !failure(err) {
		b.note(nil)
	} else if ctx.Err() == nil {
		b.note(err)
	}
	return err
}

func (b *breaker) paused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.failed.IsZero() && time.Since(b.failed) < pauseTime
}

// note logs the first failure and the first success after it.
func (b *breaker) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err != nil && b.failed.IsZero():
		b.log.Warn("storage is unavailable: this process alone decides what it posts, and may repeat what others posted", "err", err)
	case err == nil && !b.failed.IsZero():
		b.log.Info("storage is available again")
	}
	b.failed = time.Time{}
	if err != nil {
		b.failed = time.Now()
	}
}

// failure reports whether an error leaves open what happened.
func failure(err error) bool {
	return err != nil && !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrChanged)
}
