package kql

import (
	"fmt"
	"strings"
	"time"
)

// A compiler resolves a query in one walk, into terms; what is matched and what
// Lint reports are both made of them.
type compiler struct{ Options }

func newCompiler(o Options) *compiler {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &compiler{o}
}

// A term is a node with what the types of fields make of it.
type term struct {
	*Node
	terms []*term // the kids
	base  string  // path of the nested group around it
	full  string  // full name of the field or path
	typ   Type
	keyed bool   // the field is below a flattened one
	dead  string // why the condition or nested group can never hold
}

func (c *compiler) resolve(n *Node, base string) *term {
	t := &term{Node: n, base: base, terms: make([]*term, len(n.kids))}
	if n.field != nil {
		t.full = join(base, n.field.text())
	}
	for i, k := range n.kids {
		t.terms[i] = c.resolve(k, n.inside(base))
	}
	switch {
	case n.kind == nested && n.field.wildcard():
		t.dead = "the path of a nested group takes no wildcard"
	case n.kind == nested && c.Type != nil:
		t.typ = c.Type(t.full)
	case n.kind != is:
	case n.value.null && n.field == nil:
		t.dead = "null is no value"
	case n.value.null:
		t.dead = fmt.Sprintf("null is no value; write not %s:* to ask for a missing field", n.field.text())
	case !t.many():
		visible := true
		if t.typ, t.keyed, visible = resolveType(c.Type, base, t.full); !visible {
			t.dead = fmt.Sprintf("%q lies in nested objects; ask inside a group, path:{...}", t.full)
		} else if n.op != Exists && !byText(t.typ) && c.test(t.typ, false, t) == nil {
			t.dead = t.deadReason()
		}
	}
	return t
}

// many reports whether the condition is on all fields or on a pattern of names.
func (t *term) many() bool { return t.field == nil || t.field.wildcard() }

// certain reports whether t holds for every document.
func (t *term) certain() bool {
	return t.kind == all || t.kind == is && t.field == nil && t.value.lone()
}

// pattern reports whether the stars of the value are wildcards; those of the
// bound of a range are not.
func (t *term) pattern() bool { return t.op == "" && t.value.wildcard() }

// deadReason returns why no value of a field of the type meets the condition.
func (t *term) deadReason() string {
	text := t.value.text()
	if t.pattern() {
		return fmt.Sprintf("a field of type %s takes no wildcard", t.typ)
	}
	switch t.typ {
	case TypeIP:
		return fmt.Sprintf("%q is no address or network, but the field is of type ip", text)
	case TypeLong, TypeDouble:
		if _, ok := parseNumber(text); ok {
			return fmt.Sprintf("%s is no whole number, but the field holds only those", text)
		}
		return fmt.Sprintf("%q is no number, but the field is of type %s", text, t.typ)
	case TypeBoolean:
		return fmt.Sprintf("%q is neither true nor false (in lower case), but the field is of type boolean", text)
	case TypeDate:
		return fmt.Sprintf("%q is no date, but the field is of type date", text)
	}
	return fmt.Sprintf("there is no word in %q", text)
}

// wanted prints what t asks of its field.
func (t *term) wanted() string {
	var p printer
	p.condition(t.Node, true)
	return strings.TrimSpace(p.String())
}

func (c *compiler) compile(t *term) matcher {
	switch {
	case t.dead != "" || t.certain():
		return constant{truth(t.dead == ""), t}
	case t.kind == and:
		return junction{c.compileAll(t.terms), False}
	case t.kind == or:
		return c.or(t)
	case t.kind == not:
		return negation{c.compile(t.terms[0])}
	case t.kind == nested:
		return &nestedGroup{term: t, inner: c.compile(t.terms[0])}
	case t.many():
		return c.manyFields(t)
	}
	return c.oneField(t)
}

func (c *compiler) compileAll(ts []*term) []matcher {
	ms := make([]matcher, len(ts))
	for i, t := range ts {
		ms[i] = c.compile(t)
	}
	return ms
}

