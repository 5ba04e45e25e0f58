package rule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A FileError is one mistake in a rule file and its position. Line and
// Column count from 1, columns in bytes; both are 0 when the mistake belongs
// to the file as a whole.
type FileError struct {
	File         string
	Line, Column int
	Msg          string
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Compare orders mistakes by their places in a file.
func (e *FileError) Compare(other *FileError) int {
	return cmp.Or(cmp.Compare(e.Line, other.Line), cmp.Compare(e.Column, other.Column))
}

// A document is one rule as the file spells it: tables are map[string]any,
// lists []any, numbers int64 or float64. TOML and JSON end up in the same form
// so that there is one set of checks for both.
type document struct {
	file   string
	src    []byte
	toml   bool
	tree   map[string]any
	places map[string]span // of the file by path, such as rule.threat[0].tactic.id; of TOML once asked for
	root   string          // path in places of the rule; "" if it is not in a list
}

// A span is the part of the file that spells a value; for a table it is the
// header or the key that opens it.
type span struct{ start, end int }

// place returns the part of the file that spells the value at path.
func (d *document) place(path string) (s span, ok bool) {
	if d.places == nil {
		d.places = tomlPlaces(d.src)
	}
	at := d.root
	if path != "" {
		at = join(d.root, path)
	}
	s, ok = d.places[at]
	return s, ok
}

// at returns line and column of what is at path, or of the nearest table
// above it: a missing key is reported where it is missed.
func (d *document) at(path string) (line, column int) {
	for {
		if s, ok := d.place(path); ok {
			return Position(d.src, s.start)
		}
		if path == "" {
			return 1, 1
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// within returns line and column of the byte at offset in the text of the
// string at path, as that text is written in the file.
func (d *document) within(path, text string, offset int) (line, column int) {
	s, ok := d.place(path)
	if !ok || offset > len(text) {
		return d.at(path)
	}
	return Position(d.src, s.start+stringOffset(string(d.src[s.start:s.end]), text, offset))
}

// errorAt makes the error for a mistake at path.
func (d *document) errorAt(path, format string, args ...any) *FileError {
	line, column := d.at(path)
	return &FileError{File: d.file, Line: line, Column: column, Msg: fmt.Sprintf(format, args...)}
}

// stringOffset finds where in raw, a TOML or JSON string with its quotes, the
// byte at offset of its decoded text comes from: at its start, when raw does not
// spell text.
func stringOffset(raw, text string, offset int) int {
	quotes := []string{"'''", `"""`, "'", `"`}
	i := slices.IndexFunc(quotes, func(q string) bool { return strings.HasPrefix(raw, q) && len(raw) >= 2*len(q) })
	if i < 0 {
		return 0
	}
	quote := quotes[i]
	at := len(quote)
	end := len(raw) - len(quote)
	if len(quote) == 3 { // a newline right after the opening quotes is not part of the text
		at = end - len(strings.TrimPrefix(strings.TrimPrefix(raw[at:end], "\r"), "\n"))
	}
	done := 0
	for done < offset {
		if at >= end {
			return 0
		}
		took, gave := 1, raw[at:at+1]
		if raw[at] == '\\' && quote[0] == '"' {
			took, gave = unescape(raw[at:end])
		}
		if took == 0 || !strings.HasPrefix(text[done:], gave) {
			return 0
		}
		at += took
		done += len(gave)
	}
	return at
}

// unescape decodes the escape sequence that s starts with, in TOML's or JSON's
// spelling, and returns its length and its meaning.
func unescape(s string) (length int, text string) {
	if blank := len(s) - len(strings.TrimLeft(s[1:], " \t\r\n")); blank > 1 {
		return blank, "" // a backslash at the end of a line swallows the blanks that follow
	}
	for _, n := range []int{2, 4, 12, 6, 10} { // \n, \xHH, JSON's surrogate pair, \uHHHH, \UHHHHHHHH
		if n > len(s) {
			continue
		}
		var decoded struct{ V string }
		quoted := []byte(`"` + s[:n] + `"`)
		if json.Unmarshal(quoted, &decoded.V) != nil && toml.Unmarshal(append([]byte("V="), quoted...), &decoded) != nil {
			continue
		}
		if utf8.RuneCountInString(decoded.V) == 1 {
			return n, decoded.V
		}
	}
	return 0, ""
}

// parseTOML reads the only rule of a TOML file.
func parseTOML(file string, src []byte) ([]*document, error) {
	d := &document{file: file, src: src, toml: true, tree: map[string]any{}}
	if err := toml.Unmarshal(src, &d.tree); err != nil {
		mistake := &FileError{File: file, Msg: strings.TrimPrefix(err.Error(), "toml: ")}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			mistake.Line, mistake.Column = at.Position()
		}
		return nil, mistake
	}
	return []*document{d}, nil
}

// tomlPlaces walks the syntax tree of a TOML file, because decoded values have lost
// their place in it.
func tomlPlaces(src []byte) map[string]span {
	places := map[string]span{}
	var p unstable.Parser
	p.Reset(src)
	table := ""
	elements := map[string]int{} // how many [[tables]] of a path have been seen
	for p.NextExpression() {
		n := p.Expression()
		switch n.Kind {
		case unstable.Table:
			table = placeKey(places, elements, n, false)
		case unstable.ArrayTable:
			table = placeKey(places, elements, n, true)
		case unstable.KeyValue:
			placeValue(places, table, n)
		}
	}
	return places
}

// placeKey records the header of a table and returns its path.
func placeKey(places map[string]span, elements map[string]int, n *unstable.Node, element bool) string {
	path := ""
	keys := n.Key()
	for keys.Next() {
		k := keys.Node()
		path = join(path, string(k.Data))
		if _, ok := places[path]; !ok {
			places[path] = spanOf(k.Raw)
		}
		last := keys.IsLast()
		if last && element {
			elements[path]++
		}
		if count := elements[path]; count > 0 {
			path += "[" + strconv.Itoa(count-1) + "]"
			if last {
				places[path] = spanOf(k.Raw)
			}
		}
	}
	return path
}

// placeValue records a key and everything in its value.
func placeValue(places map[string]span, table string, n *unstable.Node) {
	path := table
	var key unstable.Range
	keys := n.Key()
	for keys.Next() {
		key = keys.Node().Raw
		path = join(path, string(keys.Node().Data))
	}
	placeNode(places, path, key, n.Value())
}

func placeNode(places map[string]span, path string, fallback unstable.Range, n *unstable.Node) {
	at := n.Raw
	if at.Length == 0 {
		at = fallback
	}
	places[path] = spanOf(at)
	children := n.Children()
	for i := 0; children.Next(); i++ {
		child := children.Node()
		switch {
		case n.Kind == unstable.InlineTable:
			placeValue(places, path, child)
		case n.Kind == unstable.Array:
			placeNode(places, path+"["+strconv.Itoa(i)+"]", at, child)
		}
	}
}

func spanOf(r unstable.Range) span { return span{int(r.Offset), int(r.Offset + r.Length)} }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parseJSON reads the JSON values of a file: the lines of a Kibana export, a
// single rule, or a list of rules. The values before a mistake are returned
// with it.
func parseJSON(file string, src []byte) ([]*document, error) {
	var docs []*document
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	for {
		p := jsonPlacer{dec: dec, src: src, places: map[string]span{}}
		start := int(dec.InputOffset())
		tree, err := p.value("")
		if errors.Is(err, io.EOF) && len(p.places) == 0 {
			return docs, nil
		}
		if err != nil {
			mistake, offset := &FileError{Msg: err.Error()}, int(dec.InputOffset())
			var whole json.RawMessage
			var syntax *json.SyntaxError
			switch {
			case errors.As(err, &mistake): // not one of syntax
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				offset, mistake.Msg = len(src), "the file ends inside a JSON value"
			case errors.As(json.Unmarshal(src[start:], &whole), &syntax): // the decoder's own offsets mean different things for different mistakes
				offset, mistake.Msg = start+int(syntax.Offset)-1, syntax.Error()
			}
			mistake.File = file
			mistake.Line, mistake.Column = Position(src, offset)
			return docs, mistake
		}
		list, several := tree.([]any)
		if !several {
			list = []any{tree}
		}
		for i, element := range list {
			d := &document{file: file, src: src, places: p.places}
			if several {
				d.root = "[" + strconv.Itoa(i) + "]"
			}
			var ok bool
			if d.tree, ok = element.(map[string]any); !ok {
				return docs, d.errorAt("", "expected a JSON object that holds a rule, got %s", describe(element))
			}
			docs = append(docs, d)
		}
	}
}

// A jsonPlacer decodes one JSON value and notes where its parts stand.
type jsonPlacer struct {
	dec    *json.Decoder
	src    []byte
	places map[string]span
	depth  int
}

// maxDepth bounds the nesting of a JSON rule; real ones stay below ten.
const maxDepth = 100

func (p *jsonPlacer) value(path string) (any, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, &FileError{Msg: fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	defer func() { p.depth-- }()
	start := int(p.dec.InputOffset())
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	for start < len(p.src) && strings.IndexByte(" \t\r\n,:", p.src[start]) >= 0 {
		start++
	}
	p.places[path] = span{start, int(p.dec.InputOffset())}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			list := []any{}
			for p.dec.More() {
				element, err := p.value(path + "[" + strconv.Itoa(len(list)) + "]")
				if err != nil {
					return nil, err
				}
				list = append(list, element)
			}
			_, err = p.dec.Token()
			return list, err
		}
		table := map[string]any{}
		for p.dec.More() {
			key, err := p.dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ := key.(string) // the decoder admits nothing else here
			if _, twice := table[name]; twice {
				return nil, &FileError{Msg: fmt.Sprintf("the key %q is written twice in one object", name)}
			}
			if table[name], err = p.value(join(path, name)); err != nil {
				return nil, err
			}
		}
		_, err = p.dec.Token()
		return table, err
	case json.Number:
		if n, err := token.Int64(); err == nil {
			return n, nil
		}
		f, err := token.Float64()
		if err != nil {
			return token.String(), nil
		}
		return f, nil
	}
	return token, nil
}

// describe names the kind of a decoded value for a message.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}
