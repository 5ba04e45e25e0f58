package state_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/state"
)

// heard is a sample of sources.
func heard(sources ...string) state.Sample { return state.Sample{Due: true, Sources: sources} }

// listen notes the sources of one sample a minute.
func listen(w *state.Feed, clock *testClock, minutes int, sources ...string) {
	for range minutes {
		if w.SampleDue() {
			w.Note(context.Background(), heard(sources...))
		}
		clock.advance(time.Minute)
	}
}

// wantNotices checks, and tells, what is to be told now.
func wantNotices(t *testing.T, w *state.Feed, counts map[string]int, want ...string) {
	t.Helper()
	notices, err := w.Check(t.Context(), counts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range notices {
		got = append(got, describe(n))
		if err := w.Told(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("notices are %q, want %q", got, want)
	}
}

func describe(n state.Notice) string {
	switch n.Kind {
	case state.Silent:
		return n.Source + " silent since " + n.Since.Format("15:04")
	case state.Heard:
		return n.Source + " heard again, silent since " + n.Since.Format("15:04")
	}
	if n.Kind == state.Blind {
		return fmt.Sprintf("%d of %d unread since %s", n.Count, n.Of, n.Since.Format("15:04"))
	}
	return fmt.Sprintf("%d %s, before %d", n.Count, n.Source, n.Before)
}

func testFeed(t *testing.T, fresh func(*testing.T) state.Documents) {
	t.Run("a source that falls silent is told once, and once when it is heard again", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		w := state.NewFeed(d, 10*time.Minute, clock.now)
		listen(w, clock, 40, "shop", "bank")
		wantNotices(t, w, nil)
		listen(w, clock, 9, "bank")
		wantNotices(t, w, nil)
		listen(w, clock, 1, "bank")
		wantNotices(t, w, nil, "shop silent since 08:39")
		wantNotices(t, state.NewFeed(d, 10*time.Minute, clock.now), nil)
		listen(w, clock, 1, "shop", "bank")
		wantNotices(t, w, nil, "shop heard again, silent since 08:39")
		wantNotices(t, w, nil)
	})
	t.Run("a notice that was not told is returned again, as the same", func(t *testing.T) {
		clock := newTestClock()
		w := state.NewFeed(fresh(t), time.Hour, clock.now)
		listen(w, clock, 1)
		clock.advance(2 * time.Hour)
		first, err := w.Check(t.Context(), map[string]int{"poison": 2})
		if err != nil {
			t.Fatal(err)
		}
		clock.advance(5 * time.Minute)
		second, err := w.Check(t.Context(), map[string]int{"poison": 2})
		if err != nil || len(first) != 2 || !slices.Equal(first, second) || first[0].ID == first[1].ID {
			t.Errorf("first %+v, then %+v, %v", first, second, err)
		}
	})
	t.Run("a feed that never begins is silent", func(t *testing.T) {
		clock := newTestClock()
		w := state.NewFeed(fresh(t), time.Hour, clock.now)
		wantNotices(t, w, nil)
		clock.advance(61 * time.Minute)
		wantNotices(t, w, nil, "the event hub silent since 08:00")
	})
	t.Run("a count that grows is told once, and shrinks without a notice", func(t *testing.T) {
		clock := newTestClock()
		w := state.NewFeed(fresh(t), time.Hour, clock.now)
		ids := map[string]bool{}
		for _, step := range []struct {
			count int
			want  []string
		}{{0, nil}, {3, []string{"3 poison, before 0"}}, {3, nil}, {0, nil}, {3, []string{"3 poison, before 0"}}} {
			notices, err := w.Check(t.Context(), map[string]int{"poison": step.count})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range notices {
				ids[n.ID] = true
			}
			wantNotices(t, w, map[string]int{"poison": step.count}, step.want...)
		}
		if len(ids) != 2 {
			t.Errorf("growing twice has %d ids, want 2", len(ids))
		}
	})
	t.Run("a document that cannot be read is kept aside, and the watch begins anew", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		w := state.NewFeed(d, time.Hour, clock.now)
		wantNotices(t, w, nil)
		spoil(t, d, "feed")
		wantNotices(t, w, nil)
		clock.advance(2 * time.Hour)
		w.Note(t.Context(), heard())
		wantNotices(t, w, nil)
		wantNames(t, d, "unreadable/", "unreadable/feed."+spoilt)
	})
}

