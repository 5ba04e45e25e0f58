package invocation

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// unquote writes the text of a JSON string, whose quotes are already off, to
// dst and returns its length, which is never more than len(src). dst is either
// src itself or apart from it and at least as long. Bytes that are no UTF-8
// pass as they are: what stands in a message is for others to judge.
//
// Quoted text inside quoted text is mostly short runs between backslashes, so
// eight bytes are copied at a time and the copy is cut at the first backslash.
func unquote(dst, src []byte) (int, error) {
	inPlace := len(src) > 0 && &dst[0] == &src[0]
	i, o := 0, 0
	for i < len(src) {
		// A store of eight bytes in place must not reach what is still to be read.
		for i+8 <= len(src) && o+8 <= len(dst) && (!inPlace || i-o >= 8) {
			w := binary.LittleEndian.Uint64(src[i:])
			x := w ^ ('\\' * ones)
			m := (x - ones) &^ x & highs
			binary.LittleEndian.PutUint64(dst[o:], w)
			if m != 0 {
				n := bits.TrailingZeros64(m) >> 3
				i += n
				o += n
				goto escape
			}
			i += 8
			o += 8
		}
		{
			n := bytes.IndexByte(src[i:], '\\')
			if n < 0 {
				n = len(src) - i
			}
			copy(dst[o:], src[i:i+n])
			i += n
			o += n
			if i == len(src) {
				return o, nil
			}
		}
	escape:
		for i < len(src) && src[i] == '\\' {
			if i+1 == len(src) {
				return 0, errAt(i, "the text ends in an escape")
			}
			c := src[i+1]
			switch c {
			case '"', '\\', '/':
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'u':
				r, n := rune16(src[i:])
				if n == 0 {
					return 0, errAt(i, "bad escape %q", src[i:min(i+6, len(src))])
				}
				i += n
				var enc [utf8.UTFMax]byte
				o += copy(dst[o:], enc[:utf8.EncodeRune(enc[:], r)])
				continue
			default:
				return 0, errAt(i, "bad escape %q", src[i:i+2])
			}
			dst[o] = c
			i += 2
			o++
		}
	}
	return o, nil
}

// unquoteTwice takes two layers off src in one pass, with the rules of unquote
// and dst apart from src. It returns false when it meets anything but what a
// serialiser usually writes; then two passes of unquote have the last word.
//
// A run of backslashes loses a quarter: four are one in the message, and what
// is left over of a run escapes what follows it at one depth or the other.
func unquoteTwice(dst, src []byte) (int, bool) {
	i, o := 0, 0
	for i < len(src) {
		for i+8 <= len(src) && o+8 <= len(dst) {
			w := binary.LittleEndian.Uint64(src[i:])
			x := w ^ ('\\' * ones)
			m := (x - ones) &^ x & highs
			binary.LittleEndian.PutUint64(dst[o:], w)
			if m != 0 {
				n := bits.TrailingZeros64(m) >> 3
				i += n
				o += n
				break
			}
			i += 8
			o += 8
		}
		if i == len(src) {
			break
		}
		if src[i] != '\\' {
			dst[o] = src[i]
			i++
			o++
			continue
		}
		run := 1
		for i+run < len(src) && src[i+run] == '\\' {
			run++
		}
		for range run / 4 {
			dst[o] = '\\'
			o++
		}
		i += run
		if run%4 == 0 {
			continue
		}
		if i == len(src) {
			return 0, false
		}
		c := src[i]
		switch {
		case run%4 == 3 && c == '"':
		case run%4 != 2:
			return 0, false
		case c == 'n':
			c = '\n'
		case c == 't':
			c = '\t'
		case c == 'r':
			c = '\r'
		case c == 'u':
			r, ok := hex4(src[i-1:])
			if !ok || utf16.IsSurrogate(r) {
				return 0, false
			}
			var enc [utf8.UTFMax]byte
			o += copy(dst[o:], enc[:utf8.EncodeRune(enc[:], r)])
			i += 5
			continue
		default:
			return 0, false
		}
		dst[o] = c
		o++
		i++
	}
	return o, true
}

// rune16 reads \uXXXX, or a surrogate pair of them, at the start of b and
// returns how many bytes it took; 0 when it is malformed. Half a pair is
// U+FFFD, as in every decoder.
func rune16(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if low, ok := hex4(b[6:]); ok {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return full, 12
			}
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendQuoted appends s as a JSON string the way the host's serialiser writes
// it: nothing is escaped for HTML's sake. Bytes that are no UTF-8 become U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			start = i + n
		case r == 0x85 || r == 0x2028 || r == 0x2029:
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			start = i + n
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
