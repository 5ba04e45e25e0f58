package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// maxDepth bounds nesting, of a record and of JSON text inside it: deep enough
// for any Kubernetes object, shallow enough that a caller may recurse. Objects
// and arrays below it count as null.
const maxDepth = 64

// An object is a JSON object whose members have been found, and only that. Of
// members with equal names the last one counts; those without a name are dropped.
type object struct {
	members []member
	byName  map[string]int // index of members, once there are many
	end     int            // after the object, or where it breaks off

	// cut: the text ends or is malformed inside the object, in the value of
	// the member named last, if that is not "". What precedes is in members, also
	// the beginning of an object or array, but not of a text or number, because
	// half a value can look like another one.
	cut  bool
	last string

	dotted bool // a name has dots
}

type member struct {
	name  string // shares the memory of the text
	value jsontext.Value
}

// manyMembers is from how many members on names are found through a map.
const manyMembers = 32

// empty returns an object without members in the memory of o.
func (o object) empty() object {
	clear(o.byName)
	return object{members: o.members[:0], byName: o.byName}
}

// index finds the members of the object that begins at i.
func (o *object) index(t jsontext.Text, i int) {
	*o = o.empty()
	o.end = t.Space(i + 1)
	for name, v := range t.Members(i) {
		o.end = t.Space(v.End)
		if complete(v, t) {
			o.put(member{name, v})
		}
		if v.Kind == jsontext.Invalid || v.Truncated || brokenOff(v, t) {
			o.cut = true
			if name != "" {
				o.last = name
			}
		}
	}
	if !o.cut {
		o.end++
	}
}

// complete reports whether what there is of a value of t can be used: all of it,
// or of an object or array the beginning.
func complete(v jsontext.Value, t jsontext.Text) bool {
	switch v.Kind {
	case jsontext.Object, jsontext.Array:
		return true
	case jsontext.Invalid:
		return false
	}
	return !v.Truncated && !brokenOff(v, t)
}

// brokenOff reports whether v is a number in which t ends.
func brokenOff(v jsontext.Value, t jsontext.Text) bool {
	return v.Kind == jsontext.Number && v.End == len(t.Raw)
}

func (o *object) put(m member) {
	if m.name == "" {
		return
	}
	if i := o.find(m.name); i >= 0 {
		o.members[i] = m
		return
	}
	o.members = append(o.members, m)
	o.dotted = o.dotted || strings.IndexByte(m.name, '.') >= 0
	if len(o.members) < manyMembers {
		return
	}
	if o.byName == nil {
		o.byName = make(map[string]int)
	}
	for i := len(o.byName); i < len(o.members); i++ {
		o.byName[o.members[i].name] = i
	}
}

// remove takes out a member.
func (o *object) remove(name string) {
	if i := o.find(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
		clear(o.byName)
	}
}

