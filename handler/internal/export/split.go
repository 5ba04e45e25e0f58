package export

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"podwatch/handler/internal/jsontext"
)

// A splitter walks over one body: first strictly, and if anything is malformed
// once more from the start, carefully.
type splitter struct {
	scanner
	r       *result
	careful bool
	valid   bool      // the body is UTF-8
	full    bool      // maxRecords was reached
	torn    bool      // something was unreadable, so that what follows may be a fragment of it
	remark  string    // holds for every record
	parent  *splitter // of JSON text in a string of another body
	place   extent    // of that string
	nesting int       // of the whole body, in others
	lastBad int       // where the latest unreadable piece of this body begins
	next    extent    // memory of candidate: there is none in it before its end
}

func (s *splitter) split(body []byte) {
	start := 0
	switch {
	case bytes.HasPrefix(body, []byte(byteOrderMark)):
		start = len(byteOrderMark)
	case binaryForm(body) != "":
		s.refuse(body, binaryForm(body)+" data, not JSON text")
		return
	default:
		if text, ok := fromUTF16(body); ok {
			body = text
			s.remark = "UTF-16 converted"
		} else if text, how, why := s.decoded(body); why != "" {
			s.refuse(body, why)
			return
		} else if how != "" {
			body = text
			s.remark = join(s.remark, "decoded: "+how)
		}
	}
	s.b, s.valid = body, utf8.Valid(body)
	before := *s.r
	if !s.walk(start) {
		*s.r = before
		s.careful, s.track = true, true
		s.walk(start)
	}
}

func (s *splitter) refuse(body []byte, reason string) {
	s.b = body
	s.bad(0, len(body), reason)
}

// walk goes over the values of the body. It returns false if something is
// malformed and that was not to be dealt with.
func (s *splitter) walk(i int) bool {
	for {
		for i = s.space(i); bytes.HasPrefix(s.b[i:], []byte(byteOrderMark)); i = s.space(i) {
			i += len(byteOrderMark)
		}
		if i == len(s.b) {
			return true
		}
		switch s.b[i] {
		case ',', ']', '}':
			if !s.careful {
				return false
			}
			i++
			continue
		}
		var ok bool
		if i, ok = s.element(i, s.nesting, true); !ok {
			return false
		}
	}
}

// element reads the value at b[i] where a record is expected and returns the
// index where to go on. top: it is a value of the body itself, not in another.
func (s *splitter) element(i, nesting int, top bool) (int, bool) {
	if s.full {
		return len(s.b), true
	}
	switch s.b[i] {
	case '{':
		return s.object(i, nesting, top)
	case '[':
		return s.list(i, nesting)
	case '"':
		return s.text(i, nesting)
	}
	if start := s.behindPrefix(i); top && start > 0 {
		remark := s.remark
		s.remark = join(remark, "text before it was left out")
		next, ok := s.object(start, nesting, top)
		s.remark = remark
		return next, ok
	}
	end, v := s.value(i, false)
	if v == whole && !s.delimited(end) {
		v = broken
	}
	switch {
	case v == whole && s.b[i] == 'n':
		return end, true
	case v == whole:
		s.bad(i, end, "a number or truth value, not a record")
		return end, true
	}
	return s.junk(i, !top)
}

// behindPrefix returns where an object begins that is the rest of the line behind what
// syslog or the log of a container puts before it, 0 if there is none.
func (s *splitter) behindPrefix(i int) int {
	const longest = 512
	line := s.b[i:min(len(s.b), i+longest)]
	n := bytes.IndexByte(line, '{')
	if n < 0 || bytes.ContainsAny(line[:n], "\n}") || bytes.Contains(line[:n], []byte(`":`)) || bytes.Contains(line[:n], []byte(`",`)) {
		return 0 // perhaps the end of another record
	}
	probe := scanner{b: s.b}
	end, v := probe.value(i+n, false)
	s.steps += end - i
	for v == whole && end < len(s.b) && (s.b[end] == ' ' || s.b[end] == '\r') {
		end++
	}
	if v != whole || end < len(s.b) && s.b[end] != '\n' {
		return 0
	}
	return i + n
}

