package export

import (
	"bytes"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// A verdict is how a scan ended.
type verdict uint8

const (
	whole   verdict = iota // the value is well-formed
	wrapped                // the object has a member "records", whose value begins at scanner.at
	holding                // an object that looks like a record begins at scanner.at, in an array or on a line of its own in the value
	broken                 // malformed at scanner.at, for the reason scanner.why
	another                // another value follows
)

// scanner checks JSON byte by byte, without decoding or allocating.
type scanner struct {
	b []byte

	at     int
	why    string
	quote  int  // where the latest string began
	marks  mark // of the value's own members, with track
	empty  bool // a member without a name at any depth
	wraps  bool // a member of the value itself in which forwarders put records
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
	element bool // is in an array, or begins a line
}

// A mark is what the names of an object's members are evidence of.
type mark uint8

const (
	hasTime mark = 1 << iota
	hasSubject
	isRecord = hasTime | hasSubject
)

var (
	timeNames    = []string{"time", "timestamp", "eventTime", "eventTimestamp", "TimeGenerated"}
	subjectNames = []string{"category", "operationName", "resourceId", "metricName", "eventType", "_ResourceId", "OperationNameValue"}
)

func markOf[T string | []byte](name T) mark {
	if len(name) < 4 || len(name) > 18 {
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
	whyCut   = jsontext.WhyCut
	whyDeep  = "nested too deep"
	whyName  = "no field name where one should stand"
	whyText  = "malformed text"
	whyAfter = "malformed after a value"
)

// value checks the JSON value at b[i] and returns the index after it. wrap: stop
// at a member "records" of the value itself.
func (s *scanner) value(i int, wrap bool) (end int, v verdict) {
	s.empty, s.wraps, s.twice, s.nnames, s.marks, s.quote, s.at = false, false, extent{}, 0, 0, i, i
	if s.track {
		if s.frames == nil {
			s.frames = make([]frame, maxDepth)
		}
		begin := i
		defer func() { s.steps += max(s.at, end) - begin }()
	}
	var open jsontext.Brackets
	for {
		before, opened := i, false
		i = s.space(i)
		switch {
		case i >= len(s.b):
			return s.fault(len(s.b), whyCut)
		case s.b[i] == '{' || s.b[i] == '[':
			if s.track && s.b[i] == '{' && open.Depth < maxDepth {
				element := open.Depth > 0 && open.Array() || bytes.IndexByte(s.b[before:i], '\n') >= 0
				s.frames[open.Depth] = frame{start: i, element: element}
			}
			if !open.Open(s.b[i] == '[') {
				return s.fault(i, whyDeep)
			}
			i++
			opened = true
		case s.b[i] == '"':
			if i = s.str(i); i < 0 {
				return 0, broken
			}
		default:
			n := jsontext.Scalar(s.b[i:])
			if n == 0 {
				return s.fault(i, whyText)
			}
			i += n
		}
		if i, v = s.next(&open, i, opened, wrap); v != another {
			return i, v
		}
	}
}

// next reads what follows a value, or a bracket that was just opened: brackets
// that close, and a comma and a name before another value.
func (s *scanner) next(open *jsontext.Brackets, i int, opened, wrap bool) (int, verdict) {
	for ; open.Depth > 0; opened = false {
		array := open.Array()
		i = s.space(i)
		if i < len(s.b) && (s.b[i] == '}' && !array || s.b[i] == ']' && array) {
			i++
			open.Depth--
			if !array && s.track && s.closed(open.Depth) {
				return i, holding
			}
			continue
		}
		if !opened {
			if i >= len(s.b) {
				return s.fault(i, whyCut)
			}
			if s.b[i] != ',' {
				return s.fault(i, whyAfter)
			}
			i++
		}
		if array {
			return i, another
		}
		return s.name(i, open.Depth, wrap)
	}
	return i, whole
}

// closed notes the end of the object at depth, and reports whether it is a record
// within the value.
func (s *scanner) closed(depth int) bool {
	f := &s.frames[depth]
	if depth == 0 {
		s.marks = f.marks
		return false
	}
	if f.element && f.marks&isRecord == isRecord {
		s.at = f.start
		return true
	}
	return false
}

// name reads a name and the colon after it.
func (s *scanner) name(i, depth int, wrap bool) (int, verdict) {
	i = s.space(i)
	if i >= len(s.b) {
		return s.fault(i, whyCut)
	}
	if s.b[i] != '"' {
		return s.fault(i, whyName)
	}
	start := i + 1
	if i = s.str(i); i < 0 {
		return 0, broken
	}
	name := extent{start, i - 1}
	if name.start == name.end {
		s.empty = true
	}
	if depth == 1 {
		s.note(name)
	}
	if i = s.space(i); i >= len(s.b) {
		return s.fault(i, whyCut)
	} else if s.b[i] != ':' {
		return s.fault(i, whyAfter)
	}
	i++
	records := string(s.b[name.start:name.end]) == "records" && s.holdsRecords(s.space(i))
	if records && wrap && depth == 1 {
		s.at = s.space(i)
		return s.at, wrapped
	}
	if s.track {
		f := &s.frames[depth-1]
		f.marks |= markOf(s.b[name.start:name.end])
		if records && depth > 1 && f.element {
			s.at = f.start
			return f.start, holding
		}
	}
	return i, another
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
	s.wraps = s.wraps || Wraps(s.b[name.start:name.end])
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
// -1 after a fault.
func (s *scanner) str(i int) int {
	s.quote = i
	end, why := jsontext.CheckString(s.b, i)
	if why != "" {
		s.fault(end, why)
		return -1
	}
	return end
}
