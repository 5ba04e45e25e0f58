package kql

import (
	"slices"
	"strings"
)

// A Node is one of [And], [Or], [Not], [Is], [Exists], [Range], [Nested],
// [FreeText] and [MatchAll]. Nodes are plain values without positions, so that
// two trees can be compared.
//
// String prints canonical KQL. For a tree made by [Parse] the text parses to an
// equal tree. A list such as a:(x or y) is a tree of conditions on one field
// and is printed as a list again.
type Node interface {
	String() string
	node()
}

// And holds when all Nodes hold.
type And struct{ Nodes []Node }

// Or holds when at least one of Nodes holds.
type Or struct{ Nodes []Node }

// Not holds when Node does not. Of a query and its Not, exactly one holds.
type Not struct{ Node Node }

// Is holds when any value of the field fits Value.
type Is struct{ Field, Value Literal }

// Exists holds when the field, or for an object any field in it, has a value:
// null, an empty array and an empty object are none.
type Exists struct{ Field Literal }

// Range holds when any value of the field lies on the right side of Value.
type Range struct {
	Field Literal
	Op    Op
	Value Literal
}

// Nested holds when Node holds for any single object at Path. Fields in Node
// are named relative to Path.
type Nested struct {
	Path Literal
	Node Node
}

// FreeText holds when any field at all has a value that fits Value.
type FreeText struct{ Value Literal }

// MatchAll always holds: the empty query, or *:*.
type MatchAll struct{}

func (And) node()      {}
func (Or) node()       {}
func (Not) node()      {}
func (Is) node()       {}
func (Exists) node()   {}
func (Range) node()    {}
func (Nested) node()   {}
func (FreeText) node() {}
func (MatchAll) node() {}

// An Op compares a value with the bound of a range.
type Op string

// The operators of a [Range].
const (
	Less         Op = "<"
	LessEqual    Op = "<="
	Greater      Op = ">"
	GreaterEqual Op = ">="
)

// A Literal is a field name or a value after its escapes were resolved.
type Literal struct {
	// Parts is the text between the wildcards: "ab*c" is {"ab", "c"}. A literal
	// without a wildcard has one part. A star that was quoted or escaped is
	// ordinary text in its part.
	Parts []string
	// Quoted marks a value in double quotes: a phrase on text fields, the same
	// as unquoted everywhere else. It is false for field names.
	Quoted bool
	// Null marks the bare word null as a value. No document holds such a value.
	Null bool
}

// Text returns a literal without wildcards.
func Text(s string) Literal { return Literal{Parts: []string{s}} }

// Wildcard reports whether l has a live star.
func (l Literal) Wildcard() bool { return len(l.Parts) > 1 }

// Text returns the text of l with a plain star for each wildcard.
func (l Literal) Text() string { return strings.Join(l.Parts, "*") }

// Equal reports whether l and m are the same literal.
func (l Literal) Equal(m Literal) bool {
	return l.Quoted == m.Quoted && l.Null == m.Null && slices.Equal(l.Parts, m.Parts)
}

// lone reports whether l is a single star.
func (l Literal) lone() bool { return len(l.Parts) == 2 && l.Parts[0] == "" && l.Parts[1] == "" }

// Walk calls f for n and then, while f returns true, for what n is made of, in
// the order of the query.
func Walk(n Node, f func(Node) bool) {
	if n == nil || !f(n) {
		return
	}
	switch n := n.(type) {
	case And:
		for _, c := range n.Nodes {
			Walk(c, f)
		}
	case Or:
		for _, c := range n.Nodes {
			Walk(c, f)
		}
	case Not:
		Walk(n.Node, f)
	case Nested:
		Walk(n.Node, f)
	}
}

func (n And) String() string      { return printed(n) }
func (n Or) String() string       { return printed(n) }
func (n Not) String() string      { return printed(n) }
func (n Is) String() string       { return printed(n) }
func (n Exists) String() string   { return printed(n) }
func (n Range) String() string    { return printed(n) }
func (n Nested) String() string   { return printed(n) }
func (n FreeText) String() string { return printed(n) }
func (MatchAll) String() string   { return "*:*" }

// String prints l as a value.
func (l Literal) String() string {
	var p printer
	p.value(l)
	return p.String()
}

func printed(n Node) string {
	var p printer
	p.query(n, orLevel)
	return p.String()
}

// Levels of the grammar: what may stand at a place without brackets.
const (
	orLevel = iota
	andLevel
	notLevel
	subLevel
)

type printer struct{ strings.Builder }

// query prints n where the grammar expects level.
func (p *printer) query(n Node, level int) {
	if field, ok := listField(n); ok {
		p.field(field)
		p.WriteString(":(")
		p.list(n, orLevel)
		p.WriteByte(')')
		return
	}
	switch n := n.(type) {
	case And:
		p.join(n.Nodes, " and ", MatchAll{}, andLevel, level, p.query)
	case Or:
		p.join(n.Nodes, " or ", Not{MatchAll{}}, orLevel, level, p.query)
	case Not:
		p.not(n, level, p.query)
	case Is:
		p.field(n.Field)
		p.WriteByte(':')
		p.value(n.Value)
	case Exists:
		p.field(n.Field)
		p.WriteString(":*")
	case Range:
		p.field(n.Field)
		p.WriteString(" " + string(n.Op) + " ")
		p.value(n.Value)
	case Nested:
		p.field(n.Path)
		p.WriteString(":{")
		p.query(n.Node, orLevel)
		p.WriteByte('}')
	case FreeText:
		p.value(n.Value)
	default: // MatchAll; nil counts as no condition
		p.WriteString("*:*")
	}
}

