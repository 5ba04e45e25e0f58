package state

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Sources of notices that are not one source of the caller's.
const (
	WholeFeed    = "the event hub"
	OtherSources = "all other sources"
)

// A Sample is what one batch shows of the feed.
type Sample struct {
	Due     bool     // the batch was looked at for its sources, see SampleDue
	Sources []string // as the caller names them
	Audits  int      // records and messages that were looked at
	Unread  int      // of those, what could not be read
}

const (
	sampleEvery = time.Minute
	maxBackOff  = 16 * time.Minute // after failures
	noteTime    = time.Second
	feedName    = "feed" // the document
)

// A Feed remembers when each source of records was last heard, and what people
// were told about it. It is safe for concurrent use, also by several instances.
// The zero value notes nothing and has no notices, for runs without storage.
//
// A source that was in most samples of the last day is watched alone, and all others
// together, if they were in most: a source that sends little is in few samples,
// which is no silence. While the whole feed is silent only that is reported.
type Feed struct {
	documents Documents
	silence   time.Duration
	now       func() time.Time

	mu       sync.Mutex
	next     time.Time     // when a sample is due
	backOff  time.Duration // after the latest failure
	unstored Sample        // what is to be stored with the next sample
}

// NewFeed returns the watch kept in the given documents. A source counts as
// silent after the given time. It does no I/O.
func NewFeed(d Documents, silence time.Duration, now func() time.Time) *Feed {
	return &Feed{documents: d, silence: silence, now: now}
}

// SampleDue reports true once a minute: the caller then finds the sources of its
// batch and passes them to Note. It needs no I/O.
func (f *Feed) SampleDue() bool {
	if f.documents == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if now.Before(f.next) {
		return false
	}
	f.next = now.Add(sampleEvery)
	return true
}

// Note stores a sample, for which it takes one second at most. What was not
// stored, because no sample was due or storage failed, is stored with a later one;
// after each failure SampleDue waits longer for it.
func (f *Feed) Note(ctx context.Context, s Sample) {
	if f.documents == nil {
		return
	}
	f.mu.Lock()
	f.unstored.add(s)
	s = f.unstored
	if s.Due {
		f.unstored = Sample{}
	}
	f.mu.Unlock()
	if !s.Due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteTime)
	defer cancel()
	now := f.now()
	err := f.change(ctx, func(h *heard) { h.hear(s, now, f.silence) })

	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.backOff = 0
		return
	}
	s.Due = false
	f.unstored.add(s)
	f.backOff = min(max(2*f.backOff, sampleEvery), maxBackOff)
	f.next = now.Add(f.backOff)
}

// add adds what another batch shows.
func (s *Sample) add(o Sample) {
	s.Due = s.Due || o.Due
	s.Audits, s.Unread = s.Audits+o.Audits, s.Unread+o.Unread
	s.Sources = slices.Concat(s.Sources, o.Sources)
	slices.Sort(s.Sources)
	s.Sources = slices.Compact(s.Sources)
	s.Sources = s.Sources[:min(len(s.Sources), maxSources)]
}

func (f *Feed) change(ctx context.Context, change func(*heard)) error {
	return update(ctx, f.documents, func() (Document, heard, error) { return f.read(ctx) }, change)
}

// read returns the state of the feed, which begins now when there is none.
func (f *Feed) read(ctx context.Context) (Document, heard, error) {
	return fetchJSON(ctx, f.documents, feedName,
		heard{Whole: source{Last: f.now(), Since: f.now()}, Sources: map[string]source{}, Counts: map[string]counter{}})
}

// A Source is when something was last heard of a source of records.
type Source struct {
	Name   string // WholeFeed, or as the caller of Note named it
	Last   time.Time
	Silent bool // people were told that it is silent
}

// Sources returns the whole feed and then the sources in the order of their names;
// none if nothing was ever heard.
func (f *Feed) Sources(ctx context.Context) ([]Source, error) {
	_, h, err := f.read(ctx)
	if err != nil || h.Whole.Heard.Hour == 0 {
		return nil, err
	}
	list := func(name string, s source) Source {
		return Source{name, s.Last, !s.Told.IsZero() && !s.Last.After(s.Told)}
	}
	all := []Source{list(WholeFeed, h.Whole)}
	for _, name := range slices.Sorted(maps.Keys(h.Sources)) {
		all = append(all, list(name, h.Sources[name]))
	}
	return all, nil
}

// A Kind is what a [Notice] is about.
type Kind int

const (
	Silent Kind = iota // nothing was heard of a source for too long
	Heard              // a source that was reported as silent is heard again
	Grown              // a count that should not grow has grown
	Blind              // many of the records that were looked at cannot be read
)

// A Notice is something about the feed that a person must know.
type Notice struct {
	Kind   Kind
	ID     string    // the same when the same notice is returned again
	Source string    // the source, or the name of the count
	Since  time.Time // Silent and Heard: the source was not heard from then on; Blind: when that began
	Count  int       // Grown: the count now; Blind: what could not be read in the hour
	Before int       // Grown: when it was last told
	Of     int       // Blind: what was looked at in the hour
}

// Check returns what people must know about: sources that fell silent or are heard
// again, and counts, by name, that grew. A notice is returned until it is told.
func (f *Feed) Check(ctx context.Context, counts map[string]int) ([]Notice, error) {
	if f.documents == nil {
		return nil, nil
	}
	d, h, err := f.read(ctx)
	if err == nil && (d.Version == "" || h.shrink(counts)) {
		// The first check starts the clock: a feed that never begins is silent.
		err = f.change(ctx, func(h *heard) { h.shrink(counts) })
	}
	if err != nil {
		return nil, fmt.Errorf("check the feed: %w", err)
	}
	return slices.Concat(h.sourceNotices(f.now(), f.silence), h.Read.notices(), h.countNotices(counts)), nil
}

// Told records that a notice was delivered.
func (f *Feed) Told(ctx context.Context, n Notice) error {
	err := f.change(ctx, func(h *heard) {
		switch n.Kind {
		case Silent:
			h.update(n.Source, func(s *source) { s.Told = n.Since })
		case Heard:
			h.update(n.Source, func(s *source) { s.Told = time.Time{} })
		case Blind:
			h.Read.Told = n.Since
		case Grown:
			h.Counts[n.Source] = counter{n.Count, h.Counts[n.Source].Changes + 1}
		}
	})
	if err != nil {
		return fmt.Errorf("record a notice about %s: %w", n.Source, err)
	}
	return nil
}
