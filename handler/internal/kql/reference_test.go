package kql

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file holds a second evaluator, slow and simple: it lists a document as
// (name, value) pairs and asks each condition of each pair, with regular
// expressions, big numbers and package time. It shares nothing with the engine
// but the tree, and the two must agree on random queries and documents.

type reference struct {
	types func(string) Type
	now   time.Time
}

// A pair is one value of a document under its full name, without dotted keys.
type pair struct {
	name  string
	value any
	outer []string // names of the objects around it
}

func pairs(v any, name string, outer []string) []pair {
	var ps []pair
	switch v := v.(type) {
	case map[string]any:
		if name != "" {
			outer = append(slices.Clip(outer), name)
		}
		for k, e := range v {
			child := k
			if name != "" {
				child = name + "." + k
			}
			ps = append(ps, pairs(e, child, outer)...)
		}
	case []any:
		for _, e := range v {
			ps = append(ps, pairs(e, name, outer)...)
		}
	case nil:
	default:
		ps = append(ps, pair{name, v, outer})
	}
	return ps
}

// objects lists the objects at a path.
func objects(v any, path []string) []map[string]any {
	switch v := v.(type) {
	case map[string]any:
		if len(path) == 0 {
			return []map[string]any{v}
		}
		return objects(v[path[0]], path[1:])
	case []any:
		var all []map[string]any
		for _, e := range v {
			all = append(all, objects(e, path)...)
		}
		return all
	}
	return nil
}

func (r reference) typeOf(name string) Type {
	if r.types == nil {
		return TypeUnknown
	}
	return r.types(name)
}

// eval evaluates n on an object whose full name is base.
func (r reference) eval(n *Node, doc map[string]any, base string) bool {
	switch n.kind {
	case and:
		ok := true
		for _, k := range n.kids {
			ok = r.eval(k, doc, base) && ok
		}
		return ok
	case or:
		ok := false
		for _, k := range n.kids {
			ok = r.eval(k, doc, base) || ok
		}
		return ok
	case not:
		return !r.eval(n.kids[0], doc, base)
	case all:
		return true
	case nested:
		full := n.field.text()
		if base != "" {
			full = base + "." + full
		}
		return slices.ContainsFunc(objects(doc, strings.Split(n.field.text(), ".")), func(o map[string]any) bool {
			return r.eval(n.kids[0], o, full)
		})
	}
	field, anywhere := n.field, n.field == nil
	if anywhere {
		if n.value.lone() {
			return true
		}
		field = pattern{"", ""}
	}
	return r.any(doc, base, field, n.op == Exists, func(t Type, v any) bool { return n.op == Exists || r.fits(t, v, n.op, n.value) })
}

// any asks all pairs that field means.
func (r reference) any(doc map[string]any, base string, field []string, exists bool, f func(Type, any) bool) bool {
	prefix := ""
	if base != "" {
		prefix = base + "."
	}
	name := stars(field)
	for _, p := range pairs(doc, "", nil) {
		typ, hidden, flat := r.typeOf(prefix+p.name), false, ""
		for _, o := range p.outer {
			switch r.typeOf(prefix + o) {
			case TypeNested:
				hidden = true
			case TypeFlattened:
				if flat == "" {
					flat = o
				}
			}
		}
		hidden = hidden || typ == TypeNested
		if flat != "" {
			typ = TypeFlattened
		}
		meant := name.MatchString(p.name) || flat != "" && name.MatchString(flat)
		if exists && len(field) == 1 {
			meant = meant || slices.Contains(p.outer, field[0])
		}
		if meant && !hidden && f(typ, p.value) {
			return true
		}
	}
	return false
}

// stars turns a pattern into a regular expression.
func stars(parts []string) *regexp.Regexp {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(quoted, `.*`) + `$`)
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	}
	return fmt.Sprint(v)
}

