package state

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// StormLength is how long a window is open: what is held in it waits for as long.
const StormLength = 5 * time.Minute / hurry

// maxOpened is how many groups of a channel one process admits in a minute.
const maxOpened = 20

// Storms holds back what people must not get one by one. It is safe for
// concurrent use, also by several instances. The zero value admits everything and
// holds nothing, for runs without storage.
//
//	storms/CHANNEL/window             the open window: its id, its end, the groups admitted in it
//	storms/CHANNEL/held/WINDOW/PIECE  alerts held in a window: ids, and the texts of the first
//	storms/CHANNEL/held/WINDOW/told   the summaries of a window that were posted
//	unreadable/...                    documents of these that could not be read
//
// All groups of a channel share its window, so the number of documents and of
// requests does not grow with the number of groups.
type Storms struct {
	documents Documents
	now       func() time.Time

	mu     sync.Mutex
	opened map[string][]time.Time // when groups were admitted in the last minute, by channel
	window map[string]string      // the latest window that Admit met, by channel
}

// NewStorms returns the storms kept in the given documents. It does no I/O.
func NewStorms(d Documents, now func() time.Time) *Storms {
	return &Storms{documents: d, now: now, opened: map[string][]time.Time{}, window: map[string]string{}}
}

// A stormWindow is one stretch of time in which each group of a channel is admitted once.
type stormWindow struct {
	ID     string            `json:"id"` // ascending in time
	Until  time.Time         `json:"until"`
	Groups map[string]string `json:"groups"` // digest of a group to the id of its first alert
}

func newWindow(now time.Time) stormWindow {
	return stormWindow{ID: now.UTC().Format("20060102T150405.") + rand.Text()[:8], Until: now.Add(StormLength), Groups: map[string]string{}}
}

// open reports whether the window holds alerts back at a time. An end that is far
// ahead was written by a wrong clock.
func (w stormWindow) open(now time.Time) bool {
	left := w.Until.Sub(now)
	return 0 < left && left <= 2*StormLength
}

// Admit reports for each group of a batch, the most important first, whether its
// alerts are to be posted to a channel now: it is the group's first appearance in
// the channel's window of five minutes, or its repeat, which is known by the id of
// its first alert. At most 20 groups a minute are admitted by one process. The
// caller holds the alerts of all other groups.
//
// It needs two requests for any number of groups. After an error as many are
// admitted as a minute has room for.
func (s *Storms) Admit(ctx context.Context, channel string, groups, first []string) ([]bool, error) {
	if s.documents == nil || len(groups) == 0 {
		return slices.Repeat([]bool{true}, len(groups)), nil
	}
	room := s.reserve(channel, len(groups))
	var err error
	for range maxAttempts {
		var admitted []bool
		var opened int
		if admitted, opened, err = s.admit(ctx, channel, groups, first, room); err == nil {
			s.refund(channel, room-opened)
			return admitted, nil
		}
		if failure(err) {
			break
		}
	}
	admitted := make([]bool, len(groups))
	for i := range room {
		admitted[i] = true
	}
	return admitted, fmt.Errorf("admit alerts of %s: %w", channel, err)
}

