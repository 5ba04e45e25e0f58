package kql

import (
	"fmt"
	"slices"
	"strings"
)

// A Warning is something in a valid query that its author hardly meant. Codes:
//
//	never              the query can hold for no document
//	always             the query holds for every document
//	dead               a condition, or one side of an "or", that cannot hold
//	free-text          a: x or y, where y is searched in all fields
//	quoted-star        a star in quotes, which is plain text
//	single-quotes, comma, equals, comment, lucene
//	                   syntax of other languages, plain text here
//	dangling-operator, operator-in-field
//	                   an operator that became part of a value or a name
//	object-value       a value asked of an object
//	nested             a nested group on what is not of type nested
//	flattened-pattern  works here, Elasticsearch refuses it
//	portable-...       fine in Kibana and here, but not for lib/kql, which
//	                   checks Elastic's own rules
type Warning struct {
	Line, Column int // from 1, in characters
	Offset       int // in bytes
	Code         string
	Msg          string
}

// Lint reports what is odd about the query src, in the order of the query. Of a
// query that does not parse it reports nothing.
func Lint(src string, o Options) []Warning {
	l := &linter{}
	p := &parser{src: src, note: l.warn}
	n, err := p.parse()
	if err != nil {
		return nil
	}
	l.tree(newCompiler(o).resolve(n, ""))
	slices.SortStableFunc(l.found, func(a, b Warning) int { return a.Offset - b.Offset })
	var ws []Warning
	for _, w := range l.found {
		if w.Line, w.Column = position(src, w.Offset); !slices.Contains(ws, w) {
			ws = append(ws, w)
		}
	}
	return ws
}

type linter struct{ found []Warning }

func (l *linter) warn(offset int, code, msg string) {
	l.found = append(l.found, Warning{Offset: offset, Code: code, Msg: msg})
}

// tree checks what the query means, as against how it is written.
func (l *linter) tree(root *term) {
	l.conditions(root)
	l.freeText(root)
	if ok, culprit := l.holds(claims{}, []claim{{root, true}}, true); !ok {
		l.warn(culprit.at, "never", "the query can never match: "+culprit.contradiction())
		return
	}
	if root.kind == all {
		return
	}
	if ok, _ := l.holds(claims{}, []claim{{root, false}}, false); !ok {
		l.warn(root.at, "always", "the query matches every document")
	}
}

// contradiction returns why t, at which the query fails, cannot hold.
func (t *term) contradiction() string {
	if t.dead != "" {
		return t.dead
	}
	return fmt.Sprintf("%s contradicts the rest", t)
}

// conditions warns about single conditions and nested groups.
func (l *linter) conditions(t *term) {
	for _, k := range t.terms {
		l.conditions(k)
	}
	switch {
	case t.dead != "":
		l.warn(t.at, "dead", fmt.Sprintf("%s never holds: %s", t, t.dead))
	case t.kind == nested && t.typ != TypeNested && t.typ != TypeUnknown:
		l.warn(t.at, "nested", fmt.Sprintf("%q is of type %s, not nested: Kibana refuses the group", t.full, t.typ))
	case t.kind != is || t.op == Exists:
	case t.typ == TypeObject:
		l.warn(t.at, "object-value", fmt.Sprintf("%q is an object and has no value of its own", t.full))
	case t.typ == TypeFlattened && t.keyed && t.pattern() && !(len(t.value.pattern) == 2 && t.value.pattern[1] == ""):
		l.warn(t.at, "flattened-pattern", fmt.Sprintf("%q lies in a flattened field, where Elasticsearch refuses a star that is not at the end; it works here", t.full))
	}
}

// freeText warns about text without a field among conditions with one.
func (l *linter) freeText(t *term) {
	var named string
	for _, k := range t.terms {
		if f := k.lastField(); f != "" {
			named = f
		}
		if k.kind != is || k.field != nil || named == "" {
			l.freeText(k)
			continue
		}
		op := map[kind]string{and: "and", or: "or"}[t.kind]
		if op == "" {
			continue
		}
		l.warn(k.at, "free-text", fmt.Sprintf("%s has no field and is searched in all of them; for another value of %s write %s:(... %s %s)",
			k, named, named, op, k))
	}
}

