package kql

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func document(t testing.TB, src string) Map {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(src))
	d.UseNumber()
	var doc Map
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("document %s: %v", src, err)
	}
	return doc
}

// A match case is a query and documents that it matches or, after "-", not.
type matchCase struct {
	query string
	docs  []string
}

func checkMatches(t *testing.T, o Options, cases []matchCase) {
	t.Helper()
	for _, c := range cases {
		q := Compile(parse(t, c.query), o)
		for _, src := range c.docs {
			src, none := strings.CutPrefix(src, "-")
			if got := q.Match(document(t, src)); got == none {
				t.Errorf("%s on %s = %t", c.query, src, got)
			}
		}
	}
}

func TestMatchByType(t *testing.T) {
	types := typesOf(t, map[string]string{
		"k": "constant_keyword", "w": "wildcard", "t": "match_only_text", "ip": "ip", "l": "integer", "u": "unsigned_long", "d": "scaled_float",
		"b": "boolean", "p": "flattened", "p.typed": "flattened", "o": "object", "o.k": "keyword", "n": "nested", "n.k": "keyword", "n.m": "nested", "n.l": "long", "a.p": "flattened",
	})
	checkMatches(t, Options{Type: types}, []matchCase{
		{"k:5", []string{`{"k":5}`, `{"k":"5"}`, `-{"k":5.0}`, `-{"k":"05"}`}},
		{"k:true", []string{`{"k":true}`, `{"k":"true"}`, `-{"k":"True"}`, `-{"k":[false]}`}},
		{"k:1*", []string{`{"k":12}`, `{"k":"1"}`, `-{"k":21}`}},
		{"k:null", []string{`-{"k":"null"}`, `-{"k":null}`, `-{}`}},
		{`k:"null"`, []string{`{"k":"null"}`, `-{"k":null}`}},
		{"k > 5", []string{`{"k":"6"}`, `{"k":"a"}`, `-{"k":10}`}},
		{"k > 5*", []string{`{"k":"5a"}`, `-{"k":"5"}`}}, // no wildcard in a bound
		{"not k:null", []string{`{}`, `{"k":"null"}`}},
		{"k:ab*ba", []string{`{"k":"abba"}`, `-{"k":"aba"}`}}, // beginning and end do not overlap
		{"k:a*b*ab", []string{`{"k":"abab"}`, `-{"k":"aab"}`}},
		{"k:*ab*ba*", []string{`{"k":"abba"}`, `-{"k":"aba"}`}},
		{"w:*S3 Browser*", []string{`{"w":"an S3 Browser/1"}`, `-{"w":"S3"}`, `-{"w":"a Browser"}`}},

		{"l:5", []string{`{"l":5}`, `{"l":"5"}`, `{"l":5.0}`, `{"l":5.9}`, `{"l":[1,[5]]}`, `-{"l":"five"}`, `-{"l":true}`, `-{"l":6}`}},
		{"l:05", []string{`{"l":5}`}},
		{"l:5.5", []string{`-{"l":5.5}`, `-{"l":5}`}},
		{"l >= 5.5", []string{`{"l":6}`, `-{"l":5}`}},
		{"l:5*", []string{`-{"l":55}`, `-{"l":"5x"}`}},
		{"l:five or l:6", []string{`-{"l":"five"}`, `{"l":6}`}},
		{"l:*", []string{`{"l":"five"}`, `{"l":0}`, `-{"l":[null]}`}},
		{"l:9007199254740993", []string{`{"l":9007199254740993}`, `-{"l":9007199254740992}`}},
		{"u:18446744073709551615", []string{`{"u":18446744073709551615}`}},
		{"d:1e2", []string{`{"d":100}`, `{"d":1.0E+2}`}},
		{"d:9007199254740993", []string{`{"d":9007199254740992}`}}, // as doubles they are the same
		{"d < -0.5", []string{`{"d":-1}`, `-{"d":-0.25}`}},
		{"d:(0x10 or inf or nan or 1_0 or 5. or .5)", []string{`{"d":5}`, `{"d":0.5}`, `-{"d":16}`, `-{"d":10}`}},

		{"b:true", []string{`{"b":true}`, `{"b":"true"}`, `-{"b":"True"}`, `-{"b":1}`}},
		{`b:"false"`, []string{`{"b":false}`, `{"b":""}`, `-{"b":0}`, `-{}`}},
		{"b >= false", []string{`{"b":true}`, `{"b":false}`, `-{}`}},
		{"b > false", []string{`{"b":true}`, `-{"b":false}`}},
		{"b:True or b:t*", []string{`-{"b":true}`}},

		{"ip:10.0.0.0/8", []string{`{"ip":"10.1.2.3"}`, `{"ip":"::ffff:10.1.2.3"}`, `-{"ip":"11.1.2.3"}`, `-{"ip":"10.0.0.0/8"}`, `-{"ip":10}`, `-{"ip":"host"}`}},
		{"ip:10.99.0.1/8", []string{`{"ip":"10.1.2.3"}`}}, // host bits do not count
		{`ip:"2001:DB8::/32"`, []string{`{"ip":"2001:db8:0:0::1"}`, `-{"ip":"2001:db9::1"}`, `-{"ip":"1.2.3.4"}`}},
		{`ip:"::/0"`, []string{`{"ip":"2001:db8::1"}`, `{"ip":"1.2.3.4"}`}},
		{`ip:"::ffff:10.0.0.0/104"`, []string{`{"ip":"10.1.2.3"}`, `-{"ip":"11.1.2.3"}`}},
		{`ip:"2001:db8::1"`, []string{`{"ip":"2001:0DB8:0:0:0::1"}`, `-{"ip":"2001:db8::2"}`}},
		{`ip:"fe80::1%eth0" or ip:10.0.0.0/33 or ip:010.1.2.3 or ip:10.*`, []string{`-{"ip":"fe80::1"}`, `-{"ip":"10.1.2.3"}`, `-{"ip":"fe80::1%eth0"}`}},
		{"ip > 10.0.0.9 and ip <= 10.0.0.11", []string{`{"ip":"10.0.0.10"}`, `{"ip":"10.0.0.11"}`, `-{"ip":"10.0.0.9"}`, `-{"ip":"10.0.0.12"}`}},
		{`ip < "::" or ip > "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"`, []string{`-{"ip":"::"}`, `-{"ip":"1.2.3.4"}`}},

		{"p:x", []string{`{"p":{"a":{"b":["y","x"]}}}`, `{"p.a.b":"x"}`, `{"p":{"a.b":"x"}}`, `-{"p":{"x":"y"}}`, `-{"q":"x"}`}},
		{"p.a:5", []string{`{"p":{"a":5}}`, `-{"p":{"a":5.0}}`, `-{"p":{"a":{"b":5}}}`}},
		{"p.typed:x", []string{`{"p":{"typed":"x"}}`, `-{"p":{"typed":{"b":"x"}}}`}}, // keyed, whatever its own type
		{"p:*", []string{`{"p":{"a":0}}`, `{"p.a":0}`, `-{"p":{"a":[]}}`, `-{"p":{}}`}},
		{"p.a:*", []string{`{"p":{"a":0}}`, `{"p":{"a":{"b":1}}}`, `-{"p":{"b":1}}`}},
		{"p >= x", []string{`{"p":{"a":"y"}}`, `-{"p":{"a":"w"}}`}},
		{"*p:x", []string{`{"p":{"a":{"b":"x"}}}`, `{"a":{"p":{"b":"x"}}}`, `{"a.p.b":"x"}`, `-{"k":"x"}`}},
		{"p.*:x", []string{`{"p":{"a":{"b":"x"}}}`}},

		{"o:*", []string{`{"o":{"k":"x"}}`, `{"o.k":"x"}`, `{"o":{"new":1}}`, `-{"o":{"k":[]}}`, `-{"o":{}}`, `-{"ok":"x"}`}},
		{"o:x", []string{`-{"o":{"k":"x"}}`}},

		{"n.k:x", []string{`-{"n":{"k":"x"}}`}},
		{"n:y or n:*", []string{`-{"n":"y"}`, `-{"n":{"k":"x"}}`}},
		{"not n.k:x", []string{`{"n":{"k":"x"}}`}},
		{"n:* or *.k:x or x", []string{`-{"n":{"k":"x"}}`, `{"o":{"k":"x"}}`}},
		{"n:{k:x and l > 5}", []string{`{"n":[{"k":"x","l":1},{"k":"x","l":10}]}`, `-{"n":[{"k":"x","l":1},{"k":"y","l":10}]}`}},
		{"n:{not k:x}", []string{`{"n":[{"k":"x"},{"k":"y"}]}`, `{"n":{}}`, `-{"n":[{"k":"x"}]}`, `-{}`, `-{"n":"y"}`}},
		{"not n:{k:x}", []string{`{}`, `{"n":[{"k":"y"}]}`, `-{"n":[{"k":"x"},{"k":"y"}]}`}},
		{"n:{m:{k:x}}", []string{`{"n":[{"m":[{"k":"x"}]}]}`, `-{"n":{"m":{"k":"y"}}}`}},
		{"n.m:{k:x}", []string{`{"n":[{"m":[{"k":"x"}]}]}`, `{"n":{"m.k":"x"}}`, `{"n.m":{"k":"x"}}`, `{"n.m.k":"x"}`}},
		{"n:{m.k:x}", []string{`-{"n":{"m":{"k":"x"}}}`}},
		{"n:{l*:10 and *:x}", []string{`{"n":{"l":10,"k":"x"}}`, `-{"n":{"l":10},"k":"x"}`}},
		{"n*:{k:x}", []string{`-{"n":{"k":"x"}}`}},
		{"n:{*:*}", []string{`{"n":{"k":"x"}}`, `-{"n":{}}`}},
		{"n:{x}", []string{`{"n":{"k":"x"}}`, `-{"n":{"k":"y"},"k":"x"}`}},
	})
}

