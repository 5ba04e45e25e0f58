package app

import (
	"context"
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/outbound"
)

// A Console is the sink of a run without any other: it writes alerts as JSON, one
// a line. A line is pure text to any terminal: control characters, direction marks
// and invisible characters, with which a record could forge what a reader sees, are
// written as \u escapes, so that the line still decodes to the same alert.
type Console struct {
	mu sync.Mutex
	w  io.Writer
}

// NewConsole returns a console that writes to w.
func NewConsole(w io.Writer) *Console { return &Console{w: w} }

// Name returns "console".
func (c *Console) Name() string { return "console" }

// Post writes all alerts of the group.
func (c *Console) Post(_ context.Context, g alert.Group) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, a := range g.Alerts {
		if _, err := c.w.Write(append(printable(a.JSON()), '\n')); err != nil {
			return i + 1, fmt.Errorf("write alert %q to the console: %w", a.AlertId, err)
		}
	}
	return len(g.Alerts), nil
}

// printable escapes in JSON what a terminal might obey or hide. Such a character can
// stand within a string only, where the escape means the same.
func printable(text []byte) []byte {
	out := make([]byte, 0, len(text)+1)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if hidden(r) {
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		} else {
			out = append(out, text[:size]...)
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

// A down is a sink that is wanted and cannot be asked until somebody mends a setting.
// Its alerts wait in the queue, as those of a sink that refuses podwatch do.
type down struct {
	name, service string
	cause         error
}

// Name returns the name of the sink that is down.
func (d down) Name() string { return d.name }

// Post fails for all alerts of the group.
func (d down) Post(_ context.Context, g alert.Group) (int, error) {
	return len(g.Alerts), &outbound.Error{Service: d.service, Kind: outbound.Forbidden, Err: d.cause}
}

// sinkDown adds a sink that is down; a nil cause is none.
func (b *builder) sinkDown(name, service string, cause error, people bool) {
	if cause == nil {
		return
	}
	s := down{name, service, cause}
	b.down = append(b.down, s)
	b.routes = append(b.routes, deliver.Route{Sink: s, People: people})
}
