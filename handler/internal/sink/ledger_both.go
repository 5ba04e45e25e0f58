package sink

import (
	"context"
	"sync"
	"time"
)

const (
	askWithin = 3 * time.Second // a look-up that takes longer is given up
	askNotFor = 5 * time.Second // after a failure
)

// BothLedgers asks this process's memory before storage. That saves a call for
// what this instance delivered itself, and when storage is down it keeps a batch
// that the host sends again from being posted again by the same process. After a
// failure storage is not asked for some seconds: a batch has up to hundreds of
// alerts, and the time that each would wait is the time that they have to get out.
type BothLedgers struct {
	memory *MemoryLedger
	blobs  *BlobLedger

	mu    sync.Mutex
	since time.Time // of the last failed look-up
	err   error     // its error
}

// Both returns a ledger over the two.
func Both(memory *MemoryLedger, blobs *BlobLedger) *BothLedgers {
	return &BothLedgers{memory: memory, blobs: blobs}
}

// Delivered reports whether the sink's acceptance of the alert was marked.
func (l *BothLedgers) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	if done, _ := l.memory.Delivered(ctx, sink, alertID); done {
		return true, nil
	}
	if err := l.down(); err != nil {
		return false, err
	}
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	done, err := l.blobs.Delivered(asking, sink, alertID)
	// A caller that gave up proves nothing about storage: its failure must not
	// hide marks from the other invocations.
	if err == nil || ctx.Err() == nil {
		l.note(err)
	}
	if done {
		_ = l.memory.Mark(ctx, sink, alertID) // does not fail
	}
	return done, err
}

// down returns the error of a look-up that failed a moment ago.
func (l *BothLedgers) down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && time.Since(l.since) < askNotFor {
		return l.err
	}
	return nil
}

func (l *BothLedgers) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err != nil {
		l.since = time.Now()
	}
}

// Mark remembers that the sink accepted the alert: in memory in any case, and
// for the other instances if storage takes it.
func (l *BothLedgers) Mark(ctx context.Context, sink, alertID string) error {
	_ = l.memory.Mark(ctx, sink, alertID) // does not fail
	return l.blobs.Mark(ctx, sink, alertID)
}
