package exception

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/kql"
)

// Lint returns what is questionable about an exception at the given time:
// expired, without an end, or written against fields that do not exist.
func (e *Exception) Lint(now time.Time) []string {
	var warnings []string
	switch {
	case e.Expires.IsZero():
		warnings = append(warnings, "it never expires: give expires, so that somebody looks at it again")
	case !e.holdsAt(now):
		warnings = append(warnings, "it expired on "+e.Expires.UTC().Format(time.DateOnly)+": remove it or renew it")
	}
	if e.match.Judge(kql.Map{}) == kql.True {
		warnings = append(warnings, "match also fits an alert of which nothing is known: begin with what it is for (caller.*, cluster.*, kubernetes.*)")
	}
	for _, t := range kql.Terms(e.node) {
		if _, known := ours(t.Field); !known && t.Field != "" && !ofEvent(t.Field) {
			if w := fmt.Sprintf("match asks for %q, which no alert has", t.Field); !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
	}
	for _, w := range kql.Lint(e.source, matchOptions) {
		if strings.HasPrefix(w.Code, "portable-") {
			continue // about another engine, which never sees exceptions
		}
		warnings = append(warnings, fmt.Sprintf("match: line %d, column %d: %s", w.Line, w.Column, w.Msg))
	}
	return warnings
}

// ofEvent reports whether a field can be one of an event: those stand below a
// handful of roots, and a field wildcard may reach any of them.
func ofEvent(field string) bool {
	root, _, _ := strings.Cut(field, ".")
	switch root {
	case "azure", "event", "data_stream", "source", "client", "user", "user_agent", "related", "geo", "log", "cloud", "message", "@timestamp":
		return true
	}
	return strings.Contains(root, "*")
}
