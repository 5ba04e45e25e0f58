package teams

import (
	"regexp"
	"strings"
	"unicode"
)

// gap is a space without width. It separates characters that a client would
// interpret together, and does not change how the text looks.
const gap = '\u200b'

// plain makes a value from a record safe to show: one line of at most limit
// characters, not counting gaps, that reads as plain text also where a client
// parses Markdown, as Teams for iOS does in every text.
func plain(value string, limit int) string {
	return inert(shorten(clean(value), limit))
}

// clean removes what hides or changes other text:
//
//   - White space of all kinds, including line breaks, becomes one space.
//   - Control characters, text direction marks and other invisible characters
//     become U+FFFD, so that a reader sees that there was something; joiners,
//     which scripts and emoji need, are dropped.
//   - More than three combining marks on one letter are dropped: they would
//     cover its neighbours.
func clean(value string) []rune {
	const enough = 4 * maxValue // for any limit
	var out []rune
	marks := 0
	for _, r := range value { // a byte that is not UTF-8 is read as U+FFFD
		if len(out) == enough {
			break
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > 3 {
				continue
			}
		} else {
			marks = 0
		}
		switch {
		case r > ' ' && r <= '~':
			out = append(out, r)
		case unicode.IsSpace(r):
			if len(out) > 0 && out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
		case r == '\u200c' || r == '\u200d':
		case invisible(r):
			out = append(out, unicode.ReplacementChar)
		default:
			out = append(out, r)
		}
	}
	if n := len(out); n > 0 && out[n-1] == ' ' {
		out = out[:n-1]
	}
	return out
}

// shorten removes the middle of what is too long: identifiers of Azure begin
// with what they belong to and end with what they name.
func shorten(text []rune, limit int) string {
	if len(text) <= limit {
		return string(text)
	}
	head := (limit - 1) * 2 / 3
	tail := limit - 1 - head
	return string(text[:head]) + "…" + string(text[len(text)-tail:])
}

// block matches what starts a list, heading, quotation or code in Markdown.
var block = regexp.MustCompile(`^(?:[-+#>~]|\d[\d.-]*[-.)](?: |$))`)

// inert makes Markdown and URLs plain text. Names and ids of Azure and
// Kubernetes, mail and IP addresses stay as they are and can be copied.
func inert(text string) string {
	var out strings.Builder
	for i, r := range text {
		if interpreted(text[:i], text[i:]) {
			out.WriteRune(gap)
		}
		switch {
		case r == '*':
			r = '∗'
		case r == '`':
			r = 'ˋ'
		case r == '_' && !within(text, i):
			r = 'ˍ'
		}
		out.WriteRune(r)
	}
	return out.String()
}

// interpreted reports whether a client would interpret the end of before
// together with the start of rest.
func interpreted(before, rest string) bool {
	var last byte
	if before != "" {
		last = before[len(before)-1]
	}
	switch last {
	case 0:
		return block.MatchString(rest)
	case ')', ']': // the parser of iOS looks for a list after them, too
		return last == ']' && strings.IndexByte("([:", rest[0]) >= 0 || block.MatchString(rest)
	case '{', '/', '~': // {{DATE(...)}}, ://
		return rest[0] == last
	case '<': // <scheme:...>
		return true
	case 'w', 'W':
		return rest[0] == '.' && len(before) > 2 && strings.EqualFold(before[len(before)-3:], "www")
	}
	return false
}

// within reports whether the byte at i is between letters or digits: an
// underscore there is no emphasis.
func within(text string, i int) bool {
	return i > 0 && i+1 < len(text) && alphanumeric(text[i-1]) && alphanumeric(text[i+1])
}

func alphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

// invisible reports characters that show nothing, or change what others show.
func invisible(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800': // letters that are blank
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) || r >= 0xfff0 && r < 0xfffd || r >= 0xe0000
}
