package kql

import (
	"slices"
	"strings"
)

// A Node is a parsed query. It is immutable.
type Node struct {
	kind  kind
	kids  []*Node // of and, or: two or more; of not, nested: one
	field literal // of a condition its field, no parts for free text; of a nested group its path
	op    Op      // of a condition
	value literal // of a condition; no parts for Exists
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
	return &Node{kind: is, field: literal{parts: []string{field}}, value: literal{parts: []string{value}, quoted: true}}
}

func group(k kind, kids ...*Node) *Node { return &Node{kind: k, kids: kids, at: kids[0].at} }

func (n *Node) equal(m *Node) bool {
	return n.kind == m.kind && n.op == m.op && n.field.equal(m.field) && n.value.equal(m.value) && slices.EqualFunc(n.kids, m.kids, (*Node).equal)
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

// A literal is a field name or a value after its escapes were resolved.
type literal struct {
	// parts is the text between the wildcards: "ab*c" is {"ab", "c"}. A literal
	// without a wildcard has one part. A star that was quoted or escaped is
	// ordinary text in its part.
	parts []string
	// quoted marks a value in double quotes: a phrase on text fields, the same
	// as unquoted everywhere else. It is false for field names.
	quoted bool
	// null marks the bare word null as a value. No document has such a value.
	null bool
}

func (l literal) wildcard() bool { return len(l.parts) > 1 }

// text returns l with a plain star for each wildcard.
func (l literal) text() string { return strings.Join(l.parts, "*") }

func (l literal) equal(m literal) bool {
	return l.quoted == m.quoted && l.null == m.null && slices.Equal(l.parts, m.parts)
}

// lone reports whether l is a single star.
func (l literal) lone() bool { return len(l.parts) == 2 && l.parts[0] == "" && l.parts[1] == "" }
