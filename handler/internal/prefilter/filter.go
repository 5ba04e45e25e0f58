// Package prefilter finds where in a text something may match, without parsing it.
//
// The text may be JSON, JSON in a JSON string, and so on to any depth, so a
// literal may be written with escapes. A [Filter] has false alarms but misses
// nothing: if a literal occurs in the text, or in anything that any number of
// JSON unquotings makes of it, there is a [Hit] at it. An escape that hides a
// letter, UTF-16, and a string so long that Azure may have truncated what is in
// it are hits too. Base64 must be decoded first.
//
// It costs little more than reading the text once, hardly depending on the
// number of literals: short and few literals are searched by four of their bytes
// at every position (the method known as Teddy), many long ones by hashed words
// of four bytes at every eighth.
package prefilter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// A Literal is text to search for, ignoring case. With a quote as its first character it
// is what a string begins with.
type Literal struct {
	Text string
	// Whole: the literal is a complete string or bare word, not a part of one:
	// "delete", but not "deleted" nor "pods/delete".
	Whole bool
	// Most: most records of some log contain the literal, so that one occurrence
	// makes the whole text a hit.
	Most bool
}

// A Filter finds literals. It is immutable and safe for concurrent use. For a
// nil Filter every text is a hit.
type Filter struct {
	always bool // some literal is too short to search for
	lits   []literal
	sieve  sieve
	fours  index // literals by four folded bytes of theirs
	threes index // the shortest by three
}

// A literal is ready for comparison.
type literal struct {
	Literal        // in lower case
	folded  []byte // its text with bit 5 set in every byte, as fold3 does
	plain   []int  // by offset: how many plain characters follow
}

// A place is the position of a piece in a literal, and of the run of plain
// characters around it.
type place struct{ lit, offset, runStart, runEnd int }

// New returns a Filter for literals. It has no hit for no literals, and only hits
// when one of them has no three letters, digits or other characters in a row
// that JSON writers never escape.
func New(literals []Literal) *Filter {
	f := new(Filter)
	seen := map[Literal]bool{}
	for _, l := range literals {
		lit := ready(l)
		if seen[lit.Literal] {
			continue
		}
		seen[lit.Literal] = true
		if lit.longestRun() < leastRun {
			f.always = true
			return f
		}
		f.lits = append(f.lits, lit)
	}
	f.build()
	return f
}

// ready takes from a literal what can be compared: its longest part without
// backslashes, control characters, and what is not ASCII.
func ready(l Literal) literal {
	best := ""
	for _, part := range strings.FieldsFunc(l.Text, func(r rune) bool { return r < ' ' || r >= 0x7f || r == '\\' }) {
		if len(part) > len(best) {
			best = part
		}
	}
	lit := literal{
		Literal: Literal{Text: strings.ToLower(best), Whole: l.Whole && best == l.Text, Most: l.Most},
		folded:  make([]byte, len(best)),
		plain:   make([]int, len(best)+1),
	}
	for i := len(best) - 1; i >= 0; i-- {
		lit.folded[i] = lit.Text[i] | 0x20
		if plainAt(lit.Text, i) {
			lit.plain[i] = lit.plain[i+1] + 1
		}
	}
	return lit
}

// longestRun is the length of the longest run of plain characters.
func (l *literal) longestRun() int { return slices.Max(l.plain) }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// plain reports whether a character is written as itself at every depth: no writer
// escapes them, and a text that does all the same is a hit.
func plain(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' || c == ':' || c == ' '
}

// plainAt reports whether a character of a literal is plain: also a quote that it begins
// with, because what escapes the quote is before it.
func plainAt(text string, i int) bool { return plain(text[i]) || i == 0 && text[i] == '"' }

// Contains reports whether text may contain a literal.
func (f *Filter) Contains(text []byte) bool {
	s := f.Search(0)
	s.first = true
	s.literals(text, true)
	return s.all || len(s.hits) > 0
}

// Search starts a search in text that is still arriving: JSON that is quoted depth
// times in JSON strings. It finds literals, at whatever depth, and positions within
// strings of more than 16,000 bytes.
func (f *Filter) Search(depth int) *Search {
	return &Search{f: f, all: f == nil || f.always, long: stretches{quote: 1<<depth - 1}}
}

// A Hit is a part of the text in which something may match: text[Pos:End] is
// part of a literal, of what may hide one, or of a very long string.
type Hit struct {
	Pos, End int
	Long     int // of a very long string: it begins at most so many bytes before Pos
}

// maxHits is the number of hits beyond which one over the whole text costs less.
const maxHits = 1 << 16

// A Search is a search in a text that grows. It must not be used by two
// goroutines at once.
type Search struct {
	f     *Filter
	hits  []Hit
	all   bool // the whole text is a hit
	first bool // the first hit ends the search
	at    int  // the blocks before have been searched
	size  int  // of the text so far
	long  stretches
}

