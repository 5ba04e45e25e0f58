// Package console writes alerts as JSON, one a line.
//
// A line is the alert as Log Analytics gets it. It is pure text to any terminal:
// control characters, text direction marks and invisible characters, with which
// a record could forge what a reader sees, are written as \u escapes, so the
// line still decodes to the same alert.
package console

import (
	"context"
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"podwatch/handler/internal/alert"
)

// A Sink writes to one stream. It is safe for concurrent use: lines of two
// deliveries do not mix.
type Sink struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a sink that writes to w.
func New(w io.Writer) *Sink { return &Sink{w: w} }

// Name returns "console".
func (s *Sink) Name() string { return "console" }

// Deliver writes a line for each alert. It does not wait, so ctx is of no
// consequence. The error of an alert is the writer's.
func (s *Sink) Deliver(_ context.Context, alerts []*alert.Alert) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failures []error
	for i, a := range alerts {
		if _, err := s.w.Write(append(plain(a.JSON()), '\n')); err != nil {
			if failures == nil {
				failures = make([]error, len(alerts))
			}
			failures[i] = fmt.Errorf("write alert %q to the console: %w", a.AlertId, err)
		}
	}
	return failures
}

// plain escapes in JSON what a terminal might obey or hide. Such a character can
// stand within a string only, where the escape means the same.
func plain(text []byte) []byte {
	out := make([]byte, 0, len(text)+1)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case !hidden(r):
			out = append(out, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out
}

// hidden reports control characters (the JSON encoder leaves DEL and those above
// it), direction marks and other format characters, and line separators.
func hidden(r rune) bool {
	return r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
