package export

import (
	"bytes"
	"fmt"

	"podwatch/handler/internal/jsontext"
)

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
		reason = fmt.Sprintf("nested deeper than %d levels", maxDepth)
	} else if end-start > maxRecord {
		reason = tooLarge(end - start)
	} else if mended, note, ok := s.mend(start, end); ok {
		s.torn = s.torn || !closed
		if s.exhausted(start) {
			return len(s.b)
		}
		s.good(start, mended, join(s.remark, note))
		return next
	}
	s.torn = true
	s.bad(start, end, reason)
	return next
}

// mend mends the object in b[start:end].
func (s *splitter) mend(start, end int) (mended []byte, note string, ok bool) {
	mended, note, ok = jsontext.Mend(s.b[start:end], end == len(s.b))
	if !ok || len(mended) > maxRecord {
		return nil, "", false
	}
	probe := scanner{b: mended, track: true, frames: s.frames}
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
// go on; false on the strict walk.
func (s *splitter) junk(i int, within bool) (int, bool) {
	if !s.careful {
		return 0, false
	}
	limit := s.candidate(i + 1)
	end := i + 1
	for end < limit && s.b[end] != '\n' && !(within && (s.b[end] == ',' || s.b[end] == ']')) {
		end++
	}
	s.steps += end - i
	s.torn = true
	s.bad(i, end, "text that is no JSON")
	return end, true
}
