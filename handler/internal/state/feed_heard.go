package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxSources = 2000
	goneAfter  = 30 * 24 * time.Hour // a source whose resource was deleted
)

// heard is the document.
type heard struct {
	Whole   source             `json:"whole"`
	Others  source             `json:"others"` // sources that are not watched alone
	Sources map[string]source  `json:"sources"`
	Counts  map[string]counter `json:"counts"`
	Read    readings           `json:"read"`
}

// A source is when something was heard.
type source struct {
	Last  time.Time `json:"last"`
	Since time.Time `json:"since,omitzero"` // Whole: the end of its latest silence
	Told  time.Time `json:"told,omitzero"`  // Last, when its silence was told
	Heard minutes   `json:"heard"`
}

// A counter is a count as it was last told.
type counter struct {
	Told    int `json:"told"`
	Changes int `json:"changes"` // so that growing from 1 to 2 again is another notice
}

// minutes counts in how many minutes of the last day something was heard.
type minutes struct {
	Hour int64   `json:"hour"` // the latest, since 1970
	In   [24]int `json:"in"`   // by hour modulo 24
}

func (m *minutes) advance(now time.Time) {
	hour := now.Unix() / 3600
	for next := max(m.Hour+1, hour-23); next <= hour; next++ {
		m.In[next%24] = 0
	}
	m.Hour = max(m.Hour, hour)
}

// total has a copy of m, which it may change.
func (m minutes) total(now time.Time) (n int) {
	m.advance(now)
	for _, in := range m.In {
		n += in
	}
	return n
}

// hear counts a minute once, whichever instance was first.
func (s *source) hear(now time.Time) {
	if s.Last.Truncate(time.Minute).Before(now.Truncate(time.Minute)) || s.Heard.Hour == 0 {
		s.Heard.advance(now)
		s.Heard.In[now.Unix()/3600%24]++
	}
	if now.After(s.Last) {
		s.Last = now
	}
}

// often reports whether something was in most samples of the last day, and for half
// an hour at least.
func (h *heard) often(s source, now time.Time) bool {
	n := s.Heard.total(now)
	return n >= 30 && 2*n > h.Whole.Heard.total(now)
}

// hear adds one sample.
func (h *heard) hear(sample Sample, now time.Time, silence time.Duration) {
	h.Read.add(sample, now)
	if now.Sub(h.Whole.Last) > silence {
		h.Whole.Since = now
	}
	h.Whole.hear(now)
	maps.DeleteFunc(h.Sources, func(_ string, s source) bool { return now.Sub(s.Last) > goneAfter })
	others := false
	for _, name := range sample.Sources {
		s, known := h.Sources[name]
		if known || len(h.Sources) < maxSources {
			s.hear(now)
			h.Sources[name] = s
		}
		others = others || !h.often(s, now)
	}
	if others {
		h.Others.hear(now)
	}
}

func (h *heard) update(name string, change func(*source)) {
	switch name {
	case WholeFeed:
		change(&h.Whole)
	case OtherSources:
		change(&h.Others)
	default:
		if s, ok := h.Sources[name]; ok {
			change(&s)
			h.Sources[name] = s
		}
	}
}

func (h *heard) sourceNotices(now time.Time, silence time.Duration) []Notice {
	list := h.Whole.notices(nil, WholeFeed, now.Sub(h.Whole.Last) > silence)
	if now.Sub(h.Whole.Last) > silence {
		return list
	}
	silent := func(s source) bool {
		quiet := min(now.Sub(s.Last), now.Sub(h.Whole.Since))
		return quiet > silence && (h.often(s, now) || !s.Told.IsZero())
	}
	for _, name := range slices.Sorted(maps.Keys(h.Sources)) {
		list = h.Sources[name].notices(list, name, silent(h.Sources[name]))
	}
	return h.Others.notices(list, OtherSources, silent(h.Others))
}

// notices appends what is to be told of a source.
func (s source) notices(list []Notice, name string, silent bool) []Notice {
	switch {
	case silent && s.Told.IsZero():
		return append(list, Notice{Kind: Silent, ID: noticeID("silent", name, s.Last.UnixNano()), Source: name, Since: s.Last})
	case !silent && !s.Told.IsZero() && s.Last.After(s.Told):
		return append(list, Notice{Kind: Heard, ID: noticeID("heard", name, s.Told.UnixNano()), Source: name, Since: s.Told})
	}
	return list
}

func (h *heard) countNotices(counts map[string]int) []Notice {
	var list []Notice
	for name, n := range counts {
		if told := h.Counts[name]; n > told.Told {
			list = append(list, Notice{Kind: Grown, ID: noticeID("grown", name, told.Changes, told.Told, n), Source: name, Count: n, Before: told.Told})
		}
	}
	slices.SortFunc(list, func(a, b Notice) int { return cmp.Compare(a.Source, b.Source) })
	return list
}

// shrink notes the counts that are below what was told, and reports whether there are
// any. That is no news, and growing again is.
func (h *heard) shrink(counts map[string]int) (shrunk bool) {
	for name, n := range counts {
		if told := h.Counts[name]; n < told.Told {
			h.Counts[name] = counter{n, told.Changes + 1}
			shrunk = true
		}
	}
	return shrunk
}

// noticeID names a notice by what happened.
func noticeID(parts ...any) string {
	var text strings.Builder
	for _, part := range parts {
		text.WriteString(strconv.Quote(fmt.Sprint(part)))
	}
	return digest(text.String())
}

// What could not be read is told from so many in an hour on, which are also this
// share of what was looked at.
const (
	fewUnread   = 20
	unreadShare = 5 // per cent
)

// slotLength is the resolution at which the latest hour is counted.
const slotLength = 5 * time.Minute

// readings count what was looked at in the latest hour, and what of it could not be
// read: records may still arrive while podwatch sees nothing in them.
type readings struct {
	Slot  int64     `json:"slot"`           // the latest, since 1970
	In    [12]slot  `json:"in"`             // by slot modulo 12
	Since time.Time `json:"since,omitzero"` // when too many were first found unread; zero while there are few
	Told  time.Time `json:"told,omitzero"`  // Since, when it was told
}

type slot struct {
	Audits int `json:"audits"`
	Unread int `json:"unread"`
}

func (r *readings) add(s Sample, now time.Time) {
	current := now.Unix() / int64(slotLength.Seconds())
	for next := max(r.Slot+1, current-int64(len(r.In))+1); next <= current; next++ {
		r.In[next%int64(len(r.In))] = slot{}
	}
	r.Slot = max(r.Slot, current)
	in := &r.In[current%int64(len(r.In))]
	in.Audits += s.Audits
	in.Unread += s.Unread
	switch total := r.total(); {
	case total.Unread < fewUnread || 100*total.Unread < unreadShare*total.Audits:
		r.Since = time.Time{}
	case r.Since.IsZero():
		r.Since = now
	}
}

func (r *readings) total() (total slot) {
	for _, in := range r.In {
		total.Audits += in.Audits
		total.Unread += in.Unread
	}
	return total
}

// notices returns what is to be told, once until few are unread again.
func (r *readings) notices() []Notice {
	if r.Since.IsZero() || r.Since.Equal(r.Told) {
		return nil
	}
	total := r.total()
	return []Notice{{Kind: Blind, ID: noticeID("blind", r.Since.UnixNano()), Source: WholeFeed, Since: r.Since, Count: total.Unread, Of: total.Audits}}
}
