package exception

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/kql"
)

// lookback is as far as an alert's timeline reaches.
const lookback = 25 * time.Minute

// precededBy asks for an operation shortly before the alert, such as the scale
// operation or the deployment that explains it.
type precededBy struct {
	match  *kql.Query
	same   string // caller or cluster
	within time.Duration
}

type precededByEntry struct {
	Match  string `yaml:"match"`
	Same   string `yaml:"same"`
	Within string `yaml:"within"`
}

func (e *precededByEntry) compile() (*precededBy, error) {
	if e == nil {
		return nil, nil
	}
	var mistakes []error
	node, err := kql.Parse(e.Match)
	if err != nil {
		mistakes = append(mistakes, fmt.Errorf("match: %w", err))
	} else if e.Match == "" {
		mistakes = append(mistakes, errors.New("match is missing"))
	}
	if e.Same != "caller" && e.Same != "cluster" {
		mistakes = append(mistakes, fmt.Errorf("same: %q is neither caller nor cluster", e.Same))
	}
	within, err := time.ParseDuration(e.Within)
	if err != nil || within <= 0 || within > lookback {
		mistakes = append(mistakes, fmt.Errorf("within: %q is not a duration of up to %s, which is how far a timeline reaches", e.Within, "25m"))
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	everything := func(string) bool { return true }
	options := kql.Options{FoldCase: everything, MissingUnknown: true}
	return &precededBy{match: kql.Compile(node, options), same: e.Same, within: within}, nil
}

// holds looks through the alert's timeline. An alert without one (look-ups
// switched off or failed) is not preceded by anything.
func (p *precededBy) holds(a *alert.Alert) bool {
	for _, entry := range a.Timeline {
		before := a.EventTime.Sub(entry.Time)
		if before < 0 || before > p.within || entry.Relation != p.same && entry.Relation != "both" {
			continue
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
