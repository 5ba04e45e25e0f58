package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/rule"
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

// String is the piece as one JSON object.
func (u Unreadable) String() string {
	text, err := json.Marshal(u)
	if err != nil {
		return fmt.Sprintf("{%q:%q}", "Reason", u.Reason)
	}
	return string(text)
}

// A candidate is a match on its way to becoming an alert.
type candidate struct {
	match  rule.Match
	event  *event.Event
	first  caller.Caller // by the record alone
	caller caller.Caller // completed by the directory
	alert  *alert.Alert
}

// Detect evaluates a batch and delivers its alerts. It always returns; ctx
// bounds look-ups and deliveries, and what they did not manage is in the Batch.
func (p *Pipeline) Detect(ctx context.Context, in *invocation.Events) *Batch {
	d := &detection{Pipeline: p, batch: &Batch{}, raised: map[string]bool{}, sources: map[string]bool{}}
	for i := range in.Messages {
		d.read(in, &in.Messages[i])
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
	batch      *Batch
	events     []*event.Event // for the surroundings
	candidates []*candidate
	raised     map[string]bool // alert ids of this batch
	sources    map[string]bool
}

// maxBatchEvents bounds the events of a batch that are kept as surroundings.
const maxBatchEvents = 2000

// read takes a message apart and evaluates its records.
func (d *detection) read(in *invocation.Events, m *invocation.Message) {
	d.batch.Counts.Messages++
	unreadable := func(position int, reason string, body []byte) {
		u := Unreadable{
			Hub: in.Partition.Hub, Partition: in.Partition.ID, Sequence: m.Sequence,
			Enqueued: m.Enqueued, Position: position, Reason: reason,
		}
		if utf8.Valid(body) {
			u.Text = string(body)
		} else {
			u.Bytes = body
		}
		d.batch.Unreadable = append(d.batch.Unreadable, u)
	}
	result := export.Split(m.Body, export.Limits{})
	for _, piece := range result.Unreadable {
		unreadable(piece.Offset, piece.Reason, piece.Body)
	}
	for _, record := range result.Records {
		d.batch.Counts.Records++
		if err := d.evaluate(record); err != nil {
			unreadable(0, err.Error(), record.JSON)
		}
	}
}

// evaluate reads one record and notes the rules that it matches. A panic in
// here is a bug of ours that must not cost the rest of the batch.
func (d *detection) evaluate(record export.Record) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("evaluate record: podwatch broke on it: %v", r)
		}
	}()
	ev, err := event.Parse(record.JSON)
	if err != nil {
		return err
	}
	if record.Repaired != "" {
		ev.Notes = append(ev.Notes, "the record was mended: "+record.Repaired)
	}
	d.batch.Counts.Events++
	d.note(ev)
	for _, m := range d.Rules.Match(ev) {
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
		d.candidates = append(d.candidates, &candidate{match: m, event: ev, first: who, caller: who.Clone(), alert: a})
	}
	return nil
}

// note keeps what later steps want to know of an event that need not match.
func (d *detection) note(ev *event.Event) {
	if (ev.Dataset == event.ActivityLogs || ev.Audit != nil) && len(d.events) < maxBatchEvents {
		d.events = append(d.events, ev)
	}
	if source := source(ev); source != "" {
		d.sources[source] = true
	}
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

// dropDelivered forgets the candidates that every sink already has, before
// anything is looked up for them.
func (d *detection) dropDelivered(ctx context.Context) {
	due := d.candidates[:0]
	for _, c := range d.candidates {
		if d.everywhere(ctx, c.alert) {
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
	d.Surroundings.Surround(ctx, alerts[:len(enriched)], d.events)
	for i, c := range d.candidates {
		a := alerts[i]
		a.Links = d.Portal.Links(a)
		if name := d.Exceptions.Suppress(a, c.event.Fields); name != "" {
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
