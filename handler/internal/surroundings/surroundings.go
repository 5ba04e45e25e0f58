// Package surroundings says what else happened around an event: what its caller
// and others did to the same cluster shortly before, and how the cluster is
// tagged.
//
// [Surroundings.Look] asks Azure Resource Manager once per subscription and
// time window for a whole batch, uses what arrived in the same batch without
// asking, and takes no longer than two seconds. It cannot fail: what is missing
// is said in Result.Notes, with the permission that would give it.
package surroundings

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	lru "github.com/hashicorp/golang-lru/v2"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/lookup"
)

// Bounds of one batch, and of what is kept between batches.
const (
	maxWindows   = 4 // stretches of the Activity Log
	maxTagged    = 8 // clusters whose tags are asked for
	maxCalls     = 6 // at the same time
	keepListings = 8
	keepTags     = 512
)

// Options tune Surroundings; the zero value is right for production.
type Options struct {
	Budget    time.Duration // for one batch; default 2 s
	Scope     string        // token scope; default is the endpoint's own "/.default"
	Transport policy.Transporter
	Now       func() time.Time
	Log       *slog.Logger
}

// Surroundings looks around events. It is safe for concurrent use.
type Surroundings struct {
	opts     Options
	client   *lookup.Client // nil: nothing is asked, the batch is all there is
	listings *lru.Cache[window, listing]
	tags     *lru.Cache[string, tagging]
}

// New makes Surroundings that ask Azure Resource Manager at endpoint, such as
// "https://management.azure.com". A loopback http endpoint is called without a
// token, and cred may then be nil.
func New(endpoint string, cred azcore.TokenCredential, o Options) (*Surroundings, error) {
	o.Budget = cmp.Or(o.Budget, 2*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	client, err := lookup.New(endpoint, cred, lookup.Options{
		Service: "Azure Resource Manager", Scope: o.Scope, Transport: o.Transport, Now: o.Now, Log: o.Log,
		ThrottledByArea: true, // limits count by subscription
	})
	if err != nil {
		return nil, err
	}
	listings, err := lru.New[window, listing](keepListings)
	if err != nil {
		return nil, err
	}
	tags, err := lru.New[string, tagging](keepTags)
	if err != nil {
		return nil, err
	}
	return &Surroundings{opts: o, client: client, listings: listings, tags: tags}, nil
}

// BatchOnly makes Surroundings that never make a call: timelines hold what
// arrived in the same batch.
func BatchOnly() *Surroundings { return &Surroundings{} }

// A Request asks for the surroundings of one event.
type Request struct {
	Subscription  string   // id; "" asks nobody
	Cluster       string   // ARM id; "" when the event is about none
	Callers       []string // every name and id that the caller is known by
	Time          time.Time
	CorrelationID string // of the event itself, to leave it out
	Operation     string
}

// A Result is what was found for the Request at the same index.
type Result struct {
	Timeline    []alert.TimelineEntry // at most ten, oldest first
	Explanation string                // one sentence when a recent deployment or scale operation may be the reason
	Tags        map[string]string     // of the cluster
	Notes       []string              // what is missing, and why
}

// Look finds the surroundings of each request. batch holds what arrived
// together with them.
func (s *Surroundings) Look(ctx context.Context, requests []Request, batch []Entry) []Result {
	answers := s.ask(ctx, requests)
	prepared := make([]Entry, len(batch))
	for i, e := range batch {
		prepared[i] = e.prepared()
	}
	results := make([]Result, len(requests))
	picked := map[string][]candidate{} // the alerts of a batch mostly share caller, cluster and window
	for i, r := range requests {
		res := &results[i]
		w, known := answers.window(r)
		if known {
			res.Notes = append(res.Notes, answers.listings[w].notes...)
		}
		key := fmt.Sprintf("%q %q %v", r.Callers, r.Cluster, w)
		candidates, ok := picked[key]
		if !ok {
			candidates = pick(r, slices.Concat(answers.listings[w].entries, prepared))
			picked[key] = candidates
		}
		found := relate(r, candidates)
		res.Timeline = timeline(found)
		res.Explanation = explain(r, found)

		t := answers.tags[strings.ToLower(r.Cluster)]
		res.Tags = maps.Clone(t.tags)
		if t.note != "" {
			res.Notes = append(res.Notes, t.note)
		}
	}
	return results
}

// Surround completes alerts in place: timeline, tags, and notes. Routine alerts
// are left alone. batch holds the events that arrived with them.
func (s *Surroundings) Surround(ctx context.Context, alerts []*alert.Alert, batch []*event.Event) {
	var entries []Entry
	for _, ev := range batch {
		if e, ok := FromEvent(ev); ok {
			entries = append(entries, e)
		}
	}
	var requests []Request
	var asked []*alert.Alert
	for _, a := range alerts {
		if a.Routine {
			continue
		}
		r := Request{
			Subscription: a.SubscriptionId, Cluster: a.ClusterId, Callers: []string{a.CallerName, a.CallerId},
			Time: a.EventTime, CorrelationID: a.CorrelationId, Operation: a.Operation,
		}
		switch a.CallerKind {
		case "servicePrincipal", "managedIdentity", "microsoftApplication":
			r.Callers = append(r.Callers, a.CallerAppId) // of a user it is the tool, shared by many
		}
		requests, asked = append(requests, r), append(asked, a)
	}
	for i, res := range s.Look(ctx, requests, entries) {
		a := asked[i]
		a.Timeline, a.ResourceTags = res.Timeline, res.Tags
		if res.Explanation != "" {
			a.Note(res.Explanation)
		}
		for _, n := range res.Notes {
			a.Note(n)
		}
	}
}

// answers is what a batch got to know from Azure.
type answers struct {
	mu       sync.Mutex
	windows  []window // in no order
	listings map[window]listing
	tags     map[string]tagging // by cluster id in lower case
}

// window is the one that covers r.
func (a *answers) window(r Request) (window, bool) {
	for _, w := range a.windows {
		if w.covers(r) {
			return w, true
		}
	}
	return window{}, false
}

// ask makes the calls of a batch, side by side and within the budget.
func (s *Surroundings) ask(ctx context.Context, requests []Request) *answers {
	a := &answers{listings: map[window]listing{}, tags: map[string]tagging{}}
	if s.client == nil {
		return a
	}
	ctx, cancel := lookup.WithBudget(ctx, s.opts.Budget)
	defer cancel()
	var g lookup.Group // its calls report into a
	g.SetLimit(maxCalls)

	a.windows = windows(requests)
	for i, w := range a.windows {
		if i >= maxWindows {
			a.mu.Lock()
			a.listings[w] = listing{notes: []string{"recent operations not looked up: the batch spans too many subscriptions or hours"}}
			a.mu.Unlock()
			continue
		}
		g.Go(func() {
			l := s.list(ctx, w)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.listings[w] = l
		})
	}
	clusters := map[string]bool{"": true}
	for _, r := range requests {
		key := strings.ToLower(r.Cluster)
		if clusters[key] {
			continue
		}
		clusters[key] = true
		if len(clusters)-1 > maxTagged {
			a.mu.Lock()
			a.tags[key] = tagging{note: "the cluster's tags were not looked up: too many clusters in one batch"}
			a.mu.Unlock()
			continue
		}
		g.Go(func() {
			t := s.tagsOf(ctx, r.Cluster)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.tags[key] = t
		})
	}
	g.Wait()
	return a
}
