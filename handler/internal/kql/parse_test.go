package kql

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func quoted(s string) literal      { return literal{pattern: pattern{s}, quoted: true} }
func wild(parts ...string) literal { return literal{pattern: parts} }
func text(s string) literal        { return wild(s) }
func isLiteral(field string, v literal) *Node {
	return &Node{kind: is, field: pattern{field}, value: v}
}
func isText(field, value string) *Node { return isLiteral(field, text(value)) }
func exists(field ...string) *Node     { return &Node{kind: is, field: field, op: Exists} }
func nullLiteral() literal             { return literal{pattern: pattern{"null"}, null: true} }
func inNested(path string, n *Node) *Node {
	return &Node{kind: nested, field: pattern{path}, kids: []*Node{n}}
}
func free(v literal) *Node { return &Node{kind: is, value: v} }
func than(f string, op Op, v string) *Node {
	return &Node{kind: is, field: pattern{f}, op: op, value: text(v)}
}

// sameTree compares trees whatever the places of their conditions are.
func sameTree(want, got *Node) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(Node{}, literal{}),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".at" }, cmp.Ignore()))
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		src, printed string
		want         *Node
	}{
		{"", "*:*", &Node{kind: all}},
		{" \t\r\n\u00a0", "*:*", &Node{kind: all}},
		{"*:*", "*:*", &Node{kind: all}},
		{"*", "*", free(wild("", ""))},
		{"a", "a", free(text("a"))},
		{"null", "null", free(nullLiteral())},
		{"null:x", "x", free(text("x"))}, // the bare word null names no field
		{`"null":x`, `"null":x`, isText("null", "x")},
		{"true:x", "true:x", isText("true", "x")},
		{"a:b", "a:b", isText("a", "b")},
		{" a : b ", "a:b", isText("a", "b")},
		{"a:b c", "a:b c", isText("a", "b c")},
		{"a:null", "a:null", isLiteral("a", nullLiteral())},
		{`a:"null"`, `a:"null"`, isLiteral("a", quoted("null"))},
		{`a:nul\u006c`, `a:null`, isLiteral("a", nullLiteral())}, // escapes are resolved first
		{`a:"b*"`, `a:"b*"`, isLiteral("a", quoted("b*"))},
		{"a:*", "a:*", exists("a")},
		{"a:**", "a:**", isLiteral("a", wild("", "", ""))},
		{"a: * ", "a:*", exists("a")},
		{`a:x\*y*`, `a:x\*y*`, isLiteral("a", wild("x*y", ""))},
		{"a.*:b", "a.*:b", &Node{kind: is, field: pattern{"a.", ""}, value: text("b")}},
		{`"a.*":b`, `a.\*:b`, isText("a.*", "b")},
		{"*:b", "*:b", &Node{kind: is, field: pattern{"", ""}, value: text("b")}},
		{"n:{*:*}", "n:{*:*}", inNested("n", exists("", ""))},

		{"a > 5", "a > 5", than("a", Greater, "5")},
		{"a>=5", "a >= 5", than("a", GreaterEqual, "5")},
		{"a<=b c", "a <= b c", than("a", LessEqual, "b c")},
		{"a => 5", "a = > 5", than("a =", Greater, "5")},
		{"a = 5", "a = 5", free(text("a = 5"))},
		{"null < 5", `"null" < 5`, than("null", Less, "5")},

		{"a:x and b:y or c:z", "a:x and b:y or c:z", group(or, group(and, isText("a", "x"), isText("b", "y")), isText("c", "z"))},
		{"a:x AND (b:y oR c:z)", "a:x and (b:y or c:z)", group(and, isText("a", "x"), group(or, isText("b", "y"), isText("c", "z")))},
		{"not a:x and b:y", "not a:x and b:y", group(and, group(not, isText("a", "x")), isText("b", "y"))},
		{"NOT (a:x and b:y)", "not (a:x and b:y)", group(not, group(and, isText("a", "x"), isText("b", "y")))},
		{"not (not a:x)", "not (not a:x)", group(not, group(not, isText("a", "x")))},
		{"((a:x))", "a:x", isText("a", "x")},
		{"(a:x and b:y) and c:z", "(a:x and b:y) and c:z", group(and, group(and, isText("a", "x"), isText("b", "y")), isText("c", "z"))},
		{"(a:x or b:y) or c:z", "(a:x or b:y) or c:z", group(or, group(or, isText("a", "x"), isText("b", "y")), isText("c", "z"))},

		{"a:(x or y)", "a:(x or y)", group(or, isText("a", "x"), isText("a", "y"))},
		{"a:x or a:y", "a:(x or y)", group(or, isText("a", "x"), isText("a", "y"))},
		{"a:(not x)", "not a:x", group(not, isText("a", "x"))},
		{"a:((x))", "a:x", isText("a", "x")},
		{"a:(* and not (x or y))", "a:(* and not (x or y))", group(and, exists("a"), group(not, group(or, isText("a", "x"), isText("a", "y"))))},
		{"a:(x and (y or not z*))", "a:(x and (y or not z*))", group(and, isText("a", "x"), group(or, isText("a", "y"), group(not, isLiteral("a", wild("z", "")))))},
		{"a:(x or y) and b:z", "a:(x or y) and b:z", group(and, group(or, isText("a", "x"), isText("a", "y")), isText("b", "z"))},
		{"not a:(x or y)", "not a:(x or y)", group(not, group(or, isText("a", "x"), isText("a", "y")))},
		{"null:(x or y)", "x or y", group(or, free(text("x")), free(text("y")))},
		{"*:(* or x)", "*:* or *:x", group(or, &Node{kind: all}, &Node{kind: is, field: pattern{"", ""}, value: text("x")})},

		{"n:{a:x and m:{not b:y}}", "n:{a:x and m:{not b:y}}", inNested("n", group(and, isText("a", "x"), inNested("m", group(not, isText("b", "y")))))},
		{"n.m : { ( a:x ) }", "n.m:{a:x}", inNested("n.m", isText("a", "x"))},

		// Operators that are none.
		{"a:not", `a:\u006eot`, isText("a", "not")},
		{"a:cannot", `a:can\u006eot`, isText("a", "cannot")},
		{"a:and", `a:\and`, isText("a", "and")},
		{"a:x or", `a:x \or`, isText("a", "x or")},
		{"a:x and and b:y", `a:x and \and b:y`, group(and, isText("a", "x"), isText("and b", "y"))},
		{"and a:b", `\and a:b`, isText("and a", "b")},
		{"a:x and and and b:y", `a:x and \and and b:y`, group(and, isText("a", "x"), free(text("and")), isText("b", "y"))},
		{"a:orange and b:android", "a:orange and b:android", group(and, isText("a", "orange"), isText("b", "android"))},
		{"a:NOTE", "a:NOTE", isText("a", "NOTE")},

		// Escapes.
		{`a:x \and y`, `a:x \and y`, isText("a", "x and y")},
		{`a:\not x`, "a:ot x", isText("a", "ot x")}, // \n, then "ot"
		{`a:\Not x`, `a:\Not x`, isText("a", "Not x")},
		{`a:x \NOT y`, `a:x \NOT y`, isText("a", "x NOT y")},
		{`a:x\n`, "a:x", isText("a", "x")}, // trimmed after the escape is read
		{`a:x\ty`, `a:x\ty`, isText("a", "x\ty")},
		{"a:x\ny", `a:x\ny`, isText("a", "x\ny")},
		{"a:x\u00a0y", `a:x\u00a0y`, isText("a", "x\u00a0y")},
		{`a:\u0020`, `a:\u0020`, isText("a", "")},
		{`a:""`, `a:""`, isLiteral("a", quoted(""))},
		{`\u0020:x`, `"":x`, isText("", "x")},
		{`a:\\\(\)\:\<\>\"\*\{\}`, `a:\\\(\)\:\<\>\"\*\{\}`, isText("a", `\():<>"*{}`)},
		{`a\:b:c`, `a\:b:c`, isText("a:b", "c")},
		{`"a b":c`, `a b:c`, isText("a b", "c")},
		{`" a":c`, `" a":c`, isText(" a", "c")},
		{`a:"\d\"\\\t\u00e9\u12"`, `a:"\\d\"\\\té\\u12"`, isLiteral("a", quoted("\\d\"\\\té\\u12"))},
		{`a:\uD83D\uDE00`, `a:😀`, isText("a", "😀")},
		{`a:\ud83d`, "a:\ufffd", isText("a", "\ufffd")},
		{`a:\ude00\ud83dx`, "a:\ufffd\ufffdx", isText("a", "\ufffd\ufffdx")},
		{"a:x\fy\f", "a:x\fy", isText("a", "x\fy")}, // no blank, but trimmed like one
		{"a:'b c'", "a:'b c'", isText("a", "'b c'")},
		{"a:b # c", "a:b # c", isText("a", "b # c")},
		{`a:no\u0074 x`, `a:\u006eot x`, isText("a", "not x")},
	} {
		n, err := Parse(c.src)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.src, err)
			continue
		}
		if diff := sameTree(c.want, n); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", c.src, diff)
		}
		if got := canonical(n); got != c.printed {
			t.Errorf("Parse(%q) prints %q, want %q", c.src, got, c.printed)
		}
		again, err := Parse(canonical(n))
		if diff := sameTree(n, again); err != nil || diff != "" {
			t.Errorf("Parse(%q), printed and parsed again: %v (-want +got)\n%s", c.src, err, diff)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	deep := strings.Repeat("(", MaxDepth+1) + "a:b" + strings.Repeat(")", MaxDepth+1)
	for _, c := range []struct {
		src          string
		line, column int
		msg          string // a part of it
	}{
		{"a:", 1, 3, "value expected"},
		{"a:b\nand c:", 2, 7, "value expected"},
		{":b", 1, 1, "field name expected"},
		{"a::b", 1, 3, "field name expected"},
		{"a:b:c", 1, 4, "second colon"},
		{"a:b c:d", 1, 6, "second colon"},
		{`a:"b`, 1, 3, "never closed"},
		{`a:"b\"`, 1, 3, "never closed"},
		{`a:"x"and b:y`, 1, 6, "blanks on both sides"},
		{`a:"x" "y"`, 1, 7, `unexpected '"'`},
		{`a:"x" y`, 1, 7, `expected "and", "or"`},
		{"(a:b", 1, 5, `before the '(' of line 1, column 1 is closed`},
		{"a:b and\n c:{d:e", 2, 8, `before the '{' of line 2, column 4 is closed`},
		{"a:b)", 1, 4, "nothing is open"},
		{"(a:b}", 1, 5, "unexpected '}'"},
		{"( )", 1, 3, "nothing between"},
		{"a:()", 1, 4, "nothing between"},
		{"a:{}", 1, 4, "nothing between"},
		{"{a:b}", 1, 1, "unexpected '{'"},
		{"a > ", 1, 5, "value expected"},
		{"a > (5 or 6)", 1, 5, "single value"},
		{"a:>5", 1, 3, "unexpected '>'"},
		{"a >> 5", 1, 4, "unexpected '>'"},
		{"a > 5 > 6", 1, 7, "unexpected '>'"},
		{"not not a:b", 1, 5, "not not"},
		{"not(a:b)", 1, 4, `"not", too, needs a blank`},
		{"a:not b", 1, 3, "field:(not value)"},
		{"a:(x and not not y)", 1, 14, "not not"},
		{"message:cannot open", 1, 12, `"not"`},
		{"a:x\nor ", 2, 4, "ends where"},
		{"not ", 1, 5, "ends where"},
		{`a:b\ c`, 1, 4, "backslash"},
		{`a:\`, 1, 3, "backslash"},
		{`a:\u12`, 1, 3, "backslash"},
		{`é:ö\x`, 1, 4, "backslash"}, // columns count characters
		{"a:(b or c) d", 1, 12, "expected"},
		{deep, 1, MaxDepth + 1, "deeper than 200"},
		{"a:(b:(c))", 1, 5, "second colon"},
		{"a:" + strings.Repeat("(", MaxDepth+1), 1, 2 + MaxDepth + 1, "deeper than 200"},
		{strings.Repeat("a:{", MaxDepth+1), 1, 3 * (MaxDepth + 1), "deeper than 200"},
		{strings.Repeat("x", MaxLength+1), 1, MaxLength + 1, "longer than"},
	} {
		src := c.src
		if len(src) > 50 {
			src = src[:50] + "..."
		}
		_, err := Parse(c.src)
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("Parse(%q): got error %v, want a *SyntaxError", src, err)
			continue
		}
		if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Msg, c.msg) {
			t.Errorf("Parse(%q): %v; want line %d, column %d and %q", src, err, c.line, c.column, c.msg)
		}
		if want := fmt.Sprintf("line %d, column %d: ", c.line, c.column); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q): error %q does not begin with %q", src, err, want)
		}
		if line, column := position(c.src, e.Offset); line != e.Line || column != e.Column {
			t.Errorf("Parse(%q): offset %d is line %d, column %d, not %d, %d", src, e.Offset, line, column, e.Line, e.Column)
		}
	}
}

func TestParseTakesMaximalDepth(t *testing.T) {
	for _, src := range []string{
		nestedQuery(MaxDepth),
		"a:" + strings.Repeat("(", MaxDepth) + "b" + strings.Repeat(")", MaxDepth),
		strings.Repeat("a:{", MaxDepth) + "b:c" + strings.Repeat("}", MaxDepth),
		strings.Repeat("not (", MaxDepth) + "b:c" + strings.Repeat(")", MaxDepth),
		strings.Repeat("(a:b) and ", 2*MaxDepth) + "a:(b)", // side by side is not deep
		strings.Repeat("n:{a:b} or ", 2*MaxDepth) + "*:*",
		strings.Repeat("a:b and (c:d or (", MaxDepth/2) + "b:c" + strings.Repeat("))", MaxDepth/2),
	} {
		n, err := Parse(src)
		if err != nil {
			t.Errorf("Parse(%.20q...): %v", src, err)
			continue
		}
		again, err := Parse(canonical(n))
		if err != nil || canonical(again) != canonical(n) {
			t.Errorf("Parse(%.20q...) does not print what it parsed: %v", src, err)
		}
		Compile(n, Options{}).Match(Map{"b": "c"})
		Lint(src, Options{})
	}
}

func nestedQuery(depth int) string {
	return strings.Repeat("(", depth) + "a:b" + strings.Repeat(")", depth)
}

// TestParseIsLinear counts the characters that the parser looks at: twice the
// query may cost twice as much, whatever it is made of.
func TestParseIsLinear(t *testing.T) {
	steps := func(src string) int {
		p := &parser{src: src}
		p.parse() // some of the queries are wrong, which must not be slower
		return p.steps
	}
	for name, query := range map[string]func(n int) string{
		"conditions":         func(n int) string { return strings.Repeat("a:b and ", n) + "a:b" },
		"list":               func(n int) string { return "a:(" + strings.Repeat("b or ", n) + "b)" },
		"blanks in a value":  func(n int) string { return "a:" + strings.Repeat("b"+strings.Repeat(" ", n), 2) + "c" },
		"blanks after":       func(n int) string { return `"a"` + strings.Repeat(" ", n) + "or" + strings.Repeat(" ", n) + "c" },
		"blanks and no word": func(n int) string { return `a:"b"` + strings.Repeat(" ", n) + "c" },
		"words":              func(n int) string { return "a:" + strings.Repeat("an or no", n) },
		"free words":         func(n int) string { return strings.Repeat("and and ", n) },
		"stars":              func(n int) string { return "a:" + strings.Repeat("*", n) },
		"escapes":            func(n int) string { return "a:" + strings.Repeat(`\u0041\*`, n) },
		"quotes":             func(n int) string { return `a:"` + strings.Repeat(`\"`, n) + `"` },
		"unclosed quotes":    func(n int) string { return `a:"` + strings.Repeat(`\"`, n) },
		"unclosed brackets":  func(n int) string { return strings.Repeat("(", min(n, MaxDepth)) + strings.Repeat("a:b or ", n) },
		"no-break spaces":    func(n int) string { return "a:b" + strings.Repeat(nbsp, n) + "and" },
	} {
		small, large := query(1000), query(4000)
		a, b := steps(small), steps(large)
		perByte := float64(b) / float64(len(large))
		if perByte > 4 {
			t.Errorf("%s: %.1f steps a byte", name, perByte)
		}
		if growth := float64(b) / float64(a) / (float64(len(large)) / float64(len(small))); growth > 1.1 {
			t.Errorf("%s: %d steps for %d bytes, %d for %d: grows faster than the query", name, a, len(small), b, len(large))
		}
	}
	for _, depth := range []int{10, 100, 200} {
		src := nestedQuery(depth)
		if got := steps(src); got > 4*len(src) {
			t.Errorf("%d steps for %d bytes nested %d deep", got, len(src), depth)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, src := range []string{
		"", "a:b and not (c:d or e:*f*)", "n:{a:x and m:{b:y}}", `a:"x\"y" or b\:c >= 5`, "a:x or", "a:(x and (y or not z))", `\u0041:\not`, "*:* or *",
		"a:cannot open", "a:\u00a0b\u00a0and\u00a0c:d", "null:(x or null)", `a:\ud83d\ude00`, "((((a:b))))", "a => 5", `"`, "a:{*:*}", "\xff:\xc2", "a:no\\u0074 x",
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		p := &parser{src: src}
		n, err := p.parse()
		if len(src) <= MaxLength && p.steps > 6*len(src)+10 {
			t.Errorf("%d steps for %d bytes", p.steps, len(src))
		}
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || n != nil {
				t.Fatalf("Parse = %v, %v", n, err)
			}
			if e.Offset < 0 || e.Offset > len(src) || e.Line < 1 || e.Column < 1 || e.Line > 1+strings.Count(src, "\n") ||
				e.Column > 1+utf8.RuneCountInString(src) {
				t.Fatalf("%q: %v at offset %d lies outside", src, err, e.Offset)
			}
			return
		}
		printed := canonical(n)
		if len(printed) > MaxLength {
			return
		}
		again, err := Parse(printed)
		if err != nil {
			t.Fatalf("%q prints as %q: %v", src, printed, err)
		}
		if diff := sameTree(n, again); diff != "" {
			t.Fatalf("%q prints as %q, which is another tree (-want +got):\n%s", src, printed, diff)
		}
		if twice := canonical(again); twice != printed {
			t.Fatalf("%q prints as %q and then as %q", src, printed, twice)
		}
		doc := Map{"a": []any{"b", map[string]any{"c": true}}}
		if Compile(n, Options{}).Match(doc) == Compile(group(not, n), Options{}).Match(doc) {
			t.Fatalf("%q and its negation agree", src)
		}
		for _, w := range Lint(src, Options{}) {
			if w.Line < 1 || w.Line > 1+strings.Count(src, "\n") || w.Column < 1 {
				t.Fatalf("%q: warning outside: %+v", src, w)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, depth := range []int{10, 100, 200} {
		src := nestedQuery(depth)
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := Parse(src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, conditions := range []int{1, 10, 100, 1000} {
		src := strings.Repeat(`event.outcome:(Success or success) and not user.name:"a b" or `, conditions-1) + "a.b:c*"
		b.Run(fmt.Sprintf("conditions=%d", conditions), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := Parse(src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
