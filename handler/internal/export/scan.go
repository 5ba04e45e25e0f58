package export

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
)

// A verdict is how a scan ended.
type verdict uint8

const (
	whole   verdict = iota // the value is well-formed
	wrapped                // the object has a member "records", whose value begins at scanner.at
	holding                // an object that looks like a record stands at scanner.at, in an array or on a line of its own in the value
	broken                 // malformed at scanner.at, for the reason scanner.why
)

// scanner checks JSON byte by byte, without decoding or allocating.
type scanner struct {
	b []byte

	at     int
	why    string
	quote  int  // where the latest string began
	marks  mark // of the value's own members, with track
	empty  bool // a member without a name at any depth
	twice  extent
	names  [maxNames]extent // of the value's own members
	sums   [maxNames]uint32
	nnames int

	track  bool    // look for records within the value
	frames []frame // one a level, with track
	steps  int     // bytes looked at, counted with track; for tests
}

// maxNames is the number of members that are compared to find one given twice.
const maxNames = 64

type extent struct{ start, end int }

type frame struct {
	start   int
	marks   mark
	element bool // stands in an array, or begins a line
}

// A mark is what the names of an object's members tell about it.
type mark uint8

const (
	hasTime mark = 1 << iota
	hasSubject
	isRecord = hasTime | hasSubject
)

var timeNames, subjectNames = []string{"time", "timestamp"}, []string{"category", "operationName", "resourceId", "metricName"}

func markOf[T string | []byte](name T) mark {
	if len(name) < 4 || len(name) > 13 {
		return 0
	}
	for _, s := range timeNames {
		if len(s) == len(name) && strings.EqualFold(string(name), s) {
			return hasTime
		}
	}
	for _, s := range subjectNames {
		if len(s) == len(name) && strings.EqualFold(string(name), s) {
			return hasSubject
		}
	}
	return 0
}

func (s *scanner) space(i int) int {
	for i < len(s.b) && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\r' || s.b[i] == '\t') {
		i++
	}
	return i
}

const (
	whyCut   = "cut off"
	whyDeep  = "nested too deep"
	whyName  = "no field name where one should stand"
	whyText  = "malformed text"
	whyCtrl  = "control character in a string"
	whyEsc   = "malformed escape in a string"
	whyAfter = "malformed after a value"
)

// value checks the JSON value at b[i] and returns the index after it. wrap asks
// to stop at a member "records" of the value itself.
func (s *scanner) value(i int, wrap bool) (end int, v verdict) {
	var (
		b       = s.b
		depth   = 0
		inArray [(maxDepth + 63) / 64]uint64
		begin   = i
		array   bool
		before  int
	)
	s.empty, s.twice, s.nnames, s.marks, s.quote = false, extent{}, 0, 0, i
	if s.track {
		if s.frames == nil {
			s.frames = make([]frame, maxDepth)
		}
		defer func() { s.steps += max(s.at, end) - begin }()
	}
	s.at = i

value:
	before = i
	i = s.space(i)
	if i >= len(b) {
		return s.fault(len(b), whyCut)
	}
	switch b[i] {
	case '{', '[':
		if depth >= maxDepth {
			return s.fault(i, whyDeep)
		}
		level := &inArray[depth/64]
		bit := uint64(1) << (depth % 64)
		if b[i] == '[' {
			*level |= bit
			depth++
			if i = s.space(i + 1); i < len(b) && b[i] == ']' {
				goto closed
			}
			goto value
		}
		*level &^= bit
		if s.track {
			element := depth > 0 && inArray[(depth-1)/64]&(1<<((depth-1)%64)) != 0 || bytes.IndexByte(b[before:i], '\n') >= 0
			s.frames[depth] = frame{start: i, element: element}
		}
		depth++
		if i = s.space(i + 1); i < len(b) && b[i] == '}' {
			goto closed
		}
		goto name
	case '"':
		if i = s.str(i); i < 0 {
			return 0, broken
		}
	case 't', 'f', 'n':
		word := "true"
		if b[i] == 'f' {
			word = "false"
		} else if b[i] == 'n' {
			word = "null"
		}
		if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
			return s.fault(i, whyText)
		}
		i += len(word)
	default:
		n := number(b[i:])
		if n == 0 {
			return s.fault(i, whyText)
		}
		i += n
	}

