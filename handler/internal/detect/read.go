package detect

import (
	"fmt"
	"runtime/debug"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// A reading is the work on one batch.
type reading struct {
	*Detector
	Result
	batch  Batch
	events event.Reader
	plain  []byte          // the record that is read, reused
	done   int             // all before this position has been read
	raised map[string]bool // ids of findings
}

// A piece is text of a message that should be a record.
type piece struct {
	jsontext.Text
	start, end int    // in the text of the batch; end 0: not in place
	message    int    // where it is not in place
	offset     int    // in the message, likewise
	mended     string // what was mended in it
}

// follow goes from hit to hit. The search goes on behind the record of each.
func (r *reading) follow() {
	for _, hit := range r.batch.Hits() {
		for pos := max(hit.Pos, r.done); pos < hit.End; pos = r.done {
			r.done = pos + 1 // at least
			r.open(pos)
		}
	}
}

// open reads the record around a position: the smallest object there that is a
// record of a known log, or the largest. Where none is found in place, it reads
// the whole message.
func (r *reading) open(pos int) {
	var found piece
	for start, end := range export.Around(r.batch.Text(), pos) {
		found = piece{Text: r.batch.Text().Cut(start, end), start: start, end: end}
		if r.known(found) {
			break
		}
	}
	if found.end > 0 {
		r.done = found.end
		r.read(found)
	} else if i := r.batch.At(pos); i >= 0 {
		r.message(i)
	}
}
