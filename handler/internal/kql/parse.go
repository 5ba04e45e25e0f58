package kql

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxDepth is how deep brackets and braces may be nested in a query.
	MaxDepth = 200
	// MaxLength is the greatest length of a query in bytes.
	MaxLength = 256 << 10
)

// A SyntaxError tells where a query stops being KQL, and why.
type SyntaxError struct {
	Line   int // from 1
	Column int // from 1, in characters
	Offset int // in bytes, from 0 to the length of the query
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Parse reads a query. An empty or blank query is [MatchAll]. The error is a
// *[SyntaxError].
func Parse(src string) (Node, error) {
	p := &parser{src: src}
	n, err := p.parse()
	if err != nil {
		return nil, err
	}
	return n, nil
}

// A parser decides on the next character alone, after reading at most one
// literal, so it never goes back further than over a run of blanks. Its first
// mistake unwinds the descent as a *SyntaxError panic.
type parser struct {
	src    string
	pos    int
	depth  int // open brackets and braces
	nested int // open braces
	steps  int // characters looked at, for the test of linearity

	leaves []int                              // offset of each condition, in the order of the query
	note   func(offset int, code, msg string) // set by Lint
}

func (p *parser) parse() (n Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			n, err = nil, e
		}
	}()
	if len(p.src) > MaxLength {
		p.fail(MaxLength, "query is longer than %d bytes", MaxLength)
	}
	p.blanks()
	if p.pos == len(p.src) {
		p.leaf(0)
		p.remark(0, "portable-empty", "an empty query matches everything; lib/kql refuses it, write *:*")
		return MatchAll{}, nil
	}
	n = p.or()
	p.blanks()
	if p.pos < len(p.src) {
		p.stray()
	}
	return n, nil
}

// fail ends the parse with a mistake at offset.
func (p *parser) fail(offset int, format string, args ...any) {
	line, column := position(p.src, offset)
	panic(&SyntaxError{Line: line, Column: column, Offset: offset, Msg: fmt.Sprintf(format, args...)})
}

// position converts an offset to line and column, both from 1.
func position(src string, offset int) (line, column int) {
	before := src[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[start:])
}

func (p *parser) remark(offset int, code, msg string) {
	if p.note != nil {
		p.note(offset, code, msg)
	}
}

func (p *parser) leaf(offset int) { p.leaves = append(p.leaves, offset) }

// stray reports text after a complete expression.
func (p *parser) stray() {
	switch c := p.src[p.pos]; c {
	case ')', '}':
		p.fail(p.pos, "unexpected %q: nothing is open that it could close", c)
	case ':':
		p.fail(p.pos, `unexpected ":": a second colon; write "and" or "or" between conditions, escape or quote a colon in a value`)
	case '<', '>':
		p.fail(p.pos, `unexpected %q: one comparison has one field and one value; write "and" or "or" between conditions`, c)
	case '"':
		p.fail(p.pos, `unexpected '"': write "and" or "or" between conditions, with blanks around it`)
	case '(':
		p.fail(p.pos, `unexpected "(": write "and" or "or" before it, with blanks around the operator; "not", too, needs a blank after it`)
	case '{':
		p.fail(p.pos, `unexpected "{": a nested group needs a field and a colon before it`)
	case '\\':
		p.fail(p.pos, "%s", badEscape)
	}
	switch {
	case p.operatorWord("not"):
		p.fail(p.pos, `unexpected "not": write "and not" or "or not"; a text in which "not" stands before a blank must be quoted`)
	case p.operatorWord("and"), p.operatorWord("or"):
		p.fail(p.pos, `an operator needs blanks on both sides and a condition after it`)
	}
	p.fail(p.pos, `expected "and", "or" or the end of the query, with blanks around the operator`)
}

// operatorWord reports whether the operator w stands here, whatever follows it.
func (p *parser) operatorWord(w string) bool {
	if !word(p.src[p.pos:], w) {
		return false
	}
	rest := p.src[p.pos+len(w):]
	return rest == "" || blankLen(rest) > 0 || isSpecial(rest[0])
}

func (p *parser) or() Node  { return p.chain("or", p.and, func(n []Node) Node { return Or{n} }) }
func (p *parser) and() Node { return p.chain("and", p.not, func(n []Node) Node { return And{n} }) }

func (p *parser) chain(op string, operand func() Node, group func([]Node) Node) Node {
	n := operand()
	if !p.operator(op) {
		return n
	}
	nodes := []Node{n}
	for {
		nodes = append(nodes, operand())
		if !p.operator(op) {
			return group(nodes)
		}
	}
}

