//go:build !race && !unmap

package detect_test

// respelled is how many records are written anew for the equivalence test.
const respelled = 100_000