func TestMatchText(t *testing.T) {
	types := typesOf(t, map[string]string{"m": "text"})
	checkMatches(t, Options{Type: types}, []matchCase{
		{"m:fox dog", []string{`{"m":"the DOG"}`, `{"m":["a","Fox!"]}`, `-{"m":"foxes"}`, `-{"m":""}`}},
		{`m:"Brown  fox"`, []string{`{"m":"a brown, FOX."}`, `{"m":"brown brown fox"}`, `-{"m":"fox brown"}`, `-{"m":["brown","fox"]}`, `-{"m":"brown big fox"}`}},
		{"m:BRO*n", []string{`{"m":"a Brown fox"}`, `-{"m":"bro and run"}`}},
		{"m:bro* cat", []string{`{"m":"brown"}`, `{"m":"Cat"}`, `-{"m":"dog"}`}},
		{"m:*x *y", []string{`{"m":"fox"}`, `{"m":"day"}`, `-{"m":"dog"}`}},
		{`m:"--"`, []string{`-{"m":"--"}`}},
		{"m:** --", []string{`{"m":"a"}`, `-{"m":"--"}`}},
		{"m:*", []string{`{"m":"--"}`, `-{"m":null}`}},
		{"m >= fox", []string{`{"m":"a GNU"}`, `-{"m":"a cat"}`}},
		{"m:5", []string{`{"m":5}`, `{"m":"5 apples"}`, `-{"m":"5.0"}`}},
		{"m:true", []string{`{"m":true}`}},

		// Words.
		{"m:example.com", []string{`{"m":"see Example.COM."}`, `-{"m":"example com"}`}},
		{"m:com", []string{`{"m":"example com"}`, `-{"m":"example.com"}`, `{"m":"example-com"}`, `{"m":"a/com"}`}},
		{"m:don't", []string{`{"m":"I don't"}`, `-{"m":"don t"}`}},
		{"m:foo_bar", []string{`{"m":"(foo_bar)"}`, `-{"m":"foo bar"}`}},
		{"m:1,000.5", []string{`{"m":"1,000.5 euro"}`, `-{"m":"1 000"}`}},
		{"m:b", []string{`{"m":"a,b"}`, `{"m":"a;b"}`, `-{"m":"a\u00b7b"}`, `-{"m":"a:b"}`, `{"m":"1:b"}`}},
		{"m:\u4eac", []string{"{\"m\":\"\u6771\u4eac\u90fd\"}"}},
		{"m:\"\u6771\u4eac\"", []string{"{\"m\":\"\u6771\u4eac\u90fd\"}", "-{\"m\":\"\u4eac\u6771\"}"}},
		{"m:\u00c9T\u00c9", []string{"{\"m\":\"l'\u00e9t\u00e9 en \u00e9t\u00e9\"}", "-{\"m\":\"ete\"}"}},
		{"m:te", []string{"-{\"m\":\"e\u0301te\"}"}}, // the accent is part of the word
		{"m:e\u0301te", []string{"{\"m\":\"E\u0301TE\"}", "-{\"m\":\"ete\"}"}},
	})
}

