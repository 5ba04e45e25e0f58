package exception

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"podwatch/handler/internal/rule"
)

// A source is the text of an exceptions file, and what is wrong with it.
type source struct {
	file     string
	text     []byte
	about    string // `exception "name": ` while one is read
	mistakes []*rule.FileError
}

// A value is a part of a YAML document as it is written: names and numbers are
// text, and nothing is converted.
type value struct {
	kind  string // for messages: text, a list, a mapping, nothing
	at    int    // offset in the file
	text  string
	list  []value
	keys  []key
	lines bool // text in lines of its own, after > or |
}

type key struct {
	name string
	at   int
	value
}

// about begins what is said of an exception.
func about(name string) string { return fmt.Sprintf("exception %q: ", name) }

func (s *source) errorAt(at int, format string, args ...any) *rule.FileError {
	line, column := rule.Position(s.text, at)
	return &rule.FileError{File: s.file, Line: line, Column: column, Msg: s.about + fmt.Sprintf(format, args...)}
}

func (s *source) mistake(at int, format string, args ...any) {
	s.mistakes = append(s.mistakes, s.errorAt(at, format, args...))
}

// err joins the mistakes, in the order of the file.
func (s *source) err() error {
	slices.SortStableFunc(s.mistakes, (*rule.FileError).Compare)
	var all []error
	for _, m := range s.mistakes {
		all = append(all, m)
	}
	return errors.Join(all...)
}

// document reads the only document of the file; nil without one, or when it is not
// YAML.
func (s *source) document() (document *value) {
	defer func() {
		if cause := recover(); cause != nil { // of the YAML library
			document = nil
			s.mistake(0, "the file is not YAML that can be read: %v", cause)
		}
	}()
	file, err := parser.ParseBytes(s.text, 0)
	if err != nil {
		s.syntax(err)
		return nil
	}
	s.oneDocument()
	if len(s.mistakes) > 0 {
		return nil
	}
	for _, d := range file.Docs {
		if _, comment := d.Body.(*ast.CommentGroupNode); d.Body != nil && !comment {
			v := s.value(d.Body)
			return &v
		}
	}
	return nil
}

// oneDocument refuses what readers of YAML drop: documents after the first, and
// text after the end of one.
func (s *source) oneDocument() {
	at, started := 0, false
	for line := range bytes.Lines(s.text) {
		mark := string(bytes.TrimRight(line, " \t\n"))
		if i := strings.IndexAny(mark, " \t"); i == 3 {
			mark = mark[:i]
		}
		switch {
		case mark == "---" && started:
			s.mistake(at, "a second YAML document begins: an exceptions file is one document, remove the ---")
			return
		case mark == "..." && !blank(s.text[at+len("..."):]):
			s.mistake(at, "text follows the end of the document: remove the ...")
			return
		case mark == "---", !blank(line) && line[0] != '%':
			started = true
		}
		at += len(line)
	}
}

// blank reports whether YAML text has nothing but comments.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// malformed reports a mistake in the form of the file, of which the exception is not
// read yet.
func (s *source) malformed(at int, format string, args ...any) {
	if name := s.nameAround(at); name != "" {
		s.about = about(name)
		defer func() { s.about = "" }()
	}
	s.mistake(at, format, args...)
}

var (
	itemLine = regexp.MustCompile(`(?m)^( *)- `)
	nameLine = regexp.MustCompile(`(?m)^ *(?:- +)?name: *["']?([^"'#\n]*[^"'#\s])`)
)

// nameAround returns the name of the exception around an offset, by its lines: the
// list's elements begin at the first one's column.
func (s *source) nameAround(at int) string {
	start, end, column := -1, len(s.text), 0
	for _, item := range itemLine.FindAllSubmatchIndex(s.text, -1) {
		switch indent := item[3] - item[2]; {
		case start >= 0 && indent != column:
		case item[0] > at:
			end = min(end, item[0])
		default:
			start, column = item[0], indent
		}
	}
	if start < 0 {
		return ""
	}
	if name := nameLine.FindSubmatch(s.text[start:end]); name != nil {
		return string(name[1])
	}
	return ""
}

