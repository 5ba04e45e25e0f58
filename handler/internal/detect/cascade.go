package detect

import (
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/jsontext"
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

// noteRoutine keeps where a routine deletion lies. It is read again only if the
// batch has a cause.
func (r *reading) noteRoutine(p piece, nth int) {
	if len(r.deletions) < maxRoutine {
		r.deletions = append(r.deletions, place{p, nth})
	}
}

// countPods counts for each finding that is a cause the pods that routine deleted.
func (r *reading) countPods() {
	if len(r.deletions) == 0 {
		return
	}
	var causes []cause
	for i, f := range r.Findings {
		if f.Routine || f.Rule == alert.Unreadable || len(causes) == maxCauses {
			continue
		}
		r.again(place{piece{Text: f.Record, at: f.At}, f.Nth}, func(ev *event.Event) {
			if c, ok := alert.CauseOf(ev); ok {
				causes = append(causes, cause{Cause: c, finding: i, pods: map[string]bool{}})
			}
		})
	}
	if len(causes) == 0 {
		return
	}
	for _, p := range r.deletions {
		r.again(p, func(ev *event.Event) {
			for _, c := range causes {
				if pod, ok := c.Took(ev); ok {
					c.pods[pod] = true
				}
			}
		})
	}
	for _, c := range causes {
		r.Findings[c.finding].Pods = len(c.pods)
	}
}

// again reads an event that was read before.
func (r *reading) again(p place, use func(*event.Event)) {
	defer func() {
		if cause := recover(); cause != nil {
			r.panicked(p.piece, cause)
		}
	}()
	r.reread(p.Text, p.nth, use)
}

// A rereader reads events of records in memory that it reuses.
type rereader struct {
	events event.Reader
	plain  []byte // a record
}

// reread calls use with the nth event of a record, if that can be read.
func (r *rereader) reread(record jsontext.Text, nth int, use func(*event.Event)) {
	plain, err := record.Plain(r.plain[:0])
	if err != nil {
		return
	}
	r.plain = plain
	n := 0
	for ev, err := range r.events.Events(plain) {
		if err == nil && n == nth {
			use(ev)
			return
		}
		n++
	}
}
