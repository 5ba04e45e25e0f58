package kql

import (
	"fmt"
	"slices"
	"strings"
)

// A Warning is something in a valid query that its author hardly meant. Codes:
//
//	never              the query can hold for no document
//	always             the query holds for every document
//	dead               a condition, or one side of an "or", that cannot hold
//	free-text          a: x or y, where y is searched in all fields
//	quoted-star        a star in quotes, which is plain text
//	single-quotes, comma, equals, comment, lucene
//	                   syntax of other languages, plain text here
//	dangling-operator, operator-in-field
//	                   an operator that became part of a value or a name
//	object-value       a value asked of an object
//	nested             a nested group on what is not of type nested
//	flattened-pattern  works here, Elasticsearch refuses it
//	portable-...       fine in Kibana and here, but not for lib/kql, which
//	                   checks Elastic's own rules
type Warning struct {
	Line, Column int // from 1, in characters
	Code         string
	Msg          string
}

// Lint reports what is odd about the query src, parsed as n, in the order of
// the query. types may be nil, which leaves out what depends on types.
func Lint(src string, n Node, types func(field string) Type) []Warning {
	l := &linter{types: types}
	p := &parser{src: src, note: l.warn}
	if parsed, err := p.parse(); err == nil && (n == nil || parsed.String() == n.String()) {
		n, l.leaves = parsed, p.leaves
	} else { // not the text of n: everything stands at its beginning
		src, l.found = "", nil
	}
	if n != nil {
		l.tree(n)
	}
	slices.SortStableFunc(l.found, func(a, b finding) int { return a.offset - b.offset })
	var ws []Warning
	for _, f := range l.found {
		line, column := position(src, f.offset)
		w := Warning{line, column, f.code, f.msg}
		if !slices.Contains(ws, w) {
			ws = append(ws, w)
		}
	}
	return ws
}

type finding struct {
	offset    int
	code, msg string
}

type linter struct {
	types  func(string) Type
	leaves []int // offsets of conditions not yet reached
	found  []finding
}

func (l *linter) warn(offset int, code, msg string) {
	l.found = append(l.found, finding{offset, code, msg})
}

// tree checks what the query means, as against how it is written.
func (l *linter) tree(n Node) {
	root := l.term(n, "")
	l.freeText(root)
	if ok, culprit := l.holds(claims{}, []claim{{root, true}}, true); !ok {
		l.warn(culprit.at, "never", "the query can never match: "+culprit.contradiction())
		return
	}
	if _, all := n.(MatchAll); all {
		return
	}
	if ok, _ := l.holds(claims{}, []claim{{root, false}}, false); !ok {
		l.warn(root.at, "always", "the query matches every document")
	}
}

// A term is a node with what the checks need to know of it.
type term struct {
	node  Node
	kids  []*term
	at    int    // offset
	base  string // path of the nested group around it
	text  string // canonical text of a condition or nested group
	field string // full name of the field of a condition
	typ   Type
	dead  string // why the condition can never hold
}

// contradiction says why t, at which the query fails, cannot hold.
func (t *term) contradiction() string {
	if t.dead != "" {
		return t.dead
	}
	return fmt.Sprintf("%s contradicts the rest", t.text)
}

// term prepares n and warns about single conditions.
func (l *linter) term(n Node, base string) *term {
	t := &term{node: n, base: base}
	kids := func(nodes ...Node) {
		for _, k := range nodes {
			t.kids = append(t.kids, l.term(k, base))
		}
	}
	switch n := n.(type) {
	case And:
		kids(n.Nodes...)
	case Or:
		kids(n.Nodes...)
	case Not:
		kids(n.Node)
	case Nested:
		t.field, t.text = join(base, n.Path.Text()), n.String()
		t.kids = []*term{l.term(n.Node, t.field)}
	default:
		t.text = n.String()
		if len(l.leaves) > 0 {
			t.at, l.leaves = l.leaves[0], l.leaves[1:]
		}
		l.condition(t)
	}
	if len(t.kids) > 0 {
		t.at = t.kids[0].at
	}
	if n, ok := n.(Nested); ok {
		l.group(t, n)
	}
	if t.dead != "" {
		l.warn(t.at, "dead", fmt.Sprintf("%s never holds: %s", t.text, t.dead))
	}
	return t
}

func join(base, name string) string {
	if base == "" {
		return name
	}
	return base + "." + name
}

