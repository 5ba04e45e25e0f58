package export

import (
	"bytes"
	"iter"
	"slices"

	"podwatch/handler/internal/jsontext"
)

// Around returns where the records around pos in t begin and end, smallest first: objects with the
// fields of a record that are an element of an array or a message of their own.
// They are found in place, without reading t from its start. The first one is
// the record, unless a record contains elements that look like records.
//
// It returns nothing where it is not certain: the caller then unquotes the
// message and asks [Pieces]. It does not check what strings contain: the caller
// does so too if the record, unquoted, is not valid JSON.
//
// The work is linear in the distance to the record's start and in its length:
// elements before pos are read at most maxWasted times, and those around it once
// for each level of nesting.
func Around(t jsontext.Text, pos int) iter.Seq2[int, int] {
	return func(yield func(start, end int) bool) { around(t, pos, yield) }
}

// maxWasted is how many bytes of elements that end before pos are read for each byte
// of distance to it. Elements within elements are read again for each level.
const maxWasted = 16

// maxOutward is how far before a record the search for one around it continues.
const maxOutward = 64 << 10

// around scans backwards for braces that begin an element. Text in strings cannot
// imitate one: its quotes have other numbers of backslashes before them. Only the
// quote that closes a string may follow a brace in it, and then punctuation
// follows where a name should begin. It returns how many bytes of objects it read.
func around(t jsontext.Text, pos int, yield func(start, end int) bool) (read int) {
	from, wasted := 0, 0
	if pos >= len(t.Raw) {
		return read
	}
	for i := pos + 1; ; {
		n := bytes.LastIndexByte(t.Raw[from:i], '{')
		if n < 0 || pos-from-n > maxRecord {
			return read
		}
		i = from + n
		if !named(t, i) || !element(t, i) {
			continue
		}
		end, marks, ok := readMarks(t, i)
		read += end - i
		switch {
		case !ok || end-i > maxRecord:
			return read
		case end <= pos:
			if wasted += end - i; wasted > 4096+maxWasted*(pos-i) {
				return read
			}
		case marks == isRecord:
			if !yield(i, end) {
				return read
			}
			from = max(from, i-maxOutward)
		}
	}
}

// named reports whether a name follows the brace at i, and not punctuation.
func named(t jsontext.Text, i int) bool {
	i = t.Space(i + 1)
	if t.Kind(i) != jsontext.String {
		return false
	}
	i += 1 << t.Depth
	return i < len(t.Raw) && bytes.IndexByte([]byte(" \t\r\n\\,:]}"), t.Raw[i]) < 0
}

// element reports whether what begins at i may be an element of an array or of a
// sequence of values, and not the value of a member.
func element(t jsontext.Text, i int) bool {
	i = t.SpaceBefore(i)
	if bytes.HasSuffix(t.Raw[:i], []byte(byteOrderMark)) {
		i -= len(byteOrderMark)
	}
	return t.Begins(i) || bytes.IndexByte([]byte("[,}"), t.Raw[i-1]) >= 0
}

// readMarks returns the end and the marks of the object at i. ok is false if it
// is malformed, contains records, or has names that [Pieces] remarks on.
func readMarks(t jsontext.Text, i int) (end int, marks mark, ok bool) {
	var known [maxNames]string
	names := known[:0]
	end = i + 1
	for name, v := range t.Members(i) {
		if v.Truncated || name == "" || slices.Contains(names, name) ||
			name == "records" && mayHoldRecords(v) || Wraps(name) && holdsRecords(v, 0) {
			return v.End, 0, false
		}
		if len(names) < maxNames {
			names = append(names, name)
		}
		marks |= markOf(name)
		end = v.End
	}
	return t.Space(end) + 1, marks, true
}

func mayHoldRecords(v jsontext.Value) bool {
	switch v.Kind {
	case jsontext.Array, jsontext.Object, jsontext.Null:
		return true
	case jsontext.String:
		content := v.Content()
		kind := content.Kind(content.Space(0))
		return kind == jsontext.Array || kind == jsontext.Object
	}
	return false
}
