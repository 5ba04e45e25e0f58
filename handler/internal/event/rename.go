package event

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// scalarText is a scalar of decoded JSON as text, "" for anything else.
func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// texts is an array of scalars, or one scalar, as texts.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, e := range list {
		if s := scalarText(e); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func objectIn(m map[string]any, name string) map[string]any {
	o, _ := m[name].(map[string]any)
	return o
}

// either is m[name], or m[capital]: some services capitalise the common names.
func either(m map[string]any, name, capital string) any {
	if v := m[name]; v != nil {
		return v
	}
	return m[capital]
}

// set puts text into m unless it is empty.
func set(m map[string]any, name, value string) {
	if value != "" {
		m[name] = value
	}
}

func drop(m map[string]any, names ...string) {
	for _, name := range names {
		delete(m, name)
	}
}

func rename(m map[string]any, from, to string) {
	if v, ok := m[from]; ok {
		delete(m, from)
		m[to] = v
	}
}

// replace puts f(m[name]) in the place of m[name], if that is there.
func replace(m map[string]any, name string, f func(any) any) {
	if v, ok := m[name]; ok {
		m[name] = f(v)
	}
}

// renamed copies m with other names for its members and without the nulls.
// Where two members come to the same name, the one that had it wins, else the
// one whose old name sorts first: the result does not depend on map order.
func renamed(m map[string]any, name func(string) string) map[string]any {
	out := make(map[string]any, len(m))
	var changed []string
	for k, v := range m {
		switch {
		case v == nil:
		case name(k) == k:
			out[k] = v
		default:
			changed = append(changed, k)
		}
	}
	slices.Sort(changed)
	for _, k := range changed {
		if _, taken := out[name(k)]; !taken {
			out[name(k)] = m[k]
		}
	}
	return out
}

func unchanged(name string) string { return name }

// dictionary returns a function that renames what is in the map.
func dictionary(names map[string]string) func(string) string {
	return func(name string) string {
		if to, ok := names[name]; ok {
			return to
		}
		return name
	}
}

// snakeValue copies v with all names in it in snake case. Text that contains JSON
// is left alone.
func snakeValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := renamed(v, snakeCase)
		for k, e := range out {
			out[k] = snakeValue(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = snakeValue(e)
		}
		return out
	}
	return v
}

// snakeCase is Elastic's: an underscore between a small letter and the capitals
// after it, then all small. riskLevelDuringSignIn becomes
// risk_level_during_sign_in, userIPAddress user_ipaddress.
func snakeCase(s string) string {
	capitals := 0
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			capitals++
		}
	}
	if capitals == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + capitals)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			if i > 0 && 'a' <= s[i-1] && s[i-1] <= 'z' {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// parsed is v, or what is in it if it is JSON text, as some exports write the
// nested parts of Entra's records.
func (e *Event) parsed(v any) any {
	s, ok := v.(string)
	if trimmed := strings.TrimSpace(s); !ok || trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return v
	}
	value := jsontext.Text{Raw: []byte(s)}.Value(0)
	if value.Truncated || levels(value.Raw) > maxDepth {
		return v
	}
	return e.value(value, 0)
}

// parsedObject is the object in JSON text, also if only its beginning can be
// read; nil if there is none. What is wrong with it is noted for name.
func (e *Event) parsedObject(place part, name, s string) map[string]any {
	var in inner
	in.readText(jsontext.Text{Raw: []byte(s)})
	e.noteFaults(place, name, &in)
	if !in.is() {
		return nil
	}
	return e.decode(in.members, 1)
}
