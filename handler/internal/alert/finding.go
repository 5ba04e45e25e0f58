package alert

import (
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

// Event reads the event again, in memory of its own.
func (f Finding) Event() (*event.Event, error) {
	record, err := f.Record.Plain(nil)
	if err != nil {
		return nil, err
	}
	return event.Read(record, f.Nth)
}
