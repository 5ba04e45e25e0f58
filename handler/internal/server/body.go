package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// stallAfter is how long a request body may stand still. The whole may take
// longer: the host sends up to BodyLimit bytes and is never hurried.
const stallAfter = 30 * time.Second

// firstRead is the buffer that a request starts with.
const firstRead = 64 << 10

// pooledMost is the largest buffer that is kept for another request. Larger ones
// are left to the garbage collector, so that one huge batch does not hold its
// memory for ever.
const pooledMost = 16 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// A body is a request's bytes in a buffer from the pool. Nothing may keep a part
// of it after release.
type body struct {
	buffer *[]byte
}

func (b body) bytes() []byte { return *b.buffer }
func (b body) len() int      { return len(*b.buffer) }

func (b body) release() {
	if cap(*b.buffer) <= pooledMost {
		*b.buffer = (*b.buffer)[:0]
		buffers.Put(b.buffer)
	}
}

// readBody reads the whole request. The host sends no Content-Length, so the
// buffer grows as the bytes come.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (body, error) {
	b := body{buffer: buffers.Get().(*[]byte)}
	if r.ContentLength > limit {
		return b, tooLarge(limit)
	}
	deadline := http.NewResponseController(w)
	in := http.MaxBytesReader(w, r.Body, limit)
	if cap(*b.buffer) == 0 {
		*b.buffer = make([]byte, 0, max(firstRead, min(r.ContentLength+1, pooledMost)))
	}
	for {
		if len(*b.buffer) == cap(*b.buffer) {
			*b.buffer = append(*b.buffer, 0)[:len(*b.buffer)]
		}
		// Not every server knows read deadlines (tests' recorders do not); then
		// there is no stalled peer either.
		_ = deadline.SetReadDeadline(time.Now().Add(stallAfter))
		n, err := in.Read((*b.buffer)[len(*b.buffer):cap(*b.buffer)])
		*b.buffer = (*b.buffer)[:len(*b.buffer)+n]
		if errors.Is(err, io.EOF) {
			// A deadline left behind would end the request's context while the
			// invocation still works.
			_ = deadline.SetReadDeadline(time.Time{})
			return b, nil
		}
		if err != nil {
			return b, bodyError(err, len(*b.buffer), limit)
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