func holds(c int, op Op) bool {
	return map[Op]bool{"": c == 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[op]
}

func (r reference) fits(typ Type, v any, op Op, want literal) bool {
	if want.null {
		return false
	}
	double := typ == TypeDouble // else whole numbers are exact
	if typ == TypeUnknown || typ == TypeObject {
		typ = TypeKeyword
		switch v.(type) {
		case json.Number:
			typ = TypeDouble
		case bool:
			typ = TypeBoolean
		}
	}
	pattern := op == "" && want.wildcard()
	text := want.text()
	switch typ {
	case TypeKeyword, TypeWildcard, TypeFlattened:
		if pattern {
			return stars(want.pattern).MatchString(textOf(v))
		}
		return holds(strings.Compare(textOf(v), text), op)
	case TypeText:
		return textFits(textOf(v), op, want)
	}
	if pattern {
		return false
	}
	switch typ {
	case TypeLong, TypeDouble:
		a, ok1 := decimal(textOf(v))
		b, ok2 := decimal(text)
		if _, isBool := v.(bool); isBool || !ok1 || !ok2 {
			return false
		}
		if double {
			x, _ := a.Float64()
			y, _ := b.Float64()
			a, b = new(big.Rat).SetFloat64(x), new(big.Rat).SetFloat64(y)
		}
		if typ == TypeLong && !a.IsInt() {
			a.SetInt(new(big.Int).Quo(a.Num(), a.Denom()))
		}
		return holds(a.Cmp(b), op)
	case TypeBoolean:
		order := map[string]int{"": 1, "false": 1, "true": 2}
		if _, isNumber := v.(json.Number); isNumber || text == "" || order[textOf(v)] == 0 || order[text] == 0 {
			return false
		}
		return holds(order[textOf(v)]-order[text], op)
	case TypeIP:
		a, err := netip.ParseAddr(textOf(v))
		if err != nil {
			return false
		}
		if p, err := netip.ParsePrefix(text); err == nil && op == "" {
			return p.Contains(a) || p.Contains(a.Unmap())
		}
		b, err := netip.ParseAddr(text)
		if err != nil {
			return false
		}
		wide := func(a netip.Addr) string { return fmt.Sprintf("%x", a.As16()) }
		return holds(strings.Compare(wide(a), wide(b)), op)
	case TypeDate:
		if _, isBool := v.(bool); isBool {
			return false
		}
		t, _, ok1 := date(textOf(v))
		if n, ok := v.(json.Number); ok && !ok1 { // with a fraction or exponent
			ms, _ := decimal(string(n))
			t, ok1 = time.UnixMilli(new(big.Int).Quo(ms.Num(), ms.Denom()).Int64()).UTC(), true
		}
		first, last, ok2 := date(text)
		if math, ok := map[string]time.Duration{"now": 0, "now-1d": -24 * time.Hour, "now+1h": time.Hour}[text]; ok {
			first, last, ok2 = r.now.Add(math), r.now.Add(math), true
		}
		if text == "now/d" {
			first, last, ok2 = r.now.Truncate(24*time.Hour), r.now.Truncate(24*time.Hour).Add(24*time.Hour-time.Millisecond), true
		}
		if !ok1 || !ok2 {
			return false
		}
		switch op {
		case Less:
			return t.Before(first)
		case GreaterEqual:
			return !t.Before(first)
		case Greater:
			return t.After(last)
		case LessEqual:
			return !t.After(last)
		}
		return !t.Before(first) && !t.After(last)
	}
	return false
}

var wordPattern = regexp.MustCompile(`[\pL\pN_]+(?:[.'][\pL\pN_]+)*`)

var colonPattern = regexp.MustCompile(`(\pL):(\pL)`)

// wordsOf splits text as far as the generated texts need it. A colon between
// letters is part of the word; U+02D0 is a letter that looks like one.
func wordsOf(s string) []string {
	s = colonPattern.ReplaceAllString(s, "${1}\u02d0$2")
	return wordPattern.FindAllString(strings.ToLower(s), -1)
}

// textFits evaluates analysed text of plain words.
func textFits(s string, op Op, want literal) bool {
	have := wordsOf(s)
	if op != "" {
		return slices.ContainsFunc(have, func(w string) bool { return holds(strings.Compare(w, want.text()), op) })
	}
	if want.wildcard() {
		const star = "\x00"
		for _, piece := range strings.Fields(strings.Join(want.pattern, star)) {
			if !strings.Contains(piece, star) {
				if textFits(s, "", text(piece)) {
					return true
				}
				continue
			}
			p := stars(strings.Split(strings.ToLower(piece), star))
			if slices.ContainsFunc(have, p.MatchString) {
				return true
			}
		}
		return false
	}
	words := wordsOf(want.text())
	if !want.quoted {
		return slices.ContainsFunc(have, func(w string) bool { return slices.Contains(words, w) })
	}
	line := "\x00" + strings.Join(have, "\x00") + "\x00"
	return len(words) > 0 && strings.Contains(line, "\x00"+strings.Join(words, "\x00")+"\x00")
}

var decimalPattern = regexp.MustCompile(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)

func decimal(s string) (*big.Rat, bool) {
	if !decimalPattern.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func date(s string) (first, last time.Time, ok bool) {
	for layout, unit := range map[string]func(time.Time) time.Time{
		"2006":                 func(t time.Time) time.Time { return t.AddDate(1, 0, 0) },
		"2006-01":              func(t time.Time) time.Time { return t.AddDate(0, 1, 0) },
		"2006-01-02":           func(t time.Time) time.Time { return t.AddDate(0, 0, 1) },
		"2006-01-02T15":        func(t time.Time) time.Time { return t.Add(time.Hour) },
		"2006-01-02T15:04Z":    func(t time.Time) time.Time { return t.Add(time.Minute) },
		"2006-01-02T15:04:05":  func(t time.Time) time.Time { return t.Add(time.Second) },
		"2006-01-02T15:04:05Z": func(t time.Time) time.Time { return t.Add(time.Second) },
	} {
		if t, err := time.Parse(layout, s); err == nil && !strings.Contains(s, ",") {
			if strings.Contains(s, ".") {
				return t.Truncate(time.Millisecond), t.Truncate(time.Millisecond), true
			}
			return t, unit(t).Add(-time.Millisecond), true
		}
	}
	if ms, ok := new(big.Int).SetString(s, 10); ok && !strings.HasPrefix(s, "+") {
		return time.UnixMilli(ms.Int64()).UTC(), time.UnixMilli(ms.Int64()).UTC(), true
	}
	return first, last, false
}

// A generator makes random trees and documents that often meet each other.
type generator struct{ *rand.Rand }

func pick[T any](g generator, of ...T) T { return of[g.IntN(len(of))] }

var mapping = map[string]Type{
	"k": TypeKeyword, "w": TypeWildcard, "t": TypeText, "ip": TypeIP, "l": TypeLong, "d": TypeDouble,
	"b": TypeBoolean, "ts": TypeDate, "p": TypeFlattened, "o": TypeObject, "o.k": TypeKeyword,
	"o.n": TypeNested, "o.n.l": TypeLong, "n": TypeNested, "n.k": TypeKeyword, "n.t": TypeText,
	"n.m": TypeNested, "n.m.k": TypeKeyword, "odd name:*": TypeKeyword,
}

var generatedTexts = []string{"x", "y", "xy", "x y", "X", "", "quick brown fox", "the Quick", "5", "05", "5.0", "-7", "12", "9", "1.5",
	"9007199254740993", "9007199254740992", "true", "false", "True", "null", "not", "knot x", "a or b", "or", "and x", "x*", `a\b`, `say "hi"`, "a:b",
	"10.1.2.3", "10.0.0.0/8", "2001:db8::1", "2001:DB8:0::1", "::ffff:10.1.2.3", "11.0.0.1", "2001:db8::/32",
	"2024", "2024-02", "2024-02-29", "2024-02-29T10", "2024-02-29T10:20Z", "2024-02-29T10:20:30", "2024-02-29T10:20:30.1234567Z", "1709202030123", "2024-02-30",
	"now", "now-1d", "now+1h", "now/d", "\u00e9t\u00e9", "a\tb\nc", "x\u00a0y", "{}()<>"}

var fieldNames = []string{"k", "w", "t", "ip", "l", "d", "b", "ts", "p", "p.a", "p.a.b", "o", "o.k", "o.n", "o.n.l", "n", "n.k", "n.t", "n.m", "n.m.k", "odd name:*", "u", "u.v", "missing", "a.0.b"}

func (g generator) literal() literal {
	switch g.IntN(12) {
	case 0:
		return literal{pattern: pattern{"null"}, null: true}
	case 1, 2:
		parts := pick(g, []string{"x", ""}, []string{"", "y"}, []string{"", "i", ""}, []string{"q", "k"}, []string{"", "", ""}, []string{"2024", ""},
			[]string{"1", "", ""}, []string{"", "own fo", ""}, []string{"", "*"}, []string{"x", "not y or ", "z and"})
		return literal{pattern: slices.Clone(parts)}
	case 3, 4, 5, 6:
		return literal{pattern: pattern{pick(g, generatedTexts...)}, quoted: true}
	}
	return text(unquotable(pick(g, generatedTexts...)))
}

// unquotable returns s as an unquoted literal can hold it.
func unquotable(s string) string {
	if s = strings.TrimSpace(s); s == "null" {
		return "nil"
	}
	return s
}

func (g generator) field() pattern {
	if g.IntN(8) == 0 {
		return slices.Clone(pick(g, pattern{"", ""}, pattern{"k", ""}, pattern{"o.", ""}, pattern{"", ".k"}, pattern{"p", "b"}, pattern{"", "p"}, pattern{"n.", "k"}))
	}
	return pattern{pick(g, fieldNames...)}
}

func (g generator) node(depth int, inside bool) *Node {
	if depth > 0 {
		switch g.IntN(10) {
		case 0, 1:
			return group(and, g.nodes(depth-1, inside)...)
		case 2, 3:
			return group(or, g.nodes(depth-1, inside)...)
		case 4, 5:
			return group(not, g.node(depth-1, inside))
		case 6:
			return inNested(pick(g, "n", "o.n", "n.m", "m", "u"), g.node(depth-1, true))
		case 7: // a list
			field, list := g.field(), g.nodes(0, inside)
			for i := range list {
				list[i] = g.onField(field, inside)
			}
			if g.IntN(2) == 0 {
				return group(and, list...)
			}
			return group(or, list...)
		}
	}
	switch g.IntN(12) {
	case 0:
		return free(g.literal())
	case 1:
		if inside { // where *:* asks for any field of the object
			return exists("", "")
		}
		return &Node{kind: all}
	case 2, 3, 4:
		return &Node{kind: is, field: g.field(), op: pick(g, Less, LessEqual, Greater, GreaterEqual), value: g.literal()}
	}
	return g.onField(g.field(), inside)
}

func (g generator) onField(f pattern, inside bool) *Node {
	if all := f.wildcard() && f.text() == "*"; g.IntN(4) == 0 && !(all && !inside) {
		return exists(f...)
	}
	return &Node{kind: is, field: f, value: g.literal()}
}

func (g generator) nodes(depth int, inside bool) []*Node {
	ns := make([]*Node, 2+g.IntN(3))
	for i := range ns {
		ns[i] = g.node(depth, inside)
	}
	return ns
}

// scalar makes a value that suits a field more often than not.
func (g generator) scalar() any {
	switch g.IntN(10) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2, 3:
		return json.Number(pick(g, "5", "5.0", "-7", "12", "9", "1.5", "0", "9007199254740993", "9007199254740992", "1709202030123", "1e3"))
	}
	return pick(g, generatedTexts...)
}

func (g generator) value(make func() any) any {
	if g.IntN(3) > 0 {
		return make()
	}
	list := []any{}
	for range g.IntN(4) {
		list = append(list, g.value(make))
	}
	return list
}

func (g generator) object(members map[string]func() any) func() any {
	return func() any {
		o := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(members)) { // in order, so that a seed means one document
			if g.IntN(2) == 0 {
				o[name] = g.value(members[name])
			}
		}
		return o
	}
}

