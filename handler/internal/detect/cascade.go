package detect

import (
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
)

// Bounds of what a batch keeps to count the pods that went with a workload, a
// namespace or a node.
const (
	maxCauses  = 100
	maxRoutine = 10_000
)

// A cause is a finding after which Kubernetes itself deletes pods.
type cause struct {
	alert.Cause
	finding int
	pods    map[string]bool
}

// A place is where an event lies.
type place struct {
	piece
	nth int
}

// noteCause keeps a finding that is the last one, if it is a cause.
func (r *reading) noteCause(ev *event.Event) {
	if len(r.causes) == maxCauses {
		return
	}
	if c, ok := alert.CauseOf(ev); ok {
		r.causes = append(r.causes, cause{Cause: c, finding: len(r.Findings) - 1, pods: map[string]bool{}})
	}
}

// noteRoutine keeps where a routine deletion lies. It is read again only if the
// batch has a cause.
func (r *reading) noteRoutine(p piece, nth int) {
	if len(r.deletions) < maxRoutine {
		r.deletions = append(r.deletions, place{p, nth})
	}
}

// countPods counts for each cause the pods that routine deleted.
func (r *reading) countPods() {
	if len(r.causes) == 0 {
		return
	}
	for _, p := range r.deletions {
		r.attribute(p)
	}
	for _, c := range r.causes {
		r.Findings[c.finding].Pods = len(c.pods)
	}
}

func (r *reading) attribute(p place) {
	defer func() {
		if cause := recover(); cause != nil {
			r.panicked(p.piece, cause)
		}
	}()
	plain, err := p.Plain(r.plain[:0])
	if err != nil {
		return // it was read before
	}
	r.plain = plain
	n := 0
	for ev, err := range r.events.Events(plain) {
		if err == nil && n == p.nth {
			for _, c := range r.causes {
				if pod, ok := c.Took(ev); ok {
					c.pods[pod] = true
				}
			}
		}
		n++
	}
}
