package event

import (
	"iter"
	"path"
	"slices"
	"strings"

	"podwatch/handler/internal/kql"
)

// A Field is a row of the table: a field of a data set, or all that a record has
// below a name.
type Field struct {
	Name string // dotted; "*" is any number
	Type string // in Elasticsearch; "" where it follows from the value

	// Below is the Type of the fields below Name that have no row of their own.
	Below string

	// Verbatim: values are text of the record, compared as text.
	Verbatim bool

	// read returns the value, nil if there is none.
	read func(*Event) any

	// tree returns the value at a path below Name, or for "" all that is there. A
	// row with neither read nor tree is about the type of a field that lies in
	// another's tree.
	tree func(e *Event, path string) (value any, known bool)

	// inner: the value is read from properties, which may be cut.
	inner bool

	// own: derived by podwatch. Only a query that names the field reads it.
	own bool
}

// Covers reports whether field, which may have wildcards, can be a field that the
// row fills.
func (f *Field) Covers(field string) bool {
	fixed, _, wildcard := strings.Cut(field, "*")
	switch {
	case f.read == nil && f.tree == nil:
		return false
	case !wildcard:
		return field == f.Name || f.tree != nil && strings.HasPrefix(field, f.Name+".")
	}
	matches, _ := path.Match(field, f.Name) // what is no pattern matches nothing
	return f.tree != nil && (strings.HasPrefix(fixed, f.Name+".") || strings.HasPrefix(f.Name+".", fixed)) || matches
}

// The types of fields.
const (
	keyword   = "keyword"
	flattened = "flattened"
	fullText  = "text"
	group     = "object"
	date      = "date"
	ip        = "ip"
	long      = "long"
	double    = "double"
	boolean   = "boolean"
)

// A table is what is special about a data set.
type table struct {
	dataset string
	name    any // dataset
	fields  []Field

	outcome func(*Event) any                            // event.outcome
	address func(*Event) any                            // the caller's, as logged
	login   func(*Event) string                         // the caller's sign-in name
	rename  func(*Event, map[string]any) map[string]any // properties, see Event.renamedProperties
	build   func(*Event) map[string]any                 // see Event.ownFields
	note    func(*Event)                                // reads all that there may be notes of

	// otherAddress is what CallerIP falls back on, which is no source.ip.
	otherAddress func(*Event) string

	rows  map[string]int  // index of the fields with read
	trees []*Field        // of fields, those with tree, the longest name first
	above map[string]bool // the names above rows
}

// notKnown is the value of a field that cannot be known.
var notKnown any = struct{}{}

// Lookup returns the value of a field: nil when the event lacks it, an object for
// the fields below a name, a list for several values. known is false when some of
// the value was cut or withheld; value is then what is known of it.
func (e *Event) Lookup(field string) (value any, known bool) {
	if i, ok := e.table.rows[field]; ok {
		if value, known = e.answer(i); value != nil || !known {
			return value, known
		}
	}
	if a, ok := e.below[field]; ok {
		return a.value, a.known
	}
	value, known = e.inTrees(field)
	if e.below == nil {
		e.below = map[string]answer{}
	}
	e.below[field] = answer{value: value, known: known}
	return value, known
}

// inTrees returns what lies at a name in the trees, and below the names of rows.
func (e *Event) inTrees(field string) (value any, known bool) {
	known = true
	for _, f := range e.table.trees {
		rest, ok := under(field, f.Name)
		if !ok {
			continue
		}
		v, k := f.tree(e, rest)
		value = kql.Combine(value, v)
		if known = known && k; !e.record.dotted {
			break // only a name with dots gets into the tree of another row
		}
	}
	if e.table.above[field] {
		value = kql.Combine(value, e.objectAt(field))
	}
	return value, known
}

// An answer is the value of a row with read.
type answer struct {
	value       any
	known, read bool
}

// answer returns the value of a row with read, which is read once.
func (e *Event) answer(row int) (value any, known bool) {
	a := &e.answers[row]
	if !a.read {
		f := &e.table.fields[row]
		a.value, a.read = f.read(e), true
		a.known = a.value != nil || !f.inner || e.props().state != cut
		if a.value == notKnown {
			a.value, a.known = nil, false
		}
	}
	return a.value, a.known
}

