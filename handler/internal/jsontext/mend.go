package jsontext

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// What Mend reports.
const (
	mendedComma   = "stray comma removed"
	mendedName    = "empty field name dropped"
	mendedControl = "control character escaped"
	mendedEscape  = "malformed escape kept as text"
	MendedUTF8    = "invalid UTF-8 replaced"
	mendedSingle  = "single quotes replaced"
	mendedBare    = "bare text quoted"
	mendedBracket = "closing bracket added"
)

// mender reads one object that is nearly JSON and writes it as JSON. It goes
// over its input once and never guesses where a string or a field ends: what
// would need that is not mended.
type mender struct {
	src    []byte
	i      int
	out    []byte
	notes  []string
	atEnd  bool // src ends where the body ends, so the last number may be cut
	number bool // the latest value was a number
	fields int
}

// Mend returns src, an object that is nearly JSON, as JSON, and what was done to
// it: stray commas, fields without a name, control characters and malformed
// escapes in strings, bytes that are not UTF-8, single or no quotes, missing
// brackets at the end. atEnd: nothing follows src, so that a number at its end may
// be cut. It returns false for what is not mended with certainty, and for objects
// without fields.
func Mend(src []byte, atEnd bool) (out []byte, notes string, ok bool) {
	m := mender{src: src, atEnd: atEnd, out: make([]byte, 0, len(src)+len(src)/8)}
	if !m.value(0) || m.space() < len(src) || m.fields == 0 {
		return nil, "", false
	}
	return m.out, strings.Join(m.notes, "; "), true
}

func (m *mender) note(s string) {
	if !slices.Contains(m.notes, s) {
		m.notes = append(m.notes, s)
	}
}

func (m *mender) space() int {
	m.i = Text{Raw: m.src}.Space(m.i)
	return m.i
}

func (m *mender) value(depth int) bool {
	if m.space() >= len(m.src) {
		return false
	}
	m.number = false
	switch c := m.src[m.i]; c {
	case '{', '[':
		return depth < MaxLevels && m.container(depth, c)
	case '"':
		return m.str()
	case '\'':
		return m.single()
	default:
		return m.bare()
	}
}

// container reads an object or an array.
func (m *mender) container(depth int, open byte) bool {
	closing := open + 2 // '{' and '}', '[' and ']' are two apart
	m.out = append(m.out, open)
	m.i++
	for n := 0; ; {
		comma := false
		for m.space() < len(m.src) && m.src[m.i] == ',' {
			if comma || n == 0 {
				m.note(mendedComma)
			}
			comma = true
			m.i++
		}
		switch {
		case m.i == len(m.src):
			if n == 0 || m.number && m.atEnd {
				return false
			}
			m.note(mendedBracket)
			m.out = append(m.out, closing)
			return true
		case m.src[m.i] == closing:
			if comma {
				m.note(mendedComma)
			}
			m.number = false
			m.i++
			m.out = append(m.out, closing)
			return true
		case n > 0 && !comma:
			return false
		}
		before, first := len(m.out), len(m.out) > 0 && m.out[len(m.out)-1] == open
		if !first {
			m.out = append(m.out, ',')
		}
		if open == '{' {
			named, ok := m.name()
			if !ok || m.space() >= len(m.src) || m.src[m.i] != ':' {
				return false
			}
			m.i++
			m.out = append(m.out, ':')
			if !m.value(depth + 1) {
				return false
			}
			if named {
				m.fields++
			} else {
				m.note(mendedName)
				m.out = m.out[:before]
			}
		} else if !m.value(depth + 1) {
			return false
		}
		n++
	}
}

