package sink

import "context"

// BothLedgers asks this process's memory before storage. That saves a call for
// what this instance delivered itself, and when storage is down it keeps a batch
// that the host sends again from being posted again by the same process.
type BothLedgers struct {
	memory *MemoryLedger
	blobs  *BlobLedger
}

// Both returns a ledger over the two.
func Both(memory *MemoryLedger, blobs *BlobLedger) *BothLedgers { return &BothLedgers{memory, blobs} }

// Delivered reports whether the sink's acceptance of the alert was marked.
func (l *BothLedgers) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	if done, _ := l.memory.Delivered(ctx, sink, alertID); done {
		return true, nil
	}
	done, err := l.blobs.Delivered(ctx, sink, alertID)
	if done {
		_ = l.memory.Mark(ctx, sink, alertID) // does not fail
	}
	return done, err
}

// Mark remembers that the sink accepted the alert: in memory in any case, and
// for the other instances if storage takes it.
func (l *BothLedgers) Mark(ctx context.Context, sink, alertID string) error {
	_ = l.memory.Mark(ctx, sink, alertID) // does not fail
	return l.blobs.Mark(ctx, sink, alertID)
}
