package detect

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// follow goes from hit to hit; the search goes on behind the record of each.
func (r *reading) follow() {
	for _, hit := range r.batch.Hits() {
		for pos := max(hit.Pos, r.done); pos < hit.End; pos = max(r.done, pos+1) {
			r.open(pos)
		}
	}
}

// open reads the record around a position, or the whole message where none is
// found in place.
func (r *reading) open(pos int) {
	for start, end := range export.Around(r.batch.Text(), pos) {
		if record := r.batch.Text().Cut(start, end); r.read(record, piece{at: record}) {
			r.done = end
			return
		}
	}
	if i := r.batch.At(pos); i >= 0 {
		r.message(i)
	}
}

// message unquotes a message and reads all that it holds.
func (r *reading) message(i int) {
	text := r.batch.Message(i)
	r.done = text.End()
	plain, err := text.Plain(nil)
	if err != nil {
		r.unreadable(piece{message: i, at: text}, err.Error())
		return
	}
	for p := range export.Pieces(plain) {
		at := piece{message: i, offset: p.Offset, at: jsontext.Text{Raw: p.JSON}, mended: p.Mended}
		switch {
		case p.Reason != "":
			r.unreadable(at, p.Reason)
		case r.filter.Contains(p.JSON):
			r.read(at.at, at)
		}
	}
}
