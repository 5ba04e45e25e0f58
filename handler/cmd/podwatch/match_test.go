package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// runMatch runs the command.
func runMatch(t *testing.T, in io.Reader, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runToolOn(t, in, append([]string{"match"}, args...)...)
}

func TestMatch(t *testing.T) {
	types := tempFile(t, "types.json", `{"ip": "ip", "n": "long", "when": "date", "p": "flattened"}`)
	for name, c := range map[string]struct {
		args           []string
		in             string
		status         int
		stdout, stderr string // stderr: a part of it, "" for none
	}{
		"one answer a document": {
			[]string{"--query", "a.b:x"}, `{"a":{"b":"x"}}` + "\n" + `{"a.b":"x"}` + "\n" + `{"a":["x"]}` + "\n", 0, "true\ntrue\nfalse\n", ""},
		"no line break at the end": {[]string{"-q", "a:x"}, `{"a":"x"}`, 0, "true\n", ""},
		"no documents":             {[]string{"-q", "a:x"}, "", 0, "", ""},
		"blank lines are no documents": {
			[]string{"-q", "a:x"}, "\n  \n" + `{"a":"x"}` + "\r\n\n", 0, "true\n", ""},
		"an empty query matches everything": {[]string{"--query", ""}, "{}\n", 0, "true\n", ""},

		"without types a number is text":        {[]string{"-q", "a:5.0"}, `{"a":5}` + "\n" + `{"a":5.0}`, 0, "false\ntrue\n", ""},
		"without types order is that of text":   {[]string{"-q", "a > 9"}, `{"a":10}` + "\n" + `{"a":95}`, 0, "false\ntrue\n", ""},
		"without types true is text":            {[]string{"-q", "a:tru*"}, `{"a":true}`, 0, "true\n", ""},
		"without types a network is text":       {[]string{"-q", "ip:10.0.0.0/8"}, `{"ip":"10.1.2.3"}`, 0, "false\n", ""},
		"without types groups work":             {[]string{"-q", "n:{a:x and b:y}"}, `{"n":[{"a":"x"},{"b":"y"}]}` + "\n" + `{"n":[{"a":"x","b":"y"}]}`, 0, "false\ntrue\n", ""},
		"with types a network holds addresses":  {[]string{"-q", "ip:10.0.0.0/8", "--types", types}, `{"ip":"10.1.2.3"}`, 0, "true\n", ""},
		"with types a number is a number":       {[]string{"-q", "n > 9", "--types", types}, `{"n":10}`, 0, "true\n", ""},
		"with types a day is all of the day":    {[]string{"-q", "when:2024-02-29", "--types", types}, `{"when":"2024-02-29T23:59:59Z"}`, 0, "true\n", ""},
		"with types a flattened field is text":  {[]string{"-q", "p.a > 9", "--types", types}, `{"p":{"a":10}}`, 0, "false\n", ""},
		"fields left out go by the JSON value":  {[]string{"-q", "m > 9", "--types", types}, `{"m":10}` + "\n" + `{"m":"10"}`, 0, "true\nfalse\n", ""},
		"numbers keep their digits":             {[]string{"-q", "n:9007199254740993", "--types", types}, `{"n":9007199254740993}` + "\n" + `{"n":9007199254740992}`, 0, "true\nfalse\n", ""},
		"odd queries are pointed out":           {[]string{"-q", "a: x or y"}, `{"z":"y"}`, 0, "true\n", "podwatch: query: line 1, column 9: y has no field"},
		"impossible queries are pointed out":    {[]string{"-q", "n:ten", "--types", types}, `{"n":10}`, 0, "false\n", "column 1: the query can never match"},
		"what only lib/kql minds is not":        {[]string{"-q", "a:x y"}, `{"a":"x y"}`, 0, "true\n", ""},
		"a bad query":                           {[]string{"-q", "a:x and\n  b:y z:"}, "{}\n", 2, "", "podwatch: parse query: line 2, column 8: unexpected ':'"},
		"no query":                              {nil, "{}\n", 2, "", "--query"},
		"a query without its quotes":            {[]string{"--query", "a:x", "and", "b:y"}, "{}\n", 2, "", `unexpected "and"`},
		"an unknown flag":                       {[]string{"--qeury", "a:x"}, "", 2, "", "unknown flag"},
		"a document that is no object":          {[]string{"-q", "a:x"}, `{"a":"x"}` + "\n" + `["a"]` + "\n" + `{"a":"x"}`, 1, "true\n", "line 2: not a JSON object"},
		"null is no document":                   {[]string{"-q", "a:x"}, "null\n", 1, "", "line 1: not a JSON object"},
		"a document that is cut off":            {[]string{"-q", "a:x"}, "\n" + `{"a":"x",`, 1, "", "line 2: the JSON object is cut off"},
		"a document with a mistake":             {[]string{"-q", "a:x"}, `{"a":x}`, 1, "", "line 1: invalid character"},
		"two documents on a line":               {[]string{"-q", "a:x"}, `{"a":"x"} {"a":"y"}`, 1, "", "line 1: more than one JSON object"},
		"the types of a log":                    {[]string{"-q", "source.ip:203.0.113.0/24", "--types", "azure.signinlogs"}, `{"source":{"ip":"203.0.113.7"}}`, 0, "true\n", ""},
		"a field that a log never has":          {[]string{"-q", "user.nmae:x", "--types", "azure.signinlogs"}, "{}", 0, "false\n", "podwatch: query: line 1, column 1: no event of azure.signinlogs has user.nmae; is user.name meant?"},
		"types that are missing":                {[]string{"-q", "a:x", "--types", types + ".not"}, "{}", 2, "", "read types: open"},
		"types that are no JSON":                {[]string{"-q", "a:x", "--types", tempFile(t, "types.json", "a: ip")}, "{}", 2, "", "read types"},
		"types that are unknown":                {[]string{"-q", "a:x", "--types", tempFile(t, "types.json", `{"a": "ipv4"}`)}, "{}", 2, "", `field "a": unknown field type "ipv4" (known: keyword,`},
		"a document longer than any buffer":     {[]string{"-q", "a:*z"}, `{"a":"` + strings.Repeat("y", 1<<20) + `z"}`, 0, "true\n", ""},
		"keys and values are any text":          {[]string{"-q", `"odd : key":"ü"`}, `{"odd : key":"\u00fc"}`, 0, "true\n", ""},
		"the last of two members of a name won": {[]string{"-q", "a:x"}, `{"a":"y","a":"x"}`, 0, "true\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := runMatch(t, strings.NewReader(c.in), c.args...)
			if status != c.status || stdout != c.stdout {
				t.Errorf("status %d, output %q; want %d, %q", status, stdout, c.status, c.stdout)
			}
			if !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
				t.Errorf("standard error %q, want %q", stderr, c.stderr)
			}
		})
	}
}

