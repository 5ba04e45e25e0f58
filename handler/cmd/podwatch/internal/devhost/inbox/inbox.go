// Package inbox plays the two places that podwatch delivers to: a Microsoft
// Teams channel behind a Workflows webhook, and a Log Analytics table behind the
// Logs Ingestion API. It also serves a page that shows what arrived.
//
// Both answer as the real ones do, including their silences: a card that the
// flow cannot post is still answered 202, and an object instead of an array 204.
// What was lost in that way is kept as refused, with the reason, and shown. A
// test makes them fail with Options.Answer.
//
// An [Inbox] is an http.Handler and safe for concurrent use. Everything it
// receives is untrusted, and is handed to the page as data only.
package inbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options configure an Inbox; the zero value works, without the page's renderer.
type Options struct {
	// Modules is the node_modules folder that holds Microsoft's adaptivecards
	// package, which draws the cards on the page.
	Modules string

	// Feed is shown on the page as the way to feed it: a command line.
	Feed string

	// Keep is how many entries of each kind are kept: 0 for DefaultKeep, -1
	// for all.
	Keep int

	// Answer, when set, is asked before each delivery; nil means the ordinary
	// answer. It is called from many goroutines, and may block.
	Answer func(Request) *Answer
}

// DefaultKeep is how many entries of each kind are kept if Options does not set it.
const DefaultKeep = 2000

// A Sink names one of the two places.
type Sink string

// The two places.
const (
	Teams        Sink = "teams"
	LogAnalytics Sink = "logAnalytics"
)

// A Request is one delivery before it is answered.
type Request struct {
	Sink   Sink
	Header http.Header
	Body   []byte // decompressed
}

// An Answer replaces the ordinary answer to one delivery.
type Answer struct {
	Status     int           // 0: the ordinary answer, after Delay
	RetryAfter string        // the header, in seconds or as a date
	Delay      time.Duration // before anything else; ends with the request
	Cut        bool          // close the connection instead of answering
	Accept     bool          // take the delivery all the same: accepted, but the sender does not learn of it
}

// An Entry is one card or one row, or a delivery that came to nothing.
type Entry struct {
	ID       int             `json:"id"` // grows by one; never reused
	Sink     Sink            `json:"sink"`
	Received time.Time       `json:"received"`
	Status   int             `json:"status"`            // what the sender was told
	Refused  string          `json:"refused,omitempty"` // why there is no card or row; empty: there is
	Warnings []string        `json:"warnings,omitempty"`
	Size     int             `json:"size"`           // bytes of the card's message or of the row
	Data     json.RawMessage `json:"data,omitempty"` // the message, or the row; nothing when it was no JSON
}

// Counts are totals since the start or the last Clear, including entries that
// were dropped to keep memory bounded.
type Counts struct {
	Cards   int `json:"cards"`
	Rows    int `json:"rows"`
	Refused int `json:"refused"`
}

// An Inbox keeps what was delivered.
type Inbox struct {
	o   Options
	mux *http.ServeMux
	run string // distinguishes this inbox from the one before at the same address

	mu      sync.Mutex
	entries []Entry
	counts  Counts
	last    int
	changed chan struct{} // closed and replaced whenever something changes
	cleared int           // entries up to this id are gone
	held    Held
}

// Held are alerts that no card shows yet: a summary of them is posted at Due.
type Held struct {
	Alerts int       `json:"alerts"`
	Due    time.Time `json:"due,omitzero"`
}

// New returns an empty inbox.
func New(o Options) *Inbox {
	o.Keep = cmp.Or(o.Keep, DefaultKeep)
	b := &Inbox{o: o, run: rand.Text(), mux: http.NewServeMux(), changed: make(chan struct{})}
	for _, path := range []string{
		"/powerautomate/automations/direct/workflows/{id}/triggers/manual/paths/invoke",
		"/workflows/{id}/triggers/manual/paths/invoke",
	} {
		b.mux.HandleFunc("POST "+path, b.takeCard)
	}
	b.mux.HandleFunc("POST /dataCollectionRules/{rule}/streams/{stream}", b.takeRows)
	b.servePage()
	return b
}

// RuleID and Stream are the data collection rule and stream that the inbox
// knows; every other one is answered 404.
const (
	RuleID = "dcr-00000000000000000000000000000000"
	Stream = "Custom-PodwatchAlerts"
)

// WebhookURL is the secret URL of the Teams flow when the inbox is served at
// base ("http://127.0.0.1:7072").
func WebhookURL(base string) string {
	return base + "/powerautomate/automations/direct/workflows/podwatch/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=local"
}

// Settings are app settings that turn both sinks to the inbox that is served at base.
func Settings(base string) map[string]string {
	return map[string]string{
		"TEAMS_WEBHOOK_URL":      WebhookURL(base),
		"LOG_ANALYTICS_ENDPOINT": base,
		"LOG_ANALYTICS_RULE_ID":  RuleID,
		"LOG_ANALYTICS_STREAM":   Stream,
	}
}

func (b *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

// Cards returns the messages whose cards a reader of the channel sees, oldest
// first.
func (b *Inbox) Cards() []Entry { return b.list(Teams, false) }

// Rows returns the rows of the table, oldest first.
func (b *Inbox) Rows() []Entry { return b.list(LogAnalytics, false) }

// Refused returns what was delivered to either place and came to nothing.
func (b *Inbox) Refused() []Entry {
	return append(b.list(Teams, true), b.list(LogAnalytics, true)...)
}

func (b *Inbox) list(sink Sink, refused bool) []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []Entry
	for _, e := range b.entries {
		if e.Sink == sink && (e.Refused != "") == refused {
			found = append(found, e)
		}
	}
	return found
}

// Counts returns the totals.
func (b *Inbox) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts
}

// SetHeld sets what the page shows as held.
func (b *Inbox) SetHeld(h Held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != h {
		b.held = h
		b.announce()
	}
}

// Clear forgets all entries. Identifiers go on.
func (b *Inbox) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries, b.counts, b.cleared = nil, Counts{}, b.last
	b.announce()
}

// Next returns the entries after the one with that id, waiting until there is
// at least one, or ctx ends. It starts at 0.
func (b *Inbox) Next(ctx context.Context, after int) ([]Entry, error) {
	for {
		b.mu.Lock()
		found, changed := b.since(after), b.changed
		b.mu.Unlock()
		if len(found) > 0 {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// Last returns the id of the latest entry, also of one that is gone.
func (b *Inbox) Last() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// Since returns the entries after the one with that id.
func (b *Inbox) Since(after int) []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since(after)
}

// since is Since; the caller holds mu.
func (b *Inbox) since(after int) []Entry {
	i, _ := slices.BinarySearchFunc(b.entries, after+1, func(e Entry, id int) int { return e.ID - id })
	return slices.Clone(b.entries[i:])
}

// add keeps entries of one delivery, in order.
func (b *Inbox) add(entries ...Entry) {
	now := time.Now().UTC()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		b.last++
		e.ID, e.Received = b.last, now
		switch {
		case e.Refused != "":
			b.counts.Refused++
		case e.Sink == Teams:
			b.counts.Cards++
		default:
			b.counts.Rows++
		}
		b.entries = append(b.entries, e)
	}
	if keep := 2 * b.o.Keep; keep > 0 && len(b.entries) > keep {
		b.entries = slices.Clone(b.entries[len(b.entries)-keep:])
	}
	b.announce()
}

// announce wakes whoever waits; the caller holds mu.
func (b *Inbox) announce() {
	close(b.changed)
	b.changed = make(chan struct{})
}
