package rule

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// A world is an event of which the data set and, if given, the category are known,
// and that it has no value in a field that is missing there. All else is unknown.
type world struct {
	dataset, category string
	table             bool // fields can be missing
}

// Lookup implements [kql.Document].
func (w world) Lookup(field string) (value any, known bool) {
	switch {
	case isDatasetField(field):
		return w.dataset, true
	case w.category != "" && field == w.dataset+".category":
		return w.category, true
	case !w.table:
		return nil, false
	}
	_, missing := event.Missing(w.dataset, w.category, field)
	return nil, missing
}

// All implements [kql.Document].
func (w world) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) { yield("", nil) }
}

// worlds are the possible events of a data set, as far as a query and the table
// of fields distinguish them.
func worlds(dataset string, n *kql.Node) []world {
	all := []world{}
	for _, t := range kql.Terms(n) {
		if t.Field == dataset+".category" && t.Op == "" {
			all = append(all, world{dataset, strings.Join(t.Value, ""), true})
		}
	}
	for _, category := range []string{"kube-audit", "kube-audit-admin"} {
		all = append(all, world{dataset, category, true})
	}
	return append(all, world{dataset, "another", true})
}

// cannotMatch returns why no event of the data sets meets the query, whatever is
// in its fields; "" if one may.
func (dr *draft) cannotMatch(datasets []string) string {
	if datasets == nil {
		datasets = event.Datasets()
	}
	query := kql.Compile(dr.query, kql.Options{Type: FieldType})
	why := ""
	for _, d := range datasets {
		for _, w := range worlds(d, dr.query) {
			if query.Judge(w) != kql.False {
				return ""
			}
			decided := query.Explain(w)
			nearest, missing := event.Missing(d, w.category, decided.Field)
			if why != "" || !missing || isDatasetField(decided.Field) {
				continue
			}
			where := d
			if _, elsewhere := event.Missing(d, "", decided.Field); !elsewhere {
				where += " with the category " + w.category
			}
			why = fmt.Sprintf("needs %s, which no event of %s has", decided.Field, where)
			if nearest != "" {
				why += "; is " + nearest + " meant?"
			}
		}
	}
	if why == "" {
		return "no event can meet its query"
	}
	return why
}

// unfilled warns of conditions on fields that the events of the data sets never
// have, in a query that other conditions can meet.
func (dr *draft) unfilled(datasets []string) (warnings []Warning) {
	if datasets == nil {
		datasets = []string{""}
	}
	seen := map[string]bool{}
	for _, q := range []struct {
		key, text string
		node      *kql.Node
	}{{"query", dr.Query, dr.query}, {"routine", dr.Routine, dr.routine}} {
		if q.node == nil || q.key == "routine" && dr.inherited {
			continue
		}
		path := join(dr.path, q.key)
		if q.key == "routine" {
			path = "podwatch.routine"
		}
		for _, c := range kql.Conditions(q.node) {
			nearest := ""
			if c.Field == "" || seen[c.Field] || slices.ContainsFunc(datasets, func(d string) bool {
				near, missing := event.Missing(d, "", c.Field)
				nearest = near
				return !missing
			}) {
				continue
			}
			seen[c.Field] = true
			msg := fmt.Sprintf("%s: %s is never filled here, so no condition on it holds", q.key, c.Field)
			if nearest != "" {
				msg += "; is " + nearest + " meant?"
			}
			line, column := dr.doc.within(path, q.text, c.Offset)
			warnings = append(warnings, Warning{File: dr.doc.file, Line: line, Column: column, Code: "missing-field", Msg: msg})
		}
	}
	return warnings
}
