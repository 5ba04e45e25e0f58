// Package exception knows the reasons not to alert.
//
// An exception is reviewed by people and kept beside the rules: it has a reason,
// an owner and, as a rule, an end. Its KQL query selects alerts, and it may
// add when (a schedule) and after what (an operation shortly before). An alert
// that meets an exception is suppressed: it goes on record with the exception's
// name and interrupts nobody.
//
// A [Set] is compiled once by [Parse], which finds every mistake, reads the whole
// file or none of it, and refuses what would suppress more than is written; it is
// immutable, and [Set.Suppress] cannot fail and does no I/O.
//
// An exception holds only if its queries are certainly true, see [kql.Truth]:
// what an alert lacks, or what was not looked up (tags, a timeline), meets no
// condition and no negated one either. Only `not field: *` asks for absence.
package exception

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// An Exception is one compiled reason not to alert.
type Exception struct {
	Name    string
	Reason  string
	Owner   string
	Expires time.Time // the first moment at which it does not hold, in its zone; zero: never ends

	rules      []string // ids and names in lower case; empty: all
	match      *kql.Query
	schedule   schedule
	precededBy *precededBy
	asksTags   bool // its match asks for a tag of the cluster

	warnings []*rule.FileError // that do not depend on the time
	end      *rule.FileError   // the place of expires, or of the exception
}

// A Set is the exceptions of one file, in its order.
type Set struct {
	exceptions []*Exception
}

// Load reads an exceptions file. rules are the rules that exceptions can name.
func Load(path string, rules *rule.Set) (*Set, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load exceptions: %w", err)
	}
	return Parse(path, text, rules)
}

// Exceptions returns the exceptions in the file's order.
func (s *Set) Exceptions() []*Exception { return slices.Clone(s.exceptions) }

// Suppress returns the name of the first exception that the alert meets, or "".
// event is the alert's event.
func (s *Set) Suppress(a *alert.Alert, event kql.Document) string {
	if len(s.exceptions) == 0 {
		return ""
	}
	document := newDocument(a, event)
	for _, e := range s.exceptions {
		if e.meets(a, document) {
			return e.Name
		}
	}
	return ""
}

// Fits reports whether an alert fits the exception's rules and match, leaving
// aside when it happened and what preceded it: how wide the exception is.
func (e *Exception) Fits(a *alert.Alert, event kql.Document) bool {
	return e.isFor(a) && e.match.Judge(newDocument(a, event)) == kql.True
}

func (e *Exception) meets(a *alert.Alert, document kql.Document) bool {
	return e.isFor(a) && e.match.Judge(document) == kql.True && len(e.unmet(a)) == 0
}

// unmet returns what an alert does not meet besides the match.
func (e *Exception) unmet(a *alert.Alert) (why []string) {
	if e.Expired(a.EventTime) {
		why = append(why, "it ended at "+e.Expires.Format(time.RFC3339))
	}
	if e.schedule != nil && !e.schedule.covers(a.EventTime) {
		why = append(why, "outside of its schedule")
	}
	if e.precededBy != nil && !e.precededBy.holds(a) {
		why = append(why, "nothing that it asks for is known to have preceded")
	}
	return why
}

// An Explanation is why an exception does not suppress an alert, or that it does.
type Explanation struct {
	Exception *Exception
	Holds     bool
	Why       []string // the parts of it that do not hold

	misses int
}

// Explain returns for each exception that is for the alert's rule why it does not
// hold, the nearest to holding first.
func (s *Set) Explain(a *alert.Alert, event kql.Document) []Explanation {
	document := newDocument(a, event)
	var all []Explanation
	for _, e := range s.exceptions {
		if !e.isFor(a) {
			continue
		}
		x := Explanation{Exception: e, misses: e.match.Misses(document)}
		if x.misses > 0 {
			x.Why = append(x.Why, e.match.Explain(document).String())
		}
		unmet := e.unmet(a)
		x.Why, x.misses = append(x.Why, unmet...), x.misses+len(unmet)
		x.Holds = x.misses == 0
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(x, y Explanation) int { return cmp.Compare(x.misses, y.misses) })
	return all
}

// Expired reports whether the exception has ended at t.
func (e *Exception) Expired(t time.Time) bool { return !e.Expires.IsZero() && !t.Before(e.Expires) }

// NeedsLookups reports whether the exception can only hold with what is looked up
// around an alert.
func (e *Exception) NeedsLookups() bool { return e.asksTags || e.precededBy != nil }

func (e *Exception) isFor(a *alert.Alert) bool {
	return len(e.rules) == 0 || slices.Contains(e.rules, strings.ToLower(a.RuleId)) || slices.Contains(e.rules, strings.ToLower(a.RuleName))
}
