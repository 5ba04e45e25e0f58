package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"
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

func (t *table) wrongType(key, want string, got any) {
	t.dr.mistake(t.at(key), "%s must be %s, not %s", key, want, describe(got))
}

func (t *table) text(key string) string {
	v, ok := t.get(key)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		t.wrongType(key, "a string", v)
	}
	return s
}

func (t *table) required(key string) string {
	s := t.text(key)
	if strings.TrimSpace(s) == "" {
		if _, isText := t.m[key].(string); isText || !t.has(key) {
			t.dr.mistake(t.at(key), "%s is missing", key)
		}
	}
	return s
}

// texts reads a list of strings; a single string is a list of one.
func (t *table) texts(key string) []string {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, ok := v.([]any)
	if !ok {
		t.wrongType(key, "a list of strings", v)
		return nil
	}
	var texts []string
	for i, element := range list {
		s, ok := element.(string)
		if !ok {
			t.wrongType(fmt.Sprintf("%s[%d]", key, i), "a string", element)
			continue
		}
		texts = append(texts, s)
	}
	return texts
}

func (t *table) boolean(key string, otherwise bool) bool {
	v, ok := t.get(key)
	if !ok {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		t.wrongType(key, "true or false", v)
		return otherwise
	}
	return b
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

func (t *table) duration(key string, otherwise time.Duration) time.Duration {
	s := t.text(key)
	if s == "" {
		return otherwise
	}
	m := durationPattern.FindStringSubmatch(s)
	if m == nil {
		t.dr.mistake(t.at(key), "%s %q is not a number followed by s, m, h or d", key, s)
		return otherwise
	}
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	n := 0
	for _, digit := range m[1] {
		n = n*10 + int(digit-'0')
	}
	return time.Duration(n) * unit
}

func (t *table) table(key string) (*table, bool) {
	v, ok := t.get(key)
	if !ok {
		return nil, false
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.wrongType(key, "a table", v)
		return nil, false
	}
	return newTable(t.dr, t.at(key), m), true
}

func (t *table) tables(key string) []*table {
	v, ok := t.get(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		t.wrongType(key, "a list of tables", v)
		return nil
	}
	var tables []*table
	for i, element := range list {
		name := fmt.Sprintf("%s[%d]", key, i)
		m, ok := element.(map[string]any)
		if !ok {
			t.wrongType(name, "a table", element)
			continue
		}
		tables = append(tables, newTable(t.dr, t.at(name), m))
	}
	return tables
}

func (t *table) reference() Reference {
	return Reference{ID: t.text("id"), Name: t.text("name"), URL: t.text("reference")}
}

// operator checks the operator of an override, of which there is only one.
func (t *table) operator() {
	if op := t.text("operator"); op != "" && op != "equals" {
		t.dr.mistake(t.at("operator"), "operator %q is not equals", op)
	}
}

func (t *table) suppression() *Suppression {
	s := &Suppression{GroupBy: t.texts("group_by")}
	if d, ok := t.table("duration"); ok {
		unit := d.text("unit")
		of, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
		if !known {
			t.dr.mistake(d.at("unit"), "unit %q is none of s, m, h", unit)
		}
		s.Duration = time.Duration(d.integer("value", 1, 1, 1<<20)) * of
		d.warnUnknown()
	}
	switch strategy := t.text("missing_fields_strategy"); strategy {
	case "", "suppress":
	case "doNotSuppress":
		s.AlertOnMissing = true
	default:
		t.dr.mistake(t.at("missing_fields_strategy"), "missing_fields_strategy %q is neither suppress nor doNotSuppress", strategy)
	}
	return s
}

// warnUnknown reports the keys that nothing asked for.
func (t *table) warnUnknown() {
	var unknown []string
	for key := range t.m {
		if !t.seen[key] {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown {
		t.dr.warn(t.at(key), "unknown-key", "key %s is not known here and has no effect", key)
	}
}
