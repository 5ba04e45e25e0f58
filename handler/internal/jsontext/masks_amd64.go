//go:build !purego

package jsontext

// masks is masksGo with SSE2, which every processor of the architecture has.
//
//go:noescape
func masks(block *[64]byte) (quotes, slashes uint64)
