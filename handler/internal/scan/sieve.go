package scan

import (
	"encoding/binary"
	"math"
)

const (
	groupSize = 3 // bytes that are compared at every position
	wordSize  = 4 // bytes that are hashed at every stride
	blockSize = 32
	lookahead = groupSize - 1 // bytes after a block that are read with it
	buckets   = 8             // of groups, the last is that of escapes
)

// What sift saw of the text besides candidates.
const (
	foundNonASCII = 1 << iota
	foundNUL
)

// A sieve finds blocks of text that may hold the beginning of a group or one of
// the words. It errs only towards finding too much.
type sieve struct {
	// nibbles hold, for each byte of a group, the buckets that a byte fits by its
	// low and its high half. Each is there twice, once for each half of a vector.
	nibbles [groupSize][2][32]uint8

	stride int     // 0: there are no words
	shift  uint8   // a hash has 32-shift bits
	table  []uint8 // by hash: whether a word has it
}

const multiplier = 0x9E3779B1

func (s *sieve) hash(folded uint32) uint32 { return folded * multiplier >> s.shift }

// Folding makes letters lower case, and some other characters equal.
func fold3(b []byte) uint32 {
	return (uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16) | 0x202020
}

func fold4(b []byte) uint32 { return binary.LittleEndian.Uint32(b) | 0x20202020 }

// siftGo is sift in Go: it returns the first of n blocks that has a candidate,
// or n; where in it groups may begin; and what it found in the blocks up to it.
func (s *sieve) siftGo(text []byte, n int) (block int, mask, found uint32) {
	fits := func(k int, c byte) uint8 {
		if c >= 0x80 {
			return 0
		}
		return s.nibbles[k][0][c&15] & s.nibbles[k][1][c>>4]
	}
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
			if fits(0, c)&fits(1, b[i+1])&fits(2, b[i+2]) != 0 {
				mask |= 1 << i
			}
		}
		for i := 0; s.stride > 0 && i < blockSize; i += s.stride {
			candidate = candidate || s.table[s.hash(fold4(b[i:]))] != 0
		}
		if mask != 0 || candidate {
			return block, mask, found
		}
	}
	return n, 0, found
}

// build chooses for each literal the pieces that it is looked for by.
//
// At first every literal is looked for by a group, if there are no more of them
// than buckets. Otherwise those that have long runs of plain characters are
// looked for by words: one at each offset modulo the stride, so that one is met
// wherever the literal begins. If then the groups of the rest are too many for
// their buckets, the stride is made smaller, so that fewer are too short.
func (s *Scanner) build() {
	counts, words := common()
	for _, stride := range [...]int{0, 8, 4} {
		s.sieve = sieve{stride: stride, shift: 32}
		clear(s.groups)
		clear(s.words)
		b := newBucketing(counts)
		for i, l := range s.lits {
			if stride > 0 && longestRun(l.text) >= stride+wordSize-1 {
				s.addWords(i, stride, words)
				continue
			}
			offset := rarest(l.text, groupSize, func(at int) int {
				key := fold3([]byte(l.text[at:]))
				rank := counts[key] * 4
				if s.groups[key] == nil {
					rank++ // rather one that is there already
				}
				return rank
			})
			key := fold3([]byte(l.text[offset:]))
			if s.groups[key] == nil {
				b.add(l.text[offset : offset+groupSize])
			}
			s.groups[key] = append(s.groups[key], place{i, offset})
		}
		b.fill(&s.sieve)
		if stride == 0 && len(s.groups) < buckets || stride > 0 && b.falseAlarms() < len(noise)/128 {
			break
		}
	}
	s.fillTable()
}

// rarest returns the offset of the piece of the size in text, all plain, with
// the smallest rank, and -1 if there is none.
func rarest(text string, size int, rank func(at int) int) int {
	best, bestRank := -1, math.MaxInt
	for at, run := 0, 0; at < len(text); at++ {
		if run++; !plain(text[at]) {
			run = 0
		}
		if run < size {
			continue
		}
		if r := rank(at - size + 1); r < bestRank {
			best, bestRank = at-size+1, r
		}
	}
	return best
}

