package logtest

import (
	"bytes"
	"compress/gzip"
	"io"
)

// Gzip returns text packed by gzip.
func Gzip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // into memory
	_ = w.Close()
	return b.String()
}