func TestMatchDates(t *testing.T) {
	now := time.Date(2024, 3, 31, 10, 20, 30, 456_789_000, time.UTC)
	o := Options{Type: func(string) Type { return TypeDate }, Now: func() time.Time { return now }}
	at := func(dates ...string) []string {
		for i, d := range dates {
			sign := ""
			if d[0] == '!' {
				sign, d = "-", d[1:]
			}
			dates[i] = fmt.Sprintf(`%s{"t":%q}`, sign, d)
		}
		return dates
	}
	checkMatches(t, o, []matchCase{
		{"t:2024", at("2024-01-01T00:00:00Z", "2024-12-31T23:59:59.9999999Z", "!2025-01-01", "!2023-12-31T23:59:59.999Z")},
		{"t:2024-02", at("2024-02-29", "!2024-03-01", "!2024-01-31T23:59:59.999Z")},
		{"t:2024-02-29", at("2024-02-29T23:59:59Z", "2024-02-29T23:30:00-00:29", "!2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00+01:00")},
		{"t:2024-02-29T10", at("2024-02-29T10:59:59.999Z", "!2024-02-29T11:00:00Z")},
		{`t:"2024-02-29T10:20"`, at("2024-02-29T10:20:59Z", "!2024-02-29T10:21:00Z")},
		{`t:"2024-02-29T10:20:30"`, at("2024-02-29T10:20:30.999Z", "!2024-02-29T10:20:31Z")},
		{`t:"2024-02-29T10:20:30.5Z"`, at("2024-02-29T10:20:30.500Z", "2024-02-29T10:20:30.5009999Z", "!2024-02-29T10:20:30.501Z", "!2024-02-29T10:20:30Z")},
		{`t:"2024-02-29T12:20:30.123456789+0200"`, at("2024-02-29T10:20:30,123Z")},
		{"t > 2024-02-29", at("2024-03-01", "!2024-02-29T23:59:59.999Z")},
		{"t >= 2024-02-29", at("2024-02-29", "!2024-02-28T23:59:59.999Z")},
		{"t < 2024-02-29", at("2024-02-28T23:59:59.999Z", "!2024-02-29")},
		{"t <= 2024-02-29", at("2024-02-29T23:59:59.999Z", "!2024-03-01")},
		{"t:1709202030123", append(at("2024-02-29T10:20:30.123Z", "1709202030123"), `{"t":1709202030123}`, `{"t":1709202030123.7}`, `-{"t":1709202030124}`, `-{"t":true}`)},
		{"t < 0", at("1969-12-31T23:59:59Z", "-1", "!1970-01-01")},
		{"t:*", at("yesterday")},
		{"t >= 0000", at("!yesterday", "!", "!2024-02-30", "!2023-02-29", "!2024-13-01", "!2024-1-1", "!2024-02-29 10:00", "!2024-02-29T24:00", "!2024-02-29T10:60",
			"!2024-02-29T10:20:30.Z", "!2024-02-29T10:20:30.1234567890Z", "!2024-02-29T10:00:00+25:00", "!2024-02-29T10Zz", "!02/29/2024", "!now", "0000-01-01T00:00:00Z")},

		{"t >= now-5m", at("2024-03-31T10:15:30.456Z", "!2024-03-31T10:15:30.455Z")},
		{"t <= now+1d", at("2024-04-01T10:20:30.456Z", "!2024-04-01T10:20:30.457Z")},
		{"t:now", at("2024-03-31T10:20:30.456Z", "!2024-03-31T10:20:30.457Z")},
		{"t:now/d", at("2024-03-31T00:00:00Z", "2024-03-31T23:59:59.999Z", "!2024-04-01", "!2024-03-30T23:59:59.999Z")},
		{"t > now/d", at("2024-04-01", "!2024-03-31T23:59:59.999Z")},
		{"t < now/d", at("2024-03-30T23:59:59.999Z", "!2024-03-31")},
		{"t >= now/w", at("2024-03-25", "!2024-03-24T23:59:59Z")}, // a Sunday's week began on Monday
		{"t >= now-1M", at("2024-02-29T10:20:30.456Z", "!2024-02-29T10:20:30.455Z")},
		{"t >= now-1M/M", at("2024-02-01", "!2024-01-31T23:59:59Z")},
		{"t:now-1y/y", at("2023-01-01", "2023-12-31", "!2024-01-01", "!2022-12-31T23:59:59Z")},
		{"t >= now-2h-20m+30s", at("2024-03-31T08:01:00.456Z", "!2024-03-31T08:01:00.455Z")},
		{"t >= now/h and t < now/m+1m", at("2024-03-31T10:00:00Z", "2024-03-31T10:20:59Z", "!2024-03-31T10:21:00Z", "!2024-03-31T09:59:59Z")},
		{"t:now-1s/s", at("2024-03-31T10:20:29Z", "!2024-03-31T10:20:30Z")},
		{"t >= now-1H and t >= now-1w and t > now-d", at("2024-03-31T09:20:30.456Z", "!2024-03-31T09:20:30.455Z")},
		{`t:"2024-01-31||+1M/M"`, at("2024-02-01", "2024-02-29", "!2024-03-01")},
		{`t:"2024-01||+1d"`, at("2024-01-02", "!2024-01-02T00:00:00.001Z")},
		{"t > now-9999999y", at("2024-01-01")},
		{"t:(now- or now5m or now-5 or now-5x or now/2d or now||-1d or now-99999999999d or nowhere or 2024||x or 2024-02-30 or 20* or x)", at("!2024-03-31T10:20:30.456Z")},
	})

	q := Compile(parse(t, "t >= now-1h"), o)
	doc := document(t, `{"t":"2024-03-31T10:00:00Z"}`)
	if !q.Match(doc) {
		t.Error("a date of this hour is not after now-1h")
	}
	now = now.Add(time.Hour)
	if q.Match(doc) {
		t.Error("now stood still after Compile")
	}
}