// operator reads blanks, op, blanks; or nothing.
func (p *parser) operator(op string) bool {
	start := p.pos
	p.blanks()
	at := p.pos
	if at > start && word(p.src[at:], op) {
		p.pos += len(op)
		if after := p.pos; p.blanks() > after {
			p.remarkOperator(at, op)
			return true
		}
	}
	p.pos = start
	return false
}

// negation reads "not" and the blanks after it; or nothing.
func (p *parser) negation() bool {
	at := p.pos
	if word(p.src[at:], "not") {
		p.pos += len("not")
		if after := p.pos; p.blanks() > after {
			p.remarkOperator(at, "not")
			return true
		}
	}
	p.pos = at
	return false
}

func (p *parser) not() Node {
	if !p.negation() {
		return p.sub()
	}
	at := p.pos
	if p.negation() {
		p.fail(at, `"not not" is not KQL; write "not (not ...)"`)
	}
	return Not{p.sub()}
}

func (p *parser) sub() Node {
	if p.pos < len(p.src) && p.src[p.pos] == '(' {
		return p.group('(', ')', p.or)
	}
	return p.expression()
}

// group reads an opening bracket, what read reads, and the closing one.
func (p *parser) group(open, closing byte, read func() Node) Node {
	at := p.pos
	if p.depth++; p.depth > MaxDepth {
		p.fail(at, "nested deeper than %d levels", MaxDepth)
	}
	p.pos++
	p.blanks()
	if p.pos < len(p.src) && p.src[p.pos] == closing {
		p.fail(p.pos, "nothing between %q and %q", open, closing)
	}
	n := read()
	p.blanks()
	if p.pos == len(p.src) {
		line, column := position(p.src, at)
		p.fail(p.pos, "the query ends before the %q of line %d, column %d is closed", open, line, column)
	}
	if p.src[p.pos] != closing {
		p.stray()
	}
	p.pos++
	p.depth--
	return n
}

// expression reads one condition: field and value, range, nested group or free
// text. All four begin with a literal; what follows it decides.
func (p *parser) expression() Node {
	at := p.pos
	field := p.literal()
	end := p.pos
	p.blanks()
	if p.pos == len(p.src) {
		return p.freeText(at, end, field)
	}
	switch p.src[p.pos] {
	case ':':
		p.pos++
		p.blanks()
		field, free := asField(field)
		p.remarkField(at, end)
		if p.pos == len(p.src) {
			p.fail(p.pos, "value expected after the colon")
		}
		if p.src[p.pos] == '{' {
			return p.nestedGroup(field)
		}
		return p.values(at, field, free)
	case '<', '>':
		op := p.src[p.pos : p.pos+1]
		p.pos++
		if p.pos < len(p.src) && p.src[p.pos] == '=' {
			op += "="
			p.pos++
		}
		p.blanks()
		field, _ := asField(field)
		p.remarkField(at, end)
		p.leaf(at)
		switch {
		case p.pos == len(p.src):
			p.fail(p.pos, "value expected after %q", op)
		case p.src[p.pos] == '(' || p.src[p.pos] == '{':
			p.fail(p.pos, "a comparison takes a single value, not a list or group")
		}
		value := p.literal()
		return Range{Field: field, Op: Op(op), Value: value}
	}
	return p.freeText(at, end, field)
}

func (p *parser) freeText(at, end int, value Literal) Node {
	p.pos = end
	p.leaf(at)
	p.remarkValue(at, end, value)
	return FreeText{value}
}

// asField turns the literal before a colon into a field name. The bare word
// null names no field: Kibana then searches all of them.
func asField(l Literal) (field Literal, free bool) {
	if l.Null {
		return Text("null"), true
	}
	l.Quoted = false
	return l, false
}

func (p *parser) nestedGroup(path Literal) Node {
	p.nested++
	n := p.group('{', '}', p.or)
	p.nested--
	return Nested{Path: path, Node: n}
}

