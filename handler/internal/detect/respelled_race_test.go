//go:build race || unmap

package detect_test

// respelled is less where every access is watched, or memory is mapped for each
// body: what is looked for then is races and kept memory, not spellings.
const respelled = 5_000
