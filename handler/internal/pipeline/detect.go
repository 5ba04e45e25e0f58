package pipeline

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/scan"
)

// A Batch is what has to leave the process with the reply.
type Batch struct {
	Counts      Counts
	Undelivered []*alert.Alert
	Unreadable  []Unreadable
}

// Unreadable is a piece of a message that could not be read, with all that is
// needed to find it again in the hub.
type Unreadable struct {
	Hub       string    `json:"EventHub,omitempty"`
	Partition string    `json:"Partition,omitempty"`
	Sequence  int64     `json:"SequenceNumber"` // -1: not known
	Enqueued  time.Time `json:"EnqueuedTime,omitzero"`
	Position  int       `json:"Position"` // byte in the message
	Reason    string    `json:"Reason"`
	Text      string    `json:"Text,omitempty"`
	Bytes     []byte    `json:"Base64,omitempty"` // instead of Text where it is not UTF-8
}

// Size is at least how many bytes WriteTo writes, and little more.
func (u Unreadable) Size() int {
	return 512 + len(u.Reason) + len(u.Text) + len(u.Text)/4 + base64.StdEncoding.EncodedLen(len(u.Bytes))
}

// WriteTo writes the piece as one JSON object, without a copy of Bytes: they may be
// all that an invocation may be.
func (u Unreadable) WriteTo(w *strings.Builder) {
	data := u.Bytes
	u.Bytes = nil
	text, err := json.Marshal(u)
	if err != nil {
		text = fmt.Appendf(nil, "{%q:%q}", "Reason", u.Reason)
	}
	if data == nil {
		w.Write(text)
		return
	}
	w.Write(text[:len(text)-1])
	w.WriteString(`,"Base64":"`)
	encoder := base64.NewEncoder(base64.StdEncoding, w)
	_, _ = encoder.Write(data) // a Builder never fails
	_ = encoder.Close()
	w.WriteString(`"}`)
}

// A candidate is a match on its way to becoming an alert.
type candidate struct {
	match   rule.Match
	message int           // of Events.Messages
	raw     []byte        // the record
	event   *event.Event  // what raw says; nil where there are many candidates
	first   caller.Caller // by the record alone
	caller  caller.Caller // completed by the directory
	alert   *alert.Alert
}

// maxHeld is of how many candidates the events are kept. Those of the others are
// read again where they are needed: thousands of them take more memory than the
// batch.
const maxHeld = 1000

// document is the event, for a query.
func (c *candidate) document() kql.Document {
	if c.event != nil {
		return c.event
	}
	if ev, err := event.Read(c.raw, 0); err == nil {
		return ev
	}
	return kql.Map{} // it was read once
}

// Begin starts a search for what the rules need in an invocation that is still
// arriving. Without a hit no record in it can match, and unless it is [Curious]
// Detect has no work with it.
func (p *Pipeline) Begin() scan.Search { return p.scanner.Begin() }

// Curious reports whether Detect wants to see a batch for its sources, though
// nothing in it may match.
func (p *Pipeline) Curious() bool { return p.Feed.Wants() }

// Wants reports whether Detect needs a message: a record in it may match, or it
// does not look like an object, and somebody ought to know. text may be the
// message as it stands in the invocation.
func (p *Pipeline) Wants(text []byte) bool {
	text = bytes.Trim(text, " \t\r\n")
	object := len(text) > 1 && text[0] == '{' && text[len(text)-1] == '}'
	return len(text) > 0 && !object || p.scanner.Hit(text)
}

// An Input is a batch to evaluate.
type Input struct {
	*invocation.Events

	// Body returns the message at index i of Messages. It is valid until the next
	// message is asked for. With an error it returns what could not be decoded.
	Body func(i int) ([]byte, error)

	// Others, if not nil, hands over messages of the batch that were passed over,
	// and forgets them again: the nearest to those at near, which are indexes of
	// Messages. How many is its decision. Text that want refuses, which may be a
	// message as it stands in the invocation, need not be decoded. What see is given
	// is valid while it runs.
	Others func(near []int, want func(text []byte) bool, see func(message []byte))
}

