// Command handler is podwatch's custom handler: the Functions host starts it,
// tells it a port and posts invocations to it.
//
// It starts in order settings, parts, listener, and refuses to start when a
// setting, a rule or an exception is wrong: a detection that is quietly off is
// worse than one that does not start. Nothing here does I/O to Azure before the
// first invocation. The host ends the process by killing it, so nothing is
// flushed on the way out.
//
// Logs go to standard output as JSON lines; standard error is for what a person
// must act on. The exit status is never 0, which the host would take for a
// handler that still runs; only --version, which the host does not pass, ends so.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"podwatch/handler/internal/app"
	"podwatch/handler/internal/child"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/version"
)

const (
	// headerTimeout bounds how long a client may take for its request line and
	// headers.
	headerTimeout = 10 * time.Second
	// idleTimeout is longer than the host's, so that the host closes first.
	idleTimeout = 3 * time.Minute
	// stopTimeout bounds what invocations may still take after a signal.
	stopTimeout = 5 * time.Second
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("handler", version.Long())
		return
	}
	if os.Getenv(child.EndWithStdin) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // ends with podwatch run, which started this process
			os.Exit(1)
		}()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Getenv, config.ExecutableDir(), os.Stdout)
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "podwatch:", line)
	}
	os.Exit(1)
}

// errStopped is what run returns after a signal.
var errStopped = errors.New("stopped by a signal")

// run starts the handler and serves until ctx ends. It always returns an error.
func run(ctx context.Context, getenv func(string) string, dir string, stdout io.Writer) error {
	start := time.Now()
	cfg, err := config.Load(getenv, dir)
	if err != nil {
		return fmt.Errorf("the app settings are wrong:\n%w", err)
	}
	log := slog.New(slog.NewJSONHandler(stdout, &slog.HandlerOptions{Level: cfg.LogLevel}))
	functions, err := app.New(cfg, log, stdout)
	if err != nil {
		return err
	}
	limitMemory()
	listener, err := listen(ctx, cfg.Port, log)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           server.New(functions, log),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	// At any level: podwatch doctor reads from it which version runs.
	slog.New(slog.NewJSONHandler(stdout, nil)).Info("listening", "address", listener.Addr().String(), "start_ms", time.Since(start).Milliseconds(),
		"version", version.String(), "commit", version.Commit(), "go", runtime.Version(),
		"rules", len(functions.Rules.Rules()))
	return serve(ctx, srv, server.ReadAhead(listener))
}

// serve runs the server until ctx ends and then lets running invocations finish
// for a moment.
func serve(ctx context.Context, srv *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the host: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := srv.Shutdown(stopping)
	<-served
	return errors.Join(errStopped, err)
}

// limitMemory makes the garbage collector work harder near the smallest
// instance size (512 MB, of which the host takes its part) instead of being
// killed there. GOMEMLIMIT overrides it.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(224 << 20)
	}
}
