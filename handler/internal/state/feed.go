package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/version"
)

// FeedRuleID is the rule id of alerts about podwatch's own feed.
const FeedRuleID = "podwatch-feed"

// wholeFeed is the source that every message counts for.
const wholeFeed = "the event hub"

// seenEvery is how often an instance writes that it heard of a source.
const seenEvery = time.Minute

// seenWithin bounds the writes of one batch.
const seenWithin = 3 * time.Second

// forgetAfter is when a silent source is forgotten: its cluster is gone.
const forgetAfter = 30 * 24 * time.Hour

// A Gauge counts something that should not grow, such as poison messages.
type Gauge struct {
	Name  string // "messages in the poison queue"
	Where string // where to look
	Count func(context.Context) (int, error)
}

// A Feed remembers when each source was last heard of. It is safe for concurrent
// use, also by several instances.
//
//	feed/<source>     when it was last heard of
//	silent/<source>   that somebody was told of its silence
//	growth/<gauge>    the count that was last told
type Feed struct {
	store
	silence time.Duration
	gauges  []Gauge
	now     func() time.Time

	mu      sync.Mutex
	written map[string]time.Time // by this process
}

// NewFeed returns the feed's state kept in a container. A source counts as
// silent after the given time. It does no I/O.
func NewFeed(c *container.Client, silence time.Duration, gauges []Gauge, now func() time.Time) *Feed {
	return &Feed{store: store{c}, silence: silence, gauges: gauges, now: now, written: map[string]time.Time{}}
}

// heard is when a source was last heard of, by podwatch's clock.
type heard struct {
	Source string
	Last   time.Time
}

// Seen notes that messages arrived, from the sources named. It writes at most
// once a minute and source; a write that fails is made up for by the next. Alerts
// wait for this: it gives up at the first failure, and after a few seconds.
func (f *Feed) Seen(ctx context.Context, sources []string) error {
	ctx, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	now := f.now()
	for _, source := range append([]string{wholeFeed}, sources...) {
		if !f.due(source, now) {
			continue
		}
		if err := f.put(ctx, "feed/"+hash(source), heard{source, now}); err != nil {
			f.forget(source)
			return err
		}
	}
	return nil
}

// Wants reports whether Seen would write anything at all now: for callers to
// whom finding the sources of a batch is work.
func (f *Feed) Wants() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now().Sub(f.written[wholeFeed]) >= seenEvery
}

func (f *Feed) due(source string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.written[source]) < seenEvery {
		return false
	}
	f.written[source] = now
	return true
}

func (f *Feed) forget(source string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.written, source)
}

// Check hands deliver what the state of the feed calls for: sources that fell
// silent, sources that are back, counts that grew. Each is told until deliver
// returns nil, and then not again.
func (f *Feed) Check(ctx context.Context, deliver func(context.Context, *alert.Alert) error) error {
	failures := []error{f.checkSources(ctx, deliver)}
	for _, g := range f.gauges {
		failures = append(failures, f.checkGauge(ctx, g, deliver))
	}
	return errors.Join(failures...)
}

func (f *Feed) checkSources(ctx context.Context, deliver func(context.Context, *alert.Alert) error) error {
	// The first heartbeat starts the clock, so that a feed that never says
	// anything is noticed as well.
	if _, err := f.create(ctx, "feed/"+hash(wholeFeed), heard{wholeFeed, f.now()}); err != nil {
		return err
	}
	names, err := f.list(ctx, "feed/", maxListed)
	failures := []error{err}
	for _, name := range names {
		var h heard
		if _, err := f.read(ctx, name, &h); err != nil {
			failures = append(failures, err)
			continue
		}
		failures = append(failures, f.checkSource(ctx, name, h, deliver))
	}
	return errors.Join(failures...)
}

func (f *Feed) checkSource(ctx context.Context, name string, h heard, deliver func(context.Context, *alert.Alert) error) error {
	mark := "silent/" + hash(h.Source)
	var told heard
	_, err := f.read(ctx, mark, &told)
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	wasTold, quiet := err == nil, f.now().Sub(h.Last)
	switch {
	case quiet > forgetAfter:
		return errors.Join(f.remove(ctx, mark), f.remove(ctx, name))
	case quiet > f.silence && !wasTold:
		if err := deliver(ctx, f.silent(h)); err != nil {
			return err
		}
		return f.put(ctx, mark, h)
	case quiet <= f.silence && wasTold:
		if err := deliver(ctx, f.again(h, told)); err != nil {
			return err
		}
		return f.remove(ctx, mark)
	}
	return nil
}

func (f *Feed) silent(h heard) *alert.Alert {
	a := f.alert("medium", "No records from "+h.Source, "silent", h.Source, h.Last.UTC().Format(time.RFC3339Nano))
	a.EventTime = h.Last.UTC()
	a.Note(fmt.Sprintf("Nothing was received from %s since %s: deletions there would go unseen. Look at its diagnostic settings (a deleted setting is itself suspicious), at the Event Hub's metrics, and at the Detect function.", h.Source, h.Last.UTC().Format(time.RFC1123)))
	return a
}

func (f *Feed) again(h, told heard) *alert.Alert {
	a := f.alert("low", "Records again from "+h.Source, "again", h.Source, told.Last.UTC().Format(time.RFC3339Nano))
	a.Note(fmt.Sprintf("Records from %s arrive again. Nothing was received between %s and now; what was exported meanwhile may still come.", h.Source, told.Last.UTC().Format(time.RFC1123)))
	return a
}

// count is the last told count of a gauge.
type count struct {
	Count int
}

func (f *Feed) checkGauge(ctx context.Context, g Gauge, deliver func(context.Context, *alert.Alert) error) error {
	now, err := g.Count(ctx)
	if err != nil {
		return fmt.Errorf("count %s: %w", g.Name, err)
	}
	name := "growth/" + hash(g.Name)
	var told count
	if _, err := f.read(ctx, name, &told); err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	if now > told.Count {
		a := f.alert("medium", fmt.Sprintf("%d %s, %d more than before", now, g.Name, now-told.Count), "growth", g.Name, fmt.Sprint(told.Count), fmt.Sprint(now), f.now().UTC().Format(time.DateOnly))
		a.Note("Look in " + g.Where + ". README, Operate, says what to do with them.")
		if err := deliver(ctx, a); err != nil {
			return err
		}
	}
	if now == told.Count {
		return nil
	}
	return f.put(ctx, name, count{now})
}

// alert makes an alert about podwatch itself. parts name what happened, so the
// same thing is the same alert.
func (f *Feed) alert(severity, what string, parts ...string) *alert.Alert {
	risk := map[string]int{"low": 21, "medium": 47}[severity]
	return &alert.Alert{
		TimeGenerated: f.now().UTC(), EventTime: f.now().UTC(),
		AlertId: hash(FeedRuleID + "\x00" + fmt.Sprintf("%q", parts)),
		RuleId:  FeedRuleID, RuleName: what, Severity: severity, RiskScore: risk,
		Source: "podwatch", Operation: what, CallerKind: "unknown",
		PodwatchVersion: version.String(),
	}
}