// values reads what follows a field and its colon: a value or a list.
func (p *parser) values(at int, field Literal, free bool) Node {
	leaf := func(valueAt int, value Literal) Node {
		p.leaf(valueAt)
		switch {
		case free:
			return FreeText{value}
		case value.lone() && field.lone() && p.nested == 0:
			return MatchAll{}
		case value.lone():
			return Exists{field}
		}
		return Is{Field: field, Value: value}
	}
	if p.src[p.pos] != '(' {
		start := p.pos
		if p.negation() {
			p.fail(start, `"not" cannot stand here; write "not field:value" or "field:(not value)"`)
		}
		value := p.literal()
		p.remarkValue(start, p.pos, value)
		return leaf(at, value)
	}
	var or, and, not, list func() Node
	list = func() Node {
		if p.pos < len(p.src) && p.src[p.pos] == '(' {
			return p.group('(', ')', or)
		}
		start := p.pos
		value := p.literal()
		p.remarkValue(start, p.pos, value)
		return leaf(start, value)
	}
	not = func() Node {
		if !p.negation() {
			return list()
		}
		at := p.pos
		if p.negation() {
			p.fail(at, `"not not" is not KQL; write "not (not ...)"`)
		}
		return Not{list()}
	}
	and = func() Node { return p.chain("and", not, func(n []Node) Node { return And{n} }) }
	or = func() Node { return p.chain("or", and, func(n []Node) Node { return Or{n} }) }
	return list()
}

// literal reads a quoted or unquoted literal.
func (p *parser) literal() Literal {
	if p.pos < len(p.src) && p.src[p.pos] == '"' {
		return p.quoted()
	}
	return p.unquoted()
}

func (p *parser) quoted() Literal {
	at := p.pos
	p.pos++
	var b textBuilder
	for p.pos < len(p.src) {
		p.steps++
		switch c := p.src[p.pos]; c {
		case '"':
			p.pos++
			return Literal{Parts: []string{b.text()}, Quoted: true}
		case '\\':
			if n := p.escape(&b, `\"`); n > 0 {
				p.pos += n
				continue
			}
			fallthrough // a backslash before anything else is text
		default:
			b.addByte(c)
			p.pos++
		}
	}
	p.fail(at, `quote is never closed`)
	return Literal{}
}

const specials = `\():<>"*{}`

const badEscape = `a backslash must be followed by one of \ ( ) : < > " * { }, by t, r, n, u and four hexadecimal digits, or by and, or; double it or quote the value to mean a backslash`

// unquoted reads up to a special character or an operator.
func (p *parser) unquoted() Literal {
	at := p.pos
	var b textBuilder
	var parts []string
scan:
	for p.pos < len(p.src) {
		p.steps++
		c := p.src[p.pos]
		if n := blankLen(p.src[p.pos:]); n > 0 {
			if !p.blankText(&b) {
				break
			}
			continue
		}
		switch {
		case c == '\\':
			n := p.escape(&b, specials)
			if n == 0 {
				n = p.escapedOperator(&b)
			}
			if n == 0 {
				p.fail(p.pos, "%s", badEscape)
			}
			p.pos += n
			continue
		case c == '*':
			parts = append(parts, b.text())
			b.reset()
		case isSpecial(c):
			break scan
		case (c == 'n' || c == 'N') && word(p.src[p.pos:], "not") && blankLen(p.src[p.pos+len("not"):]) > 0:
			break scan // Kibana stops here even in the middle of a word
		default:
			b.addByte(c)
		}
		p.pos++
	}
	if p.pos == at {
		p.noLiteral()
	}
	parts = append(parts, b.text())
	parts[0] = trimLeft(parts[0])
	last := len(parts) - 1
	parts[last] = trimRight(parts[last])
	l := Literal{Parts: parts}
	l.Null = last == 0 && parts[0] == "null"
	return l
}

// blankText reads a run of blanks as text, unless it stands before an operator.
// Looking at the run as a whole keeps the parser linear.
func (p *parser) blankText(b *textBuilder) bool {
	start := p.pos
	for n := 1; n > 0 && p.pos < len(p.src); p.pos += n {
		p.steps++
		n = blankLen(p.src[p.pos:])
	}
	for _, op := range []string{"and", "or"} {
		if rest := p.src[p.pos:]; word(rest, op) && blankLen(rest[len(op):]) > 0 {
			p.pos = start
			return false
		}
	}
	b.add(p.src[start:p.pos])
	return true
}

// noLiteral reports what stands where a field or a value should.
func (p *parser) noLiteral() {
	if p.pos == len(p.src) {
		p.fail(p.pos, "the query ends where a condition or value is expected")
	}
	switch c := p.src[p.pos]; c {
	case '(', '{':
		p.fail(p.pos, "unexpected %q where a value is expected", c)
	case ':':
		p.fail(p.pos, `field name expected before ":"; escape or quote a colon in a value`)
	case 'n', 'N':
		p.fail(p.pos, `"not" cannot stand here; quote the value if it begins with "not"`)
	default:
		p.fail(p.pos, "unexpected %q where a field or value is expected", c)
	}
}

