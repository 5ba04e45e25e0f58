package event

// maxDepth bounds nesting, of a record and of JSON text inside it: deep enough
// for any Kubernetes object, shallow enough that a caller may recurse. Objects
// and arrays below it count as null.
const maxDepth = 64

// levels is the deepest nesting in b, not looking into strings. b need not be
// valid JSON.
func levels(b []byte) int {
	level, deepest := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = closing(b, i)
		case '{', '[':
			level++
			deepest = max(deepest, level)
		case '}', ']':
			level--
		}
	}
	return deepest
}

// closing returns the index of the quote that closes the string at i.
func closing(b []byte, i int) int {
	for i++; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i
}

// pruned returns b with null in the place of all below maxDepth.
func pruned(b []byte) []byte {
	out := make([]byte, 0, len(b)/2)
	level, start := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = closing(b, i)
		case '{', '[':
			if level++; level == maxDepth+1 {
				out = append(append(out, b[start:i]...), "null"...)
			}
		case '}', ']':
			if level--; level == maxDepth {
				start = i + 1
			}
		}
	}
	if level <= maxDepth {
		out = append(out, b[min(start, len(b)):]...)
	}
	return out
}
