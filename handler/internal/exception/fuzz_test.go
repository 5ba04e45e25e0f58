package exception_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// FuzzParse holds that reading never panics, gives the same answer twice, puts
// every mistake and warning inside the file, and that what was read can be
// evaluated.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../cmd/podwatch/testdata/exceptions/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(err, "no seeds")
	}
	for _, name := range append(files, "../../../function_app/exceptions.example.yaml", "../../../function_app/exceptions.tools.yaml") {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("exceptions:\n  - {name: a, match: \"a: \\\"\\u0009\\\"\", ? b : c}\n"))
	f.Add([]byte("exceptions:\r\n  - name: 'it''s'\r\n    match: |\r\n      a: 'b'\r\n      and (c\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := exception.Parse("a.yaml", text, nil)
		_, again := exception.Parse("a.yaml", text, nil)
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Errorf("two readings differ: %v, %v", err, again)
		}
		if err != nil {
			inside(t, text, err)
			return
		}
		now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
		for _, e := range set.Exceptions() {
			for _, w := range e.Lint(now, false) {
				inside(t, text, w)
			}
			e.Windows(now, 3)
		}
		set.Suppress(deletion(t), kql.Map{})
	})
}

// inside reports each mistake that has a place outside the file.
func inside(t *testing.T, text []byte, err error) {
	t.Helper()
	var at *rule.FileError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			inside(t, text, err)
		}
	} else if lines := strings.Split(string(text), "\n"); !errors.As(err, &at) || at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1])+1 {
		t.Errorf("a mistake outside the file: %v", err)
	}
}

// FuzzCron holds that no cron field panics, and that each window has the length of
// its schedule and covers its start.
func FuzzCron(f *testing.F) {
	for _, field := range []string{"0 22 * * SAT", "TZ=UTC", "CRON_TZ=Asia/Tokyo 0 22 * * *", "@daily", "@every 1h", "0 22 30 2 *", "*/7 1-3,5 1-7 JAN-MAR ?", ""} {
		f.Add(field, "Europe/Amsterdam", uint8(2))
	}
	f.Add("30 2 * * *", "Australia/Lord_Howe", uint8(1))
	f.Add("0 0 * * *", "../zone.go", uint8(1))
	f.Fuzz(func(t *testing.T, field, zone string, hours uint8) {
		spec, err := json.Marshal(map[string]string{"cron": field, "time_zone": zone, "duration": (time.Duration(hours) * time.Hour).String()})
		if err != nil {
			t.Skip()
		}
		set, err := exception.Parse("a.yaml", []byte(file("match: 'cluster.kind: arc'", "schedule: "+string(spec))), nil)
		if err != nil {
			return
		}
		e := set.Exceptions()[0]
		for _, w := range e.Windows(time.Date(2027, 3, 27, 0, 0, 0, 0, time.UTC), 5) {
			a := deletion(t)
			a.EventTime = w.Start
			if w.End.Sub(w.Start) != time.Duration(hours)*time.Hour || set.Suppress(a, kql.Map{}) == "" {
				t.Errorf("%q in %s: the window %s to %s has another length or does not hold at its start", field, zone, w.Start, w.End)
			}
		}
	})
}
