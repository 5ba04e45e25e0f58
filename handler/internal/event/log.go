package event

import (
	"bytes"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// A splitText is properties.log taken apart, where that is not one plain object:
// text before or after the event, several events, a list of them, JSON text in a
// string, single quotes.
type splitText struct {
	events [][]byte // audit events, the last of which may be cut
	rest   []byte   // all text that is in no event
}

// Bounds of taking properties.log apart. Each attempt reads up to the end of the
// text; there is one for each object that is no audit event.
const (
	maxAttempts = 64
	maxLayers   = 3 // of strings around the text
)

// splitLog finds the audit events in text, and what is in none. As many layers of
// strings may be around events.
func splitLog(text []byte, layers int) splitText {
	text = unwrapped(text)
	if plain, how, err := jsontext.Decoded(text, 0); how != "" && err == nil {
		text = unwrapped(plain) // what is compressed would cost too much in here
	}
	if mended := doubleQuoted(text); mended != nil {
		text = mended
	}
	var split splitText
	done := 0 // all before it is in events or in rest
	t := jsontext.Text{Raw: text}
	var o object
	for i, attempts := 0, 0; attempts < maxAttempts; {
		n := bytes.IndexByte(text[i:], '{')
		if n < 0 {
			break
		}
		i += n
		o.index(t, i)
		if !isAuditEvent(&o) {
			attempts++
			if inside := inStrings(&o, layers); len(inside.events) > 0 {
				split.rest = append(append(split.rest, text[done:i]...), inside.rest...)
				split.events = append(split.events, inside.events...)
				i, done = o.end, o.end
				continue
			}
			i++ // an event may be inside, or behind what is no JSON
			continue
		}
		end := o.end
		if o.cut {
			end = i + nextEvent(text[i:])
		}
		split.rest = append(split.rest, text[done:i]...)
		split.events = append(split.events, text[i:end:end])
		i, done = end, end
	}
	split.rest = append(split.rest, text[done:]...)
	return split
}

// inStrings takes the texts of an object apart, such as the line of a container's log
// with what wrote it and when.
func inStrings(o *object, layers int) (all splitText) {
	if layers == 0 || o.cut {
		return all
	}
	for i := range o.members {
		v := o.members[i].value
		if v.Kind != jsontext.String || !mentionsAudit(v.Raw) {
			continue
		}
		if plain, err := v.Content().Plain(nil); err == nil {
			inside := splitLog(plain, layers-1)
			all.events, all.rest = append(all.events, inside.events...), append(all.rest, inside.rest...)
		}
	}
	return all
}

// severalEvents reports whether text has the name of the member auditID more than
// once. It looks for the letter that is rare, many times as fast as for the name.
func severalEvents(text []byte) bool {
	const name = "auditID"
	seen := 0
	for i := 0; seen < 2; i++ {
		n := bytes.IndexByte(text[i:], name[len(name)-1])
		if n < 0 {
			return false
		}
		if i += n; bytes.HasSuffix(text[:i+1], []byte(name)) {
			seen++
		}
	}
	return true
}

// isAuditEvent reports whether an object has what only an audit event has.
func isAuditEvent(o *object) bool {
	if o.get("kind").Is("EventList") {
		return false
	}
	found := 0
	for _, name := range [...]string{"auditID", "stage", "requestURI", "verb"} {
		if o.get(name).Kind == jsontext.String {
			found++
		}
	}
	return found >= 2 || isAuditVersion(o.get("apiVersion")) && o.get("kind").Is("Event")
}

// mentionsAudit reports whether text, however it is quoted, has an audit event's version or
// the name of its id.
func mentionsAudit(raw []byte) bool {
	return bytes.Contains(raw, []byte(auditVersion)) || bytes.Contains(raw, []byte(`auditID"`)) || bytes.Contains(raw, []byte(`auditID\`)) ||
		bytes.Contains(raw, []byte("auditID%22")) || bytes.Contains(raw, []byte("auditID&"))
}

func isAuditVersion(v jsontext.Value) bool {
	return v.Kind == jsontext.String && bytes.HasPrefix(v.Content().Raw, []byte(auditVersion)) // a slash follows, perhaps escaped
}

// nextEvent returns where another event begins behind the beginning of one that is
// malformed or cut.
func nextEvent(text []byte) int {
	for _, start := range [...]string{`{"kind":"Event"`, `{"kind": "Event"`} {
		if n := bytes.Index(text[1:], []byte(start)); n >= 0 {
			return n + 1
		}
	}
	return len(text)
}

// unwrapped returns text without a byte order mark or NUL bytes around it, and
// without the strings that it is in.
func unwrapped(text []byte) []byte {
	for range maxLayers {
		text = bytes.Trim(bytes.TrimPrefix(bytes.Trim(text, "\x00 \t\r\n"), []byte("\xef\xbb\xbf")), "\x00 \t\r\n")
		v := jsontext.Text{Raw: text}.Value(0)
		if v.Kind != jsontext.String {
			break
		}
		plain, err := v.Content().Plain(nil)
		if err != nil {
			break
		}
		text = plain
	}
	return text
}

// doubleQuoted returns text whose strings are in single quotes as JSON, nil for
// any other.
func doubleQuoted(text []byte) []byte {
	start := bytes.IndexAny(text, "{[")
	if start < 0 {
		return nil
	}
	if inside := bytes.TrimLeft(text[start:], "{[ \t\r\n"); len(inside) == 0 || inside[0] != '\'' {
		return nil
	}
	mended, _, ok := jsontext.Mend(bytes.TrimRight(text[start:], "\x00 \t\r\n"), true)
	if !ok {
		return nil
	}
	return mended
}

// openLog finds the audit events in properties.log. Nearly always that is one
// object, which is read where it lies.
func (e *Event) openLog() {
	defer e.mendLog()
	if e.piece != nil {
		e.log.readText(jsontext.Text{Raw: e.piece})
		return
	}
	e.log.read(e.logged, e.properties.level+1)
	if !e.takenApart() {
		return
	}
	text := e.logged.Text
	if e.logged.Kind == jsontext.String {
		text = e.logged.Content()
	}
	plain, err := text.Plain(nil)
	if err != nil {
		return
	}
	split := splitLog(plain, maxLayers)
	e.unread = bytes.TrimSpace(split.rest)
	if len(split.events) == 0 {
		return
	}
	e.pieces = split.events
	e.log.readText(jsontext.Text{Raw: e.pieces[0]})
}

// mendLog gives an audit event what the API server writes and forwarders leave out or
// change: its kind and version, the verb in small letters or for the method of HTTP, and
// objects that became JSON text.
func (e *Event) mendLog() {
	o := &e.log.object
	for i := range o.members {
		m := &o.members[i]
		if m.value.Kind != jsontext.String {
			continue
		}
		switch m.name {
		case "verb":
			m.value = verb(m.value)
		case "user", "impersonatedUser", "sourceIPs", "objectRef", "responseStatus", "requestObject", "responseObject", "annotations":
			content := m.value.Content()
			if inside := content.Value(0); !inside.Truncated && (inside.Kind == jsontext.Object || inside.Kind == jsontext.Array) {
				m.value = inside
			}
		}
	}
	if o.get("apiVersion").Kind == jsontext.Invalid && isAuditEvent(o) {
		o.members = append(o.members, member{name: "apiVersion", value: auditV1})
		if o.get("kind").Kind == jsontext.Invalid {
			o.members = append(o.members, member{name: "kind", value: eventKind})
		}
	}
}

var (
	auditV1   = jsontext.Text{Raw: []byte(`"` + auditVersion + `/v1"`)}.Value(0)
	eventKind = jsontext.Text{Raw: []byte(`"Event"`)}.Value(0)
)

// verb is the verb of an audit event as the API server writes it.
func verb(v jsontext.Value) jsontext.Value {
	raw := v.Content().Raw
	if !bytes.ContainsFunc(raw, func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
		return v
	}
	text := strings.ToLower(string(raw))
	switch text {
	case "post":
		text = "create"
	case "put":
		text = "update"
	}
	return jsontext.Text{Raw: []byte(`"` + text + `"`)}.Value(0)
}

// takenApart reports whether properties.log is something else than one object, or
// the beginning of one, and may have audit events.
func (e *Event) takenApart() bool {
	switch e.log.state {
	case absent:
		return false
	case whole:
		return e.log.get("kind").Is("EventList") || e.log.get("verb").Kind == jsontext.Invalid && mentionsAudit(e.logged.Raw)
	case cut:
		if e.log.end >= len(e.log.text.Raw) && !severalEvents(e.log.text.Raw) {
			return false
		}
	}
	return e.isKubeAudit() || mentionsAudit(e.logged.Raw)
}

// Unread is the text in properties.log that is in none of the record's events and
// may have been one; nil if there is none.
func (e *Event) Unread() []byte {
	e.auditLog()
	if e.piece != nil {
		return nil // the first event of the record reports it
	}
	return e.unread
}