after:
	if depth == 0 {
		return i, whole
	}
	i = s.space(i)
	if i >= len(b) {
		return s.fault(i, whyCut)
	}
	array = inArray[(depth-1)/64]&(1<<((depth-1)%64)) != 0
	switch c := b[i]; {
	case c == ',' && array:
		i++
		goto value
	case c == ',':
		i = s.space(i + 1)
		goto name
	case c == ']' && array || c == '}' && !array:
		goto closed
	}
	return s.fault(i, whyAfter)

name:
	{
		if i >= len(b) {
			return s.fault(i, whyCut)
		}
		if b[i] != '"' {
			return s.fault(i, whyName)
		}
		start := i
		if i = s.str(i); i < 0 {
			return 0, broken
		}
		name := extent{start + 1, i - 1}
		if name.start == name.end {
			s.empty = true
		}
		if depth == 1 {
			s.note(name)
		}
		if i = s.space(i); i >= len(b) {
			return s.fault(i, whyCut)
		} else if b[i] != ':' {
			return s.fault(i, whyAfter)
		}
		i++
		records := string(b[name.start:name.end]) == "records" && s.holdsRecords(s.space(i))
		if records && wrap && depth == 1 {
			s.at = s.space(i)
			return s.at, wrapped
		}
		if s.track {
			f := &s.frames[depth-1]
			f.marks |= markOf(b[name.start:name.end])
			if records && depth > 1 && f.element {
				s.at = f.start
				return f.start, holding
			}
		}
		goto value
	}

closed:
	i++
	depth--
	if s.track && b[i-1] == '}' {
		f := &s.frames[depth]
		if depth == 0 {
			s.marks = f.marks
		} else if f.element && f.marks&isRecord == isRecord {
			s.at = f.start
			return i, holding
		}
	}
	goto after
}

// holdsRecords reports whether the value at b[i] of a member "records" makes
// its object a wrapper: an array, an object, null, or JSON text of those.
func (s *scanner) holdsRecords(i int) bool {
	if i >= len(s.b) {
		return false
	}
	switch s.b[i] {
	case '[', '{':
		return true
	case 'n':
		return bytes.HasPrefix(s.b[i:], []byte("null"))
	case '"':
		i = s.space(i + 1)
		return i < len(s.b) && (s.b[i] == '[' || s.b[i] == '{')
	}
	return false
}

func (s *scanner) fault(i int, why string) (int, verdict) {
	s.at, s.why = i, why
	return 0, broken
}

// note remembers the name of a member, and when it was there before. Names that
// are written in different ways count as different.
func (s *scanner) note(name extent) {
	n := name.end - name.start
	sum := uint32(n)
	if n > 0 {
		sum |= uint32(s.b[name.start])<<8 | uint32(s.b[name.end-1])<<16 | uint32(s.b[name.start+n/2])<<24
	}
	for k, old := range s.sums[:s.nnames] {
		if old == sum && n > 0 && bytes.Equal(s.b[name.start:name.end], s.b[s.names[k].start:s.names[k].end]) {
			s.twice = name
			return
		}
	}
	if s.nnames < len(s.names) {
		s.names[s.nnames], s.sums[s.nnames] = name, sum
		s.nnames++
	}
}

// str checks the string that opens at b[i] and returns the index after it, or
// -1 after a fault. Bytes that are no UTF-8 are not its business.
func (s *scanner) str(i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	b := s.b
	s.quote = i
	i++
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			q, e := w^('"'*ones), w^('\\'*ones)
			m := ((w-' '*ones)&^w | (q-ones)&^q | (e-ones)&^e) & highs
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			s.fault(len(b), whyCut)
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				s.fault(i, whyEsc)
				return -1
			}
			i += n
		case c < ' ':
			s.fault(i, whyCtrl)
			return -1
		default:
			i++
		}
	}
}

// escape returns the length of the JSON escape that b begins with; 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// number returns the length of the JSON number that b begins with; 0 if it is none.
func number(b []byte) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return 0
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}
