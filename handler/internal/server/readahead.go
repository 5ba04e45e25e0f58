package server

import (
	"net"
	"sync"
)

// readAhead is how much is read from a connection at a time. net/http alone reads
// 4 KiB, so that an invocation of 8 MiB takes 2,000 system calls, which is more work
// than all that podwatch does with it.
const readAhead = 256 << 10

var readAheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// ReadAhead returns a listener whose connections read far ahead while a body
// arrives. A connection that waits for its next request holds no memory for it.
func ReadAhead(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c}, nil
}

// A connection is read by one goroutine at a time, as net/http does.
type connection struct {
	net.Conn
	buffer *[readAhead]byte
	ahead  []byte // of buffer, not empty while there is a buffer
	more   bool   // the last read of Conn was filled: more is there, probably
}

func (c *connection) Read(p []byte) (n int, err error) {
	if c.buffer == nil {
		if !c.more || len(p) >= readAhead {
			n, err = c.Conn.Read(p)
			c.more = n == len(p)
			return n, err
		}
		c.buffer = readAheads.Get().(*[readAhead]byte)
		n, err = c.Conn.Read(c.buffer[:])
		c.ahead, c.more = c.buffer[:n], n == readAhead
	}
	n = copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		readAheads.Put(c.buffer)
		c.buffer, c.ahead = nil, nil
	}
	if n > 0 {
		return n, nil // an error beside bytes comes again when Conn is read next
	}
	return 0, err
}

// CloseWrite lets net/http end an answer to a body that it does not read to its end.
func (c *connection) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}
