package faulttest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/storage"
)

const (
	runsByDefault = 60 // seeded runs, besides one kill at each point of a plain run
	sideBySide    = 6  // runs mostly wait: for a restart, for a retry
)

// totals add up over runs.
type totals struct {
	mu                                  sync.Mutex
	runs, kills, faults, lost, rowsMore int
	stood                               int // runs in which the machine stood still
	repeats                             map[string]int
}

func (s *totals) add(w *world, lost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.kills += w.kills
	s.faults += w.faults
	s.lost += lost
	if stood(w.began) {
		s.stood++
	}
	for _, rows := range w.rows() {
		s.rowsMore += len(rows) - 1
	}
	for cause, n := range w.repeats() {
		s.repeats[cause] += n
	}
}

func (s *totals) String() string {
	all := 0
	var causes []string
	for _, cause := range slices.Sorted(maps.Keys(s.repeats)) {
		all += s.repeats[cause]
		causes = append(causes, fmt.Sprintf("%s %d", cause, s.repeats[cause]))
	}
	return fmt.Sprintf("runs=%d kills=%d repeats=%d lost=%d (faults=%d; repeats: %s; rows written twice, one by AlertId: %d; runs in which the machine stood still: %d)",
		s.runs, s.kills, all, s.lost, s.faults, strings.Join(causes, ", "), s.rowsMore, s.stood)
}

// TestNothingIsLostAndNothingSaidTwice is the fault test. It kills the process at
// each point of a plain run, before and after what happens there, and then makes
// seeded runs with every kind of fault.
//
// A run that fails names its seed; FAULT_SEED=n FAULT_RUNS=1 repeats it as far as
// the order of what happens side by side allows.
func TestNothingIsLostAndNothingSaidTwice(t *testing.T) {
	runs, first := number(t, "FAULT_RUNS", runsByDefault), number(t, "FAULT_SEED", 1)
	sum := &totals{repeats: map[string]int{}}
	var wait sync.WaitGroup
	slots := make(chan struct{}, sideBySide)
	run := func(name string, scenario func(t *testing.T)) {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			t.Run(name, scenario)
		})
	}
	if os.Getenv("FAULT_SEED") == "" {
		points := 0
		t.Run("plain", func(t *testing.T) { points = plainRun(t, sum, 0, pass) })
		for n := 1; n <= points; n++ {
			for _, how := range []act{killBefore, killAfter} {
				run(fmt.Sprintf("%s point %d", how, n), func(t *testing.T) { plainRun(t, sum, n, how) })
			}
		}
	}
	for seed := first; seed < first+runs; seed++ {
		run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { seededRun(t, sum, uint64(seed)) })
	}
	wait.Wait()
	fmt.Println(sum)
	if sum.lost > 0 {
		t.Errorf("%d deletions were lost", sum.lost)
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s: %q is not a number", name, value)
	}
	return n
}

// plainRun delivers one batch of two callers' deletions and does one thing at one
// point. It returns how many points there were.
func plainRun(t *testing.T, sum *totals, at int, how act) int {
	w := start(t, func(n int, _ point) act {
		if n == at {
			return how
		}
		return pass
	}, nil)
	all := []deletion{
		kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1),
		kubeDeletion(t, podName(2), "dana@example.com", "AKS-1", 2),
		arcDeletion(t, podName(3), "robin@example.com", "arc-1", 3),
	}
	w.expect(all...)
	w.deliver("0", messages(body(all[0].records[0], all[1].records[0]), body(all[2].records[0]))...)
	w.drain()
	sum.add(w, w.settle(all))
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.points
}

// faultsOf are the things that can be done at a kind of point. What is listed
// twice is done twice as often.
var faultsOf = map[string][]act{
	"sink":    {killBefore, killAfter, refuse, busy, busy, gone, reject, cut, lose, slow, outage},
	"storage": {killBefore, killAfter, refuse, cut, lose, outage},
	"output":  {killBefore, killAfter, refuse, cut, lose},
	"host":    {killBefore, refuse},
}

