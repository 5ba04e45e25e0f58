package kql

import "slices"

// canonical prints a query so that it parses to an equal tree: the property that
// random and fuzzed queries are tested with. Conditions on one field are printed
// as a list, a:(x or y).
func canonical(n *Node) string {
	var p printer
	p.tree(n, or, false)
	return p.String()
}

// tree prints n where the grammar expects level: or, and, not, or is for what
// needs no brackets. In a list, conditions are printed without their field.
func (p *printer) tree(n *Node, level kind, list bool) {
	if n.kind == and || n.kind == or {
		if field, ok := n.onField(); ok && !list {
			p.field(field)
			p.WriteString(":(")
			p.tree(n, or, true)
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
			p.tree(k, operand, list)
		}
	case not:
		p.WriteString("not ")
		p.tree(n.kids[0], is, list)
	case is:
		p.condition(n, list)
	case nested:
		p.field(n.field)
		p.WriteString(":{")
		p.tree(n.kids[0], or, false)
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

// onField returns the field that all conditions of n are on, if n can be written
// as a list.
func (n *Node) onField() (field pattern, ok bool) {
	switch n.kind {
	case is:
		return n.field, n.field != nil && (n.op == "" || n.op == Exists)
	case and, or, not:
		field, ok = n.kids[0].onField()
		for _, k := range n.kids[1:] {
			f, alike := k.onField()
			ok = ok && alike && slices.Equal(f, field)
		}
	}
	return field, ok
}
