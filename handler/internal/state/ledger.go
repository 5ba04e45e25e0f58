package state

import (
	"context"
	"log/slog"
	"time"
)

// A Key names the delivery of one alert to one sink.
type Key struct{ Sink, ID string }

// An Owner is who may post an alert to a sink.
type Owner int

const (
	Theirs Owner = iota // another call or instance has the claim, or had it less than four minutes ago
	Mine                // this call has the claim
	Nobody              // the delivery is settled: there is nothing to post
)

// A Claim is the answer to one key of [Ledger.Claim].
type Claim struct {
	Key
	Owner      Owner
	Unanswered bool // an earlier post was sent whole and never answered: the sink may have the alert

	document Document
	token    string
	until    time.Time
}

// MayPost reports whether a post may begin now: the claim is ours, and lasts for
// at least as long as a post is awaited.
func (c Claim) MayPost() bool {
	return c.Owner == Mine && time.Until(c.until) >= PostTime
}

// PostTime is the longest time that a sink's answer may be awaited under a claim.
const PostTime = time.Minute

// An Outcome is how a claimed delivery ended.
type Outcome int

const (
	Open       Outcome = iota // not delivered: the claim is given back, any instance may try
	Accepted                  // the sink accepted the alert
	Unanswered                // sent whole, no answer: open for one more try; the second time it counts as accepted
	Unwanted                  // the sink does not want the alert
	GivenUp                   // the sink rejects the alert for good
)

// A Ledger remembers the deliveries of all instances, and sees to it that of
// several instances with the same alert one posts it. It is safe for concurrent
// use, and its methods do not fail: when storage is unavailable, this process
// decides alone, and one log line reports it.
//
// The document of a delivery is SINK/ID.
type Ledger struct {
	documents Documents
	log       *slog.Logger
}

// NewLedger returns the ledger in the given documents. It does no I/O.
func NewLedger(d Documents, log *slog.Logger) *Ledger {
	return &Ledger{documents: d, log: log}
}

// Settled reports for each key whether nothing is left to do. A delivery about
// which nothing is known counts as not settled.
func (l *Ledger) Settled(ctx context.Context, keys []Key) []bool {
	return make([]bool, len(keys))
}

// Claim asks for the right to post each alert, and answers in the order of keys.
// The caller posts what is [Mine] while [Claim.MayPost], and passes all of those
// to [Ledger.Settle].
func (l *Ledger) Claim(ctx context.Context, keys []Key) []Claim {
	claims := make([]Claim, len(keys))
	for i, key := range keys {
		claims[i] = Claim{Key: key, Owner: Mine, until: time.Now().Add(2 * time.Minute)}
	}
	return claims
}

// Settle records how claimed deliveries ended. It does so even when ctx has ended,
// in three seconds at most. Claims that are not [Mine] are skipped.
func (l *Ledger) Settle(ctx context.Context, claims []Claim, o Outcome) {}
