package detect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
)

// A wildSample is a message body that was built after a public report, and what is to
// come of it: alert, routine, unreadable or none.
type wildSample struct {
	File   string
	Expect string
	Accept []string
	Caller string // of an alert; the first word counts
	Note   string // that the event has
}

func TestWildSamples(t *testing.T) {
	t.Parallel()
	d := detect.New(builtIn, true)
	for _, folder := range []string{"wild", "wild3"} {
		folder = filepath.Join("..", "..", "testdata", folder)
		var samples []wildSample
		index, err := os.ReadFile(filepath.Join(folder, "index.json"))
		if err == nil {
			err = json.Unmarshal(index, &samples)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range samples {
			t.Run(s.File, func(t *testing.T) {
				t.Parallel()
				body, err := os.ReadFile(filepath.Join(folder, s.File))
				if err != nil {
					t.Fatal(err)
				}
				s.check(t, d.Detect(detect.Plain(body), false))
			})
			t.Run(s.File+" from the host", func(t *testing.T) {
				t.Parallel()
				body, err := os.ReadFile(filepath.Join(folder, s.File))
				if err != nil {
					t.Fatal(err)
				}
				batch := fromHost(t, d, body)
				if batch.Err() != nil {
					return // the whole invocation is unreadable
				}
				if outcomes := outcomesOf(d.Detect(batch, false)); !s.accepts(outcomes) {
					t.Errorf("got %q, want %s", outcomes, s.Expect)
				}
			})
		}
	}
}

func (s wildSample) accepts(outcomes []string) bool {
	return slices.ContainsFunc(append(s.Accept, s.Expect), func(accepted string) bool { return slices.Contains(outcomes, accepted) })
}

func (s wildSample) check(t *testing.T, found detect.Result) {
	t.Helper()
	outcomes := outcomesOf(found)
	if !s.accepts(outcomes) {
		t.Fatalf("got %q, want %s", outcomes, s.Expect)
	}
	who, _, _ := strings.Cut(s.Caller, " ")
	who = strings.ToLower(strings.TrimRight(who, ",;"))
	named, noted := !strings.Contains(who, "@"), s.Note == ""
	for _, f := range found.Findings {
		ev, err := f.Event()
		if err != nil {
			t.Fatal(err)
		}
		named = named || slices.ContainsFunc(caller.From(ev).Names(), func(name string) bool { return strings.Contains(name, who) })
		noted = noted || slices.ContainsFunc(ev.Notes(), func(n string) bool { return strings.Contains(n, s.Note) })
	}
	if len(found.Findings) > 0 && !named {
		t.Errorf("no alert names %s", who)
	}
	if !noted {
		t.Errorf("no event has the note %q", s.Note)
	}
}

// outcomesOf is what became of a message: each outcome once.
func outcomesOf(found detect.Result) []string {
	var outcomes []string
	for _, f := range found.Findings {
		if f.Routine {
			outcomes = append(outcomes, "routine")
		} else {
			outcomes = append(outcomes, "alert")
		}
	}
	if len(found.Unreadable) > 0 {
		outcomes = append(outcomes, "unreadable")
	}
	if len(outcomes) == 0 {
		outcomes = append(outcomes, "none")
	}
	slices.Sort(outcomes)
	return slices.Compact(outcomes)
}

// fromHost is an invocation with one message, as the Functions host sends it.
func fromHost(t testing.TB, d *detect.Detector, body []byte) *invocation.Batch {
	t.Helper()
	wire := invocation.EncodeEvents(invocation.Messages{Function: "Detect", Binding: "events", Messages: []invocation.Message{{Body: body}}})
	batch, err := invocation.NewReader(1<<30, 1<<30).Read(context.Background(), bytes.NewReader(wire), d.Filter())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { batch.Close() })
	return batch
}
