package kql

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// analysedTest compiles a condition on analysed text, as Elasticsearch's standard
// analyser does: words are compared in lower case. Unquoted words are
// alternatives, quoted ones a phrase; a pattern fits one word.
func analysedTest(op Op, v literal) valueTest {
	text := v.text()
	switch words := words(text); {
	case op != "":
		return phrase{func(w string) bool { return compares(strings.Compare(strings.ToLower(w), text), op) }}.test
	case v.wildcard():
		return patternWords(v.pattern)
	case len(words) == 0:
		return nil
	case v.quoted:
		p := make(phrase, len(words))
		for i, w := range words {
			p[i] = func(s string) bool { return lowerEqual(s, w) }
		}
		return p.test
	default:
		return phrase{func(w string) bool {
			return slices.ContainsFunc(words, func(want string) bool { return lowerEqual(w, want) })
		}}.test
	}
}

// patternWords splits a pattern at its blanks into alternatives, as Lucene's
// query parser does.
func patternWords(parts []string) valueTest {
	const star = "\xff" // in no valid text
	var tests []valueTest
	for _, piece := range strings.Fields(strings.Join(parts, star)) {
		if parts := strings.Split(piece, star); len(parts) > 1 {
			tests = append(tests, phrase{newPattern(parts, true)}.test)
		} else if test := analysedTest("", literal{pattern: parts}); test != nil {
			tests = append(tests, test)
		}
	}
	return anyOfTests(tests)
}

// A phrase is tests of words that must follow each other.
type phrase []textTest

func (p phrase) test(v any) bool {
	s, ok := scalarText(v)
	for ok && s != "" {
		if p.begins(s) {
			return true
		}
		_, s = nextWord(s)
	}
	return false
}

func (p phrase) begins(s string) bool {
	for _, fits := range p {
		w, rest := nextWord(s)
		if w == "" || !fits(w) {
			return false
		}
		s = rest
	}
	return true
}

// lowerEqual reports whether s in lower case is lower.
func lowerEqual(s, lower string) bool {
	n := 0
	for _, r := range s {
		want, size := utf8.DecodeRuneInString(lower[n:])
		if size == 0 || unicode.ToLower(r) != want {
			return false
		}
		n += size
	}
	return n == len(lower)
}

func words(s string) []string {
	var ws []string
	for {
		w, rest := nextWord(s)
		if w == "" {
			return ws
		}
		ws = append(ws, strings.ToLower(w))
		s = rest
	}
}

// nextWord returns the first word of s and what follows it; "" at the end. It
// follows the word rules of Unicode as far as the texts of logs need them:
// letters, digits and underscores join, so do a full stop or apostrophe between
// letters or digits, a colon between letters and a comma between digits; each
// Chinese character is a word.
func nextWord(s string) (w, rest string) {
	start, end := -1, 0
	var last rune
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case isMark(r) && start >= 0:
			end = i + size
		case single(r):
			if start >= 0 {
				return s[start:end], s[i:]
			}
			start, end = i, i+size
			for end < len(s) { // its marks
				r, size := utf8.DecodeRuneInString(s[end:])
				if !isMark(r) {
					break
				}
				end += size
			}
			return s[start:end], s[end:]
		case inWord(r):
			if start < 0 {
				start = i
			}
			end, last = i+size, r
		case start >= 0:
			next, _ := utf8.DecodeRuneInString(s[i+size:])
			if !joins(last, r, next) {
				return s[start:end], s[i:]
			}
		}
		i += size
	}
	if start < 0 {
		return "", ""
	}
	return s[start:end], ""
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func isMark(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.IsMark(r) || unicode.Is(unicode.Cf, r))
}

func single(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.Is(unicode.Han, r) || unicode.Is(unicode.Hiragana, r))
}

// joins reports whether the character between two others keeps them together.
func joins(before, r, after rune) bool {
	letters := unicode.IsLetter(before) && unicode.IsLetter(after) && !single(after)
	digits := unicode.IsDigit(before) && unicode.IsDigit(after)
	switch r {
	case '.', '\'', '\u2018', '\u2019', '\u2024', '\ufe52', '\uff07', '\uff0e':
		return letters || digits
	case ':', '\u00b7', '\u0387', '\u2027':
		return letters
	case ',', ';', '\u066c':
		return digits
	}
	return false
}
