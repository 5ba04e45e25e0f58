//go:build !purego

package prefilter

import "golang.org/x/sys/cpu"

// sift is siftGo with the vector instructions of every server of the last ten
// years, where the processor has them.
func (s *sieve) sift(text []byte, n int) (block int, mask, found uint32) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasBMI1 || !cpu.X86.HasBMI2 || n == 0 {
		return s.siftGo(text, n)
	}
	_ = text[n*blockSize+lookahead-1]
	nibbles := &s.nibbles[0][0]
	if s.words {
		return siftWords(nibbles, &s.table[0], s.multiplier, uint32(s.shift), &text[0], n)
	}
	return siftGroups(nibbles, &text[0], n)
}

// In sift_amd64.s. They read n blocks and lookahead bytes after them.

//go:noescape
func siftGroups(nibbles, text *uint8, n int) (block int, mask, found uint32)

//go:noescape
func siftWords(nibbles *uint8, table *uint32, multiplier, shift uint32, text *uint8, n int) (block int, mask, found uint32)
