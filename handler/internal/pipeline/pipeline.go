// Package pipeline puts the steps in order: messages to records, records to
// events, events to matches, matches to alerts, alerts to sinks.
//
// When [Pipeline.Detect] returns, nothing of the batch lives in memory only:
// every alert was accepted by its sinks, or is in the [Batch] as undelivered;
// every piece that could not be read is in the Batch as unreadable. A record
// that breaks a step costs itself. Delivery is at least once; the ledger makes
// it once for the eye.
//
// The interfaces that the steps are reached through are declared here, where
// they are used.
package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/scan"
)

// Rules says which events matter. It is immutable and safe for concurrent use.
type Rules interface {
	Match(dst []rule.Match, ev *event.Event) []rule.Match
	Rule(id string) *rule.Rule
	// Literals returns text of which every record that can match holds some.
	Literals() (lits []rule.Literal, all bool)
}

// A Directory completes what the records say of callers, in place and for all
// of a batch at once. It keeps to its own time limit and never fails: what it
// could not find out becomes a note of the caller.
type Directory interface {
	Resolve(ctx context.Context, callers []*caller.Caller)
}

// Surroundings adds to alerts, in place, what else happened and how the cluster
// is tagged. batch holds the events that arrived together with them. Like a
// Directory it is bounded and never fails.
type Surroundings interface {
	Surround(ctx context.Context, alerts []*alert.Alert, batch []*event.Event)
}

// Exceptions are the reasons not to alert. Suppress returns the name of the
// exception that an alert meets, or "". fields returns the event's, at some cost.
type Exceptions interface {
	Suppress(a *alert.Alert, event func() kql.Document) string
}

// A Sink delivers alerts to one place. Deliver returns nil when all were
// accepted, else one entry per alert, nil for those that were. It returns only
// when each alert is accepted or given up, at the latest when ctx ends.
// Delivering the same alert twice must do no harm but to the reader's patience.
type Sink interface {
	Name() string
	Deliver(ctx context.Context, alerts []*alert.Alert) []error
}

// A Route is a sink and what goes to it.
type Route struct {
	Sink
	// ForPeople marks a sink that interrupts somebody: suppressed and routine
	// alerts and those of building-block rules do not go there, alerts that
	// belong together go as one, and storms are held back.
	ForPeople bool
}

// A Ledger remembers what a sink has accepted, for all instances. An error
// means that it cannot be known; the alert is then delivered.
type Ledger interface {
	Delivered(ctx context.Context, sink, alertID string) (bool, error)
	Mark(ctx context.Context, sink, alertID string) error
}

// Windows hold back a storm: the first alerts of a rule, caller and cluster are
// posted, those of the next minutes are held for one summary.
type Windows interface {
	// Admit reports whether alerts of one group are to be posted now. The first
	// call for a group opens its window; a repeat of that call, by any instance
	// and with the same first alert, is admitted again.
	Admit(ctx context.Context, alerts []*alert.Alert) (bool, error)
	// Hold keeps alerts of one group for the summary at the end of the window.
	// When it returns nil they are in storage.
	Hold(ctx context.Context, alerts []*alert.Alert) error
	// Summaries hands the alerts of each ended window to post and forgets them
	// when it returns nil.
	Summaries(ctx context.Context, post func(context.Context, []*alert.Alert) error) error
}

// A Feed keeps when each source was last heard of, for all instances.
type Feed interface {
	// Wants reports whether Seen would write now: finding the sources of a batch
	// is work.
	Wants() bool
	// Seen notes that messages arrived from sources.
	Seen(ctx context.Context, sources []string) error
	// Check hands deliver the alerts that the state of the feed calls for, each
	// until deliver returns nil.
	Check(ctx context.Context, deliver func(context.Context, *alert.Alert) error) error
}

// Poison keeps alerts that a sink refuses for good, for a person to put back. When
// Bury returns nil the alert is in storage.
type Poison interface {
	Bury(ctx context.Context, a *alert.Alert) error
}

// Options are the parts of a Pipeline; none may be nil.
type Options struct {
	Rules        Rules
	Directory    Directory
	Surroundings Surroundings
	Exceptions   Exceptions
	Routes       []Route
	Ledger       Ledger
	Windows      Windows
	Feed         Feed
	Poison       Poison
	Portal       alert.Portal

	RecordRoutine bool // write routine deletions as rows
	Unscanned     bool // parse also what cannot match: the same alerts, more slowly
	Now           func() time.Time
	Log           *slog.Logger
}

// A Pipeline is safe for concurrent use.
type Pipeline struct {
	Options
	scanner *scan.Scanner
	telling func() telling // made when there is the first alert
	flights flights
}

// New returns a pipeline of the given parts.
func New(o Options) *Pipeline {
	return &Pipeline{Options: o, scanner: newScanner(o), telling: sync.OnceValue(newTelling)}
}

// newScanner looks for what the rules need, or takes everything for a hit.
func newScanner(o Options) *scan.Scanner {
	lits, all := o.Rules.Literals()
	if o.Unscanned || all {
		return nil
	}
	wanted := make([]scan.Literal, len(lits))
	for i, l := range lits {
		wanted[i] = scan.Literal(l)
	}
	return scan.New(wanted)
}

// Counts say what became of a batch. They are one log line.
type Counts struct {
	Messages    int // in the batch
	Passed      int // of those, passed over because nothing in them can match
	Records     int // found in the others
	Events      int // records that were read; the rest cannot match
	Matches     int // rule and event
	Routine     int // matches that are Kubernetes' own work
	Repeats     int // matches of something that this batch or the ledger already has
	Alerts      int // raised
	Suppressed  int // of those, by an exception
	Held        int // of those, kept for the summary of a storm
	Delivered   int // deliveries, that is alert and sink
	Undelivered int // alerts that go to the queue
	Unreadable  int // pieces that go to the blob
}

// Add adds the counts of another batch.
func (c *Counts) Add(other Counts) {
	c.Messages += other.Messages
	c.Passed += other.Passed
	c.Records += other.Records
	c.Events += other.Events
	c.Matches += other.Matches
	c.Routine += other.Routine
	c.Repeats += other.Repeats
	c.Alerts += other.Alerts
	c.Suppressed += other.Suppressed
	c.Held += other.Held
	c.Delivered += other.Delivered
	c.Undelivered += other.Undelivered
	c.Unreadable += other.Unreadable
}

// LogValue groups the counts under their names in logs.
func (c Counts) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int("messages", c.Messages), slog.Int("passed", c.Passed), slog.Int("records", c.Records), slog.Int("events", c.Events),
		slog.Int("matches", c.Matches), slog.Int("routine", c.Routine), slog.Int("repeats", c.Repeats),
		slog.Int("alerts", c.Alerts), slog.Int("suppressed", c.Suppressed), slog.Int("held", c.Held),
		slog.Int("delivered", c.Delivered), slog.Int("undelivered", c.Undelivered), slog.Int("unreadable", c.Unreadable),
	)
}
