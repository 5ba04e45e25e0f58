package state_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/state"
)

func newLedger(d state.Documents) *state.Ledger {
	return state.NewLedger(d, slog.New(slog.DiscardHandler))
}

func keys(ids ...string) []state.Key {
	var list []state.Key
	for _, id := range ids {
		list = append(list, state.Key{Sink: "teams", ID: id})
	}
	return list
}

func owners(claims []state.Claim) []state.Owner {
	var list []state.Owner
	for _, c := range claims {
		list = append(list, c.Owner)
	}
	return list
}

// wantOwner claims one delivery.
func wantOwner(t *testing.T, l *state.Ledger, id string, want state.Owner) state.Claim {
	t.Helper()
	c := l.Claim(t.Context(), keys(id))[0]
	if c.Owner != want {
		t.Errorf("owner of %.20q is %d, want %d", id, c.Owner, want)
	}
	return c
}

func wantSettled(t *testing.T, l *state.Ledger, id string, want bool) {
	t.Helper()
	if got := l.Settled(t.Context(), keys(id))[0]; got != want {
		t.Errorf("Settled(%.20q) = %t, want %t", id, got, want)
	}
}

func testLedger(t *testing.T, fresh func(*testing.T) state.Documents) {
	t.Run("what an outcome means to another instance", func(t *testing.T) {
		d := fresh(t)
		for outcome, want := range map[state.Outcome]struct {
			settled    bool
			owner      state.Owner
			unanswered bool
		}{
			state.Open:       {false, state.Mine, false},
			state.Accepted:   {true, state.Nobody, false},
			state.Unanswered: {false, state.Mine, true},
			state.Unwanted:   {true, state.Nobody, false},
			state.GivenUp:    {true, state.Nobody, false},
		} {
			id := fmt.Sprint("outcome-", outcome)
			first, second := newLedger(d), newLedger(d)
			claim := wantOwner(t, first, id, state.Mine)
			wantSettled(t, second, id, false)
			wantOwner(t, second, id, state.Theirs)
			wantOwner(t, first, id, state.Theirs)
			first.Settle(t.Context(), []state.Claim{claim}, outcome)
			wantSettled(t, second, id, want.settled)
			wantSettled(t, first, id, want.settled)
			if c := wantOwner(t, second, id, want.owner); c.Unanswered != want.unanswered {
				t.Errorf("after outcome %d Unanswered is %t, want %t", outcome, c.Unanswered, want.unanswered)
			}
		}
	})
	t.Run("a second post without an answer counts as accepted", func(t *testing.T) {
		d := fresh(t)
		for range 2 {
			l := newLedger(d)
			l.Settle(t.Context(), []state.Claim{wantOwner(t, l, "a", state.Mine)}, state.Unanswered)
		}
		wantSettled(t, newLedger(d), "a", true)
		for range 2 {
			newLedger(d).NoteUnanswered(t.Context(), keys("a")[0])
		}
		if n, err := newLedger(d).CountUnanswered(t.Context()); n != 1 || err != nil {
			t.Errorf("%d deliveries are noted, %v; want 1", n, err)
		}
	})
	t.Run("sinks do not share deliveries", func(t *testing.T) {
		l := newLedger(fresh(t))
		claims := l.Claim(t.Context(), []state.Key{{Sink: "teams", ID: "a"}, {Sink: "rows", ID: "a"}})
		l.Settle(t.Context(), claims[:1], state.Accepted)
		if got := l.Settled(t.Context(), []state.Key{{Sink: "teams", ID: "a"}, {Sink: "rows", ID: "a"}}); !slices.Equal(got, []bool{true, false}) {
			t.Errorf("settled are %v", got)
		}
	})
	t.Run("an empty document is a mark of an older version", func(t *testing.T) {
		d := fresh(t)
		if _, err := d.Create(t.Context(), "teams/old", nil); err != nil {
			t.Fatal(err)
		}
		wantOwner(t, newLedger(d), "old", state.Nobody)
		wantSettled(t, newLedger(d), "old", true)
	})
	t.Run("the claim of a killed owner, and a document that cannot be read, are taken over after four minutes", func(t *testing.T) {
		d := fresh(t)
		if _, err := d.Create(t.Context(), "teams/unreadable", []byte("{")); err != nil {
			t.Fatal(err)
		}
		late := wantOwner(t, newLedger(d), "killed", state.Mine)
		for _, id := range []string{"killed", "unreadable"} {
			wantOwner(t, newLedger(aged(d, 4*time.Minute-10*time.Second)), id, state.Theirs)
			wantOwner(t, newLedger(aged(d, 4*time.Minute)), id, state.Mine)
		}
		newLedger(d).Settle(t.Context(), []state.Claim{late}, state.Open)
		wantOwner(t, newLedger(d), "killed", state.Theirs)
		newLedger(d).Settle(t.Context(), []state.Claim{late}, state.Accepted)
		wantSettled(t, newLedger(d), "killed", true)
	})
	t.Run("any id is a name", func(t *testing.T) {
		l := newLedger(fresh(t))
		ids := []string{"", ".", "..", "../x", "a/b", "a//b", "a\\b", "A", "a", "x y", "ü", "\x00", strings.Repeat("y", 4000), "%2e", "q?x#y"}
		for _, id := range ids {
			wantSettled(t, l, id, false)
			l.Settle(t.Context(), []state.Claim{wantOwner(t, l, id, state.Mine)}, state.Accepted)
			wantSettled(t, l, id, true)
		}
	})
	t.Run("of many instances at once one has the claim", func(t *testing.T) {
		const asked = 3 * time.Second // a storage that takes longer is unavailable: each decides alone
		d := fresh(t)
		for attempt := range 20 {
			claims, begun := make(chan state.Claim), time.Now()
			for range 8 {
				go func() { claims <- newLedger(d).Claim(t.Context(), keys(fmt.Sprint("a", attempt)))[0] }()
			}
			mine := 0
			for range 8 {
				if c := <-claims; c.Owner == state.Mine {
					mine++
				}
			}
			if mine == 1 {
				return
			}
			if took := time.Since(begun); took < asked {
				t.Fatalf("%d have the claim", mine)
			}
		}
		t.Error("storage is too slow")
	})
}

