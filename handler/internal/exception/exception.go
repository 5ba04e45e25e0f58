// Package exception knows the reasons not to alert.
//
// An exception is reviewed by people and kept beside the rules: it has a reason,
// an owner and, as a rule, an end. It says in KQL which alerts it is for, and may
// add when (a schedule) and after what (an operation shortly before). An alert
// that meets an exception is suppressed: it goes on record with the exception's
// name and interrupts nobody.
//
// A [Set] is compiled once by [Parse], which finds every mistake; it is
// immutable, and [Set.Suppress] cannot fail and does no I/O.
//
// An exception holds only if its queries are certainly true, see [kql.Truth]:
// what an alert lacks, or what was not looked up (tags, a timeline), meets no
// condition and no negated one either. Only `not field: *` asks for absence.
package exception

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/kql"
)

// An Exception is one compiled reason not to alert.
type Exception struct {
	Name    string
	Reason  string
	Owner   string
	Expires time.Time // the last moment at which it holds; zero: never ends

	rules      []string // ids or names; empty: all
	source     string   // of match
	match      *kql.Query
	node       *kql.Node
	schedule   schedule
	precededBy *precededBy
}

// A Set is the exceptions of one file, in its order.
type Set struct {
	exceptions []*Exception
}

// entry is an exception as it stands in the file.
type entry struct {
	Name       string           `yaml:"name"`
	Reason     string           `yaml:"reason"`
	Owner      string           `yaml:"owner"`
	Expires    string           `yaml:"expires"`
	Rules      []string         `yaml:"rules"`
	Match      string           `yaml:"match"`
	Schedule   *scheduleEntry   `yaml:"schedule"`
	PrecededBy *precededByEntry `yaml:"preceded_by"`
}

// Load reads an exceptions file.
func Load(path string) (*Set, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load exceptions: %w", err)
	}
	return Parse(path, text)
}

// Parse compiles the exceptions in text; name says where it came from. The error
// joins every mistake.
func Parse(name string, text []byte) (*Set, error) {
	var file struct {
		Exceptions []entry `yaml:"exceptions"`
	}
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("parse exceptions %q: %w", name, err)
	}
	set := &Set{}
	var mistakes []error
	for i, e := range file.Exceptions {
		compiled, err := e.compile()
		if err == nil && set.named(e.Name) != nil {
			err = errors.New("the name is taken by an earlier exception")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("parse exceptions %q: exception %d %q: %w", name, i+1, e.Name, err))
			continue
		}
		set.exceptions = append(set.exceptions, compiled)
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return set, nil
}

func (s *Set) named(name string) *Exception {
	for _, e := range s.exceptions {
		if e.Name == name {
			return e
		}
	}
	return nil
}

func (e entry) compile() (*Exception, error) {
	x := &Exception{Name: e.Name, Reason: strings.TrimSpace(e.Reason), Owner: strings.TrimSpace(e.Owner), rules: e.Rules, source: e.Match}
	var mistakes []error
	for _, required := range []struct{ key, value string }{{"name", x.Name}, {"reason", x.Reason}, {"owner", x.Owner}} {
		if required.value == "" {
			mistakes = append(mistakes, fmt.Errorf("%s is missing", required.key))
		}
	}
	if strings.TrimSpace(e.Match) == "" {
		mistakes = append(mistakes, errors.New("match is missing: an exception for everything would switch podwatch off"))
	} else if node, err := kql.Parse(e.Match); err != nil {
		mistakes = append(mistakes, fmt.Errorf("match: %w", err))
	} else {
		x.node = node
		x.match = kql.Compile(node, matchOptions)
	}
	var err error
	if x.Expires, err = parseExpiry(e.Expires); err != nil {
		mistakes = append(mistakes, err)
	}
	if x.schedule, err = e.Schedule.compile(); err != nil {
		mistakes = append(mistakes, fmt.Errorf("schedule: %w", err))
	}
	if x.precededBy, err = e.PrecededBy.compile(); err != nil {
		mistakes = append(mistakes, fmt.Errorf("preceded_by: %w", err))
	}
	return x, errors.Join(mistakes...)
}

// parseExpiry reads a day, which counts to its end in UTC, or a moment.
func parseExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("expires: %q is neither a day (2027-03-31) nor a moment (2027-03-31T18:00:00Z)", text)
	}
	return moment, nil
}

// Exceptions returns the exceptions in the file's order.
func (s *Set) Exceptions() []*Exception { return slices.Clone(s.exceptions) }

// Suppress returns the name of the first exception that the alert meets, or "".
// event returns the alert's event.
func (s *Set) Suppress(a *alert.Alert, event func() kql.Document) string {
	if len(s.exceptions) == 0 {
		return ""
	}
	document := newDocument(a, event())
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
	return e.holdsAt(a.EventTime) &&
		e.isFor(a) &&
		e.match.Judge(document) == kql.True &&
		(e.schedule == nil || e.schedule.covers(a.EventTime)) &&
		(e.precededBy == nil || e.precededBy.holds(a))
}

// holdsAt reports whether the exception has not expired at t.
func (e *Exception) holdsAt(t time.Time) bool { return e.Expires.IsZero() || !t.After(e.Expires) }

func (e *Exception) isFor(a *alert.Alert) bool {
	return len(e.rules) == 0 || slices.Contains(e.rules, a.RuleId) || slices.Contains(e.rules, a.RuleName)
}
