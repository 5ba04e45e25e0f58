package faulttest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// nodesRuns is how many seeded runs there are with so many handlers, unless FAULT_RUNS
// says otherwise: half without kills, half with.
var nodesRuns = map[int]int{2: 16, 4: 4}

// calmFaults are those that excuse no repeat: the sink did not take the alert, or it
// said in time that it did.
var calmFaults = map[string][]act{"sink": {refuse, busy, gone, slow, outage}}

// TestHandlersOnOneStorage gives several handlers the same deletions, some through
// kube-audit, the others through kube-audit-admin, and each an idea of storage's clock
// that is up to a minute off. Nothing is lost. Without a kill, a lost answer or a
// storage that fails nothing is said twice, neither on a card nor in a row; otherwise, or
// when the machine stood still, only with an excuse.
//
// Their times are a hundredth of those in Azure, unless FAULT_REAL is set.
func TestHandlersOnOneStorage(t *testing.T) {
	for _, handlers := range []int{2, 4} {
		runs, first := number(t, "FAULT_RUNS", nodesRuns[handlers]), number(t, "FAULT_SEED", 1)
		sum := &totals{repeats: map[string]int{}}
		var wait sync.WaitGroup
		slots := make(chan struct{}, sideBySide/2)
		for seed := first; seed < first+runs; seed++ {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				t.Run(fmt.Sprintf("handlers=%d seed=%d", handlers, seed), func(t *testing.T) { nodesRun(t, sum, handlers, uint64(seed)) })
			})
		}
		wait.Wait()
		fmt.Printf("%d handlers: %v\n", handlers, sum)
		if sum.lost > 0 {
			t.Errorf("%d deletions were lost", sum.lost)
		}
	}
}

func nodesRun(t *testing.T, sum *totals, handlers int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	faults := calmFaults
	if seed%2 == 0 {
		faults = faultsOf
	}
	var all []deletion
	for n := range 4 + r.IntN(7) {
		who := r.IntN(4)
		all = append(all, kubeDeletion(t, podName(n), fmt.Sprintf("caller%d@example.com", who), fmt.Sprintf("AKS-%d", who), n))
	}
	w := timed(randomPlan(r.Uint64(), faults))
	var shifts []time.Duration
	for range handlers {
		minute := int64(w.scaled(time.Minute))
		shifts = append(shifts, time.Duration(r.Int64N(2*minute)-minute))
	}
	startWorld(t, w, nil, shifts...)
	w.expect(all...)
	var wait sync.WaitGroup
	for i, n := range w.nodes {
		order := r.Perm(len(all))
		size := 1 + r.IntN(4)
		wait.Go(func() {
			for len(order) > 0 {
				var bodies []string
				for _, k := range order[:min(size, len(order))] {
					bodies = append(bodies, body(all[k].records[i%len(all[k].records)]))
				}
				order = order[len(bodies):]
				n.deliver(fmt.Sprint(i), messages(bodies...)...)
			}
		})
	}
	wait.Wait()
	w.drain()
	sum.add(w, w.settle(all))
	if seed%2 == 0 || stood(w.began) {
		return
	}
	for _, d := range all {
		if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards != 1 || rows != 1 {
			t.Errorf("%s: %d cards and %d rows, want one each", d.pod, cards, rows)
		}
	}
}
