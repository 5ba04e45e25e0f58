// Package scan says, without parsing, that a text cannot hold certain literals.
//
// The text may be JSON, JSON in a JSON string, and so on to any depth, so a
// literal may stand in it behind escapes. [Scanner.Hit] returns false only if no
// literal occurs in the text nor in anything that any number of JSON unquotings
// makes of it; true may be a false alarm. A text in which an escape hides a
// letter, or one that is UTF-16, is always a hit. What is base64 must be decoded
// first.
//
// It costs little more than reading the text once, hardly depending on the
// number of literals: short and few literals are looked for by three of their
// bytes at every position (the method known as Teddy), many long ones by hashed
// words of four bytes at every eighth.
package scan

import (
	"bytes"
	"math/bits"
	"strings"
)

// A Literal is text to look for, ignoring case.
type Literal struct {
	Text string
	// Whole: the literal is a complete string or bare word, not a part of one:
	// "delete", but not "deleted" nor "pods/delete".
	Whole bool
}

// A Scanner looks for literals. It is immutable and safe for concurrent use. A
// nil Scanner takes everything for a hit.
type Scanner struct {
	always bool // some literal is too short to be looked for
	lits   []literal
	sieve  sieve
	groups map[uint32][]place // literals by three folded bytes of theirs
	words  map[uint32][]place // literals by four
}

// A literal is made ready for comparison: lower case.
type literal struct {
	text  string
	whole bool
}

// A place is where in a literal a piece of it stands.
type place struct{ lit, offset int }

// New makes a Scanner for literals. It has no hit for no literals, and only hits
// when one of them has no three letters, digits or other characters in a row
// that JSON writers leave alone.
func New(literals []Literal) *Scanner {
	s := &Scanner{groups: map[uint32][]place{}, words: map[uint32][]place{}}
	seen := map[literal]bool{}
	for _, l := range literals {
		lit := ready(l)
		if seen[lit] {
			continue
		}
		seen[lit] = true
		if longestRun(lit.text) < groupSize {
			s.always = true
			return s
		}
		s.lits = append(s.lits, lit)
	}
	s.build()
	return s
}

// ready takes from a literal what can be compared: its longest part without
// backslashes, control characters, and what is not ASCII.
func ready(l Literal) literal {
	best, start := "", 0
	for i := 0; i <= len(l.Text); i++ {
		if i < len(l.Text) && l.Text[i] >= ' ' && l.Text[i] < 0x7f && l.Text[i] != '\\' {
			continue
		}
		if i-start > len(best) {
			best = l.Text[start:i]
		}
		start = i + 1
	}
	return literal{text: lowerASCII(best), whole: l.Whole && best == l.Text}
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// plain says which characters stand for themselves at every depth: no writer
// escapes them, and a text that does all the same is a hit.
func plain(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' || c == ':' || c == ' '
}

func longestRun(s string) int {
	best, run := 0, 0
	for i := range len(s) {
		if run++; !plain(s[i]) {
			run = 0
		}
		best = max(best, run)
	}
	return best
}

// Hit reports whether text may hold a literal.
func (s *Scanner) Hit(text []byte) bool {
	x := s.Begin()
	return x.More(text, true)
}

// Begin starts a search in text that is still arriving.
func (s *Scanner) Begin() Search { return Search{s: s, hit: s == nil || s.always} }

// A Search is a search in a text that grows. It must not be used by two
// goroutines at once.
type Search struct {
	s   *Scanner
	hit bool
	at  int // the blocks before have been searched
}

// More searches on. text is all of the text so far, last says that nothing
// follows. It reports whether there was a hit, which ends the search.
func (x *Search) More(text []byte, last bool) bool {
	if !x.hit {
		x.hit = x.search(text, last)
	}
	return x.hit
}

func (x *Search) search(text []byte, last bool) bool {
	s := x.s
	for x.at+blockSize+lookahead <= len(text) {
		n := (len(text) - x.at - lookahead) / blockSize
		block, mask, found := s.sieve.sift(text[x.at:], n)
		from, to := x.at, x.at+min(block+1, n)*blockSize
		if found&foundNUL != 0 || found&foundNonASCII != 0 && foldsToASCII(text, from, to) {
			return true
		}
		x.at += block * blockSize
		if block == n {
			break
		}
		switch s.verify(text, x.at, mask, last) {
		case yes:
			return true
		case undecided:
			return false
		}
		x.at += blockSize
	}
	if !last {
		return false
	}
	// What is left is shorter than a block with what a block looks ahead. It is
	// searched in memory that goes on behind it.
	for x.at < len(text) {
		var rest [2 * blockSize]byte
		for i := copy(rest[:], text[x.at:]); i < len(rest); i++ {
			rest[i] = ' '
		}
		block, mask, found := s.sieve.sift(rest[:], 1)
		if found&foundNUL != 0 || found&foundNonASCII != 0 && foldsToASCII(text, x.at, len(text)) {
			return true
		}
		if block == 0 && s.verify(text, x.at, mask, true) == yes {
			return true
		}
		x.at += blockSize
	}
	return false
}

// foldsToASCII reports whether text[from:to], or a character that begins before
// it, is one of the two characters outside ASCII that fold to a letter in it:
// the Kelvin sign and the long s.
func foldsToASCII(text []byte, from, to int) bool {
	part := text[max(0, from-2):to]
	return bytes.Contains(part, []byte("\u212A")) || bytes.Contains(part, []byte("\u017F"))
}

// A verdict is what a closer look at a candidate found.
type verdict uint8

const (
	no verdict = iota
	yes
	undecided // the text ends too early
)

// verify looks closely at the block at text[at:]. mask has a bit for each byte
// at which a group may begin.
func (s *Scanner) verify(text []byte, at int, mask uint32, last bool) verdict {
	result := no
	look := func(places []place, i int) bool {
		for _, p := range places {
			switch v := s.lits[p.lit].at(text, i, p.offset, last); v {
			case yes:
				result = yes
				return true
			case undecided:
				result = undecided
			}
		}
		return false
	}
	for m := mask; m != 0; m &= m - 1 {
		i := at + bits.TrailingZeros32(m)
		if i+groupSize > len(text) {
			break
		}
		if text[i] == 'u' {
			switch escape(text, i, last) {
			case yes:
				return yes
			case undecided:
				result = undecided
			}
		}
		if look(s.groups[fold3(text[i:])], i) {
			return yes
		}
	}
	if s.sieve.stride > 0 {
		for i := at; i < at+blockSize && i+wordSize <= len(text); i += s.sieve.stride {
			w := fold4(text[i:])
			if s.sieve.table[s.sieve.hash(w)] != 0 && look(s.words[w], i) {
				return yes
			}
		}
	}
	return result
}

// escape looks at the u of what may be an escape and says whether it hides a
// character that the search relies on: one that is plain, a backslash, the NULs
// of UTF-16, or what folds to a letter.
func escape(text []byte, i int, last bool) verdict {
	if i == 0 || text[i-1] != '\\' {
		return no
	}
	if i+5 > len(text) {
		if last {
			return no
		}
		return undecided
	}
	switch c := hex4(text[i+1 : i+5]); {
	case c < 0:
		return no
	case c == 0, c == '\\', c == 0x212A, c == 0x017F, c < 0x80 && plain(byte(c)):
		return yes
	}
	return no
}

// hex4 is the number that four hexadecimal digits stand for, -1 if they do not.
func hex4(b []byte) int {
	n := 0
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		n = n<<4 | int(c)
	}
	return n
}