// More continues the search. text is all of the text so far, last means that
// nothing follows.
func (s *Search) More(text []byte, last bool) {
	s.size = len(text)
	s.literals(text, last)
	if !s.all {
		for _, hit := range s.long.more(text) {
			s.hit(hit)
		}
	}
}

// literals continues the search for literals.
func (s *Search) literals(text []byte, last bool) {
	for !s.all && s.at+blockSize+lookahead <= len(text) {
		if s.first && len(s.hits) > 0 {
			return
		}
		n := (len(text) - s.at - lookahead) / blockSize
		block, mask, found := s.f.sieve.sift(text[s.at:], n)
		s.foreign(text, s.at, s.at+min(block+1, n)*blockSize, found)
		s.at += block * blockSize
		if block == n {
			break
		}
		if !s.verify(text, mask, last) {
			return
		}
	}
	if !last {
		return
	}
	// What is left is shorter than a block with what a block looks ahead. It is
	// searched in memory that continues behind it.
	for !s.all && s.at < len(text) {
		var rest [2 * blockSize]byte
		for i := copy(rest[:], text[s.at:]); i < len(rest); i++ {
			rest[i] = ' '
		}
		block, mask, found := s.f.sieve.sift(rest[:], 1)
		s.foreign(text, s.at, len(text), found)
		if block == 0 {
			s.verify(text, mask, true)
		} else {
			s.at += blockSize
		}
	}
}

// Hits returns the hits in the text so far, ascending. Of very many it returns
// one over the whole text.
func (s *Search) Hits() []Hit {
	if s.all {
		return []Hit{{End: s.size}}
	}
	slices.SortFunc(s.hits, func(a, b Hit) int { return cmp.Compare(a.Pos, b.Pos) })
	s.hits = slices.Compact(s.hits)
	return s.hits
}

func (s *Search) hit(hit Hit) {
	s.hits = append(s.hits, hit)
	s.all = s.all || len(s.hits) > maxHits
}

// foreign adds a hit for each NUL, which UTF-16 has, in text[from:to], for
// each of the two characters outside ASCII that fold to a letter in it, the
// Kelvin sign and the long s, and for what compressed bytes begin with where they passed
// as text, also for one that begins before from.
func (s *Search) foreign(text []byte, from, to int, found uint32) {
	if found&foundNUL != 0 {
		s.each(text, from, to, "\x00")
	}
	if found&foundNonASCII != 0 {
		s.each(text, max(0, from-2), to, "\u212A")
		s.each(text, max(0, from-1), to, "\u017F")
		for _, start := range compressed {
			s.each(text, max(0, from-len(start)+1), to, start)
		}
	}
}

// compressed are the first bytes of gzip, zlib and zstd where U+FFFD is in the place of
// those that are no UTF-8.
var compressed = []string{"u001f\ufffd", "\x1f\ufffd", "\"x\ufffd", "\"(\ufffd/\ufffd"}

func (s *Search) each(text []byte, from, to int, character string) {
	for !s.all {
		n := bytes.Index(text[from:to], []byte(character))
		if n < 0 {
			return
		}
		s.hit(Hit{Pos: from + n, End: from + n + len(character)})
		from += n + len(character)
	}
}

// A verdict is what a closer look at a candidate found.
type verdict uint8

const (
	no verdict = iota
	yes
	undecided // the text ends too early
)

// verify compares the block at the current position and goes on behind it. mask
// has a bit for each byte at which a group may begin. It returns false if the
// text ends too early for the block to be decided, which then stays the next one.
func (s *Search) verify(text []byte, mask uint32, last bool) bool {
	f, before, decided := s.f, len(s.hits), true
	note := func(i int, v verdict) {
		switch v {
		case yes:
			s.hit(Hit{Pos: i, End: min(i+leastRun, len(text))})
		case undecided:
			decided = false
		}
	}
	for m := mask; m != 0; m &= m - 1 {
		i := s.at + bits.TrailingZeros32(m)
		if i+leastRun > len(text) {
			break
		}
		if text[i] == '\\' && text[i+1] == 'u' {
			note(i, escape(text, i+1, last))
		}
		v := s.look(f.threes.at(fold3(text[i:])), text, i, last)
		if v == no && i+wordSize <= len(text) {
			v = s.look(f.fours.at(fold4(text[i:])), text, i, last)
		}
		note(i, v)
	}
	if f.sieve.words {
		for i := s.at; i < s.at+blockSize && i+wordSize <= len(text); i += stride {
			if w := fold4(text[i:]); f.sieve.hasWord(w) {
				note(i, s.look(f.fours.at(w), text, i, last))
			}
		}
	}
	if !decided {
		s.hits = s.hits[:before]
		return false
	}
	s.at += blockSize
	return true
}

