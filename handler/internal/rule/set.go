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
	names    map[string][]string // ids by id and name, all in lower case
	datasets map[string]*bucket
	other    *bucket // for events of a dataset that no rule names
}

// A Match is a rule that an event met. Severity and RiskScore are those in
// force for this event, after the rule's overrides. Routine marks a match that
// is to be counted, not alerted; a rule's BuildingBlock one that is to be
// recorded, not notified. Uncertain: whether the event meets the query depends on
// what was cut or withheld of it.
type Match struct {
	Rule      *Rule
	Severity  string
	RiskScore int
	Routine   bool
	Uncertain bool

	order int // of Rule in the set
}

type compiled struct {
	rule     *Rule
	order    int
	node     *kql.Node
	query    *kql.Query
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
	o := kql.Options{Type: FieldType}
	if len(dr.FoldCase) > 0 {
		o.FoldCase = func(field string) bool { return slices.Contains(dr.FoldCase, field) }
	}
	c := &compiled{rule: dr.Rule, node: dr.query, query: kql.Compile(dr.query, o), datasets: datasets}
	for _, m := range dr.SeverityMapping {
		c.severity = append(c.severity, severityOverride{kql.Compile(kql.Equals(m.Field, m.Value), o), m.Severity})
	}
	if dr.routine != nil {
		o.MissingUnknown = true
		c.routine = kql.Compile(dr.routine, o)
	}
	return c
}

func (s *Set) add(c *compiled) {
	c.order = len(s.rules)
	s.rules = append(s.rules, c)
	s.byID[strings.ToLower(c.rule.ID)] = c
}

// name notes by what a loaded rule can be named, whether it runs or not.
func (s *Set) name(r *Rule) {
	id := strings.ToLower(r.ID)
	for _, name := range []string{id, strings.ToLower(strings.TrimSpace(r.Name))} {
		if name != "" && id != "" {
			s.names[name] = appendNew(s.names[name], id)
		}
	}
}

