package surroundings

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/lookup"
)

const (
	grid       = 5 * time.Minute // windows begin and end on it, so that batches share them
	longest    = time.Hour       // a window is not merged beyond this
	maxPages   = 5
	maxListed  = 1000
	keepRecent = time.Minute // a listing that may still grow: the log arrives minutes late
	keepOld    = 10 * time.Minute
	settled    = 20 * time.Minute // age after which a listing is taken as complete
)

// fields are the properties that an Entry is made of.
const fields = "eventTimestamp,operationName,resourceId,status,caller,correlationId,claims"

// A window is a stretch of one subscription's Activity Log.
type window struct {
	subscription string // lower case
	from, to     int64  // Unix seconds
}

// covers reports whether the whole of r's lookback lies in w.
func (w window) covers(r Request) bool {
	return w.subscription == strings.ToLower(r.Subscription) &&
		w.from <= r.Time.Add(-lookback).Unix() && w.to >= r.Time.Unix()
}

// windows are the stretches that the requests need, as few as possible.
func windows(requests []Request) []window {
	var all []window
	for _, r := range requests {
		if !subscriptionID.MatchString(r.Subscription) || r.Time.IsZero() {
			continue
		}
		step := int64(grid / time.Second)
		from, to := r.Time.Add(-lookback).Unix(), r.Time.Unix()+1
		all = append(all, window{strings.ToLower(r.Subscription), from - from%step, to - to%step + step})
	}
	slices.SortFunc(all, func(a, b window) int {
		return cmp.Or(strings.Compare(a.subscription, b.subscription), cmp.Compare(a.from, b.from))
	})
	var out []window
	for _, w := range all {
		if n := len(out) - 1; n >= 0 && out[n].subscription == w.subscription && w.from <= out[n].to &&
			w.to-out[n].from <= int64(longest/time.Second) {
			out[n].to = max(out[n].to, w.to)
			continue
		}
		out = append(out, w)
	}
	return out
}

// subscriptionID keeps what a record calls a subscription from reaching into
// another part of the address.
var subscriptionID = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// A listing is what the Activity Log said of a window.
type listing struct {
	entries []Entry
	notes   []string
	expires time.Time
}

// list reads w. An error in the middle keeps what came before it, which is the
// latest: the service lists backwards in time.
func (s *Surroundings) list(ctx context.Context, w window) listing {
	if l, ok := s.listings.Get(w); ok && s.opts.Now().Before(l.expires) {
		return l
	}
	l, err := s.read(ctx, w, fields)
	if lookup.Is(err, lookup.Rejected) {
		l, err = s.read(ctx, w, "") // a server that does not take this selection
	}
	if err != nil {
		text := "recent operations not looked up: "
		if len(l.entries) > 0 {
			text = "only a part of the recent operations was read: "
		}
		l.notes = append(l.notes, text+err.Error()+remedy(err, "Reader or Monitoring Reader on subscription "+w.subscription))
		return l
	}
	keep := keepRecent
	if s.opts.Now().Sub(time.Unix(w.to, 0)) > settled {
		keep = keepOld
	}
	l.expires = s.opts.Now().Add(keep)
	s.listings.Add(w, l)
	return l
}

func (s *Surroundings) read(ctx context.Context, w window, selection string) (l listing, err error) {
	stamp := func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	r := lookup.Request{
		Method: http.MethodGet,
		Path:   "subscriptions/" + w.subscription + "/providers/Microsoft.Insights/eventtypes/management/values",
		Area:   "activity log of " + w.subscription,
		Query: url.Values{
			"api-version": {"2015-04-01"},
			"$filter":     {"eventTimestamp ge '" + stamp(w.from) + "' and eventTimestamp le '" + stamp(w.to) + "'"},
		},
	}
	if selection != "" {
		r.Query.Set("$select", selection)
		r.Area += ", selected" // a refused selection must not hold up the plain call
	}
	for range maxPages {
		var page struct {
			Value []json.RawMessage `json:"value"`
			Next  string            `json:"nextLink"`
		}
		if err := s.client.Do(ctx, r, &page); err != nil {
			return l, err
		}
		for _, raw := range page.Value {
			if e, ok := fromService(raw); ok && len(l.entries) < maxListed {
				l.entries = append(l.entries, e)
			}
		}
		if page.Next == "" {
			return l, nil
		}
		if len(l.entries) >= maxListed {
			break
		}
		r = lookup.Request{Method: http.MethodGet, Link: page.Next, Area: r.Area}
	}
	l.notes = append(l.notes, "the subscription's Activity Log of that time is longer than podwatch reads: older operations may be missing")
	return l, nil
}

// remedy names the role when a permission is what is missing.
func remedy(err error, role string) string {
	if lookup.Is(err, lookup.Refused) {
		return "; podwatch's identity needs " + role
	}
	return ""
}
