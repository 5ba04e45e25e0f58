package kql

import (
	"slices"
	"strings"
	"time"
)

// Options tell what the query itself does not. A nil function means: nothing
// special about any field, and the real clock. The functions must be safe for
// concurrent use and give the same answer every time; Now may not.
type Options struct {
	// Types returns the type of a field by its full dotted name. It is also
	// asked about the objects above a field.
	Types func(field string) Type
	// FoldCase reports whether values of a keyword field compare without regard
	// to case, in exact terms and patterns. Elasticsearch never does that.
	FoldCase func(field string) bool
	// Now is the clock for date mathematics such as now-5m, read when a
	// document is matched.
	Now func() time.Time
}

// A Query is a compiled query.
type Query struct {
	root   matcher
	fields []string
}

// Compile resolves names, values, networks and dates of n once. It never fails:
// a condition that its field's type cannot meet is one that never holds.
func Compile(n Node, o Options) *Query {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &compiler{Options: o, fields: map[string]bool{}}
	q := &Query{root: c.compile(n)}
	for f := range c.fields {
		q.fields = append(q.fields, f)
	}
	slices.Sort(q.fields)
	return q
}

// Match reports whether doc meets the query. A document is decoded JSON: nil,
// bool, string, json.Number or a Go number, []any, []string, map[string]any;
// values of other types count as null. Keys with dots are the same as nested
// objects. Match does not change doc.
func (q *Query) Match(doc map[string]any) bool { return q.root.match(doc) }

// Fields returns the full names of the fields that the query names, sorted;
// names with wildcards as they stand. Free text names none.
func (q *Query) Fields() []string { return slices.Clone(q.fields) }

type compiler struct {
	Options
	base   string // path of the nested group being compiled, "" outside
	fields map[string]bool
}

// A condition is what a query asks of a single value.
type condition struct {
	op    Op // "" for Is and FreeText
	value Literal
}

func (c *compiler) compile(n Node) matcher {
	switch n := n.(type) {
	case And:
		return allOf(c.compileAll(n.Nodes))
	case Or:
		return c.or(n)
	case Not:
		return negation{c.compile(n.Node)}
	case Is:
		return c.onField(n.Field, condition{value: n.Value})
	case Range:
		return c.onField(n.Field, condition{op: n.Op, value: n.Value})
	case Exists:
		return c.exists(n.Field)
	case Nested:
		return c.nested(n)
	case FreeText:
		if n.Value.lone() {
			return constant(true)
		}
		return c.anyField(nil, condition{value: n.Value})
	}
	return constant(true)
}

func (c *compiler) compileAll(nodes []Node) []matcher {
	ms := make([]matcher, len(nodes))
	for i, n := range nodes {
		ms[i] = c.compile(n)
	}
	return ms
}

// or compiles alternatives. Those on one field become a single look-up of the
// field; with arrays, too, any value that fits any alternative is enough.
func (c *compiler) or(n Or) matcher {
	var ms anyOf
	conditions := map[string][]condition{}
	place := map[string]int{} // where in ms the conditions on a field go
	var add func(Node)
	add = func(n Node) {
		var field Literal
		var cond condition
		switch n := n.(type) {
		case Or:
			for _, m := range n.Nodes {
				add(m)
			}
			return
		case Is:
			field, cond = n.Field, condition{value: n.Value}
		case Range:
			field, cond = n.Field, condition{op: n.Op, value: n.Value}
		}
		if field.Parts == nil || field.Wildcard() {
			ms = append(ms, c.compile(n))
			return
		}
		name := field.Text()
		if _, ok := place[name]; !ok {
			place[name] = len(ms)
			ms = append(ms, nil)
		}
		conditions[name] = append(conditions[name], cond)
	}
	add(n)
	for name, i := range place {
		ms[i] = c.onField(Text(name), conditions[name]...)
	}
	if len(ms) == 1 {
		return ms[0]
	}
	return ms
}

// full returns the full name of a field in the current nested group.
func (c *compiler) full(name string) string {
	if c.base == "" {
		return name
	}
	return c.base + "." + name
}

// onField compiles conditions of which one value of the field must meet any.
func (c *compiler) onField(field Literal, conds ...condition) matcher {
	c.fields[c.full(field.Text())] = true
	if field.Wildcard() {
		return c.anyField(field.Parts, conds[0])
	}
	name := field.Text()
	typ, keyed, visible := resolve(c.Types, c.base, c.full(name))
	if !visible {
		return constant(false)
	}
	test := c.test(typ, c.foldCase(c.full(name)), conds)
	if test == (never{}) {
		return constant(false)
	}
	return &onePath{path: name, below: typ == TypeFlattened && !keyed, test: test}
}

