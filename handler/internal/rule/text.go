package rule

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Text returns the UTF-8 text of a file that people wrote, without its byte order
// mark.
func Text(src []byte) ([]byte, error) {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(src, []byte(mark)) {
			return nil, errors.New("the file is UTF-16: save it as UTF-8")
		}
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 {
			line, _ := Position(src, at)
			return nil, fmt.Errorf("line %d: byte 0x%02x is not UTF-8: save the file as UTF-8", line, src[at])
		}
		at += size
	}
	if at := bytes.IndexByte(src, 0); at >= 0 {
		return nil, errors.New("the file has NUL bytes: save it as UTF-8")
	}
	return src, nil
}

// Position returns line and column of a byte of a file, both from 1, columns in
// bytes.
func Position(src []byte, offset int) (line, column int) {
	before := src[:min(offset, len(src))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
