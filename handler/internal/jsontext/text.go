// Package jsontext reads JSON text in place, also where it is quoted inside the
// strings of other JSON text.
//
// A [Text] is walked where it lies: nothing is unquoted, copied or allocated
// before a caller asks for it. Walking never reads outside of the text, never
// panics on malformed input and takes time linear in what it passes over. It
// checks the grammar of values but not what strings contain; [Text.Plain]
// rejects malformed escapes.
//
// It is a reader of its own because encoding/json/jsontext cannot skip quoted
// text, and takes two to seven times as long to unquote it.
//
// A quote or backslash that an outer string writes as \u0022 or \u005c cannot
// be seen in place; [Text.Obscured] reports it, and the text must be unquoted.
package jsontext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A Text is JSON text that is quoted Depth times inside JSON strings: Raw is
// part of the content of such a string. Depth 0 is plain JSON text.
//
// Quoting doubles backslashes and adds one before each quote, so with u = 2^Depth
// a quote of the text itself has u*k+u-1 backslashes before it, of which k
// remain once the text is unquoted. Any other number belongs to a string around
// the text, which ends there.
type Text struct {
	Raw   []byte
	Depth int
}

// A Kind is the type of a JSON value.
type Kind byte

// The kinds of values.
const (
	Invalid Kind = 0
	Object  Kind = '{'
	Array   Kind = '['
	String  Kind = '"'
	Number  Kind = '0'
	True    Kind = 't'
	False   Kind = 'f'
	Null    Kind = 'n'
)

// MaxLevels is how deep values may nest, in brackets.
const MaxLevels = 200

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Cut returns the part of the text from i to j, which must not split a run of
// backslashes.
func (t Text) Cut(i, j int) Text { return Text{t.Raw[i:j:j], t.Depth} }

// Obscured reports whether a string around the text writes a quote or a
// backslash of it as \u0022 or \u005c, so that it cannot be read in place.
func (t Text) Obscured() bool {
	if t.Depth == 0 {
		return false
	}
	unit := 1 << t.Depth
	for i := 0; ; {
		n := bytes.Index(t.Raw[i:], []byte(`\u00`))
		if n < 0 {
			return false
		}
		i += n + len(`\u00`)
		if i+2 > len(t.Raw) {
			return false
		}
		c := t.Raw[i : i+2]
		quote := c[0] == '2' && c[1] == '2'
		slash := c[0] == '5' && c[1]|0x20 == 'c'
		if (quote || slash) && backslashes(t.Raw, 0, i-len(`u00`))%unit != 0 {
			return true
		}
	}
}

// Space returns the index of the first byte at or after i that is not white space.
func (t Text) Space(i int) int {
	b := t.Raw
	for i < len(b) {
		switch c := b[i]; {
		case c == ' ' || c == '\n' || c == '\r' || c == '\t':
			i++
		case c == '\\' && t.Depth > 0:
			// Quoted once a line end is \n, and each further time doubles its backslashes.
			end := i + 1<<(t.Depth-1)
			if end >= len(b) || b[end] != 'n' && b[end] != 'r' && b[end] != 't' || backslashes(b, i, end) != end-i {
				return i
			}
			i = end + 1
		default:
			return i
		}
	}
	return i
}

// SpaceBefore returns the index after the last byte before i that is not white space.
func (t Text) SpaceBefore(i int) int {
	b := t.Raw
	for i > 0 {
		switch c := b[i-1]; {
		case c == ' ' || c == '\n' || c == '\r' || c == '\t':
			i--
		case t.Depth > 0 && (c == 'n' || c == 'r' || c == 't'):
			run := backslashes(b, 0, i-1)
			if run != 1<<(t.Depth-1) {
				return i
			}
			i -= run + 1
		default:
			return i
		}
	}
	return i
}

// Begins reports whether the text begins at i: i is 0, or a string around the
// text begins before it.
func (t Text) Begins(i int) bool {
	return i == 0 || t.Raw[i-1] == '"' && (backslashes(t.Raw, 0, i-1)+1)&(1<<t.Depth-1) != 0
}

// Kind returns the kind of the value that begins at i.
func (t Text) Kind(i int) Kind {
	if i >= len(t.Raw) {
		return Invalid
	}
	switch c := t.Raw[i]; {
	case c == '{' || c == '[' || c == 't' || c == 'f' || c == 'n':
		return Kind(c)
	case c == '-' || c >= '0' && c <= '9':
		return Number
	case t.opens(i):
		return String
	}
	return Invalid
}

