package faulttest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// nodesRuns is how many seeded runs with two handlers there are, unless FAULT_RUNS
// says otherwise: half without kills, half with.
const nodesRuns = 20

// calmFaults are those that excuse no repeat: the sink did not take the alert, or it
// said in time that it did.
var calmFaults = map[string][]act{"sink": {refuse, busy, gone, slow, outage}}

// TestTwoHandlersOnOneStorage gives two handlers the same deletions, one through
// kube-audit, the other through kube-audit-admin. Nothing is lost. Without a kill, a
// lost answer or a storage that fails nothing is said twice, neither on a card nor in a
// row; otherwise, or when the machine stood still, only with an excuse.
func TestTwoHandlersOnOneStorage(t *testing.T) {
	runs, first := number(t, "FAULT_RUNS", nodesRuns), number(t, "FAULT_SEED", 1)
	sum := &totals{repeats: map[string]int{}}
	var wait sync.WaitGroup
	slots := make(chan struct{}, sideBySide/2)
	for seed := first; seed < first+runs; seed++ {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { nodesRun(t, sum, uint64(seed)) })
		})
	}
	wait.Wait()
	fmt.Println("two handlers:", sum)
}

func nodesRun(t *testing.T, sum *totals, seed uint64) {
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
	w := startNodes(t, 2, false, randomPlan(r.Uint64(), faults), nil)
	w.expect(all...)
	var wait sync.WaitGroup
	for i, n := range w.nodes {
		order := r.Perm(len(all))
		size := 1 + r.IntN(4)
		wait.Go(func() {
			for len(order) > 0 {
				var bodies []string
				for _, k := range order[:min(size, len(order))] {
					bodies = append(bodies, body(all[k].records[i]))
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
