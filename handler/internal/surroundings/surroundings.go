// Package surroundings finds what else happened around an event: what its caller
// and others did to the same cluster shortly before, and how the cluster is
// tagged.
//
// [Surroundings.Look] asks Azure Resource Manager once per subscription and time
// window for a whole batch, uses without asking what arrived in the same batch,
// and takes no longer than two seconds. It cannot fail: what is missing is in
// Answer.Notes, with the permission that would give it.
package surroundings

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
)

// LookBack is how far a timeline reaches before its event, as the built-in rules
// do.
const LookBack = 25 * time.Minute

// Bounds of one batch, and of what is kept between batches.
const (
	maxWindows   = 4 // of the Activity Log
	maxTagged    = 8 // clusters whose tags are asked for
	maxCalls     = 6 // at the same time
	keepListings = 8
	keepTags     = 512
)

// Surroundings looks around events. The zero value makes no request: timelines
// then contain what arrived in the same batch. It is safe for concurrent use.
type Surroundings struct {
	lookup   *outbound.Lookup
	now      func() time.Time
	listings *lru.Cache[window, listing]
	tags     *lru.Cache[string, tagging]
}

// New returns Surroundings that ask Azure Resource Manager through c.
func New(c *outbound.Client, now func() time.Time, log *slog.Logger) *Surroundings {
	listings, _ := lru.New[window, listing](keepListings) // both fail for a size below one only
	tags, _ := lru.New[string, tagging](keepTags)
	return &Surroundings{lookup: outbound.NewLookup(c, now, log), now: now, listings: listings, tags: tags}
}

// A Question asks for the surroundings of one event.
type Question struct {
	Subscription  string   // id; "": no request
	Cluster       string   // ARM id; "" when the event is about none
	Callers       []string // every name and id that the caller is known by
	Time          time.Time
	CorrelationID string // of the event itself, to leave it out
	Operation     string
}

// An Answer is what was found for the Question at the same index.
type Answer struct {
	Timeline    []alert.TimelineEntry // at most ten, oldest first
	Explanation string                // one sentence when a recent deployment or scale operation may be the reason
	Tags        map[string]string     // of the cluster
	Notes       []string              // what is missing, and why
}

// Look finds the surroundings of each question. batch holds what arrived
// together with them.
func (s *Surroundings) Look(ctx context.Context, questions []Question, batch []Operation) []Answer {
	found := s.ask(ctx, questions)
	answers := make([]Answer, len(questions))
	picked := map[string][]related{} // the alerts of a batch mostly share caller, cluster and window
	for i, q := range questions {
		w, log := found.listing(q)
		key := fmt.Sprintf("%q %q %v", q.Callers, q.Cluster, w)
		if _, ok := picked[key]; !ok {
			picked[key] = pick(q, log.operations, batch)
		}
		related := relate(q, picked[key])
		answers[i] = Answer{Timeline: timeline(related), Explanation: explain(q, related), Notes: slices.Clone(log.notes)}
		if s.lookup != nil && s.tooOld(q) {
			answers[i].Notes = append(answers[i].Notes, noteTooOld)
		}
		if t := found.tags[strings.ToLower(q.Cluster)]; t != nil {
			answers[i].Tags = maps.Clone(t.tags)
			answers[i].Notes = append(answers[i].Notes, t.notes...)
		}
	}
	return answers
}

// findings are what a batch got to know from Azure.
type findings struct {
	windows  []window
	listings []*listing          // of the windows
	tags     map[string]*tagging // by cluster id in lower case
}

// listing is that of the window which covers q; an empty one when none does.
func (f findings) listing(q Question) (window, *listing) {
	for i, w := range f.windows {
		if w.covers(q) {
			return w, f.listings[i]
		}
	}
	return window{}, new(listing)
}

// ask makes the calls of a batch, side by side and within the budget.
func (s *Surroundings) ask(ctx context.Context, questions []Question) (f findings) {
	if s.lookup == nil {
		return f
	}
	ctx, cancel := outbound.WithBudget(ctx)
	defer cancel()
	var g outbound.Group // each call fills what was put into f for it
	g.SetLimit(maxCalls)
	f.windows = s.windows(questions)
	for i, w := range f.windows {
		l := &listing{notes: []string{"recent operations not looked up: the batch spans too many subscriptions or hours"}}
		f.listings = append(f.listings, l)
		if i < maxWindows {
			g.Go(func() { *l = s.list(ctx, w) })
		}
	}
	f.tags = map[string]*tagging{}
	for _, q := range questions {
		key := strings.ToLower(q.Cluster)
		if key == "" || f.tags[key] != nil {
			continue
		}
		t := &tagging{notes: []string{"the cluster's tags were not looked up: too many clusters in one batch"}}
		f.tags[key] = t
		if len(f.tags) <= maxTagged {
			g.Go(func() { *t = s.tagsOf(ctx, q.Cluster) })
		}
	}
	g.Wait()
	return f
}
