// Package kql parses, compiles and evaluates Kibana Query Language (KQL).
//
// The grammar is Kibana's current one with all its oddities, read by a
// recursive-descent parser in time linear in the length of the query. What a
// query means depends on the types of its fields, as in Elasticsearch.
//
// Every mistake is found by [Parse]. A [Query] is immutable and safe for
// concurrent use, and evaluation cannot fail. Where Elasticsearch would refuse a
// condition (letters compared with a number, say) the condition never holds and
// [Lint] reports it.
package kql

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// A Document is what a query is asked of. Values are those of decoded JSON: nil,
// bool, string, json.Number, []any, map[string]any; values of other types count
// as null. A query does not change them.
type Document interface {
	// Lookup returns the value of a field by its full dotted name: nil when the
	// document lacks the field, an object for the fields below a name, a list
	// for several values. known is false when some of the value is not known,
	// because it was truncated, withheld or not looked up; value is then what is
	// known of it.
	Lookup(field string) (value any, known bool)
	// All returns the fields with a value under their full names, objects as
	// one value or field by field; and, with the value nil, those of which some
	// is not known: under the name of an object any field below it, under ""
	// any field. It serves free text and names that begin with a wildcard.
	All() iter.Seq2[string, any]
}

// Truth is the outcome of a query after Kleene: Unknown when it depends on what
// is not known of the document.
type Truth uint8

// The truth values, in the order in which "and" takes the least.
const (
	False Truth = iota
	Unknown
	True
)

// truth is True or False.
func truth(holds bool) Truth {
	if holds {
		return True
	}
	return False
}

// Options are what is not in the text of a query. A nil function means:
// nothing special about any field, and the real clock. The functions must be
// safe for concurrent use and give the same answer every time; Now may not.
type Options struct {
	// Type returns the type of a field by its full dotted name. It is also
	// asked about the objects above a field.
	Type func(field string) Type
	// FoldCase reports whether values of a keyword field compare without regard
	// to case, in exact terms and patterns. Elasticsearch never does that.
	FoldCase func(field string) bool
	// MissingUnknown makes a condition on a missing field Unknown in
	// [Query.Judge], and so its negation: what is missing is no evidence. A
	// condition that may be met by many fields is then never False, because any
	// of them may be missing. The condition field:* still asks for presence, and
	// not field:* for absence.
	MissingUnknown bool
	// Now is the clock for date mathematics such as now-5m, read when a
	// document is evaluated.
	Now func() time.Time
}

// A Query is a compiled query.
type Query struct {
	root matcher
	view view
}

// Compile resolves names, values, networks and dates of n once. It never fails:
// a condition that its field's type cannot meet is one that never holds.
func Compile(n *Node, o Options) *Query {
	c := newCompiler(o)
	q := &Query{root: c.compile(c.resolve(n, "")), view: whatIsKnown}
	if o.MissingUnknown {
		q.view = whatIsThere
	}
	return q
}

// Match reports whether d meets the query as in Kibana, where what is not known
// or missing meets no condition. Of a query and its negation exactly one matches.
func (q *Query) Match(d Document) bool { return q.root.judge(d, asKibana) == True }

// Judge reports whether d meets the query: True or False only if this holds
// whatever the value of what is not known.
func (q *Query) Judge(d Document) Truth { return q.root.judge(d, q.view) }

// A Reason is the condition that decided a query.
type Reason struct {
	Field  string // full name; "" for free text
	Wanted string // what the query asks of it, in KQL without the field
	Found  string // the value in quotes, or: nothing, not known
}

// Explain returns the condition that decided the outcome of [Query.Judge]: of an
// "and" the first that did not hold, of an "or" one that did, else that of the
// alternative of which most held before it.
func (q *Query) Explain(d Document) Reason { return q.root.explain(d, q.view) }

// Misses returns how many conditions of the query, joined by "and", are not True: how
// far d is from meeting it.
func (q *Query) Misses(d Document) int {
	n := 0
	for _, m := range conditions(q.root) {
		if m.judge(d, q.view) != True {
			n++
		}
	}
	return n
}

// String writes a reason for a person.
func (r Reason) String() string {
	switch {
	case r.Field == "":
		return r.Wanted
	case r.Found == "":
		return r.Field + " wants " + r.Wanted
	}
	return r.Field + " wants " + r.Wanted + ", found " + r.Found
}

// A Term is one condition of a query.
type Term struct {
	Field string   // full name; "" for free text
	Many  bool     // Field has wildcards, or is "": the condition is on many fields
	Op    Op       // "" for a value or pattern
	Value []string // text between wildcards: one element for a plain value, none for null and for Exists
}

// A Condition is a Term and its place in the query.
type Condition struct {
	Term
	Offset  int  // in bytes
	Negated bool // the query holds where the condition does not: it is below an odd number of "not"
}

// Conditions returns the conditions of n in the order of the query.
func Conditions(n *Node) []Condition { return n.conditions(nil, "", false) }

func (n *Node) conditions(found []Condition, base string, negated bool) []Condition {
	if n.kind == is {
		found = append(found, Condition{n.term(base), n.at, negated})
	}
	for _, k := range n.kids {
		found = k.conditions(found, n.inside(base), negated != (n.kind == not))
	}
	return found
}

func (n *Node) term(base string) Term {
	t := Term{Many: n.field == nil || n.field.wildcard(), Op: n.op}
	if n.field != nil {
		t.Field = join(base, n.field.text())
	}
	if !n.value.null {
		t.Value = n.value.pattern
	}
	return t
}

// Cover returns conditions of n of which one holds whenever n does. worth rates
// a condition; 0 and less means that it cannot be used. A cover is worth what
// its worst condition is: of the parts of an "and" the best is chosen, and the
// one with the fewest conditions of the best; an "or" needs all its parts. A
// "not" has no cover. Cover returns nil if there is none.
func Cover(n *Node, worth func(Term) int) []Term {
	terms, _ := n.cover("", worth)
	return terms
}

func (n *Node) cover(base string, worth func(Term) int) (terms []Term, least int) {
	switch n.kind {
	case is:
		t := n.term(base)
		if least = worth(t); least > 0 {
			return []Term{t}, least
		}
	case and, nested:
		for _, k := range n.kids {
			own, w := k.cover(n.inside(base), worth)
			if c := cmp.Compare(w, least); c > 0 || c == 0 && len(own) < len(terms) {
				terms, least = own, w
			}
		}
		return terms, least
	case or:
		for i, k := range n.kids {
			own, w := k.cover(base, worth)
			if w <= 0 {
				return nil, 0
			}
			terms = append(terms, own...)
			if i == 0 || w < least {
				least = w
			}
		}
		return terms, least
	}
	return nil, 0
}

// found describes a value for a [Reason].
func found(value any, known bool) string {
	switch text, ok := scalarText(value); {
	case ok:
		return fmt.Sprintf("%q", shortened(text))
	case anyValue(value, true, present):
		return shortened(fmt.Sprint(value))
	case !known:
		return "not known"
	}
	return "nothing"
}

// shortened truncates text that a log may have made long.
func shortened(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// wanted prints conditions on one field, of which one must be met.
func wanted(ts []*term) string {
	texts := make([]string, len(ts))
	for i, t := range ts {
		texts[i] = t.wanted()
	}
	if texts = slices.Compact(texts); len(texts) == 1 {
		return texts[0]
	}
	return "(" + strings.Join(texts, " or ") + ")"
}
