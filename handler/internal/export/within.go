package export

import (
	"bytes"

	"podwatch/handler/internal/jsontext"
)

// Within returns the records inside of a record: objects with the fields of one, at any
// depth, also in JSON text and in text that encodes it. They have memory of their own.
func Within(record []byte) (records [][]byte) {
	unpacked := 0
	var look func(v jsontext.Value, nesting int, inner bool)
	look = func(v jsontext.Value, nesting int, inner bool) {
		if v.Truncated || nesting > maxNesting {
			return
		}
		switch v.Kind {
		case jsontext.Object:
			var marks mark
			for name := range v.Members(0) {
				marks |= markOf(name)
			}
			if inner && marks == isRecord {
				records = append(records, bytes.Clone(v.Raw))
				return
			}
			for _, m := range v.Members(0) {
				look(m, nesting+1, true)
			}
		case jsontext.Array:
			for element := range v.Elements(0) {
				look(element, nesting+1, true)
			}
		case jsontext.String:
			text, err := v.Content().Plain(nil)
			if err != nil {
				return
			}
			if plain, how, err := jsontext.Decoded(text, maxUnpacked-unpacked); how != "" && err == nil {
				text = plain
				unpacked += len(plain)
			}
			if beginsJSON(text) {
				t := jsontext.Text{Raw: text}
				look(t.Value(t.Space(0)), nesting+1, true)
			}
		}
	}
	t := jsontext.Text{Raw: record}
	look(t.Value(t.Space(0)), 0, false)
	return records
}
