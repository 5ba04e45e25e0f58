package kql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var lintTypes = map[string]string{
	"k": "keyword", "t": "text", "ip": "ip", "l": "long", "d": "double", "f": "boolean", "ts": "date", "p": "flattened", "o": "object", "o.k": "keyword", "n": "nested", "n.k": "keyword",
}

func TestLint(t *testing.T) {
	for _, c := range []struct {
		query string
		want  string // "line:column code", in order
	}{
		{"a:x and not b:(y or z*)", ""},
		{"*:*", ""},
		{"azure", ""},       // free text on its own is meant
		{"a:x and a:y", ""}, // both may stand in an array
		{"l > 10 and l < 5", ""},
		{"a:x or not a:y", ""},
		{"not a:x and not a:*", ""},
		{"a:* and not a:x*", ""},

		// Free text among fields.
		{"a: x or y", "1:9 free-text"},
		{"a:x\n  and \"y z\"", "2:7 free-text"},
		{"(a:x and b:y) or c", "1:18 free-text"},
		{"x or a:y", ""}, // begins without a field: no list was meant
		{"a:x and not y", ""},

		// Contradictions.
		{"a:x and not a:x", "1:13 never"},
		{`k:x and not k:"x"`, "1:13 never"},
		{`t:"x y" and not t:x y`, "1:19 portable-blank"}, // a phrase is not a word
		{"a:x and not a:*", "1:13 never"},
		{"not a:* and a.b:x", "1:13 never"},
		{"not a:* and ab:x", ""},
		{"not a.b:* and a:*", ""},
		{"a > 5 and not a:*", "1:15 never"},
		{"not a*:* and abc:x", "1:14 never"},
		{"not a*:* and b:x", ""},
		{"k:xyz and not k:x*", "1:15 never"},
		{"a:5 and not a:5*", ""}, // 5 as a number fits no pattern
		{"k:xyz and not k:y*", ""},
		{"not (a:x or b:y) and b:y", "1:22 never"},
		{"a:x and (not a:x or not a:*)", "1:14 never"},
		{"a:x and (not a:x or b:y)", "1:14 dead"},
		{"a:x and (b:y or (c:z and not a:*))", "1:18 dead"},
		{"(b:y or not a:x) and a:x", "1:13 dead"},
		{"not *:*", "1:5 never"},
		{"b:y and not *", "1:13 never"},
		{"n:{a:x and not a:x}", "1:16 never"},
		{"n:{a:x} and not n:{a:x}", "1:20 never"},
		{"n:{a:x} and n:{not a:x}", ""}, // two objects
		{"n:{a:x} and not n:{a:y}", ""},
		{"a:* or not a:*", "1:1 always"},
		{"not (a:x and not a:x)", "1:6 always"},
		{"a:x or *:*", "1:1 always"},
		{"not a:null", "1:5 dead 1:5 always"},
		{"a:null", "1:1 dead 1:1 never"},
		{"a:(x or null)", "1:9 dead"},
		{"null", "1:1 dead 1:1 never"},

		// Types.
		{"l:5 or l > 4.5 or d:1.5", ""},
		{"l:five", "1:1 dead 1:1 never"},
		{"a:x or l:(1 or two)", "1:16 dead"},
		{"not l:five", "1:5 dead 1:5 always"},
		{"l:5.5 or a:x", "1:1 dead"},
		{"l:5* or a:x", "1:1 dead"},
		{"d > x or a:x", "1:1 dead"},
		{"ip:(10.1.2.3 or 10.0.0.0/8) or a:x", ""},
		{"ip:10.1.2 or a:x", "1:1 dead"},
		{"ip:10.* or a:x", "1:1 dead"},
		{"f:True or a:x", "1:1 dead"},
		{"f:(true or false)", ""},
		{"ts >= now-5m or ts:2024-01 or a:x", ""},
		{"ts:yesterday or a:x", "1:1 dead"},
		{"ts:2024-* or a:x", "1:1 dead"},
		{`t:"--" or a:x`, "1:1 dead"},
		{"o:x or a:x", "1:1 object-value"},
		{"o:* or o.k:x", ""},
		{"n.k:x or a:x", "1:1 dead"},
		{"n:{k:x}", ""},
		{"o:{k:x}", "1:4 nested"},
		{"n*:{k:x} or a:x", "1:5 dead"},
		{"p.a:x* and p:x", ""},
		{"p.a:*x", "1:1 flattened-pattern"},

		// Other languages.
		{"a:'x'", "1:3 single-quotes"},
		{`a:"x*"`, "1:3 quoted-star"},
		{"a = 5", "1:1 equals 1:1 portable-blank"},
		{"a => 5", "1:1 equals"},
		{"a!:5", "1:1 equals"},
		{"-a:5", "1:1 lucene"},
		{"a:[1 TO 5]", "1:3 lucene 1:3 portable-blank"},
		{"a:/b[cd]+/", "1:3 lucene"},
		{"a:/.*x/", "1:3 lucene"},
		{"a:/usr/bin/", ""},
		{"a:x && y", "1:3 lucene 1:3 portable-blank"},
		{"a:x # y", "1:3 comment 1:3 portable-blank"},
		{"a:(x, y)", "1:4 comma 1:4 portable-blank"},
		{"a:x or", "1:3 dangling-operator 1:3 portable-blank"},
		{"a:and", "1:3 dangling-operator"},
		{"a:x and and b:y", "1:9 operator-in-field"},

		// What lib/kql refuses or reads otherwise.
		{"", "1:1 portable-empty"},
		{"a:x y", "1:3 portable-blank"},
		{"a:x y*", ""},
		{"a:x AND NOT b:y Or c:z", "1:5 portable-case 1:9 portable-case 1:17 portable-case"},
		{"a:x\nand\nb:y", "2:1 portable-own-line"},
		{"a:x\nand b:y or\nc:z", ""},
		{`a:"\u0041" or a:\u0041`, "1:4 portable-unicode 1:17 portable-unicode"},
		{"a:\"x\ny\"", "1:3 portable-newline"},
		{`a:x\or*`, "1:4 portable-escape"},
		{"a:nota", "1:3 portable-not"},
		{"a:x\u00a0and b:y", "1:4 portable-nbsp"},
		{"a:05", "1:3 portable-number"},
		{"a:(1_000 or inf or 1e5)", "1:4 portable-number 1:13 portable-number 1:20 portable-number"},
		{"a:(5 or 0 or 0.5 or -7 or 1.5 or 10.0.0.1)", ""},
		{"a:x?", "1:3 portable-question"},
		{`a:x\*y*`, "1:3 portable-star"},
		{`a:x\*y`, ""},
		{`a:x\\*`, ""},
		{`a:it's *`, "1:3 portable-quote"},
	} {
		var got []string
		for _, w := range Lint(c.query, Options{Type: typesOf(t, lintTypes)}) {
			got = append(got, fmt.Sprintf("%d:%d %s", w.Line, w.Column, w.Code))
			if w.Msg == "" {
				t.Errorf("%s: %s says nothing", c.query, w.Code)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("Lint(%q) (-want +got):\n%s", c.query, diff)
		}
	}
}

func TestLintSaysWhatToWrite(t *testing.T) {
	for query, want := range map[string]string{
		"event.outcome: Success or success": "success has no field and is searched in all of them; for another value of event.outcome write event.outcome:(... or success)",
		"l:five":                            `the query can never match: "five" is no number, but the field is of type long`,
		"a:x and not a:*":                   "the query can never match: a:* contradicts the rest",
		"not k:null":                        "k:null never holds: null is no value; write not k:* to ask for a missing field",
	} {
		var msgs []string
		for _, w := range Lint(query, Options{Type: typesOf(t, lintTypes)}) {
			msgs = append(msgs, w.Msg)
		}
		if !strings.Contains(strings.Join(msgs, "\n"), want) {
			t.Errorf("Lint(%q) = %q, want %q", query, msgs, want)
		}
	}
}

func TestLintWithoutTypesOrGrammar(t *testing.T) {
	ws := Lint("a:five and not a:*", Options{})
	if len(ws) != 1 || ws[0].Code != "never" || ws[0].Line != 1 || ws[0].Column != 16 {
		t.Errorf("got %+v, want one never at the 16th character", ws)
	}
	if ws := Lint("a:(", Options{}); ws != nil {
		t.Errorf("got %+v for what does not parse", ws)
	}
}

// Whatever the vectors hold, Lint must not contradict their verdicts.
func TestLintAgreesWithVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		if v.Error {
			continue
		}
		for _, w := range Lint(v.Query, Options{Type: typesOf(t, v.Types)}) {
			if w.Code == "never" && v.Match || w.Code == "always" && !v.Match {
				t.Errorf("%q: %s, but the verdict is %t", v.Query, w.Code, v.Match)
			}
		}
	}
}
