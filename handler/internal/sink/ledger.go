package sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	lru "github.com/hashicorp/golang-lru/v2"
)

// ledgerSize is how many deliveries a MemoryLedger remembers.
const ledgerSize = 20_000

// A MemoryLedger remembers deliveries of this process only, and of those the
// latest 20,000: for runs without storage. It is safe for concurrent use and
// its methods do not fail.
type MemoryLedger struct {
	done *lru.Cache[string, struct{}]
}

// NewMemoryLedger returns an empty ledger.
func NewMemoryLedger() *MemoryLedger {
	done, err := lru.New[string, struct{}](ledgerSize)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &MemoryLedger{done: done}
}

// Delivered reports whether the sink's acceptance of the alert was marked.
func (l *MemoryLedger) Delivered(_ context.Context, sink, alertID string) (bool, error) {
	return l.done.Contains(entry(sink, alertID)), nil
}

// Mark remembers that the sink accepted the alert. Marking twice does no harm.
func (l *MemoryLedger) Mark(_ context.Context, sink, alertID string) error {
	l.done.Add(entry(sink, alertID), struct{}{})
	return nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// entry is the name of a delivery in a ledger: sink/alert id. An alert id comes
// back from the queue, where anybody with access may have written it, so one
// that is not plain is replaced by its hash.
func entry(sink, alertID string) string { return name(sink) + "/" + name(alertID) }

func name(s string) string {
	if plainName.MatchString(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256." + hex.EncodeToString(sum[:]) // the full stop keeps it apart from plain names
}