func TestMatchFieldNames(t *testing.T) {
	checkMatches(t, Options{}, []matchCase{
		{"a.b.c:x", []string{`{"a":{"b":{"c":"x"}}}`, `{"a.b.c":"x"}`, `{"a.b":{"c":"x"}}`, `{"a":{"b.c":"x"}}`, `{"a.b":{"c":"y"},"a":{"b":{"c":"x"}}}`, `{"a.b":{"c":"x"},"a":{"b":{"c":"y"}}}`, `{"a.b.c":"y","a":{"b.c":"x"}}`,
			`{"a":[{"b":1},{"b":[{"c":["x"]}]}]}`, `{"a":[[{"b.c":"x"}]]}`, `-{"a":{"b":"x"}}`, `-{"a":{"b":{"c":{"d":"x"}}}}`, `-{"c":"x"}`}},
		{"n:{m.k:x and m.l:1}", []string{`{"n":{"m":{"k":"x","l":1}}}`, `{"n":{"m":{"k":"x"}},"n.m":{"l":1}}`, `{"n.m.k":"x","n":{"m.l":1}}`, `-{"n":[{"m":{"k":"x"}},{"m":{"l":1}}]}`}},
		{"a.*:x", []string{`{"a":{"b":"x"}}`, `{"a":{"b":{"c":"x"}}}`, `{"a.b.c":"x"}`, `-{"a":"x"}`, `-{"ab":"x"}`}},
		{"a.*.c:x", []string{`{"a":{"b":{"d":{"c":"x"}}}}`, `{"a":[{"b.c":"x"}]}`, `-{"a":{"c":"x"}}`}},
		{"*a*b*:x", []string{`{"ab":"x"}`, `{"x":{"a":1,"cab":["x"]}}`, `-{"ba":"x"}`}},
		{"aa*aa:x", []string{`{"aaaa":"x"}`, `-{"aaa":"x"}`}},
		{"a*:*", []string{`{"ab":0}`, `-{"ab":[]}`, `-{"b":{"a":1}}`}},
		{"not a*:x", []string{`{}`, `{"ab":["y"]}`, `-{"ab":["y","x"]}`}},
		{`"a*":x`, []string{`{"a*":"x"}`, `-{"ab":"x"}`}},
		{"a..b:x", []string{`{"a":{"":{"b":"x"}}}`, `-{"a":{"b":"x"}}`}},
		{strings.Repeat("long.", 80) + "*:x", []string{`{"` + strings.Repeat("long.", 80) + `er":"x"}`}}, // beyond nameSpace
	})
}

