package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// occupy listens on a port that the system chose.
func occupy(t *testing.T) (orphan net.Listener, port int) {
	t.Helper()
	orphan, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { orphan.Close() })
	return orphan, orphan.Addr().(*net.TCPAddr).Port
}

// TestTheHandlerWaitsForItsPort: an orphan of a killed host may have it for a moment.
func TestTheHandlerWaitsForItsPort(t *testing.T) {
	t.Parallel()
	orphan, port := occupy(t)
	out := new(lockedBuffer)
	p := launch(t, map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": strconv.Itoa(port)}, out)
	p.await(t, out, "the port is in use")
	orphan.Close()
	p.await(t, out, `"msg":"listening"`)
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the handler answers %s", response.Status)
	}
	if n := strings.Count(out.String(), "the port is in use"); n != 1 {
		t.Errorf("%d lines about the port, want one", n)
	}
}

// TestAPortThatStaysInUse is given up before the host's 30 seconds end, and at once
// when the handler is stopped.
func TestAPortThatStaysInUse(t *testing.T) {
	t.Parallel()
	_, port := occupy(t)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := listen(t.Context(), port, slog.New(slog.DiscardHandler))
		if took := time.Since(begin); !errors.Is(err, syscall.EADDRINUSE) || took < 25*time.Second || took > 26*time.Second {
			t.Errorf("error %v after %v, want one after 25 s", err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := listen(ctx, port, slog.New(slog.DiscardHandler)); !errors.Is(err, errStopped) {
			t.Errorf("stopped: error %v", err)
		}
	})
}