// find returns the index of a member, -1 if there is none.
func (o *object) find(name string) int {
	if len(o.byName) > 0 {
		if i, ok := o.byName[name]; ok {
			return i
		}
		return -1
	}
	for i := range o.members {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// get returns the member with the first of the names that is there and not
// null: some services capitalise the common names. Of none the Kind is Invalid.
func (o *object) get(names ...string) jsontext.Value {
	for _, name := range names {
		if i := o.find(name); i >= 0 && o.members[i].value.Kind != jsontext.Null {
			return o.members[i].value
		}
	}
	return jsontext.Value{}
}

// An inner object is the value of a member: an object, or an object as JSON text.
type inner struct {
	object
	state state
	level int           // how deep it lies in the record, or in its text
	text  jsontext.Text // that the members are in
	plain []byte        // memory for text that cannot be read where it lies

	pruned bool // text is not what it was, because that cannot be walked
}

// A state is what became of an inner object.
type state uint8

const (
	absent    state = iota
	other           // neither object nor text
	plainText       // text that is no JSON object
	broken          // text that begins as an object, of which no member can be read
	cut             // an object of which the end is missing or malformed
	whole
)

func (in *inner) empty() inner { return inner{object: in.object.empty(), plain: in.plain[:0]} }

// is reports whether members can be read.
func (in *inner) is() bool { return in.state >= cut }

// read finds the members of v, which would lie level deep as an object.
func (in *inner) read(v jsontext.Value, level int) {
	*in = in.empty()
	switch v.Kind {
	case jsontext.Invalid, jsontext.Null:
	case jsontext.Object:
		in.readText(v.Text)
		in.level = level
	case jsontext.String:
		if in.text = v.Content(); in.text.Obscured() && !in.unquote() {
			in.state = broken
			return
		}
		in.readText(in.text)
	default:
		in.state = other
	}
}

func (in *inner) readText(t jsontext.Text) {
	in.text, in.level = t, 1
	i := t.Space(0)
	if t.Kind(i) != jsontext.Object {
		in.state = plainText
		return
	}
	in.index(t, i)
	if in.cut && in.tooDeep() {
		in.plain, in.pruned = pruned(in.plain), true
		in.text = jsontext.Text{Raw: in.plain}
		in.index(in.text, in.text.Space(0))
	}
	in.cut = in.cut || in.text.Space(in.end) < len(in.text.Raw)
	switch {
	case !in.cut:
		in.state = whole
	case len(in.members) == 0:
		in.state = broken
	default:
		in.state = cut
	}
}

// unquote moves the text to memory of its own, where nothing is quoted.
func (in *inner) unquote() bool {
	plain, err := in.text.Plain(in.plain[:0])
	in.plain, in.text = plain, jsontext.Text{Raw: plain}
	return err == nil
}

// tooDeep reports whether the text nests deeper than it can be walked. Its plain
// form is in in.plain then.
func (in *inner) tooDeep() bool {
	var err error
	in.plain, err = in.text.Plain(in.plain[:0])
	return err == nil && levels(in.plain) > jsontext.MaxLevels
}

// dropped reports whether text nests so deep that some of it was dropped.
func (in *inner) dropped() bool {
	if in.state != whole || in.level != 1 {
		return false // an object of the record, or not of interest
	}
	plain, err := in.text.Plain(nil)
	return in.pruned || err == nil && levels(plain) > maxDepth
}

// under reports whether path is name or goes on below it, and returns the rest.
func under(path, name string) (rest string, ok bool) {
	switch {
	case name == "" || len(path) < len(name) || path[:len(name)] != name:
		return "", false
	case len(path) == len(name):
		return "", true
	}
	return path[len(name)+1:], path[len(name)] == '.' && len(path) > len(name)+1
}

// find returns what the members have at path, in which names may have dots. level
// is how deep their object lies.
func (e *Event) find(members []member, path string, level int) any {
	var found any
	for i := range members {
		if rest, ok := under(path, members[i].name); ok {
			found = combine(found, e.at(members[i].value, rest, level))
		}
	}
	return found
}

// at returns what a value has at path; level is how deep its container lies.
func (e *Event) at(v jsontext.Value, path string, level int) any {
	switch {
	case path == "":
		return e.value(v, level)
	case level >= maxDepth:
		return nil
	case v.Kind == jsontext.Array:
		var found []any
		for element := range v.Elements(0) {
			if x := e.at(element, path, level+1); x != nil {
				found = append(found, x)
			}
		}
		return several(found)
	case v.Kind == jsontext.Object:
		var space [4]member
		candidates := object{members: space[:0]}
		for name, m := range v.Members(0) {
			if _, ok := under(path, name); ok && complete(m, v.Text) {
				candidates.put(member{name, m})
			}
		}
		return e.find(candidates.members, path, level+1)
	}
	return nil
}

// findIn is find in decoded JSON.
func findIn(m map[string]any, path string) any {
	found := m[path]
	for i := range len(path) {
		if path[i] == '.' {
			if v, ok := m[path[:i]]; ok {
				found = combine(found, descend(v, path[i+1:]))
			}
		}
	}
	return found
}

func descend(v any, path string) any {
	switch v := v.(type) {
	case map[string]any:
		return findIn(v, path)
	case []any:
		var found []any
		for _, element := range v {
			if x := descend(element, path); x != nil {
				found = append(found, x)
			}
		}
		return several(found)
	}
	return nil
}

// several returns the values of a field: nil, one or a list.
func several(values []any) any {
	switch len(values) {
	case 0:
		return nil
	case 1:
		return values[0]
	}
	return values
}

// combine returns the values of a field that has them in two places. It changes
// neither.
func combine(a, b any) any {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	left, ok1 := a.(map[string]any)
	right, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return []any{a, b}
	}
	both := maps.Clone(left)
	for k, v := range right {
		both[k] = combine(both[k], v)
	}
	return both
}

// label is text, or the value of the pair of value and localizedValue that the
// activity log's REST interface uses in its place.
func (e *Event) label(v jsontext.Value) any {
	if v.Kind == jsontext.Object {
		s, _ := e.at(v, "value", 0).(string)
		return filled(s)
	}
	return e.text(v)
}

// text is a scalar as text, nil for anything else and for empty text.
func (e *Event) text(v jsontext.Value) any {
	switch v.Kind {
	case jsontext.Number, jsontext.True, jsontext.False:
		return e.pool.text(v.Raw)
	case jsontext.String:
		if s := e.value(v, 0); s != "" {
			return s
		}
	}
	return nil
}

// str is text as a string.
func (e *Event) str(v jsontext.Value) string {
	s, _ := e.text(v).(string)
	return s
}

func filled(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// value decodes a value of a container that lies level deep: to string,
// json.Number, bool, []any, map[string]any or nil. Of a value that is cut it is
// what there is of it.
func (e *Event) value(v jsontext.Value, level int) any {
	switch v.Kind {
	case jsontext.True, jsontext.False:
		return v.Kind == jsontext.True
	case jsontext.Number:
		return e.pool.number(v.Raw)
	case jsontext.String:
		content := v.Content()
		if bytes.IndexByte(content.Raw, '\\') < 0 {
			return e.pool.text(content.Raw)
		}
		var space [256]byte
		plain, err := content.Plain(space[:0])
		if err != nil {
			return nil
		}
		return e.pool.text(plain)
	case jsontext.Object:
		if level < maxDepth {
			return e.decodeObject(v, level+1)
		}
	case jsontext.Array:
		if level < maxDepth {
			return e.decodeArray(v, level+1)
		}
	}
	return nil
}

func (e *Event) decodeObject(v jsontext.Value, level int) map[string]any {
	m := make(map[string]any)
	for name, value := range v.Members(0) {
		if name != "" && complete(value, v.Text) {
			m[e.name(name)] = e.value(value, level)
		}
	}
	return m
}

// decodeArray puts lists of scalars into the memory for lists.
func (e *Event) decodeArray(v jsontext.Value, level int) []any {
	n, flat := 0, e.pool != nil
	for element := range v.Elements(0) {
		n++
		flat = flat && element.Kind != jsontext.Object && element.Kind != jsontext.Array
	}
	var list []any
	if flat && n > 0 {
		list = e.list(n)
	} else {
		list = make([]any, 0, n)
	}
	for element := range v.Elements(0) {
		if complete(element, v.Text) {
			list = append(list, e.value(element, level))
		}
	}
	return list
}

// list returns an empty list for n values from the memory for lists.
func (e *Event) list(n int) []any {
	start := len(e.lists)
	if start+n > cap(e.lists) {
		start = 0
		e.lists = make([]any, 0, n+2*cap(e.lists))
	}
	e.lists = e.lists[:start+n]
	return e.lists[start : start : start+n]
}

// decode returns members, of an object that lies level deep, as decoded JSON.
func (e *Event) decode(members []member, level int) map[string]any {
	m := make(map[string]any, len(members))
	for i := range members {
		m[e.name(members[i].name)] = e.value(members[i].value, level)
	}
	return m
}

// name returns a name in memory of its own.
func (e *Event) name(name string) string { return e.pool.text([]byte(name)).(string) }

var errNotObject = errors.New("not a JSON object")

// syntaxError describes what is wrong with text that is no JSON object.
func syntaxError(text []byte) error {
	kind := map[jsontext.Kind]string{
		jsontext.Array: "array", jsontext.String: "string", jsontext.Number: "number",
		jsontext.True: "bool", jsontext.False: "bool", jsontext.Null: "null",
	}
	v := jsontext.Text{Raw: text}.Value(0)
	switch {
	case v.Start == len(text):
		return fmt.Errorf("%w but nothing", errNotObject)
	case !v.Truncated && kind[v.Kind] != "":
		return fmt.Errorf("%w but %s", errNotObject, kind[v.Kind])
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	return errNotObject
}

// levels is the deepest nesting in b, not looking into strings. b need not be
// valid JSON.
func levels(b []byte) int {
	level, deepest := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = closing(b, i)
		case '{', '[':
			level++
			deepest = max(deepest, level)
		case '}', ']':
			level--
		}
	}
	return deepest
}

// closing returns the index of the quote that closes the string at i.
func closing(b []byte, i int) int {
	for i++; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i
}

// pruned returns b with null in the place of all below maxDepth.
func pruned(b []byte) []byte {
	out := make([]byte, 0, len(b)/2)
	level, start := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = closing(b, i)
		case '{', '[':
			if level++; level == maxDepth+1 {
				out = append(append(out, b[start:i]...), "null"...)
			}
		case '}', ']':
			if level--; level == maxDepth {
				start = i + 1
			}
		}
	}
	if level <= maxDepth {
		out = append(out, b[min(start, len(b)):]...)
	}
	return out
}

// looksLikeObject reports whether text is meant to be a JSON object.
func looksLikeObject(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n")
	return s != "" && s[0] == '{'
}
