package kql

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// exactText compiles values of which one must be met.
func exactText(values []string, fold bool) textTest {
	switch {
	case fold:
		return func(s string) bool {
			return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, s) })
		}
	case len(values) == 1:
		value := values[0]
		return func(s string) bool { return s == value }
	case len(values) <= fewTexts:
		return func(s string) bool { return slices.Contains(values, s) }
	}
	set := make(map[string]bool, len(values))
	for _, v := range values {
		set[v] = true
	}
	return func(s string) bool { return set[s] }
}

// fewTexts are compared faster one by one than by hashing.
const fewTexts = 8

// newPattern compiles text with stars, given as the parts between them: text
// fits if it begins with the first part, ends with the last and has the others
// between them in order. Taking the leftmost place for each is enough, so there
// is no backtracking.
func newPattern(parts []string, fold bool) textTest {
	last := len(parts) - 1
	if !fold {
		return func(s string) bool {
			s, ok := strings.CutPrefix(s, parts[0])
			if ok {
				s, ok = strings.CutSuffix(s, parts[last])
			}
			for i := 1; ok && i < last; i++ {
				_, s, ok = strings.Cut(s, parts[i])
			}
			return ok
		}
	}
	folded := make([]string, len(parts))
	for i, s := range parts {
		folded[i] = strings.Map(foldRune, s)
	}
	return func(s string) bool {
		s, ok := cutFoldedPrefix(s, folded[0])
		if ok {
			s, ok = cutFoldedSuffix(s, folded[last])
		}
		for i := 1; ok && i < last; i++ {
			s, ok = cutThroughFolded(s, folded[i])
		}
		return ok
	}
}

// The following cut folded text in any spelling from s.

func cutFoldedPrefix(s, prefix string) (after string, found bool) {
	for _, want := range prefix {
		r, size := utf8.DecodeRuneInString(s)
		if size == 0 || foldRune(r) != want {
			return "", false
		}
		s = s[size:]
	}
	return s, true
}

func cutFoldedSuffix(s, suffix string) (before string, found bool) {
	for suffix != "" {
		want, size := utf8.DecodeLastRuneInString(suffix)
		suffix = suffix[:len(suffix)-size]
		r, size := utf8.DecodeLastRuneInString(s)
		if size == 0 || foldRune(r) != want {
			return "", false
		}
		s = s[:len(s)-size]
	}
	return s, true
}

func cutThroughFolded(s, sub string) (after string, found bool) {
	for {
		if after, found := cutFoldedPrefix(s, sub); found || s == "" {
			return after, found
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
}

// foldRune returns the same character for all spellings that
// [strings.EqualFold] takes for equal.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}
	least := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		least = min(least, o)
	}
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}

// A namePattern is a pattern of field names, in bytes to spare the caller a
// string for each name.
type namePattern [][]byte

func newNamePattern(parts []string) namePattern {
	p := make(namePattern, len(parts))
	for i, s := range parts {
		p[i] = []byte(s)
	}
	return p
}

func (p namePattern) fits(name []byte) bool {
	last := len(p) - 1
	name, ok := bytes.CutPrefix(name, p[0])
	if ok {
		name, ok = bytes.CutSuffix(name, p[last])
	}
	for i := 1; ok && i < last; i++ {
		_, name, ok = bytes.Cut(name, p[i])
	}
	return ok
}
