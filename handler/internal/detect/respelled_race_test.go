//go:build race

package detect_test

// respelled is less where every access is watched: what is looked for here is
// races, not spellings.
const respelled = 5_000
