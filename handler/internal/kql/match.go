package kql

import "maps"

// A matcher is one node of a compiled query.
type matcher interface {
	match(doc map[string]any) bool
}

type constant bool

func (c constant) match(map[string]any) bool { return bool(c) }

type allOf []matcher

func (ms allOf) match(doc map[string]any) bool {
	for _, m := range ms {
		if !m.match(doc) {
			return false
		}
	}
	return true
}

type anyOf []matcher

func (ms anyOf) match(doc map[string]any) bool {
	for _, m := range ms {
		if m.match(doc) {
			return true
		}
	}
	return false
}

type negation struct{ matcher }

func (n negation) match(doc map[string]any) bool { return !n.matcher.match(doc) }

// onePath tests the values of one field.
type onePath struct {
	path  string
	below bool // the values of everything below the path count, too
	test  valueTest
}

func (m *onePath) match(doc map[string]any) bool { return m.walk(doc, m.path) }

// walk looks for path in doc under every way to spell it with dotted keys.
func (m *onePath) walk(doc map[string]any, path string) bool {
	if v, ok := doc[path]; ok && m.value(v) {
		return true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if v, ok := doc[path[:i]]; ok && m.descend(v, path[i+1:]) {
			return true
		}
	}
	if m.below {
		for key, v := range doc {
			if _, ok := prefixed(key, path); ok && m.value(v) {
				return true
			}
		}
	}
	return false
}

func (m *onePath) descend(v any, path string) bool {
	switch v := v.(type) {
	case map[string]any:
		return m.walk(v, path)
	case []any:
		for _, e := range v {
			if m.descend(e, path) {
				return true
			}
		}
	}
	return false
}

func (m *onePath) value(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		if m.below {
			for _, e := range v {
				if m.value(e) {
					return true
				}
			}
		}
		return false
	case []any:
		for _, e := range v {
			if m.value(e) {
				return true
			}
		}
		return false
	case []string:
		for _, e := range v {
			if m.test.test(e) {
				return true
			}
		}
		return false
	}
	return m.test.test(v)
}

// manyFields tests the values of all fields whose names fit a pattern.
type manyFields struct {
	name  []string // pattern as in Literal.Parts, nil for all fields
	base  string   // path of the nested group that the names are relative to
	types func(string) Type
	fold  func(string) bool
	tests [numTypes][2]valueTest // by type, plain and with folded case
}

// nameSpace is room for a field name on the stack; longer ones are allocated.
const nameSpace = 256

func (m *manyFields) match(doc map[string]any) bool {
	var space [nameSpace]byte
	name := append(space[:0], m.base...)
	return m.walk(doc, name, nil)
}

// walk tests what lies in v, which is called name. A test from above, of a
// flattened field that fits, holds for everything in it.
func (m *manyFields) walk(v any, name []byte, above valueTest) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		if above == nil && m.types != nil && len(name) > len(m.base) && m.fits(name) {
			full := string(name)
			if typ, _, visible := resolve(m.types, m.base, full); visible && typ == TypeFlattened {
				above = m.testFor(TypeFlattened, full)
			}
		}
		for key, e := range v {
			child := name
			if len(child) > 0 {
				child = append(child, '.')
			}
			if m.walk(e, append(child, key...), above) {
				return true
			}
		}
		return false
	case []any:
		for _, e := range v {
			if m.walk(e, name, above) {
				return true
			}
		}
		return false
	case []string:
		test := m.leaf(name, above)
		for _, e := range v {
			if test != nil && test.test(e) {
				return true
			}
		}
		return false
	}
	test := m.leaf(name, above)
	return test != nil && test.test(v)
}

// leaf returns the test for the field called name, nil if it is not meant.
func (m *manyFields) leaf(name []byte, above valueTest) valueTest {
	switch {
	case above != nil:
		return above
	case !m.fits(name):
		return nil
	case m.types == nil && m.fold == nil:
		return m.tests[TypeUnknown][0]
	}
	full := string(name)
	typ, _, visible := resolve(m.types, m.base, full)
	if !visible {
		return nil
	}
	return m.testFor(typ, full)
}

func (m *manyFields) testFor(typ Type, full string) valueTest {
	if m.fold != nil && m.fold(full) {
		return m.tests[typ][1]
	}
	return m.tests[typ][0]
}

func (m *manyFields) fits(name []byte) bool {
	if m.name == nil {
		return true
	}
	if m.base != "" {
		name = name[len(m.base)+1:]
	}
	return fitsName(m.name, name)
}

// nestedGroup tests each object at a path by itself.
type nestedGroup struct {
	path  string
	inner matcher
}

func (m *nestedGroup) match(doc map[string]any) bool { return m.walk(doc, m.path) }

func (m *nestedGroup) walk(doc map[string]any, path string) bool {
	v := doc[path]
	if dotted := m.dotted(doc, path); dotted != nil {
		// {"n.a": 1} is an object at n as well: the rare case that allocates.
		if object, ok := v.(map[string]any); ok {
			maps.Copy(dotted, object)
			v = nil
		}
		if m.inner.match(dotted) {
			return true
		}
	}
	if m.object(v) {
		return true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if v, ok := doc[path[:i]]; ok && m.descend(v, path[i+1:]) {
			return true
		}
	}
	return false
}

// dotted collects the members of the object at path that are spelled with
// dotted keys.
func (m *nestedGroup) dotted(doc map[string]any, path string) map[string]any {
	var object map[string]any
	for key, v := range doc {
		if rest, ok := prefixed(key, path); ok {
			if object == nil {
				object = map[string]any{}
			}
			object[rest] = v
		}
	}
	return object
}

func (m *nestedGroup) descend(v any, path string) bool {
	switch v := v.(type) {
	case map[string]any:
		return m.walk(v, path)
	case []any:
		for _, e := range v {
			if m.descend(e, path) {
				return true
			}
		}
	}
	return false
}

func (m *nestedGroup) object(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return m.inner.match(v)
	case []any:
		for _, e := range v {
			if m.object(e) {
				return true
			}
		}
	}
	return false
}
