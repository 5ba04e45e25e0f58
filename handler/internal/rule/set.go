package rule

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// A Set is the rules that run. It is immutable and safe for concurrent use.
type Set struct {
	rules    []*compiled
	byID     map[string]*compiled
	datasets map[string]*bucket
	other    *bucket // for events of a dataset that no rule names
}

// A Match is a rule that an event met. Severity and RiskScore are those in
// force for this event, after the rule's overrides. Routine marks a match that
// is to be counted, not alerted; a rule's BuildingBlock one that is to be
// recorded, not notified.
type Match struct {
	Rule      *Rule
	Severity  string
	RiskScore int
	Routine   bool
}

// An evaluator decides whether an event meets a rule, given the event under
// the rules' names. It must be safe for concurrent use and must not do I/O.
// *kql.Query is the one for rules that look at a single event.
type evaluator interface {
	Match(doc map[string]any) bool
}

type compiled struct {
	rule     *Rule
	order    int
	node     kql.Node
	filter   evaluator
	routine  *kql.Query // nil: nothing is routine
	severity []severityOverride
	datasets []string // nil: any
}

type severityOverride struct {
	when     *kql.Query
	severity string
}

// compile readies a rule that runs.
func compile(dr *draft, datasets []string) *compiled {
	o := kql.Options{Types: fieldType}
	if len(dr.FoldCase) > 0 {
		o.FoldCase = func(field string) bool { return slices.Contains(dr.FoldCase, field) }
	}
	c := &compiled{rule: dr.Rule, node: dr.query, filter: kql.Compile(dr.query, o), datasets: datasets}
	if dr.routine != nil {
		c.routine = kql.Compile(dr.routine, o)
	}
	for _, m := range dr.SeverityMapping {
		value := kql.Text(m.Value)
		value.Quoted = true
		c.severity = append(c.severity, severityOverride{kql.Compile(kql.Is{Field: kql.Text(m.Field), Value: value}, o), m.Severity})
	}
	return c
}

func (s *Set) add(c *compiled) {
	c.order = len(s.rules)
	s.rules = append(s.rules, c)
	s.byID[strings.ToLower(c.rule.ID)] = c
}

// index sorts the rules by the events that they can match.
func (s *Set) index() {
	s.datasets = map[string]*bucket{}
	s.other = &bucket{}
	for _, c := range s.rules {
		for _, d := range c.datasets {
			if s.datasets[d] == nil {
				s.datasets[d] = &bucket{}
			}
		}
	}
	for _, c := range s.rules {
		if c.datasets == nil {
			s.other.add(c)
			for _, b := range s.datasets {
				b.add(c)
			}
			continue
		}
		for _, d := range c.datasets {
			s.datasets[d].add(c)
		}
	}
}

// Rule returns the running rule with the id, or nil.
func (s *Set) Rule(id string) *Rule {
	if c := s.byID[strings.ToLower(id)]; c != nil {
		return c.rule
	}
	return nil
}

// Rules returns the rules that run, in the order in which they were loaded.
func (s *Set) Rules() []*Rule {
	all := make([]*Rule, len(s.rules))
	for i, c := range s.rules {
		all[i] = c.rule
	}
	return all
}

// Match returns the rules that ev meets, in the order in which they were
// loaded. It evaluates only rules that can match events of ev's dataset and
// operation, and allocates only when one does.
func (s *Set) Match(ev *event.Event) []Match {
	b := s.datasets[ev.Dataset]
	if b == nil {
		b = s.other
	}
	var met []*compiled
	for _, c := range b.any {
		if c.filter.Match(ev.Fields) {
			met = append(met, c)
		}
	}
	for i := range b.guards {
		for _, c := range b.guards[i].candidates(ev.Fields) {
			if c.filter.Match(ev.Fields) {
				met = append(met, c)
			}
		}
	}
	if met == nil {
		return nil
	}
	slices.SortFunc(met, func(a, b *compiled) int { return a.order - b.order })
	matches := make([]Match, len(met))
	for i, c := range met {
		matches[i] = c.match(ev)
	}
	return matches
}

// match fills in what depends on the event that the rule matched.
func (c *compiled) match(ev *event.Event) Match {
	m := Match{Rule: c.rule, Severity: c.rule.Severity, RiskScore: c.rule.RiskScore}
	m.Routine = c.routine != nil && c.routine.Match(ev.Fields)
	best := -1 // of several mappings that apply, the highest severity counts, and it may be lower than the rule's own
	for _, o := range c.severity {
		if rank := slices.Index(severities, o.severity); rank > best && o.when.Match(ev.Fields) {
			best = rank
		}
	}
	if best >= 0 {
		m.Severity = severities[best]
	}
	for _, field := range c.rule.RiskScoreMapping {
		if score, ok := riskScore(lookUp(ev.Fields, field)); ok {
			m.RiskScore = score
			break
		}
	}
	return m
}

