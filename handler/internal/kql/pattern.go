package kql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// exactText compiles values of which one must be met.
func exactText(values []string, fold bool) fitter {
	switch {
	case fold && len(values) == 1:
		return foldedText(values[0])
	case fold:
		return foldedTexts(values)
	case len(values) == 1:
		return exact(values[0])
	case len(values) <= fewTexts:
		return exactTexts(values)
	}
	set := make(exactSet, len(values))
	for _, v := range values {
		set[v] = struct{}{}
	}
	return set
}

// fewTexts are compared faster one by one than by hashing.
const fewTexts = 8

type exact string

func (t exact) fits(s string) bool { return string(t) == s }

type exactTexts []string

func (ts exactTexts) fits(s string) bool {
	for _, t := range ts {
		if t == s {
			return true
		}
	}
	return false
}

type exactSet map[string]struct{}

func (ts exactSet) fits(s string) bool {
	_, ok := ts[s]
	return ok
}

type foldedText string

func (t foldedText) fits(s string) bool { return strings.EqualFold(string(t), s) }

type foldedTexts []string

func (ts foldedTexts) fits(s string) bool {
	for _, t := range ts {
		if strings.EqualFold(t, s) {
			return true
		}
	}
	return false
}

// A pattern is text with stars: it must begin with head and end with tail, and
// between them hold each of middle, in order. Taking the leftmost place for
// each is enough, so there is no backtracking.
type pattern struct {
	head, tail string
	middle     []string
}

func newPattern(parts []string, fold bool) fitter {
	p := pattern{head: parts[0], tail: parts[len(parts)-1]}
	for _, s := range parts[1 : len(parts)-1] {
		if s != "" {
			p.middle = append(p.middle, s)
		}
	}
	if !fold {
		return p
	}
	folded := foldedPattern{head: foldString(p.head), tail: foldString(p.tail)}
	for _, s := range p.middle {
		folded.middle = append(folded.middle, newNeedle(s))
	}
	return folded
}

func (p pattern) fits(s string) bool {
	if !strings.HasPrefix(s, p.head) {
		return false
	}
	s = s[len(p.head):]
	if !strings.HasSuffix(s, p.tail) {
		return false
	}
	s = s[:len(s)-len(p.tail)]
	for _, m := range p.middle {
		i := strings.Index(s, m)
		if i < 0 {
			return false
		}
		s = s[i+len(m):]
	}
	return true
}

// A foldedPattern is a pattern of folded text.
type foldedPattern struct {
	head, tail string
	middle     []needle
}

func (p foldedPattern) fits(s string) bool {
	n, ok := foldedPrefix(s, p.head)
	if !ok {
		return false
	}
	s = s[n:]
	if s, ok = cutFoldedSuffix(s, p.tail); !ok {
		return false
	}
	for _, m := range p.middle {
		if s, ok = m.cut(s); !ok {
			return false
		}
	}
	return true
}

// A needle is folded text to search for in linear time, after Knuth, Morris and
// Pratt: strings.Index knows no folding.
type needle struct {
	text   []rune
	border []int // border[i]: length of the longest proper prefix of text[:i+1] that also ends it
}

func newNeedle(s string) needle {
	n := needle{text: []rune(foldString(s))}
	n.border = make([]int, len(n.text))
	for i := 1; i < len(n.text); i++ {
		n.border[i] = n.extend(n.border[i-1], n.text[i])
	}
	return n
}

// extend returns how much of the needle is matched when r follows matched
// runes of it.
func (n needle) extend(matched int, r rune) int {
	for matched > 0 && n.text[matched] != r {
		matched = n.border[matched-1]
	}
	if n.text[matched] == r {
		matched++
	}
	return matched
}

// cut returns what follows the first place of the needle in s.
func (n needle) cut(s string) (after string, ok bool) {
	matched := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if matched = n.extend(matched, foldRune(r)); matched == len(n.text) {
			return s[i:], true
		}
	}
	return "", false
}

// foldedPrefix returns how many bytes of s fold to prefix.
func foldedPrefix(s, prefix string) (n int, ok bool) {
	for _, want := range prefix {
		r, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || foldRune(r) != want {
			return 0, false
		}
		n += size
	}
	return n, true
}

func cutFoldedSuffix(s, suffix string) (string, bool) {
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

func foldString(s string) string { return strings.Map(foldRune, s) }

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

// fitsName matches a field name with a pattern. Names are short: going back to
// the last star is cheap, and bytes spare the caller a string.
func fitsName(parts []string, name []byte) bool {
	head, tail := parts[0], parts[len(parts)-1]
	if len(name) < len(head)+len(tail) || string(name[:len(head)]) != head || string(name[len(name)-len(tail):]) != tail {
		return false
	}
	name = name[len(head) : len(name)-len(tail)]
	for _, part := range parts[1 : len(parts)-1] {
		i := 0
		for ; ; i++ {
			if i+len(part) > len(name) {
				return false
			}
			if string(name[i:i+len(part)]) == part {
				break
			}
		}
		name = name[i+len(part):]
	}
	return true
}
