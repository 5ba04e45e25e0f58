package kql

import (
	"fmt"
	"strconv"
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

// A SyntaxError is where a query stops being KQL, and why.
type SyntaxError struct {
	Line   int // from 1
	Column int // from 1, in characters
	Offset int // in bytes, from 0 to the length of the query
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Parse reads a query. An empty or blank one holds for every document. The error
// is a *[SyntaxError].
func Parse(src string) (*Node, error) { return ParseIn(src, nil) }

// ParseIn is Parse for a query that is part of a file. place returns line and column
// in the file of an offset in the query.
func ParseIn(src string, place func(offset int) (line, column int)) (*Node, error) {
	p := &parser{src: src, place: place}
	return p.parse()
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

	text []byte // of the literal or the part of one that is being read; reused

	place func(offset int) (line, column int) // nil: in src
	note  func(offset int, code, msg string)  // set by Lint
}

func (p *parser) parse() (n *Node, err error) {
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
		p.remark(0, "portable-empty", "an empty query matches everything; lib/kql refuses it, write *:*")
		return &Node{kind: all}, nil
	}
	n = p.or(p.sub)
	p.blanks()
	if p.pos < len(p.src) {
		p.stray()
	}
	return n, nil
}

// fail ends the parse with a mistake at offset.
func (p *parser) fail(offset int, format string, args ...any) {
	line, column := p.position(offset)
	panic(&SyntaxError{Line: line, Column: column, Offset: offset, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) position(offset int) (line, column int) {
	if p.place != nil {
		return p.place(offset)
	}
	return position(p.src, offset)
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

// stray reports text after a complete expression.
func (p *parser) stray() {
	switch c := p.src[p.pos]; {
	case strays[c] != "":
		p.fail(p.pos, "unexpected %q: %s", c, strays[c])
	case c == '\\':
		p.fail(p.pos, "%s", badEscape)
	case p.operatorWord("not"):
		p.fail(p.pos, `unexpected "not": write "and not" or "or not"; a text in which "not" stands before a blank must be quoted`)
	case p.operatorWord("and"), p.operatorWord("or"):
		p.fail(p.pos, `an operator needs blanks on both sides and a condition after it`)
	}
	p.fail(p.pos, `expected "and", "or" or the end of the query, with blanks around the operator`)
}

const oneComparison = `one comparison has one field and one value; write "and" or "or" between conditions`

var strays = map[byte]string{
	')': "nothing is open that it could close",
	'}': "nothing is open that it could close",
	':': `a second colon; write "and" or "or" between conditions, escape or quote a colon in a value`,
	'<': oneComparison,
	'>': oneComparison,
	'"': `write "and" or "or" between conditions, with blanks around it`,
	'(': `write "and" or "or" before it, with blanks around the operator; "not", too, needs a blank after it`,
	'{': "a nested group needs a field and a colon before it",
}

// operatorWord reports whether the operator w is here, whatever follows it.
func (p *parser) operatorWord(w string) bool {
	if !word(p.src[p.pos:], w) {
		return false
	}
	rest := p.src[p.pos+len(w):]
	return rest == "" || blankLen(rest) > 0 || isSpecial(rest[0])
}

// or reads operands, which are read by read, and the operators between them.
func (p *parser) or(read func() *Node) *Node {
	return p.chain("or", or, func() *Node {
		return p.chain("and", and, func() *Node { return p.not(read) })
	})
}

func (p *parser) chain(word string, k kind, operand func() *Node) *Node {
	first := operand()
	if !p.operator(word) {
		return first
	}
	nodes := []*Node{first, operand()}
	for p.operator(word) {
		nodes = append(nodes, operand())
	}
	return group(k, nodes...)
}

// operator reads blanks, op, blanks; or nothing. Blanks may lack before a "not".
func (p *parser) operator(op string) bool {
	start := p.pos
	p.blanks()
	at := p.pos
	if (at > start || op == "not") && word(p.src[at:], op) {
		p.pos += len(op)
		if after := p.pos; p.blanks() > after {
			p.remarkOperator(at, op)
			return true
		}
	}
	p.pos = start
	return false
}

func (p *parser) not(read func() *Node) *Node {
	if !p.operator("not") {
		return read()
	}
	at := p.pos
	if p.operator("not") {
		p.fail(at, `"not not" is not KQL; write "not (not ...)"`)
	}
	return group(not, read())
}

func (p *parser) sub() *Node {
	if p.at('(') {
		return p.bracketed('(', ')', p.sub)
	}
	return p.expression()
}

// at reports whether c is the next character.
func (p *parser) at(c byte) bool { return p.pos < len(p.src) && p.src[p.pos] == c }

// bracketed reads an opening bracket, operands, and the closing bracket.
func (p *parser) bracketed(open, closing byte, read func() *Node) *Node {
	at := p.pos
	if p.depth++; p.depth > MaxDepth {
		p.fail(at, "nested deeper than %d levels", MaxDepth)
	}
	p.pos++
	p.blanks()
	if p.at(closing) {
		p.fail(p.pos, "nothing between %q and %q", open, closing)
	}
	n := p.or(read)
	p.blanks()
	if p.pos == len(p.src) {
		line, column := p.position(at)
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
func (p *parser) expression() *Node {
	at := p.pos
	field := p.literal()
	end := p.pos
	p.blanks()
	switch {
	case p.at(':'):
		p.pos++
		p.blanks()
		p.remarkField(at, end)
		if p.pos == len(p.src) {
			p.fail(p.pos, "value expected after the colon")
		}
		if p.at('{') {
			p.nested++
			n := p.bracketed('{', '}', p.sub)
			p.nested--
			return &Node{kind: nested, kids: []*Node{n}, field: field.pattern, at: n.at}
		}
		return p.values(at, field)
	case p.at('<'), p.at('>'):
		op := p.src[p.pos : p.pos+1]
		p.pos++
		if p.at('=') {
			op += "="
			p.pos++
		}
		p.blanks()
		p.remarkField(at, end)
		switch {
		case p.pos == len(p.src):
			p.fail(p.pos, "value expected after %q", op)
		case p.at('('), p.at('{'):
			p.fail(p.pos, "a comparison takes a single value, not a list or group")
		}
		return &Node{kind: is, field: field.pattern, op: Op(op), value: p.literal(), at: at}
	}
	p.pos = end
	p.remarkValue(at, end, field)
	return &Node{kind: is, value: field, at: at}
}

// values reads what follows a field and its colon: a value or a list.
func (p *parser) values(at int, field literal) *Node {
	start := p.pos
	switch {
	case p.at('('):
		return p.list(field)
	case p.operator("not"):
		p.fail(start, `"not" cannot stand here; write "not field:value" or "field:(not value)"`)
	}
	return p.value(at, field)
}

func (p *parser) list(field literal) *Node {
	if p.at('(') {
		return p.bracketed('(', ')', func() *Node { return p.list(field) })
	}
	return p.value(p.pos, field)
}

// value reads a value of a field and makes their condition, whose place is at.
func (p *parser) value(at int, field literal) *Node {
	start := p.pos
	v := p.literal()
	p.remarkValue(start, p.pos, v)
	switch {
	case field.null: // the bare word null names no field: Kibana then searches all of them
		return &Node{kind: is, value: v, at: at}
	case v.lone() && field.lone() && p.nested == 0:
		return &Node{kind: all, at: at}
	case v.lone():
		return &Node{kind: is, field: field.pattern, op: Exists, at: at}
	}
	return &Node{kind: is, field: field.pattern, value: v, at: at}
}

// literal reads a quoted or unquoted literal.
func (p *parser) literal() literal {
	if p.at('"') {
		return p.quoted()
	}
	return p.unquoted()
}

func (p *parser) quoted() literal {
	at := p.pos
	p.pos++
	for p.pos < len(p.src) {
		p.steps++
		switch c := p.src[p.pos]; {
		case c == '"':
			text := p.taken(at + 1)
			p.pos++
			return literal{pattern: pattern{text}, quoted: true}
		case c == '\\' && p.escape(`\"`):
		default: // also a backslash before anything else
			p.text = append(p.text, c)
			p.pos++
		}
	}
	p.fail(at, `quote is never closed`)
	return literal{}
}

const specials = `\():<>"*{}`

const badEscape = `a backslash must be followed by one of \ ( ) : < > " * { }, by t, r, n, u and four hexadecimal digits, or by and, or, Not; double it or quote the value to mean a backslash`

// unquoted reads up to a special character or an operator.
func (p *parser) unquoted() literal {
	at, start := p.pos, p.pos
	var parts pattern
scan:
	for p.pos < len(p.src) {
		p.steps++
		switch c := p.src[p.pos]; {
		case blankLen(p.src[p.pos:]) > 0:
			if !p.blankText() {
				break scan
			}
			continue
		case c == '\\':
			if !p.escape(specials) && !p.escapedOperator() {
				p.fail(p.pos, "%s", badEscape)
			}
			continue
		case c == '*':
			parts = append(parts, p.taken(start))
			start = p.pos + 1
		case isSpecial(c):
			break scan
		case (c == 'n' || c == 'N') && word(p.src[p.pos:], "not") && blankLen(p.src[p.pos+len("not"):]) > 0:
			break scan // Kibana stops here even in the middle of a word
		default:
			p.text = append(p.text, c)
		}
		p.pos++
	}
	if p.pos == at {
		p.noLiteral()
	}
	parts = append(parts, p.taken(start))
	parts[0] = trimLeft(parts[0])
	last := len(parts) - 1
	parts[last] = trimRight(parts[last])
	return literal{pattern: parts, null: last == 0 && parts[0] == "null"}
}

// taken returns the text that was read since start, of the query itself where nothing
// in it was escaped: an escape is longer than what it stands for.
func (p *parser) taken(start int) string {
	text := p.src[start:p.pos]
	if len(p.text) < len(text) {
		text = string(p.text)
	}
	p.text = p.text[:0]
	return text
}

// blankText reads a run of blanks as text, unless it is before an operator.
// Looking at the run as a whole keeps the parser linear.
func (p *parser) blankText() bool {
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
	p.text = append(p.text, p.src[start:p.pos]...)
	return true
}

// noLiteral is the error for what is in the place of a field or a value.
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

// escape reads an escape that quoted and unquoted literals share, if there is one
// here. A backslash before a character of self stands for that character.
func (p *parser) escape(self string) bool {
	rest := p.src[p.pos:]
	if len(rest) < 2 {
		return false
	}
	switch c := rest[1]; {
	case c == 't':
		p.text = append(p.text, '\t')
	case c == 'r':
		p.text = append(p.text, '\r')
	case c == 'n':
		p.text = append(p.text, '\n')
	case strings.IndexByte(self, c) >= 0:
		p.text = append(p.text, c)
	default:
		return p.unicodeEscapes()
	}
	p.pos += 2
	return true
}

// unicodeEscapes reads a run of \u escapes. They name UTF-16 units: two may be
// one character, and a lone half of a pair becomes U+FFFD, as when JSON is
// decoded.
func (p *parser) unicodeEscapes() bool {
	var units []uint16
	for len(p.src)-p.pos >= len(`\u0000`) && p.src[p.pos:p.pos+2] == `\u` {
		unit, err := strconv.ParseUint(p.src[p.pos+2:p.pos+6], 16, 16)
		if err != nil {
			break
		}
		p.steps++
		p.remark(p.pos, "portable-unicode", `lib/kql does not decode \u escapes`)
		units = append(units, uint16(unit))
		p.pos += len(`\u0000`)
	}
	p.text = append(p.text, string(utf16.Decode(units))...)
	return len(units) > 0
}

// escapedOperator reads \or, \and and \Not. There is no \not: its \n is a line
// feed.
func (p *parser) escapedOperator() bool {
	for _, op := range []string{"or", "and", "not"} {
		if rest := p.src[p.pos+1:]; word(rest, op) {
			p.remark(p.pos, "portable-escape", "lib/kql refuses an escaped operator; quote the value")
			p.text = append(p.text, rest[:len(op)]...)
			p.pos += 1 + len(op)
			return true
		}
	}
	return false
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
