package export

import (
	"bytes"
	"strings"
	"testing"

	"podwatch/handler/internal/jsontext"
)

// The careful walk counts the bytes that it looks at. Whatever a body is, that
// is a small multiple of its length, and the multiple does not grow.
func TestTheCarefulWalkIsLinear(t *testing.T) {
	const rec = `{"time":1,"category":"x","n":[1,2,3]}`
	for name, build := range map[string]func(n int) string{
		"braces":                           func(n int) string { return strings.Repeat(`{`, n) },
		"brackets":                         func(n int) string { return strings.Repeat(`[`, n) },
		"both by turns":                    func(n int) string { return strings.Repeat(`[{`, n/2) },
		"objects within objects":           func(n int) string { return strings.Repeat(`{"a":`, n/5) },
		"objects within arrays":            func(n int) string { return strings.Repeat(`{"a":[`, n/6) },
		"the same, closed":                 func(n int) string { return strings.Repeat(`{"a":[`, n/8) + strings.Repeat(`]}`, n/8) + "x" },
		"objects within arrays, near deep": func(n int) string { return strings.Repeat(strings.Repeat(`{"a":[`, 90)+"x,", n/542) },
		"open objects before records":      func(n int) string { return strings.Repeat(`{"a":[`+rec+`,`, n/44) },
		"records cut in a string":          func(n int) string { return strings.Repeat(rec[:22]+`,`, n/23) },
		"records cut in an array":          func(n int) string { return strings.Repeat(rec[:34]+`,`, n/35) },
		"wrappers within wrappers":         func(n int) string { return strings.Repeat(`{"records":[`, n/12) },
		"wrappers as members":              func(n int) string { return strings.Repeat(`{"a":{"records":[`, n/17) },
		"wrappers that are cut":            func(n int) string { return strings.Repeat(`{"records":[{"x":"`+"\n", n/19) },
		"quotes":                           func(n int) string { return strings.Repeat(`"`, n) },
		"quotes and braces":                func(n int) string { return strings.Repeat(`"{`, n/2) },
		"braces and quotes":                func(n int) string { return strings.Repeat(`{"`, n/2) },
		"escaped quotes":                   func(n int) string { return `{"a":"` + strings.Repeat(`{\"`, n/3) },
		"backslashes":                      func(n int) string { return `{"a":"` + strings.Repeat(`\`, n) },
		"line breaks in strings":           func(n int) string { return strings.Repeat("{\"a\":\"\n\"},", n/11) },
		"one string with line breaks":      func(n int) string { return `{"a":"` + strings.Repeat("\n", n) + `"}` },
		"words":                            func(n int) string { return strings.Repeat(`x `, n/2) },
		"lines of words":                   func(n int) string { return strings.Repeat("x\n", n/2) },
		"elements of words":                func(n int) string { return `[` + strings.Repeat("x,", n/2) },
		"single quotes":                    func(n int) string { return `{'a':'` + strings.Repeat("' ", n/2) },
		"white space before braces":        func(n int) string { return `{"a"` + strings.Repeat(strings.Repeat(" ", 30)+"{", n/31) },
		"one object, broken at the end":    func(n int) string { return `{` + strings.Repeat(`"a":{"b":1},`, n/12) + `x` },
		"members that are records":         func(n int) string { return `{` + strings.Repeat(`"a":`+rec+`,`, n/42) + `x` },
		"objects that mismatch":            func(n int) string { return strings.Repeat(`{"a":[}`, n/7) },
		"JSON text that is broken":         func(n int) string { return `[` + strings.Repeat(`"{\"a\":[",`, n/11) },
		"a broken record before many sound ones, again and again": func(n int) string {
			return `[` + strings.Repeat(`{"a":"x,`+strings.Repeat(rec+",", 20), n/768)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ratio := func(n int) float64 {
				body := build(n)
				var r result
				s := splitter{r: &r}
				s.split([]byte(body))
				total := 0
				for _, p := range r.pieces {
					if p.Reason == "" {
						total += len(p.JSON)
					}
				}
				if total > 2*len(body) {
					t.Errorf("%d bytes of records from %d", total, len(body))
				}
				return float64(s.steps) / float64(len(body))
			}
			small := ratio(1 << 14)
			if small > 8 {
				t.Fatalf("looked %.1f times at each of 16 Ki bytes", small)
			}
			large := ratio(1 << 18)
			if large > 8 || large > small+1 {
				t.Errorf("looked %.1f times at each of 16 Ki bytes and %.1f times at each of 256 Ki", small, large)
			}
		})
	}
}

// Around counts the bytes of the objects that it reads. Whatever is before and
// around the hit, they are a small multiple of the text, and the multiple does not
// grow.
func TestAroundIsLinear(t *testing.T) {
	t.Parallel()
	const levels = jsontext.MaxLevels/2 - 1 // of an array in an object
	const sibling, rec = `{"a":1},`, `{"time":1,"category":"x"},`
	nested := func(levels int) string {
		return strings.Repeat(`{"a":[`, levels) + `{"a":1}` + strings.Repeat(`]}`, levels) + ","
	}
	for name, build := range map[string]func(n int) string{
		"siblings": func(n int) string {
			return `[{"time":1,"category":"x","l":[` + strings.Repeat(sibling, n/8) + `"here"]}]`
		},
		"siblings within siblings": func(n int) string {
			return `[{"time":1,"category":"x","l":[` + strings.Repeat(nested(40), n/330) + `"here"]}]`
		},
		"siblings within siblings, alone": func(n int) string { return `[` + strings.Repeat(nested(40), n/330) + `"here"]` },
		"one sibling that is as deep as can be": func(n int) string {
			return `[` + strings.Repeat(`{"x":"`+strings.Repeat("x", n/levels)+`","a":[`, levels) + strings.Repeat(`]}`, levels) + `,"here"]`
		},
		"records": func(n int) string { return `[` + strings.Repeat(rec, n/26) + `"here"]` },
		"records that hold records before the hit": func(n int) string { return `[` + strings.Repeat(`{"time":1,"category":"x","l":[`, n/30) + `"here"` },
		"elements around the hit": func(n int) string {
			return strings.Repeat(`[{"a":`, levels) + `["here","` + strings.Repeat("x", n) + `"]` + strings.Repeat(`}]`, levels)
		},
		"more elements around it than can be read": func(n int) string { return strings.Repeat(`[{"a":`, n/12) + `["here"]` + strings.Repeat(`}]`, n/12) },
		"open elements":     func(n int) string { return strings.Repeat(`[{"a":`, n/6) + `"here"` },
		"braces":            func(n int) string { return strings.Repeat(`{`, n) + `"here"` },
		"braces and quotes": func(n int) string { return strings.Repeat(`{"`, n/2) + `"here"` },
		"brackets in text":  func(n int) string { return `[{"time":1,"category":"` + strings.Repeat(`[{"},{`, n/6) + `here"}]` },
		"objects in quoted text": func(n int) string {
			return `[{"time":1,"category":"` + strings.Repeat(`{\"a\":[{\"b\":1}]},`, n/22) + `here"}]`
		},
		"white space before braces":                 func(n int) string { return strings.Repeat(strings.Repeat(" ", 30)+"{", n/31) + `"here"` },
		"white space before and behind many braces": func(n int) string { return strings.Repeat(" ", n/2) + strings.Repeat("{ ", n/4) + `"here"` },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for depth := range 3 {
				ratio := func(n int) float64 {
					raw := []byte(build(n))
					for range depth {
						quoted := jsontext.AppendQuote(nil, raw)
						raw = quoted[1 : len(quoted)-1]
					}
					read := around(jsontext.Text{Raw: raw, Depth: depth}, bytes.Index(raw, []byte("here")), func(int, int) bool { return true })
					return float64(read) / float64(len(raw))
				}
				small, large := ratio(1<<14), ratio(1<<18)
				most := 2.0 + maxWasted
				if strings.Contains(name, "around") {
					most = levels + 2 // once for each level
				}
				if small > most || large > 1.1*small+1 {
					t.Errorf("depth %d: read %.1f times each of 16 Ki bytes and %.1f times each of 256 Ki", depth, small, large)
				}
			}
		})
	}
}
