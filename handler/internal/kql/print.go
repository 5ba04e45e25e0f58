package kql

import "strings"

// String prints canonical KQL, which parses to an equal tree. Conditions on one
// field are printed as a list, a:(x or y).
func (n *Node) String() string {
	var p printer
	p.query(n, or, false)
	return p.String()
}

type printer struct{ strings.Builder }

// query prints n where the grammar expects level: or, and, not, or is for what
// needs no brackets. In a list, conditions are printed without their field.
func (p *printer) query(n *Node, level kind, list bool) {
	if n.kind == and || n.kind == or {
		if field, ok := n.onField(); ok && !list {
			p.field(field)
			p.WriteString(":(")
			p.query(n, or, true)
			p.WriteByte(')')
			return
		}
	}
	if rank(n.kind) < rank(level) {
		p.WriteByte('(')
		defer p.WriteByte(')')
	}
	switch n.kind {
	case and, or:
		word, operand := " and ", not
		if n.kind == or {
			word, operand = " or ", and
		}
		for i, k := range n.kids {
			if i > 0 {
				p.WriteString(word)
			}
			p.query(k, operand, list)
		}
	case not:
		p.WriteString("not ")
		p.query(n.kids[0], is, list)
	case is:
		p.condition(n, list)
	case nested:
		p.field(n.field)
		p.WriteString(":{")
		p.query(n.kids[0], or, false)
		p.WriteByte('}')
	default:
		p.WriteString("*:*")
	}
}

// rank orders kinds by how tightly the grammar binds them.
func rank(k kind) int {
	switch k {
	case or:
		return 0
	case and:
		return 1
	case not:
		return 2
	}
	return 3
}

func (p *printer) condition(n *Node, list bool) {
	named := n.field.parts != nil && !list
	if named {
		p.field(n.field)
	}
	switch {
	case n.op == Exists && list:
		p.WriteByte('*')
	case n.op == Exists:
		p.WriteString(":*")
	case n.op != "":
		p.WriteString(" " + string(n.op) + " ")
		p.value(n.value)
	default:
		if named {
			p.WriteByte(':')
		}
		p.value(n.value)
	}
}

// onField returns the field that all conditions of n are on, if n can be written
// as a list.
func (n *Node) onField() (field literal, ok bool) {
	switch n.kind {
	case is:
		return n.field, n.field.parts != nil && (n.op == "" || n.op == Exists)
	case and, or, not:
		field, ok = n.kids[0].onField()
		for _, k := range n.kids[1:] {
			f, alike := k.onField()
			ok = ok && alike && f.equal(field)
		}
	}
	return field, ok
}

// field prints a field name: unquoted where that is possible.
func (p *printer) field(l literal) {
	if text := l.text(); !l.wildcard() && (text == "" || text == "null" || trim(text) != text) {
		p.quoted(text)
		return
	}
	p.unquoted(l)
}

func (p *printer) value(l literal) {
	text := l.text()
	switch {
	case l.null:
		p.WriteString("null")
	case l.wildcard():
		p.unquoted(l)
	case l.quoted, text == "null", trim(text) != text:
		p.quoted(text)
	case text == "":
		p.WriteString(`\u0020`) // trimmed away when parsed: the only unquoted way
	default:
		p.unquoted(l)
	}
}

var (
	quotedText   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`)
	unquotedText = strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`, `:`, `\:`, `<`, `\<`, `>`, `\>`, `"`, `\"`, `*`, `\*`,
		`{`, `\{`, `}`, `\}`, "\t", `\t`, "\r", `\r`, "\n", `\n`, nbsp, `\u00a0`)
)

func (p *printer) quoted(s string) { p.WriteString(`"` + quotedText.Replace(s) + `"`) }

// unquoted writes l so that it ends nowhere early whatever follows it: words
// that would be operators are escaped. "not" is spelled with a Unicode escape,
// because \n is a line feed.
func (p *printer) unquoted(l literal) {
	for i, s := range l.parts {
		if i > 0 {
			p.WriteByte('*')
		}
		start := 0
		for j := range len(s) {
			begins := j == 0 && i == 0 || j > 0 && s[j-1] == ' '
			switch ends := func(n int) bool { return j+n == len(s) && i == len(l.parts)-1 || j+n < len(s) && s[j+n] == ' ' }; {
			case word(s[j:], "not") && ends(3), word(s[j:], "and") && begins && ends(3), word(s[j:], "or") && begins && ends(2):
				p.WriteString(unquotedText.Replace(s[start:j]))
				start = j
				if s[j] == 'n' {
					p.WriteString(`\u006e`)
					start++
				} else {
					p.WriteByte('\\')
				}
			}
		}
		p.WriteString(unquotedText.Replace(s[start:]))
	}
}