func TestFeedASampleIsDueOnceAMinute(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	w := state.NewFeed(state.NewMemory(), time.Hour, clock.now)
	for _, want := range []bool{true, false, true} {
		if got := w.SampleDue(); got != want {
			t.Errorf("at %s a sample is due: %t, want %t", clock.now().Format("15:04:05"), got, want)
		}
		clock.advance(30 * time.Second)
	}
}

func TestFeedWhenTheWholeFeedWasSilent(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	w := state.NewFeed(state.NewMemory(), 10*time.Minute, clock.now)
	listen(w, clock, 40, "shop", "bank")
	clock.advance(time.Hour)
	wantNotices(t, w, nil, "the event hub silent since 08:39")
	listen(w, clock, 5, "bank")
	wantNotices(t, w, nil, "the event hub heard again, silent since 08:39")
	listen(w, clock, 5, "bank")
	wantNotices(t, w, nil) // shop has had no ten minutes yet
	listen(w, clock, 5, "bank")
	wantNotices(t, w, nil, "shop silent since 08:39")
}

func TestFeedByTwoInstancesOfDifferentSources(t *testing.T) {
	t.Parallel()
	clock, d := newTestClock(), state.NewMemory()
	a, b := state.NewFeed(d, 10*time.Minute, clock.now), state.NewFeed(d, 10*time.Minute, clock.now)
	for range 40 {
		a.Note(t.Context(), heard("shop"))
		b.Note(t.Context(), heard("bank"))
		clock.advance(time.Minute)
	}
	listen(b, clock, 11, "bank")
	wantNotices(t, b, nil, "shop silent since 08:39")
}

