package app

import (
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/detect"
)

// Counts are what became of a batch. They are in the log line of each invocation,
// and in the tool's summary.
type Counts struct {
	Bytes      int `json:"bytes"`      // of the request
	Opened     int `json:"opened"`     // records that were read; all others cannot match
	Matches    int `json:"matches"`    // rule and event
	Routine    int `json:"routine"`    // matches that are Kubernetes' own work
	Repeats    int `json:"repeats"`    // matches of what this batch, or every sink, has already
	Alerts     int `json:"alerts"`     // raised
	Suppressed int `json:"suppressed"` // of those, by an exception
	Held       int `json:"held"`       // of those, kept for the summary of a storm
	Delivered  int `json:"delivered"`  // alert and sink
	Failed     int `json:"failed"`     // alerts that go to the queue
	Unreadable int `json:"unreadable"` // pieces that go to the blob
}

// CountsOf adds up what the stages report; pending is the number of findings that
// some sink lacked.
func CountsOf(found detect.Result, pending int, delivered deliver.Result) Counts {
	return Counts{
		Opened: found.Opened, Matches: found.Matches, Routine: found.Routine,
		Repeats: found.Repeats + len(found.Findings) - pending,
		Alerts:  delivered.Alerts, Suppressed: delivered.Suppressed, Held: delivered.Held,
		Delivered: delivered.Delivered, Failed: len(delivered.Failed), Unreadable: len(found.Unreadable),
	}
}

// Add adds the counts of another batch.
func (c *Counts) Add(o Counts) {
	c.Bytes += o.Bytes
	c.Opened += o.Opened
	c.Matches += o.Matches
	c.Routine += o.Routine
	c.Repeats += o.Repeats
	c.Alerts += o.Alerts
	c.Suppressed += o.Suppressed
	c.Held += o.Held
	c.Delivered += o.Delivered
	c.Failed += o.Failed
	c.Unreadable += o.Unreadable
}