// admit writes the groups that are new into the window. It fails with ErrExists or
// ErrChanged when another instance was faster.
func (s *Storms) admit(ctx context.Context, channel string, groups, first []string, room int) (admitted []bool, opened int, err error) {
	var document Document
	var w stormWindow
	err = askOnce(ctx, func(ctx context.Context) (err error) {
		document, w, err = s.fetchWindow(ctx, channel)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	now := s.now()
	isNew := !w.open(now)
	if isNew {
		w = newWindow(now)
	}
	admitted = make([]bool, len(groups))
	for i, group := range groups {
		key := digest(group)
		if known, ok := w.Groups[key]; ok {
			admitted[i] = known == first[i]
		} else if opened < room {
			admitted[i] = true
			w.Groups[key] = first[i]
			opened++
		}
	}
	if opened > 0 || isNew {
		if err := askOnce(ctx, func(ctx context.Context) error { return putJSON(ctx, s.documents, document, w) }); err != nil {
			return nil, 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window[channel] = w.ID
	return admitted, opened, nil
}

// reserve takes room for up to n new groups from what is left of this minute.
func (s *Storms) reserve(channel string, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	recent := slices.DeleteFunc(s.opened[channel], func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	n = min(n, maxOpened-len(recent))
	s.opened[channel] = append(recent, slices.Repeat([]time.Time{now}, n)...)
	return n
}

// refund gives back what was reserved and not used.
func (s *Storms) refund(channel string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[channel] = s.opened[channel][:max(0, len(s.opened[channel])-n)]
}

func folder(channel string) string { return "storms/" + safeName(channel) + "/" }

// fetchWindow returns the window that was last written, and the zero window when
// there is none. One that cannot be read has ended, and is kept aside.
func (s *Storms) fetchWindow(ctx context.Context, channel string) (Document, stormWindow, error) {
	d, w, err := fetchJSON(ctx, s.documents, folder(channel)+"window", stormWindow{})
	if err == nil && d.Version != "" && w.Groups == nil {
		return d, stormWindow{}, keepAside(ctx, s.documents, d)
	}
	return d, w, err
}

// A Held alert is left to a summary.
type Held struct {
	Group string
	ID    string // counts once in a summary
	Rank  int    // the highest are shown first
	Text  []byte // the alert; a summary contains the first of them
}

const (
	maxPiece      = 1 << 20 // bytes of a document of held alerts
	maxTexts      = 20      // texts of one group
	maxTextsATime = 100     // texts of one call of Hold
)

// A piece is one document of held alerts.
type piece struct {
	Groups []heldGroup `json:"groups"`
}

type heldGroup struct {
	Group string     `json:"group"`
	Rank  int        `json:"rank"` // the highest
	IDs   []string   `json:"ids"`
	Texts []heldText `json:"texts,omitempty"`
}

type heldText struct {
	ID   string `json:"id"`
	Rank int    `json:"rank"`
	Text []byte `json:"text"`
}

// Hold stores alerts of any groups, the most important first, for the next
// summary. Of each group the first 20 texts are kept, of one call 100. Holding
// alerts again does no harm. After an error some may be held.
func (s *Storms) Hold(ctx context.Context, channel string, held []Held) error {
	if s.documents == nil {
		return fmt.Errorf("hold alerts: %w", errNoStorage)
	}
	s.mu.Lock()
	into := cmp.Or(s.window[channel], "none") // has ended, as every window that is not open
	s.mu.Unlock()
	for _, p := range pieces(held) {
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		name := heldFolder(channel, into) + digest(string(text))
		err = askOnce(ctx, func(ctx context.Context) error {
			_, err := s.documents.Create(ctx, name, text)
			return err
		})
		if err != nil && !errors.Is(err, ErrExists) {
			return fmt.Errorf("hold alerts of %s: %w", channel, err)
		}
	}
	return nil
}

func heldFolder(channel, window string) string { return folder(channel) + "held/" + window + "/" }

// pieces divides held alerts into documents of bounded size.
func pieces(held []Held) []piece {
	var list []piece
	texts, size := 0, maxPiece
	textsOf := map[string]int{}
	at := map[string]int{} // the groups of the latest piece
	for _, h := range held {
		withText := textsOf[h.Group] < maxTexts && texts < maxTextsATime
		grows := len(h.Group) + 2*len(h.ID) + 100 // more than the JSON around them
		if withText {
			grows += base64.StdEncoding.EncodedLen(len(h.Text))
		}
		if size+grows > maxPiece {
			list = append(list, piece{})
			clear(at)
			size = 0
		}
		size += grows
		p := &list[len(list)-1]
		i, ok := at[h.Group]
		if !ok {
			i = len(p.Groups)
			at[h.Group] = i
			p.Groups = append(p.Groups, heldGroup{Group: h.Group, Rank: h.Rank})
		}
		g := &p.Groups[i]
		g.Rank = max(g.Rank, h.Rank)
		g.IDs = append(g.IDs, h.ID)
		if withText {
			g.Texts = append(g.Texts, heldText{h.ID, h.Rank, h.Text})
			textsOf[h.Group]++
			texts++
		}
	}
	return list
}
