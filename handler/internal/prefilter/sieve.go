package prefilter

import "encoding/binary"

const (
	groupSize = 4 // bytes that are compared at every position
	leastRun  = 3 // plain characters that a group must have; then any may follow
	wordSize  = 4 // bytes that are hashed at every stride
	stride    = 8
	blockSize = 32
	lookahead = 7 // bytes after a block that are read with it
	buckets   = 8 // of groups, the last is that of escapes
)

// What sift saw of the text besides candidates.
const (
	foundNonASCII = 1 << iota
	foundNUL
)

// A sieve finds blocks of text that may hold the beginning of a group or one of
// the words. It errs only towards finding too much.
type sieve struct {
	// nibbles hold the buckets that a byte of a group fits: the first by its low
	// half and by its high half, the others by their low halves, which is enough.
	// Each is there twice, once for each half of a vector.
	nibbles [groupSize + 1][32]uint8

	words      bool
	table      []uint32 // a bit by hash: whether a word has it
	multiplier uint32   // makes the hash
	shift      uint8    // leaves of a hash the index into the table
}

// bit returns where the bit of a folded word is: in which entry of the table, and
// at which place in it.
func (s *sieve) bit(folded uint32) (entry, place uint32) {
	hash := folded * s.multiplier
	return hash >> s.shift, hash & 31
}

func (s *sieve) hasWord(folded uint32) bool {
	entry, place := s.bit(folded)
	return s.table[entry]>>place&1 != 0
}

// Folding makes letters upper case, and some other characters equal.
func fold3(b []byte) uint32 {
	return (uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16) &^ 0x202020
}

func fold4(b []byte) uint32 { return binary.LittleEndian.Uint32(b) &^ 0x20202020 }

// siftGo is sift in Go: it returns the first of n blocks that has a candidate,
// or n; where in it groups may begin, from the first on that is not harmless; and
// what it found in the blocks up to it.
func (s *sieve) siftGo(text []byte, n int) (block int, mask, found uint32) {
	for block = range n {
		b := text[block*blockSize : block*blockSize+blockSize+lookahead]
		candidate := false
		for i, c := range b[:blockSize] {
			if c >= 0x80 {
				found |= foundNonASCII
			}
			if c == 0 {
				found |= foundNUL
			}
			if s.fits(b[i:]) && (mask != 0 || !harmless(b[i:])) {
				mask |= 1 << i
			}
		}
		for i := 0; s.words && i < blockSize; i += stride {
			candidate = candidate || s.hasWord(fold4(b[i:]))
		}
		if mask != 0 || candidate {
			return block, mask, found
		}
	}
	return n, 0, found
}

// halves is what a bucket of one group compares of it.
func halves(b []byte) uint32 {
	return uint32(b[0]|0x20) | uint32(b[1]&15)<<8 | uint32(b[2]&15)<<16 | uint32(b[3]&15)<<24
}

func (s *sieve) fits(b []byte) bool {
	if b[0]|b[1]|b[2]|b[3] >= 0x80 {
		return false
	}
	return s.nibbles[0][b[0]&15]&s.nibbles[1][b[0]>>4]&s.nibbles[2][b[1]&15]&s.nibbles[3][b[2]&15]&s.nibbles[4][b[3]&15] != 0
}

// harmless reports whether b begins with one of the escapes that Go's encoder
// writes, for &, < and >: audit logs are full of them, and they hide nothing.
func harmless(b []byte) bool {
	escape := string(b[:6])
	return escape == `\u0026` || escape == `\u003c` || escape == `\u003e`
}
