//go:build !unmap

package invocation

const unmapAtClose = false
