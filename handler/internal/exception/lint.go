package exception

import (
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// A view is what a query is asked of: its fields and how they compare.
type view struct {
	key     string
	options kql.Options
	own     []field
	events  bool // it also sees the fields of the event
}

var (
	aboutAlert = view{
		key: "match", events: true, own: alertFields,
		options: kql.Options{Type: fieldType, FoldCase: foldCase, MissingUnknown: true},
	}
	aboutOperation = view{
		key: "preceded_by: match",
		own: []field{
			{name: "operation"}, {name: "words"}, {name: "target"}, {name: "caller", by: caller},
			{name: "outcome", values: []string{"succeeded", "failed", "started", "accepted"}},
		},
		options: kql.Options{FoldCase: func(string) bool { return true }, MissingUnknown: true},
	}
)

// eventFields are the event's fields with few values, or with values that the
// client chooses.
var eventFields = []field{
	{name: "event.outcome", values: []string{"success", "failure", "unknown"}},
	{name: "event.kind", values: []string{"event"}},
	{name: "event.dataset", values: event.Datasets()},
	{name: "data_stream.dataset", values: event.Datasets()},
	{name: "user_agent.original", by: client},
	{name: "user.*", by: caller},
	{name: "source.*", by: caller},
	{name: "azure.activitylogs.identity.*", by: caller},
	{name: "azure.platformlogs.properties.log.user.*", by: caller},
	{name: "azure.platformlogs.properties.log.sourceIPs", by: client},
	{name: "azure.platformlogs.properties.log.userAgent", by: client},
	{name: "azure.platformlogs.properties.log.requestURI", by: client},
	{name: "azure.platformlogs.properties.log.auditID", by: client},
	{name: "azure.platformlogs.properties.log.objectRef.name", by: client},
	{name: "azure.platformlogs.properties.log.requestObject.*", by: client},
	{name: "azure.platformlogs.properties.log.responseObject.*", by: client},
}

// covers reports whether a field is the one of f, or one of those that it stands
// for.
func (f field) covers(name string) bool {
	prefix, all := strings.CutSuffix(f.name, "*")
	return f.name == name || all && strings.HasPrefix(name, prefix)
}

// field returns what is known of a field: whether it exists, else the name that
// may be meant.
func (v view) field(name string) (f field, nearest string, exists bool) {
	var names []string
	for _, f := range v.own {
		if f.covers(name) || strings.HasPrefix(f.name, name+".") {
			return f, "", true
		}
		names = append(names, f.name)
	}
	if strings.Contains(name, "*") {
		return field{}, "", true
	}
	missing := true
	if v.events {
		if i := slices.IndexFunc(eventFields, func(f field) bool { return f.covers(name) }); i >= 0 {
			f = eventFields[i]
		}
		nearest, missing = event.Missing("", "", name)
	}
	if missing && nearest == "" {
		nearest = event.Nearest(name, names)
	}
	return f, nearest, !missing
}

// lint compiles a query and reports what cannot hold or is hardly meant. Where the
// query holds because such a condition does not, the exception suppresses more than
// its author believes: that is a mistake, elsewhere it is a warning.
func (s *source) lint(x *Exception, v value, n *kql.Node, view view) *kql.Query {
	conditions := kql.Conditions(n)
	report := func(offset int, negated bool, what string) {
		at := s.within(v, offset)
		if negated {
			s.mistake(at, `%s: %s; below "not" this suppresses more than it seems to`, view.key, what)
		} else {
			s.warn(x, at, "%s: %s", view.key, what)
		}
	}
	query := kql.Compile(n, view.options)
	if view.everything(query) {
		s.mistake(v.at, "%s fits everything: it would switch podwatch off, begin with what it is for (caller.*, cluster.*, kubernetes.*)", view.key)
		return query
	}
	chosen := ""
	for _, c := range conditions {
		for _, oddity := range view.oddities(c.Term) {
			report(c.Offset, c.Negated, oddity)
		}
		f, _, _ := view.field(c.Field)
		if f.by == client && !c.Negated {
			chosen = c.Field
		}
		x.asksTags = x.asksTags || view.events && strings.HasPrefix(c.Field, tagsField)
	}
	for _, w := range kql.Lint(v.text, view.options) {
		if w.Code == "flattened-pattern" || strings.HasPrefix(w.Code, "portable-") {
			continue // about another engine, which never sees exceptions
		}
		negated := false
		for _, c := range conditions {
			if c.Offset <= w.Offset {
				negated = c.Negated
			}
		}
		report(w.Offset, negated, w.Msg)
	}
	if bound := kql.Cover(n, view.bindsCaller); view.events && chosen != "" && bound == nil {
		s.warn(x, v.at, "match: any caller can meet it, because the client chooses %s: also name the caller (caller.name, caller.id, caller.app_id or caller.ip)", chosen)
	}
	if view.events && query.Judge(kql.Map{}) == kql.True {
		s.warn(x, v.at, "match also fits an alert of which nothing is known: begin with what it is for (caller.*, cluster.*, kubernetes.*)")
	}
	return query
}

// bindsCaller rates a condition that only some callers meet.
func (v view) bindsCaller(t kql.Term) int {
	if f, _, _ := v.field(t.Field); f.by == caller && t.Op == "" && strings.Join(t.Value, "") != "" {
		return 1
	}
	return 0
}

// everything reports whether a query holds whatever is asked of it.
func (v view) everything(q *kql.Query) bool {
	always := kql.Map{}
	if v.events {
		for _, name := range []string{"rule.id", "rule.name", "alert.severity", "alert.source", "alert.operation", "alert.time", "caller.kind", "event.kind", "event.dataset", "data_stream.dataset"} {
			always[name] = anyValue
		}
	}
	return q.Judge(always) == kql.True && q.Judge(full{}) == kql.True
}

// A full document has every field, with a value that no query asks for and others
// that are not known.
type full struct{}

const anyValue = "\x00"

func (full) Lookup(string) (any, bool) { return anyValue, false }

func (full) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		_ = yield("rule.id", anyValue) && yield("", nil)
	}
}

