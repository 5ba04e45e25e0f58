// Package export takes the body of an Event Hub message apart into the log
// records that an Azure diagnostic setting wrote.
//
// A malformed record costs only itself: whole records around it are found, and
// what cannot be read is handed back with its offset and the reason. Whatever
// is said to be a record is a valid JSON object. Bodies are untrusted: [Split]
// takes time linear in their length, and a well-formed body is gone over once
// and not copied, so that its records are parts of the body itself.
package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits bounds what Split makes of a body. Zero values mean the defaults.
type Limits struct {
	MaxRecord  int // bytes of one record; default 2 MiB, twice what a Standard hub carries
	MaxRecords int // records of one body, passed over or not; default 100,000
	MaxDepth   int // levels of nesting within a record, at most 1024; default 200

	// Want, if not nil, is asked about each record as it stands in the body;
	// those that it does not want are counted in Result.Passed and nothing else
	// is done for them. It must not keep what it is given.
	Want func(raw []byte) bool
}

// A Kind is the shape that a body has.
type Kind string

// The shapes of bodies.
const (
	KindEmpty   Kind = "empty"   // no bytes, white space, or null
	KindWrapper Kind = "wrapper" // an object with "records": the usual export
	KindRecord  Kind = "record"  // one record on its own
	KindArray   Kind = "array"
	KindStream  Kind = "stream"  // several values, one after the other
	KindUnknown Kind = "unknown" // none of these
)

// Result is what a body held.
type Result struct {
	Kind       Kind
	Records    []Record
	Passed     int // records that Limits.Want passed over
	Unreadable []Unreadable
}

// A Record is one exported log entry.
type Record struct {
	JSON     []byte // a valid JSON object; part of the body unless it was repaired
	Repaired string // what was mended or is odd, "" for nothing
}

// Unreadable is a piece of a body that holds no record that can be read. Of
// very many pieces the last ones are one.
type Unreadable struct {
	Offset int    // in bytes from the start of the body; in its UTF-8 form if that was UTF-16
	Reason string // never quotes the body
	Body   []byte // part of the body
}

// maxPieces is the number of unreadable pieces after which they are put together.
const (
	maxPieces     = 1000
	tooManyPieces = "more than 1000 unreadable pieces, this is all from the last one on"
)

const whyFragment = "a fragment without the fields of a record"

// maxNesting bounds wrappers in arrays in strings in wrappers ...
const maxNesting = 8

// Split finds the records of a body. Records and unreadable pieces are in the
// order of the body and share its memory.
func Split(body []byte, limits Limits) Result {
	var r Result
	r.Split(body, limits)
	return r
}

// Split is the function Split into the memory of an older Result, whose
// records are forgotten.
func (r *Result) Split(body []byte, limits Limits) {
	clear(r.Records)
	clear(r.Unreadable)
	*r = Result{Kind: KindEmpty, Records: r.Records[:0], Unreadable: r.Unreadable[:0]}
	s := newSplitter(r, limits)
	s.split(body)
}

func newSplitter(r *Result, limits Limits) *splitter {
	if limits.MaxRecord <= 0 {
		limits.MaxRecord = 2 << 20
	}
	if limits.MaxRecords <= 0 {
		limits.MaxRecords = 100_000
	}
	if limits.MaxDepth <= 0 {
		limits.MaxDepth = 200
	}
	return &splitter{scanner: scanner{maxDepth: min(limits.MaxDepth, maxLevels)}, limits: limits, r: r}
}