// look reports whether one of the literals with a piece at text[i] is there.
func (s *Search) look(places []place, text []byte, i int, last bool) verdict {
	result := no
	for _, p := range places {
		l := &s.f.lits[p.lit]
		start := i - (p.offset - p.runStart)
		if start < 0 {
			continue
		}
		v := run(text[start:], l.folded[p.runStart:p.runEnd], last)
		if v == yes {
			v = l.around(text, start, p, last)
		}
		switch v {
		case yes:
			s.all = s.all || l.Most
			return yes
		case undecided:
			result = undecided
		}
	}
	return result
}

// run reports whether text begins with plain characters, given folded.
func run(text, folded []byte, last bool) verdict {
	n := min(len(text), len(folded))
	k := 0
	for ; k+8 <= n; k += 8 {
		if binary.LittleEndian.Uint64(text[k:])|0x2020202020202020 != binary.LittleEndian.Uint64(folded[k:]) {
			return no
		}
	}
	for ; k < n; k++ {
		if text[k]|0x20 != folded[k] {
			return no
		}
	}
	switch {
	case n == len(folded):
		return yes
	case last:
		return no
	}
	return undecided
}

// escape reports whether the u after a backslash hides a
// character that the search relies on: one that is plain, a backslash, the NULs
// of UTF-16, or what folds to a letter.
func escape(text []byte, i int, last bool) verdict {
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

// hex4 returns the value of four hexadecimal digits, -1 if they are none.
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

// around reports whether the rest of a literal surrounds a run of it at
// text[start:].
func (l *literal) around(text []byte, start int, p place, last bool) verdict {
	end := no
	j := start + p.runEnd - p.runStart
	for k, n := p.runEnd, 0; k < len(l.Text) && end == no; k, j = k+max(1, l.plain[k]), j+n {
		v := no
		if n = l.plain[k]; n > 0 {
			v = run(text[j:], l.folded[k:k+n], last)
		} else {
			n, v = forward(text, j, l.Text[k])
		}
		switch {
		case v == no, v == undecided && last:
			return no
		case n > longestEscape:
			return yes
		case v == undecided:
			end = undecided
		}
	}
	b := start
	for k := p.runStart - 1; k >= 0; k-- {
		n := backward(text, b, l.Text[k])
		if n == 0 {
			return no
		}
		if n > longestEscape {
			return yes
		}
		b -= n
	}
	switch {
	case end == undecided:
		return undecided
	case !l.Whole:
		return yes
	case !startsWord(text, b):
		return no
	case j == len(text) && !last:
		return undecided
	case j == len(text):
		return yes
	case !endsWord(text[j]):
		return no
	case b > 0 && text[b-1] == ':':
		return endsBare(text, j, last)
	}
	return yes
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
	if c == '/' && (text[i] == '%' || text[i] == '&') {
		return slash(text[i:])
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

// slashes are a slash in the encodings of URLs, once and twice, and HTML.
var slashes = []string{"%2f", "%252f", "&#47;", "&#x2f;"}

// slash is forward for one of the slashes.
func slash(text []byte) (int, verdict) {
	result := no
	for _, s := range slashes {
		switch n := min(len(s), len(text)); {
		case !strings.EqualFold(string(text[:n]), s[:n]):
		case n == len(s):
			return n, yes
		default:
			result = undecided
		}
	}
	return 0, result
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
	for _, s := range slashes {
		if k := len(s); n == 0 && c == '/' && i >= k && strings.EqualFold(string(text[i-k:i]), s) {
			return k
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
// escape of those, also in the encodings of URLs (%22, %2522) and HTML (&quot;, &#34;),
// after an equals sign (logfmt) or beside what is not ASCII (MessagePack).
func startsWord(text []byte, i int) bool {
	if i == 0 || text[i-1] == ';' || text[i-1] == '=' || endsWord(text[i-1]) {
		return true
	}
	if before := text[:i]; bytes.HasSuffix(before, []byte("%22")) || bytes.HasSuffix(before, []byte("%2522")) {
		return true
	}
	if i >= 2 && text[i-2] == '\\' && strings.IndexByte("nrtbf", text[i-1]) >= 0 {
		return true
	}
	return i >= 6 && text[i-6] == '\\' && text[i-5] == 'u' && hex4(text[i-4:i]) >= 0
}

// endsBare reports whether a word that begins right after a colon is one without
// quotes, which is mended, and not the end of a name such as
// "system:serviceaccounts", which half of the requests to a cluster have.
func endsBare(text []byte, i int, last bool) verdict {
	n := 0
	for i+n < len(text) && text[i+n] == '\\' && n <= longestEscape {
		n++
	}
	switch {
	case n > longestEscape:
		return yes
	case i+n == len(text) && !last:
		return undecided
	case i+n == len(text), strings.IndexByte("\"':{[", text[i+n]) < 0:
		return yes
	}
	return no
}

// endsWord reports whether a string or a bare word may end before c, and also
// whether one may begin after it.
func endsWord(c byte) bool {
	return c <= ' ' || c >= 0x80 || strings.IndexByte("\"'\\,:{}[]%&", c) >= 0
}