// list prints n, all of whose conditions are on one field, inside the brackets
// of a list.
func (p *printer) list(n Node, level int) {
	switch n := n.(type) {
	case And:
		p.join(n.Nodes, " and ", nil, andLevel, level, p.list)
	case Or:
		p.join(n.Nodes, " or ", nil, orLevel, level, p.list)
	case Not:
		p.not(n, level, p.list)
	case Is:
		p.value(n.Value)
	case Exists:
		p.WriteByte('*')
	}
}

func (p *printer) join(nodes []Node, word string, empty Node, own, level int, print func(Node, int)) {
	switch len(nodes) {
	case 0: // never parsed, but a tree built by hand should print what it means
		print(empty, level)
		return
	case 1:
		print(nodes[0], level)
		return
	}
	if level > own {
		p.WriteByte('(')
		defer p.WriteByte(')')
	}
	for i, n := range nodes {
		if i > 0 {
			p.WriteString(word)
		}
		print(n, own+1)
	}
}

func (p *printer) not(n Not, level int, print func(Node, int)) {
	if level > notLevel {
		p.WriteByte('(')
		defer p.WriteByte(')')
	}
	p.WriteString("not ")
	print(n.Node, subLevel)
}

// listField returns the field that all conditions of n are on, if n is a group
// of two or more that can be written as a list.
func listField(n Node) (Literal, bool) {
	var nodes []Node
	switch n := n.(type) {
	case And:
		nodes = n.Nodes
	case Or:
		nodes = n.Nodes
	}
	if len(nodes) < 2 {
		return Literal{}, false
	}
	var field Literal
	first, ok := true, true
	Walk(n, func(n Node) bool {
		var f Literal
		switch n := n.(type) {
		case And:
			ok = ok && len(n.Nodes) > 0
			return ok
		case Or:
			ok = ok && len(n.Nodes) > 0
			return ok
		case Not:
			return ok
		case Is:
			f = n.Field
		case Exists:
			f = n.Field
		default:
			ok = false
			return false
		}
		if first {
			field, first = f, false
		}
		ok = ok && field.Equal(f)
		return ok
	})
	return field, ok && !first
}

// field prints a field name: unquoted where that is possible.
func (p *printer) field(l Literal) {
	if text := l.Text(); !l.Wildcard() && (text == "" || text == "null" || trim(text) != text) {
		p.quoted(text)
		return
	}
	p.unquoted(l)
}

func (p *printer) value(l Literal) {
	text := l.Text()
	switch {
	case l.Null:
		p.WriteString("null")
	case l.Wildcard():
		p.unquoted(l)
	case l.Quoted, text == "null", trim(text) != text:
		p.quoted(text)
	case text == "":
		p.WriteString(`\u0020`) // trimmed away when parsed: the only unquoted way
	default:
		p.unquoted(l)
	}
}

func (p *printer) quoted(s string) {
	p.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			p.WriteByte('\\')
			p.WriteByte(c)
		default:
			if !p.blank(c) {
				p.WriteByte(c)
			}
		}
	}
	p.WriteByte('"')
}

// blank writes c if it is a line break or tab, as its escape.
func (p *printer) blank(c byte) bool {
	switch c {
	case '\t':
		p.WriteString(`\t`)
	case '\r':
		p.WriteString(`\r`)
	case '\n':
		p.WriteString(`\n`)
	default:
		return false
	}
	return true
}

// unquoted writes l so that it ends nowhere early whatever follows it: words
// that would be operators are escaped. "not" is spelled with a Unicode escape,
// because \n is a line feed.
func (p *printer) unquoted(l Literal) {
	for i, s := range l.Parts {
		if i > 0 {
			p.WriteByte('*')
		}
		for j := 0; j < len(s); {
			switch {
			case isSpecial(s[j]):
				p.WriteByte('\\')
				p.WriteByte(s[j])
				j++
			case p.blank(s[j]):
				j++
			case strings.HasPrefix(s[j:], nbsp):
				p.WriteString(`\u00a0`)
				j += len(nbsp)
			case word(s[j:], "not") && p.ends(l, i, j+3):
				p.WriteString(map[byte]string{'n': `\u006e`, 'N': `\u004e`}[s[j]])
				j++
			case word(s[j:], "or") && p.begins(l, i, j) && p.ends(l, i, j+2),
				word(s[j:], "and") && p.begins(l, i, j) && p.ends(l, i, j+3):
				p.WriteByte('\\')
				p.WriteByte(s[j])
				j++
			default:
				p.WriteByte(s[j])
				j++
			}
		}
	}
}

// begins reports whether byte j of part i starts l or follows a blank.
func (p *printer) begins(l Literal, i, j int) bool {
	if j == 0 {
		return i == 0
	}
	return l.Parts[i][j-1] == ' '
}

// ends reports whether byte j of part i is the end of l or a blank.
func (p *printer) ends(l Literal, i, j int) bool {
	if j == len(l.Parts[i]) {
		return i == len(l.Parts)-1
	}
	return l.Parts[i][j] == ' '
}
