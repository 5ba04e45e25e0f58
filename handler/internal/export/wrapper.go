package export

import (
	"bytes"
	"encoding/base64"

	"podwatch/handler/internal/jsontext"
)

// Wraps reports whether forwarders, and tools that save what they received, put
// records, or JSON text of them, into a member of the name, in any case: CloudEvents
// and Event Grid (data, data_base64), Logstash and others (message), Cribl (_raw),
// Fluent Bit (log), OData (value), Logic Apps (ContentData), Splunk (event), alerts of
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
		"data", "data_base64", "message", "_raw", "log", "value", "contentdata", "event", "body", "alertcontext", "context", "activitylog",
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
				return holdsRecords(inner, nesting+1)
			}
			return true // the splitter unquotes and looks
		}
		return fromBase64(content.Raw) != nil
	}
	return false
}

// fromBase64 returns the JSON text that b is base64 of, nil if it is none.
func fromBase64(b []byte) []byte {
	const least = 16
	b = bytes.TrimSpace(b)
	if len(b) < least || bytes.IndexByte([]byte("eWH"), b[0]) < 0 { // of "{", "[" and space
		return nil
	}
	b = bytes.ReplaceAll(b, []byte(`\/`), []byte("/"))
	for _, coding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		plain := make([]byte, coding.DecodedLen(len(b)))
		n, err := coding.Decode(plain, b)
		if err != nil {
			continue
		}
		plain = bytes.TrimSpace(plain[:n])
		if len(plain) > 0 && (plain[0] == '{' || plain[0] == '[') {
			return plain
		}
	}
	return nil
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
