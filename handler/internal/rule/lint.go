package rule

import (
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// Lint returns the warnings of Load and those that a start does without, because it
// takes longer to find them: about the queries, and the fields that they name.
func (e *Entry) Lint() []Warning {
	if e.draft == nil {
		return e.Warnings
	}
	dr := *e.draft
	dr.warnings = slices.Clone(e.Warnings)
	queries := []query{{join(dr.path, "query"), "query", dr.Query, dr.query}}
	if dr.own {
		queries = append(queries, query{"podwatch.routine", "routine", dr.Routine, dr.routine})
	}
	queries = slices.DeleteFunc(queries, func(q query) bool { return q.node == nil })
	for _, q := range queries {
		for _, w := range kql.Lint(q.text, kql.Options{Type: FieldType}) {
			// With a table that only podwatch reads, a rule is not meant for others.
			if !dr.own || w.Code != "flattened-pattern" && !strings.HasPrefix(w.Code, "portable-") {
				dr.warnWithin(q, w.Offset, w.Code, w.Msg)
			}
		}
	}
	if dr.own {
		dr.lintOwn()
	}
	if e.Verdict == Runs {
		dr.lintFields(queries, e.Datasets)
	}
	sortWarnings(dr.warnings)
	return dr.warnings
}

func sortWarnings(ws []Warning) {
	slices.SortStableFunc(ws, func(a, b Warning) int { return a.Compare(&b.FileError) })
}

// A query is one of a rule file.
type query struct {
	path, key, text string
	node            *kql.Node
}

// warnWithin warns of what is at an offset of a query.
func (dr *draft) warnWithin(q query, offset int, code, msg string) {
	line, column := dr.doc.within(q.path, q.text, offset)
	dr.warnings = append(dr.warnings, Warning{FileError{dr.doc.file, line, column, q.key + ": " + msg}, code})
}

// lintFields warns of conditions on fields that the events of the data sets never
// have, in a query that other conditions can meet.
func (dr *draft) lintFields(queries []query, datasets []string) {
	if datasets == nil {
		datasets = []string{""}
	}
	seen := map[string]bool{"": true}
	for _, q := range queries {
		for _, c := range kql.Conditions(q.node) {
			if seen[c.Field] {
				continue
			}
			seen[c.Field] = true
			nearest, filled := "", false
			for _, d := range datasets {
				near, missing := event.Missing(d, "", c.Field)
				nearest, filled = near, filled || !missing
			}
			if filled {
				continue
			}
			msg := c.Field + " is never filled here, so no condition on it holds"
			if nearest != "" {
				msg += "; is " + nearest + " meant?"
			}
			dr.warnWithin(q, c.Offset, "missing-field", msg)
		}
	}
}

// lintOwn warns of what the [podwatch] table names in vain.
func (dr *draft) lintOwn() {
	for i, f := range dr.Daily {
		if !slices.ContainsFunc(event.Fields(""), func(row event.Field) bool { return row.Covers(f) }) {
			dr.warn(fmt.Sprintf("podwatch.daily[%d]", i), "missing-field", "daily names %s, which is never filled here", f)
		}
	}
	names := func(n *kql.Node, field string) bool {
		return n != nil && slices.ContainsFunc(kql.Conditions(n), func(c kql.Condition) bool { return c.Field == field })
	}
	for i, f := range dr.FoldCase {
		if dr.query != nil && !names(dr.query, f) && !names(dr.routine, f) {
			dr.warn(fmt.Sprintf("podwatch.fold_case[%d]", i), "value", "fold_case names %s, which the query does not use", f)
		}
	}
	switch {
	case !dr.Cut:
	case dr.query == nil:
		dr.warn("podwatch.cut", "value", "cut has no effect: podwatch evaluates no query of this rule")
	case coverOf(dr.query, precedesCut) == nil:
		dr.warn("podwatch.cut", "value", "cut: the query asks for nothing that precedes a cut, such as the verb or the objectRef of an audit event, so that every cut event matches")
	}
}

// precedesCut reports a condition that tells cut events apart.
func precedesCut(t kql.Term) bool {
	return !t.Many && event.PrecedesCut(t.Field) && !sharedByMost(t.Field, strings.Join(t.Value, "*"))
}