// Detect evaluates a batch of decoded messages; see [Pipeline.DetectAmong].
func (p *Pipeline) Detect(ctx context.Context, in *invocation.Events) *Batch {
	return p.DetectAmong(ctx, Input{Events: in, Body: func(i int) ([]byte, error) { return in.Messages[i].Body, nil }})
}

// DetectAmong evaluates a batch and delivers its alerts. It always returns; ctx
// bounds look-ups and deliveries, and what they did not manage is in the Batch.
// Messages that were passed over are asked for when there are alerts, which want to
// know what happened besides.
func (p *Pipeline) DetectAmong(ctx context.Context, in Input) *Batch {
	d := &detection{Pipeline: p, in: in, batch: &Batch{}, raised: map[string]bool{}, sources: map[string]bool{}, curious: p.Curious()}
	d.batch.Counts.Messages, d.batch.Counts.Passed = in.Passed, in.Passed
	for i := range in.Messages {
		d.read(i)
	}
	if err := d.Feed.Seen(ctx, slices.Collect(maps.Keys(d.sources))); err != nil {
		p.Log.Warn("the feed's state cannot be written; the next batch tries again", "err", err)
	}
	d.dropDelivered(ctx)
	alerts := d.raise(ctx)
	d.batch.Undelivered = p.deliver(ctx, alerts, &d.batch.Counts)
	d.batch.Counts.Undelivered = len(d.batch.Undelivered)
	d.batch.Counts.Unreadable = len(d.batch.Unreadable)
	return d.batch
}

// A detection is the work on one batch.
type detection struct {
	*Pipeline
	in         Input
	batch      *Batch
	events     []*event.Event // for the surroundings
	candidates []*candidate
	raised     map[string]bool // alert ids of this batch
	sources    map[string]bool
	reader     event.Reader
	curious    bool // the source of each message is wanted
	split      export.Result
}

// maxBatchEvents bounds the events of a batch that are kept as surroundings.
const maxBatchEvents = 2000

// read takes a message apart and evaluates its records.
func (d *detection) read(message int) {
	d.batch.Counts.Messages++
	m := &d.in.Messages[message]
	unreadable := func(position int, reason string, body []byte) {
		u := Unreadable{
			Hub: d.in.Partition.Hub, Partition: d.in.Partition.ID, Sequence: m.Sequence,
			Enqueued: m.Enqueued, Position: position, Reason: reason,
		}
		if utf8.Valid(body) {
			u.Text = string(body)
		} else {
			u.Bytes = bytes.Clone(body)
		}
		d.batch.Unreadable = append(d.batch.Unreadable, u)
	}
	body, err := d.in.Body(message)
	if err != nil {
		unreadable(0, err.Error(), body)
		return
	}
	first := d.curious
	d.split.Split(body, export.Limits{Want: func(raw []byte) bool {
		if first {
			first = false
			return true
		}
		return d.scanner.Hit(raw)
	}})
	for _, piece := range d.split.Unreadable {
		unreadable(piece.Offset, piece.Reason, piece.Body)
	}
	d.batch.Counts.Records += len(d.split.Records) + d.split.Passed
	for _, record := range d.split.Records {
		if err := d.evaluate(message, record); err != nil {
			unreadable(0, err.Error(), record.JSON)
		}
	}
}

// evaluate reads one record of a message and notes the rules that it matches. A
// panic in here is a bug of ours that must not cost the rest of the batch.
func (d *detection) evaluate(message int, record export.Record) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("evaluate record: podwatch broke on it: %v", r)
		}
	}()
	for ev, err := range d.reader.Events(record.JSON) {
		if err != nil {
			return err
		}
		d.batch.Counts.Events++
		if source := source(ev); source != "" {
			d.sources[source] = true
		}
		matches := d.Rules.Match(nil, ev)
		if len(matches) == 0 && !d.keeps(ev) {
			continue
		}
		own, err := event.Read(record.JSON, 0) // the message makes room for the next one
		if err != nil {
			return err
		}
		d.keep(own)
		d.noteMatches(message, record, own, matches)
	}
	return nil
}