// TestFeedAQuietSourceBesideABusyOne simulates days in which the busy source is in
// every sample, and the quiet one sends a record every 20 minutes, which is in a
// sample by chance.
func TestFeedAQuietSourceBesideABusyOne(t *testing.T) {
	t.Parallel()
	for _, oneIn := range []int{1, 2, 60} {
		clock, random := newTestClock(), rand.New(rand.NewPCG(uint64(oneIn), 1))
		w := state.NewFeed(state.NewMemory(), time.Hour, clock.now)
		day := func(busy bool, until func([]state.Notice) bool) (minutes int) {
			for minutes = range 24 * 60 {
				var sources []string
				if busy {
					sources = append(sources, "busy")
				}
				quiet := minutes%20 == 0
				if quiet && (!busy || random.IntN(oneIn) == 0) {
					sources = append(sources, "quiet")
				}
				if (busy || quiet) && w.SampleDue() {
					w.Note(t.Context(), heard(sources...))
				}
				clock.advance(time.Minute)
				if minutes%5 == 4 {
					notices, err := w.Check(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					if until(notices) {
						return minutes + 1
					}
				}
			}
			return minutes + 1
		}
		day(true, func(notices []state.Notice) bool {
			if len(notices) > 0 {
				t.Fatalf("one in %d: notices in a day without silence: %+v", oneIn, notices)
			}
			return false
		})
		took := day(false, func(notices []state.Notice) bool { return len(notices) > 0 && notices[0].Source == "busy" })
		if took > 60+2*5 {
			t.Errorf("one in %d: the silence of the busy source was reported after %d minutes", oneIn, took)
		}
	}
}

func TestFeedWhenStorageFails(t *testing.T) {
	t.Parallel()
	t.Run("what was not stored is stored later, and samples are due less often", func(t *testing.T) {
		clock, d, how := newTestClock(), state.NewMemory(), notWritten
		w := state.NewFeed(faulty{Documents: d, next: func(string) fault { return how }}, 10*time.Minute, clock.now)
		attempts := 0
		for range 60 {
			if w.SampleDue() {
				attempts++
				w.Note(t.Context(), heard(fmt.Sprint("source", attempts)))
			}
			clock.advance(time.Minute)
		}
		if attempts != 7 { // at minutes 0, 1, 3, 7, 15, 31, 47
			t.Errorf("%d attempts in an hour, want 7", attempts)
		}
		how = none
		listen(w, clock, 5)
		stored, err := d.Fetch(t.Context(), "feed")
		if err != nil {
			t.Fatal(err)
		}
		for i := range attempts {
			if name := fmt.Sprintf(`"source%d":`, i+1); !strings.Contains(string(stored.Data), name) {
				t.Errorf("%s is not stored: %s", name, stored.Data)
			}
		}
	})
	t.Run("each request of a notice fails in each way", func(t *testing.T) {
		for _, how := range []fault{notWritten, answerLost} {
			for nth := 1; ; nth++ {
				clock, d, requests, told := newTestClock(), state.NewMemory(), 0, map[string]bool{}
				w := state.NewFeed(faulty{Documents: d, next: func(string) fault {
					if requests++; requests == nth {
						return how
					}
					return none
				}}, time.Hour, clock.now)
				for range 4 {
					if notices, err := w.Check(t.Context(), map[string]int{"poison": 1}); err == nil {
						for _, n := range notices {
							told[n.ID] = true
							_ = w.Told(t.Context(), n) // told again if it fails
						}
					}
					clock.advance(40 * time.Minute)
				}
				wantNotices(t, state.NewFeed(d, time.Hour, clock.now), map[string]int{"poison": 1})
				if len(told) != 2 {
					t.Errorf("failure %d of request %d: %d notices were told, want 2", how, nth, len(told))
				}
				if requests < nth {
					break
				}
			}
		}
	})
	t.Run("without storage nothing is due", func(t *testing.T) {
		w := new(state.Feed)
		w.Note(t.Context(), heard("a"))
		if w.SampleDue() {
			t.Error("a sample is due")
		}
		wantNotices(t, w, map[string]int{"poison": 1})
	})
}

// TestFeedCountsWhatCannotBeRead, between samples too: it is told once from 20 in
// an hour that are also 5 %, and again after an hour with few.
func TestFeedCountsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	clock, d := newTestClock(), state.NewMemory()
	w := state.NewFeed(d, time.Hour, clock.now)
	note := func(minutes, audits, unread int) {
		for range minutes {
			w.Note(t.Context(), state.Sample{Audits: audits, Unread: unread})
			w.Note(t.Context(), state.Sample{Due: w.SampleDue(), Sources: []string{"shop"}})
			clock.advance(time.Minute)
		}
	}
	note(1, 19, 19)
	wantNotices(t, w, nil) // too few
	note(1, 401, 1)
	wantNotices(t, w, nil) // less than 5 %
	note(70, 10, 0)
	note(10, 10, 1)
	wantNotices(t, w, nil) // only 10
	note(20, 10, 9)
	notices, err := w.Check(t.Context(), nil)
	if err != nil || len(notices) != 1 || notices[0].Count != 190 || notices[0].Of < 550 || notices[0].Of > 600 {
		t.Fatalf("got %+v, %v; want 190 of about 600", notices, err)
	}
	again, _ := state.NewFeed(d, time.Hour, clock.now).Check(t.Context(), nil)
	if len(again) != 1 || again[0].ID != notices[0].ID {
		t.Errorf("another instance has %+v", again)
	}
	if err := w.Told(t.Context(), notices[0]); err != nil {
		t.Fatal(err)
	}
	note(30, 10, 9)
	wantNotices(t, w, nil) // told
	note(70, 10, 0)
	note(3, 20, 20)
	notices, err = w.Check(t.Context(), nil)
	if err != nil || len(notices) != 1 || notices[0].ID == again[0].ID {
		t.Errorf("the second time: %+v, %v", notices, err)
	}
}

func TestSourcesOfTheFeed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	f := state.NewFeed(state.NewMemory(), time.Hour, func() time.Time { return now })
	if _, err := f.Check(t.Context(), nil); err != nil { // makes the document
		t.Fatal(err)
	}
	if sources, err := f.Sources(t.Context()); len(sources) != 0 || err != nil {
		t.Errorf("before the first record: %v, %v", sources, err)
	}
	f.Note(t.Context(), state.Sample{Due: true, Sources: []string{"b", "a"}})
	at := now
	now = now.Add(2 * time.Hour)
	notices, err := f.Check(t.Context(), nil)
	if err != nil || len(notices) != 1 {
		t.Fatalf("%v, %v", notices, err)
	}
	if err := f.Told(t.Context(), notices[0]); err != nil {
		t.Fatal(err)
	}
	want := []state.Source{{state.WholeFeed, at, true}, {"a", at, false}, {"b", at, false}}
	if got, err := f.Sources(t.Context()); !slices.Equal(got, want) || err != nil {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
