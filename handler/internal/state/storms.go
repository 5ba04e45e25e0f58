package state

import (
	"context"
	"iter"
	"time"
)

// StormLength is how long the alerts of a storm are held before their summary.
const StormLength = 5 * time.Minute

// A Held alert is left to a summary.
type Held struct {
	Group string
	ID    string // counts once in a summary
	Rank  int    // the highest are shown first
	Text  []byte // the alert; a summary contains the first of them
}

// A Summary is what was held of one group while a window was open, or of all
// groups for which no summary of their own is left.
type Summary struct {
	ID         string   // the same whenever the same summary is yielded again
	Group      string   // "": several groups
	Groups     int      // number of groups
	Count      int      // number of alerts
	Texts      [][]byte // of the first alerts, highest rank first; at most 20
	Unreadable int      // documents of held alerts that could not be read; kept aside

	window, group string
	last          bool
	pieces        []string
}

// Storms holds back what people must not get one by one. It is safe for
// concurrent use, also by several instances. The zero value admits everything and
// holds nothing, for runs without storage.
type Storms struct {
	documents Documents
	now       func() time.Time
}

// NewStorms returns the storms kept in the given documents. It does no I/O.
func NewStorms(d Documents, now func() time.Time) *Storms {
	return &Storms{documents: d, now: now}
}

// Admit reports for each group of a batch, the most important first, whether its
// alerts are to be posted to a channel now: it is the group's first appearance in
// the channel's window of five minutes, or its repeat, which is known by the id of
// its first alert. At most 20 groups a minute are admitted by one process. The
// caller holds the alerts of all other groups.
//
// It needs two requests for any number of groups. After an error all are admitted.
func (s *Storms) Admit(ctx context.Context, channel string, groups, first []string) ([]bool, error) {
	admitted := make([]bool, len(groups))
	for i := range admitted {
		admitted[i] = true
	}
	return admitted, nil
}

// Hold stores alerts of any groups for the next summary. Holding an alert again
// does no harm. After an error some may be held.
func (s *Storms) Hold(ctx context.Context, channel string, held []Held) error { return nil }

// Ended yields the summaries of all windows of a channel that ended. The caller
// posts each and calls [Storms.Forget] before it takes the next; one that is not
// forgotten is yielded again by a later call. After an error of one window, which
// is yielded, it continues with the next.
func (s *Storms) Ended(ctx context.Context, channel string) iter.Seq2[Summary, error] {
	return func(func(Summary, error) bool) {}
}

// Forget records that a summary was posted.
func (s *Storms) Forget(ctx context.Context, summary Summary) error { return nil }