// A splitter walks over one body: first strictly, and if anything is malformed
// once more from the start, carefully.
type splitter struct {
	scanner
	limits  Limits
	r       *Result
	careful bool
	valid   bool      // the body is UTF-8
	full    bool      // MaxRecords was reached
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
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		start = 3
	case bytes.HasPrefix(body, []byte("\x1f\x8b")):
		s.refuse(body, "gzip data, not JSON text")
		return
	case bytes.HasPrefix(body, []byte("\x28\xb5\x2f\xfd")):
		s.refuse(body, "zstd data, not JSON text")
		return
	default:
		if order := utf16Order(body); order != nil {
			body = fromUTF16(body, order)
			s.remark = "UTF-16 converted"
		}
	}
	s.b, s.valid = body, utf8.Valid(body)
	records, unreadable, passed, kind := len(s.r.Records), len(s.r.Unreadable), s.r.Passed, s.r.Kind
	if !s.walk(start) {
		s.r.Records, s.r.Unreadable, s.r.Passed, s.r.Kind = s.r.Records[:records], s.r.Unreadable[:unreadable], passed, kind
		s.careful, s.track = true, true
		s.walk(start)
	}
}

func (s *splitter) refuse(body []byte, reason string) {
	s.b = body
	s.kind(0, KindUnknown)
	s.bad(0, len(body), reason)
}

// kind sets the kind of the body by the nth value in it.
func (s *splitter) kind(n int, k Kind) {
	switch {
	case s.parent != nil:
	case n == 0:
		s.r.Kind = k
	case n > 0:
		s.r.Kind = KindStream
	}
}

// walk goes over the values of the body. It returns false if something is
// malformed and that was not to be dealt with.
func (s *splitter) walk(i int) bool {
	for n := 0; ; n++ {
		for i = s.space(i); bytes.HasPrefix(s.b[i:], []byte("\xef\xbb\xbf")); i = s.space(i) {
			i += 3
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
			n--
			continue
		case '[':
			s.kind(n, KindArray)
		case '{':
			s.kind(n, KindRecord) // until a wrapper shows
		case 'n':
			s.kind(n, KindEmpty)
		default:
			s.kind(n, KindUnknown)
		}
		var ok bool
		if i, ok = s.element(i, s.nesting, n); !ok {
			return false
		}
	}
}

// element reads the value at b[i] where a record is expected and returns the
// index where to go on. top is the number of the value in the body, or -1
// within others.
func (s *splitter) element(i, nesting, top int) (int, bool) {
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
	case !s.careful:
		return 0, false
	}
	return s.junk(i, top < 0), true
}

// delimited reports whether a bare word may end before b[i].
func (s *splitter) delimited(i int) bool {
	return i == len(s.b) || strings.IndexByte(" \t\r\n,]}", s.b[i]) >= 0
}

