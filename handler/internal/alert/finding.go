package alert

import (
	"sync"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/rule"
)

// A Finding is a match before anything is looked up for it. It is small,
// whatever its record is, and shares the memory of the batch: a batch may hold
// tens of thousands of them.
type Finding struct {
	rule.Match
	ID     string        // see ID
	Record jsontext.Text // that holds the event
	At     int           // where it, or the message that was read for it, begins in the text of the batch
	Nth    int           // event of the record
	Pods   int           // different pods of it that routine deleted in the same batch
	Notes  []string      // what was repaired in the record
}

// Signals counts the findings of a batch by rule: of each rule only the first
// max_signals are looked up.
type Signals map[*rule.Rule]int

// Within counts a finding of a rule and reports whether it is one of the first.
func (s Signals) Within(r *rule.Rule) bool {
	s[r]++
	return r.MaxSignals <= 0 || s[r] <= r.MaxSignals
}

// Event reads the event again, in memory of its own.
func (f Finding) Event() (*event.Event, error) {
	scratch := records.Get().(*[]byte)
	defer records.Put(scratch)
	record, err := f.Record.Plain((*scratch)[:0])
	if err != nil {
		return nil, err
	}
	*scratch = record
	return event.Read(record, f.Nth)
}

// records has memory for the texts of records, which take less than in the batch.
var records = sync.Pool{New: func() any { return new([]byte) }}