func (c *compiler) exists(field Literal) matcher {
	name := field.Text()
	c.fields[c.full(name)] = true
	all := &manyFields{base: c.base, types: c.Types}
	for t := range all.tests {
		all.tests[t][0] = present{}
	}
	if field.Wildcard() {
		all.name = field.Parts
		return all
	}
	typ, _, visible := resolve(c.Types, c.base, c.full(name))
	if !visible {
		return constant(false)
	}
	m := &onePath{path: name, below: true, test: present{}}
	if c.Types != nil && typ != TypeFlattened {
		m.full, m.objects = c.full(name), all
	}
	return m
}

func (c *compiler) nested(n Nested) matcher {
	path := n.Path.Text()
	inner := *c
	inner.base = c.full(path)
	m := inner.compile(n.Node)
	if n.Path.Wildcard() {
		return constant(false) // Elasticsearch knows no nested path with a star
	}
	return &nestedGroup{path: path, inner: m}
}

func (c *compiler) foldCase(field string) bool { return c.FoldCase != nil && c.FoldCase(field) }

// anyField compiles a condition on every field whose name fits; nil fits all.
func (c *compiler) anyField(name []string, cond condition) *manyFields {
	m := &manyFields{name: name, base: c.base, types: c.Types, fold: c.FoldCase}
	for t := range numTypes {
		m.tests[t][0] = c.test(t, false, []condition{cond})
		if c.FoldCase != nil {
			m.tests[t][1] = c.test(t, true, []condition{cond})
		}
	}
	return m
}

// resolve looks up the type of a field. A field below a flattened one is keyed:
// its values are keywords. Objects of a nested type are visible only inside a
// group on their path.
func resolve(types func(string) Type, base, full string) (typ Type, keyed, visible bool) {
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

// test compiles conditions, any of which a value must meet, for a type.
func (c *compiler) test(typ Type, fold bool, conds []condition) valueTest {
	var exact []string
	var tests anyTest
	for _, cond := range conds {
		if cond.op == "" && !cond.value.Null && !cond.value.Wildcard() {
			exact = append(exact, cond.value.Text())
		}
	}
	merge := len(exact) > 1 && (typ == TypeUnknown || typ == TypeObject || isKeyword(typ))
	if merge {
		tests = append(tests, exactTest(typ, fold, exact))
	}
	for _, cond := range conds {
		if merge && cond.op == "" && !cond.value.Null && !cond.value.Wildcard() {
			continue
		}
		if t := c.single(typ, fold, cond); t != (never{}) {
			tests = append(tests, t)
		}
	}
	switch len(tests) {
	case 0:
		return never{}
	case 1:
		return tests[0]
	}
	return tests
}

func isKeyword(t Type) bool {
	return t == TypeKeyword || t == TypeWildcard || t == TypeFlattened
}

// exactTest compiles values of which one must be met exactly.
func exactTest(typ Type, fold bool, values []string) valueTest {
	if isKeyword(typ) {
		return keywordTest{exactText(values, fold)}
	}
	t := &unknownTest{text: exactText(values, fold)}
	for _, v := range values {
		if n, ok := parseNumber(v); ok {
			t.numbers = append(t.numbers, numberRange{op: "", bound: n})
		}
		t.yes = t.yes || v == "true"
		t.no = t.no || v == "false"
	}
	return t
}

// single compiles one condition for a type.
func (c *compiler) single(typ Type, fold bool, cond condition) valueTest {
	v := cond.value
	if v.Null || v.Parts == nil {
		return never{}
	}
	if cond.op != "" {
		v = Text(v.Text()) // a bound has no wildcards
	}
	switch typ {
	case TypeText:
		return textTest(cond.op, v)
	case TypeIP, TypeLong, TypeDouble, TypeBoolean, TypeDate:
		if v.Wildcard() {
			return never{}
		}
		switch typ {
		case TypeIP:
			return ipTest(cond.op, v.Text())
		case TypeBoolean:
			return booleanTest(cond.op, v.Text())
		case TypeDate:
			return dateTest(cond.op, v.Text(), c.Now)
		}
		return numberTest(typ, cond.op, v.Text())
	}
	switch {
	case v.Wildcard():
		return patternTest(typ, fold, v.Parts)
	case cond.op == "":
		return exactTest(typ, fold, []string{v.Text()})
	}
	return keywordRangeTest(typ, cond.op, v.Text())
}

// prefixed returns the rest of key if it begins with path and a dot.
func prefixed(key, path string) (string, bool) {
	if len(key) > len(path) && key[len(path)] == '.' && strings.HasPrefix(key, path) {
		return key[len(path)+1:], true
	}
	return "", false
}
