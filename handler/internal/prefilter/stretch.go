package prefilter

import "encoding/binary"

// Stretch is the distance of marks from which a stretch of text is a hit. Azure
// truncates the audit text of a record at 16,384 bytes.
const Stretch = 16_000

// stretches finds strings of more than 16,000 bytes without reading the text. A
// client that makes its audit record so long that Azure truncates it may so remove
// every literal from it, but not its length.
//
// A mark is a comma between two strings of the text itself: at depth d a quote with
// exactly 2^d-1 backslashes, the comma, and such a quote again. The content of a
// string has more backslashes before its quotes, so no text in a string can imitate
// a mark. Members are short, so that looking back for a mark from 16,000 bytes
// behind the previous one reads little of the text.
type stretches struct {
	quote int // backslashes before a quote of the text
	from  int // no string of more than Stretch bytes begins before and ends behind
	mark  int // the last one before from
}

// more returns hits within long strings of text, all of the text so far, that it has
// not returned before.
func (s *stretches) more(text []byte) (within []Hit) {
	for s.from+Stretch+s.quote+1 < len(text) { // a mark reaches so far
		next := s.from + Stretch
		if mark := s.lastMark(text, s.from, next); mark >= 0 {
			next, s.mark = mark, mark
		} else {
			within = append(within, Hit{Pos: next - 1, End: next, Long: next - 1 - s.mark})
		}
		s.from = next
	}
	return within
}

// lastMark returns the last mark in text[from+1:to+1], -1 if there is none.
func (s *stretches) lastMark(text []byte, from, to int) int {
	const words = 4
	for end := to + 1; end > from+1; end -= words * 8 {
		start := end - words*8
		if start >= 0 && s.commas(text, start)|s.commas(text, start+8)|s.commas(text, start+16)|s.commas(text, start+24) == 0 {
			continue
		}
		for i := end - 1; i > max(from, start-1); i-- {
			if s.isMark(text, i) {
				return i
			}
		}
	}
	return -1
}

// commas returns a bit for each of the eight bytes from text[i] on that is a comma
// followed by a quote as far behind as in a mark. It errs only towards too many.
func (s *stretches) commas(text []byte, i int) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := binary.LittleEndian.Uint64(text[i:i+8]) ^ (',' * ones) | binary.LittleEndian.Uint64(text[i+s.quote+1:i+s.quote+9]) ^ ('"' * ones)
	return (x - ones) &^ x & highs
}

// isMark reports whether text[i], which is not the end of text, is a mark.
func (s *stretches) isMark(text []byte, i int) bool {
	before, behind := i-1-s.quote, i+1+s.quote
	if before < 1 || text[i] != ',' || text[i-1] != '"' || text[before-1] == '\\' || text[behind] != '"' {
		return false
	}
	for k := range s.quote {
		if text[before+k] != '\\' || text[i+1+k] != '\\' {
			return false
		}
	}
	return true
}
