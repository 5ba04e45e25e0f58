package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink/console"
	"podwatch/handler/internal/sink/sinktest"
)

func TestOneAlertALine(t *testing.T) {
	var out bytes.Buffer
	alerts := sinktest.Alerts(3)
	alerts[1].UserAgent = "curl <&> one\ntwo"
	if failures := console.New(&out).Deliver(t.Context(), alerts); failures != nil {
		t.Fatal(failures)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3:\n%s", len(lines), out.String())
	}
	for i, line := range lines {
		got, err := alert.Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if got.AlertId != alerts[i].AlertId || got.UserAgent != alerts[i].UserAgent {
			t.Errorf("line %d holds %s %q", i, got.AlertId, got.UserAgent)
		}
	}
	if !strings.Contains(lines[1], `"UserAgent":"curl <&> one\ntwo","`) {
		t.Errorf("the line is not compact, or escapes what need not be: %s", lines[1])
	}
}

// TestTerminalsAreSafe: what reaches a terminal has no character to obey, and
// decodes to what was in the record.
func TestTerminalsAreSafe(t *testing.T) {
	const hostile = "\x1b[2J\x07\x00\x7f\u009b31m\u0085 \u202egnp.exe \u2066x\u2069\u200b\u200d\ufeff\u2028\u2029\U000e0041\u00ad <b>ü</b> 🙂"
	a := sinktest.Alert(0)
	a.Pod, a.CallerName, a.Notes = hostile, hostile, []string{hostile}
	a.Event = json.RawMessage(`{"x":"` + "\u202e\u009b\U000e0041" + `"}`)
	var out bytes.Buffer
	if failures := console.New(&out).Deliver(t.Context(), []*alert.Alert{a}); failures != nil {
		t.Fatal(failures)
	}
	line := strings.TrimSuffix(out.String(), "\n")
	for _, r := range line {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Errorf("%U reaches the terminal", r)
		}
	}
	for _, want := range []string{"<b>ü</b> 🙂", `\u202e`, `\udb40\udc41`} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in the line", want)
		}
	}
	var want, got any
	if err := json.Unmarshal(a.JSON(), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("the escaped line means something else (-got +want):\n%s", diff)
	}
}

func TestLinesDoNotMix(t *testing.T) {
	var out bytes.Buffer
	s := console.New(&out)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() { s.Deliver(t.Context(), sinktest.Alerts(25)) })
	}
	wait.Wait()
	for line := range strings.Lines(out.String()) {
		if _, err := alert.Parse([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
}

// full is a stream that takes one line.
type full struct{ n int }

func (f *full) Write(p []byte) (int, error) {
	if f.n++; f.n > 1 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestFailuresAreToldPerAlert(t *testing.T) {
	failures := console.New(&full{}).Deliver(t.Context(), sinktest.Alerts(3))
	if len(failures) != 3 || failures[0] != nil || failures[1] == nil || failures[2] == nil {
		t.Errorf("got %v, want an error for the last two", failures)
	}
}