// A lockstep reader gives a line only when all lines before it are answered.
type lockstep struct {
	lines []string
	out   *bytes.Buffer
	given int
}

func (l *lockstep) Read(p []byte) (int, error) {
	if answers := strings.Count(l.out.String(), "\n"); answers < l.given {
		return 0, errors.New("asked for more before the answer was written")
	}
	if l.given == len(l.lines) {
		return 0, io.EOF
	}
	l.given++
	return copy(p, l.lines[l.given-1]), nil
}

func TestMatchAnswersEachLineAtOnce(t *testing.T) {
	q, err := compileQuery("a:x", "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	in := &lockstep{lines: []string{`{"a":"x"}` + "\n", `{"a":"y"}` + "\n"}, out: &out}
	if err := matchLines(q, in, &out); err != nil || out.String() != "true\nfalse\n" {
		t.Errorf("output %q, error %v", out.String(), err)
	}
}

func TestMatchReportsInputAndOutputThatBreak(t *testing.T) {
	q, err := compileQuery("a:x", "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader(`{"a":"x"}`+"\n"), brokenPipe{})
	var out bytes.Buffer
	if err := matchLines(q, broken, &out); !errors.Is(err, io.ErrClosedPipe) || out.String() != "true\n" {
		t.Errorf("broken input: output %q, error %v", out.String(), err)
	}
	if err := matchLines(q, strings.NewReader(`{"a":"x"}`), brokenPipe{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken output: error %v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Read([]byte) (int, error)  { return 0, io.ErrClosedPipe }
func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