// aged returns documents that are older than they are.
func aged(d state.Documents, by time.Duration) state.Documents {
	return faulty{Documents: d, next: func(string) fault { return none }, aged: by}
}

func TestLedgerClaimTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := wantOwner(t, newLedger(state.NewMemory()), "a", state.Mine)
		time.Sleep(time.Minute)
		if !claim.MayPost() {
			t.Error("after a minute the owner may not post")
		}
		time.Sleep(time.Millisecond)
		if claim.MayPost() {
			t.Error("the owner may post with less than a minute left")
		}
	})
}

// TestLedgerWhenOneRequestFails runs claim and outcome with each request failing
// in each way, in an instance that is then replaced by another.
func TestLedgerWhenOneRequestFails(t *testing.T) {
	for _, request := range []string{"fetch", "create", "replace"} {
		for _, how := range []fault{notWritten, answerLost} {
			t.Run(fmt.Sprintf("%s, %d", request, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := state.NewMemory()
					failures := 0
					l := newLedger(faulty{Documents: d, next: func(r string) fault {
						if failures > 0 || !strings.HasPrefix(r, request) {
							return none
						}
						failures++
						return how
					}})
					wantSettled(t, l, "a", false)
					claim := wantOwner(t, l, "a", state.Mine)
					if !claim.MayPost() {
						t.Error("the claim is ours and may not be posted")
					}
					time.Sleep(10 * time.Second)
					l.Settle(t.Context(), []state.Claim{claim}, state.Accepted)
					wantSettled(t, l, "a", true)
					wantOwner(t, l, "a", state.Nobody)
					if lost := request == "replace" && how == notWritten; lost {
						wantOwner(t, newLedger(d), "a", state.Theirs)
					} else {
						wantSettled(t, newLedger(d), "a", true)
					}
				})
			})
		}
	}
}

