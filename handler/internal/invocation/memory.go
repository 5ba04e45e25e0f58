package invocation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"podwatch/handler/internal/prefilter"
)

const (
	// freeShare is what each body may occupy without waiting for the budget.
	freeShare = 1 << 20
	// maxWait is how long a body waits unread for its share of the budget.
	maxWait = time.Minute
	// maxRead bounds one read, so that the search finds the bytes in the
	// processor's cache.
	maxRead = 256 << 10
	// firstBuffer is the initial size of a buffer that has to grow.
	firstBuffer = 64 << 10
	// maxPooled is the most memory that an idle buffer retains, so that one huge
	// batch does not occupy its memory for ever.
	maxPooled = 16 << 20
	// pooledBuffers is how many idle buffers are kept.
	pooledBuffers = 4
)

// Errors of [Reader.Read]. The host sends the batch again after each of them, so
// nothing is lost while somebody mends the cause.
var (
	ErrTooLarge = errors.New("the request is too large: raise BODY_LIMIT_MIB, or lower extensions.eventHubs.maxEventBatchSize in host.json")
	ErrBroken   = errors.New("the request ended early")
	ErrBusy     = errors.New("no memory became free for the request")
)

// broken is ErrBroken with its cause.
func broken(got int, cause error) error {
	return fmt.Errorf("%w, after %d bytes: %w", ErrBroken, got, cause)
}

// A Reader reads request bodies into memory that it owns and reuses. The bodies
// that are held at one time are bounded by a budget for the whole process: each
// occupies 1 MiB freely and then waits, unread and in order of arrival, until
// its limit fits into the budget. Waiting once for the limit, instead of growing
// step by step, keeps two half-read bodies from waiting for each other.
//
// A Reader is safe for concurrent use.
type Reader struct {
	limit  int64
	budget *semaphore.Weighted

	mu   sync.Mutex
	idle []*buffer
}

// NewReader returns a Reader of bodies up to limit bytes, which together occupy
// at most budget bytes; budget must not be below limit.
func NewReader(limit, budget int64) *Reader {
	return &Reader{limit: limit, budget: semaphore.NewWeighted(max(limit, budget))}
}

// A buffer is memory for one body. Where the system supports it (see reserve) it
// has room for the largest body from the start and occupies memory only as it
// fills, so that it is never copied to a larger one: the host does not announce
// the length of its bodies.
type buffer struct {
	bytes    []byte
	reserved bool
}

func (r *Reader) acquire() *buffer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.idle); n > 0 {
		b := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return b
	}
	if bytes := reserve(int(r.limit) + 1); bytes != nil {
		return &buffer{bytes[:0], true}
	}
	return &buffer{bytes: make([]byte, 0, firstBuffer)}
}

func (r *Reader) release(b *buffer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := b.bytes[:cap(b.bytes)]
	if unmapAtClose || len(r.idle) == pooledBuffers {
		if b.reserved {
			unreserve(all)
		}
		return
	}
	if !b.reserved && len(all) > maxPooled {
		return
	}
	if b.reserved && len(b.bytes) > maxPooled {
		shrink(all, maxPooled)
	}
	b.bytes = b.bytes[:0]
	r.idle = append(r.idle, b)
}

// grow makes room for more in a buffer that was not reserved: a quarter at a
// time, so that the old and the new one together occupy little more than twice
// the body.
func (b *buffer) grow() {
	b.bytes = append(make([]byte, 0, cap(b.bytes)+max(cap(b.bytes)/4, firstBuffer)), b.bytes...)
}

// take waits until the whole limit fits into the budget.
func (b *Batch) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if b.reader.budget.Acquire(ctx, b.reader.limit) != nil {
		return ErrBusy
	}
	b.budgeted = true
	return nil
}

// fill reads all of body and searches it as it arrives.
func (b *Batch) fill(ctx context.Context, body io.Reader, search *prefilter.Search) error {
	buffer := b.buffer
	for {
		if len(buffer.bytes) >= freeShare && !b.budgeted {
			if err := b.take(ctx); err != nil {
				return err
			}
		}
		if len(buffer.bytes) == cap(buffer.bytes) {
			buffer.grow()
		}
		have := len(buffer.bytes)
		n, err := body.Read(buffer.bytes[have:min(cap(buffer.bytes), have+maxRead)])
		buffer.bytes = buffer.bytes[:have+n]
		if int64(len(buffer.bytes)) > b.reader.limit {
			return ErrTooLarge
		}
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return broken(len(buffer.bytes), err)
		}
		search.More(buffer.bytes, end)
		if end {
			return nil
		}
	}
}
