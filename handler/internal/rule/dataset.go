package rule

import (
	"path"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// datasetsOf returns the datasets that a query, which is compiled from n, can match
// events of. bounded is false when the query does not restrict them.
func datasetsOf(n *kql.Node, query *kql.Query) (datasets []string, bounded bool) {
	cover := coverOf(n, func(t kql.Term) bool { return isExact(t) && isDatasetField(t.Field) })
	for _, t := range cover {
		if query.Judge(world{dataset: t.Value[0]}) != kql.False {
			datasets = appendNew(datasets, t.Value[0])
		}
	}
	return datasets, cover != nil
}

func isDatasetField(name string) bool {
	return name == "data_stream.dataset" || name == "event.dataset"
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
		for _, d := range event.Datasets() {
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
