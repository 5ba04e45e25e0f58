package jsontext_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"podwatch/handler/internal/jsontext"
)

// quoted returns text that is quoted depth times.
func quoted(text string, depth int) jsontext.Text {
	for range depth {
		q := jsontext.AppendQuote(nil, text)
		text = string(q[1 : len(q)-1])
	}
	return jsontext.Text{Raw: []byte(text), Depth: depth}
}

var samples = []string{
	``, ` `, `{}`, `[]`, `null`, `true`, `-1.5e+7`, `""`, `"\""`, `"\\"`, `"a\\\"b\\\\"`,
	`{"a":1}`, `{"a":[1,2,{"b":"c"}],"d":null}`, "\t{ \"a\" :\r\n[ 1 , 2 ] }\n",
	`{"log":"{\"verb\":\"delete\",\"note\":\"{\\\"x\\\":1}\",\"path\":\"C:\\\\\"}\n","time":"now"}`,
	`{"name with \" quote":1,"\u0041\n":2,"":3}`,
	`{"a":1,}`, `{"a":1`, `{"a":1,`, `{"a":`, `{"a"`, `{"a":"b`, `{"a":"b\`, `{,}`, `[1 2]`, `[1,]`, `[,1]`, `{"a" 1}`, `[}`, `{]`, `]`, `nul`, `01`, `-`, `1.`,
	`{"emoji":"\ud83d\ude00","half":"\ud83d","raw":"😀é"}`,
	"\"\x80\xff\"", "{\"a\":\"\x01\"}", `{"records":[{"a":"[{\"b\":\"}]"}]}`,
	strings.Repeat("[", 200) + strings.Repeat("]", 200),
	strings.Repeat("[", 201) + strings.Repeat("]", 201),
	"\b\f\n\r\t\"\\/",
}

// value rebuilds a value by walking it, as encoding/json decodes it.
func value(t *testing.T, v jsontext.Value) any {
	if v.Truncated {
		t.Fatalf("%q: truncated", v.Raw)
	}
	switch v.Kind {
	case jsontext.Object:
		m := map[string]any{}
		for name, member := range v.Members(0) {
			m[strings.Clone(name)] = value(t, member)
		}
		return m
	case jsontext.Array:
		a := []any{}
		for element := range v.Elements(0) {
			a = append(a, value(t, element))
		}
		return a
	case jsontext.True, jsontext.False:
		return v.Kind == jsontext.True
	case jsontext.Null:
		return nil
	}
	s, err := v.Decode()
	if err != nil {
		t.Fatalf("%q: %v", v.Raw, err)
	}
	if v.Kind == jsontext.Number {
		return json.Number(s)
	}
	if !v.Is(s) {
		t.Fatalf("%q is not %q", v.Raw, s)
	}
	return s
}

// compare checks that text is read at every depth as encoding/json reads it.
func compare(t *testing.T, input string) {
	for depth := range 4 {
		text := quoted(input, depth)
		plain, err := text.Plain(nil)
		if err != nil {
			t.Fatalf("depth %d: %v", depth, err)
		}
		if utf8.ValidString(input) && string(plain) != input {
			t.Fatalf("depth %d: Plain = %q, want %q", depth, plain, input)
		}
		v := text.Value(0)
		if !v.Truncated {
			// The value is the same at each depth, whatever its strings contain.
			part, err := v.Plain(nil)
			if err != nil {
				t.Fatalf("depth %d: %v", depth, err)
			}
			if want := (jsontext.Text{Raw: plain}).Value(0); want.Truncated || !bytes.Equal(part, want.Raw) {
				t.Fatalf("depth %d: value %q, want %q", depth, part, want.Raw)
			}
		}
		walk(v)
		if !json.Valid(plain) || levels(plain) > jsontext.MaxLevels {
			continue
		}
		if v.Truncated || text.Space(v.End) != len(text.Raw) {
			t.Fatalf("depth %d: value %q ends at %d, truncated %t", depth, text.Raw, v.End, v.Truncated)
		}
		if !utf8.Valid(plain) {
			continue
		}
		var want any
		decoder := json.NewDecoder(bytes.NewReader(plain))
		decoder.UseNumber()
		if err := decoder.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got := value(t, v); !reflect.DeepEqual(got, want) { // cmp.Diff is exponential in the nesting
			t.Fatalf("depth %d, %q: %v, want %v", depth, text.Raw, got, want)
		}
	}
}

// walk reads all that a value contains, which may be malformed.
func walk(v jsontext.Value) {
	for _, member := range v.Members(0) {
		walk(member)
	}
	for element := range v.Elements(0) {
		walk(element)
	}
	content := v.Content()
	content.Obscured()
	_, _ = v.Decode()
	if len(content.Raw) > 0 {
		walk(content.Value(0))
	}
}

func levels(b []byte) int {
	level, deepest, inside := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case !inside && (c == '{' || c == '['):
			level++
			deepest = max(deepest, level)
		case !inside && (c == '}' || c == ']'):
			level--
		}
	}
	return deepest
}

func TestTextIsReadAsEncodingJSONReadsIt(t *testing.T) {
	t.Parallel()
	for i, s := range samples {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			compare(t, s)
		})
	}
}

func FuzzText(f *testing.F) {
	for _, s := range samples {
		f.Add(s)
	}
	f.Fuzz(compare)
}

func TestSkip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		text  string
		depth int
		end   int
		ok    bool
	}{
		{"a string ends at its own quote", `"a\"b",1`, 0, 6, true},
		{"a quoted string ends at its own quote", `\"a\\\"b\",1`, 1, 10, true},
		{"backslashes before the end of a string belong to it", `"a\\",1`, 0, 5, true},
		{"the string around the text ends", `\"a",1`, 1, 3, false},
		{"a quote of the text inside does not open a string", `\\\"a\\\"`, 1, 0, false},
		{"white space is quoted as often as the text", `{\n\"a\":\t1}x`, 1, 13, true},
		{"white space that is quoted once more is none", `{\\n\"a\":1}`, 1, 1, false},
		{"brackets must match", `[{"a":1]}`, 0, 7, false},
		{"a comma needs a value before it", `[,1]`, 0, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			end, ok := jsontext.Text{Raw: []byte(tt.text), Depth: tt.depth}.Skip(0)
			if end != tt.end || ok != tt.ok {
				t.Errorf("Skip = %d, %t, want %d, %t", end, ok, tt.end, tt.ok)
			}
		})
	}
}

