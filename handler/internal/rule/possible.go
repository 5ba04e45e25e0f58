package rule

import (
	"fmt"
	"iter"
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

// worlds are the possible events of a data set, as far as the conditions of a query
// and the table of fields distinguish them.
func worlds(dataset string, conditions []kql.Condition) []world {
	var all []world
	for _, c := range conditions {
		if c.Field == dataset+".category" && c.Op == "" {
			all = append(all, world{dataset, strings.Join(c.Value, ""), true})
		}
	}
	for _, category := range []string{"kube-audit", "kube-audit-admin"} {
		all = append(all, world{dataset, category, true})
	}
	return append(all, world{dataset, "another", true})
}

// cannotMatch returns why no event of the data sets meets the query, which is compiled
// from n, whatever is in its fields; "" if one may.
func cannotMatch(n *kql.Node, query *kql.Query, datasets []string) string {
	if datasets == nil {
		datasets = event.Datasets()
	}
	why, conditions := "", kql.Conditions(n)
	for _, d := range datasets {
		for _, w := range worlds(d, conditions) {
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
