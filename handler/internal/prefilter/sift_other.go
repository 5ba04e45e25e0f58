//go:build !amd64 || purego

package prefilter

func (s *sieve) sift(text []byte, n int) (block int, mask, found uint32) { return s.siftGo(text, n) }
