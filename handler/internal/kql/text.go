package kql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// textTest compiles a condition on analysed text, as Elasticsearch's standard
// analyser does: words are compared in lower case. Unquoted words are
// alternatives, quoted ones a phrase; a pattern fits one word.
func textTest(op Op, v Literal) valueTest {
	switch {
	case op != "":
		return analysed{wordRange{op, v.Text()}}
	case v.Wildcard():
		return patternWords(v.Parts)
	}
	words := words(v.Text())
	switch {
	case len(words) == 0:
		return never{}
	case v.Quoted:
		return phrase(words)
	case len(words) == 1:
		return analysed{oneWord(words[0])}
	}
	var ts anyTest
	for _, w := range words {
		ts = append(ts, analysed{oneWord(w)})
	}
	return ts
}

// patternWords splits a pattern at its blanks into alternatives, as Lucene's
// query parser does.
func patternWords(parts []string) valueTest {
	var ts anyTest
	current := []string{""}
	flush := func() {
		if p := current; len(p) > 1 {
			ts = append(ts, analysed{newPattern(p, true)})
		} else if t := textTest("", Text(p[0])); t != (never{}) {
			ts = append(ts, t)
		}
		current = []string{""}
	}
	for i, part := range parts {
		if i > 0 {
			current = append(current, "")
		}
		for {
			k := strings.IndexFunc(part, unicode.IsSpace)
			if k < 0 {
				current[len(current)-1] += part
				break
			}
			current[len(current)-1] += part[:k]
			flush()
			_, size := utf8.DecodeRuneInString(part[k:])
			part = part[k+size:]
		}
	}
	flush()
	switch len(ts) {
	case 0:
		return never{}
	case 1:
		return ts[0]
	}
	return ts
}

// analysed holds when one word of the text fits.
type analysed struct{ word fitter }

func (t analysed) test(v any) bool {
	s, ok := scalarText(v)
	if !ok {
		return false
	}
	for {
		w, rest := nextWord(s)
		if w == "" {
			return false
		}
		if t.word.fits(w) {
			return true
		}
		s = rest
	}
}

// oneWord is one word in lower case.
type oneWord string

func (w oneWord) fits(s string) bool { return lowerEqual(s, string(w)) }

type wordRange struct {
	op    Op
	bound string
}

func (r wordRange) fits(s string) bool {
	return compares(strings.Compare(strings.ToLower(s), r.bound), r.op)
}

// A phrase is words that must follow each other.
type phrase []string

func (p phrase) test(v any) bool {
	s, ok := scalarText(v)
	if !ok {
		return false
	}
	for {
		w, rest := nextWord(s)
		if w == "" {
			return false
		}
		if lowerEqual(w, p[0]) && p.follows(rest) {
			return true
		}
		s = rest
	}
}

func (p phrase) follows(s string) bool {
	for _, want := range p[1:] {
		w, rest := nextWord(s)
		if w == "" || !lowerEqual(w, want) {
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