func (g generator) document() map[string]any {
	inner := g.object(map[string]func() any{"k": g.scalar, "l": g.scalar})
	nested := g.object(map[string]func() any{"k": g.scalar, "t": g.scalar, "m": inner})
	members := map[string]func() any{
		"n": nested, "o": g.object(map[string]func() any{"k": g.scalar, "n": inner}),
		"p": g.object(map[string]func() any{"a": g.object(map[string]func() any{"b": g.scalar, "0": g.scalar}), "c": g.scalar}),
		"u": nested, "a": g.object(map[string]func() any{"0": nested}),
	}
	for _, name := range []string{"k", "w", "t", "ip", "l", "d", "b", "ts", "odd name:*"} {
		members[name] = g.scalar
	}
	return g.object(members)().(map[string]any)
}

// dotted spells some of the members of objects in doc with dotted keys.
func (g generator) dotted(doc map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		switch v := g.dottedValue(doc[key]).(type) {
		case map[string]any:
			kept := map[string]any{}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				e := v[k]
				if g.IntN(2) == 0 {
					out[key+"."+k] = e
				} else {
					kept[k] = e
				}
			}
			if len(kept) > 0 || len(v) == 0 {
				out[key] = kept
			}
		default:
			out[key] = v
		}
	}
	return out
}

