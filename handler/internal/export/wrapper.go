package export

import (
	"bytes"
	"fmt"

	"podwatch/handler/internal/jsontext"
)

// Wraps reports whether forwarders, and tools that save what they received, put
// records, or JSON text of them, into a member of the name, in any case: CloudEvents
// and Event Grid (data, data_base64), Logstash and others (message), Cribl (_raw),
// Fluent Bit (log), OData (value), Logic Apps (ContentData, contentBytes, $content), Splunk
// (event), alerts of
// Azure Monitor (data.alertContext, data.context.activityLog), messages of a hub
// (Body, EventBody, payload; Avro as JSON: Body.bytes) and lists of any of them.
func Wraps[T string | []byte](name T) bool {
	var space [16]byte
	if len(name) > len(space) {
		return false
	}
	lower := space[:len(name)]
	for i := range lower {
		if lower[i] = name[i]; 'A' <= lower[i] && lower[i] <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	switch string(lower) {
	case "records", // if it is base64; else it is read before
		"data", "data_base64", "message", "_raw", "log", "value", "contentdata", "contentbytes", "$content", "event", "body", "alertcontext", "context", "activitylog",
		"eventbody", "payload", "content", "bytes", "messages", "events", "items", "results":
		return true
	}
	return false
}

// holdsRecords reports whether the value of a wrapper is a record or contains some:
// an object with the fields of a record or with "records", an array of such, JSON
// text or base64 of them, or a wrapper in turn.
func holdsRecords(v jsontext.Value, nesting int) bool {
	if v.Truncated || nesting >= maxNesting {
		return false
	}
	switch v.Kind {
	case jsontext.Object:
		var marks mark
		for name, m := range v.Members(0) {
			marks |= markOf(name)
			if name == "records" && mayHoldRecords(m) || Wraps(name) && holdsRecords(m, nesting+1) {
				return true
			}
		}
		return marks == isRecord
	case jsontext.Array:
		const most = 4 // the elements of one array are alike
		n := 0
		for element := range v.Elements(0) {
			if holdsRecords(element, nesting+1) {
				return true
			}
			if n++; n == most {
				break
			}
		}
	case jsontext.String:
		content := v.Content()
		switch i := content.Space(0); content.Kind(i) {
		case jsontext.Object, jsontext.Array:
			if inner := content.Value(i); !content.Obscured() {
				return holdsRecords(inner, nesting+1) || inner.Truncated && encodes(content)
			}
			return true // the splitter unquotes and looks
		}
		return encodes(content)
	}
	return false
}

// maxUnpacked bounds what the compressed parts of a body unpack to, in bytes.
const maxUnpacked = 8 << 20

// decoded returns the JSON text that b encodes, or why it cannot be had. how is "" for
// text that is not encoded.
func (s *splitter) decoded(b []byte) (text []byte, how, why string) {
	text, how, err := jsontext.Decoded(b, maxUnpacked-s.r.unpacked)
	s.r.unpacked += len(text)
	switch {
	case err != nil:
		return nil, how, fmt.Sprintf("%s: %v", how, err)
	case how != "" && !beginsJSON(text):
		return nil, "", ""
	}
	return text, how, ""
}

// encodes reports whether text is JSON text in an encoding, or may be.
func encodes(text jsontext.Text) bool {
	const peek = 64
	raw := text.Raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw, _ = text.Plain(nil)
	}
	plain, how, err := jsontext.Decoded(raw, peek)
	return how != "" && (beginsJSON(plain) || err != nil && len(plain) == 0)
}

func beginsJSON(text []byte) bool {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte(byteOrderMark)))
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

// unwrap reads the records in the members of the whole object b[start:end]. ok is
// false if it wraps none.
func (s *splitter) unwrap(start, end, nesting int) (ok bool) {
	if nesting >= maxNesting {
		return false
	}
	for name, v := range (jsontext.Text{Raw: s.b[:end]}).Members(start) {
		switch {
		case !Wraps(name) || !holdsRecords(v, nesting+1):
		case v.Kind == jsontext.String:
			ok = true
			s.text(v.Start, nesting+1)
		default:
			ok = true
			s.element(v.Start, nesting+1, false)
		}
	}
	return ok
}