func TestLedgerWithoutStorage(t *testing.T) {
	t.Run("this process alone decides, remembers, and logs one line", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			down := true
			l := state.NewLedger(faulty{Documents: state.NewMemory(), next: func(string) fault {
				if down {
					return notWritten
				}
				return none
			}}, slog.New(slog.NewTextHandler(&log, nil)))
			for i := range 5 {
				id := fmt.Sprint(i)
				claim := wantOwner(t, l, id, state.Mine)
				wantOwner(t, l, id, state.Theirs)
				l.Settle(t.Context(), []state.Claim{claim}, state.Unanswered)
				claim = wantOwner(t, l, id, state.Mine)
				l.Settle(t.Context(), []state.Claim{claim}, state.Unanswered)
				wantOwner(t, l, id, state.Nobody)
				time.Sleep(6 * time.Second)
			}
			down = false
			wantOwner(t, l, "new", state.Mine)
			if got := strings.Count(log.String(), "\n"); got != 2 {
				t.Errorf("it logged %d lines, want one about the failure and one about its end:\n%s", got, &log)
			}
		})
	})
	t.Run("thousands of deliveries wait for one request, and storage is asked again after five seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hanging := &hanging{Documents: state.NewMemory()}
			hanging.hangs.Store(true)
			l := newLedger(hanging)
			begun := time.Now()
			l.Settled(t.Context(), many(5000))
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("5,000 questions took %s", took)
			}
			hanging.hangs.Store(false)
			asked := hanging.asked.Load()
			l.Settled(t.Context(), keys("a"))
			if hanging.asked.Load() != asked {
				t.Error("storage was asked right after a failure")
			}
			time.Sleep(5 * time.Second)
			l.Settled(t.Context(), keys("a"))
			if hanging.asked.Load() == asked {
				t.Error("storage was not asked again")
			}
		})
	})
	t.Run("outcomes that storage does not take cost three seconds once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hanging := &hanging{Documents: state.NewMemory()}
			l := newLedger(hanging)
			claims := l.Claim(t.Context(), many(1000))
			hanging.hangs.Store(true)
			begun := time.Now()
			for some := range slices.Chunk(claims, 100) {
				l.Settle(t.Context(), some, state.Accepted)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("they took %s", took)
			}
		})
	})
	t.Run("a question whose context ends is no failure of storage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hanging := &hanging{Documents: state.NewMemory()}
			hanging.hangs.Store(true)
			l := newLedger(hanging)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			l.Settled(ctx, keys("a"))
			if got := owners(l.Claim(ctx, keys("a"))); got[0] != state.Theirs {
				t.Errorf("owner is %d, want %d: no time is left to post", got[0], state.Theirs)
			}
			hanging.hangs.Store(false)
			other := newLedger(hanging.Documents)
			other.Settle(t.Context(), other.Claim(t.Context(), keys("b")), state.Accepted)
			wantSettled(t, l, "b", true)
		})
	})
	t.Run("an outcome is recorded after the context has ended", func(t *testing.T) {
		d := state.NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		l := newLedger(d)
		claims := l.Claim(ctx, keys("a"))
		cancel()
		l.Settle(ctx, claims, state.Accepted)
		wantSettled(t, newLedger(d), "a", true)
	})
}

func many(n int) []state.Key {
	list := make([]state.Key, n)
	for i := range list {
		list[i] = state.Key{Sink: "teams", ID: fmt.Sprint(i)}
	}
	return list
}

// hanging documents do not answer while hangs is set.
type hanging struct {
	state.Documents
	hangs atomic.Bool
	asked atomic.Int32
}

func (h *hanging) Fetch(ctx context.Context, name string) (state.Document, error) {
	if h.asked.Add(1); h.hangs.Load() {
		<-ctx.Done()
		return state.Document{}, ctx.Err()
	}
	return h.Documents.Fetch(ctx, name)
}

func (h *hanging) Replace(ctx context.Context, d state.Document, data []byte) (state.Document, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return state.Document{}, ctx.Err()
	}
	return h.Documents.Replace(ctx, d, data)
}

// TestLedgerIsAskedInParallel: 1,000 questions of 5 ms each are no 5 s.
func TestLedgerIsAskedInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(faulty{Documents: state.NewMemory(), next: func(string) fault { time.Sleep(5 * time.Millisecond); return none }})
		begun := time.Now()
		l.Settle(t.Context(), l.Claim(t.Context(), many(1000)), state.Accepted)
		if took := time.Since(begun); took > 200*time.Millisecond {
			t.Errorf("1,000 claims and outcomes took %s", took)
		}
		begun = time.Now()
		if got := l.Settled(t.Context(), many(1000)); slices.Contains(got, false) || time.Since(begun) != 0 {
			t.Errorf("what was settled here is asked again, and took %s", time.Since(begun))
		}
	})
}

func TestOutcomeOfADelivery(t *testing.T) {
	t.Parallel()
	documents := state.NewMemory()
	l := state.NewLedger(documents, slog.New(slog.DiscardHandler))
	key := state.Key{"teams", "a1"}
	want := func(want string) {
		t.Helper()
		if got, err := l.Outcome(t.Context(), key); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	want("")
	claims := l.Claim(t.Context(), []state.Key{key})
	want("")
	l.Settle(t.Context(), claims, state.GivenUp)
	want("given up")
}
