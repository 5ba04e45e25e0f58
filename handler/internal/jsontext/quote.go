package jsontext

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// Plain appends the text, unquoted Depth times, to dst, which may be Raw[:0] where Depth
// is 1. Bytes that are not UTF-8 remain. It is an error if a string around the text
// contains a malformed escape.
func (t Text) Plain(dst []byte) ([]byte, error) {
	if t.Depth == 0 {
		return append(dst, t.Raw...), nil
	}
	n, src, depth := len(dst), t.Raw, t.Depth
	dst = slices.Grow(dst, len(src))
	out := dst[n : n+len(src)]
	if depth >= 2 {
		if size, ok := unquoteTwice(out, src); ok {
			src, depth = out[:size], depth-2
		}
	}
	for ; depth > 0; depth-- {
		size, err := unquote(out[:len(src)], src)
		if err != nil {
			return dst[:n], err
		}
		src = out[:size]
	}
	return dst[:n+len(src)], nil
}

// unquote writes the text of a JSON string without its quotes to dst, which is
// src itself or apart from it and as long, and returns its length.
//
// Quoted text inside quoted text is mostly short runs between backslashes, so
// eight bytes are copied at a time and the copy is cut at the first backslash.
func unquote(dst, src []byte) (int, error) {
	inPlace := len(src) > 0 && &dst[0] == &src[0]
	i, o := 0, 0
	for i < len(src) {
		if src[i] == '\\' {
			read, wrote, ok := unescape(dst[o:], src[i:])
			if !ok {
				return 0, fmt.Errorf("offset %d: malformed escape %q", i, src[i:min(i+6, len(src))])
			}
			i += read
			o += wrote
			continue
		}
		// A store of eight bytes in place must not reach what is still to be read.
		for i+8 <= len(src) && o+8 <= len(dst) && (!inPlace || i-o >= 8) {
			w := binary.LittleEndian.Uint64(src[i:])
			x := w ^ ('\\' * ones)
			m := (x - ones) &^ x & highs
			binary.LittleEndian.PutUint64(dst[o:], w)
			n := 8
			if m != 0 {
				n = bits.TrailingZeros64(m) >> 3
			}
			i += n
			o += n
			if m != 0 {
				break
			}
		}
		if i < len(src) && src[i] != '\\' {
			n := bytes.IndexByte(src[i:], '\\')
			if n < 0 {
				n = len(src) - i
			}
			copy(dst[o:], src[i:i+n])
			i += n
			o += n
		}
	}
	return o, nil
}

// unescaped has what a character behind a backslash stands for, 0 for one that makes no
// escape of two characters.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f'}

// unescape writes the character of the escape that src begins with.
func unescape(dst, src []byte) (read, wrote int, ok bool) {
	if len(src) < 2 {
		return 0, 0, false
	}
	if c := unescaped[src[1]]; c != 0 {
		dst[0] = c
		return 2, 1, true
	}
	r, n := rune16(src)
	if n == 0 {
		return 0, 0, false
	}
	var enc [utf8.UTFMax]byte
	return n, copy(dst, enc[:utf8.EncodeRune(enc[:], r)]), true
}

// A quote behind three and seven backslashes, as words.
const (
	threeSlashes = '"'<<24 | '\\'<<16 | '\\'<<8 | '\\'
	sevenSlashes = '"'<<56 | ('\\'*ones)&(1<<56-1)
)

// unquoteTwice removes two layers from src in one pass; dst is apart from src
// and as long. It returns false at anything but what a serialiser usually
// writes, which takes two passes of unquote.
//
// A run of backslashes loses three quarters: four are one in the result, and
// the rest of a run escapes what follows it in one layer or the other.
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
		if i+8 <= len(src) { // a quote of the text, or of text inside it
			switch w := binary.LittleEndian.Uint64(src[i:]); {
			case w&(1<<32-1) == threeSlashes:
				dst[o] = '"'
				i, o = i+4, o+1
				continue
			case w == sevenSlashes:
				dst[o], dst[o+1] = '\\', '"'
				i, o = i+8, o+2
				continue
			}
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
		case run%4 != 2, c == '"':
			return 0, false
		case unescaped[c] != 0:
			c = unescaped[c]
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
// returns the number of bytes read; 0 when it is malformed. Half a pair is
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

// escaped has what a character is behind a backslash, 0 for one that has no escape of
// two characters.
var escaped = [utf8.RuneSelf]byte{'"': '"', '\\': '\\', '\n': 'n', '\t': 't', '\r': 'r', '\b': 'b', '\f': 'f'}

// AppendQuote appends s as a JSON string, as the serialiser of the Functions
// host (.NET) writes it: nothing is escaped for HTML, and line separators are.
// Bytes that are not UTF-8 become U+FFFD.
func AppendQuote[T []byte | string](dst []byte, s T) []byte {
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
			if short := escaped[c]; short != 0 {
				dst = append(dst, '\\', short)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
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
