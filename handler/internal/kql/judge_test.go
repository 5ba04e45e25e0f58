package kql

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hiding is a document of which one member is not known.
type hiding struct {
	Map
	field string
}

func (d hiding) Lookup(field string) (any, bool) {
	if field == d.field || strings.HasPrefix(field, d.field+".") {
		return nil, false
	}
	return d.Map.Lookup(field)
}

func (d hiding) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for field, v := range d.Map.All() {
			if field != d.field && !yield(field, v) {
				return
			}
		}
		yield(d.field, nil)
	}
}

func TestJudge(t *testing.T) {
	types := typesOf(t, map[string]string{"secret": "keyword", "a": "keyword", "o": "object", "p": "flattened", "n": "nested"})
	doc := hiding{document(t, `{"a":"x","o":{"k":"y"},"p":{"q":"z"},"n":[{"k":"v"}],"empty":[],"secret":"s"}`), "secret"}
	for _, c := range []struct {
		query           string
		known, complete Truth // without and with MissingUnknown
	}{
		{"a:x", True, True},
		{"a:y", False, False},
		{"not a:y", True, True},

		{"secret:s", Unknown, Unknown},
		{"not secret:s", Unknown, Unknown},
		{"secret:*", Unknown, Unknown},
		{"not secret:*", Unknown, Unknown},
		{"secret.below:s", Unknown, Unknown},
		{"a:x and secret:s", Unknown, Unknown},
		{"a:y and secret:s", False, False},
		{"a:x or secret:s", True, True},
		{"a:y or secret:s", Unknown, Unknown},
		{"not (a:x or secret:s)", False, False},
		{"secret:s or not secret:s", Unknown, Unknown}, // no excluded middle
		{"secret:null", False, False},                  // holds for no document

		{"missing:x", False, Unknown},
		{"not missing:x", True, Unknown},
		{"missing > 5", False, Unknown},
		{"empty:x", False, Unknown},
		{"missing:*", False, False},
		{"not missing:*", True, True},
		{"o:y", False, Unknown}, // an object has no value of its own
		{"o:*", True, True},
		{"o.*:*", True, True},
		{"not o.m*:*", True, True},
		{"not empty:*", True, True},

		// Of many fields, any may be the missing one.
		{"o.k*:y", True, True},
		{"not o.k*:z", True, Unknown},
		{"p:z", True, True},
		{"not p:q", True, Unknown},
		{"se*:s", Unknown, Unknown},
		{"not sx*:s", True, Unknown},
		{"not zz", Unknown, Unknown},
		{"y", True, True},
		{"nowhere", Unknown, Unknown},

		{"n:{k:v}", True, True},
		{"not n:{k:w}", True, True},
		{"not n:{l:w}", True, Unknown},
		{"not m:{k:w}", True, Unknown},
		{"secret:{k:w}", Unknown, Unknown},
	} {
		n := parse(t, c.query)
		if got := Compile(n, Options{Type: types}).Judge(doc); got != c.known {
			t.Errorf("%s: %d, want %d", c.query, got, c.known)
		}
		if got := Compile(n, Options{Type: types, MissingUnknown: true}).Judge(doc); got != c.complete {
			t.Errorf("%s, with what is missing unknown: %d, want %d", c.query, got, c.complete)
		}
	}
}

// What is judged True or False stays so whatever becomes known, and without
// anything unknown Judge is Match.
func TestJudgeIsSound(t *testing.T) {
	asksForPresence := func(t Term) bool { return t.Op == Exists }
	for mode, o := range modes() {
		g := generator{rand.New(rand.NewPCG(7, 2024))}
		strict := o
		strict.MissingUnknown = true
		decided, monotone := 0, 0
		for range 3000 {
			n := g.node(3, false)
			q, careful := Compile(n, o), Compile(n, strict)
			full, other := Map(g.document()), Map(g.document())
			if got := q.Judge(full); got != truth(q.Match(full)) {
				t.Fatalf("%s, %s on %s: judged %d, but it matches is %t", mode, canonical(n), marshal(t, full), got, q.Match(full))
			}
			field := pick(g, "k", "t", "l", "ip", "p", "o", "n", "u")
			changed, without := Map{}, Map{}
			for name, v := range full {
				if changed[name] = v; name != field {
					without[name] = v
				}
			}
			changed[field] = other[field]
			if got := q.Judge(hiding{full, field}); got != Unknown {
				decided++
				for _, d := range []Map{full, changed, without} {
					if truth(q.Match(d)) != got {
						t.Fatalf("%s, %s: judged %d without %s, but not on %s", mode, canonical(n), got, field, marshal(t, d))
					}
				}
			}
			if got := careful.Judge(without); got != Unknown && !slices.ContainsFunc(terms(n), asksForPresence) {
				monotone++
				if careful.Judge(full) != got {
					t.Fatalf("%s, %s on %s: judged %d, but not after %s was removed", mode, canonical(n), marshal(t, full), careful.Judge(full), field)
				}
			}
		}
		if decided < 1000 || monotone < 300 {
			t.Errorf("%s: %d and %d decided: the test compares too little", mode, decided, monotone)
		}
	}
}