// seededRun delivers a random input in a random order, with repeats, while things
// go wrong.
func seededRun(t *testing.T, sum *totals, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 5))
	all := randomDeletions(t, r)
	batches, junk := randomBatches(r, all)
	w := start(t, randomPlan(r.Uint64(), faultsOf), nil)
	w.expect(all...)
	for range junk {
		w.enqueue(storage.UndeliveredQueue, "this is no alert")
	}
	// Two partitions at a time; each is in order, and after a restart a part of
	// it comes again.
	halves := [2][][]invocation.Message{}
	for i, b := range batches {
		halves[i%2] = append(halves[i%2], b)
	}
	for _, part := range []int{0, 1} { // the host is restarted in between
		var wait sync.WaitGroup
		for partition, mine := range halves {
			half := len(mine) / 2
			todo := mine[:half]
			if part == 1 {
				todo = mine[max(0, half-1):] // one batch was not checkpointed
			}
			wait.Go(func() {
				for _, b := range todo {
					w.deliver(fmt.Sprint(partition), b...)
				}
			})
		}
		wait.Wait()
		if part == 0 && r.IntN(3) == 0 {
			w.restart()
		}
	}
	w.drain()
	if _, others := w.dead(); len(others) != min(junk, 1) || len(others) > 0 && others[0] != "this is no alert" {
		t.Errorf("the dead letters that are no alerts are %q", others)
	}
	if len(w.list("unreadable-messages", "")) == 0 {
		t.Error("the message that nobody can read is not kept")
	}
	sum.add(w, w.settle(all))
}

// randomDeletions makes 4 to 10 deletions by up to four callers.
func randomDeletions(t *testing.T, r *rand.Rand) []deletion {
	var all []deletion
	callers := 1 + r.IntN(4)
	for n := range 4 + r.IntN(7) {
		who := r.IntN(callers)
		if who == 0 {
			all = append(all, arcDeletion(t, podName(n), "caller0@example.com", "arc-0", n))
		} else {
			all = append(all, kubeDeletion(t, podName(n), fmt.Sprintf("caller%d@example.com", who), fmt.Sprintf("AKS-%d", who), n))
		}
	}
	return all
}

// randomBatches puts each record into one or two messages, in any order, among
// noise, and each batch is delivered once or twice. One message is unreadable.
func randomBatches(r *rand.Rand, all []deletion) (batches [][]invocation.Message, junk int) {
	var bodies []string
	for _, d := range all {
		for _, record := range d.records {
			for range 1 + r.IntN(2) {
				bodies = append(bodies, body(record, routineDeletion("routine")))
			}
		}
	}
	bodies = append(bodies, `{"records": [not JSON, "delete"`) // it might be about a deletion, so it is read
	r.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	sequence := int64(0)
	for len(bodies) > 0 {
		size := min(1+r.IntN(6), len(bodies))
		var batch []invocation.Message
		for _, b := range bodies[:size] {
			sequence++
			batch = append(batch, invocation.Message{Body: []byte(b), Sequence: sequence})
		}
		bodies = bodies[size:]
		for range 1 + r.IntN(2) {
			batches = append(batches, batch)
		}
	}
	r.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	return batches, r.IntN(2)
}

// randomPlan does up to eight of the given things at random points. An outage goes on for
// some points of its kind.
func randomPlan(seed uint64, faults map[string][]act) func(int, point) act {
	r := rand.New(rand.NewPCG(seed, 6))
	when := map[int]bool{}
	for range 1 + r.IntN(8) {
		when[1+r.IntN(120)] = true
	}
	due, down := 0, map[string]int{}
	return func(n int, p point) act {
		where := p.kind
		if where == "sink" {
			where = p.what // one is down, not both
		}
		if down[where] > 0 {
			down[where]--
			return outage
		}
		if when[n] {
			due++
		}
		can := faults[p.kind]
		if due == 0 || len(can) == 0 {
			return pass
		}
		due--
		a := can[r.IntN(len(can))]
		if a == outage {
			down[where] = 3 + r.IntN(10)
		}
		return a
	}
}