// oddities returns what is odd about a condition.
func (v view) oddities(t kql.Term) (found []string) {
	odd := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	text := strings.Join(t.Value, "*")
	for _, r := range t.Field + text {
		switch {
		case r < ' ' || r == 0x7f:
			odd("an escape made the control character %q of %q: write \\\\ for a backslash", r, text)
			return found
		case lookalikes[r] != "":
			odd("%q has %s (%U), which no name has", t.Field+": "+text, lookalikes[r], r)
			return found
		}
	}
	if mixed(text) {
		odd("%q mixes Latin letters with others that look like them", text)
	}
	f, nearest, exists := v.field(t.Field)
	switch {
	case t.Field == "":
		return found
	case !exists && nearest != "":
		odd("there is no field %q: is %s meant?", t.Field, nearest)
		return found
	case !exists:
		odd("there is no field %q", t.Field)
		return found
	}
	if t.Op != "" || len(t.Value) == 0 {
		return found
	}
	if how := regularExpression(t.Value, f); how != "" {
		odd("%q is compared as text, and %s: only * is a wildcard", text, how)
		return found
	}
	if pattern := strings.Join(quoted(t.Value), ".*"); f.values != nil && !slices.ContainsFunc(f.values, regexp.MustCompile("(?is)^"+pattern+"$").MatchString) {
		odd("%s is never %q, only %s", t.Field, text, strings.Join(f.values, ", "))
	}
	return found
}

func quoted(parts []string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, regexp.QuoteMeta(p))
	}
	return all
}

var characterClass = regexp.MustCompile(`\[(\^?([0-9A-Za-z]-[0-9A-Za-z])+|\^[^\]]*)\]`)

// regularExpression names what reads like one in a value, "" if there is nothing.
func regularExpression(parts []string, f field) string {
	text := strings.Join(parts, "*")
	switch {
	case len(parts) > 1 && slices.ContainsFunc(parts[:len(parts)-1], func(p string) bool { return strings.HasSuffix(p, ".") }) && f.typ != kql.TypeUnknown:
		return ".* begins with a dot"
	case characterClass.MatchString(text):
		return characterClass.FindString(text) + " is no character class"
	case strings.HasPrefix(text, "^"):
		return "^ is no anchor"
	case f.typ == kql.TypeUnknown || f.by == client && f.name != "kubernetes.pod":
		return "" // a path or a user agent may well have the rest
	case strings.Contains(text, "|"):
		return "| is no alternative, write (a or b)"
	case strings.Contains(text, "?"):
		return "? stands for itself"
	}
	return ""
}

// lookalikes are characters that names do not have and that look like ones that
// they have, or like nothing.
var lookalikes = map[rune]string{
	'\u2018': "a typographic quote", '\u2019': "a typographic quote", '\u201a': "a typographic quote",
	'\u201c': "a typographic quote", '\u201d': "a typographic quote", '\u201e': "a typographic quote", '\u00ab': "a typographic quote", '\u00bb': "a typographic quote",
	'\u2010': "a hyphen that is not -", '\u2011': "a hyphen that is not -", '\u2012': "a dash", '\u2013': "an en dash", '\u2014': "an em dash", '\u2015': "a dash", '\u2212': "a minus sign",
	'\u00a0': "a no-break space", '\u202f': "a no-break space", '\u00ad': "a soft hyphen",
	'\u200b': "a zero-width space", '\u200c': "a zero-width character", '\u200d': "a zero-width character", '\u2060': "a zero-width character", '\ufeff': "a zero-width character",
	'\u200e': "a direction mark", '\u200f': "a direction mark", '\u202e': "a direction mark", '\uff1a': "a wide colon",
}

// mixed reports whether a word has Latin letters and Cyrillic or Greek ones.
func mixed(text string) bool {
	for _, word := range strings.Fields(text) {
		latin := strings.ContainsFunc(word, func(r rune) bool { return unicode.Is(unicode.Latin, r) })
		other := strings.ContainsFunc(word, func(r rune) bool { return unicode.In(r, unicode.Cyrillic, unicode.Greek) })
		if latin && other {
			return true
		}
	}
	return false
}

// Lint returns what is questionable about an exception at the given time. lookups
// are whether what happened around an alert is looked up.
func (e *Exception) Lint(now time.Time, lookups bool) []*rule.FileError {
	warnings := slices.Clone(e.warnings)
	warn := func(format string, args ...any) {
		w := *e.end
		w.Msg += fmt.Sprintf(format, args...)
		warnings = append(warnings, &w)
	}
	switch {
	case e.Expires.IsZero():
		warn("it never expires: give expires, so that somebody looks at it again")
	case e.Expired(now):
		warn("it expired on %s: remove it or renew it", e.Expires.Add(-time.Nanosecond).Format(time.DateOnly))
	}
	if e.asksTags && !lookups {
		warn("match asks for tags of the cluster, which are not looked up: set ACTIVITY_LOOKUPS to on")
	}
	return warnings
}
