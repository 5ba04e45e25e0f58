package state_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/state"
)

// TestLedgerModel delivers one alert by several instances at once, in simulated
// time: requests to storage and posts take random times, storage's clock is up to
// a minute off, sinks refuse. In two of three runs processes are killed, requests
// fail with and without an effect, writes arrive after their time limit, and
// sinks accept without an answer. The alert must reach the sink in each run, and
// twice only after a kill or a lost answer.
func TestLedgerModel(t *testing.T) {
	t.Parallel()
	runs := uint64(20_000)
	if testing.Short() || raceDetector() {
		runs = 2_000
	}
	var lost, repeats, excused int
	for seed := range runs {
		w := &world{random: rand.New(rand.NewPCG(seed, 13)), shared: state.NewMemory(), calm: seed%3 == 0}
		synctest.Test(t, func(t *testing.T) { w.run(t.Context()) })
		switch accepted := w.accepted.Load(); {
		case accepted == 0:
			lost++
			t.Logf("run %d: the alert was lost", seed)
		case accepted > 1 && w.excused.Load():
			excused++
		case accepted > 1:
			repeats++
			t.Logf("run %d: the alert was posted %d times without a kill or a lost answer", seed, accepted)
		}
	}
	if lost+repeats > 0 {
		t.Errorf("%d alerts were lost, %d repeated without a kill or a lost answer", lost, repeats)
	}
	t.Logf("%d runs, %d of them with a repeat after a kill or a lost answer", runs, excused)
}

// raceDetector reports whether the tests run under the race detector, which makes
// them five times as slow.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

type world struct {
	shared   state.Documents
	calm     bool
	accepted atomic.Int32
	excused  atomic.Bool

	mu     sync.Mutex
	random *rand.Rand
}

// upTo returns a random duration.
func (w *world) upTo(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.random.Int64N(int64(most)))
}

// chance is true in one of n cases.
func (w *world) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n) == 0
}

// trouble is like chance, and false in a calm run. It excuses a repeat.
func (w *world) trouble(n int) bool {
	if w.calm || !w.chance(n) {
		return false
	}
	w.excused.Store(true)
	return true
}

func (w *world) run(ctx context.Context) {
	var instances sync.WaitGroup
	for range 2 + int(w.upTo(3)) {
		instances.Go(func() { w.instance(ctx) })
	}
	instances.Wait()
}

// instance is one process after the other until the delivery is settled.
func (w *world) instance(ctx context.Context) {
	for {
		time.Sleep(w.upTo(5 * time.Minute))
		p := &process{world: w, Documents: w.shared, skew: w.upTo(2*time.Minute) - time.Minute}
		p.ledger = state.NewLedger(p, slog.New(slog.DiscardHandler))
		var invocations sync.WaitGroup
		for range 1 + int(w.upTo(2)) {
			invocations.Go(func() { p.deliver(ctx) })
		}
		invocations.Wait()
		if !p.dead.Load() {
			return
		}
	}
}

// A process of the model has the shared documents behind a network of its own.
type process struct {
	state.Documents
	*world
	ledger *state.Ledger
	skew   time.Duration
	dead   atomic.Bool
}

func (p *process) deliver(ctx context.Context) {
	key := []state.Key{{Sink: "teams", ID: "a1"}}
	for !p.dead.Load() && !p.ledger.Settled(ctx, key)[0] {
		claims := p.ledger.Claim(ctx, key)
		if claims[0].Owner == state.Nobody {
			return
		}
		if claims[0].Owner == state.Mine {
			time.Sleep(p.upTo(90 * time.Second)) // other posts go first
			outcome := state.Open
			if claims[0].MayPost() {
				outcome = p.post()
			}
			p.ledger.Settle(ctx, claims, outcome)
		}
		time.Sleep(p.upTo(2 * time.Minute))
	}
}

// post returns what the process learns about a post that takes a minute at most.
func (p *process) post() state.Outcome {
	if p.kill() {
		return state.Open
	}
	takes := p.upTo(state.PostTime)
	accepting := p.upTo(takes + 1)
	time.Sleep(accepting)
	if p.chance(4) {
		return state.Open // refused
	}
	p.accepted.Add(1)
	p.kill()
	if p.trouble(8) {
		time.Sleep(state.PostTime - accepting)
		return state.Unanswered
	}
	time.Sleep(takes - accepting)
	return state.Accepted
}

// kill ends the process at times: it makes no more requests and no more posts.
func (p *process) kill() bool {
	if p.trouble(12) {
		p.dead.Store(true)
	}
	return p.dead.Load()
}

// request makes a request through the network.
func (p *process) request(ctx context.Context, do func(context.Context) (state.Document, error)) (state.Document, error) {
	if p.kill() {
		return state.Document{}, errStorage
	}
	takes := p.upTo(100 * time.Millisecond)
	if p.trouble(20) {
		takes = p.upTo(10 * time.Second)
	}
	unlimited := context.WithoutCancel(ctx)
	select {
	case <-ctx.Done():
		if p.chance(2) {
			time.AfterFunc(p.upTo(time.Minute), func() { _, _ = do(unlimited) }) // arrives late
		}
		return state.Document{}, ctx.Err()
	case <-time.After(takes):
	}
	if p.trouble(20) {
		return state.Document{}, errStorage
	}
	d, err := do(unlimited)
	if p.kill() || p.trouble(20) {
		return state.Document{}, errStorage
	}
	d.Age += p.skew
	return d, err
}

func (p *process) Fetch(ctx context.Context, name string) (state.Document, error) {
	return p.request(ctx, func(ctx context.Context) (state.Document, error) { return p.Documents.Fetch(ctx, name) })
}

func (p *process) Create(ctx context.Context, name string, data []byte) (state.Document, error) {
	return p.request(ctx, func(ctx context.Context) (state.Document, error) { return p.Documents.Create(ctx, name, data) })
}

func (p *process) Replace(ctx context.Context, old state.Document, data []byte) (state.Document, error) {
	return p.request(ctx, func(ctx context.Context) (state.Document, error) { return p.Documents.Replace(ctx, old, data) })
}
