package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"podwatch/handler/internal/logtest"
)

// partitions is how many invocations are in flight, as the host has one for each
// partition.
const partitions = 4

// soak keeps the handler under as much load as two processors give, and prints at
// each quarter what it takes and how long invocations took. The load is a cluster's
// log, 1 % deletions of which 95 % are routine; each invocation has new alerts.
func soak(ctx context.Context, out io.Writer, duration time.Duration, size int) error {
	// The handler limits its memory itself; here it is a part of another command.
	handler, err := start(ctx, "handler", "FUNCTIONS_CUSTOMHANDLER_PORT=1", "GOMEMLIMIT=224MiB")
	if err != nil {
		return err
	}
	defer handler.end()
	load := logtest.Load{Log: logtest.Cluster, Size: size, Nth: 100, Routine: 19, Records: 10}
	body, matches := load.Invocation()
	request := chunked(body)
	fmt.Fprintf(out, "%d invocations in flight of %.1f MB with %d deletions each, for %v\n", partitions, float64(len(body))/1e6, matches, duration)
	fmt.Fprintln(out, "| quarter | invocations | MB/s | resident, MiB | goroutines | median, ms | 99 %, ms | longest, ms |\n|---|---|---|---|---|---|---|---|")
	for quarter := range 4 {
		began := time.Now()
		times, err := flood(ctx, handler, request, quarter, began.Add(duration/4))
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		resident, err := handler.rss()
		if err != nil {
			return err
		}
		goroutines, err := handler.number("goroutines")
		if err != nil {
			return err
		}
		slices.Sort(times)
		at := func(share float64) int64 { return times[int(share*float64(len(times)-1))].Milliseconds() }
		fmt.Fprintf(out, "| %d | %d | %.0f | %d | %d | %d | %d | %d |\n", quarter+1, len(times),
			float64(len(times)*len(body))/1e6/elapsed.Seconds(), resident>>20, goroutines, at(0.5), at(0.99), at(1))
	}
	return nil
}

// flood posts requests one after the other on each connection until a time, and
// returns how long each took.
func flood(ctx context.Context, handler *child, request []byte, quarter int, until time.Time) ([]time.Duration, error) {
	var (
		group sync.WaitGroup
		times [partitions][]time.Duration
		errs  [partitions]error
	)
	for p := range partitions {
		group.Go(func() {
			l, err := handler.dial()
			if err != nil {
				errs[p] = err
				return
			}
			defer l.conn.Close()
			own := newIDs(request)
			for n := 0; errs[p] == nil && (n == 0 || time.Now().Before(until)); n++ {
				own.set(uint32(quarter*partitions+p)<<24 | uint32(n))
				began := time.Now()
				errs[p] = errors.Join(l.post(own.request), ctx.Err())
				times[p] = append(times[p], time.Since(began))
			}
		})
	}
	group.Wait()
	return slices.Concat(times[:]...), errors.Join(errs[:]...)
}

// ids are a request whose audit ids can be made new.
type ids struct {
	request []byte
	places  []int
}

// auditID begins every audit id of logtest.
const auditID = "5d2a9c34"

func newIDs(request []byte) *ids {
	own := &ids{request: bytes.Clone(request)}
	for at := 0; ; at += len(auditID) {
		n := bytes.Index(request[at:], []byte(auditID))
		if n < 0 {
			return own
		}
		at += n
		own.places = append(own.places, at)
	}
}

func (own *ids) set(n uint32) {
	id := fmt.Appendf(nil, "%08x", n)
	for _, at := range own.places {
		copy(own.request[at:], id)
	}
}
