package kql

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// A vector is one line of testdata/vectors.jsonl: a query, a document and
// whether it matches, or a query that is wrong.
type vector struct {
	Query string            `json:"query"`
	Doc   Map               `json:"doc"`
	Types map[string]string `json:"types"`
	Match bool              `json:"match"`
	Error bool              `json:"error"`
	Why   string            `json:"why"`
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		var v vector
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("line %d: %v", len(vs)+1, err)
		}
		vs = append(vs, v)
	}
	return vs
}

// typesOf makes Options.Type of names of types.
func typesOf(t testing.TB, names map[string]string) func(string) Type {
	t.Helper()
	types := map[string]Type{}
	for field, name := range names {
		typ, err := ParseType(name)
		if err != nil {
			t.Fatal(err)
		}
		types[field] = typ
	}
	return func(field string) Type { return types[field] }
}

func parse(t testing.TB, query string) *Node {
	t.Helper()
	n, err := Parse(query)
	if err != nil {
		t.Fatalf("Parse(%q): %v", query, err)
	}
	return n
}

func TestVectors(t *testing.T) {
	vectors := readVectors(t)
	verdicts, mistakes := 0, 0
	for _, v := range vectors {
		n, err := Parse(v.Query)
		if v.Error {
			mistakes++
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Errorf("Parse(%q) = %v, %v; want a syntax error", v.Query, n, err)
			}
			continue
		}
		verdicts++
		if err != nil {
			t.Errorf("Parse(%q): %v", v.Query, err)
			continue
		}
		types := typesOf(t, v.Types)
		if v.Types == nil {
			types = nil
		}
		if got := Compile(n, Options{Type: types}).Match(v.Doc); got != v.Match {
			t.Errorf("%q on %v = %t, want %t: %s", v.Query, v.Doc, got, v.Match, v.Why)
		}
	}
	if verdicts < 159 || mistakes < 39 {
		t.Errorf("ran %d verdicts and %d mistakes; lines are missing", verdicts, mistakes)
	}
}
