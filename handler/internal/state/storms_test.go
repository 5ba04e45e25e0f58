package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/state"
)

// wantAdmitted fails the test unless Admit admits exactly the wanted groups of those in
// order. The first alert of group g is g1 unless the group is written g:id.
func wantAdmitted(t *testing.T, s *state.Storms, groups string, want ...string) {
	t.Helper()
	var names, first []string
	for group := range strings.FieldsSeq(groups) {
		name, id, ok := strings.Cut(group, ":")
		if !ok {
			id = name + "1"
		}
		names, first = append(names, name), append(first, id)
	}
	answers, err := s.Admit(t.Context(), "teams", names, first)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, ok := range answers {
		if ok {
			got = append(got, names[i])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("admitted of %s: %v, want %v", groups, got, want)
	}
}

// mustHold holds alerts written group:id.
func mustHold(t *testing.T, s *state.Storms, alerts string) {
	t.Helper()
	if err := s.Hold(t.Context(), "teams", heldOf(alerts)); err != nil {
		t.Fatal(err)
	}
}

func heldOf(alerts string) []state.Held {
	var held []state.Held
	for alert := range strings.FieldsSeq(alerts) {
		group, id, _ := strings.Cut(alert, ":")
		held = append(held, state.Held{Group: group, ID: id, Text: []byte(id)})
	}
	return held
}

func text(s state.Summary) string {
	texts := strings.Join(strings.Fields(fmt.Sprintf("%s", s.Texts)), " ")
	return fmt.Sprintf("%s %d of %d: %s", s.Group, s.Count, s.Groups, texts)
}

// postAll posts and forgets all summaries.
func postAll(t *testing.T, s *state.Storms) []string {
	t.Helper()
	var posted []string
	for summary, err := range s.Ended(t.Context(), "teams") {
		if err != nil {
			t.Fatal(err)
		}
		posted = append(posted, text(summary))
		if err := s.Forget(t.Context(), summary); err != nil {
			t.Fatal(err)
		}
	}
	return posted
}

func wantPosted(t *testing.T, s *state.Storms, want ...string) {
	t.Helper()
	if got := postAll(t, s); !slices.Equal(got, want) {
		t.Errorf("summaries are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantWaiting fails the test unless so many alerts wait for a summary, and their window
// is still open for so long.
func wantWaiting(t *testing.T, s *state.Storms, clock *testClock, alerts int, open time.Duration) {
	t.Helper()
	n, until, err := s.Waiting(t.Context(), "teams")
	if left := until.Sub(clock.now()); err != nil || n != alerts || until.IsZero() != (open == 0) || open > 0 && left != open {
		t.Errorf("waiting: %d alerts, until %s (in %s), %v; want %d, in %s", n, until, left, err, alerts, open)
	}
}

func testStorms(t *testing.T, fresh func(*testing.T) state.Documents) {
	t.Run("each group is admitted once a window, by any instance", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		s, other := state.NewStorms(d, clock.now), state.NewStorms(d, clock.now)
		wantAdmitted(t, s, "dana", "dana")
		wantAdmitted(t, other, "dana:dana2 robin", "robin")
		mustHold(t, other, "dana:2")
		wantWaiting(t, s, clock, 1, state.StormLength)
		clock.advance(time.Minute)
		mustHold(t, s, "dana:3 dana:4 robin:1")
		wantWaiting(t, other, clock, 4, state.StormLength-time.Minute)
		wantPosted(t, s)
		clock.advance(state.StormLength - time.Minute)
		wantWaiting(t, s, clock, 4, 0)
		wantPosted(t, other, "dana 3 of 1: [2 3 4]", "robin 1 of 1: [1]")
		wantWaiting(t, s, clock, 0, 0)
		wantPosted(t, s)
		wantNames(t, d, "storms/teams/", "storms/teams/window")
		wantAdmitted(t, s, "dana:5", "dana")
	})
	t.Run("the alerts that opened a window are admitted again after a crash", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		wantAdmitted(t, state.NewStorms(d, clock.now), "dana robin", "dana", "robin")
		wantAdmitted(t, state.NewStorms(d, clock.now), "robin dana:other", "robin")
	})
	t.Run("channels do not hold each other back", func(t *testing.T) {
		s := state.NewStorms(fresh(t), newTestClock().now)
		wantAdmitted(t, s, "dana", "dana")
		if got, err := s.Admit(t.Context(), "rows", []string{"dana"}, []string{"2"}); err != nil || !got[0] {
			t.Errorf("Admit = %v, %v", got, err)
		}
	})
	t.Run("an id counts once", func(t *testing.T) {
		clock := newTestClock()
		s := state.NewStorms(fresh(t), clock.now)
		wantAdmitted(t, s, "dana", "dana")
		mustHold(t, s, "dana:2")
		mustHold(t, s, "dana:2")
		mustHold(t, s, "dana:2 dana:3")
		clock.advance(state.StormLength)
		wantPosted(t, s, "dana 2 of 1: [2 3]")
	})
	t.Run("what is held after the summary is due at once", func(t *testing.T) {
		clock := newTestClock()
		s := state.NewStorms(fresh(t), clock.now)
		wantAdmitted(t, s, "dana", "dana")
		clock.advance(state.StormLength)
		wantPosted(t, s)
		mustHold(t, s, "dana:2")
		wantPosted(t, s, "dana 1 of 1: [2]")
		mustHold(t, state.NewStorms(fresh(t), clock.now), "dana:3") // asked nothing before
	})
	t.Run("a summary that was not posted is due again, those before it are not", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		s := state.NewStorms(d, clock.now)
		wantAdmitted(t, s, "dana", "dana")
		mustHold(t, s, "a:1 b:1 c:1")
		clock.advance(state.StormLength)
		ids := map[string]string{}
		for summary := range s.Ended(t.Context(), "teams") {
			ids[summary.Group] = summary.ID
			if summary.Group == "b" {
				break
			}
			if err := s.Forget(t.Context(), summary); err != nil {
				t.Fatal(err)
			}
		}
		s = state.NewStorms(d, clock.now)
		mustHold(t, s, "d:1") // into the same documents
		for summary := range s.Ended(t.Context(), "teams") {
			if summary.Group == "b" && summary.ID != ids["b"] {
				t.Error("the summary of b has another id than before")
			}
		}
		wantPosted(t, s, "b 1 of 1: [1]", "c 1 of 1: [1]", "d 1 of 1: [1]")
		wantNames(t, d, "storms/teams/", "storms/teams/window")
	})
	t.Run("many groups are 20 summaries, the highest rank first", func(t *testing.T) {
		clock := newTestClock()
		s := state.NewStorms(fresh(t), clock.now)
		wantAdmitted(t, s, "dana", "dana")
		var held []state.Held
		for i := range 1000 {
			group := fmt.Sprintf("g%d", i)
			held = append(held, state.Held{Group: group, ID: group, Rank: i % 999, Text: []byte(group)}, state.Held{Group: group, ID: group + "b"})
		}
		slices.SortStableFunc(held, func(a, b state.Held) int { return b.Rank - a.Rank })
		if err := s.Hold(t.Context(), "teams", held); err != nil {
			t.Fatal(err)
		}
		clock.advance(state.StormLength)
		got := postAll(t, s)
		if len(got) != 20 || got[0] != "g998 2 of 1: [g998]" || !strings.HasPrefix(got[19], " 1962 of 981: [g979 g978 ") {
			t.Errorf("%d summaries, the first %s, the last %s", len(got), got[0], got[len(got)-1])
		}
	})
	t.Run("a window that cannot be read has ended and is kept aside", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		s := state.NewStorms(d, clock.now)
		wantAdmitted(t, s, "dana", "dana")
		mustHold(t, s, "dana:2")
		spoil(t, d, "storms/teams/window")
		wantPosted(t, s, "dana 1 of 1: [2]")
		wantAdmitted(t, s, "dana:3", "dana")
		wantNames(t, d, "unreadable/", "unreadable/storms/teams/window."+spoilt)
	})
	t.Run("held alerts that cannot be read are reported and kept aside", func(t *testing.T) {
		clock, d := newTestClock(), fresh(t)
		s := state.NewStorms(d, clock.now)
		wantAdmitted(t, s, "dana", "dana")
		mustHold(t, s, "dana:2")
		var piece string
		for piece = range d.List(t.Context(), "storms/teams/held/") {
			spoil(t, d, piece)
		}
		mustHold(t, s, "dana:3")
		clock.advance(state.StormLength)
		unreadable := 0
		for summary, err := range s.Ended(t.Context(), "teams") {
			if err != nil {
				t.Fatal(err)
			}
			unreadable += summary.Unreadable
			if err := s.Forget(t.Context(), summary); err != nil {
				t.Fatal(err)
			}
		}
		if unreadable != 1 {
			t.Errorf("%d unreadable documents were reported, want 1", unreadable)
		}
		wantNames(t, d, "unreadable/", "unreadable/"+piece+"."+spoilt)
		wantNames(t, d, "storms/teams/held/")
	})
}

