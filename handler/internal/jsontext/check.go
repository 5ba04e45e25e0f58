package jsontext

import (
	"encoding/binary"
	"math/bits"
)

// Brackets are the open brackets around a position.
type Brackets struct {
	Depth  int
	arrays [(MaxLevels + 63) / 64]uint64 // a bit for each
}

// Open adds a bracket, and returns false if there are MaxLevels.
func (b *Brackets) Open(array bool) bool {
	if b.Depth == MaxLevels {
		return false
	}
	if array {
		b.arrays[b.Depth/64] |= 1 << (b.Depth % 64)
	} else {
		b.arrays[b.Depth/64] &^= 1 << (b.Depth % 64)
	}
	b.Depth++
	return true
}

// Array reports whether the innermost bracket, which there must be, is that of an array.
func (b *Brackets) Array() bool {
	level := b.Depth - 1
	return b.arrays[level/64]&(1<<(level%64)) != 0
}

// WhyCut is why text that ends early is malformed.
const WhyCut = "cut off"

// CheckString returns the index after the string of plain JSON text that opens at
// b[i]. If it is malformed it returns where and why. Bytes that are not UTF-8 are no
// fault.
func CheckString(b []byte, i int) (at int, why string) {
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
			return len(b), WhyCut
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, ""
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				return i, "malformed escape in a string"
			}
			i += n
		case c < ' ':
			return i, "control character in a string"
		default:
			i++
		}
	}
}

// CheckStrings is CheckString for all strings of a JSON value whose grammar is
// known to be correct: it reports whether there is no malformed escape, and whether
// there is a control character, which may also be white space between values.
func CheckStrings(b []byte) (escapes, control bool) {
	const odd = 0xaaaaaaaaaaaaaaaa
	after := uint64(0) // 1: the first byte of the block is escaped
	for i := 0; i < len(b); i += 64 {
		var rest [64]byte
		block := &rest
		if len(b)-i >= len(block) {
			block = (*[64]byte)(b[i:])
		} else {
			copy(rest[copy(rest[:], b[i:]):], blank)
		}
		low := uint64(0)
		for k := 0; k < 64; k += 8 {
			w := binary.LittleEndian.Uint64(block[k:])
			low |= (w - ' '*ones) &^ w & highs
		}
		control = control || low != 0
		quotes, slashes := masks(block)
		if slashes|after == 0 {
			continue
		}
		// Of a run of backslashes every other one begins an escape. A run that begins
		// at an even place ends, by the carry of a subtraction, at an odd one.
		begin := slashes &^ after
		ends := ((begin<<1 | odd) - begin) ^ odd
		escaped := ends ^ (slashes | after)
		after = (ends & slashes) >> 63
		for other := escaped &^ (quotes | slashes); other != 0; other &= other - 1 {
			if n := i + bits.TrailingZeros64(other); escape(b[n-1:]) == 0 {
				return false, control
			}
		}
	}
	return after == 0, control
}

const blank = "                                                                "

// escape returns the length of the JSON escape that b begins with; 0 if it is none.
func escape(b []byte) int {
	switch {
	case len(b) >= 2 && unescaped[b[1]] != 0:
		return 2
	case len(b) < 6 || b[1] != 'u':
		return 0
	}
	for _, c := range b[2:6] { // faster than reading their value
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
			return 0
		}
	}
	return 6
}

// Scalar returns the length of the number, true, false or null that b begins
// with; 0 if it is none.
func Scalar(b []byte) int {
	for _, word := range [...]string{"true", "false", "null"} {
		if len(b) >= len(word) && string(b[:len(word)]) == word {
			return len(word)
		}
	}
	return number(b)
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
