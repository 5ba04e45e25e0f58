package teams

import (
	"strings"
	"unicode"
)

// plain makes a value from a log fit to be shown: at most limit characters, on
// one line, with nothing that a client might obey and nothing that hides.
//
//   - White space of all kinds, line breaks too, becomes one space.
//   - Control characters, text direction marks and other characters without a
//     picture become U+FFFD, so that a reader sees that there was something;
//     joiners, which scripts and emoji need, are dropped.
//   - Marks that pile up on one letter are bounded: they would cover their
//     neighbours.
//   - Two braces in a row are kept apart by a space without width: Teams
//     evaluates {{DATE(...)}}.
//
// What is too long loses its middle: identifiers of Azure begin with what they
// belong to and end with what they name.
func plain(value string, limit int) string {
	if len(value) <= limit && harmless(value) {
		return value
	}
	var out []rune
	marks := 0
	for _, r := range value { // a byte that is not UTF-8 comes as U+FFFD
		if len(out) > 4*maxValue {
			break // Enough for any limit; the rest would be cut anyway.
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > 3 {
				continue
			}
		} else {
			marks = 0
		}
		var last rune
		if len(out) > 0 {
			last = out[len(out)-1]
		}
		switch {
		case unicode.IsSpace(r):
			if last != 0 && last != ' ' {
				out = append(out, ' ')
			}
		case r == '\u200c' || r == '\u200d' || r == '\u200b' && last == '{': // the latter may be our own
		case invisible(r):
			out = append(out, unicode.ReplacementChar)
		case r == '{' && last == '{':
			out = append(out, '\u200b', '{')
		default:
			out = append(out, r)
		}
	}
	text := strings.TrimSpace(string(out))
	if out = []rune(text); len(out) <= limit {
		return text
	}
	head := (limit - 1) * 2 / 3
	tail := limit - 1 - head
	return string(out[:head]) + "…" + string(out[len(out)-tail:])
}

// harmless reports a value that plain would leave as it is: printable ASCII with
// single blanks and braces, as nearly all values are.
func harmless(value string) bool {
	last := byte(' ')
	for i := range len(value) {
		b := value[i]
		if b < ' ' || b > '~' || b == last && (b == ' ' || b == '{') {
			return false
		}
		last = b
	}
	return value == "" || last != ' '
}

// invisible reports characters that show nothing, or change what others show.
func invisible(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800': // letters that are blank
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) || r >= 0xfff0 && r < 0xfffd || r >= 0xe0000
}

// own makes a text of a rule file fit to be read as Markdown: it is our own, or
// that of a user who brought the rule.
func own(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || invisible(r)) {
			return -1
		}
		return r
	}, strings.NewReplacer("\r\n", "\n", "\t", " ").Replace(text))
	return text
}

// noBraces keeps braces apart in our own text.
func noBraces(text string) string {
	for strings.Contains(text, "{{") {
		text = strings.ReplaceAll(text, "{{", "{ {")
	}
	return text
}