func TestMatchFoldsCase(t *testing.T) {
	types := typesOf(t, map[string]string{"op": "keyword", "p": "flattened", "n.op": "keyword"})
	for name, o := range map[string]Options{
		"keyword": {Type: types, FoldCase: func(f string) bool { return f == "op" || f == "p" || f == "p.a" || f == "n.op" }},
		"unknown": {FoldCase: func(f string) bool { return f != "exact" }},
	} {
		t.Run(name, func(t *testing.T) {
			checkMatches(t, o, []matchCase{
				{"op:MICROSOFT.KUBERNETES/PODS/DELETE", []string{`{"op":"Microsoft.Kubernetes/pods/delete"}`, `-{"op":"Microsoft.Kubernetes/pods/deleted"}`}},
				{"op:(a or B or *x*Y*z)", []string{`{"op":"A"}`, `{"op":"b"}`, `{"op":"1X2y3Z"}`, `{"op":"xyz"}`, `-{"op":"xzy"}`, `-{"op":"ab"}`}},
				{"op:*aabaab*c", []string{`{"op":"AABAABAABxC"}`, `{"op":"aaabaabc"}`, `{"op":"aabaaabaabC"}`, `-{"op":"aabaaabac"}`, `-{"op":"aabaab"}`}},
				{"op:*aba*aba*", []string{`{"op":"ABAABA"}`, `-{"op":"ABABA"}`}},
				{"op:a*A", []string{`{"op":"Aa"}`, `{"op":"a1A"}`, `-{"op":"a"}`}},
				{"op:\u00c9*s\u212a", []string{"{\"op\":\"\u00e9t\u017fk\"}", "{\"op\":\"\u00c9SK\"}", "-{\"op\":\"esk\"}"}}, // long s, Kelvin sign
				{"op:s*", []string{"{\"op\":\"\u017fx\"}", "{\"op\":\"S\"}", "-{\"op\":\"z\"}"}},
				{"exact:a", []string{`{"exact":"a"}`, `-{"exact":"A"}`}},
				{"o*:a", []string{`{"op":"A"}`}},
				{"p.a:x", []string{`{"p":{"a":"X"}}`}},
				{"n:{op:x}", []string{`{"n":[{"op":"X"}]}`}},
			})
		})
	}
}

