package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"golang.org/x/sync/errgroup"
)

// maxSilent is how many times in a row a partition may stall before a read
// gives up on it.
const maxSilent = 4

// maxBatchBytes is what the bodies of one batch come to before it is handed
// over, short of its last message. A record in memory is many times its text.
const maxBatchBytes = 2 << 20

// prefetch is how many messages the hub may send in advance, of all partitions
// together and of one: messages have up to 1 MiB each, and these wait in memory.
const (
	prefetch    = 256
	maxPrefetch = 64
	minPrefetch = 8
)

// ReadOptions bound a [Read]. The zero value reads all that the hub retains.
type ReadOptions struct {
	// ConsumerGroup defaults to $Default. A group that the Functions host or a
	// Processor consumes cannot be read beside it: take another one.
	ConsumerGroup string

	// From and To bound the time a message was enqueued: From <= t < To. Zero
	// means from the oldest one, and to the last one that was there at the start.
	From, To time.Time

	// PositionFile makes the read resumable: a partition that it names goes on
	// behind its last handled message, whatever From says. A file of another
	// hub or consumer group is refused.
	PositionFile string

	MaxBatch int // messages of one callback; 0 means 1000

	// Progress is called at most once a second and once at the end, never
	// concurrently; may be nil.
	Progress func(Progress)

	// Stalled is how long a partition may keep silent before Read asks the hub
	// whether the rest has expired meanwhile; 0 means 15 s.
	Stalled time.Duration
}

// Progress counts a read so far.
type Progress struct {
	Messages, Bytes int64
	Left            int64 // messages still to read, an upper bound when To is set
	Expired         int64 // messages that left the hub before they were read
	Partitions      int
	Elapsed         time.Duration
}

// Read hands every message that the hub retains, within the bounds of o, to
// handle and returns when the end is reached. Partitions are read in parallel:
// handle is called by one goroutine per partition, in order within it, with
// batches that are never empty and belong to the callee.
//
// An error of handle, or the end of ctx, stops all partitions and is returned
// with what was done; the position file then points behind the last batch for
// which handle returned nil. Memory holds two batches per partition, and the
// messages that the hub has sent in advance: 256 of at most 1 MiB.
func Read(ctx context.Context, c Connection, o ReadOptions, handle func(context.Context, Partition, []Message) error) (Progress, error) {
	o.ConsumerGroup = cmp.Or(o.ConsumerGroup, azeventhubs.DefaultConsumerGroup)
	o.MaxBatch = cmp.Or(o.MaxBatch, 1000)
	o.Stalled = cmp.Or(o.Stalled, 15*time.Second)
	client, target, err := c.consumer(o.ConsumerGroup)
	if err == nil {
		err = c.Reach(ctx)
	}
	if err != nil {
		return Progress{}, err
	}
	defer closeClient(ctx, client.Close)

	r := &reader{
		client: client,
		o:      o,
		handle: handle,
		source: Partition{Namespace: target.namespace, Hub: target.hub, ConsumerGroup: o.ConsumerGroup},
		start:  time.Now(),
	}
	if err := r.run(ctx); err != nil {
		return r.total(), fmt.Errorf("read event hub %q: %w", target.hub, explain(err))
	}
	return r.total(), nil
}

// closeClient gives a client a moment to close its links even though ctx may have
// ended.
func closeClient(ctx context.Context, close func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	close(ctx) // the work is done or has failed already
}

type reader struct {
	client *azeventhubs.ConsumerClient
	o      ReadOptions
	handle func(context.Context, Partition, []Message) error
	source Partition
	start  time.Time

	mu        sync.Mutex // guards what follows, and the calls of Progress
	positions *positions
	spans     []*span
	done      Progress
	told      time.Time
}

// A span is the part of one partition that is still to be read: what follows
// last, up to end. Where a read that starts at a time begins is known only when
// its first message arrives.
type span struct {
	id         string
	from       azeventhubs.StartPosition
	begin, end int64 // oldest and newest sequence number when the read started
	last       int64 // last handled sequence number, when known
	known      bool
	done       bool
}