// objectAt returns the rows below a name as an object.
func (e *Event) objectAt(name string) any {
	m := make(map[string]any)
	for i := range e.table.fields {
		f := &e.table.fields[i]
		if rest, ok := under(f.Name, name); ok && rest != "" && f.read != nil {
			if v, _ := e.answer(i); v != nil {
				m[rest] = v
			}
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// All returns the fields with a value, objects as one value; and, with the value
// nil, those of which some is not known.
func (e *Event) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := range e.table.fields {
			f := &e.table.fields[i]
			var value any
			known := true
			switch {
			case f.own:
			case f.read != nil:
				value, known = e.answer(i)
			case f.tree != nil:
				value, known = f.tree(e, "")
			}
			if value != nil && !yield(f.Name, value) || !known && !yield(f.Name, nil) {
				return
			}
		}
	}
}

// tables has the data sets by name.
var tables = func() map[string]*table {
	all := map[string]*table{"": (&table{}).ready()}
	for name := range categories { // the normalised ones follow
		all[name] = (&table{dataset: name, fields: common}).ready()
	}
	for _, t := range logTables {
		all[t.dataset] = t.ready()
	}
	return all
}()

// logTables are the tables of the logs that podwatch normalises.
var logTables = []*table{activityTable, platformTable, auditTable, signInTable, riskTable}

// allFields has the rows of all of them, byName the last of each name.
var allFields = func() (all []Field) {
	for _, t := range logTables {
		all = append(all, t.fields...)
	}
	return all
}()

var byName = func() map[string]*Field {
	rows := map[string]*Field{}
	for i := range allFields {
		rows[allFields[i].Name] = &allFields[i]
	}
	return rows
}()

// ready derives from the fields what look-ups need.
func (t *table) ready() *table {
	t.name = t.dataset
	t.rows, t.above = map[string]int{}, map[string]bool{}
	for i := range t.fields {
		f := &t.fields[i]
		if f.tree != nil {
			t.trees = append(t.trees, f)
		}
		if f.read == nil {
			continue
		}
		t.rows[f.Name] = i
		for end := range f.Name {
			if f.Name[end] == '.' {
				t.above[f.Name[:end]] = true
			}
		}
	}
	slices.SortFunc(t.trees, func(a, b *Field) int { return len(b.Name) - len(a.Name) })
	return t
}

// log returns the rows of a log's own fields: all that a record brings, with the
// types of those that Elastic maps in each log.
func log(root string) []Field {
	return append([]Field{
		{Name: root, tree: (*Event).inOwnFields},
		{Name: root + ".operation_name", Type: keyword, Verbatim: true, read: func(e *Event) any { return e.operation }},
		{Name: root + ".category", Type: keyword, Verbatim: true, read: func(e *Event) any { return e.category }},
	}, typed(keyword, root+".", "identity", "identity_name", "operation_version", "result_type", "result_signature", "result_description",
		"status", "tenant_id")...)
}

// inOwnFields is the tree of a log's own fields.
func (e *Event) inOwnFields(path string) (value any, known bool) {
	own := e.ownFields()
	if path == "" {
		return own, e.props().state != cut
	}
	value = findIn(own, path)
	_, inProperties := under(path, "properties")
	return value, !inProperties || e.props().state != cut || scalar(value)
}

func scalar(v any) bool {
	switch v.(type) {
	case nil, []any, map[string]any:
		return false
	}
	return true
}

// typed returns rows without values, about the types of fields in a tree.
func typed(typ, root string, names ...string) (fields []Field) {
	for _, name := range names {
		f := Field{Name: root + name, Type: typ, Verbatim: typ == keyword || typ == flattened}
		if typ == flattened {
			f.Below = flattened
		}
		fields = append(fields, f)
	}
	return fields
}

// Fields returns the rows of a data set; for "" those of all.
func Fields(dataset string) []Field { return slices.Clone(datasetFields(dataset)) }

// datasetFields is Fields in memory that is shared.
func datasetFields(dataset string) []Field {
	switch t := tables[dataset]; {
	case dataset == "":
		return allFields
	case t != nil:
		return t.fields
	}
	return nil
}

// Datasets returns the names of the data sets that podwatch normalises.
func Datasets() []string {
	return []string{ActivityLogs, PlatformLogs, EntraAudit, SignInLogs, IdentityProtection}
}

// Type returns the name of the Elasticsearch type that a field has where
// Elastic's Azure integration stores it, and "" for a field that podwatch does
// not know, whose type then follows from its value. All below a flattened field
// is "flattened": leaves there compare as text, whatever they are in JSON.
// field may have wildcards for names in between.
func Type(field string) string {
	f, exact := rowOf(field)
	switch {
	case f == nil:
		return ""
	case exact:
		return f.Type
	case f.Below != flattened && strings.HasSuffix(field, ".*"):
		return group
	}
	return f.Below
}

// rowOf returns the row of a field, or the nearest that it lies below.
func rowOf(field string) (f *Field, exact bool) {
	if f := byName[field]; f != nil {
		return f, true
	}
	if f := byName[starred(field)]; f != nil {
		return f, true
	}
	for i := strings.LastIndexByte(field, '.'); i > 0; i = strings.LastIndexByte(field[:i], '.') {
		if f := byName[field[:i]]; f != nil && (f.tree != nil || f.Below != "") {
			return f, false
		}
	}
	return nil, false
}

// starred puts "*" in the place of the numbers in a name.
func starred(field string) string {
	parts := strings.Split(field, ".")
	for i, part := range parts {
		if part != "" && strings.Trim(part, "0123456789") == "" {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}

// RawText returns text of which a raw record has at least one piece when its
// event has value in field, possibly in another case: search ignoring ASCII case.
// verbatim is false when nothing can be promised. value may also be a part of the
// field's value, such as a wildcard pattern has between its stars.
//
// The text may have escapes in the record, see package prefilter. The promise is narrow:
//   - only fields whose value is copied from the record, not derived, mapped or
//     compared other than as text;
//   - only characters that no JSON writer escapes, so a value is cut at slashes,
//     quotes, angle brackets and the like, and its longest piece is taken;
//   - event.outcome is not promised at all: the sign-in logs derive it from a
//     number.
func RawText(field, value string) (alternatives []string, verbatim bool) {
	if field == "data_stream.dataset" || field == "event.dataset" {
		return categories[value], categories[value] != nil
	}
	piece := longestPlain(value)
	if f, exact := rowOf(field); f == nil || piece == "" || strings.Contains(field, "*") || !f.verbatim(exact) {
		return nil, false
	}
	return []string{piece}, true
}

func (f *Field) verbatim(exact bool) bool {
	if exact {
		return f.Verbatim
	}
	return f.Below == keyword || f.Below == flattened
}

// longestPlain is the longest run in s of characters that every JSON writer
// writes as they are, in a string and in JSON text inside a string.
func longestPlain(s string) (best string) {
	for piece := range strings.FieldsFuncSeq(s, func(c rune) bool { return !inLogin(c) && c != ' ' && c != ':' }) {
		if len(piece) > len(best) {
			best = piece
		}
	}
	return best
}
