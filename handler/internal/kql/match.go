package kql

import "slices"

// A matcher is one node of a compiled query.
type matcher interface {
	judge(d Document, v view) Truth
	explain(d Document, v view) Reason // of what judge returns
}

// A view is what counts as Unknown.
type view uint8

const (
	asKibana    view = iota // nothing
	whatIsKnown             // what is not known
	whatIsThere             // that, and what is missing
)

type constant struct {
	truth Truth
	*term
}

func (m constant) judge(Document, view) Truth { return m.truth }

// explain names a condition or nested group, and what d has in its place.
func (t *term) explain(d Document, _ view) Reason {
	switch {
	case t.kind == nested:
		value, known := d.Lookup(t.field.text())
		return Reason{t.full, "{...}", found(value, known)}
	case t.kind == is && !t.many():
		value, known := d.Lookup(t.field.text())
		return Reason{t.full, t.wanted(), found(value, known)}
	case t.kind == is && t.field != nil:
		return Reason{Field: t.full, Wanted: t.wanted()}
	}
	return Reason{Wanted: t.String()}
}

// A junction is an "and", which one False decides, or an "or", which one True does.
type junction struct {
	parts    []matcher
	decisive Truth
}

func (j junction) judge(d Document, v view) Truth {
	outcome := True - j.decisive
	for _, m := range j.parts {
		switch t := m.judge(d, v); t {
		case j.decisive:
			return t
		case Unknown:
			outcome = Unknown
		}
	}
	return outcome
}

// explain chooses the first part that makes the outcome. If it takes all of them to
// make it that is, of an "and", the last; of an "or" the one that came furthest.
func (j junction) explain(d Document, v view) Reason {
	outcome := j.judge(d, v)
	furthest, most := matcher(nil), -1
	for _, m := range j.parts {
		if outcome != True-j.decisive && m.judge(d, v) == outcome {
			return m.explain(d, v)
		}
		if n := held(m, d, v); j.decisive == False || n >= most {
			furthest, most = m, n
		}
	}
	return furthest.explain(d, v)
}

// conditions returns the parts of an "and"; anything else is one by itself.
func conditions(m matcher) []matcher {
	if j, ok := m.(junction); ok && j.decisive == False {
		return j.parts
	}
	return []matcher{m}
}

// held counts the conditions of an "and" that hold before the first that does not.
func held(m matcher, d Document, v view) (n int) {
	for _, c := range conditions(m) {
		if c.judge(d, v) != True {
			break
		}
		n++
	}
	return n
}

type negation struct{ matcher }

func (n negation) judge(d Document, v view) Truth { return True - n.matcher.judge(d, v) }

func (n negation) explain(d Document, v view) Reason {
	r := n.matcher.explain(d, v)
	r.Wanted = "not " + r.Wanted
	return r
}

// oneField tests the values of one field.
type oneField struct {
	terms []*term // conditions of which one must be met
	name  string
	below bool // the values of everything below the name count, too
	test  valueTest
	fits  valueTest // ends the search of a Map: test, or anyFits of what is below

	// What is below an object by name, where some of it may be nested and so
	// not visible; nil if all of it counts.
	objects *manyFields
}

func (m *oneField) judge(d Document, v view) Truth {
	value, known, fits := m.lookup(d)
	switch {
	case fits:
		return True
	case v == asKibana:
		return False
	case !known:
		return Unknown
	case v == whatIsThere && m.terms[0].op != Exists && (m.below || !anyValue(value, false, present)):
		return Unknown // with below, what is missing may be any of many fields
	}
	return False
}

func (m *oneField) explain(d Document, v view) Reason {
	r := m.terms[0].explain(d, v)
	r.Wanted = wanted(m.terms)
	return r
}

// lookup returns the value of the field and whether it fits. A [Map] is searched
// only until a value fits.
func (m *oneField) lookup(d Document) (value any, known, fits bool) {
	if object, ok := d.(Map); ok {
		value, fits = find(object, m.name, m.below, m.fits)
		return value, true, fits || !m.below && container(value) && m.anyFits(value)
	}
	value, known = d.Lookup(m.name)
	return value, known, m.anyFits(value)
}

