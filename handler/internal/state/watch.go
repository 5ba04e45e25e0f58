package state

import (
	"context"
	"time"
)

// A Kind is what a [Notice] is about.
type Kind int

const (
	Silent Kind = iota // nothing was heard of a source for too long
	Heard              // a source that was reported as silent is heard again
	Grown              // a count that should not grow has grown
)

// Sources that are not one source of the caller's.
const (
	WholeFeed    = "the event hub"
	OtherSources = "all other sources"
)

// A Notice is something about the feed that a person must know.
type Notice struct {
	Kind   Kind
	ID     string    // the same whenever the same notice is returned again
	Source string    // the source, or the name of the count
	Since  time.Time // Silent and Heard: the source was not heard from then on
	Count  int       // Grown: the count now,
	Before int       // and when a notice was last told
}

// A Watch remembers when each source of records was last heard, and what people
// were told about it. It is safe for concurrent use, also by several instances.
// The zero value notes nothing and has no notices, for runs without storage.
//
// A source that was in most samples of the last day is watched alone, and all others
// together: a source that sends little is in few samples although it is not silent.
type Watch struct {
	documents Documents
	silence   time.Duration
	now       func() time.Time
}

// NewWatch returns the watch kept in the given documents. A source counts as
// silent after the given time. It does no I/O.
func NewWatch(d Documents, silence time.Duration, now func() time.Time) *Watch {
	return &Watch{documents: d, silence: silence, now: now}
}

// SampleDue reports true once a minute: the caller then finds the sources of its
// batch and passes them to Note. It needs no I/O.
func (w *Watch) SampleDue() bool { return false }

// Note stores that the sources, named by the caller, were heard just now. It
// takes one second at most. What could not be stored is kept for the next
// call, and the next sample is due later.
func (w *Watch) Note(ctx context.Context, sources []string) {}

// Check returns what people must know about: sources that fell silent or are heard
// again, and counts, by name, that grew. A notice is returned until it is told.
func (w *Watch) Check(ctx context.Context, counts map[string]int) ([]Notice, error) { return nil, nil }

// Told records that a notice was delivered.
func (w *Watch) Told(ctx context.Context, n Notice) error { return nil }
