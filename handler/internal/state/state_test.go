package state_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/state"
)

// A clock is moved by the test.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)} }

// discard is a log that is not looked at.
var discard = slog.New(slog.DiscardHandler)

// containers returns a function that gives each subtest a container of its own,
// which nobody has created yet.
func containers(t *testing.T) func(t *testing.T) *container.Client {
	connection := azurite.Start(t)
	n := 0
	return func(t *testing.T) *container.Client {
		t.Helper()
		n++
		c, err := container.NewClientFromConnectionString(connection, fmt.Sprintf("state%d", n), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func alertOf(id, caller string) *alert.Alert {
	return &alert.Alert{AlertId: id, RuleId: "r", CallerId: caller, ClusterId: "/c", EventTime: time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)}
}

// admit fails the test unless Admit says what is wanted.
func admit(t *testing.T, w *state.Windows, want bool, alerts ...*alert.Alert) {
	t.Helper()
	got, err := w.Admit(t.Context(), alerts)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Admit(%s ...) = %t, want %t", alerts[0].AlertId, got, want)
	}
}

func hold(t *testing.T, w *state.Windows, alerts ...*alert.Alert) {
	t.Helper()
	if err := w.Hold(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
}

// summaries collects the ids that each summary has.
func summaries(t *testing.T, w *state.Windows) []string {
	t.Helper()
	var posted []string
	err := w.Summaries(t.Context(), func(_ context.Context, alerts []*alert.Alert) error {
		var ids []string
		for _, a := range alerts {
			ids = append(ids, a.AlertId)
		}
		slices.Sort(ids)
		posted = append(posted, strings.Join(ids, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(posted)
	return posted
}

func wantSummaries(t *testing.T, w *state.Windows, want ...string) {
	t.Helper()
	if got := summaries(t, w); !slices.Equal(got, want) {
		t.Errorf("summaries are %q, want %q", got, want)
	}
}

func TestWindows(t *testing.T) {
	fresh := containers(t)
	t.Run("the first alert opens the window, the next are held until it ends", func(t *testing.T) {
		clock, c := newClock(), fresh(t)
		w := state.NewWindows(c, clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		other := state.NewWindows(c, clock.now, discard) // another instance
		admit(t, other, false, alertOf("2", "dana"))
		hold(t, other, alertOf("2", "dana"))
		hold(t, w, alertOf("3", "dana"), alertOf("4", "dana"))
		wantSummaries(t, w)
		clock.advance(state.WindowLength)
		wantSummaries(t, other, "2 3 4")
		wantSummaries(t, w)
		admit(t, w, true, alertOf("5", "dana"))
	})
	t.Run("groups do not hold each other back", func(t *testing.T) {
		w := state.NewWindows(fresh(t), newClock().now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		admit(t, w, true, alertOf("2", "robin"))
	})
	t.Run("the alerts that opened a window are admitted again after a crash", func(t *testing.T) {
		clock, c := newClock(), fresh(t)
		admit(t, state.NewWindows(c, clock.now, discard), true, alertOf("1", "dana"), alertOf("2", "dana"))
		admit(t, state.NewWindows(c, clock.now, discard), true, alertOf("2", "dana"), alertOf("1", "dana"))
	})
	t.Run("alerts that come back one by one are one card and one summary", func(t *testing.T) {
		clock := newClock()
		w := state.NewWindows(fresh(t), clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"), alertOf("2", "dana"), alertOf("3", "dana"))
		admit(t, w, false, alertOf("3", "dana"))
		hold(t, w, alertOf("3", "dana"))
		admit(t, w, true, alertOf("1", "dana"))
		admit(t, w, false, alertOf("2", "dana"))
		hold(t, w, alertOf("2", "dana"))
		clock.advance(state.WindowLength)
		wantSummaries(t, w, "2 3")
	})
	t.Run("holding the same alerts twice gives them once", func(t *testing.T) {
		clock := newClock()
		w := state.NewWindows(fresh(t), clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		hold(t, w, alertOf("2", "dana"))
		hold(t, w, alertOf("2", "dana"))
		hold(t, w, alertOf("2", "dana"), alertOf("3", "dana"))
		clock.advance(state.WindowLength)
		wantSummaries(t, w, "2 3")
	})
	t.Run("a summary that was not posted is due again", func(t *testing.T) {
		clock := newClock()
		w := state.NewWindows(fresh(t), clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		hold(t, w, alertOf("2", "dana"))
		clock.advance(state.WindowLength)
		down := errors.New("teams is down")
		if err := w.Summaries(t.Context(), func(context.Context, []*alert.Alert) error { return down }); !errors.Is(err, down) {
			t.Errorf("error is %v, want that of post", err)
		}
		admit(t, w, false, alertOf("3", "dana"))
		wantSummaries(t, w, "2")
	})
	t.Run("alerts held a moment too late are due at once", func(t *testing.T) {
		clock := newClock()
		w := state.NewWindows(fresh(t), clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		clock.advance(state.WindowLength)
		wantSummaries(t, w)
		hold(t, w, alertOf("2", "dana")) // its Admit was refused before the window was closed
		wantSummaries(t, w, "2")
	})
	t.Run("without a heartbeat nothing is held back for long", func(t *testing.T) {
		clock := newClock()
		w := state.NewWindows(fresh(t), clock.now, discard)
		admit(t, w, true, alertOf("1", "dana"))
		clock.advance(2 * state.WindowLength)
		admit(t, w, false, alertOf("2", "dana"))
		clock.advance(3 * state.WindowLength)
		admit(t, w, true, alertOf("3", "dana"))
		admit(t, w, false, alertOf("4", "dana"))
	})
}

func TestFeed(t *testing.T) {
	fresh := containers(t)
	const cluster = "kube-audit-admin of cluster aks-shop-01"
	seen := func(t *testing.T, f *state.Feed, sources ...string) {
		t.Helper()
		if err := f.Seen(t.Context(), sources); err != nil {
			t.Fatal(err)
		}
	}
	// told checks what Check delivers.
	told := func(t *testing.T, f *state.Feed, want ...string) {
		t.Helper()
		var got []string
		err := f.Check(t.Context(), func(_ context.Context, a *alert.Alert) error {
			got = append(got, a.RuleName)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	t.Run("a source that falls silent is told once, and once when it is back", func(t *testing.T) {
		clock, c := newClock(), fresh(t)
		f := state.NewFeed(c, time.Hour, nil, clock.now)
		seen(t, f, cluster)
		told(t, f)
		clock.advance(time.Hour)
		told(t, f)
		seen(t, f, "azure.activitylogs of subscription 1") // the hub lives, the cluster does not
		clock.advance(time.Second)
		told(t, f, "No records from "+cluster)
		told(t, state.NewFeed(c, time.Hour, nil, clock.now))
		clock.advance(time.Minute)
		seen(t, f, cluster)
		told(t, f, "Records again from "+cluster)
		told(t, f)
	})
	t.Run("what could not be delivered is told again, as the same alert", func(t *testing.T) {
		clock := newClock()
		f := state.NewFeed(fresh(t), time.Hour, nil, clock.now)
		seen(t, f)
		clock.advance(2 * time.Hour)
		down := errors.New("down")
		var ids []string
		for range 2 {
			err := f.Check(t.Context(), func(_ context.Context, a *alert.Alert) error {
				ids = append(ids, a.AlertId)
				return down
			})
			if !errors.Is(err, down) {
				t.Fatalf("error is %v", err)
			}
			clock.advance(5 * time.Minute)
		}
		if len(ids) != 2 || ids[0] != ids[1] {
			t.Errorf("alert ids are %q, want one id twice", ids)
		}
		told(t, f, "No records from the event hub")
	})
	t.Run("a feed that never began is noticed", func(t *testing.T) {
		clock := newClock()
		f := state.NewFeed(fresh(t), time.Hour, nil, clock.now)
		told(t, f)
		clock.advance(61 * time.Minute)
		told(t, f, "No records from the event hub")
	})
	t.Run("it writes at most once a minute", func(t *testing.T) {
		clock := newClock()
		f := state.NewFeed(fresh(t), time.Hour, nil, clock.now)
		if !f.Wants() {
			t.Error("a new process does not want to note its first batch")
		}
		seen(t, f)
		if f.Wants() {
			t.Error("it wants to write again at once")
		}
		clock.advance(time.Minute)
		if !f.Wants() {
			t.Error("it does not want to write after a minute")
		}
	})
	t.Run("a count that grows is told once, and may shrink in silence", func(t *testing.T) {
		clock, poison := newClock(), 0
		f := state.NewFeed(fresh(t), time.Hour, []state.Gauge{{
			Name: "messages in the poison queue", Where: "the queue undelivered-alerts-poison",
			Count: func(context.Context) (int, error) { return poison, nil },
		}}, clock.now)
		told(t, f)
		poison = 3
		told(t, f, "3 messages in the poison queue, 3 more than before")
		told(t, f)
		poison = 1
		told(t, f)
		poison = 2
		told(t, f, "2 messages in the poison queue, 1 more than before")
	})
}

func TestErrorsSayWhatWasAttemptedAndNoSecret(t *testing.T) {
	c, err := container.NewClientWithNoCredential("http://127.0.0.1:1/podwatch-state?sig=planted", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = state.NewWindows(c, time.Now, discard).Admit(ctx, []*alert.Alert{alertOf("1", "dana")})
	if err == nil || !strings.Contains(err.Error(), `create state "windows/`) {
		t.Errorf("error is %v, want what was attempted", err)
	}
	if strings.Contains(fmt.Sprint(err), "planted") {
		t.Errorf("the error shows the signature: %v", err)
	}
}
