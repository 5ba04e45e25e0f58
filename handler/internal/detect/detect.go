// Package detect finds in a batch what the rules match.
//
// It is pure: no context, no I/O, no clock. It is the only reader of the records
// of a batch: for the rules, for the feed and for what surrounds an alert. A hit
// of the filter leads to the record around it; nothing else is unquoted, split or
// parsed. A record that cannot be read, or that makes the code panic which reads
// it, costs only itself and is reported as unreadable. One that a client made so
// long that it is cut before its verb is also a finding of podwatch's own rule.
package detect

import (
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
)

// A Batch is the messages of one invocation or file. Positions are offsets in its
// text.
type Batch interface {
	Text() jsontext.Text   // all messages and what is between them
	Hits() []prefilter.Hit // where the filter found something, ascending
	Len() int              // number of messages
	At(pos int) int        // index of the message around a position, -1 for none

	// Message returns the content of message i and where it ends in Text.
	Message(i int) (text jsontext.Text, end int)
}

// Plain returns a batch of one message that is not quoted, all of which is to be
// read: the body of a message from a file or an event hub. Its Result tells of each
// record.
func Plain(body []byte) Batch { return plain(body) }

type plain []byte

func (p plain) Text() jsontext.Text   { return jsontext.Text{Raw: p} }
func (p plain) Hits() []prefilter.Hit { return []prefilter.Hit{{Pos: 0, End: len(p)}} }
func (p plain) Len() int              { return 1 }
func (p plain) At(int) int            { return 0 }

func (p plain) Message(int) (jsontext.Text, int) { return p.Text(), len(p) }

// A Detector evaluates batches. It is immutable and safe for concurrent use.
type Detector struct {
	rules   *rule.Set
	audits  *prefilter.Filter // audit events, also in base64
	words   *prefilter.Filter // what the rules look for, and audit events in base64
	coded   *prefilter.Filter // the beginnings of what may encode a record
	filter  *prefilter.Filter // words and coded
	telling telling
	routine bool // matches that are routine become findings
}

// New returns a Detector of rules. Matches that are routine are only counted,
// unless routine is set: then they become findings too.
func New(rules *rule.Set, routine bool) *Detector {
	d := &Detector{rules: rules, telling: newTelling(), routine: routine}
	d.audits = prefilter.New(append([]prefilter.Literal{{Text: "auditID", Whole: true}}, encodedAudit...))
	d.coded = prefilter.New(encoded)
	if words, all := rules.Literals(); !all {
		words = append(append(words, prefilter.Literal{Text: "data_base64", Whole: true}), encodedAudit...)
		d.words = prefilter.New(words)
		d.filter = prefilter.New(append(words, encoded...))
	}
	return d
}

// encoded are what strings begin with that may have records in base64, in which no text
// of a rule can be found: {" and [{ and { before a line end, gzip, and zlib at its usual
// level. They cost nothing while they resemble each other: with zstd, [[ or the other
// levels of zlib among them the whole search takes half as long again.
var encoded = []prefilter.Literal{
	{Text: `"eyJ`}, {Text: `"W3s`}, {Text: `"ewo`}, {Text: `"ew0`}, {Text: `"H4s`},
	{Text: `"eJw`}, {Text: `"eJx`}, {Text: `"eJy`}, {Text: `"eJz`},
}

// encodedAudit is "audit.k8s.io" in base64, as it begins at each of three bytes.
var encodedAudit = []prefilter.Literal{{Text: "YXVkaXQuazhzLmlv"}, {Text: "F1ZGl0Lms4cy5pb"}, {Text: "hdWRpdC5rOHMuaW"}}

// Filter returns the search for what the rules need to find in a record.
func (d *Detector) Filter() *prefilter.Filter { return d.filter }

// A Result is what was found in a batch. It shares the batch's memory.
type Result struct {
	Findings   []alert.Finding
	Unreadable []Unreadable
	Heard      []string       // sources of the first record of each message, if a sample was taken
	Logs       map[string]int // records that were read, by data set

	Audits int // records of platform logs and messages that were looked at, also for a sample
	Unread int // records and messages that could not be read; they count in Audits too

	Records []Record // of a Plain batch, in order: all of them, and what cannot be read

	Opened  int // records that were read
	Matches int // rule and event
	Routine int // of those, the ones that are Kubernetes' own work
	Repeats int // of those, the ones that the batch has already
}

// A Record is a record of a Plain batch, or a piece that cannot be read, and what
// came of it.
type Record struct {
	Offset   int    // in bytes of the message
	Text     []byte // shares the batch's memory
	Dataset  string // of its first event; "" for none of a known log
	Metric   bool   // a metric, which is no log
	Findings int    // of Result.Findings, how many are of this record or one before it
	Routine  int    // matches that are Kubernetes' own work
	Repeats  int    // matches that the batch has already
	Unread   string // why it, or a part of it, could not be read
}

// Unreadable is a piece of a message that could not be read.
type Unreadable struct {
	Message int // index in the batch
	Offset  int // of the piece, in bytes of the message
	Reason  string
	Text    jsontext.Text
}

// Detect evaluates a batch. With sample it also reads the first record of each
// message, for its source.
func (d *Detector) Detect(b Batch, sample bool) Result {
	if !sample && len(b.Hits()) == 0 {
		return Result{}
	}
	r := &reading{Detector: d, batch: b, raised: map[string]bool{}}
	r.Logs = map[string]int{}
	if sample {
		r.sample()
	}
	if _, r.all = b.(plain); r.all {
		r.message(0)
	} else {
		r.follow()
	}
	r.countPods()
	return r.Result
}
