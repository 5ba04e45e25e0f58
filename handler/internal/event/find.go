package event

import (
	"slices"

	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/kql"
)

// under reports whether path is name or goes on below it, and returns the rest.
func under(path, name string) (rest string, ok bool) {
	switch {
	case name == "" || len(path) < len(name) || path[:len(name)] != name:
		return "", false
	case len(path) == len(name):
		return "", true
	}
	return path[len(name)+1:], path[len(name)] == '.' && len(path) > len(name)+1
}

// find returns what the members have at path, under every way to spell it with
// dots in names. level is how deep their object lies.
func (e *Event) find(members []member, path string, level int) any {
	var found any
	var beside map[string]any // below path by the names of the members alone
	var space [8]int
	seen := space[:0] // lengths of the names that path goes through
	for i := len(members) - 1; i >= 0; i-- {
		m := &members[i]
		if rest, ok := under(path, m.name); ok && !slices.Contains(seen, len(m.name)) {
			seen = append(seen, len(m.name))
			found = kql.Combine(found, e.at(m.value, rest, level))
		} else if rest, ok := under(m.name, path); ok && rest != "" {
			if beside == nil {
				beside = map[string]any{}
			}
			if _, later := beside[rest]; !later {
				beside[rest] = e.value(m.value, level)
			}
		}
	}
	if beside != nil {
		found = kql.Combine(found, beside)
	}
	return found
}

// at returns what a value has at path; level is how deep its container lies.
func (e *Event) at(v jsontext.Value, path string, level int) any {
	switch {
	case path == "":
		return e.value(v, level)
	case level >= maxDepth:
		return nil
	case v.Kind == jsontext.Array:
		var found []any
		for element := range v.Elements(0) {
			if x := e.at(element, path, level+1); x != nil {
				found = append(found, x)
			}
		}
		return several(found)
	case v.Kind == jsontext.Object:
		start := len(e.candidates)
		for name, m := range v.Members(0) {
			_, through := under(path, name)
			_, inside := under(name, path)
			if (through || inside) && complete(m, v.Text) {
				e.candidates = append(e.candidates, member{name: name, value: m})
			}
		}
		found := e.find(e.candidates[start:], path, level+1)
		e.candidates = e.candidates[:start]
		return found
	}
	return nil
}

// findIn is find in decoded JSON.
func findIn(m map[string]any, path string) any {
	value, _ := kql.Map(m).Lookup(path)
	return value
}

// several returns the values of a field: nil, one or a list.
func several(values []any) any {
	switch len(values) {
	case 0:
		return nil
	case 1:
		return values[0]
	}
	return values
}
