package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds nesting, of a record and of JSON text inside it: deep enough
// for any Kubernetes object, shallow enough that whoever walks the result may
// recurse.
const maxDepth = 64

// decodeObject decodes one JSON object. Numbers keep their spelling, of
// duplicate keys the last one wins, empty keys are dropped, and subtrees below
// maxDepth become null (pruned).
func decodeObject(b []byte) (m map[string]any, pruned bool, err error) {
	if depth(b) > maxDepth {
		m, r := readPrefix(b)
		if r.err != nil {
			return nil, false, r.err
		}
		return m, true, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		var typeErr *json.UnmarshalTypeError
		switch {
		case errors.As(err, &typeErr):
			return nil, false, fmt.Errorf("%w but %s", errNotObject, typeErr.Value)
		case errors.Is(err, io.EOF):
			return nil, false, fmt.Errorf("%w but nothing", errNotObject)
		}
		return nil, false, err
	}
	if m == nil {
		return nil, false, fmt.Errorf("%w but null", errNotObject)
	}
	if rest := bytes.TrimSpace(b[dec.InputOffset():]); len(rest) > 0 {
		return nil, false, fmt.Errorf("%d bytes after the object", len(rest))
	}
	if hasEmptyKey(b) {
		dropEmptyKeys(m)
	}
	return m, false, nil
}

// depth is the deepest nesting in b, not looking into strings. b need not be
// valid JSON.
func depth(b []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth > deepest {
				deepest = depth
			}
		case '}', ']':
			depth--
		}
	}
	return deepest
}

func hasEmptyKey(b []byte) bool {
	for {
		i := bytes.Index(b, []byte(`""`))
		if i < 0 {
			return false
		}
		b = bytes.TrimLeft(b[i+2:], " \t\r\n")
		if len(b) > 0 && b[0] == ':' {
			return true
		}
	}
}

// dropEmptyKeys recurses at most maxDepth deep.
func dropEmptyKeys(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "")
		for _, e := range v {
			dropEmptyKeys(e)
		}
	case []any:
		for _, e := range v {
			dropEmptyKeys(e)
		}
	}
}

// A prefixReader reads an object as far as it is readable.
type prefixReader struct {
	dec    *json.Decoder
	size   int64
	err    error  // what ended the reading early; nil if the object was read whole
	cutKey string // the top-level member that was being read then, "" if none
}

// readPrefix reads the object at the start of b up to the first fault. A string
// or number that b ends in is left out, because half a value can look like
// another one; members of an object or array that b ends in are kept. Values
// deeper than maxDepth become null.
func readPrefix(b []byte) (map[string]any, *prefixReader) {
	r := &prefixReader{dec: json.NewDecoder(bytes.NewReader(b)), size: int64(len(b))}
	r.dec.UseNumber()
	tok, err := r.dec.Token()
	if err != nil || tok != json.Delim('{') {
		r.err = errNotObject
		return nil, r
	}
	m := r.object(1)
	if r.err == nil && len(bytes.TrimSpace(b[r.dec.InputOffset():])) > 0 {
		r.err = errors.New("text after the object")
	}
	return m, r
}

func (r *prefixReader) object(depth int) map[string]any {
	m := map[string]any{}
	for {
		tok, err := r.dec.Token()
		if err != nil {
			r.err = err
			return m
		}
		key, isKey := tok.(string)
		if !isKey { // the closing brace
			return m
		}
		v, ok := r.value(depth)
		if ok && key != "" {
			m[key] = v
		}
		if r.err != nil {
			if depth == 1 {
				r.cutKey = key
			}
			return m
		}
	}
}

func (r *prefixReader) array(depth int) []any {
	a := []any{}
	for {
		v, ok := r.value(depth)
		if ok {
			a = append(a, v)
		}
		if !ok || r.err != nil {
			return a
		}
	}
}

// value reads the next value. ok is false at a fault and at the end of an array.
func (r *prefixReader) value(depth int) (v any, ok bool) {
	tok, err := r.dec.Token()
	if err != nil {
		r.err = err
		return nil, false
	}
	switch tok := tok.(type) {
	case json.Delim:
		switch {
		case tok == ']' || tok == '}':
			return nil, false
		case depth >= maxDepth:
			r.skip()
			return nil, true
		case tok == '{':
			return r.object(depth + 1), true
		}
		return r.array(depth + 1), true
	case json.Number:
		// The decoder takes a number that the text ends in for a whole one.
		if r.dec.InputOffset() == r.size {
			r.err = io.ErrUnexpectedEOF
			return nil, false
		}
	}
	return tok, true
}

// skip reads to the end of the object or array that was just opened.
func (r *prefixReader) skip() {
	for open := 1; open > 0; {
		tok, err := r.dec.Token()
		if err != nil {
			r.err = err
			return
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
}

func looksLikeObject(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n")
	return s != "" && s[0] == '{'
}

// get is m[name], or m[capital]: some services capitalise the common names.
func get(m map[string]any, name, capital string) any {
	if v, ok := m[name]; ok && v != nil {
		return v
	}
	return m[capital]
}

// text is a scalar as text, "" for anything else.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// label is text, or the value of the pair of value and localizedValue that the
// activity log's REST interface uses in its place.
func label(v any) string {
	if m, ok := v.(map[string]any); ok {
		return text(m["value"])
	}
	return text(v)
}

func object(m map[string]any, name string) map[string]any {
	o, _ := m[name].(map[string]any)
	return o
}

// texts is an array of scalars, or one scalar, as texts.
func texts(v any) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, e := range v {
			if s := text(e); s != "" {
				out = append(out, s)
			}
		}
		return out
	case nil:
		return nil
	}
	if s := text(v); s != "" {
		return []string{s}
	}
	return nil
}

// renamed copies m with other names for its members and without the nulls.
// Where two members come to the same name, the one that had it wins, else the
// one whose old name sorts first: the result does not depend on map order.
func renamed(m map[string]any, name func(string) string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if v == nil {
			continue
		}
		to := name(k)
		if _, taken := out[to]; taken {
			return renamedInOrder(m, name)
		}
		out[to] = v
	}
	return out
}

func renamedInOrder(m map[string]any, name func(string) string) map[string]any {
	out := make(map[string]any, len(m))
	var changed []string
	for k, v := range m {
		switch {
		case v == nil:
		case name(k) == k:
			out[k] = v
		default:
			changed = append(changed, k)
		}
	}
	slices.Sort(changed)
	for _, k := range changed {
		to := name(k)
		if _, taken := out[to]; !taken {
			out[to] = m[k]
		}
	}
	return out
}

func number(s string) json.Number { return json.Number(s) }

// duration turns milliseconds, a number or text, into nanoseconds. It is nil
// when v is neither or too large.
func duration(v any) any {
	s := strings.TrimSpace(text(v))
	if s == "" {
		return nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms > math.MaxInt64/1_000_000 || ms < math.MinInt64/1_000_000 {
			return nil
		}
		return number(strconv.FormatInt(ms*1_000_000, 10))
	}
	ms, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(ms) || math.Abs(ms) > math.MaxInt64/2e6 {
		return nil
	}
	return number(strconv.FormatInt(int64(math.Round(ms*1e6)), 10))
}