func (g generator) dottedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return g.dotted(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = g.dottedValue(e)
		}
		return out
	}
	return v
}

// shuffled changes the order of the elements of all arrays.
func (g generator) shuffled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out[k] = g.shuffled(v[k])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for to, from := range g.Perm(len(v)) {
			out[to] = g.shuffled(v[from])
		}
		return out
	}
	return v
}

var referenceNow = time.Date(2024, 2, 29, 10, 20, 30, 0, time.UTC)

// modes are the ways to know the types of fields.
func modes() map[string]Options {
	now := func() time.Time { return referenceNow }
	return map[string]Options{
		"by type":  {Type: func(f string) Type { return mapping[f] }, Now: now},
		"by value": {Now: now},
	}
}

// A tally counts what random queries and documents came to.
type tally struct{ pairs, matched, never, always int }

// checkRandom makes a query and some documents and holds all properties of the
// language against them.
func (c *tally) checkRandom(t *testing.T, g generator, o Options) {
	t.Helper()
	n := g.node(4, false)
	src := canonical(n)
	reparsed, err := Parse(src)
	if err != nil {
		t.Fatalf("Parse(%q): %v", src, err)
	}
	if diff := sameTree(n, reparsed); diff != "" {
		t.Fatalf("%q parses to another tree (-want +got):\n%s", src, diff)
	}
	codes := map[string]bool{}
	for _, w := range Lint(src, o) {
		codes[w.Code] = true
	}
	if codes["never"] {
		c.never++
	}
	if codes["always"] {
		c.always++
	}
	ref := reference{o.Type, referenceNow}
	q, negated := Compile(n, o), Compile(group(not, n), o)
	dual := Compile(deMorgan(n), o)
	for range 5 {
		doc := Map(g.document())
		got, want := q.Match(doc), ref.eval(n, doc, "")
		pair := fmt.Sprintf("%s\non %s", src, marshal(t, doc))
		if got != want {
			t.Fatalf("%s: got %t, reference %t", pair, got, want)
		}
		if negated.Match(doc) == got {
			t.Fatalf("%s: both the query and its negation are %t", pair, got)
		}
		if dual.Match(doc) != got {
			t.Fatalf("%s: got %t, after De Morgan %t", pair, got, !got)
		}
		if d := Map(g.dotted(doc)); q.Match(d) != got {
			t.Fatalf("%s: got %t, with dotted keys %s %t", pair, got, marshal(t, d), !got)
		}
		if d := Map(g.shuffled(map[string]any(doc)).(map[string]any)); q.Match(d) != got {
			t.Fatalf("%s: got %t, with keys and arrays in another order %t", pair, got, !got)
		}
		if codes["never"] && got || codes["always"] && !got {
			t.Fatalf("%s: got %t, against what Lint says: %v", pair, got, codes)
		}
		c.pairs++
		if got {
			c.matched++
		}
	}
}

func TestRandomQueries(t *testing.T) {
	for mode, o := range modes() {
		t.Run(mode, func(t *testing.T) {
			g := generator{rand.New(rand.NewPCG(2024, 7))}
			var c tally
			for range 800 {
				c.checkRandom(t, g, o)
			}
			t.Logf("%+v", c)
			if c.matched < c.pairs/5 || c.matched > c.pairs*4/5 || c.never < 20 || c.always < 20 {
				t.Errorf("%+v: the generator makes too few of one kind", c)
			}
		})
	}
}

// FuzzMatch looks for a seed that breaks a property of the language.
func FuzzMatch(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		for _, o := range modes() {
			var c tally
			c.checkRandom(t, generator{rand.New(rand.NewPCG(a, b))}, o)
		}
	})
}

// deMorgan negates n twice: once outside and once inside.
func deMorgan(n *Node) *Node {
	dual := *n
	dual.kids = nil
	for _, k := range n.kids {
		if k = deMorgan(k); n.kind == and || n.kind == or {
			k = group(not, k)
		}
		dual.kids = append(dual.kids, k)
	}
	if n.kind == and || n.kind == or {
		dual.kind = and + or - n.kind
		return group(not, &dual)
	}
	return &dual
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