// group checks a nested group.
func (l *linter) group(t *term, n Nested) {
	if n.Path.Wildcard() {
		t.dead = "the path of a nested group takes no wildcard"
		return
	}
	if l.types == nil {
		return
	}
	if typ := l.types(t.field); typ != TypeNested && typ != TypeUnknown {
		l.warn(t.at, "nested", fmt.Sprintf("%q is of type %s, not nested: Kibana refuses the group", t.field, typ))
	}
}

// condition checks a condition against the type of its field.
func (l *linter) condition(t *term) {
	var field Literal
	var cond condition
	switch n := t.node.(type) {
	case FreeText:
		if n.Value.Null {
			t.dead = "null is no value"
		}
		return
	case Is:
		field, cond = n.Field, condition{value: n.Value}
	case Range:
		field, cond = n.Field, condition{op: n.Op, value: n.Value}
	case Exists:
		field = n.Field
	default:
		return
	}
	t.field = join(t.base, field.Text())
	if cond.value.Null {
		t.dead = fmt.Sprintf("null is no value; write not %s:* to ask for a missing field", field.Text())
		return
	}
	if field.Wildcard() || l.types == nil {
		return
	}
	typ, keyed, visible := resolve(l.types, t.base, t.field)
	t.typ = typ
	if !visible {
		t.dead = fmt.Sprintf("%q lies in nested objects; ask inside a group, path:{...}", t.field)
		return
	}
	if cond.value.Parts == nil { // Exists
		return
	}
	var c compiler
	if c.single(typ, false, cond) == (never{}) {
		t.dead = deadReason(typ, cond)
		return
	}
	switch {
	case typ == TypeObject:
		l.warn(t.at, "object-value", fmt.Sprintf("%q is an object and has no value of its own", t.field))
	case typ == TypeFlattened && keyed && cond.op == "" && cond.value.Wildcard() && !prefixOnly(cond.value):
		l.warn(t.at, "flattened-pattern", fmt.Sprintf("%q lies in a flattened field, where Elasticsearch refuses a star that is not at the end; it works here", t.field))
	}
}

func prefixOnly(l Literal) bool { return len(l.Parts) == 2 && l.Parts[1] == "" }

// deadReason says why no value of a field of the type meets the condition.
func deadReason(typ Type, cond condition) string {
	text := cond.value.Text()
	if cond.op == "" && cond.value.Wildcard() {
		return fmt.Sprintf("a field of type %s takes no wildcard", typ)
	}
	switch typ {
	case TypeIP:
		return fmt.Sprintf("%q is no address or network, but the field is of type ip", text)
	case TypeLong:
		if _, ok := parseNumber(text); ok {
			return fmt.Sprintf("%s is no whole number, but the field holds only those", text)
		}
		return fmt.Sprintf("%q is no number, but the field is of type long", text)
	case TypeDouble:
		return fmt.Sprintf("%q is no number, but the field is of type double", text)
	case TypeBoolean:
		return fmt.Sprintf("%q is neither true nor false (in lower case), but the field is of type boolean", text)
	case TypeDate:
		return fmt.Sprintf("%q is no date, but the field is of type date", text)
	}
	return fmt.Sprintf("there is no word in %q", text)
}

// freeText warns about text without a field among conditions with one.
func (l *linter) freeText(t *term) {
	_, and := t.node.(And)
	_, or := t.node.(Or)
	var named string
	for _, k := range t.kids {
		if f := lastField(k); f != "" {
			named = f
		}
		n, ok := k.node.(FreeText)
		if !ok || named == "" || !and && !or {
			l.freeText(k)
			continue
		}
		op := map[bool]string{true: "and", false: "or"}[and]
		l.warn(k.at, "free-text", fmt.Sprintf("%s has no field and is searched in all of them; for another value of %s write %s:(... %s %s)",
			n.Value, named, named, op, n.Value))
	}
}

// lastField returns the last field that is named in t.
func lastField(t *term) string {
	for _, k := range slices.Backward(t.kids) {
		if f := lastField(k); f != "" {
			return f
		}
	}
	return t.field
}

// A claim is a term and whether it shall hold.
type claim struct {
	*term
	truth bool
}

// claims are conditions that shall hold, and others that shall not, at once.
type claims struct{ yes, no []*term }

