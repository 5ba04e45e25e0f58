package exception

import (
	"maps"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/surroundings"
)

// precededBy asks for an operation shortly before the alert, such as the scale
// operation or the deployment that explains it.
type precededBy struct {
	match  *kql.Query
	same   string // caller, cluster or subscription
	within time.Duration
}

func (s *source) precededBy(x *Exception, v value) *precededBy {
	t := s.table(v, "match", "same", "within")
	p := &precededBy{match: s.query(x, t.required("match", ""), aboutOperation)}
	same := t.required("same", ": write caller, cluster or subscription")
	if p.same = same.text; p.same != "" && p.same != "caller" && p.same != "cluster" && p.same != "subscription" {
		s.mistake(same.at, "preceded_by: same: %q is none of caller, cluster, subscription", p.same)
	}
	within := t.required("within", ": write 20m")
	var err error
	p.within, err = time.ParseDuration(within.text)
	if within.text != "" && (err != nil || p.within <= 0 || p.within > surroundings.LookBack) {
		s.mistake(within.at, "preceded_by: within: %q is not a duration of up to %.0fm, which is how far a timeline reaches", within.text, surroundings.LookBack.Minutes())
	}
	return p
}

// holds looks through the alert's timeline. An alert without one (look-ups
// switched off or failed) is not preceded by anything.
func (p *precededBy) holds(a *alert.Alert) bool {
	for _, entry := range a.Timeline {
		before := a.EventTime.Sub(entry.Time)
		if before < 0 || before > p.within || entry.Relation != p.same && entry.Relation != "both" && p.same != "subscription" {
			continue // whatever a timeline has belongs to the subscription
		}
		if p.match.Judge(operation(entry)) == kql.True {
			return true
		}
	}
	return false
}

// operation is what preceded_by sees of an entry of a timeline.
func operation(entry alert.TimelineEntry) kql.Map {
	m := kql.Map{"operation": entry.OperationName, "words": entry.Operation, "target": entry.Target, "outcome": entry.Outcome, "caller": entry.Caller}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == "" })
	return m
}
