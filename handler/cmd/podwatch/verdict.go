package main

import (
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
)

// A verdict is what came of a record, the most important thing first.
type verdict int

const (
	alerted verdict = iota
	suppressed
	repeated
	routine
	unreadable
	noMatch
	noRule
)

var verdictNames = [...]string{"alerted", "suppressed", "repeat", "routine", "unreadable", "no match", "no rule's log"}

func (v verdict) String() string { return verdictNames[v] }

// judge judges a record by the findings of it, and returns the alerts that they became;
// those that were met before became none.
func (r *replay) judge(record detect.Record, findings []alert.Finding, raised map[string]*alert.Alert) (best verdict, alerts []*alert.Alert) {
	best = noRule
	if r.app.Rules.Reads(record.Dataset) {
		best = noMatch
	}
	take := func(v verdict) { best = min(best, v) }
	if record.Unread != "" {
		take(unreadable)
	}
	if record.Routine > 0 {
		take(routine)
	}
	if record.Repeats > 0 {
		take(repeated)
	}
	for _, f := range findings {
		a := raised[f.ID]
		if a != nil {
			alerts = append(alerts, a)
		}
		switch {
		case a == nil:
			take(repeated)
		case a.Routine:
			take(routine)
		case a.Suppressed:
			take(suppressed)
		default:
			take(alerted)
		}
	}
	return best, alerts
}
