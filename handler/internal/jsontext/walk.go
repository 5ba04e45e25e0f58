package jsontext

import (
	"bytes"
	"iter"
	"unsafe"
)

// A Value is a JSON value, as it is written in the text that it was found in.
type Value struct {
	Text            // of the value alone; of a string with its quotes
	Kind       Kind // Invalid where the text ends before a value begins
	Start, End int  // in the text that it was found in
	// Truncated: the text ends, or is malformed, before the value is complete.
	// Its Text is then the rest of the text.
	Truncated bool
}

// Value returns the value that begins at i, or after white space there.
func (t Text) Value(i int) Value {
	i = min(t.Space(i), len(t.Raw))
	kind := t.Kind(i)
	end, ok := t.Skip(i)
	if !ok && kind != String {
		end = len(t.Raw)
	}
	return Value{t.Cut(i, end), kind, i, end, !ok}
}

// Members returns the members of the object at i, in order. A name without
// escapes shares the memory of the text.
//
// If the object is not complete the last value is Truncated, and Invalid (with
// the name, if that was complete) where no value begins.
func (t Text) Members(i int) iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) { t.members(i, yield) }
}

func (t Text) members(i int, yield func(string, Value) bool) {
	i = t.Space(i)
	if t.Kind(i) != Object {
		return
	}
	i = t.Space(i + 1)
	if i < len(t.Raw) && t.Raw[i] == '}' {
		return
	}
	for {
		start := i
		end, ok := t.name(i)
		if !ok {
			yield("", t.end(i))
			return
		}
		v := t.Value(end)
		if !yield(t.memberName(start, end), v) || v.Truncated {
			return
		}
		if i, ok = t.separated(v.End, '}'); !ok {
			yield("", t.end(i))
			return
		} else if i < 0 {
			return
		}
	}
}

// Elements returns the elements of the array at i, in order. If the array is
// not complete the last one is Truncated, and Invalid where no value begins.
func (t Text) Elements(i int) iter.Seq[Value] {
	return func(yield func(Value) bool) { t.elements(i, yield) }
}

func (t Text) elements(i int, yield func(Value) bool) {
	i = t.Space(i)
	if t.Kind(i) != Array {
		return
	}
	i = t.Space(i + 1)
	if i < len(t.Raw) && t.Raw[i] == ']' {
		return
	}
	for ok := true; ; {
		v := t.Value(i)
		if !yield(v) || v.Truncated {
			return
		}
		if i, ok = t.separated(v.End, ']'); !ok {
			yield(t.end(i))
			return
		} else if i < 0 {
			return
		}
	}
}

// separated returns where the text goes on after the comma that follows a value
// which ends at i, -1 at the closing bracket, and false at anything else.
func (t Text) separated(i int, closing byte) (int, bool) {
	i = t.Space(i)
	switch {
	case i < len(t.Raw) && t.Raw[i] == closing:
		return -1, true
	case i < len(t.Raw) && t.Raw[i] == ',':
		return t.Space(i + 1), true
	}
	return i, false
}

// end is the value of an object or array that breaks off at i.
func (t Text) end(i int) Value {
	i = min(i, len(t.Raw))
	return Value{t.Cut(i, len(t.Raw)), Invalid, i, len(t.Raw), true}
}

// memberName returns the name between start and the end of its colon.
func (t Text) memberName(start, end int) string {
	unit := 1 << t.Depth
	closing := start + unit + bytes.LastIndexByte(t.Raw[start+unit:end], '"')
	name := t.Cut(start+unit, closing-unit+1).inner()
	if bytes.IndexByte(name.Raw, '\\') < 0 {
		return unsafe.String(unsafe.SliceData(name.Raw), len(name.Raw))
	}
	plain, err := name.Plain(nil)
	if err != nil {
		return string(name.Raw)
	}
	return string(plain)
}

func (t Text) inner() Text { return Text{t.Raw, t.Depth + 1} }

// Content returns what is between the quotes of a string: text that is quoted
// once more. Of a string that is Truncated it is what there is of it.
func (v Value) Content() Text {
	if v.Kind != String {
		return Text{}
	}
	unit := 1 << v.Depth
	end := len(v.Raw)
	if !v.Truncated {
		end -= unit
	}
	return v.Cut(unit, end).inner()
}

// Decode returns a string without its quotes and escapes, and of any other
// value the text of it. It is an error if the string is malformed.
func (v Value) Decode() (string, error) {
	text := v.Text
	if v.Kind == String {
		text = v.Content()
	}
	if bytes.IndexByte(text.Raw, '\\') < 0 {
		return string(text.Raw), nil
	}
	plain, err := text.Plain(nil)
	return string(plain), err
}

// Is reports whether the value is the string s.
func (v Value) Is(s string) bool {
	if v.Kind != String || v.Truncated {
		return false
	}
	content := v.Content()
	if bytes.IndexByte(content.Raw, '\\') < 0 {
		return string(content.Raw) == s
	}
	plain, err := content.Plain(nil)
	return err == nil && string(plain) == s
}