func TestValuesOfOtherTypesCountAsNull(t *testing.T) {
	doc := Map{"odd": struct{}{}, "list": []any{5, "z"}}
	for query, want := range map[string]bool{"odd:*": false, "odd:x": false, "o*:*": false, "list:5": false, "list:z": true, "not odd:*": true} {
		if got := Compile(parse(t, query), Options{}).Match(doc); got != want {
			t.Errorf("%s = %t", query, got)
		}
	}
}

func TestEquivalentQueries(t *testing.T) {
	doc := document(t, `{"a":["x y","or b","5"],"b":{"c":"x"}}`)
	for _, same := range [][]string{
		{`a:"x y"`, `a:x y`, `a:x\u0020y`, `a: x y `, "( a:x y )"},
		{`a:"or b"`, `a:\or b`, `a:or b`},
		{"a:(5 or q)", "a:5 or a:q", `a:("5" or q)`},
		{"not a:5", "a:(not 5)", "not (a:5)"},
		{"a:q and b.c:x", "b.c:x\nand\ta:q", "not (not a:q or not b.c:x)"},
	} {
		want := Compile(parse(t, same[0]), Options{}).Match(doc)
		for _, query := range same[1:] {
			if got := Compile(parse(t, query), Options{}).Match(doc); got != want {
				t.Errorf("%s = %t, but %s = %t", query, got, same[0], want)
			}
		}
	}
}

