package server_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/server"
)

// once is a listener of one connection.
type once struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l once) Close() error   { close(l.closed); return nil }
func (l once) Addr() net.Addr { return &net.TCPAddr{} }

// connect serves functions on one connection in memory, whose deadlines follow
// the clock of synctest.
func connect(t *testing.T, f functions) net.Conn {
	t.Helper()
	client, conn := net.Pipe()
	l := once{make(chan net.Conn, 1), make(chan struct{})}
	l.conn <- conn
	s := &http.Server{Handler: server.New(f, slog.New(slog.DiscardHandler))}
	go func() { _ = s.Serve(server.ReadAhead(l)) }()
	t.Cleanup(func() {
		client.Close()
		s.Close()
	})
	return client
}

// send sends a body of the given length, a byte at a time.
func send(t *testing.T, conn net.Conn, length string, body string, every time.Duration) {
	t.Helper()
	const head = "POST /Redeliver HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
	if _, err := io.WriteString(conn, head+length+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for i := range len(body) {
		if _, err := io.WriteString(conn, body[i:i+1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
	}
}

func statusOf(t *testing.T, conn net.Conn) int {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// redeliver reads the whole body as the app does.
func redeliver(_ context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	_, err := invocation.ReadQueue(body)
	return new(invocation.Reply), nil, err
}

func TestABodyThatStallsIsGivenUpAfter30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := connect(t, functions{redeliver: redeliver})
		send(t, conn, "100", `{"Data"`, 0)
		start := time.Now()
		if status, after := statusOf(t, conn), time.Since(start); status != http.StatusBadRequest || after > 31*time.Second || after < 29*time.Second {
			t.Errorf("status %d after %v, want 400 after 30 s", status, after)
		}
	})
}

func TestABodyThatArrivesSlowlyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := connect(t, functions{redeliver: redeliver})
		send(t, conn, "23", `{"Data":{"alert":"{}"}}`, 20*time.Second)
		if status := statusOf(t, conn); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}

// TestNoDeadlineIsLeftBehind: the work may take longer than a body may stall.
func TestNoDeadlineIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := connect(t, functions{redeliver: func(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
			_, err := invocation.ReadQueue(body)
			select {
			case <-ctx.Done():
				t.Errorf("the request's context ended: %v", ctx.Err())
			case <-time.After(10 * time.Minute):
			}
			return new(invocation.Reply), nil, err
		}})
		send(t, conn, "23", `{"Data":{"alert":"{}"}}`, 0)
		if status := statusOf(t, conn); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}
