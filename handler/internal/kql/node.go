package kql

import (
	"slices"
	"strings"
)

// A Node is a parsed query. It is immutable.
type Node struct {
	kind  kind
	kids  []*Node // of and, or: two or more; of not, nested: one
	field pattern // of a condition its field, nil for free text; of a nested group its path
	op    Op      // of a condition
	value literal // of a condition; empty for Exists
	at    int     // offset in the query of its first condition
}

type kind uint8

const (
	all    kind = iota // the empty query and *:* hold for every document
	is                 // one condition: any value of the field fits
	not                // of a query and its not, exactly one holds
	and                // every kid holds
	or                 // at least one kid holds
	nested             // the kid holds for any single object at the path
)

// An Op is how a value is compared; "" asks whether it fits.
type Op string

// The other operators.
const (
	Less         Op = "<"
	LessEqual    Op = "<="
	Greater      Op = ">"
	GreaterEqual Op = ">="
	// Exists asks whether the field, or for an object any field in it, has a
	// value: null, an empty array and an empty object are none.
	Exists Op = ":*"
)

// Equals returns the condition that a field has a value, in which a star is
// ordinary text.
func Equals(field, value string) *Node {
	return &Node{kind: is, field: pattern{field}, value: literal{pattern: pattern{value}, quoted: true}}
}

func group(k kind, kids ...*Node) *Node { return &Node{kind: k, kids: kids, at: kids[0].at} }

func (n *Node) equal(m *Node) bool {
	return n.kind == m.kind && n.op == m.op && slices.Equal(n.field, m.field) && n.value.equal(m.value) &&
		slices.EqualFunc(n.kids, m.kids, (*Node).equal)
}

// inside returns the path of the nested group that the kids of n are in.
func (n *Node) inside(base string) string {
	if n.kind != nested {
		return base
	}
	return join(base, n.field.text())
}

func join(base, name string) string {
	if base == "" {
		return name
	}
	return base + "." + name
}

// A pattern is a field name or a value after its escapes were resolved, as the text
// between its wildcards: "ab*c" is {"ab", "c"}. Without a wildcard it has one part.
// A star that was quoted or escaped is ordinary text in its part.
type pattern []string

func (p pattern) wildcard() bool { return len(p) > 1 }

// text returns p with a plain star for each wildcard.
func (p pattern) text() string { return strings.Join(p, "*") }

// lone reports whether p is a single star.
func (p pattern) lone() bool { return len(p) == 2 && p[0] == "" && p[1] == "" }

// A literal is a value as it is written.
type literal struct {
	pattern
	// quoted marks a value in double quotes: a phrase on text fields, the same
	// as unquoted everywhere else.
	quoted bool
	// null marks the bare word null as a value. No document has such a value.
	null bool
}

func (l literal) equal(m literal) bool {
	return l.quoted == m.quoted && l.null == m.null && slices.Equal(l.pattern, m.pattern)
}