// spoilt is the digest of what spoil writes.
const spoilt = "021fb596db81e6d02bf3d2586ee3981f"

func spoil(t *testing.T, d state.Documents, name string) {
	t.Helper()
	old, err := d.Fetch(t.Context(), name)
	if err == nil {
		_, err = d.Replace(t.Context(), old, []byte("{"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAtMost20GroupsAMinuteAreAdmitted(t *testing.T) {
	t.Parallel()
	clock, d := newTestClock(), state.NewMemory()
	requests := 0
	s := state.NewStorms(faulty{Documents: d, next: func(string) fault { requests++; return none }}, clock.now)
	var groups, first []string
	for i := range 5000 {
		groups, first = append(groups, fmt.Sprint("g", i)), append(first, fmt.Sprint(i))
	}
	for minute, want := range []int{20, 40, 60} {
		admitted, err := s.Admit(t.Context(), "teams", groups, first)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, ok := range admitted {
			if ok {
				n++
			}
		}
		if n != want { // with the repeats of the minutes before
			t.Errorf("in minute %d %d groups are admitted, want %d", minute, n, want)
		}
		clock.advance(time.Minute)
	}
	if requests != 6 {
		t.Errorf("3 questions about 5,000 groups took %d requests, want 6", requests)
	}
}

// TestAHugeStorm: all of it is counted, in documents of bounded size.
func TestAHugeStorm(t *testing.T) {
	t.Parallel()
	clock, d := newTestClock(), state.NewMemory()
	s := state.NewStorms(d, clock.now)
	wantAdmitted(t, s, "dana", "dana")
	for batch := range 50 {
		var held []state.Held
		text := make([]byte, 1000)
		if batch == 0 {
			text = make([]byte, 40_000) // more than one document
		}
		for i := range 1000 {
			held = append(held, state.Held{Group: fmt.Sprint("g", i%3), ID: fmt.Sprintf("%032d", batch*1000+i), Text: text})
		}
		if err := s.Hold(t.Context(), "teams", held); err != nil {
			t.Fatal(err)
		}
	}
	for name := range d.List(t.Context(), "storms/") {
		if document, err := d.Fetch(t.Context(), name); err != nil || len(document.Data) > 1<<20 {
			t.Errorf("document %s has %d bytes, %v", name, len(document.Data), err)
		}
	}
	clock.advance(state.StormLength)
	count := 0
	for summary, err := range s.Ended(t.Context(), "teams") {
		if err != nil {
			t.Fatal(err)
		}
		count += summary.Count
		if len(summary.Texts) != 20 {
			t.Errorf("%d texts, want 20", len(summary.Texts))
		}
		if err := s.Forget(t.Context(), summary); err != nil {
			t.Fatal(err)
		}
	}
	if count != 50_000 {
		t.Errorf("%d alerts are summarised, want 50,000", count)
	}
}

// TestThousandsOfHeldDocuments: alerts that come back from the queue are held one
// by one. They are summarised in parts.
func TestThousandsOfHeldDocuments(t *testing.T) {
	t.Parallel()
	clock, d := newTestClock(), state.NewMemory()
	s := state.NewStorms(d, clock.now)
	wantAdmitted(t, s, "dana", "dana")
	for i := range 4500 {
		mustHold(t, s, fmt.Sprint("dana:", i))
	}
	clock.advance(state.StormLength)
	count, ids := 0, map[string]bool{}
	for summary, err := range s.Ended(t.Context(), "teams") {
		if err != nil {
			t.Fatal(err)
		}
		count += summary.Count
		ids[summary.ID] = true
		if err := s.Forget(t.Context(), summary); err != nil {
			t.Fatal(err)
		}
	}
	if count != 4500 || len(ids) != 3 {
		t.Errorf("%d alerts in %d summaries, want 4,500 in 3", count, len(ids))
	}
	wantNames(t, d, "storms/teams/", "storms/teams/window")
}

// TestStormsWhenOneRequestFails holds and summarises with each request failing in
// each way. The caller does again what failed: no alert is lost, none is counted
// twice in one summary, and no summary is posted more than twice.
func TestStormsWhenOneRequestFails(t *testing.T) {
	t.Parallel()
	for _, how := range []fault{notWritten, answerLost} {
		for nth := 1; ; nth++ {
			clock, d, requests := newTestClock(), state.NewMemory(), 0
			next := func(string) fault {
				if requests++; requests == nth {
					return how
				}
				return none
			}
			posted := storm(t, clock, faulty{Documents: d, next: next})
			for _, group := range []string{"a 2 of 1: [1 2]", "b 1 of 1: [1]"} {
				n := 0
				for _, summary := range posted {
					if summary == group {
						n++
					}
				}
				if n == 0 || n > 2 {
					t.Errorf("failure %d of request %d: %q was posted %d times: %q", how, nth, group, n, posted)
				}
			}
			wantNames(t, d, "storms/teams/", "storms/teams/window")
			if requests < nth {
				break // no request is left to fail
			}
		}
	}
}

// storm holds three alerts, trying again what fails, and returns all posted summaries.
func storm(t *testing.T, clock *testClock, d state.Documents) (posted []string) {
	again := func(do func(*state.Storms) error) {
		for range 3 { // each time another process, which asks storage at once
			if do(state.NewStorms(d, clock.now)) == nil {
				return
			}
		}
		t.Fatal("it fails again and again")
	}
	again(func(s *state.Storms) error {
		_, err := s.Admit(t.Context(), "teams", []string{"a"}, []string{"1"})
		return errors.Join(err, s.Hold(t.Context(), "teams", heldOf("a:1 a:2 b:1")))
	})
	clock.advance(state.StormLength)
	again(func(s *state.Storms) error {
		for summary, err := range s.Ended(t.Context(), "teams") {
			if err != nil {
				return err
			}
			posted = append(posted, text(summary))
			if err := s.Forget(t.Context(), summary); err != nil {
				return err
			}
		}
		return nil
	})
	return posted
}

func TestStormsWithoutStorage(t *testing.T) {
	t.Parallel()
	t.Run("the zero value admits everything", func(t *testing.T) {
		s := new(state.Storms)
		wantAdmitted(t, s, "dana dana:2", "dana", "dana")
		wantPosted(t, s)
	})
	t.Run("20 a minute are admitted when storage fails, with one error", func(t *testing.T) {
		s := state.NewStorms(faulty{Documents: state.NewMemory(), next: func(string) fault { return notWritten }}, time.Now)
		groups := make([]string, 15)
		for _, want := range []int{15, 5, 0} {
			admitted, err := s.Admit(context.Background(), "teams", groups, groups)
			if !slices.Equal(admitted, append(slices.Repeat([]bool{true}, want), make([]bool, 15-want)...)) || err == nil {
				t.Errorf("Admit = %v, %v; want the first %d", admitted, err, want)
			}
		}
	})
	t.Run("the summaries are read although storage failed a moment ago", func(t *testing.T) {
		clock, down := newTestClock(), false
		s := state.NewStorms(faulty{Documents: state.NewMemory(), next: func(string) fault {
			if down {
				return notWritten
			}
			return none
		}}, clock.now)
		wantAdmitted(t, s, "a:1", "a")
		if err := s.Hold(t.Context(), "teams", heldOf("a:2")); err != nil {
			t.Fatal(err)
		}
		down = true
		if err := s.Hold(t.Context(), "teams", heldOf("a:3")); err == nil {
			t.Fatal("storage does not fail")
		}
		down = false
		clock.advance(state.StormLength)
		wantPosted(t, s, "a 1 of 1: [2]")
	})
}
