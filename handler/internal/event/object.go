package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// An object is a JSON object whose members have been found, and only that. Of
// members with equal names the last one counts; those without a name do not.
type object struct {
	members []member
	end     int // after the object, or where it breaks off

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

	decoded   any // see Event.decoded
	isDecoded bool
}

// empty returns an object without members in the memory of o.
func (o object) empty() object { return object{members: o.members[:0]} }

// index finds the members of the object that begins at i.
func (o *object) index(t jsontext.Text, i int) {
	*o = o.empty()
	if o.members == nil {
		o.members = make([]member, 0, 16)
	}
	o.end = t.Space(i + 1)
	for name, v := range t.Members(i) {
		o.end = t.Space(v.End)
		if name != "" && complete(v, t) {
			o.members = append(o.members, member{name: name, value: v})
			o.dotted = o.dotted || strings.IndexByte(name, '.') >= 0
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

// get returns the member with the first of the names that is there and not
// null: some services capitalise the common names. Of none the Kind is Invalid.
func (o *object) get(names ...string) jsontext.Value {
	for _, name := range names {
		if m := o.find(name); m != nil && m.value.Kind != jsontext.Null {
			return m.value
		}
	}
	return jsontext.Value{}
}

// find returns the member of a name, nil if there is none.
func (o *object) find(name string) *member {
	for i := len(o.members) - 1; i >= 0; i-- {
		if m := &o.members[i]; m.name == name {
			return m
		}
	}
	return nil
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
	if bytes.Count(in.text.Raw, []byte("{"))+bytes.Count(in.text.Raw, []byte("[")) <= jsontext.MaxLevels {
		return false
	}
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

var errNotObject = errors.New("not a JSON object")

// syntaxError describes what is wrong with text that is no JSON object.
func syntaxError(text []byte) error {
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	return errNotObject
}

// looksLikeObject reports whether text is meant to be a JSON object.
func looksLikeObject(s string) bool {
	return strings.HasPrefix(strings.TrimLeft(s, " \t\r\n"), "{")
}