func (m *oneField) anyFits(value any) bool {
	if _, text := value.(string); text {
		return m.test(value)
	}
	if m.objects != nil && value != nil && !anyValue(value, false, present) {
		var space [nameSpace]byte
		return m.objects.walk(value, append(space[:0], m.name...))
	}
	return anyValue(value, m.below, m.test)
}

// anyValue reports whether v or an element of it fits; with below, also what is
// in its objects.
func anyValue(v any, below bool, fits valueTest) bool {
	switch v := v.(type) {
	case nil:
		return false
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return anyValue(e, below, fits) })
	case map[string]any:
		if below {
			for _, e := range v {
				if anyValue(e, below, fits) {
					return true
				}
			}
		}
		return false
	}
	return fits(v)
}

// manyFields tests the values of all fields whose names fit a pattern.
type manyFields struct {
	*term
	name  namePattern // nil for all fields
	root  string      // name of the object that all fields of the pattern are in, "" for none
	types func(string) Type
	fold  func(string) bool
	tests [numTypes][2]valueTest // by type, plain and with folded case
}

// nameSpace is room for a field name on the stack; longer ones are allocated.
const nameSpace = 256

func (m *manyFields) judge(d Document, v view) Truth {
	search := m.everywhere
	if m.root != "" {
		search = m.inRoot
	}
	fits, known := search(d)
	switch {
	case fits:
		return True
	case v == asKibana:
		return False
	case !known, v == whatIsThere && m.op != Exists:
		return Unknown
	}
	return False
}

// inRoot reports whether a field in the root fits, and whether all of it is known.
func (m *manyFields) inRoot(d Document) (fits, known bool) {
	var space [nameSpace]byte
	value, known := d.Lookup(m.root)
	return m.walk(value, append(space[:0], m.root...)), known
}

// everywhere reports whether any field fits, and whether all that may are known.
func (m *manyFields) everywhere(d Document) (fits, known bool) {
	known = true
	for field, value := range d.All() {
		switch name := []byte(field); {
		case !m.leads(name):
		case value == nil:
			known = false
		case m.walk(value, name):
			return true, known
		}
	}
	return false, known
}

// walk tests what lies in v, whose name in d is given.
func (m *manyFields) walk(v any, name []byte) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		for key, e := range v {
			if child := append(append(name, '.'), key...); m.leads(child) && m.walk(e, child) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return m.walk(e, name) })
	}
	test := m.leaf(name)
	return test != nil && anyValue(v, false, test)
}

// leaf returns the test for the value called name, nil if it is not meant. A
// value in a flattened field goes by that field's name, too.
func (m *manyFields) leaf(name []byte) valueTest {
	whole := m.fits(name)
	if m.types == nil && m.fold == nil {
		if whole {
			return m.tests[TypeUnknown][0]
		}
		return nil
	}
	for i := range len(name) + 1 {
		if i < len(name) && (whole || name[i] != '.') || !m.fits(name[:i]) {
			continue
		}
		full := join(m.base, string(name[:i]))
		if typ, _, visible := resolveType(m.types, m.base, full); visible && (i == len(name) || typ == TypeFlattened) {
			if m.fold != nil && m.fold(full) {
				return m.tests[typ][1]
			}
			return m.tests[typ][0]
		}
	}
	return nil
}

func (m *manyFields) fits(name []byte) bool { return m.name == nil || m.name.fits(name) }

// leads reports whether name, or something below it, may fit. It spares a walk
// through all of the event when a pattern begins with most of a name.
func (m *manyFields) leads(name []byte) bool {
	if m.name == nil {
		return true
	}
	n := min(len(name), len(m.name[0]))
	return string(name[:n]) == string(m.name[0][:n])
}

// nestedGroup tests each object at a path by itself.
type nestedGroup struct {
	*term
	inner matcher
}

func (m *nestedGroup) judge(d Document, v view) Truth {
	value, known := d.Lookup(m.field.text())
	most, found := m.objects(value, v)
	if v != asKibana && most == False && (!known || v == whatIsThere && !found) {
		return Unknown
	}
	return most
}

// objects judges the objects in value; found reports whether there is one.
func (m *nestedGroup) objects(value any, v view) (most Truth, found bool) {
	switch value := value.(type) {
	case map[string]any:
		return m.inner.judge(Map(value), v), true
	case []any:
		for _, e := range value {
			t, object := m.objects(e, v)
			most, found = max(most, t), found || object
		}
	}
	return most, found
}
