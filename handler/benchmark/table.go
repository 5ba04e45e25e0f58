package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/logtest"
)

// A row of the table is a load. Of 20 deletions, 19 are routine where that is so.
type row struct {
	title string
	logtest.Load
}

// rows are the three logs by share of deletions, then a cluster's log by share and
// by the size of messages, and by share where every twentieth text is cut.
func rows(size int) (rows []row) {
	const most = 19
	add := func(title string, l logtest.Load) {
		l.Size = size
		rows = append(rows, row{title, l})
	}
	for _, log := range logtest.Logs {
		routine := ", 95 % routine"
		if log == "activity" { // Kubernetes' own deletions are not in it
			routine = ", all alert"
		} else {
			add(log+" | 1 %, all alert", logtest.Load{Log: log, Nth: 100})
		}
		add(log+" | none", logtest.Load{Log: log})
		add(log+" | 0.1 %"+routine, logtest.Load{Log: log, Nth: 1000, Routine: most})
		add(log+" | 1 %"+routine, logtest.Load{Log: log, Nth: 100, Routine: most})
		add(log+" | 10 %"+routine, logtest.Load{Log: log, Nth: 10, Routine: most})
	}
	for _, share := range []struct {
		name string
		nth  int
	}{{"0.3 %", 333}, {"1 %", 100}, {"3 %", 33}} {
		for _, records := range []int{1, 10, 200} {
			add(fmt.Sprintf("%s, %d a message | %s, 95 %% routine", logtest.Cluster, records, share.name),
				logtest.Load{Log: logtest.Cluster, Nth: share.nth, Routine: most, Records: records})
		}
	}
	for _, share := range logtest.Shares[:3] {
		add(fmt.Sprintf("%s, 5 %% cut | %s, 95 %% routine", logtest.Cluster, share.Name),
			logtest.Load{Log: logtest.Cluster, Nth: share.Nth, Routine: most, Cut: 20})
	}
	return rows
}

// columns are the contestants of a row: the peers refuse a text that is cut.
func (r row) columns() []column {
	if r.Cut > 0 {
		return columns[:peersFrom]
	}
	return columns
}

// A column is a contestant and what it gets.
type column struct {
	title, name string
	bare        bool // without the metadata that the host adds
	posts       int  // invocations in a turn: those that are fast differ most from one to the next
}

// columns begins with the contestant that all are compared with.
var columns = []column{
	{"read-only", "read-only", false, 5}, {"read-ahead", "read-ahead", false, 5}, {"podwatch", "podwatch", false, 5}, {"podwatch, bare", "podwatch", true, 5},
	{"sonic", "sonic", false, 1}, {"gjson", "gjson", false, 1}, {"falco", "falco", false, 1}, {"decode-all", "decode-all", false, 1}, {"gojq", "gojq", false, 1},
}

// Columns before findersFrom only read; those from peersFrom on are peers.
const (
	findersFrom = 2
	peersFrom   = 4
)

// table prints the throughput of read-only, and of each contestant as a share of it:
// medians of invocations that run in turn, so that a machine whose speed drifts is
// the same for all.
func table(ctx context.Context, out io.Writer, runs, size int) error {
	children := map[string]*child{}
	for _, c := range columns {
		if children[c.name] == nil {
			started, err := start(ctx, c.name)
			if err != nil {
				return err
			}
			defer started.end()
			children[c.name] = started
		}
	}
	titles := []string{"log", "deletions", columns[0].title + ", MB/s"}
	for _, c := range columns[1:] {
		titles = append(titles, c.title)
	}
	titles = append(titles, "podwatch to the first peer")
	fmt.Fprintf(out, "| %s |\n|%s\n", strings.Join(titles, " | "), strings.Repeat("---|", len(titles)))
	for _, r := range rows(size) {
		speeds, err := r.measure(children, runs)
		if err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
		fmt.Fprintf(out, "| %s | %.0f |", r.title, speeds[0])
		for _, speed := range speeds[1:] {
			fmt.Fprintf(out, " %.3f |", speed/speeds[0])
		}
		if r.Cut > 0 {
			fmt.Fprintln(out, strings.Repeat(" |", len(columns)-peersFrom+1))
			continue
		}
		fmt.Fprintf(out, " %.1f |\n", speeds[findersFrom]/slices.Max(speeds[peersFrom:]))
	}
	return nil
}

// measure returns the median throughput of each column in MB/s.
func (r row) measure(children map[string]*child, runs int) ([]float64, error) {
	columns := r.columns()
	times := make([][]float64, len(columns))
	lines := make([]*line, len(columns))
	bodies := map[bool][]byte{}
	requests := map[bool][]byte{}
	matches := 0
	for _, bare := range []bool{false, true} {
		l := r.Load
		l.Bare = bare
		bodies[bare], matches = l.Invocation()
		requests[bare] = chunked(bodies[bare])
	}
	for i, c := range columns {
		var err error
		if lines[i], err = children[c.name].dial(); err != nil {
			return nil, err
		}
		defer lines[i].conn.Close()
		if i < findersFrom {
			continue
		}
		if err := r.check(children[c.name], lines[i], requests[c.bare], matches); err != nil {
			return nil, err
		}
	}
	for range runs {
		for i, c := range columns {
			for range c.posts {
				if err := children[c.name].collect(); err != nil {
					return nil, err
				}
				began := time.Now()
				if err := lines[i].post(requests[c.bare]); err != nil {
					return nil, fmt.Errorf("%s: %w", c.title, err)
				}
				times[i] = append(times[i], time.Since(began).Seconds())
			}
		}
	}
	speeds := make([]float64, len(columns))
	for i, c := range columns {
		slices.Sort(times[i])
		speeds[i] = float64(len(bodies[c.bare])) / 1e6 / times[i][len(times[i])/2]
	}
	return speeds, nil
}

// check posts the load once and requires the matches that were put into it.
func (r row) check(c *child, l *line, request []byte, want int) error {
	if err := l.post(request); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	got, err := c.number("matches")
	if err == nil && got != want {
		err = fmt.Errorf("%d matches, want %d", got, want)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}
