package kql

import (
	"maps"
	"strings"
)

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

	// What is below an object by name, where some of it may be nested and so
	// not visible; nil if all of it counts.
	full    string
	objects *manyFields
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
			if rest, ok := prefixed(key, path); ok && m.valueBelow(v, rest) {
				return true
			}
		}
	}
	return false
}

// valueBelow tests v, which is called rest below the path.
func (m *onePath) valueBelow(v any, rest string) bool {
	if m.objects == nil {
		return m.value(v)
	}
	var space [nameSpace]byte
	name := append(space[:0], m.full...)
	if rest != "" {
		name = append(append(name, '.'), rest...)
	}
	return m.objects.walk(v, name)
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
		if m.objects != nil {
			return m.valueBelow(v, "")
		}
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
	return m.walk(doc, name)
}

// walk tests what lies in v, which is called name.
func (m *manyFields) walk(v any, name []byte) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		for key, e := range v {
			child := name
			if len(child) > 0 {
				child = append(child, '.')
			}
			child = append(child, key...)
			if m.leads(child) && m.walk(e, child) {
				return true
			}
		}
		return false
	case []any:
		for _, e := range v {
			if m.walk(e, name) {
				return true
			}
		}
		return false
	case []string:
		test := m.leaf(name)
		for _, e := range v {
			if test != nil && test.test(e) {
				return true
			}
		}
		return false
	}
	test := m.leaf(name)
	return test != nil && test.test(v)
}

// leaf returns the test for the value called name, nil if it is not meant. A
// value in a flattened field goes by that field's name, too.
func (m *manyFields) leaf(name []byte) valueTest {
	if m.fits(name) {
		if m.types == nil && m.fold == nil {
			return m.tests[TypeUnknown][0]
		}
		full := string(name)
		if typ, _, visible := resolve(m.types, m.base, full); visible {
			return m.testFor(typ, full)
		}
		return nil
	}
	if m.types == nil {
		return nil
	}
	for i := len(m.base) + 1; i < len(name); i++ {
		if name[i] != '.' || !m.fits(name[:i]) {
			continue
		}
		full := string(name[:i])
		if typ, _, visible := resolve(m.types, m.base, full); visible && typ == TypeFlattened {
			return m.testFor(TypeFlattened, full)
		}
	}
	return nil
}

func (m *manyFields) testFor(typ Type, full string) valueTest {
	if m.fold != nil && m.fold(full) {
		return m.tests[typ][1]
	}
	return m.tests[typ][0]
}

func (m *manyFields) fits(name []byte) bool {
	return m.name == nil || fitsName(m.name, m.relative(name))
}

// leads reports whether name, or something below it, may fit. It spares a walk
// through all of the event when a pattern begins with most of a name.
func (m *manyFields) leads(name []byte) bool {
	if m.name == nil {
		return true
	}
	name = m.relative(name)
	n := min(len(name), len(m.name[0]))
	return string(name[:n]) == m.name[0][:n]
}

func (m *manyFields) relative(name []byte) []byte {
	if m.base == "" {
		return name
	}
	return name[len(m.base)+1:]
}

// nestedGroup tests each object at a path by itself.
type nestedGroup struct {
	path  string
	inner matcher
}

func (m *nestedGroup) match(doc map[string]any) bool { return m.walk(doc, m.path) }

func (m *nestedGroup) walk(doc map[string]any, path string) bool {
	head, rest, more := strings.Cut(path, ".")
	v := doc[head]
	for key, e := range doc {
		if tail, ok := prefixed(key, head); ok {
			// Dotted keys may hold parts of one object in several places: put
			// it together. Logs hardly do that, so this may allocate.
			v = combine(v, map[string]any{tail: e})
		}
	}
	if more {
		return m.descend(v, rest)
	}
	return m.object(v)
}

// combine returns the value that two spellings of one key hold together. It
// changes neither.
func combine(a, b any) any {
	if a == nil {
		return b
	}
	left, ok1 := a.(map[string]any)
	right, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return []any{a, b}
	}
	both := maps.Clone(left)
	for key, v := range right {
		both[key] = combine(both[key], v)
	}
	return both
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
