package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A table reads the keys of one table with their types checked, and remembers
// which it read: the rest is unknown.
type table struct {
	dr   *draft
	path string
	m    map[string]any
	seen map[string]bool
}

func newTable(dr *draft, path string, m map[string]any) *table {
	return &table{dr: dr, path: path, m: m, seen: map[string]bool{}}
}

func (t *table) at(key string) string { return join(t.path, key) }

// get returns the value of key; null counts as absent.
func (t *table) get(key string) (any, bool) {
	t.seen[key] = true
	v := t.m[key]
	return v, v != nil
}

func (t *table) has(key string) bool { _, ok := t.get(key); return ok }

func (t *table) known(keys ...string) {
	for _, k := range keys {
		t.seen[k] = true
	}
}

// as returns the value of a key, which must be a T.
func as[T any](t *table, key, want string) (v T, ok bool) {
	got, ok := t.get(key)
	if !ok {
		return v, false
	}
	if v, ok = got.(T); !ok {
		t.wrongType(key, want, got)
	}
	return v, ok
}

func (t *table) wrongType(key, want string, got any) {
	t.dr.mistake(t.at(key), "%s must be %s, not %s", key, want, describe(got))
}

func (t *table) text(key string) string {
	s, _ := as[string](t, key, "a string")
	return s
}

func (t *table) required(key string) string {
	s := t.text(key)
	if strings.TrimSpace(s) == "" {
		t.missing(key)
	}
	return s
}

// missing reports that a key has no text, unless it was reported for its type.
func (t *table) missing(key string) {
	if _, isText := t.m[key].(string); isText || !t.has(key) {
		t.dr.mistake(t.at(key), "%s is missing", key)
	}
}

// oneOf checks that a value is one of several.
func (t *table) oneOf(key, value string, of []string) {
	if !slices.Contains(of, value) {
		t.dr.mistake(t.at(key), "%s %q is none of %s", key, value, strings.Join(of, ", "))
	}
}

func (t *table) severity() string {
	s := t.required("severity")
	if s != "" {
		t.oneOf("severity", s, severities)
	}
	return s
}

// texts reads a list of strings; a single string is a list of one.
func (t *table) texts(key string) (texts []string) {
	if s, ok := t.m[key].(string); ok {
		t.known(key)
		return []string{s}
	}
	list, _ := as[[]any](t, key, "a list of strings")
	for i, element := range list {
		if s, ok := element.(string); ok {
			texts = append(texts, s)
		} else {
			t.wrongType(fmt.Sprintf("%s[%d]", key, i), "a string", element)
		}
	}
	return texts
}

func (t *table) boolean(key string, otherwise bool) bool {
	if b, ok := as[bool](t, key, "true or false"); ok {
		return b
	}
	return otherwise
}

func (t *table) integer(key string, otherwise, least, most int) int {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case float64:
		if n = int64(v); float64(n) != v {
			t.dr.mistake(t.at(key), "%s must be a whole number, not %v", key, v)
			return otherwise
		}
	default:
		t.wrongType(key, "a number", v)
		return otherwise
	}
	if n < int64(least) || n > int64(most) {
		t.dr.mistake(t.at(key), "%s must be between %d and %d, not %d", key, least, most, n)
		return otherwise
	}
	return int(n)
}

func (t *table) table(key string) (*table, bool) {
	m, ok := as[map[string]any](t, key, "a table")
	if !ok {
		return nil, false
	}
	return newTable(t.dr, t.at(key), m), true
}

func (t *table) tables(key string) (tables []*table) {
	list, _ := as[[]any](t, key, "a list of tables")
	for i, element := range list {
		name := fmt.Sprintf("%s[%d]", key, i)
		if m, ok := element.(map[string]any); ok {
			tables = append(tables, newTable(t.dr, t.at(name), m))
		} else {
			t.wrongType(name, "a table", element)
		}
	}
	return tables
}

// reference reads an entry of a framework such as MITRE ATT&CK: T1489 Service Stop.
func (t *table) reference() string {
	t.text("reference")
	defer t.warnUnknown()
	return strings.TrimSpace(t.text("id") + " " + t.text("name"))
}

// operator checks the operator of an override, of which there is only one.
func (t *table) operator() {
	if op := t.text("operator"); op != "" && op != "equals" {
		t.dr.mistake(t.at("operator"), "operator %q is not equals", op)
	}
}

// suppression checks Elastic's alert_suppression, which is not honoured.
func (t *table) suppression() {
	t.texts("group_by")
	if d, ok := t.table("duration"); ok {
		d.oneOf("unit", d.text("unit"), []string{"s", "m", "h"})
		d.integer("value", 1, 1, 1<<20)
		d.warnUnknown()
	}
	if strategy := t.text("missing_fields_strategy"); !slices.Contains([]string{"", "suppress", "doNotSuppress"}, strategy) {
		t.dr.mistake(t.at("missing_fields_strategy"), "missing_fields_strategy %q is neither suppress nor doNotSuppress", strategy)
	}
	t.warnUnknown()
}

// warnUnknown reports the keys that nothing asked for.
func (t *table) warnUnknown() {
	for _, key := range slices.Sorted(maps.Keys(t.m)) {
		if !t.seen[key] {
			t.dr.warn(t.at(key), "unknown-key", "key %s is not known here and has no effect", key)
		}
	}
}
