package export

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

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
