package faulttest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/state"
)

// many makes deletions of one caller on one cluster.
func many(t *testing.T, from, n int) (all []deletion, bodies []string) {
	for i := range n {
		d := kubeDeletion(t, podName(from+i), "dana@example.com", "AKS-1", from+i)
		all, bodies = append(all, d), append(bodies, body(d.records[0]))
	}
	return all, bodies
}

// TestAStorm: deletions of a batch are one card with a list and a count; those of
// the next batches wait for one summary.
func TestAStorm(t *testing.T) {
	t.Parallel()
	w := start(t, nil, nil)
	first, bodies := many(t, 0, 5)
	w.expect(first...)
	w.deliver("0", messages(bodies...)...)
	cards := w.inbox.Cards()
	if len(cards) != 1 || len(podsOf(cards[0].Data)) != 5 || !strings.Contains(string(cards[0].Data), "5 pods") {
		t.Fatalf("%d cards, want one that lists and counts 5 pods", len(cards))
	}
	all := first
	for i := range 3 {
		more, bodies := many(t, 10*(i+1), 4)
		w.expect(more...)
		w.deliver("0", messages(bodies...)...)
		all = append(all, more...)
	}
	if err := w.beat(); err != nil {
		t.Error(err)
	}
	if n := len(w.inbox.Cards()); n != 1 {
		t.Errorf("%d cards while the storm is held back, want one", n)
	}
	if n := len(w.rows()); n != len(all) {
		t.Errorf("%d rows, want all %d at once", n, len(all))
	}
	w.restart()
	w.drain(0)
	w.settle(all)
	cards = w.inbox.Cards()
	if len(cards) != 2 || len(podsOf(cards[1].Data)) != 12 || !strings.Contains(string(cards[1].Data), "12 pods") {
		t.Errorf("%d cards, want a second one that lists and counts 12 pods", len(cards))
	}
	for range 2 {
		if err := w.beat(); err != nil {
			t.Error(err)
		}
	}
	if n := len(w.inbox.Cards()); n != 2 {
		t.Errorf("%d cards after more heartbeats, want two", n)
	}
}

// TestAStormDuringAnOutageOfTeams: what waited in the queue does not come as a
// card for each.
func TestAStormDuringAnOutageOfTeams(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	down.Store(true)
	w := start(t, func(_ int, p point) act {
		if p.what == "teams" && down.Load() {
			return busy
		}
		return pass
	}, nil)
	all, bodies := many(t, 0, 12)
	w.expect(all...)
	w.deliver("0", messages(bodies...)...)
	if n := len(w.inbox.Cards()); n != 0 {
		t.Fatalf("%d cards although Teams is down", n)
	}
	down.Store(false)
	w.drain(0)
	w.settle(all)
	if n := len(w.inbox.Cards()); n != 2 {
		t.Errorf("%d cards for one batch, want one and one summary", n)
	}
}

// TestMoreThanMaxSignals: look-ups stop at 100, nothing else does.
func TestMoreThanMaxSignals(t *testing.T) {
	t.Parallel()
	w := start(t, nil, nil)
	all, _ := many(t, 0, 130)
	w.expect(all...)
	records := make([]string, len(all))
	for i := range all {
		records[i] = all[i].records[0]
	}
	w.deliver("0", messages(body(records...))...)
	if n := len(w.rows()); n != 130 {
		t.Errorf("%d rows, want 130", n)
	}
	cards := w.inbox.Cards()
	if len(cards) != 1 || !strings.Contains(string(cards[0].Data), "130 pods") || !strings.Contains(string(cards[0].Data), "and 1") {
		t.Errorf("%d cards, want one that counts 130 pods and says how many it does not name", len(cards))
	}
}

// TestAStormByTheClock runs the pipeline in this process against real storage,
// with a clock of its own.
func TestAStormByTheClock(t *testing.T) {
	t.Parallel()
	w := start(t, nil, nil)
	var log bytes.Buffer
	settings := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "0"}
	for name, value := range w.settings {
		settings[name] = value
	}
	cfg, err := config.Load(func(name string) string { return settings[name] }, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := app.New(cfg, slog.New(slog.NewJSONHandler(&log, nil)), &log)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	container, err := sink.Storage{ConnectionString: w.direct}.Container(state.Container)
	if err != nil {
		t.Fatal(err)
	}
	pipe.Windows = state.NewWindows(container, func() time.Time { return now })
	all, bodies := many(t, 0, 6)
	w.expect(all...)
	for _, b := range bodies {
		pipe.Detect(t.Context(), &invocation.Events{Messages: []invocation.Message{{Body: []byte(b), Sequence: -1}}})
		now = now.Add(30 * time.Second)
	}
	cards := func(want int, after string) {
		t.Helper()
		if _, err := pipe.Heartbeat(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(w.inbox.Cards()); n != want {
			t.Errorf("%d cards %s, want %d", n, after, want)
		}
	}
	cards(1, "after three minutes")
	now = now.Add(119 * time.Second)
	cards(1, "a second before the end of the window")
	now = now.Add(time.Second)
	cards(2, "at the end of the window")
	cards(2, "at the next heartbeat")
	w.settle(all)
	if n := len(w.list(state.Container, "windows/")) + len(w.list(state.Container, "held/")); n != 0 {
		t.Errorf("%d blobs are left of the storm", n)
	}
}
