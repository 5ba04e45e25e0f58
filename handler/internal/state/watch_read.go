package state

import "time"

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
