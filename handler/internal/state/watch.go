package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// A Watch remembers when each source of records was last heard, and what people
// were told about it. It is safe for concurrent use, also by several instances.
// The zero value notes nothing and has no notices, for runs without storage.
//
// A source that was in most samples of the last day is watched alone, and all others
// together, if they were in most: a source that sends little is in few samples,
// which is no silence. While the whole feed is silent only that is reported.
type Watch struct {
	documents Documents
	silence   time.Duration
	now       func() time.Time

	mu       sync.Mutex
	next     time.Time     // when a sample is due
	backOff  time.Duration // after the latest failure
	unstored Sample        // what is to be stored with the next sample
}

// NewWatch returns the watch kept in the given documents. A source counts as
// silent after the given time. It does no I/O.
func NewWatch(d Documents, silence time.Duration, now func() time.Time) *Watch {
	return &Watch{documents: d, silence: silence, now: now}
}

// SampleDue reports true once a minute: the caller then finds the sources of its
// batch and passes them to Note. It needs no I/O.
func (w *Watch) SampleDue() bool {
	if w.documents == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Before(w.next) {
		return false
	}
	w.next = now.Add(sampleEvery)
	return true
}

// Note stores a sample, for which it takes one second at most. What was not
// stored, because no sample was due or storage failed, is stored with a later one;
// after each failure SampleDue waits longer for it.
func (w *Watch) Note(ctx context.Context, s Sample) {
	if w.documents == nil {
		return
	}
	w.mu.Lock()
	w.unstored.add(s)
	s = w.unstored
	if s.Due {
		w.unstored = Sample{}
	}
	w.mu.Unlock()
	if !s.Due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteTime)
	defer cancel()
	now := w.now()
	err := w.change(ctx, func(f *feed) { f.hear(s, now, w.silence) })

	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.backOff = 0
		return
	}
	s.Due = false
	w.unstored.add(s)
	w.backOff = min(max(2*w.backOff, sampleEvery), maxBackOff)
	w.next = now.Add(w.backOff)
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

// change reads the document, changes it and writes it, again if others did too.
func (w *Watch) change(ctx context.Context, change func(*feed)) error {
	for range maxAttempts {
		d, f, err := w.read(ctx)
		if err != nil {
			return err
		}
		change(&f)
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if err := put(ctx, w.documents, d, text); err == nil || failure(err) {
			return err
		}
	}
	return ErrChanged
}

// read returns the state of the feed, which begins now when there is none. A
// document that cannot be read is kept aside.
func (w *Watch) read(ctx context.Context) (Document, feed, error) {
	begin := feed{Whole: source{Last: w.now(), Since: w.now()}, Sources: map[string]source{}, Counts: map[string]counter{}}
	d, err := w.documents.Fetch(ctx, feedName)
	if errors.Is(err, ErrAbsent) {
		return Document{Name: feedName}, begin, nil
	}
	if err != nil {
		return d, begin, err
	}
	f := begin
	if json.Unmarshal(d.Data, &f) != nil {
		return d, begin, keepAside(ctx, w.documents, d)
	}
	return d, f, nil
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
func (w *Watch) Check(ctx context.Context, counts map[string]int) ([]Notice, error) {
	if w.documents == nil {
		return nil, nil
	}
	d, f, err := w.read(ctx)
	if err == nil && d.Version == "" || err == nil && f.shrunk(counts) {
		// The first check starts the clock: a feed that never begins is silent.
		err = w.change(ctx, func(f *feed) { f.shrink(counts) })
	}
	if err != nil {
		return nil, fmt.Errorf("check the feed: %w", err)
	}
	return slices.Concat(f.sourceNotices(w.now(), w.silence), f.Read.notices(), f.countNotices(counts)), nil
}

// Told records that a notice was delivered.
func (w *Watch) Told(ctx context.Context, n Notice) error {
	err := w.change(ctx, func(f *feed) {
		switch n.Kind {
		case Silent:
			f.update(n.Source, func(s *source) { s.Told = n.Since })
		case Heard:
			f.update(n.Source, func(s *source) { s.Told = time.Time{} })
		case Blind:
			f.Read.Told = n.Since
		case Grown:
			f.Counts[n.Source] = counter{n.Count, f.Counts[n.Source].Changes + 1}
		}
	})
	if err != nil {
		return fmt.Errorf("record a notice about %s: %w", n.Source, err)
	}
	return nil
}