// longestEscape is how many backslashes before one character are followed. That
// is enough for eleven layers of quoting; more of them are a hit.
const longestEscape = 2048

// at reports whether the literal stands in text so that its byte at offset is
// text[i].
func (l literal) at(text []byte, i, offset int, last bool) verdict {
	end := no
	j := i
	for k := offset; k < len(l.text); k++ {
		n, v := forward(text, j, l.text[k])
		if v == undecided && last {
			v = no
		}
		if v != yes {
			if v == undecided {
				end = undecided
				break
			}
			return no
		}
		if n > longestEscape {
			return yes
		}
		j += n
	}
	b := i
	for k := offset - 1; k >= 0; k-- {
		n := backward(text, b, l.text[k])
		if n == 0 {
			return no
		}
		if n > longestEscape {
			return yes
		}
		b -= n
	}
	if end == undecided {
		return undecided
	}
	if !l.whole {
		return yes
	}
	if !startsWord(text, b) {
		return no
	}
	if j == len(text) && !last {
		return undecided
	}
	if j == len(text) || endsWord(text[j]) {
		return yes
	}
	return no
}

// forward reads the character c at text[i:], itself or escaped at some depth, and
// returns its length.
func forward(text []byte, i int, c byte) (int, verdict) {
	if i == len(text) {
		return 0, undecided
	}
	if lower(text[i]) == c {
		return 1, yes
	}
	if plain(c) || text[i] != '\\' {
		return 0, no
	}
	n := 1
	for i+n < len(text) && text[i+n] == '\\' && n <= longestEscape {
		n++
	}
	switch {
	case n > longestEscape:
		return n, yes
	case i+n == len(text):
		return 0, undecided
	case lower(text[i+n]) == c:
		return n + 1, yes
	case text[i+n] != 'u':
		return 0, no
	case i+n+5 > len(text):
		return 0, undecided
	}
	if r := hex4(text[i+n+1 : i+n+5]); r >= 0 && r < 0x80 && lower(byte(r)) == c {
		return n + 5, yes
	}
	return 0, no
}

// backward reads the character c that ends before text[i] and returns its
// length, with all backslashes before it, 0 if it is another.
func backward(text []byte, i int, c byte) int {
	if i == 0 {
		return 0
	}
	n := 0
	if lower(text[i-1]) == c {
		n = 1
	} else if !plain(c) && i >= 6 && text[i-5] == 'u' && text[i-6] == '\\' {
		if r := hex4(text[i-4 : i]); r >= 0 && r < 0x80 && lower(byte(r)) == c {
			n = 5
		}
	}
	if n == 0 || plain(c) {
		return n
	}
	for i-n > 0 && text[i-n-1] == '\\' && n <= longestEscape+6 {
		n++
	}
	return n
}

// startsWord reports whether a string or a bare word may begin at text[i]: after
// a quote or other punctuation of JSON or what mends it, white space, or an
// escape of those.
func startsWord(text []byte, i int) bool {
	if i == 0 || endsWord(text[i-1]) {
		return true
	}
	if i >= 2 && text[i-2] == '\\' && strings.IndexByte("nrtbf", text[i-1]) >= 0 {
		return true
	}
	return i >= 6 && text[i-6] == '\\' && text[i-5] == 'u' && hex4(text[i-4:i]) >= 0
}

// endsWord reports whether a string or a bare word may end before c, and also
// whether one may begin after it.
func endsWord(c byte) bool {
	return c <= ' ' || strings.IndexByte("\"'\\,:{}[]", c) >= 0
}