func TestEquals(t *testing.T) {
	q := Equals("a", "x*")
	if got := canonical(q); got != `a:"x*"` {
		t.Errorf("printed as %s", got)
	}
	for value, want := range map[string]bool{"x*": true, "xy": false} {
		if got := Compile(q, Options{}).Match(Map{"a": value}); got != want {
			t.Errorf("on %q = %t", value, got)
		}
	}
}

func TestTypes(t *testing.T) {
	for typ := TypeUnknown; typ <= TypeNested; typ++ {
		if got, err := ParseType(typ.String()); err != nil || got != typ {
			t.Errorf("ParseType(%q) = %v, %v", typ, got, err)
		}
	}
	if typ, err := ParseType("geo_point"); err == nil {
		t.Errorf("ParseType(geo_point) = %v", typ)
	}
	if got := Type(99).String(); got != "Type(99)" {
		t.Errorf("Type(99) prints %q", got)
	}
}

// Wildcards must not be a way to stop the engine.
func TestPatternsDoNotBacktrack(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	doc := Map{"a": long, strings.Repeat("a", 10_000): "x"}
	for _, query := range []string{
		"a:" + strings.Repeat("*a", 500) + "*b",
		strings.Repeat("a*", 500) + "b:x",
		strings.Repeat("a*", 500) + ":" + strings.Repeat("*a", 500) + "*b",
		"a:*" + strings.Repeat("a", 500) + "b*",
	} {
		for _, o := range []Options{{}, {FoldCase: func(string) bool { return true }}} {
			q := Compile(parse(t, query), o)
			if q.Match(doc) { // with backtracking this would take for ever
				t.Errorf("%.20s... matches", query)
			}
		}
	}
}

func TestMatchIsConcurrent(t *testing.T) {
	q := Compile(parse(t, "n:{k:x} and *.k:x and when >= now-1d and not q and l:(1 or 2 or 3)"), Options{
		Type: typesOf(t, map[string]string{"when": "date", "l": "long"}),
	})
	doc := document(t, fmt.Sprintf(`{"n":[{"k":"x"}],"when":%d,"l":[3]}`, time.Now().UnixMilli()))
	before := marshal(t, doc)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if !q.Match(doc) {
					t.Error("no match")
				}
			}
		})
	}
	all.Wait()
	if after := marshal(t, doc); after != before {
		t.Errorf("Match changed the document: %s, before %s", after, before)
	}
}

