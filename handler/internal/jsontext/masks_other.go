//go:build !amd64 || purego

package jsontext

func masks(block *[64]byte) (quotes, slashes uint64) { return masksGo(block) }