func (s *span) left() int64 {
	switch {
	case s.done:
		return 0
	case s.known:
		return max(0, s.end-s.last)
	}
	return max(0, s.end-s.begin+1)
}

func (r *reader) run(ctx context.Context) error {
	var err error
	if r.positions, err = loadPositions(r.o.PositionFile, r.source); err != nil {
		return err
	}
	props, err := r.client.GetEventHubProperties(ctx, nil)
	if err != nil {
		return err
	}
	for _, id := range props.PartitionIDs {
		s, err := r.plan(ctx, id, props.CreatedOn)
		if err != nil {
			return err
		}
		r.spans = append(r.spans, s)
	}
	r.done.Partitions = len(r.spans)

	g, gctx := errgroup.WithContext(ctx)
	for _, s := range r.spans {
		if !s.done {
			g.Go(func() error { return r.readPartition(gctx, s) })
		}
	}
	err = g.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(true)
	return errors.Join(err, r.positions.save(true))
}

// plan decides what of a partition of a hub that was created then is to be read.
func (r *reader) plan(ctx context.Context, id string, created time.Time) (*span, error) {
	p, err := r.client.GetPartitionProperties(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	s := &span{id: id, begin: p.BeginningSequenceNumber, end: p.LastEnqueuedSequenceNumber}
	at, resumed := r.positions.file.Partitions[id]
	last := at.Sequence
	switch {
	case resumed && (last > p.LastEnqueuedSequenceNumber || at.Enqueued.Before(created)):
		return nil, fmt.Errorf("position file %q does not fit partition %s: it is at number %d of %s, the hub was created anew at %s and ends at number %d; remove the file",
			r.o.PositionFile, id, last, at.Enqueued.Format(time.RFC3339), created.Format(time.RFC3339), p.LastEnqueuedSequenceNumber)
	case p.IsEmpty, resumed && last == p.LastEnqueuedSequenceNumber:
		s.done = true
	case resumed:
		s.known, s.last = true, last
		s.from = azeventhubs.StartPosition{SequenceNumber: &last}
		if lost := p.BeginningSequenceNumber - last - 1; lost > 0 {
			r.expired(lost)
			s.last += lost
		}
	case !r.o.From.IsZero() && p.LastEnqueuedOn.Before(r.o.From):
		s.done = true
	case !r.o.From.IsZero():
		s.from = azeventhubs.StartPosition{EnqueuedTime: &r.o.From, Inclusive: true}
	default:
		s.known, s.last = true, s.begin-1
		s.from = azeventhubs.StartPosition{Earliest: new(true)}
	}
	return s, nil
}

// expired counts messages that were to be read and are gone. The hub skips them
// in silence.
func (r *reader) expired(messages int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.Expired += messages
}

// readPartition receives and handles side by side: while one batch is handled,
// the next one is received, and the hub goes on sending as far as it has credit.
func (r *reader) readPartition(ctx context.Context, s *span) error {
	batches := make(chan []Message)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		return r.receive(ctx, s, batches)
	})
	g.Go(func() error {
		source := r.source
		source.ID = s.id
		for batch := range batches {
			if err := r.handle(ctx, source, batch); err != nil {
				return err
			}
			if err := r.advance(s, batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("partition %s: %w", s.id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.done = true
	return nil
}

func (r *reader) receive(ctx context.Context, s *span, batches chan<- []Message) error {
	client, err := r.client.NewPartitionClient(s.id, &azeventhubs.PartitionClientOptions{
		StartPosition: s.from, Prefetch: int32(min(max(prefetch/len(r.spans), minPrefetch), maxPrefetch)),
	})
	if err != nil {
		return err
	}
	defer closeClient(ctx, client.Close)
	next, known, silent := s.last+1, s.known, 0
	for !known || next <= s.end {
		// Never wait for more than there is.
		most := int64(1)
		if known {
			most = s.end - next + 1
		}
		messages, err := r.next(ctx, client, most)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			// Silence: either the hub is slow, or what was left has expired.
			p, err := r.client.GetPartitionProperties(ctx, s.id, nil)
			if err != nil {
				return err
			}
			if p.IsEmpty || p.BeginningSequenceNumber > s.end {
				if known {
					r.expired(s.end - next + 1)
				}
				return nil
			}
			if silent++; silent == maxSilent {
				return fmt.Errorf("nothing came for %v, although the hub has messages up to number %d", maxSilent*r.o.Stalled, s.end)
			}
			continue
		}
		silent = 0
		if !known {
			next, known = messages[0].Sequence, true
		}
		keep := messages
		if i := slices.IndexFunc(messages, func(m Message) bool { return m.Sequence > s.end }); i >= 0 {
			keep = messages[:i]
		}
		last := messages[len(messages)-1].Sequence
		// Numbers have no gaps, so what is missing was there and is not any more.
		r.expired(min(last, s.end) + 1 - next - int64(len(keep)))
		next = last + 1
		if !r.o.To.IsZero() {
			if i := slices.IndexFunc(keep, func(m Message) bool { return !m.Enqueued.Before(r.o.To) }); i >= 0 {
				keep, next = keep[:i], s.end+1
			}
		}
		if len(keep) == 0 {
			continue
		}
		select {
		case batches <- keep:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// next receives up to limit messages of a partition, fewer when their bodies fill a
// batch or nothing comes for too long. It asks for one message at a time, most of
// which the hub has sent already, because only a received message has a size.
func (r *reader) next(ctx context.Context, client *azeventhubs.PartitionClient, limit int64) ([]Message, error) {
	var batch []Message
	limit = min(limit, int64(r.o.MaxBatch))
	for bytes := 0; int64(len(batch)) < limit && bytes < maxBatchBytes; {
		wait, cancel := context.WithTimeout(ctx, r.o.Stalled)
		events, err := client.ReceiveEvents(wait, 1, nil)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		case len(events) == 0:
			return batch, nil
		}
		m := newMessage(events[0])
		bytes += len(m.Body)
		batch = append(batch, m)
	}
	return batch, nil
}

// advance records that a batch was handled.
func (r *reader) advance(s *span, batch []Message) error {
	last := batch[len(batch)-1]
	r.mu.Lock()
	defer r.mu.Unlock()
	s.known, s.last = true, last.Sequence
	r.done.Messages += int64(len(batch))
	for _, m := range batch {
		r.done.Bytes += int64(len(m.Body))
	}
	r.positions.set(s.id, last)
	r.tell(false)
	return r.positions.save(false)
}

// tell reports progress, at most once a second unless it is the last time. The
// caller holds mu.
func (r *reader) tell(final bool) {
	if r.o.Progress == nil || (!final && time.Since(r.told) < time.Second) {
		return
	}
	r.told = time.Now()
	r.o.Progress(r.progress())
}

func (r *reader) progress() Progress {
	p := r.done
	for _, s := range r.spans {
		p.Left += s.left()
	}
	p.Elapsed = time.Since(r.start)
	return p
}

func (r *reader) total() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress()
}

// Latest returns when the newest message of a hub was enqueued; zero if it retains none.
func Latest(ctx context.Context, c Connection) (latest time.Time, err error) {
	client, target, err := c.consumer(azeventhubs.DefaultConsumerGroup)
	if err != nil {
		return latest, err
	}
	defer closeClient(ctx, client.Close)
	fail := func(err error) (time.Time, error) {
		return latest, fmt.Errorf("ask event hub %q: %w", target.hub, explain(err))
	}
	hub, err := client.GetEventHubProperties(ctx, nil)
	if err != nil {
		return fail(err)
	}
	for _, id := range hub.PartitionIDs {
		p, err := client.GetPartitionProperties(ctx, id, nil)
		if err != nil {
			return fail(err)
		}
		if !p.IsEmpty && p.LastEnqueuedOn.After(latest) {
			latest = p.LastEnqueuedOn.UTC()
		}
	}
	return latest, nil
}