func TestObscured(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		text  string
		depth int
		want  bool
	}{
		{"plain text has nothing around it", `"a\u0022"`, 0, false},
		{"the string around the text writes its quotes as \\u0022", `{\u0022a\u0022:1}`, 1, true},
		{"the string around the text writes a backslash as \\u005C", `\"a\u005C\"\"`, 1, true},
		{"a string of the text writes a quote as \\u0022", `{\"a\":\"b\\u0022\"}`, 1, false},
		{"that string is a text of its own", `b\\u0022`, 2, true},
		{"an escaped backslash before the letters u0022", `\"\\\\u0022\"`, 1, false},
		{"other characters may be escaped", `\"\u0026\u003c\"`, 1, false},
		{"the text ends in an escape", `\u00`, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := (jsontext.Text{Raw: []byte(tt.text), Depth: tt.depth}).Obscured(); got != tt.want {
				t.Errorf("Obscured(%s) = %t, want %t", tt.text, got, tt.want)
			}
		})
	}
}

func TestMembersOfTextThatEndsEarly(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		`{`:              ` invalid`,
		`{"a`:            ` invalid`,
		`{"a":`:          `a invalid`,
		`{"a":1`:         `a 1, invalid`,
		`{"a":1,`:        `a 1, invalid`,
		`{"a":1 2}`:      `a 1, invalid`,
		`{"a":1,"b":"x`:  `a 1,b "x truncated`,
		`{"a":1,"b":{"c`: `a 1,b {"c truncated`,
		`{"a":1,"b":tru`: `a 1,b tru truncated`,
		`{"a":1}`:        `a 1`,
		`[1]`:            ``,
	}
	for text, want := range tests {
		for depth := range 3 {
			var got []string
			for name, v := range quoted(text, depth).Members(0) {
				plain, err := v.Plain(nil)
				if err != nil {
					t.Fatal(err)
				}
				s := name + " " + string(plain)
				if v.Kind == jsontext.Invalid {
					s = name + " invalid"
				} else if v.Truncated {
					s += " truncated"
				}
				got = append(got, strings.TrimPrefix(s, " "))
			}
			if got := strings.Join(got, ","); got != strings.TrimPrefix(strings.ReplaceAll(want, ", ", ","), " ") {
				t.Errorf("members of %s at depth %d: %q, want %q", text, depth, got, want)
			}
		}
	}
}

func TestPlainRejectsMalformedEscapes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{`\`, `a\x`, `\u12`, `\u12g4`, `abcdefgh\`} {
		if got, err := (jsontext.Text{Raw: []byte(s), Depth: 1}).Plain(nil); err == nil {
			t.Errorf("Plain of %s is %q", s, got)
		}
	}
}

func TestPlainInPlace(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		text := quoted(s, 1)
		apart, err := text.Plain([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := text.Plain(text.Raw[:0]); err != nil || string(got) != string(apart[len("before"):]) {
			t.Errorf("in place %q, %v; apart %q", got, err, apart)
		}
	}
}

func TestWalkingAllocatesNothing(t *testing.T) {
	text := quoted(samples[14], 2)
	n := testing.AllocsPerRun(100, func() {
		for name, v := range text.Members(0) {
			if name == "log" {
				for name, v := range v.Content().Members(0) {
					if name == "verb" && !v.Is("delete") {
						t.Error("no match")
					}
				}
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
