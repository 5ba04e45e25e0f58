package kql

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// A Map is decoded JSON as a [Document] of which everything is known. Keys with
// dots are the same as nested objects.
type Map map[string]any

// Lookup returns the value of a field.
func (m Map) Lookup(field string) (value any, known bool) {
	value, _ = find(m, field, true, func(any) bool { return false })
	return value, true
}

// All returns the members that are not null.
func (m Map) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for key, v := range m {
			if v != nil && !yield(key, v) {
				return
			}
		}
	}
}

// find looks for path in an object under every way to spell it with dotted keys,
// until a value is enough. With below it collects the parts of an object, too, that
// lie beside it under longer keys.
func find(object map[string]any, path string, below bool, enough valueTest) (found any, done bool) {
	if found = object[path]; found != nil && enough(found) {
		return found, true
	}
	for end, n := 0, 0; ; end++ {
		if n = strings.IndexByte(path[end:], '.'); n < 0 {
			break
		}
		end += n
		if v := object[path[:end]]; v != nil {
			if v, done = descend(v, path[end+1:], below, enough); done {
				return v, true
			}
			found = Combine(found, v)
		}
	}
	if list, ok := found.([]any); !below || found != nil && !container(found) || ok && !slices.ContainsFunc(list, container) {
		return found, false
	}
	for key, v := range object {
		if len(key) > len(path) && key[len(path)] == '.' && key[:len(path)] == path {
			found = Combine(found, map[string]any{key[len(path)+1:]: v})
		}
	}
	return found, enough(found)
}

// container reports whether a value is an object or a list.
func container(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// descend is find in the objects in v.
func descend(v any, path string, below bool, enough valueTest) (value any, done bool) {
	switch v := v.(type) {
	case map[string]any:
		return find(v, path, below, enough)
	case []any:
		var found []any
		for _, e := range v {
			if value, done = descend(e, path, below, enough); done {
				return value, true
			}
			if value != nil {
				found = append(found, value)
			}
		}
		switch len(found) {
		case 0:
			return nil, false
		case 1:
			return found[0], false
		}
		return found, false
	}
	return nil, false
}

// Combine returns the value that two spellings of one key have together: two
// objects are parts of one. It changes neither, and may allocate, because logs
// hardly ever spell a key in two ways.
func Combine(a, b any) any {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	left, ok1 := a.(map[string]any)
	right, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return []any{a, b}
	}
	both := maps.Clone(left)
	for key, v := range right {
		both[key] = Combine(both[key], v)
	}
	return both
}