// escape reads an escape that quoted and unquoted literals share and returns
// its length, 0 if there is none. A backslash before a character of self stands
// for that character.
func (p *parser) escape(b *textBuilder, self string) int {
	rest := p.src[p.pos:]
	if len(rest) < 2 {
		return 0
	}
	switch c := rest[1]; {
	case c == 't':
		b.addByte('\t')
	case c == 'r':
		b.addByte('\r')
	case c == 'n':
		b.addByte('\n')
	case strings.IndexByte(self, c) >= 0:
		b.addByte(c)
	case c == 'u':
		unit, ok := hex4(rest[2:])
		if !ok {
			return 0
		}
		p.remark(p.pos, "portable-unicode", `lib/kql does not decode \u escapes`)
		b.addUnit(unit)
		return len(`\u0000`)
	default:
		return 0
	}
	return 2
}

// escapedOperator reads \and and \or. There is no \not: its \n is a line feed.
func (p *parser) escapedOperator(b *textBuilder) int {
	for _, op := range []string{"or", "and"} {
		if rest := p.src[p.pos+1:]; word(rest, op) {
			p.remark(p.pos, "portable-escape", "lib/kql refuses an escaped operator; quote the value")
			b.add(rest[:len(op)])
			return 1 + len(op)
		}
	}
	return 0
}

const nbsp = "\u00a0"

// blanks reads blanks and returns the new position.
func (p *parser) blanks() int {
	for p.pos < len(p.src) {
		p.steps++
		n := blankLen(p.src[p.pos:])
		if n == 0 {
			break
		}
		if n == len(nbsp) {
			p.remark(p.pos, "portable-nbsp", "a no-break space; lib/kql takes it for part of the word")
		}
		p.pos += n
	}
	return p.pos
}

// blankLen returns the length of the blank that s begins with, 0 if none.
func blankLen(s string) int {
	switch {
	case s == "":
		return 0
	case s[0] == ' ', s[0] == '\t', s[0] == '\r', s[0] == '\n':
		return 1
	case strings.HasPrefix(s, nbsp):
		return len(nbsp)
	}
	return 0
}

// word reports whether s begins with the lower-case word w in any case.
func word(s, w string) bool {
	if len(s) < len(w) {
		return false
	}
	for i := range len(w) {
		if s[i]|0x20 != w[i] {
			return false
		}
	}
	return true
}

func isSpecial(c byte) bool { return strings.IndexByte(specials, c) >= 0 }

func hex4(s string) (uint16, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var v uint16
	for i := range 4 {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v = v<<4 | uint16(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | uint16(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// A textBuilder collects the text of a literal. Escapes name UTF-16 units: two
// in a row may be one character, a lone half of a pair becomes U+FFFD, as it
// does when JSON is decoded.
type textBuilder struct {
	buf  []byte
	high rune // pending first half of a pair
}

func (b *textBuilder) addByte(c byte) {
	b.flush()
	b.buf = append(b.buf, c)
}

func (b *textBuilder) add(s string) {
	b.flush()
	b.buf = append(b.buf, s...)
}

func (b *textBuilder) addUnit(unit uint16) {
	r := rune(unit)
	if b.high != 0 {
		if pair := utf16.DecodeRune(b.high, r); pair != utf8.RuneError {
			b.high = 0
			b.buf = utf8.AppendRune(b.buf, pair)
			return
		}
	}
	b.flush()
	if utf16.IsSurrogate(r) && r < 0xdc00 {
		b.high = r
		return
	}
	b.buf = utf8.AppendRune(b.buf, r) // a lone second half becomes U+FFFD
}

func (b *textBuilder) flush() {
	if b.high != 0 {
		b.buf = utf8.AppendRune(b.buf, utf8.RuneError)
		b.high = 0
	}
}

func (b *textBuilder) text() string {
	b.flush()
	return string(b.buf)
}

func (b *textBuilder) reset() { b.buf, b.high = b.buf[:0], 0 }

// trim removes what JavaScript's String.trim removes.
func trim(s string) string { return trimLeft(trimRight(s)) }

func trimLeft(s string) string  { return strings.TrimLeftFunc(s, isTrimmed) }
func trimRight(s string) string { return strings.TrimRightFunc(s, isTrimmed) }

func isTrimmed(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}