func (s *source) syntax(err error) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		s.mistake(0, "%v", err)
		return
	}
	msg, at := syntax.GetMessage(), 0
	if t := syntax.GetToken(); t != nil {
		at = s.offset(t)
	}
	if strings.Contains(msg, "mapping value is not allowed") {
		msg += `: a text with ": " in it must be in quotes, quote it`
	}
	s.malformed(at, "%s", msg)
}

// offset is that of a token. The library counts columns in characters, and the
// place of the text after > or | is that of its end.
func (s *source) offset(t *token.Token) int {
	at := 0
	for range t.Position.Line - 1 {
		next := bytes.IndexByte(s.text[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	for range t.Position.Column - 1 {
		_, size := utf8.DecodeRune(s.text[at:])
		at += size
	}
	return max(min(at, len(s.text)-1), 0)
}

// value reads a node. What other readers of YAML would expand or convert is a
// mistake: a reviewer must see what the handler sees.
func (s *source) value(n ast.Node) value {
	if n == nil || n.GetToken() == nil {
		return value{kind: "nothing"}
	}
	v := value{kind: "text", at: s.offset(n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		v.kind = "a mapping"
		for _, pair := range n.Values {
			v.keys = s.key(v.keys, pair)
		}
	case *ast.MappingValueNode:
		v.kind = "a mapping"
		v.keys = s.key(nil, n)
	case *ast.SequenceNode:
		v.kind = "a list"
		for _, element := range n.Values {
			v.list = append(v.list, s.value(element))
		}
	case *ast.NullNode:
		v.kind = "nothing"
	case *ast.StringNode:
		v.text = n.Value
	case *ast.LiteralNode:
		v.text, v.lines = n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		v.text = n.GetToken().Value
	case *ast.AnchorNode, *ast.AliasNode:
		s.malformed(v.at, "anchors (&name) and aliases (*name) are not read: write the text out; a text that begins with & or * must be in quotes")
	case *ast.TagNode:
		s.malformed(v.at, "tags (%s) are not read: remove it, or put the text in quotes", n.GetToken().Value)
	default:
		s.malformed(v.at, "%s is not read here", strings.ToLower(n.Type().String()))
	}
	return v
}

func (s *source) key(keys []key, pair *ast.MappingValueNode) []key {
	name, v := pair.Key.GetToken(), s.value(pair.Value)
	if _, merge := pair.Key.(*ast.MergeKeyNode); merge {
		s.malformed(s.offset(name), "merge keys (<<) are not read: write the keys out")
		return keys
	}
	k := key{name: name.Value, at: s.offset(name), value: v}
	if k.value.kind == "nothing" {
		k.value.at = k.at
	}
	return append(keys, k)
}

// within returns the offset in the file of a byte of v's text. YAML folds lines
// and knows escapes, but keeps the order of characters: the n-th that is not blank
// in the text is the n-th that is not blank in the file.
func (s *source) within(v value, offset int) int {
	at, quote := v.at, s.text[v.at]
	switch {
	case v.lines:
		at += max(bytes.IndexByte(s.text[at:], '\n'), 0)
	case quote == '"' || quote == '\'':
		at++
	}
	for i := 0; i < len(v.text); i++ {
		for at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[at]) >= 0 {
			at++
		}
		switch c := v.text[i]; {
		case c == ' ' || c == '\n' || c == '\t':
			continue
		case quote == '"' && (c == '"' || c == '\\'), quote == '\'' && c == '\'':
			at++ // it is escaped, by one character before it
		}
		switch {
		case at >= len(s.text) || s.text[at] != v.text[i]:
			return v.at
		case i >= offset:
			return at
		}
		at++
	}
	return at
}
