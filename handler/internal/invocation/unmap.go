//go:build unmap

package invocation

// unmapAtClose makes each Close unmap the memory of its batch, so that a test
// which uses a text of it afterwards crashes.
const unmapAtClose = true
