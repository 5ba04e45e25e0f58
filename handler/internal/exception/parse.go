package exception

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// Parse compiles the exceptions in text; file is where it came from. The error
// joins every mistake, each with its place. rules may be nil: any rule may then be
// named.
func Parse(file string, text []byte, rules *rule.Set) (*Set, error) {
	s := &source{file: file}
	text, err := rule.Text(text)
	if err != nil {
		s.mistake(0, "%v", err)
		return nil, s.err()
	}
	s.text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	set := &Set{}
	switch document := s.document(); {
	case len(s.mistakes) > 0:
	case document != nil:
		top := s.table(*document, "exceptions")
		for _, v := range top.list("exceptions") {
			x := s.exception(v, rules)
			if x.Name != "" && slices.ContainsFunc(set.exceptions, func(e *Exception) bool { return e.Name == x.Name }) {
				s.mistake(v.at, "the name is taken by an earlier exception")
			} else {
				set.exceptions = append(set.exceptions, x)
			}
		}
	default:
		s.mistake(0, "the file has no exception: remove it, or write one below exceptions:")
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	return set, nil
}

// A table is a mapping with the keys that are known for it. A key that is written
// limits the exception, so one without a value is a mistake.
type table struct {
	s    *source
	at   int
	keys map[string]key
}

func (s *source) table(v value, known ...string) *table {
	t := &table{s: s, at: v.at, keys: map[string]key{}}
	if v.kind != "a mapping" {
		s.mistake(v.at, "expected a mapping with the keys %s, not %s", strings.Join(known, ", "), v.kind)
		return t
	}
	for _, k := range v.keys {
		_, twice := t.keys[k.name]
		t.keys[k.name] = k
		switch {
		case twice:
			s.mistake(k.at, "the key %s is written twice", k.name)
		case !slices.Contains(known, k.name):
			hint := ""
			if nearest := event.Nearest(k.name, known); nearest != "" {
				hint = "; is " + nearest + " meant?"
			}
			s.mistake(k.at, "the key %q is not known here%s", k.name, hint)
		case k.kind == "nothing", k.kind == "text" && strings.TrimSpace(k.text) == "", k.kind == "a list" && len(k.value.list) == 0, k.kind == "a mapping" && len(k.value.keys) == 0:
			s.mistake(k.at, "%s has no value: give it one, or remove the key", k.name)
		}
	}
	return t
}

// value returns the value of a key, which must be of the kind; the zero value without
// the key.
func (t *table) value(name, kind string) value {
	k, ok := t.keys[name]
	if ok && k.kind != kind && k.kind != "nothing" {
		t.s.mistake(k.value.at, "%s must be %s, not %s", name, kind, k.kind)
	}
	return k.value
}

func (t *table) text(name string) value {
	v := t.value(name, "text")
	v.text = strings.TrimRight(v.text, "\n")
	return v
}

// required is text that must be there.
func (t *table) required(name, why string) value {
	if _, ok := t.keys[name]; !ok {
		t.s.mistake(t.at, "%s is missing%s", name, why)
	}
	return t.text(name)
}

func (t *table) list(name string) []value { return t.value(name, "a list").list }

// has reports whether a key is written with a value.
func (t *table) has(name string) bool {
	return t.keys[name].kind != "" && t.keys[name].kind != "nothing"
}

func (s *source) exception(v value, rules *rule.Set) *Exception {
	for _, k := range v.keys {
		if k.name == "name" {
			s.about = about(k.text)
		}
	}
	defer func() { s.about = "" }()
	t := s.table(v, "name", "reason", "owner", "expires", "rules", "match", "schedule", "preceded_by")
	x := &Exception{
		Name:   t.required("name", "").text,
		Reason: strings.TrimSpace(t.required("reason", "").text),
		Owner:  strings.TrimSpace(t.required("owner", "").text),
		end:    s.errorAt(v.at, ""),
	}
	x.match = s.query(x, t.required("match", ": an exception for everything would switch podwatch off"), aboutAlert)
	for _, r := range t.list("rules") {
		x.rules = append(x.rules, s.rule(x, r, rules)...)
	}
	if expires := t.text("expires"); expires.text != "" {
		x.end = s.errorAt(expires.at, "")
		var ok bool
		if x.Expires, ok = parseExpiry(expires.text); !ok {
			s.mistake(expires.at, "expires: %q is neither a day (2027-03-31, or 2027-03-31 Europe/Amsterdam) nor a moment (2027-03-31 18:00 Europe/Amsterdam, 2027-03-31T18:00:00Z)", expires.text)
		}
	}
	if t.has("schedule") {
		x.schedule = s.schedule(x, t.keys["schedule"].value)
	}
	if t.has("preceded_by") {
		x.precededBy = s.precededBy(x, t.keys["preceded_by"].value)
	}
	return x
}

// rule returns the ids and the name of the rule that v names, in lower case.
func (s *source) rule(x *Exception, v value, rules *rule.Set) []string {
	name := strings.ToLower(strings.TrimSpace(v.text))
	switch {
	case v.kind != "text" || name == "":
		s.mistake(v.at, "rules: expected the id or the name of a rule, not %s", v.kind)
		return nil
	case rules == nil:
		return []string{name}
	}
	ids := rules.Named(name)
	if len(ids) == 0 {
		s.warn(x, v.at, "rules: no loaded rule has the id or name %q", v.text)
	}
	return append(ids, name)
}

func (s *source) warn(x *Exception, at int, format string, args ...any) {
	x.warnings = append(x.warnings, s.errorAt(at, format, args...))
}

// query parses and lints the query in v.
func (s *source) query(x *Exception, v value, view view) *kql.Query {
	if strings.TrimSpace(v.text) == "" {
		return nil // reported
	}
	n, mistake := rule.ParseQuery(v.text, func(offset int) (line, column int) { return rule.Position(s.text, s.within(v, offset)) })
	if mistake != nil {
		mistake.File, mistake.Msg = s.file, s.about+view.key+": "+mistake.Msg
		s.mistakes = append(s.mistakes, mistake)
		return nil
	}
	return s.lint(x, v, n, view)
}

// parseExpiry reads a day, which counts to its end, or a moment, each in UTC or in
// the zone that follows. It returns the first moment after it.
func parseExpiry(text string) (time.Time, bool) {
	zone := time.UTC
	words := strings.Fields(text)
	if last := len(words) - 1; last > 0 {
		if z, err := loadZone(words[last]); err == nil {
			zone, words = z, words[:last]
		}
	}
	text = strings.Join(words, "T")
	if day, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return day.AddDate(0, 0, 1), true
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if moment, err := time.ParseInLocation(layout, text, zone); err == nil {
			return moment, true
		}
	}
	moment, err := time.Parse(time.RFC3339, text)
	return moment, err == nil
}