// activity is an event as package event makes it of an activity log record.
const activity = `{"@timestamp":"2024-02-29T10:20:30.1234567Z",
	"event":{"dataset":"azure.activitylogs","action":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE","outcome":"success","category":["process"],"type":["deletion"]},
	"data_stream":{"dataset":"azure.activitylogs","type":"logs"},"source":{"ip":"203.0.113.7","port":443},"related":{"ip":["203.0.113.7","10.1.2.3"],"user":["jane"]},
	"azure":{"subscription_id":"0000","resource":{"id":"/subscriptions/0000","group":"rg","name":"arc1","provider":"microsoft.kubernetes/connectedclusters"},
		"activitylogs":{"operation_name":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE","category":"Administrative","result_type":"Success",
			"identity":{"claims":{"appid":"1234"},"claims_initiated_by_user":{"name":"jane@example.com"},"authorization":{"evidence":{"role":"Owner","principal_type":"User"}}},
			"properties":{"statusCode":"OK","entity":"/subscriptions/0000","hierarchy":"a/b/c","eventCategory":"Administrative"}}},
	"risk_score":47,"flag":true}`

var activityTypes = map[string]string{
	"@timestamp": "date", "event.dataset": "keyword", "event.action": "keyword", "event.outcome": "keyword", "data_stream.dataset": "keyword", "source.ip": "ip", "related.ip": "ip",
	"azure.activitylogs.operation_name": "keyword", "azure.activitylogs.properties": "flattened", "azure.activitylogs.identity.claims_initiated_by_user.name": "keyword",
	"azure.activitylogs.category": "keyword", "azure.resource.name": "keyword", "risk_score": "long", "flag": "boolean", "message": "text",
}

// common are the kinds of query that Azure's rules are made of.
var common = map[string]string{
	"exact":     `azure.activitylogs.operation_name:"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"`,
	"rule":      `data_stream.dataset:azure.activitylogs and azure.activitylogs.operation_name:"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE" and event.outcome:(Success or success)`,
	"other":     `data_stream.dataset:azure.signinlogs and event.outcome:(Success or success)`,
	"prefix":    `azure.resource.name:arc* and event.action:MICROSOFT.KUBERNETES*`,
	"contains":  `azure.activitylogs.operation_name:*PODS*DELETE`,
	"list":      `azure.activitylogs.category:(a or b or c or d or e or f or g or h or i or j or Administrative)`,
	"exists":    `azure.activitylogs.identity.claims_initiated_by_user.name:* and not azure.activitylogs.missing:* and azure.resource:*`,
	"not":       `not azure.activitylogs.identity.claims_initiated_by_user.name:(kubelet or system*)`,
	"network":   `source.ip:203.0.113.0/24 and not related.ip:192.168.0.0/16`,
	"number":    `risk_score >= 47 and flag:true and not risk_score > 47.5`,
	"date":      `@timestamp >= "2024-02-29" and @timestamp < now`,
	"flattened": `azure.activitylogs.properties.statusCode:OK and azure.activitylogs.properties:a/b*`,
	"names":     `azure.activitylogs.nothing.*.name:x or event.nothing*:x`,
}

func TestMatchDoesNotAllocate(t *testing.T) {
	doc := document(t, activity)
	for mode, o := range map[string]Options{
		"by type": {Type: typesOf(t, activityTypes)}, "by value": {}, "folded": {FoldCase: func(string) bool { return true }},
	} {
		for _, name := range slices.Sorted(maps.Keys(common)) {
			if mode == "by value" && (name == "network" || name == "flattened") || mode == "folded" && name != "exact" && name != "rule" && name != "prefix" {
				continue // mean something else there
			}
			q := Compile(parse(t, common[name]), o)
			if want := name != "other" && name != "names"; q.Match(doc) != want {
				t.Errorf("%s, %s: %t", name, mode, !want)
			}
			allowed := 0.0
			if name == "exists" && mode == "by type" {
				allowed = 3 // a look into an object asks for the types of what is in it
			}
			if got := testing.AllocsPerRun(100, func() { q.Match(doc) }); got > allowed {
				t.Errorf("%s, %s: %v allocations", name, mode, got)
			}
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	doc := document(b, activity)
	o := Options{Type: typesOf(b, activityTypes)}
	for _, name := range slices.Sorted(maps.Keys(common)) {
		q := Compile(parse(b, common[name]), o)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q.Match(doc)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	n := parse(b, common["rule"])
	for b.Loop() {
		Compile(n, Options{})
	}
}