// Skip returns the index after the value at i, and false if it is malformed,
// ends early or nests deeper than MaxLevels.
func (t Text) Skip(i int) (end int, ok bool) {
	var open Brackets
value:
	for {
		i = t.Space(i)
		opened := false
		switch kind := t.Kind(i); kind {
		case Object, Array:
			if !open.Open(kind == Array) {
				return i, false
			}
			i = t.Space(i + 1)
			opened = true
		case String:
			i, ok = t.skipString(i)
			if !ok {
				return i, false
			}
		default:
			n := Scalar(t.Raw[i:])
			if n == 0 {
				return i, false
			}
			i += n
		}
		for open.Depth > 0 {
			i = t.Space(i)
			if i >= len(t.Raw) {
				return i, false
			}
			array := open.Array()
			c := t.Raw[i]
			switch {
			case c == '}' && !array || c == ']' && array:
				open.Depth--
				i++
				opened = false
				continue
			case c == ',' && !opened:
				i = t.Space(i + 1)
			case !opened:
				return i, false
			}
			if !array {
				if i, ok = t.name(i); !ok {
					return i, false
				}
			}
			continue value
		}
		return i, true
	}
}

// name skips the name of a member, which begins at i, and the colon after it.
func (t Text) name(i int) (int, bool) {
	if !t.opens(i) {
		return i, false
	}
	i, ok := t.skipString(i)
	if !ok {
		return i, false
	}
	if i = t.Space(i); i >= len(t.Raw) || t.Raw[i] != ':' {
		return i, false
	}
	return i + 1, true
}

// opens reports whether a string begins at i, with the backslashes before its quote.
func (t Text) opens(i int) bool {
	n := 1<<t.Depth - 1
	q := i + n
	return q < len(t.Raw) && t.Raw[q] == '"' && (n == 0 || backslashes(t.Raw, i, q) == n)
}

// skipString returns the index after the string that opens at i. If it ends
// early it returns the index where the text ends.
func (t Text) skipString(i int) (int, bool) {
	unit := 1 << t.Depth
	b, start := t.Raw, i+unit
	for i = start; ; i++ {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:]) ^ ('"' * ones)
			if m := (x - ones) &^ x & highs; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return len(b), false
		}
		if b[i] != '"' {
			continue
		}
		run := backslashes(b, start, i)
		switch {
		case (run+1)&(unit-1) != 0:
			return i - run, false
		case (run>>t.Depth)&1 == 0:
			return i + 1, true
		}
		i = skipQuotes(b, i+1, unit) - 1
	}
}

// skipQuotes returns an index at or after i, which follows a quote, such that all
// quotes before it belong to JSON text that is quoted once more: each has as many
// backslashes before it as a quote within a string, and no more. Such text has a
// quote every few bytes, so 64 are looked at in one go.
func skipQuotes(b []byte, i, unit int) int {
	if unit > 32 {
		return i
	}
	shifted := func(mask, before uint64, n int) uint64 { return mask<<(n&63) | before>>((64-n)&63) }
	var before [6]uint64 // runs of the block before, by the logarithm of their length
	for ; i+64 <= len(b); i += 64 {
		quotes, run := masks((*[64]byte)(b[i:]))
		k := 0
		for n := 1; n < unit; n *= 2 { // run has a bit for each byte that ends n backslashes
			run, before[k] = run&shifted(run, before[k], n), run
			k++
		}
		follows := shifted(run, before[k], 1)
		once := follows & shifted(run, before[k], unit) &^ (follows & shifted(run, before[k], unit+1))
		if other := quotes &^ once; other != 0 {
			return i + bits.TrailingZeros64(other)
		}
		before[k] = run
	}
	return i
}

// masksGo returns a bit for each quote and each backslash of a block.
func masksGo(block *[64]byte) (quotes, slashes uint64) {
	for i := 0; i < 64; i += 8 {
		w := binary.LittleEndian.Uint64(block[i:])
		quotes |= equal(w, '"') << i
		slashes |= equal(w, '\\') << i
	}
	return quotes, slashes
}

// equal returns a bit for each byte of w that is c.
func equal(w, c uint64) uint64 {
	x := w ^ c*ones
	differ := (x &^ highs) + ^uint64(highs) | x
	return (^differ & highs) >> 7 * 0x0102040810204080 >> 56
}

// backslashes counts the backslashes right before b[i], not before from.
func backslashes(b []byte, from, i int) int {
	n := 0
	for ; i-n-from >= 8; n += 8 {
		if x := binary.LittleEndian.Uint64(b[i-n-8:]) ^ ('\\' * ones); x != 0 {
			return n + bits.LeadingZeros64(x)>>3
		}
	}
	for i-n > from && b[i-n-1] == '\\' {
		n++
	}
	return n
}