// holds reports whether all goals may hold together with what is known; false
// is certain, true is not. Each alternative of an "or" is tried against what is
// known, not against the other alternatives. If it is false the culprit is the
// term at which it became clear. With report, alternatives that cannot hold are
// warned about.
func (l *linter) holds(known claims, goals []claim, report bool) (ok bool, culprit *term) {
	known.yes, known.no = slices.Clip(known.yes), slices.Clip(known.no)
	var choices []claim
	for len(goals) > 0 {
		g := goals[0]
		goals = goals[1:]
		switch g.node.(type) {
		case And, Or:
			if _, and := g.node.(And); and != g.truth {
				choices = append(choices, g)
				continue
			}
			for _, k := range g.kids {
				goals = append(goals, claim{k, g.truth})
			}
		case Not:
			goals = append(goals, claim{g.kids[0], !g.truth})
		default:
			if why := l.add(&known, g, report); why != nil {
				return false, why
			}
		}
	}
	for _, c := range choices {
		var dead, culprits []*term
		for _, k := range c.kids {
			if ok, why := l.holds(known, []claim{{k, c.truth}}, report); !ok {
				dead, culprits = append(dead, k), append(culprits, why)
			}
		}
		if len(dead) == len(c.kids) {
			if len(dead) == 0 {
				return false, c.term
			}
			return false, culprits[0]
		}
		for i, k := range dead {
			if why := culprits[i]; report && why.dead == "" {
				l.warn(k.at, "dead", "this alternative can never hold: "+why.contradiction())
			}
		}
	}
	return true, nil
}

// add takes a condition or nested group into what is known. If that is
// impossible it returns the term at fault.
func (l *linter) add(known *claims, c claim, report bool) *term {
	if !c.truth {
		if c.certain() {
			return c.term
		}
		for _, y := range known.yes {
			if implies(y, c.term) {
				return later(y, c.term)
			}
		}
		known.no = append(known.no, c.term)
		return nil
	}
	if c.dead != "" {
		return c.term
	}
	if len(c.kids) > 0 { // a nested group: its objects are a world of their own
		if ok, why := l.holds(claims{}, []claim{{c.kids[0], true}}, report); !ok {
			return why
		}
	}
	for _, n := range known.no {
		if implies(c.term, n) {
			return later(n, c.term)
		}
	}
	known.yes = append(known.yes, c.term)
	return nil
}

func later(a, b *term) *term {
	if a.at > b.at {
		return a
	}
	return b
}

// certain reports whether t holds for every document.
func (t *term) certain() bool {
	switch n := t.node.(type) {
	case MatchAll:
		return true
	case FreeText:
		return n.Value.lone()
	}
	return false
}

// implies reports whether b holds wherever a does; false is not certain.
func implies(a, b *term) bool {
	if a.text == b.text {
		return true
	}
	field, value := parts(a.node)
	switch b := b.node.(type) {
	case Exists:
		switch {
		case field.Parts == nil:
			return false
		case field.Equal(b.Field):
			return true
		case field.Wildcard():
			return false
		case b.Field.Wildcard(): // the name of an object may fit when those of its fields do not
			return value.Parts != nil && a.typ != TypeFlattened && fitsName(b.Field.Parts, []byte(field.Text()))
		}
		_, below := prefixed(field.Text(), b.Field.Text())
		return below
	case Is:
		_, is := a.node.(Is)
		switch {
		case !is || !field.Equal(b.Field) || value.Wildcard():
			return false
		case b.Value.Wildcard():
			return isKeyword(a.typ) && newPattern(b.Value.Parts, false).fits(value.Text())
		}
		return a.typ != TypeText && value.Text() == b.Value.Text()
	}
	return false
}

// parts returns the field and value of a condition, as far as it has them.
func parts(n Node) (field, value Literal) {
	switch n := n.(type) {
	case Is:
		return n.Field, n.Value
	case Range:
		return n.Field, n.Value
	case Exists:
		return n.Field, Literal{}
	}
	return Literal{}, Literal{}
}

// remarkOperator checks how an operator at an offset is written.
func (p *parser) remarkOperator(at int, op string) {
	if p.note == nil {
		return
	}
	end := at + len(op)
	if p.src[at:end] != op {
		p.note(at, "portable-case", "lib/kql wants operators in lower case")
	}
	before, after := p.src[:at], p.src[end:]
	if len(before) > 0 && endsLine(strings.TrimRight(before, " \t\r")) && startsLine(strings.TrimLeft(after, " \t\r")) {
		p.note(at, "portable-own-line", "lib/kql refuses an operator on a line of its own")
	}
}

func endsLine(s string) bool   { return strings.HasSuffix(s, "\n") }
func startsLine(s string) bool { return strings.HasPrefix(s, "\n") }

