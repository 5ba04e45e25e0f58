package state

import (
	"context"
	"errors"
	"fmt"
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
// posted. It logs the first failure and the first success after it.
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
	err := askOnce(ctx, request)
	if failure(err) && ctx.Err() != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	available := b.failed.IsZero()
	b.failed = time.Time{}
	if failure(err) {
		b.failed = time.Now()
	}
	switch {
	case failure(err) && available:
		b.log.Warn("storage is unavailable: this process alone decides what it posts, and may repeat what others posted", "err", err)
	case !failure(err) && !available:
		b.log.Info("storage is available again")
	}
	return err
}

// askOnce makes one request. A panic in it, which is a bug, is its failure: it must
// not end the process, nor fail a batch that the host then repeats for ever.
func askOnce(ctx context.Context, request func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic, which is a bug in podwatch: %v", cause)
		}
	}()
	return request(ctx)
}

func (b *breaker) paused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.failed.IsZero() && time.Since(b.failed) < pauseTime
}

// failure reports whether an error leaves open what happened.
func failure(err error) bool {
	return err != nil && !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrChanged)
}