// delimited reports whether a bare word may end before b[i].
func (s *splitter) delimited(i int) bool {
	return i == len(s.b) || strings.IndexByte(" \t\r\n,]}", s.b[i]) >= 0
}

func (s *splitter) object(i, nesting int, top bool) (int, bool) {
	end, v := s.value(i, nesting < maxNesting)
	switch v {
	case whole:
		if s.wraps && s.unwrap(i, end, nesting) {
			return end, true
		}
		if top && s.parent == nil && s.unknownShape(i) {
			s.bad(i, end, `an object with neither "records" nor the fields of a record`)
			return end, true
		}
		if s.torn && s.marks == 0 {
			s.bad(i, end, "a fragment without the fields of a record")
			return end, true
		}
		return s.record(i, end), true
	case wrapped:
		return s.wrapper(s.at, nesting)
	case holding:
		next := s.at
		s.torn = true
		s.bad(i, next, fmt.Sprintf("not closed before the record at offset %d", s.base()+next))
		return next, true
	}
	if !s.careful {
		return 0, false
	}
	return s.salvage(i), true
}

// wrapper reads the value of a member "records" at b[i] and the members after it.
func (s *splitter) wrapper(i, nesting int) (_ int, ok bool) {
	if i, ok = s.element(i, nesting+1, false); !ok {
		return 0, false
	}
	for {
		i = s.space(i)
		switch {
		case i == len(s.b):
			return i, s.careful || s.full
		case s.b[i] == '}':
			return i + 1, true
		case s.b[i] != ',':
			return i, s.careful // the caller continues with what follows
		}
		start := s.space(i + 1)
		if start == len(s.b) || s.b[start] != '"' {
			return start, s.careful
		}
		if i = s.str(start); i < 0 {
			return s.junk(start, true)
		}
		name := s.b[start+1 : i-1]
		if i = s.space(i); i == len(s.b) || s.b[i] != ':' {
			return s.junk(start, true)
		}
		i = s.space(i + 1)
		if string(name) == "records" && s.holdsRecords(i) { // once more
			if i, ok = s.element(i, nesting+1, false); !ok {
				return 0, false
			}
			continue
		}
		end, v := s.value(i, false)
		switch v {
		case whole:
			i = end
		case holding:
			next := s.at
			s.bad(start, next, fmt.Sprintf("not closed before the record at offset %d", s.base()+next))
			return next, true
		default:
			return s.junk(start, true)
		}
	}
}

// list reads the array at b[i].
func (s *splitter) list(i, nesting int) (_ int, ok bool) {
	if nesting >= maxNesting {
		end, v := s.value(i, false)
		if v == holding {
			end = s.at
		} else if v != whole {
			return s.junk(i, true)
		}
		s.bad(i, end, "arrays nested too deep to hold records")
		return end, true
	}
	i++
	for n := 0; ; n++ {
		i = s.space(i)
		if i == len(s.b) {
			return i, s.careful
		}
		if s.b[i] == ']' && (n == 0 || s.careful) {
			return i + 1, true
		}
		if s.careful && (s.b[i] == ',' || s.b[i] == '}') {
			i++
			continue
		}
		if i, ok = s.element(i, nesting+1, false); !ok {
			return 0, false
		}
		if s.careful {
			continue
		}
		i = s.space(i)
		switch {
		case i == len(s.b):
			return i, s.full
		case s.b[i] == ']':
			return i + 1, true
		case s.b[i] != ',':
			return 0, false
		}
		i++
	}
}

// text reads the string at b[i], which may hold a record, or records, as JSON text.
func (s *splitter) text(i, nesting int) (int, bool) {
	end := s.str(i)
	if end < 0 {
		return s.junk(i, true)
	}
	if next := s.space(end); s.careful && next < len(s.b) && strings.IndexByte(`,]}{["`, s.b[next]) < 0 {
		return s.junk(i, true) // a quote is missing: what looks like text may hold a record's beginning
	}
	content, remark, why := s.content(i, end)
	if content == nil || nesting >= maxNesting {
		s.bad(i, end, why)
		return end, true
	}
	inner := splitter{
		scanner: scanner{frames: s.frames}, r: s.r,
		remark: join(s.remark, remark),
		parent: s, place: extent{i, end}, nesting: nesting + 1,
	}
	inner.split(content)
	s.steps += inner.steps
	s.full, s.frames = inner.full, inner.frames
	if s.full {
		s.bad(end, len(s.b), tooMany())
		return len(s.b), true
	}
	return end, true
}

