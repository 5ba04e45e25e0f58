package event

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// listedText has the fields below properties of the Entra logs that Elastic's
// integration maps. The table has no rows for them, because podwatch takes
// whatever a record has there; they are what a misspelt name is compared with.
//
//go:embed listed.txt
var listedText string

var listed = strings.Fields(listedText)

// listedRoots has the [rootOf] of all listed names.
var listedRoots = sync.OnceValue(func() map[string]bool {
	roots := make(map[string]bool)
	for _, name := range listed {
		roots[rootOf(name)] = true
	}
	return roots
})

// neverIn are fields that the table has for a data set and the records of some of
// its categories never have.
var neverIn = map[string][]string{
	"kube-audit":       {"event.outcome", "source", "client", "related.ip"},
	"kube-audit-admin": {"event.outcome", "source", "client", "related.ip"},
}

// Missing reports whether no event of a data set and category has a value in
// field, which may have wildcards. dataset "" is any, category "" is any. nearest
// is the name that may be meant, "" if there is none.
//
// Below properties of the Entra logs, where any name may occur, a name is missing
// if it is a spelling of one that Elastic maps.
func Missing(dataset, category, field string) (nearest string, missing bool) {
	for _, name := range neverIn[category] {
		if _, ok := under(field, name); ok {
			return "", true
		}
	}
	filled := false
	fields := datasetFields(dataset)
	for i := range fields {
		f := &fields[i]
		_, above := under(f.Name, field)
		filled = filled || above || f.Covers(field)
		if f.Name == field {
			return "", !filled
		}
	}
	if strings.Contains(field, "*") || filled && !listedRoots()[rootOf(field)] ||
		slices.ContainsFunc(listed, func(l string) bool { _, above := under(l, field); return above || l == starred(field) }) {
		return "", !filled
	}
	names := slices.Clone(listed)
	if !filled {
		for _, f := range fields {
			names = append(names, f.Name)
		}
	}
	if nearest = Nearest(field, names); filled && (nearest == "" || !misspelt(field, nearest)) {
		return "", false
	}
	return nearest, true
}

// rootOf is the name of the properties that a field is below, such as
// azure.signinlogs.properties.
func rootOf(field string) string {
	end := -1
	for range 3 {
		n := strings.IndexByte(field[end+1:], '.')
		if n < 0 {
			return field
		}
		end += 1 + n
	}
	return field[:end]
}

// misspelt reports whether a name is another spelling of a listed one.
func misspelt(name, listed string) bool {
	plain := strings.NewReplacer("_", "", "-", "").Replace
	return strings.EqualFold(plain(name), plain(listed)) ||
		distance(name, listed) == 1 && len(name)-strings.LastIndexByte(name, '.') > len("object")
}

// Nearest returns the one of names that name may be a misspelling of, "" if there
// is none.
func Nearest(name string, names []string) string {
	name = strings.ToLower(name)
	best, least := "", 2+(len(name)-strings.LastIndexByte(name, '.'))/5
	for _, n := range names {
		d := least
		if max(len(name), len(n))-min(len(name), len(n)) < least {
			d = distance(name, strings.ToLower(n))
		}
		if d >= least && strings.HasPrefix(name, strings.ToLower(n)) && best == "" {
			best = n
		}
		if d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the least number of bytes to insert, remove or replace that makes b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d = min(before, row[j], row[j+1]) + 1
			}
			before, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
