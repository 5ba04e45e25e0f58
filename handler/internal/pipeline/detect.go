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

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/invocation"
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

// fields are those of the event.
func (c *candidate) fields() map[string]any {
	if c.event != nil {
		return c.event.Fields
	}
	if ev, err := event.Parse(c.raw); err == nil {
		return ev.Fields
	}
	return nil // it was read once
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
	settled := p.ask(ctx, p.Routes, d.alerts())
	defer settled.close()
	d.dropSettled(settled)
	alerts := d.raise(ctx)
	d.batch.Undelivered = p.deliver(ctx, alerts, settled, &d.batch.Counts)
	err := d.guard("note sources", func() error { return d.Feed.Seen(ctx, slices.Collect(maps.Keys(d.sources))) })
	if err != nil {
		p.Log.Warn("the feed's state cannot be written; a later batch tries again", "err", err)
	}
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
	var body []byte
	err := d.guard("decode message", func() (err error) {
		body, err = d.in.Body(message)
		return err
	})
	if err == nil {
		err = d.guard("split message", func() error {
			d.splitMessage(body)
			return nil
		})
	}
	if err != nil {
		unreadable(0, err.Error(), body)
		return
	}
	for _, piece := range d.split.Unreadable {
		unreadable(piece.Offset, piece.Reason, piece.Body)
	}
	d.batch.Counts.Records += len(d.split.Records) + d.split.Passed
	for _, record := range d.split.Records {
		err := d.guard("evaluate record", func() error { return d.evaluate(message, record) })
		if err != nil {
			unreadable(0, err.Error(), record.JSON)
		}
	}
}

// splitMessage finds the records of a message that may match and, for the feed,
// the first one.
func (d *detection) splitMessage(body []byte) {
	first := d.curious
	d.split.Split(body, export.Limits{Want: func(raw []byte) bool {
		if first {
			first = false
			return true
		}
		return d.scanner.Hit(raw)
	}})
}

// evaluate reads one record of a message and notes the rules that it matches.
func (d *detection) evaluate(message int, record export.Record) error {
	ev, err := event.Parse(record.JSON)
	if err != nil {
		return err
	}
	if record.Repaired != "" {
		ev.Notes = append(ev.Notes, "the record was mended: "+record.Repaired)
	}
	d.batch.Counts.Events++
	matches := d.Rules.Match(ev)
	if d.note(ev) || len(matches) > 0 {
		ev.Raw = bytes.Clone(ev.Raw) // the message makes room for the next one
	}
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
		if d.raised[a.AlertId] {
			d.batch.Counts.Repeats++
			continue
		}
		d.raised[a.AlertId] = true
		c := &candidate{match: m, message: message, raw: ev.Raw, first: who, caller: who.Clone(), alert: a}
		if len(d.candidates) < maxHeld {
			c.event = ev
		}
		d.candidates = append(d.candidates, c)
	}
	return nil
}

// note keeps what later steps want to know of an event that need not match. It
// reports whether the event itself is kept.
func (d *detection) note(ev *event.Event) bool {
	if source := source(ev); source != "" {
		d.sources[source] = true
	}
	return d.keep(ev)
}

// keep keeps an event for the surroundings, if they have a use for it.
func (d *detection) keep(ev *event.Event) bool {
	if ev.Dataset != event.ActivityLogs && ev.Audit == nil || len(d.events) >= maxBatchEvents {
		return false
	}
	d.events = append(d.events, ev)
	return true
}

// source names what a record tells about the feed: which log, of which cluster
// or subscription. It is "" for a record of neither.
func source(ev *event.Event) string {
	switch {
	case ev.Dataset == "":
		return ""
	case ev.Resource.ClusterName != "" && ev.Dataset == "azure.platformlogs":
		return ev.Category + " of cluster " + ev.Resource.ClusterName
	case ev.Resource.SubscriptionID != "":
		return ev.Dataset + " of subscription " + ev.Resource.SubscriptionID
	}
	return ev.Dataset
}

// alerts are those of the candidates.
func (d *detection) alerts() []*alert.Alert {
	alerts := make([]*alert.Alert, len(d.candidates))
	for i, c := range d.candidates {
		alerts[i] = c.alert
	}
	return alerts
}

// dropSettled forgets the candidates that every sink already has, before anything
// is looked up for them.
func (d *detection) dropSettled(settled *settled) {
	found := len(d.candidates)
	d.candidates = slices.DeleteFunc(d.candidates, func(c *candidate) bool { return d.everywhere(settled, c.alert) })
	d.batch.Counts.Repeats += found - len(d.candidates)
}

// raise turns the candidates into complete alerts.
func (d *detection) raise(ctx context.Context) []*alert.Alert {
	if len(d.candidates) == 0 {
		return nil
	}
	enriched := d.enrichable()
	alerts := d.alerts()
	d.enrich("look up the caller", enriched, func() { d.nameCallers(ctx, enriched) })
	d.enrich("look for related records", enriched, func() { d.lookAround(enriched) })
	d.enrich("look up what else happened", enriched, func() { d.surround(ctx, alerts[:len(enriched)], d.events) })
	for _, c := range d.candidates {
		one := []*candidate{c}
		d.enrich("make the links", one, func() { c.alert.Links = d.Portal.Links(c.alert) })
		d.enrich("apply the exceptions", one, func() { d.suppress(c) })
	}
	d.batch.Counts.Alerts = len(alerts)
	return alerts
}

// enrich runs one step for the alerts of candidates. When it panics they are
// delivered without what it would have added, with a note.
func (d *detection) enrich(step string, candidates []*candidate, work func()) {
	err := d.guard(step, func() error {
		work()
		return nil
	})
	if err == nil {
		return
	}
	for _, c := range candidates {
		c.alert.Note("podwatch could not " + step + ": internal error, see its log")
	}
}

// nameCallers completes the callers of the candidates by the directory.
func (d *detection) nameCallers(ctx context.Context, candidates []*candidate) {
	callers := make([]*caller.Caller, len(candidates))
	for i, c := range candidates {
		callers[i] = &c.caller
	}
	d.Directory.Resolve(ctx, callers)
	for _, c := range candidates {
		c.alert.SetCaller(c.first, c.caller)
	}
}

// suppress marks the alert of a candidate that meets an exception.
func (d *detection) suppress(c *candidate) {
	if name := d.Exceptions.Suppress(c.alert, c.fields); name != "" {
		c.alert.Suppressed, c.alert.SuppressedBy = true, name
		d.batch.Counts.Suppressed++
	}
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