// content returns the JSON text in the string b[i:end] and what was done to get at it; of
// none, why.
func (s *splitter) content(i, end int) (content []byte, remark, why string) {
	const none = "text, not a record"
	var text string
	if json.Unmarshal(s.b[i:end], &text) != nil {
		return nil, "", none
	}
	if beginsJSON([]byte(text)) {
		return []byte(text), "record was JSON text in a string", none
	}
	content, how, why := s.decoded([]byte(text))
	if how == "" {
		return nil, "", none
	}
	return content, "record was text in a string, decoded: " + how, cmp.Or(why, none)
}

func tooMany() string {
	return fmt.Sprintf("more than %d records in one message", maxRecords)
}

// record takes the well-formed object b[start:end] for a record and returns
// where to go on.
func (s *splitter) record(start, end int) int {
	if s.exhausted(start) {
		return len(s.b)
	}
	raw := s.b[start:end:end]
	if len(raw) > maxRecord {
		s.bad(start, end, tooLarge(len(raw)))
		return end
	}
	note := s.remark
	if s.twice != (extent{}) {
		name := s.b[s.twice.start:s.twice.end]
		note = join(note, fmt.Sprintf("field %q given twice, the last one counts", name[:min(len(name), 64)]))
	}
	if !s.valid && !utf8.Valid(raw) {
		raw = bytes.Map(func(r rune) rune { return r }, raw) // U+FFFD for each byte, as encoding/json reads it
		note = join(note, jsontext.MendedUTF8)
	}
	if s.empty {
		mended, what, ok := jsontext.Mend(raw, false)
		if !ok {
			s.bad(start, end, "only empty field names")
			return end
		}
		raw, note = mended, join(note, what)
	}
	s.good(start, raw, note)
	return end
}

// good adds a record that begins at start.
func (s *splitter) good(start int, record []byte, note string) {
	s.r.pieces = append(s.r.pieces, Piece{JSON: record, Offset: s.base() + start, Mended: note})
}

func tooLarge(n int) string {
	return fmt.Sprintf("record of %d bytes, more than %d", n, maxRecord)
}

// exhausted reports whether there are as many records as there may be; what
// begins at start is then given up.
func (s *splitter) exhausted(start int) bool {
	if len(s.r.pieces)-s.r.unreadable < maxRecords {
		return false
	}
	if !s.full {
		s.full = true
		s.bad(start, len(s.b), tooMany())
	}
	return true
}

// unknownShape reports whether the object that was just scanned is no record
// but a wrapper of something else: only arrays, and no name that a record has.
func (s *splitter) unknownShape(start int) bool {
	for name, v := range (jsontext.Text{Raw: s.b}).Members(start) {
		if markOf(name) != 0 || v.Kind != jsontext.Array {
			return false
		}
	}
	return true
}

func (s *splitter) base() int {
	if s.parent != nil {
		return s.parent.base() + s.place.start
	}
	return 0
}

// bad adds an unreadable piece.
func (s *splitter) bad(start, end int, reason string) {
	if s.parent != nil && (s.full || s.r.unreadable >= maxPieces) {
		s.parent.bad(s.place.start, s.place.end, reason)
		return
	}
	body := bytes.TrimRight(s.b[start:end:end], ", \t\r\n")
	if len(body) == 0 {
		return
	}
	if s.r.unreadable >= maxPieces {
		last := &s.r.pieces[s.r.last]
		last.Reason, last.JSON = tooManyPieces, s.b[s.lastBad:start+len(body)]
		return
	}
	s.lastBad, s.r.last = start, len(s.r.pieces)
	s.r.unreadable++
	s.r.pieces = append(s.r.pieces, Piece{JSON: body, Offset: s.base() + start, Reason: reason})
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
