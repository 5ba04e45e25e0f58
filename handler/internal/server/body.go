package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// stallAfter is how long a request body may stand still. The whole may take
	// longer: the host sends up to BodyLimit bytes and is never hurried.
	stallAfter = 30 * time.Second
	// firstBuffer is what a buffer holds at first where it has to grow.
	firstBuffer = 64 << 10
	// mostRead is the most that is read at once, so that what looks at it finds it
	// in the processor's cache.
	mostRead = 256 << 10
	// pooledMost is the most memory that is kept for another request. More is given
	// back, so that one huge batch does not hold its memory for ever.
	pooledMost = 16 << 20
	// pooledBuffers is how many buffers wait for a request.
	pooledBuffers = 4
)

// A body is the bytes of a request. Nothing may keep a part of it after release.
type body struct {
	*buffer
	pool *buffers
}

func (b body) release() { b.pool.put(b.buffer) }

// A buffer is memory for one request.
type buffer struct {
	bytes    []byte
	reserved bool // by reserve
}

// buffers are kept for the next request. Where the system can (see reserve), a
// buffer has room for the largest body from the start, and takes memory only as
// it fills, so that it never has to be copied to a larger one: the host does not
// say how long its bodies are.
type buffers struct {
	limit int64
	mu    sync.Mutex
	idle  []*buffer
}

// get returns an empty buffer.
func (p *buffers) get() *buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return b
	}
	if bytes := reserve(int(p.limit) + 1); bytes != nil {
		return &buffer{bytes[:0], true}
	}
	return &buffer{bytes: make([]byte, 0, firstBuffer)}
}

// put takes back a buffer.
func (p *buffers) put(b *buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := b.bytes[:cap(b.bytes)]
	switch {
	case len(p.idle) == pooledBuffers && b.reserved:
		unreserve(all)
		return
	case len(p.idle) == pooledBuffers, !b.reserved && len(all) > pooledMost:
		return
	case b.reserved && len(b.bytes) > pooledMost:
		shrink(all, pooledMost)
	}
	b.bytes = b.bytes[:0]
	p.idle = append(p.idle, b)
}

// grown returns b with room for more: a quarter at a time, so that the two of
// them take little more than twice the body even while one is copied.
func grown(b []byte) []byte {
	return append(make([]byte, 0, cap(b)+max(cap(b)/4, firstBuffer)), b...)
}

// readBody reads the whole request and shows look, unless it is nil, all that has
// arrived, again and again. What it returns must be released, also after an error.
func (p *buffers) readBody(w http.ResponseWriter, r *http.Request, look func(sofar []byte, last bool)) (body, error) {
	b := body{p.get(), p}
	if r.ContentLength > p.limit {
		return b, tooLarge(p.limit)
	}
	deadline := http.NewResponseController(w)
	in := http.MaxBytesReader(w, r.Body, p.limit)
	var extended time.Time
	for {
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = grown(b.bytes)
		}
		// Not every server knows read deadlines (tests' recorders do not); then
		// there is no stalled peer either.
		if now := time.Now(); now.Sub(extended) > time.Second {
			_ = deadline.SetReadDeadline(now.Add(stallAfter))
			extended = now
		}
		have := len(b.bytes)
		n, err := in.Read(b.bytes[have:min(cap(b.bytes), have+mostRead)])
		b.bytes = b.bytes[:have+n]
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return b, bodyError(err, len(b.bytes), p.limit)
		}
		if look != nil {
			look(b.bytes, end)
		}
		if end {
			// A deadline left behind would end the request's context while the
			// invocation still works.
			_ = deadline.SetReadDeadline(time.Time{})
			return b, nil
		}
	}
}

func bodyError(err error, got int, limit int64) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return tooLarge(limit)
	}
	return &statusError{http.StatusBadRequest, fmt.Errorf("read request: broke off after %d bytes: %w", got, err)}
}

// tooLarge fails the invocation, so the host keeps the batch and tries again:
// nothing is lost while somebody raises the limit.
func tooLarge(limit int64) error {
	return &statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("read request: more than %d MiB: raise BODY_LIMIT_MIB, or lower extensions.eventHubs.maxEventBatchSize in host.json", limit>>20)}
}