// lastField returns the last field that is named in t.
func (t *term) lastField() string {
	for _, k := range slices.Backward(t.terms) {
		if f := k.lastField(); f != "" {
			return f
		}
	}
	return t.full
}

// A claim is a term and whether it shall hold.
type claim struct {
	*term
	truth bool
}

// claims are conditions that shall hold, and others that shall not, at once.
type claims struct{ yes, no []*term }

// holds reports whether all goals may hold together with what is known; false
// is certain, true is not. Each alternative of an "or" is tried against what is
// known, not against the other alternatives. If it is false the culprit is the
// term at which it became clear. With report, alternatives that cannot hold are
// warned about.
func (l *linter) holds(known claims, goals []claim, report bool) (ok bool, culprit *term) {
	known.yes, known.no = slices.Clip(known.yes), slices.Clip(known.no)
	var choices []claim
	for len(goals) > 0 {
		g := goals[0]
		goals = goals[1:]
		switch g.kind {
		case and, or:
			if (g.kind == and) != g.truth {
				choices = append(choices, g)
				continue
			}
			for _, k := range g.terms {
				goals = append(goals, claim{k, g.truth})
			}
		case not:
			goals = append(goals, claim{g.terms[0], !g.truth})
		default:
			if why := l.add(&known, g, report); why != nil {
				return false, why
			}
		}
	}
	for _, c := range choices {
		var dead, culprits []*term
		for _, k := range c.terms {
			if ok, why := l.holds(known, []claim{{k, c.truth}}, report); !ok {
				dead, culprits = append(dead, k), append(culprits, why)
			}
		}
		if len(dead) == len(c.terms) {
			return false, culprits[0]
		}
		for i, k := range dead {
			if why := culprits[i]; report && why.dead == "" {
				l.warn(k.at, "dead", "this alternative can never hold: "+why.contradiction())
			}
		}
	}
	return true, nil
}

// add takes a condition or nested group into what is known. If that is
// impossible it returns the term at fault.
func (l *linter) add(known *claims, c claim, report bool) *term {
	if !c.truth {
		if c.certain() {
			return c.term
		}
		for _, y := range known.yes {
			if implies(y, c.term) {
				return later(y, c.term)
			}
		}
		known.no = append(known.no, c.term)
		return nil
	}
	if c.dead != "" {
		return c.term
	}
	if c.kind == nested { // a nested group: its objects are a world of their own
		if ok, why := l.holds(claims{}, []claim{{c.terms[0], true}}, report); !ok {
			return why
		}
	}
	for _, n := range known.no {
		if implies(c.term, n) {
			return later(n, c.term)
		}
	}
	known.yes = append(known.yes, c.term)
	return nil
}

func later(a, b *term) *term {
	if a.at > b.at {
		return a
	}
	return b
}

// implies reports whether b holds wherever a does; false is not certain.
func implies(a, b *term) bool {
	if a.kind != is || b.kind != is || a.field == nil || b.field == nil {
		return a.equal(b.Node)
	}
	same := slices.Equal(a.field, b.field)
	if b.op == Exists {
		switch {
		case same:
			return true
		case a.field.wildcard():
			return false
		case b.field.wildcard(): // the name of an object may fit when those of its fields do not
			return a.op != Exists && a.typ != TypeFlattened && newNamePattern(b.field).fits([]byte(a.field.text()))
		}
		return strings.HasPrefix(a.field.text(), b.field.text()+".")
	}
	switch {
	case !same || a.op != b.op:
		return false
	case a.value.equal(b.value):
		return true
	case a.op != "" || a.value.wildcard():
		return false
	case b.value.wildcard():
		return isKeyword(a.typ) && newPattern(b.value.pattern, false)(a.value.text())
	}
	return a.typ != TypeText && a.value.text() == b.value.text()
}
