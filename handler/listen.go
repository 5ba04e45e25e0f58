package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"
)

const (
	// inUseFor is how long a port may be in use at the start: by an orphan of a host
	// that was killed. The host waits 30 seconds for the handler and stops the app when
	// the handler exited three times.
	inUseFor = 25 * time.Second
	// inUseEvery is the time between two tries.
	inUseEvery = 250 * time.Millisecond
)

// listen listens on a port of this machine, and waits for one that is in use.
func listen(ctx context.Context, port int, log *slog.Logger) (net.Listener, error) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	begin := time.Now()
	for try := 0; ; try++ {
		listener, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			return listener, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("listen for the host: %w", err)
		case time.Since(begin) >= inUseFor:
			return nil, fmt.Errorf("listen for the host: another process uses the port for %v already; end it: %w", inUseFor, err)
		case try == 0:
			log.Warn("the port is in use; waiting for it", "address", address, "at_most", inUseFor.String())
		}
		select {
		case <-time.After(inUseEvery):
		case <-ctx.Done():
			return nil, errStopped
		}
	}
}
