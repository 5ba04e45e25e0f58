package state_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/state"
)

func testDeadLetters(t *testing.T, fresh func(*testing.T) state.Documents) {
	clock, d := newTestClock(), fresh(t)
	letters := state.NewDeadLetters(d, clock.now)
	wantLetters(t, letters)
	for _, text := range []string{"a", "b", "a"} { // the answer to the first was lost
		if err := letters.Add(t.Context(), []byte(text), "rejected with status 400"); err != nil {
			t.Fatal(err)
		}
		clock.advance(time.Hour)
	}
	create(t, d, "dead/unreadable", "{")
	wantLetters(t, letters, "a, rejected with status 400, 08:00", "b, rejected with status 400, 09:00", "unreadable")
	if oldest, err := letters.Oldest(t.Context()); err != nil || oldest.Format("15:04") != "08:00" {
		t.Errorf("the oldest was added at %v, %v; want 08:00", oldest, err)
	}
	for letter := range letters.All(t.Context()) {
		if string(letter.Text) == "a" {
			for range 2 {
				if err := letters.Remove(t.Context(), letter); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	wantLetters(t, state.NewDeadLetters(d, clock.now), "b, rejected with status 400, 09:00", "unreadable")
}

func wantLetters(t *testing.T, letters *state.DeadLetters, want ...string) {
	t.Helper()
	var got []string
	for letter, err := range letters.All(t.Context()) {
		if err != nil {
			got = append(got, "unreadable")
			continue
		}
		got = append(got, strings.Join([]string{string(letter.Text), letter.Reason, letter.Added.Format("15:04")}, ", "))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("dead letters are %q, want %q", got, want)
	}
}

func TestDeadLettersWithoutStorage(t *testing.T) {
	t.Parallel()
	letters := new(state.DeadLetters)
	wantLetters(t, letters)
	if oldest, err := letters.Oldest(t.Context()); err != nil || !oldest.IsZero() {
		t.Errorf("the oldest of none was added at %v, %v", oldest, err)
	}
	if err := letters.Add(t.Context(), []byte("a"), ""); err == nil {
		t.Error("an alert that is kept nowhere is no error")
	}
}
