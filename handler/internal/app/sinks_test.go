package app

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
	"podwatch/handler/internal/sink/sinktest"
)

func TestConsoleWritesOneAlertALine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	alerts := sinktest.Alerts(3)
	alerts[1].UserAgent = "curl <&> one\ntwo"
	if n, err := NewConsole(&out).Post(t.Context(), alert.Group{Alerts: alerts}); n != 3 || err != nil {
		t.Fatal(n, err)
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

// TestConsoleIsSafeForTerminals: what reaches a terminal has no character to obey,
// and decodes to what was in the record.
func TestConsoleIsSafeForTerminals(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[2J\x07\x00\x7f\u009b31m\u0085 \u202egnp.exe \u2066x\u2069\u200b\u200d\ufeff\u2028\u2029\U000e0041\u00ad <b>ü</b> 🙂"
	a := sinktest.Alert(0)
	a.Pod, a.CallerName, a.Notes = hostile, hostile, []string{hostile}
	a.Event = json.RawMessage(`{"x":"` + "\u202e\u009b\U000e0041" + `"}`)
	var out bytes.Buffer
	if _, err := NewConsole(&out).Post(t.Context(), alert.Group{Alerts: []*alert.Alert{a}}); err != nil {
		t.Fatal(err)
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

func TestConsoleLinesDoNotMix(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := NewConsole(&out)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() { _, _ = s.Post(t.Context(), alert.Group{Alerts: sinktest.Alerts(25)}) })
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

// TestConsoleThatFails: an error is about the alerts up to the one that failed, so
// that no line is lost.
func TestConsoleThatFails(t *testing.T) {
	t.Parallel()
	alerts := sinktest.Alerts(3)
	n, err := NewConsole(&full{}).Post(t.Context(), alert.Group{Alerts: alerts})
	if n != 2 || err == nil || !strings.Contains(err.Error(), alerts[1].AlertId) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("%d alerts, error %v; want an error about the second", n, err)
	}
}
