// Package export finds the log records that an Azure diagnostic setting wrote in
// the body of an Event Hub message.
//
// [Around] finds one record in place, [Pieces] takes a whole body apart. A
// malformed record costs only itself: the records around it are found, and what
// is unreadable is returned with its offset and the reason. Bodies are
// untrusted: both take linear time, and [Pieces] walks a well-formed body once
// and does not copy it, so that its records are parts of the body itself.
package export

import (
	"iter"
	"slices"

	"podwatch/handler/internal/jsontext"
)

const (
	maxRecord  = 2 << 20            // bytes of one record, twice what a Standard hub carries
	maxRecords = 100_000            // records of one body
	maxDepth   = jsontext.MaxLevels // levels of nesting within a record
	maxNesting = 8                  // wrappers in arrays in strings in wrappers ...
)

const byteOrderMark = "\xef\xbb\xbf"

// A Piece is a part of a body: a record, or, with a Reason, what is unreadable.
type Piece struct {
	JSON   []byte // a record is a valid JSON object; part of the body unless Mended
	Offset int    // in bytes from the start of the body; in its UTF-8 form if that was UTF-16
	Mended string // what was mended or is odd, "" for nothing
	Reason string // why the piece is unreadable, never quoting it; "" for a record
}

// Of very many unreadable pieces the last ones become one.
const (
	maxPieces     = 1000
	tooManyPieces = "more than 1000 unreadable pieces, this is all from the last one on"
)

// Pieces returns the records and the unreadable pieces of a body, in order. They
// share its memory.
func Pieces(body []byte) iter.Seq[Piece] {
	var r result
	(&splitter{r: &r}).split(body)
	return slices.Values(r.pieces)
}

// A result is what a body contains.
type result struct {
	pieces     []Piece
	unreadable int // of the pieces
	last       int // index of the latest unreadable piece
	unpacked   int // bytes of the texts that were decoded
}