// remarkField checks how a field name between two offsets is written.
func (p *parser) remarkField(at, end int) {
	if p.note == nil || p.src[at] == '"' {
		return
	}
	raw := trim(p.src[at:end])
	for _, op := range []string{"and", "or", "not"} {
		if word(raw, op) && len(raw) > len(op) && blankLen(raw[len(op):]) > 0 {
			p.note(at, "operator-in-field", fmt.Sprintf("%q is the name of a field here; is the operator one too many?", raw))
		}
	}
	switch {
	case strings.HasSuffix(raw, "="), strings.HasSuffix(raw, "!"):
		p.note(at, "equals", fmt.Sprintf("%q is the name of a field here; comparisons are written : < <= > >= and not field:value", raw))
	case strings.HasPrefix(raw, "!"), strings.HasPrefix(raw, "-"), strings.HasPrefix(raw, "+"):
		p.note(at, "lucene", fmt.Sprintf("%q is the name of a field here; write not in front of a condition to negate it", raw))
	}
}

// remarkValue checks how a value between two offsets is written.
func (p *parser) remarkValue(at, end int, value Literal) {
	if p.note == nil {
		return
	}
	raw := trim(p.src[at:end])
	if value.Quoted {
		if strings.Contains(raw, "\n") {
			p.note(at, "portable-newline", "lib/kql refuses a line break in quotes; write \\n")
		}
		if strings.Contains(raw, "*") {
			p.note(at, "quoted-star", "a star in quotes is plain text; leave out the quotes and escape what needs it to make it a wildcard")
		}
		return
	}
	fields := strings.Fields(raw)
	has := func(words ...string) bool {
		return slices.ContainsFunc(fields, func(f string) bool { return slices.Contains(words, f) })
	}
	lower := strings.ToLower(raw)
	quote := strings.HasPrefix(raw, "'") && strings.HasSuffix(raw, "'") && len(raw) > 1
	switch {
	case quote:
		p.note(at, "single-quotes", "single quotes are part of the value; use double quotes")
	case has("=", "==", "!=", "<>"):
		p.note(at, "equals", fmt.Sprintf("%q is text to search for; comparisons are written : < <= > >= and not field:value", raw))
	case has("&&", "||"), strings.HasPrefix(raw, "[") && strings.HasSuffix(raw, "]") && has("TO"),
		len(raw) > 2 && raw[0] == '/' && strings.HasSuffix(raw, "/") && strings.ContainsAny(raw, "[]^$+|"), strings.HasPrefix(raw, "/.*"):
		p.note(at, "lucene", fmt.Sprintf("%q is plain text: KQL has no regular expressions, bracketed ranges, && or ||", raw))
	case has("#", "//"):
		p.note(at, "comment", fmt.Sprintf("KQL has no comments: %q is the value", raw))
	case strings.Contains(raw, ", "):
		p.note(at, "comma", fmt.Sprintf("%q is one value; write or between values", raw))
	case lower == "and", lower == "or", lower == "not", has("and", "or", "AND", "OR"):
		p.note(at, "dangling-operator", fmt.Sprintf("%q is the value: an operator needs blanks on both sides and something after them", raw))
	}
	switch {
	case value.Wildcard() && strings.Contains(strings.ReplaceAll(raw, `\\`, ""), `\*`):
		p.note(at, "portable-star", "lib/kql takes the escaped star for a wildcard, because there is another star in the value")
	case len(fields) > 1 && !value.Wildcard():
		p.note(at, "portable-blank", fmt.Sprintf("lib/kql refuses a value with blanks that is not quoted; write %q", raw))
	case strings.HasPrefix(lower, "not") && len(raw) > len("not"):
		p.note(at, "portable-not", fmt.Sprintf("lib/kql reads %q as not %s; quote it", raw, raw[len("not"):]))
	case len(fields) > 1 && strings.Contains(raw, "'"):
		p.note(at, "portable-quote", "lib/kql refuses a single quote in a value with blanks")
	}
	if strings.Contains(raw, "?") {
		p.note(at, "portable-question", "a question mark is plain text, not a wildcard for one character")
	}
	if pythonNumber(raw) {
		p.note(at, "portable-number", fmt.Sprintf("lib/kql reads %q as a number and forgets how it was written; quote it", raw))
	}
}

// pythonNumber reports whether Python takes s for a number and prints it
// differently.
func pythonNumber(s string) bool {
	t := strings.ToLower(strings.TrimLeft(s, "+-"))
	switch t {
	case "inf", "infinity", "nan":
		return true
	}
	_, ok := parseNumber(strings.ReplaceAll(t, "_", ""))
	if !ok || strings.HasPrefix(t, "_") || strings.HasSuffix(t, "_") {
		return false
	}
	return strings.ContainsAny(s, "_+eE") || len(t) > 1 && t[0] == '0' && t[1] != '.' || strings.HasPrefix(t, ".") || strings.HasSuffix(t, ".")
}
