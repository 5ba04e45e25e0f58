package invocation

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// maxDepth bounds how deep an invocation may nest. The host itself refuses to
// read or write JSON deeper than 256 levels.
const maxDepth = 256

func errAt(offset int, format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", offset, fmt.Sprintf(format, args...))
}

var errCut = errors.New("the text ends too early")

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// backslashes counts the backslashes that stand right before b[i], not looking
// further back than from.
func backslashes(b []byte, from, i int) int {
	if i-from >= 8 { // nearly every run is shorter: see it at once
		if x := binary.LittleEndian.Uint64(b[i-8:]) ^ ('\\' * ones); x != 0 {
			return bits.LeadingZeros64(x) >> 3
		}
	}
	n := 0
	for i-n > from && b[i-n-1] == '\\' {
		n++
	}
	return n
}

// skipString returns the index after the JSON string that opens at b[i]. What
// stands in the string is not judged.
func skipString(b []byte, i int) (int, error) {
	start := i
	i++
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return 0, errAt(start, "string: %v", errCut)
		}
		i += n + 1
		if backslashes(b, start+1, i-1)%2 == 0 {
			return i, nil
		}
	}
}

// skipValue returns the index after the JSON value at b[i]. Brackets must
// match and scalars must look like JSON; strings are not judged.
func skipValue(b []byte, i int) (int, error) {
	var inArray [maxDepth / 64]uint64 // one bit a level
	depth, start := 0, i
	for {
		i = skipSpace(b, i)
		if i >= len(b) {
			return 0, errAt(start, "value: %v", errCut)
		}
		var err error
		switch c := b[i]; {
		case c == '{' || c == '[':
			if depth == maxDepth {
				return 0, errAt(i, "nested deeper than %d levels", maxDepth)
			}
			if c == '[' {
				inArray[depth/64] |= 1 << (depth % 64)
			} else {
				inArray[depth/64] &^= 1 << (depth % 64)
			}
			depth++
			i++
		case c == '}' || c == ']':
			if depth == 0 || (inArray[(depth-1)/64]&(1<<((depth-1)%64)) != 0) != (c == ']') {
				return 0, errAt(i, "unexpected %q", c)
			}
			depth--
			i++
		case c == '"':
			i, err = skipString(b, i)
		case (c == ',' || c == ':') && depth > 0:
			i++
			continue
		default:
			i, err = skipScalar(b, i)
		}
		if err != nil {
			return 0, err
		}
		if depth == 0 {
			return i, nil
		}
	}
}

func skipScalar(b []byte, i int) (int, error) {
	start := i
	for i < len(b) && (b[i] >= '0' && b[i] <= '9' || b[i] >= 'a' && b[i] <= 'z' || b[i] == 'E' || b[i] == '-' || b[i] == '+' || b[i] == '.') {
		i++
	}
	switch word := string(b[start:min(i, start+6)]); {
	case word == "true", word == "false", word == "null":
		return i, nil
	case word != "" && (word[0] == '-' || word[0] >= '0' && word[0] <= '9'):
		return i, nil
	}
	return 0, errAt(start, "unexpected %q", b[start])
}

// members calls f for every member of the JSON object at b[i], with the text
// between the quotes of its name and the index of its value, and returns the
// index after the object. f returns the index after the value.
func members(b []byte, i int, f func(name []byte, i int) (int, error)) (int, error) {
	if i >= len(b) || b[i] != '{' {
		return 0, errAt(i, "not an object")
	}
	start := i
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(b) {
			return 0, errAt(start, "object: %v", errCut)
		}
		if b[i] != '"' {
			return 0, errAt(i, "unexpected %q where a name should stand", b[i])
		}
		end, err := skipString(b, i)
		if err != nil {
			return 0, err
		}
		name := b[i+1 : end-1]
		i = skipSpace(b, end)
		if i < len(b) && b[i] != ':' {
			return 0, errAt(i, "unexpected %q after a name", b[i])
		}
		i = skipSpace(b, min(i+1, len(b)))
		if i >= len(b) {
			return 0, errAt(start, "object: %v", errCut)
		}
		if i, err = f(name, i); err != nil {
			return 0, err
		}
		i = skipSpace(b, i)
		switch {
		case i >= len(b):
			return 0, errAt(start, "object: %v", errCut)
		case b[i] == '}':
			return i + 1, nil
		case b[i] != ',':
			return 0, errAt(i, "unexpected %q after a value", b[i])
		}
		i = skipSpace(b, i+1)
	}
}

// elements calls f with the extent of every element of the JSON array at b[i]
// and returns the index after the array.
func elements(b []byte, i int, f func(start, end int) error) (int, error) {
	if i >= len(b) || b[i] != '[' {
		return 0, errAt(i, "not an array")
	}
	start := i
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := skipValue(b, i)
		if err != nil {
			return 0, err
		}
		if err := f(i, end); err != nil {
			return 0, err
		}
		i = skipSpace(b, end)
		switch {
		case i >= len(b):
			return 0, errAt(start, "array: %v", errCut)
		case b[i] == ']':
			return i + 1, nil
		case b[i] != ',':
			return 0, errAt(i, "unexpected %q after an element", b[i])
		}
		i = skipSpace(b, i+1)
	}
}