// noteMatches makes candidates of what an event matched.
func (d *detection) noteMatches(message int, record export.Record, ev *event.Event, matches []rule.Match) {
	for _, m := range matches {
		d.batch.Counts.Matches++
		if m.Routine {
			d.batch.Counts.Routine++
			if !d.RecordRoutine {
				continue
			}
		}
		who := caller.From(ev)
		a := alert.New(m, ev, who, d.Now())
		if record.Repaired != "" {
			a.Note("the record was mended: " + record.Repaired)
		}
		if d.raised[a.AlertId] {
			d.batch.Counts.Repeats++
			continue
		}
		d.raised[a.AlertId] = true
		c := &candidate{match: m, message: message, raw: ev.Raw(), first: who, caller: who.Clone(), alert: a}
		if len(d.candidates) < maxHeld {
			c.event = ev
		}
		d.candidates = append(d.candidates, c)
	}
}

// keeps reports whether the surroundings have a use for an event.
func (d *detection) keeps(ev *event.Event) bool {
	return len(d.events) < maxBatchEvents && (ev.Dataset() == event.ActivityLogs || ev.Audit() != nil)
}

// keep keeps an event for the surroundings, if they have a use for it.
func (d *detection) keep(ev *event.Event) {
	if d.keeps(ev) {
		d.events = append(d.events, ev)
	}
}

// source names what a record tells about the feed: which log, of which cluster
// or subscription. It is "" for a record of neither.
func source(ev *event.Event) string {
	resource := ev.Resource()
	switch {
	case ev.Dataset() == "":
		return ""
	case resource.ClusterName != "" && ev.Dataset() == event.PlatformLogs:
		return ev.Category() + " of cluster " + resource.ClusterName
	case resource.SubscriptionID != "":
		return ev.Dataset() + " of subscription " + resource.SubscriptionID
	}
	return ev.Dataset()
}

// asksAtOnce bounds the questions to the ledger about one batch.
const asksAtOnce = 16

// dropDelivered forgets the candidates that every sink already has, before
// anything is looked up for them.
func (d *detection) dropDelivered(ctx context.Context) {
	delivered := make([]bool, len(d.candidates))
	var asking errgroup.Group
	asking.SetLimit(asksAtOnce)
	for i, c := range d.candidates {
		asking.Go(func() error {
			delivered[i] = d.everywhere(ctx, c.alert)
			return nil
		})
	}
	_ = asking.Wait()
	due := d.candidates[:0]
	for i, c := range d.candidates {
		if delivered[i] {
			d.batch.Counts.Repeats++
			continue
		}
		due = append(due, c)
	}
	d.candidates = due
}

// raise turns the candidates into complete alerts.
func (d *detection) raise(ctx context.Context) []*alert.Alert {
	if len(d.candidates) == 0 {
		return nil
	}
	var callers []*caller.Caller
	enriched := d.enrichable()
	for _, c := range enriched {
		callers = append(callers, &c.caller)
	}
	d.Directory.Resolve(ctx, callers)
	alerts := make([]*alert.Alert, 0, len(d.candidates))
	for _, c := range enriched {
		c.alert.SetCaller(c.first, c.caller)
	}
	for _, c := range d.candidates {
		alerts = append(alerts, c.alert)
	}
	d.lookAround(enriched)
	d.Surroundings.Surround(ctx, alerts[:len(enriched)], d.events)
	for i, c := range d.candidates {
		a := alerts[i]
		a.Links = d.Portal.Links(a)
		if name := d.Exceptions.Suppress(a, c.document); name != "" {
			a.Suppressed, a.SuppressedBy = true, name
			d.batch.Counts.Suppressed++
		}
	}
	d.batch.Counts.Alerts = len(alerts)
	return alerts
}

// enrichable moves the candidates that are within max_signals of their rule to
// the front and returns them. The others still become alerts, without look-ups.
func (d *detection) enrichable() []*candidate {
	taken := map[string]int{}
	var within, beyond []*candidate
	for _, c := range d.candidates {
		id := c.match.Rule.ID
		if taken[id]++; taken[id] <= c.match.Rule.MaxSignals || c.match.Rule.MaxSignals == 0 {
			within = append(within, c)
		} else {
			c.alert.Note(fmt.Sprintf("nothing was looked up for this alert: the rule raised more than %d at once (max_signals)", c.match.Rule.MaxSignals))
			beyond = append(beyond, c)
		}
	}
	d.candidates = append(within, beyond...)
	return d.candidates[:len(within)]
}
