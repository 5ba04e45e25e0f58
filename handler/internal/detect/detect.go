// Package detect finds in a batch what the rules match.
//
// It is pure: no context, no I/O, no clock. It is the only reader of the records
// of a batch, for the rules, for the feed and for what surrounds an alert. A hit
// of the filter leads to the record around it; nothing else is unquoted, split
// or parsed. A record that cannot be read, or that breaks the code which reads
// it, costs only itself and is reported as unreadable.
package detect

import (
	"fmt"
	"runtime/debug"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
)

// A Batch is the messages of one invocation or file. Positions are offsets in
// its text.
type Batch interface {
	Text() jsontext.Text        // all messages, in one text
	Hits() []prefilter.Hit      // where the filter found something, ascending
	Len() int                   // number of messages
	Message(i int) jsontext.Text
	At(pos int) int // index of the message around a position, -1 for none
}

// A Detector evaluates batches. It is immutable and safe for concurrent use.
type Detector struct {
	rules   *rule.Set
	filter  *prefilter.Filter
	routine bool // routine deletions become findings
}

// New returns a Detector of rules. With routine, matches that are routine become
// findings as well; otherwise they are only counted.
func New(rules *rule.Set, routine bool) *Detector {
	literals, all := rules.Literals()
	if all {
		literals = []prefilter.Literal{{}} // an empty literal is in every text
	}
	return &Detector{rules: rules, filter: prefilter.New(literals), routine: routine}
}

// Filter returns the search for what the rules need in a record.
func (d *Detector) Filter() *prefilter.Filter { return d.filter }

// A Result is what a batch holds. Its records share the batch's memory.
type Result struct {
	Findings   []alert.Finding
	Unreadable []Unreadable
	Heard      []string       // sources of the first record of each message, if sampled
	Logs       map[string]int // records that were read, by data set

	Opened  int // records that were read
	Failed  int // pieces that were not readable as records
	Matches int // rule and event
	Routine int // matches that are Kubernetes' own work
	Repeats int // findings that the batch holds already
}

// Unreadable is a piece of a message that could not be read.
type Unreadable struct {
	Message int // index in the batch
	Offset  int // of the piece, in bytes of the message
	Reason  string
	Text    jsontext.Text
}

// Detect evaluates a batch. With sample, it also reads the first record of each
// message for its source.
func (d *Detector) Detect(b Batch, sample bool) Result {
	r := &reading{Detector: d, batch: b, raised: map[string]int{}}
	if sample {
		r.sample()
	}
	r.follow(b.Hits())
	return r.Result
}

// A reading is the work on one batch.
type reading struct {
	Result
	*Detector
	batch  Batch
	events event.Reader
	plain  []byte // of the record that is read, reused
	raised map[string]int // index in Findings by id
	done   int // everything before this position has been read
}

// follow goes from hit to hit; the search goes on behind the record of each.
func (r *reading) follow(hits []prefilter.Hit) {
	for _, hit := range hits {
		for pos := max(hit.Pos, r.done); pos < hit.End; pos = r.done {
			r.open(pos)
		}
	}
}

// open reads the record around a position, or the whole message where no record
// is found in place.
func (r *reading) open(pos int) {
	text := r.batch.Text()
	for object := range export.Around(text, pos) {
		if r.record(object) {
			r.done = pos + 1
			return
		}
	}
	r.message(pos)
}
