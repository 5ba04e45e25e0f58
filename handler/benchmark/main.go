// Command benchmark times whole invocations of Detect over HTTP, podwatch beside
// a handler that only reads and beside other ways in Go to find the same records.
// With -soak it keeps the handler under full load instead.
//
// Every contestant is a process of its own with two processors and gets the same
// bytes in the form in which the Functions host sends them, on a connection that reads
// ahead as the handler's does; read-only is there also with net/http as it comes. Before
// it is timed it must find the records that were put into the load.
//
// It is a module of its own, so that podwatch does not depend on its peers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	serving := flag.String("serve", "", "serve as this contestant until standard input closes (used by the command itself)")
	runs := flag.Int("runs", 15, "invocations of each contestant for each row of the table")
	size := flag.Int("size", 8<<20, "bytes of an invocation")
	duration := flag.Duration("soak", 0, "keep the handler under full load for this long, instead of the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *serving, *runs, *size, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, serving string, runs, size int, duration time.Duration) error {
	switch {
	case serving != "":
		return serve(serving)
	case runs < 1 || size < 1:
		return fmt.Errorf("runs %d and size %d: both must be at least 1", runs, size)
	case duration > 0:
		return soak(ctx, os.Stdout, duration, size)
	}
	return table(ctx, os.Stdout, runs, size)
}
