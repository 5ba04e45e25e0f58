package main

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/server"
)

// TestMain serves as a contestant where the test started itself as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestTableAndSoak run whole, with loads that are small.
func TestTableAndSoak(t *testing.T) {
	for name, command := range map[string]func(ctx context.Context, out io.Writer) error{
		"table": func(ctx context.Context, out io.Writer) error { return table(ctx, out, 1, 50_000) },
		"soak":  func(ctx context.Context, out io.Writer) error { return soak(ctx, out, 40*time.Millisecond, 50_000) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := command(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			columns := strings.Count(lines[len(lines)-1], "|")
			if want := map[string]int{"table": 2 + len(rows(1)), "soak": 3 + 4}[name]; len(lines) != want || columns < 8 {
				t.Errorf("%d lines, want %d:\n%s", len(lines), want, out.String())
			}
		})
	}
}

// TestContestantsFindTheSame: the records of one rule, in every load of the table.
func TestContestantsFindTheSame(t *testing.T) {
	for _, c := range columns[findersFrom:] {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			served, err := contestants[c.name]()
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(served)
			defer s.Close()
			l, err := (&child{address: s.Listener.Addr().String()}).dial()
			if err != nil {
				t.Fatal(err)
			}
			defer l.conn.Close()
			for _, r := range rows(200_000) {
				if !slices.Contains(r.columns(), c) {
					continue
				}
				load := r.Load
				load.Bare = c.bare
				body, matches := load.Invocation()
				if err := l.post(chunked(body)); err != nil {
					t.Fatalf("%s: %v", r.title, err)
				}
				if got := int(served.matches.Load()); got != matches {
					t.Errorf("%s: %d matches, want %d", r.title, got, matches)
				}
			}
		})
	}
}

// BenchmarkInvocation is an invocation of podwatch in one process with the client,
// for profiles and allocations.
func BenchmarkInvocation(b *testing.B) {
	for _, log := range append([]string{logtest.Cluster}, logtest.Logs...) {
		for _, share := range logtest.Shares {
			body := logtest.Batch(log, 8<<20, share.Nth)
			b.Run(fmt.Sprintf("log=%s/matching=%s", log, share.Name), func(b *testing.B) {
				podwatch, err := newPodwatch()
				if err != nil {
					b.Fatal(err)
				}
				s := httptest.NewUnstartedServer(podwatch)
				s.Listener = server.ReadAhead(s.Listener)
				s.Start()
				defer s.Close()
				l, err := (&child{address: s.Listener.Addr().String()}).dial()
				if err != nil {
					b.Fatal(err)
				}
				defer l.conn.Close()
				request := chunked(body)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if err := l.post(request); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