// addWords chooses a word at each offset modulo stride, all from one run of
// plain characters: only within one is the distance of characters known.
func (s *Scanner) addWords(i, stride int, counts map[uint32]int) {
	text := s.lits[i].text
	var chosen []int
	fewest := math.MaxInt
	for _, run := range runs(text, stride+wordSize-1) {
		offsets, total := make([]int, stride), 0
		for residue := range stride {
			rarest := math.MaxInt
			for at := run[0] + residue; at+wordSize <= run[1]; at += stride {
				if n := counts[fold4([]byte(text[at:]))]; n < rarest {
					rarest, offsets[residue] = n, at
				}
			}
			total += rarest
		}
		if total < fewest {
			fewest, chosen = total, offsets
		}
	}
	for _, offset := range chosen {
		key := fold4([]byte(text[offset:]))
		s.words[key] = append(s.words[key], place{i, offset})
	}
}

// runs returns the extents of the runs of plain characters of at least size.
func runs(text string, size int) (found [][2]int) {
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && plain(text[i]) {
			continue
		}
		if i-start >= size {
			found = append(found, [2]int{start, i})
		}
		start = i + 1
	}
	return found
}

// fillTable makes the table large enough that few words of other text have the
// hash of one that is looked for.
func (s *Scanner) fillTable() {
	if len(s.words) == 0 {
		s.sieve.stride = 0
		return
	}
	size := 15 // as much as the fastest cache holds
	for 1<<size < 384*len(s.words) && size < 20 {
		size++
	}
	s.sieve.shift = uint8(32 - size)
	s.sieve.table = make([]uint8, 1<<size)
	for w := range s.words {
		s.sieve.table[s.sieve.hash(w)] = 1
	}
}

// A bucketing puts groups into buckets so that few other groups of common text
// fit them: a bucket fits whatever combines bytes of its groups.
type bucketing struct {
	counts map[uint32]int // of groups in common text
	sets   [buckets][groupSize][2]uint16
	used   int
}

func newBucketing(counts map[uint32]int) *bucketing {
	b := &bucketing{counts: counts}
	// Escapes: u00, u01, u20 and u21.
	b.sets[buckets-1] = merged(merged(b.sets[buckets-1], "u00"), "u21")
	return b
}

// merged returns the halves of the bytes that fit a set or group.
func merged(set [groupSize][2]uint16, group string) [groupSize][2]uint16 {
	for k := range groupSize {
		for _, c := range variants(group[k]) {
			set[k][0] |= 1 << (c & 15)
			set[k][1] |= 1 << (c >> 4)
		}
	}
	return set
}

// variants are c in both cases. A u is small in every escape, which groups of
// literals do not know.
func variants(c byte) []byte {
	if c >= 'a' && c <= 'z' {
		return []byte{c, c - 'a' + 'A'}
	}
	return []byte{c}
}

func (b *bucketing) add(group string) {
	if b.used < buckets-1 {
		b.sets[b.used] = merged(b.sets[b.used], group)
		b.used++
		return
	}
	best, least := 0, math.MaxInt
	for i := range buckets - 1 {
		with := merged(b.sets[i], group)
		if n := b.fitting(with) - b.fitting(b.sets[i]); n < least {
			best, least = i, n
		}
	}
	b.sets[best] = merged(b.sets[best], group)
}

// fitting counts the groups of common text that fit a set.
func (b *bucketing) fitting(set [groupSize][2]uint16) int {
	total := 0
	for key, n := range b.counts {
		fits := true
		for k := range groupSize {
			c := byte(key >> (8 * k))
			fits = fits && set[k][0]&(1<<(c&15)) != 0 && set[k][1]&(1<<(c>>4)) != 0
		}
		if fits {
			total += n
		}
	}
	return total
}

func (b *bucketing) falseAlarms() int {
	total := 0
	for _, set := range b.sets[:b.used] {
		total += b.fitting(set)
	}
	return total
}

func (b *bucketing) fill(s *sieve) {
	for i, set := range b.sets {
		for k := range groupSize {
			for half := range 2 {
				for v := range 16 {
					if set[k][half]&(1<<v) != 0 {
						s.nibbles[k][half][v] |= 1 << i
						s.nibbles[k][half][v+16] |= 1 << i
					}
				}
			}
		}
	}
}

// common counts the groups and the words of common text.
func common() (groups, words map[uint32]int) {
	groups, words = make(map[uint32]int, len(noise)/2), make(map[uint32]int, len(noise)/2)
	for i := range len(noise) - wordSize + 1 {
		groups[fold3([]byte(noise[i:i+groupSize]))]++
		words[fold4([]byte(noise[i:i+wordSize]))]++
	}
	return groups, words
}
