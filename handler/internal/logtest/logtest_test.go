package logtest_test

import (
	"bytes"
	"fmt"
	"testing"

	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/rule"
)

// TestLoadsMatchAsDescribed: the built-in rules match the deletions of a load and
// nothing else, and the described share of them is routine.
func TestLoadsMatchAsDescribed(t *testing.T) {
	t.Parallel()
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	d := detect.New(set, false)
	for _, log := range append([]string{logtest.Cluster}, logtest.Logs...) {
		for _, l := range []logtest.Load{{}, {Nth: 10}, {Nth: 10, Routine: 19}, {Nth: 33, Routine: 19, Records: 1}, {Nth: 10, Routine: 19, Records: 200, Bare: true}} {
			l.Log, l.Size = log, 1<<20
			t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
				t.Parallel()
				body, matches := l.Invocation()
				b, err := invocation.NewReader(16<<20, 1<<40).Read(t.Context(), bytes.NewReader(body), d.Filter())
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				found := d.Detect(b, false)
				routine := 0
				if log != "activity" {
					for i := range matches {
						if i%20 < l.Routine {
							routine++
						}
					}
				}
				if (matches > 0) != (l.Nth > 0) || found.Matches != matches || found.Routine != routine || len(found.Unreadable) > 0 {
					t.Errorf("%d matches of which %d are routine, %d unreadable; want %d and %d", found.Matches, found.Routine, len(found.Unreadable), matches, routine)
				}
				if matches == 0 && found.Opened > 0 {
					t.Errorf("%d records are read, of which none is a deletion", found.Opened)
				}
				if len(body) < l.Size || len(body) > 2*l.Size {
					t.Errorf("%d bytes, want at most a message more than %d", len(body), l.Size)
				}
			})
		}
	}
}
