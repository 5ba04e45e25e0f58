package server

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"time"
)

// A wire is a connection from which bytes arrive in pieces.
type wire struct {
	net.Conn
	io.Reader
	reads int
}

func (w *wire) Read(p []byte) (int, error) {
	w.reads++
	return w.Reader.Read(p)
}

// TestReadAhead reads what arrived, whatever the size of pieces and reads, and holds no
// buffer afterwards.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	text := make([]byte, 3*readAhead+17)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = byte(random.Uint32())
	}
	for name, pieces := range map[string]func(io.Reader) io.Reader{
		"whole":          func(r io.Reader) io.Reader { return r },
		"halves":         iotest.HalfReader,
		"bytes":          iotest.OneByteReader,
		"error with end": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &connection{Conn: &wire{Reader: pieces(bytes.NewReader(text))}}
			random := rand.New(rand.NewPCG(3, 4))
			var got []byte
			room := make([]byte, 2*readAhead)
			for {
				p := room[:[]int{1, 17, 4096, readAhead, 2 * readAhead}[random.IntN(5)]]
				n, err := c.Read(p)
				got = append(got, p[:n]...)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, text) {
				t.Errorf("%d bytes that differ from the %d sent", len(got), len(text))
			}
			if c.buffer != nil {
				t.Error("a connection at its end holds a buffer")
			}
		})
	}
}

// TestReadAheadSavesSystemCalls: net/http asks for 4 KiB each time.
func TestReadAheadSavesSystemCalls(t *testing.T) {
	t.Parallel()
	w := &wire{Reader: bytes.NewReader(make([]byte, 8<<20))}
	c := &connection{Conn: w}
	for p := make([]byte, 4096); ; {
		if _, err := c.Read(p); err != nil {
			break
		}
	}
	if w.reads > 40 {
		t.Errorf("%d reads of the connection for 8 MiB, want about 33", w.reads)
	}
}

// connected returns both ends of a connection.
func connected(t *testing.T) (client, served net.Conn) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := ReadAhead(tcp)
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if served, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		served.Close()
	})
	return client, served
}

// TestReadAheadKeepsDeadlines: a read that waits ends at its deadline, and the connection
// can be read after it.
func TestReadAheadKeepsDeadlines(t *testing.T) {
	t.Parallel()
	client, served := connected(t)
	for round := range 2 { // the second one waits in a read ahead
		if _, err := client.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(served, make([]byte, 2)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := served.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := served.Read(make([]byte, 2)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("round %d: read %d bytes, error %v", round, n, err)
		}
		if c := served.(*connection); c.buffer != nil {
			t.Fatalf("round %d: a connection that waits holds a buffer", round)
		}
		if err := served.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadAheadEndsAnAnswer: net/http closes one direction where it answers before it
// read the body, so that the client reads the answer and not that it was cut off.
func TestReadAheadEndsAnAnswer(t *testing.T) {
	t.Parallel()
	client, served := connected(t)
	if err := served.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d bytes, error %v, want the end", n, err)
	}
	if _, err := client.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if n, err := served.Read(make([]byte, 2)); n != 2 || err != nil {
		t.Errorf("read %d bytes, error %v: the other direction is open", n, err)
	}
}