// name reads a field name and reports whether it has any characters.
func (m *mender) name() (named, ok bool) {
	before := len(m.out)
	switch m.src[m.i] {
	case '"':
		ok = m.str()
	case '\'':
		ok = m.single()
	default:
		start := m.i
		for m.i < len(m.src) && (m.src[m.i] == '_' || m.src[m.i] >= '0' && m.src[m.i] <= '9' || m.src[m.i]|0x20 >= 'a' && m.src[m.i]|0x20 <= 'z') {
			m.i++
		}
		m.out = append(append(append(m.out, '"'), m.src[start:m.i]...), '"')
		m.note(mendedBare)
		ok = m.i > start
	}
	return len(m.out)-before > len(`""`), ok
}

// str reads a string in double quotes.
func (m *mender) str() bool {
	m.out = append(m.out, '"')
	for m.i++; m.i < len(m.src); {
		switch c := m.src[m.i]; c {
		case '"':
			m.out = append(m.out, '"')
			m.i++
			return true
		case '\\':
			m.escape()
		default:
			m.character()
		}
	}
	return false
}

// single reads a string in single quotes. An apostrophe within ends it only
// where a value can end.
func (m *mender) single() bool {
	m.note(mendedSingle)
	m.out = append(m.out, '"')
	for m.i++; m.i < len(m.src); {
		switch c := m.src[m.i]; c {
		case '\'':
			m.i++
			next := Text{Raw: m.src}.Space(m.i)
			if next == len(m.src) || strings.IndexByte(",:}]", m.src[next]) >= 0 {
				m.i = next
				m.out = append(m.out, '"')
				return true
			}
			// Copy the white space as well, so that it is looked at only once more.
			m.out = append(m.out, '\'')
			for m.i < next {
				m.character()
			}
		case '"':
			m.out = append(m.out, `\"`...)
			m.i++
		case '\\':
			if m.i+1 < len(m.src) && m.src[m.i+1] == '\'' {
				m.out = append(m.out, '\'')
				m.i += 2
			} else {
				m.escape()
			}
		default:
			m.character()
		}
	}
	return false
}

// escape copies an escape sequence, or a backslash that begins none as a character.
func (m *mender) escape() {
	if n := escape(m.src[m.i:]); n > 0 {
		m.out = append(m.out, m.src[m.i:m.i+n]...)
		m.i += n
		return
	}
	m.note(mendedEscape)
	m.out = append(m.out, `\\`...)
	m.i++
}

// character copies one character of a string, neither quote nor backslash.
func (m *mender) character() {
	const hex = "0123456789abcdef"
	c := m.src[m.i]
	switch {
	case c == '\n':
		m.out = append(m.out, `\n`...)
	case c == '\r':
		m.out = append(m.out, `\r`...)
	case c == '\t':
		m.out = append(m.out, `\t`...)
	case c < ' ':
		m.out = append(m.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	case c < utf8.RuneSelf:
		m.out = append(m.out, c)
		m.i++
		return
	default:
		r, n := utf8.DecodeRune(m.src[m.i:])
		if r == utf8.RuneError && n == 1 {
			m.note(MendedUTF8)
		}
		m.out = utf8.AppendRune(m.out, r)
		m.i += n
		return
	}
	m.note(mendedControl)
	m.i++
}

// bare reads a number, true, false, null, or text without quotes, which ends
// where a value can end.
func (m *mender) bare() bool {
	start := m.i
	for m.i < len(m.src) && m.src[m.i] >= ' ' && strings.IndexByte(`,:"{}[]`, m.src[m.i]) < 0 {
		m.i++
	}
	text := strings.TrimRight(string(m.src[start:m.i]), " ")
	switch {
	case text == "":
		return false
	case text == "true" || text == "false" || text == "null":
		m.out = append(m.out, text...)
		return true
	case number([]byte(text)) == len(text):
		m.number = true
		m.out = append(m.out, text...)
		return true
	case m.i == len(m.src):
		return false // cut
	}
	m.note(mendedBare)
	end := m.i
	m.out = append(m.out, '"')
	for m.i = start; m.i < start+len(text); {
		if m.src[m.i] == '\\' {
			m.out = append(m.out, `\\`...)
			m.i++
		} else {
			m.character()
		}
	}
	m.out = append(m.out, '"')
	m.i = end
	return true
}