func TestExplain(t *testing.T) {
	doc := hiding{document(t, `{"verb":"get","user":{"name":"jane"},"code":201,"tags":["a","b"],"n":[{"k":"v"}],"secret":1}`), "secret"}
	for query, want := range map[string]Reason{
		"user.name:jane and verb:delete":                 {"verb", "delete", `"get"`},
		"user.name:(eve or mallory) and verb:delete":     {"user.name", "(eve or mallory)", `"jane"`},
		"user.name:jane and code >= 200":                 {"code", ">= 200", `"201"`},
		"user.name:jane and not verb:get":                {"verb", "not get", `"get"`},
		"verb:patch or user.name:j*":                     {"user.name", "j*", `"jane"`},
		"verb:patch or code:404":                         {"code", "404", `"201"`},
		"(verb:get and code:404) or (verb:list and x:1)": {"code", "404", `"201"`}, // the one that came furthest
		"secret:1 and user.name:jane":                    {"secret", "1", "not known"},
		"secret:1 and verb:delete":                       {"verb", "delete", `"get"`}, // certain, so it decides
		"not missing:*":                                  {"missing", "not *", "nothing"},
		"tags:c":                                         {"tags", "c", "[a b]"},
		"us*.name:eve":                                   {"us*.name", "eve", ""},
		"user.name:jane and kube-hunter":                 {"", "kube-hunter", ""},
		"n:{k:w}":                                        {"n", "{...}", "[map[k:v]]"},
		"code:null":                                      {"code", "null", `"201"`},
		"*:*":                                            {"", "*:*", ""},
		"not (user.name:jane and (verb:get or code:1))":  {"verb", "not get", `"get"`},
	} {
		got := Compile(parse(t, query), Options{}).Explain(doc)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]int{"verb:get": 0, "verb:list": 1, "verb:list and code:201 and secret:2 and not tags:a": 3, "verb:list or code:404": 1} {
		if got := Compile(parse(t, query), Options{}).Misses(doc); got != want {
			t.Errorf("%s misses %d, want %d", query, got, want)
		}
	}
	long := Compile(parse(t, "a:x"), Options{}).Explain(Map{"a": strings.Repeat("é", 500)})
	if len(long.Found) > 250 {
		t.Errorf("a long value is explained in %d bytes", len(long.Found))
	}
}

func TestTerms(t *testing.T) {
	want := []Term{
		{Field: "z", Value: []string{"1"}}, {Field: "a.b", Value: []string{"x*"}}, {Field: "a.b", Value: []string{"y", ""}},
		{Field: "n.k", Op: Greater, Value: []string{"5"}}, {Field: "n.m.l*", Many: true, Op: Exists}, {Many: true, Value: []string{"free"}}, {Field: "a.b"},
	}
	got := terms(parse(t, `z:1 or not a.b:("x*" or y*) and n:{k > 5 and m:{l*:*}} and free and a.b:null`))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCover(t *testing.T) {
	worth := func(t Term) int { // the length of a plain value
		if t.Many || t.Op != "" || len(t.Value) != 1 {
			return 0
		}
		return len(t.Value[0])
	}
	for query, want := range map[string]string{
		"a:x":                            "a:x",
		"a:x and b:yy and c:z":           "b:yy",
		"a:x or b:yy":                    "a:x b:yy",
		"a:x or b:*":                     "",
		"(a:x or b:yyy) and c:zz":        "c:zz",
		"(a:xx or b:yyy) and c:z":        "a:xx b:yyy",
		"(a:xx or b:yy) and c:zz":        "c:zz", // as good, and fewer
		"not a:x":                        "",
		"not a:x and b:y":                "b:y",
		"n:{k:x and not l:yyy}":          "n.k:x",
		"free or a:x":                    "",
		"*:*":                            "",
		"a:x and (b:yy or (c:* or d:z))": "a:x",
	} {
		var got []string
		for _, t := range Cover(parse(t, query), worth) {
			got = append(got, t.Field+":"+t.Value[0])
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("Cover(%s) = %s, want %s", query, got, want)
		}
	}
}

// terms returns the conditions of n without their places.
func terms(n *Node) (terms []Term) {
	for _, c := range Conditions(n) {
		terms = append(terms, c.Term)
	}
	return terms
}
