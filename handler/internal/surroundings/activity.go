package surroundings

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/outbound"
)

const (
	grid       = 5 * time.Minute // windows begin and end on it, so that batches share them
	longest    = time.Hour       // a window is not merged beyond this
	maxPages   = 5
	maxListed  = 1000
	keepRecent = time.Minute // a listing that may still grow: the log arrives minutes late
	keepOld    = 10 * time.Minute
	settled    = 20 * time.Minute // age after which a listing is taken as complete

	retention  = 90 * 24 * time.Hour // of the Activity Log, which refuses questions beyond it
	noteTooOld = "recent operations not looked up: the Activity Log keeps 90 days"
)

// fields are the properties that an Operation is made of.
const fields = "eventTimestamp,operationName,resourceId,status,caller,correlationId,claims"

// A window is a stretch of one subscription's Activity Log.
type window struct {
	subscription string // lower case
	from, to     int64  // Unix seconds
}

// covers reports whether all that q looks back on lies in w.
func (w window) covers(q Question) bool {
	return strings.EqualFold(w.subscription, q.Subscription) &&
		w.from <= q.Time.Add(-LookBack).Unix() && w.to >= q.Time.Unix()
}

func (s *Surroundings) tooOld(q Question) bool {
	return !q.Time.IsZero() && q.Time.Add(-LookBack-grid).Before(s.now().Add(-retention))
}

// windows are the stretches that the questions need, as few as possible.
func (s *Surroundings) windows(questions []Question) []window {
	var all []window
	for _, q := range questions {
		// What a record calls a subscription must not reach into another part of
		// the address.
		subscription, ok := arm.ParseGUID(q.Subscription)
		if !ok || q.Time.IsZero() || s.tooOld(q) {
			continue
		}
		step := int64(grid / time.Second)
		from, to := q.Time.Add(-LookBack).Unix(), q.Time.Unix()+1
		all = append(all, window{subscription, from - from%step, to - to%step + step})
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

// A listing is what the Activity Log has of a window.
type listing struct {
	operations []Operation
	notes      []string
	expires    time.Time
}

// list reads w. An error in the middle keeps what came before it, which is the
// latest: the service lists backwards in time.
func (s *Surroundings) list(ctx context.Context, w window) listing {
	if l, ok := s.listings.Get(w); ok && s.now().Before(l.expires) {
		return l
	}
	l, err := s.read(ctx, w, fields)
	if outbound.Answered(err, http.StatusBadRequest) && len(l.operations) == 0 {
		l, err = s.read(ctx, w, "") // a server that does not take this selection
	}
	if err != nil {
		text := "recent operations not looked up: "
		if len(l.operations) > 0 {
			text = "only a part of the recent operations was read: "
		}
		l.notes = append(l.notes, text+err.Error()+outbound.Remedy(err, "Reader or Monitoring Reader on subscription "+w.subscription))
		return l
	}
	keep := keepRecent
	if s.now().Sub(time.Unix(w.to, 0)) > settled {
		keep = keepOld
	}
	l.expires = s.now().Add(keep)
	s.listings.Add(w, l)
	return l
}

func (s *Surroundings) read(ctx context.Context, w window, selection string) (l listing, err error) {
	stamp := func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	query := url.Values{
		"api-version": {"2015-04-01"},
		"$filter":     {"eventTimestamp ge '" + stamp(w.from) + "' and eventTimestamp le '" + stamp(w.to) + "'"},
	}
	if selection != "" {
		query.Set("$select", selection)
	}
	q := outbound.Question{
		URL:     s.lookup.URL("subscriptions/"+w.subscription+"/providers/Microsoft.Insights/eventtypes/management/values", query),
		Service: w.subscription, Area: "activity log of " + w.subscription,
	}
	for range maxPages {
		var page struct {
			Value []json.RawMessage `json:"value"`
			Next  string            `json:"nextLink"`
		}
		if err := s.lookup.Ask(ctx, q, &page); err != nil {
			return l, err
		}
		for _, raw := range page.Value {
			if o, ok := fromService(raw); ok && len(l.operations) < maxListed {
				l.operations = append(l.operations, o)
			}
		}
		if page.Next == "" {
			return l, nil
		}
		if len(l.operations) >= maxListed {
			break
		}
		q.URL, q.Link = page.Next, true
	}
	l.notes = append(l.notes, "the subscription's Activity Log of that time is longer than podwatch reads: older operations may be missing")
	return l, nil
}
