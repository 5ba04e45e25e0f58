package rule

import (
	"path"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// collected lists the logs that podwatch turns into events, as far as package
// event confirms them. Index patterns are compared with it.
func collected() []string {
	all := []string{"azure.activitylogs", "azure.platformlogs", "azure.auditlogs", "azure.signinlogs", "azure.identity_protection"}
	return slices.DeleteFunc(all, func(d string) bool { return !event.Known(d) })
}

// datasetsOf returns the datasets that a query can match events of. bounded is
// false when the query does not say.
func datasetsOf(n kql.Node) (datasets []string, bounded bool) {
	switch n := n.(type) {
	case kql.Is:
		if isDatasetField(n.Field) && !n.Value.Wildcard() && !n.Value.Null {
			return []string{n.Value.Text()}, true
		}
	case kql.And:
		for _, c := range n.Nodes {
			d, ok := datasetsOf(c)
			switch {
			case !ok:
			case !bounded:
				datasets, bounded = d, true
			default:
				datasets = slices.DeleteFunc(datasets, func(name string) bool { return !slices.Contains(d, name) })
			}
		}
		return datasets, bounded
	case kql.Or:
		for _, c := range n.Nodes {
			d, ok := datasetsOf(c)
			if !ok {
				return nil, false
			}
			for _, name := range d {
				datasets = appendNew(datasets, name)
			}
		}
		return datasets, len(n.Nodes) > 0
	}
	return nil, false
}

func isDatasetField(l kql.Literal) bool {
	if l.Wildcard() {
		return false
	}
	return l.Text() == "data_stream.dataset" || l.Text() == "event.dataset"
}

// datasetsOfIndex returns the collected datasets that index patterns reach. A
// pattern that filebeat's or all data would fit bounds nothing.
func datasetsOfIndex(patterns []string) (datasets []string, bounded bool) {
	var without []string
	for _, p := range patterns {
		if rest, ok := strings.CutPrefix(p, "-"); ok {
			without = append(without, rest)
		}
	}
	for _, p := range patterns {
		if strings.HasPrefix(p, "-") {
			continue
		}
		if _, remote, ok := strings.Cut(p, ":"); ok { // another cluster's index
			p = remote
		}
		if reaches(p, "filebeat-8.0.0") {
			return nil, false
		}
		for _, d := range collected() {
			index := "logs-" + d + "-default"
			if reaches(p, index) && !slices.ContainsFunc(without, func(w string) bool { return reaches(w, index) }) {
				datasets = appendNew(datasets, d)
			}
		}
	}
	return datasets, len(patterns) > 0
}

// reaches reports whether an index pattern covers an index.
func reaches(pattern, index string) bool {
	// Index names hold no slash and patterns know only the star, so path.Match
	// fits; a pattern that it cannot read names no index.
	ok, err := path.Match(strings.NewReplacer("?", `\?`, "[", `\[`, `\`, `\\`).Replace(pattern), index)
	return err == nil && ok
}
