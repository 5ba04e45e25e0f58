package faulttest

import (
	"strings"
	"sync/atomic"
	"testing"
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
	w := startCalm(t, nil)
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
	w.drain()
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
	w := startCalm(t, func(_ int, p point) act {
		if p.what == "teams" && down.Load() {
			return busy
		}
		return pass
	})
	all, bodies := many(t, 0, 12)
	w.expect(all...)
	w.deliver("0", messages(bodies...)...)
	if n := len(w.inbox.Cards()); n != 0 {
		t.Fatalf("%d cards although Teams is down", n)
	}
	down.Store(false)
	w.drain()
	w.settle(all)
	if n := len(w.inbox.Cards()); n != 2 {
		t.Errorf("%d cards for one batch, want one and one summary", n)
	}
}

// TestMoreThanMaxSignals: look-ups stop at 100, nothing else does.
func TestMoreThanMaxSignals(t *testing.T) {
	t.Parallel()
	w := startCalm(t, nil)
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