// index sorts the rules by the events that they can match.
func (s *Set) index() {
	s.datasets, s.other = map[string]*bucket{}, &bucket{}
	for _, c := range s.rules {
		for _, d := range c.datasets {
			s.datasets[d] = &bucket{}
		}
	}
	for _, c := range s.rules {
		for d, b := range s.datasets {
			if c.datasets == nil || slices.Contains(c.datasets, d) {
				b.add(c)
			}
		}
		if c.datasets == nil {
			s.other.add(c)
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

// Reads reports whether a rule is about events of the data set.
func (s *Set) Reads(dataset string) bool { return dataset != "" && len(s.bucket(dataset).rules) > 0 }

// bucket returns the rules that can match events of the data set.
func (s *Set) bucket(dataset string) *bucket {
	if b := s.datasets[dataset]; b != nil {
		return b
	}
	return s.other
}

// Match appends to dst the rules that ev meets, in the order in which they were
// loaded. It evaluates only rules that can match events of ev's data set and
// operation.
func (s *Set) Match(dst []Match, ev *event.Event) []Match {
	first := len(dst)
	b := s.bucket(ev.Dataset())
	dst = appendMatches(dst, b.any, ev)
	for i := range b.guards {
		dst = appendMatches(dst, b.guards[i].candidates(ev), ev)
	}
	if met := dst[first:]; len(met) > 1 {
		slices.SortFunc(met, func(a, b Match) int { return a.order - b.order })
	}
	return dst
}

func appendMatches(dst []Match, candidates []*compiled, ev *event.Event) []Match {
	for _, c := range candidates {
		if meets := c.meets(ev); meets != kql.False {
			dst = append(dst, c.match(ev, meets))
		}
	}
	return dst
}

// An Explanation is why an event meets a rule or does not.
type Explanation struct {
	Rule    *Rule
	Meets   kql.Truth  // Unknown: that depends on what was cut or withheld
	Reason  kql.Reason // the condition that decided
	Routine bool       // it meets the rule, and is routine
	Why     kql.Reason // the condition that decided whether it is routine, if the rule says what is
}

// Explain returns why ev meets the rules that are about its data set, in the order in
// which they were loaded.
func (s *Set) Explain(ev *event.Event) []Explanation {
	var all []Explanation
	for _, c := range s.bucket(ev.Dataset()).rules {
		e := Explanation{Rule: c.rule, Meets: c.meets(ev), Reason: c.query.Explain(ev)}
		if e.Meets != kql.False && c.routine != nil {
			e.Routine, e.Why = c.routine.Judge(ev) == kql.True, c.routine.Explain(ev)
		}
		all = append(all, e)
	}
	return all
}

// meets reports whether ev meets the rule: as in Kibana, unless the rule is about
// cut events too. Of an event that is cut before the verb a rule cannot be told
// from any other; who reads it reports it as unreadable.
func (c *compiled) meets(ev *event.Event) kql.Truth {
	if !c.rule.Cut {
		if c.query.Match(ev) {
			return kql.True
		}
		return kql.False
	}
	meets := c.query.Judge(ev)
	if meets == kql.Unknown && ev.Cut() == event.BeforeVerb {
		return kql.False
	}
	return meets
}

// match fills in what depends on the event that the rule matched. Only what is
// certain is routine.
func (c *compiled) match(doc kql.Document, meets kql.Truth) Match {
	m := Match{Rule: c.rule, Severity: c.rule.Severity, RiskScore: c.rule.RiskScore, Uncertain: meets == kql.Unknown, order: c.order}
	m.Routine = c.routine != nil && c.routine.Judge(doc) == kql.True
	best := -1 // of several mappings that apply, the highest severity counts, and it may be lower than the rule's own
	for _, o := range c.severity {
		if rank := slices.Index(severities, o.severity); rank > best && o.when.Match(doc) {
			best = rank
		}
	}
	if best >= 0 {
		m.Severity = severities[best]
	}
	for _, field := range c.rule.RiskScoreMapping {
		value, _ := doc.Lookup(field)
		if score, ok := riskScore(value); ok {
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

// A bucket is the rules for events of one dataset. Most rules are about a few
// operations or resources, so they are looked up by them.
type bucket struct {
	rules  []*compiled // all, in the order in which they were loaded
	any    []*compiled // those that are evaluated for every event
	guards []guard     // of the others
}

// A guard holds the rules that need one of a few exact values in its field.
type guard struct {
	field   string
	byValue map[string][]*compiled
	all     []*compiled
}

// guardFields are the fields that distinguish most rules' events from others, the most
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
	b.rules = append(b.rules, c)
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
	i := slices.IndexFunc(b.guards, func(g guard) bool { return g.field == field })
	if i < 0 {
		i = len(b.guards)
		b.guards = append(b.guards, guard{field: field, byValue: map[string][]*compiled{}})
	}
	return &b.guards[i]
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
// is a plain string.
func (g *guard) candidates(doc kql.Document) []*compiled {
	value, known := doc.Lookup(g.field)
	if s, ok := value.(string); ok && known {
		return g.byValue[s]
	}
	return g.all
}

// exactValues returns the values of which field must have one when n holds and
// the field is a single string. ok is false when n can hold without, or the
// field is not compared byte by byte.
func exactValues(n *kql.Node, field string) (values []string, ok bool) {
	if t := FieldType(field); t != kql.TypeKeyword && t != kql.TypeFlattened {
		return nil, false
	}
	cover := coverOf(n, func(t kql.Term) bool { return isExact(t) && t.Field == field })
	for _, t := range cover {
		values = append(values, t.Value[0])
	}
	return values, cover != nil
}

// coverOf returns conditions that are usable, of which one holds whenever n does; nil
// if there are none.
func coverOf(n *kql.Node, usable func(kql.Term) bool) []kql.Term {
	return kql.Cover(n, func(t kql.Term) int {
		if usable(t) {
			return 1
		}
		return 0
	})
}

// isExact reports whether a condition asks for one exact value of one field.
func isExact(t kql.Term) bool { return !t.Many && t.Op == "" && len(t.Value) == 1 }

// Named returns the ids of the loaded rules, in lower case, that have the id or the
// name, ignoring case. The name of a built-in rule stays a name of the rule that
// replaces it.
func (s *Set) Named(idOrName string) []string { return s.names[strings.ToLower(idOrName)] }
