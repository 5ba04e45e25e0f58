package server

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// stallAfter is how long a request body may make no progress. The whole may take
// longer: the host is never hurried.
const stallAfter = 30 * time.Second

// A body extends the connection's read deadline while it is read, and lifts it at
// the end: a deadline left behind would end the request's context while the
// invocation still works.
type body struct {
	io.Reader
	size     int64
	control  *http.ResponseController
	extended time.Time
}

// Size is the length that the request announced, -1 if none. One that is too large
// is refused before it is sent; the connection would be cut while it is.
func (b *body) Size() int64 { return b.size }

func (b *body) Read(p []byte) (int, error) {
	// Not every server supports read deadlines (recorders in tests do not), and
	// then no connection can stall either.
	if now := time.Now(); now.Sub(b.extended) > time.Second {
		_ = b.control.SetReadDeadline(now.Add(stallAfter))
		b.extended = now
	}
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