// riskScore reads a risk score from a field: a number from 0 to 100, or text
// that spells one. Of a list the highest counts.
func riskScore(v any) (score int, ok bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	case float64:
		return int(v), v >= 0 && v <= 100
	case int64:
		return int(v), v >= 0 && v <= 100
	case int:
		return v, v >= 0 && v <= 100
	case []any:
		for _, element := range v {
			if n, valid := riskScore(element); valid && (!ok || n > score) {
				score, ok = n, true
			}
		}
		return score, ok
	default:
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return int(f), err == nil && f >= 0 && f <= 100
}

// lookUp returns the value of a field. Keys of the document may hold dots.
func lookUp(doc map[string]any, field string) any {
	if v, ok := doc[field]; ok {
		return v
	}
	for i := range len(field) {
		if field[i] == '.' {
			if inner, ok := doc[field[:i]].(map[string]any); ok {
				if v := lookUp(inner, field[i+1:]); v != nil {
					return v
				}
			}
		}
	}
	return nil
}

// A bucket is the rules for events of one dataset. Most rules are about a few
// operations or resources, so they are looked up by them.
type bucket struct {
	any    []*compiled // evaluated for every event
	guards []guard
}

// A guard holds the rules that need one of a few exact values in its field.
type guard struct {
	path    []string
	byValue map[string][]*compiled
	all     []*compiled
}

// guardFields are the fields that tell most rules' events from others, the most
// telling first: what was done, or in a cluster's audit log to what. Package
// event writes each as one string under nested keys.
func guardFields(dataset string) []string {
	return []string{
		dataset + ".operation_name",
		"event.action",
		"azure.platformlogs.properties.log.objectRef.resource",
		"azure.platformlogs.properties.log.verb",
		"azure.platformlogs.category",
	}
}

// add files c under the first guard field whose value it needs.
func (b *bucket) add(c *compiled) {
	for _, d := range c.datasets {
		for _, field := range guardFields(d) {
			values, ok := exactValues(c.node, field)
			if !ok || slices.Contains(c.rule.FoldCase, field) ||
				slices.ContainsFunc(values, func(v string) bool { return sharedByMost(field, v) }) && field != "azure.platformlogs.category" {
				continue
			}
			b.guard(field).add(values, c)
			return
		}
	}
	b.any = append(b.any, c)
}

func (b *bucket) guard(field string) *guard {
	path := strings.Split(field, ".")
	for i := range b.guards {
		if slices.Equal(b.guards[i].path, path) {
			return &b.guards[i]
		}
	}
	b.guards = append(b.guards, guard{path: path, byValue: map[string][]*compiled{}})
	return &b.guards[len(b.guards)-1]
}

func (g *guard) add(values []string, c *compiled) {
	g.all = append(g.all, c)
	for _, v := range values {
		if !slices.Contains(g.byValue[v], c) {
			g.byValue[v] = append(g.byValue[v], c)
		}
	}
}

// candidates returns the rules that can match doc: all of them unless the field
// holds a plain string.
func (g *guard) candidates(doc map[string]any) []*compiled {
	var v any = doc
	for _, key := range g.path {
		m, ok := v.(map[string]any)
		if !ok {
			return g.all
		}
		v = m[key]
	}
	if s, ok := v.(string); ok {
		return g.byValue[s]
	}
	return g.all
}

// exactValues returns the values of which field must have one when n holds and
// the field is a single string. ok is false when n can hold without, or the
// field is not compared byte by byte.
func exactValues(n kql.Node, field string) (values []string, ok bool) {
	switch n := n.(type) {
	case kql.Is:
		plain := !n.Field.Wildcard() && n.Field.Text() == field && !n.Value.Wildcard() && !n.Value.Null
		return []string{n.Value.Text()}, plain && (fieldType(field) == kql.TypeKeyword || fieldType(field) == kql.TypeFlattened)
	case kql.And:
		for _, c := range n.Nodes {
			if v, found := exactValues(c, field); found && (!ok || len(v) < len(values)) {
				values, ok = v, true
			}
		}
		return values, ok
	case kql.Or:
		for _, c := range n.Nodes {
			v, found := exactValues(c, field)
			if !found {
				return nil, false
			}
			values = append(values, v...)
		}
		return values, len(n.Nodes) > 0
	}
	return nil, false
}
