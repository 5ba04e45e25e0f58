package event

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"podwatch/handler/internal/jsontext"
)

// label is text, or the value of the pair of value and localizedValue that the
// activity log's REST interface uses in its place.
func (e *Event) label(v jsontext.Value) any {
	if v.Kind == jsontext.Object {
		return filled(asText(e.at(v, "value", 0)))
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
func (e *Event) str(v jsontext.Value) string { return asText(e.text(v)) }

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
			return e.shared(content.Raw)
		}
		plain, err := content.Plain(e.plain[:0])
		e.plain = plain
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
	m := e.newMap()
	for name, value := range v.Members(0) {
		if name != "" && complete(value, v.Text) {
			m[e.name(name)] = e.value(value, level)
		}
	}
	return m
}

// newMap returns an empty map, from the memory for maps if the event has one.
func (e *Event) newMap() map[string]any {
	if e.pool == nil {
		return make(map[string]any)
	}
	if e.mapsUsed == len(e.maps) {
		e.maps = append(e.maps, make(map[string]any))
	}
	e.mapsUsed++
	return e.maps[e.mapsUsed-1]
}

// freeMaps empties the maps for the next record. Of many or large ones, which a
// rare record took, the memory is given back.
func (e *Event) freeMaps() {
	const most = 64
	e.maps = e.maps[:min(len(e.maps), most)]
	for i, m := range e.maps[:min(e.mapsUsed, most)] {
		if len(m) > most {
			e.maps[i] = make(map[string]any)
			continue
		}
		clear(m)
	}
	e.mapsUsed = 0
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

// shared returns a part of the record, or of a text in it, as a string. It shares
// the memory of an event that has its own.
func (e *Event) shared(b []byte) any {
	if e.pool == nil && utf8.Valid(b) {
		return unsafe.String(unsafe.SliceData(b), len(b))
	}
	return e.pool.text(b)
}

// name is shared for the name of a member.
func (e *Event) name(name string) string {
	return e.shared(unsafe.Slice(unsafe.StringData(name), len(name))).(string)
}