// or compiles alternatives. Those on one field become a single look-up of the
// field; with arrays, too, any value that fits any alternative is enough.
func (c *compiler) or(t *term) matcher {
	var ms []matcher
	var alike [][]*term // alternatives on one field
	place := map[string]int{}
	var add func(*term)
	add = func(t *term) {
		i, known := place[t.full]
		switch {
		case t.kind == or:
			for _, k := range t.terms {
				add(k)
			}
		case t.kind != is || t.many() || t.op == Exists || t.dead != "":
			ms = append(ms, c.compile(t))
		case known:
			alike[i] = append(alike[i], t)
		default:
			place[t.full] = len(alike)
			alike = append(alike, []*term{t})
		}
	}
	add(t)
	fields := make([]matcher, 0, len(alike)+len(ms))
	for _, ts := range alike {
		fields = append(fields, c.oneField(ts...))
	}
	if ms = append(fields, ms...); len(ms) == 1 {
		return ms[0]
	}
	return junction{ms, True}
}

// oneField compiles conditions on one field, of which one value must meet any.
func (c *compiler) oneField(ts ...*term) matcher {
	t := ts[0]
	m := &oneField{terms: ts, name: t.field.text(), below: t.op == Exists || t.typ == TypeFlattened && !t.keyed}
	if m.test = present; t.op != Exists {
		m.test = c.test(t.typ, c.folds(t.full), ts...)
	}
	if m.fits = m.test; m.below {
		m.fits = m.anyFits
	}
	if t.op == Exists && c.Type != nil && t.typ != TypeFlattened {
		m.objects = c.manyFields(t)
	}
	return m
}

// manyFields compiles a condition on every field whose name fits, or on those
// below an object.
func (c *compiler) manyFields(t *term) *manyFields {
	m := &manyFields{term: t, types: c.Type}
	if t.field.wildcard() {
		m.name = newNamePattern(t.field)
		if i := strings.LastIndexByte(t.field[0], '.'); i > 0 {
			m.root = t.field[0][:i]
		}
	}
	if c.FoldCase != nil && t.op != Exists {
		m.fold = c.FoldCase
	}
	for typ := range numTypes {
		for folded := range m.tests[typ] {
			if m.tests[typ][folded] = present; t.op != Exists {
				m.tests[typ][folded] = c.test(typ, folded == 1, t)
			}
		}
	}
	return m
}

func (c *compiler) folds(field string) bool { return c.FoldCase != nil && c.FoldCase(field) }

// resolveType looks up the type of a field. A field below a flattened one is
// keyed: its values are keywords. Objects of a nested type are visible only
// inside a group on their path.
func resolveType(types func(string) Type, base, full string) (typ Type, keyed, visible bool) {
	if types == nil {
		return TypeUnknown, false, true
	}
	for i := len(base); i < len(full); i++ {
		if full[i] != '.' || i == len(base) && base != "" {
			continue
		}
		switch types(full[:i]) {
		case TypeNested:
			return TypeNested, false, false
		case TypeFlattened:
			return TypeFlattened, true, true
		}
	}
	typ = types(full)
	return typ, false, typ != TypeNested
}

// test compiles conditions, any of which a value must meet, for a type; nil if
// no value does. Several exact values become one test.
func (c *compiler) test(typ Type, fold bool, ts ...*term) valueTest {
	var exact []string
	var tests []valueTest
	for _, t := range ts {
		if byText(typ) && t.op == "" && !t.value.null && !t.value.wildcard() {
			exact = append(exact, t.value.text())
		} else if test := c.single(typ, fold, t); test != nil {
			tests = append(tests, test)
		}
	}
	if len(exact) > 0 {
		tests = append(tests, exactTest(typ, fold, exact))
	}
	return anyOfTests(tests)
}

// single compiles one condition for a type.
func (c *compiler) single(typ Type, fold bool, t *term) valueTest {
	text := t.value.text()
	switch {
	case t.value.null:
		return nil
	case typ == TypeText:
		return analysedTest(t.op, t.value)
	case byText(typ) && t.pattern():
		return textOrNumber(typ, newPattern(t.value.pattern, fold), nil, false, false)
	case byText(typ):
		return rangeTest(typ, t.op, text)
	case t.pattern():
		return nil
	case typ == TypeIP:
		return ipTest(t.op, text)
	case typ == TypeBoolean:
		return booleanTest(t.op, text)
	case typ == TypeDate:
		return dateTest(t.op, text, c.Now)
	}
	return numberTest(typ, t.op, text)
}