func (s *splitter) object(i, nesting, top int) (int, bool) {
	end, v := s.value(i, nesting < maxNesting)
	switch v {
	case whole:
		if top >= 0 && s.parent == nil && s.unknownShape(i) {
			s.kind(top, KindUnknown)
			s.bad(i, end, `an object with neither "records" nor the fields of a record`)
			return end, true
		}
		if s.torn && s.marks == 0 {
			s.bad(i, end, whyFragment)
			return end, true
		}
		return s.record(i, end), true
	case wrapped:
		s.kind(top, KindWrapper)
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
	for {
		// here b[i] begins the value of "records"
		if i, ok = s.element(i, nesting+1, -1); !ok {
			return 0, false
		}
	members:
		for {
			i = s.space(i)
			switch {
			case i == len(s.b):
				return i, s.careful || s.full
			case s.b[i] == '}':
				return i + 1, true
			case s.b[i] != ',':
				return i, s.careful // whoever called goes on with what stands here
			}
			start := s.space(i + 1)
			if start == len(s.b) || s.b[start] != '"' {
				return start, s.careful
			}
			if i = s.str(start); i > 0 {
				name := s.b[start+1 : i-1]
				if i = s.space(i); i < len(s.b) && s.b[i] == ':' {
					i = s.space(i + 1)
					if string(name) == "records" && s.holdsRecords(i) {
						break members
					}
					end, v := s.value(i, false)
					switch {
					case v == whole:
						i = end
						continue
					case v == holding:
						next := s.at
						s.bad(start, next, fmt.Sprintf("not closed before the record at offset %d", s.base()+next))
						return next, true
					}
				}
			}
			if !s.careful {
				return 0, false
			}
			return s.junk(start, true), true
		}
	}
}

// list reads the array at b[i].
func (s *splitter) list(i, nesting int) (_ int, ok bool) {
	if nesting >= maxNesting {
		end, v := s.value(i, false)
		switch {
		case v == whole:
			s.bad(i, end, "arrays nested too deep to hold records")
			return end, true
		case !s.careful:
			return 0, false
		case v == holding:
			next := s.at
			s.bad(i, next, "arrays nested too deep to hold records")
			return next, true
		}
		return s.junk(i, true), true
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
		if i, ok = s.element(i, nesting+1, -1); !ok {
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
		if !s.careful {
			return 0, false
		}
		return s.junk(i, true), true
	}
	if next := s.space(end); s.careful && next < len(s.b) && strings.IndexByte(`,]}{["`, s.b[next]) < 0 {
		return s.junk(i, true), true // a quote is missing: what looks like text may hold a record's beginning
	}
	raw := s.b[i:end]
	first := s.space(i + 1)
	if s.b[first] != '{' && s.b[first] != '[' || nesting >= maxNesting {
		s.bad(i, end, "text, not a record")
		return end, true
	}
	if s.limits.Want != nil && !s.limits.Want(raw) {
		s.r.Passed++
		return end, true
	}
	var content string
	if err := json.Unmarshal(raw, &content); err != nil {
		s.bad(i, end, "text, not a record")
		return end, true
	}
	inner := splitter{
		scanner: scanner{maxDepth: s.maxDepth, frames: s.frames}, limits: s.limits, r: s.r,
		remark: join(s.remark, "record was JSON text in a string"),
		parent: s, place: extent{i, end}, nesting: nesting + 1,
	}
	inner.split([]byte(content))
	s.steps += inner.steps
	s.full, s.frames = inner.full, inner.frames
	if s.full {
		s.bad(end, len(s.b), s.tooMany())
		return len(s.b), true
	}
	return end, true
}

func (s *splitter) tooMany() string {
	return fmt.Sprintf("more than %d records in one message", s.limits.MaxRecords)
}

// record takes the well-formed object b[start:end] for a record and returns
// where to go on.
func (s *splitter) record(start, end int) int {
	if s.exhausted(start) {
		return len(s.b)
	}
	raw := s.b[start:end:end]
	if s.limits.Want != nil && !s.limits.Want(raw) {
		s.r.Passed++
		return end
	}
	if len(raw) > s.limits.MaxRecord {
		s.bad(start, end, s.tooLarge(len(raw)))
		return end
	}
	note := s.remark
	if s.twice != (extent{}) {
		name := s.b[s.twice.start:s.twice.end]
		note = join(note, fmt.Sprintf("field %q given twice, the last one counts", name[:min(len(name), 64)]))
	}
	if !s.valid && !utf8.Valid(raw) {
		raw = validUTF8(raw)
		note = join(note, mendedUTF8)
	}
	if s.empty {
		mended, what, ok := mend(raw, s.maxDepth, false)
		if !ok {
			s.bad(start, end, "only empty field names")
			return end
		}
		raw, note = mended, join(note, what)
	}
	s.r.Records = append(s.r.Records, Record{JSON: raw, Repaired: note})
	return end
}

func (s *splitter) tooLarge(n int) string {
	return fmt.Sprintf("record of %d bytes, more than %d", n, s.limits.MaxRecord)
}

// exhausted reports whether there are as many records as there may be; what
// begins at start is then given up.
func (s *splitter) exhausted(start int) bool {
	if len(s.r.Records)+s.r.Passed < s.limits.MaxRecords {
		return false
	}
	if !s.full {
		s.full = true
		s.bad(start, len(s.b), s.tooMany())
	}
	return true
}

// unknownShape reports whether the object that was just scanned is no record
// but a wrapper of something else: only arrays, and no name that a record has.
func (s *splitter) unknownShape(start int) bool {
	for _, name := range s.names[:s.nnames] {
		if markOf(s.b[name.start:name.end]) != 0 {
			return false
		}
	}
	probe := scanner{b: s.b, maxDepth: s.maxDepth}
	for i := probe.space(start + 1); s.b[i] != '}'; {
		i = probe.space(probe.space(probe.str(i)) + 1) // past the name and the colon
		if s.b[i] != '[' {
			return false
		}
		i, _ = probe.value(i, false)
		if i = probe.space(i); s.b[i] == ',' {
			i = probe.space(i + 1)
		}
	}
	return true
}

// salvage deals with the malformed object at b[start] after the scan that
// found it so, and returns where to go on.
//
// It ends where its brackets close or one does not fit, counting outside of
// strings, but not beyond the next thing that is surely a record: brackets
// cannot be trusted in it.
func (s *splitter) salvage(start int) int {
	at, why := s.at, s.why
	limit := s.candidate(max(s.quote, start) + 1)
	end, closed := s.match(start, limit)
	next := end
	if !closed {
		end = start + len(bytes.TrimRight(s.b[start:end], ", \t\r\n"))
	}
	reason := fmt.Sprintf("%s at offset %d", why, s.base()+at)
	if why == whyDeep {
		reason = fmt.Sprintf("nested deeper than %d levels", s.maxDepth)
	} else if end-start > s.limits.MaxRecord {
		reason = s.tooLarge(end - start)
	} else if mended, note, ok := s.mend(start, end); ok {
		s.torn = s.torn || !closed
		if s.exhausted(start) {
			return len(s.b)
		}
		if s.limits.Want != nil && !s.limits.Want(s.b[start:end]) && !s.limits.Want(mended) {
			s.r.Passed++
		} else {
			s.r.Records = append(s.r.Records, Record{JSON: mended, Repaired: join(s.remark, note)})
		}
		return next
	}
	s.torn = true
	s.bad(start, end, reason)
	return next
}

// mend mends the object in b[start:end].
func (s *splitter) mend(start, end int) (mended []byte, note string, ok bool) {
	mended, note, ok = mend(s.b[start:end], s.maxDepth, end == len(s.b))
	if !ok || len(mended) > s.limits.MaxRecord {
		return nil, "", false
	}
	probe := scanner{b: mended, maxDepth: s.maxDepth, track: true, frames: s.frames}
	stop, v := probe.value(0, false)
	if v != whole || stop != len(mended) || s.torn && probe.marks == 0 {
		return nil, "", false
	}
	return mended, note, true
}

// candidate returns where the next thing begins that is surely a record or a
// wrapper, at from or after it: a well-formed object with the fields of one. It
// returns len(b) if there is none.
func (s *splitter) candidate(from int) int {
	if s.next.start <= from && from <= s.next.end && s.next.end > 0 {
		return s.next.end
	}
	s.next = extent{from, s.search(from)}
	return s.next.end
}

func (s *splitter) search(i int) int {
	for {
		n := bytes.IndexByte(s.b[i:], '{')
		if n < 0 {
			return len(s.b)
		}
		s.steps += n + 1
		start := i + n
		i = start + 1
		if first := s.space(i); first == len(s.b) || s.b[first] != '"' {
			continue
		}
		before := bytes.TrimRight(s.b[:start], " \t\r\n")
		member := len(before) > 0 && before[len(before)-1] == ':' && bytes.IndexByte(s.b[len(before):start], '\n') < 0
		end, v := s.value(start, true)
		switch {
		case v == wrapped:
			return start
		case v == holding:
			return s.at
		case v == whole && !member && s.marks == isRecord:
			return start
		case v == whole:
			i = end
		case v == broken:
			// Objects that are still open would break at the same place, those
			// that closed have been looked at. Only the latest string may be none:
			// with a quote missing, the next record's brace is in it.
			i = max(i, s.quote+1)
		}
	}
}

// match returns where the brackets that open at b[start] close, or where one
// closes that was not opened. closed is false in the latter case and when limit
// comes first.
func (s *splitter) match(start, limit int) (end int, closed bool) {
	var inArray []uint64
	depth := 0
	for i := start; i < limit; i++ {
		switch c := s.b[i]; c {
		case '"':
			for i++; i < limit && s.b[i] != '"'; i++ {
				if s.b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth%64 == 0 {
				inArray = append(inArray[:depth/64], 0)
			}
			if c == '[' {
				inArray[depth/64] |= 1 << (depth % 64)
			} else {
				inArray[depth/64] &^= 1 << (depth % 64)
			}
			depth++
		case '}', ']':
			if (inArray[(depth-1)/64]&(1<<((depth-1)%64)) != 0) != (c == ']') {
				s.steps += i - start
				return i, false
			}
			if depth--; depth == 0 {
				s.steps += i - start
				return i + 1, true
			}
		}
	}
	s.steps += limit - start
	return limit, false
}

// junk gives up text that begins at b[i] and is no JSON, to the end of the
// line, of the element, or up to what is surely a record, and returns where to
// go on.
func (s *splitter) junk(i int, within bool) int {
	limit := s.candidate(i + 1)
	end := i + 1
	for end < limit && s.b[end] != '\n' && !(within && (s.b[end] == ',' || s.b[end] == ']')) {
		end++
	}
	s.steps += end - i
	s.torn = true
	s.bad(i, end, "text that is no JSON")
	return end
}

func (s *splitter) base() int {
	if s.parent != nil {
		return s.parent.base() + s.place.start
	}
	return 0
}

// bad adds an unreadable piece.
func (s *splitter) bad(start, end int, reason string) {
	if s.parent != nil && (s.full || len(s.r.Unreadable) >= maxPieces) {
		s.parent.bad(s.place.start, s.place.end, reason)
		return
	}
	body := bytes.TrimRight(s.b[start:end:end], ", \t\r\n")
	if len(body) == 0 {
		return
	}
	if n := len(s.r.Unreadable); n >= maxPieces {
		s.r.Unreadable[n-1] = Unreadable{
			Offset: s.lastBad,
			Reason: tooManyPieces,
			Body:   s.b[s.lastBad : start+len(body)],
		}
		return
	}
	s.lastBad = start
	s.r.Unreadable = append(s.r.Unreadable, Unreadable{Offset: s.base() + start, Reason: reason, Body: body})
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// utf16Order returns the byte order of a body in UTF-16, nil if it is none.
func utf16Order(b []byte) binary.ByteOrder {
	switch {
	case len(b) < 2:
	case b[0] == 0xff && b[1] == 0xfe, b[1] == 0 && (b[0] == '{' || b[0] == '['):
		return binary.LittleEndian
	case b[0] == 0xfe && b[1] == 0xff, b[0] == 0 && (b[1] == '{' || b[1] == '['):
		return binary.BigEndian
	}
	return nil
}

func fromUTF16(b []byte, order binary.ByteOrder) []byte {
	out := make([]byte, 0, len(b)/2+len(b)/8)
	for i := 0; i < len(b); i += 2 {
		if i+1 == len(b) {
			return utf8.AppendRune(out, utf8.RuneError) // half a character
		}
		r := rune(order.Uint16(b[i:]))
		if i == 0 && r == 0xfeff {
			continue
		}
		if utf16.IsSurrogate(r) && i+3 < len(b) {
			if full := utf16.DecodeRune(r, rune(order.Uint16(b[i+2:]))); full != utf8.RuneError {
				r = full
				i += 2
			}
		}
		out = utf8.AppendRune(out, r) // half a pair becomes U+FFFD
	}
	return out
}
