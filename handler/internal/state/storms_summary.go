package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	maxSummaries = 20   // of one part of a window
	maxPieces    = 2000 // documents of one part
	piecesAtOnce = 16   // documents that are read or removed side by side
)

// A Summary is what was held of one group while a window was open, or of all
// groups that have no summary of their own.
type Summary struct {
	ID         string   // the same when the same summary is yielded again
	Group      string   // "": several groups
	Groups     int      // how many
	Count      int      // number of alerts
	Texts      [][]byte // of the alerts of the highest rank, at most 20
	Unreadable int      // documents of held alerts that could not be read and are kept aside

	of *part
}

// A part of a window is what is summarised together: all of it, unless it has very
// many pieces.
type part struct {
	channel, window string
	pieces          []string
	unreadable      []Document
	told            map[string]bool // groups whose summary was posted
	groups          []string        // groups that have a summary
	forgotten       bool
}

// Ended yields the summaries of all windows of a channel that ended, at most 20 a
// window. The caller posts each and calls [Storms.Forget] before it takes the
// next; one that is not forgotten is yielded again by a later call. After the error
// of one window, which is yielded, it continues with the next.
func (s *Storms) Ended(ctx context.Context, channel string) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		if s.documents == nil {
			return
		}
		windows, latest, err := s.windows(ctx, channel)
		if err != nil && !yield(Summary{}, err) {
			return
		}
		for _, p := range windows {
			if p.window == latest.ID && latest.open(s.now()) {
				continue
			}
			if !s.summarise(ctx, p, yield) {
				return
			}
		}
	}
}

// Waiting reports how many alerts of a channel are held for summaries that are still to
// be posted, and when the last of their windows ends; zero when all have ended.
func (s *Storms) Waiting(ctx context.Context, channel string) (alerts int, until time.Time, err error) {
	if s.documents == nil {
		return 0, time.Time{}, nil
	}
	windows, latest, err := s.windows(ctx, channel)
	if err != nil {
		return 0, time.Time{}, err
	}
	for _, p := range windows {
		summaries, err := s.read(ctx, p)
		if err != nil {
			return 0, time.Time{}, fmt.Errorf("count the alerts held for %s: %w", channel, err)
		}
		for _, summary := range summaries {
			if !p.told[summary.Group] {
				alerts += summary.Count
			}
		}
		if p.window == latest.ID && latest.open(s.now()) {
			until = latest.Until
		}
	}
	return alerts, until, nil
}

// windows returns what is held, one part a window, oldest first, and the window that
// was last written.
func (s *Storms) windows(ctx context.Context, channel string) (windows []*part, latest stormWindow, err error) {
	if _, latest, err = s.fetchWindow(ctx, channel); err != nil {
		return nil, latest, fmt.Errorf("read the window of %s: %w", channel, err)
	}
	for name, err := range s.documents.List(ctx, folder(channel)+"held/") {
		if err != nil {
			return windows, latest, fmt.Errorf("list the alerts held for %s: %w", channel, err)
		}
		id := path.Base(path.Dir(name))
		if n := len(windows); n == 0 || windows[n-1].window != id {
			windows = append(windows, &part{channel: channel, window: id})
		}
		if p := windows[len(windows)-1]; path.Base(name) != toldName {
			p.pieces = append(p.pieces, name)
		}
	}
	return windows, latest, nil
}

// summarise yields the summaries of one window, part by part. It reports whether to
// continue with the next window.
func (s *Storms) summarise(ctx context.Context, window *part, yield func(Summary, error) bool) bool {
	for names := window.pieces; ; {
		p := &part{channel: window.channel, window: window.window, pieces: names[:min(len(names), maxPieces)]}
		summaries, err := s.read(ctx, p)
		if err == nil && len(summaries) == 0 {
			err = s.remove(ctx, p)
		}
		if err != nil {
			return yield(Summary{}, fmt.Errorf("summarise a storm of %s: %w", p.channel, err))
		}
		for _, summary := range summaries {
			if !p.told[summary.Group] && !yield(summary, nil) {
				return false
			}
		}
		if !p.forgotten {
			return true // what follows waits for this part
		}
		if names = without(names, p.pieces); len(names) == 0 {
			return true
		}
	}
}

func without(names, removed []string) []string {
	gone := map[string]bool{}
	for _, name := range removed {
		gone[name] = true
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return gone[name] }) // removed may be a part of names
}

// read reads a part and returns its summaries. When some were posted already, the
// part is what it was then; when all were, none is left.
func (s *Storms) read(ctx context.Context, p *part) ([]Summary, error) {
	_, t, err := s.fetchTold(ctx, p)
	if err != nil {
		return nil, err
	}
	p.told = map[string]bool{}
	if len(t.Pieces) > 0 {
		p.pieces = t.Pieces
		for _, group := range t.Groups {
			p.told[group] = true
		}
	}
	if t.All {
		return nil, nil
	}
	all := tally{}
	for names := range slices.Chunk(p.pieces, piecesAtOnce) {
		documents := make([]Document, len(names))
		failures := make([]error, len(names))
		parallel(len(names), func(i int) { documents[i], failures[i] = s.documents.Fetch(ctx, names[i]) })
		for i, d := range documents {
			var held piece
			switch {
			case errors.Is(failures[i], ErrAbsent): // another instance was faster
			case failures[i] != nil:
				return nil, failures[i]
			case json.Unmarshal(d.Data, &held) != nil:
				p.unreadable = append(p.unreadable, d)
			default:
				all.add(held)
			}
		}
	}
	summaries := all.summaries(len(p.unreadable))
	for i := range summaries {
		summaries[i].of = p
		summaries[i].ID = digest(strings.Join(append([]string{p.channel, p.window, summaries[i].Group}, p.pieces...), "\n"))
		p.groups = append(p.groups, summaries[i].Group)
	}
	return summaries, nil
}

// A tally counts held alerts by group, each id once.
type tally map[string]*counted

type counted struct {
	group string
	rank  int
	ids   map[string]bool
	texts []heldText // at most 20, highest rank first
}

func (t tally) add(p piece) {
	for _, held := range p.Groups {
		g := t[held.Group]
		if g == nil {
			g = &counted{group: held.Group, ids: map[string]bool{}}
			t[held.Group] = g
		}
		g.rank = max(g.rank, held.Rank)
		for _, text := range held.Texts {
			if !g.ids[text.ID] {
				g.texts = append(g.texts, text)
				g.ids[text.ID] = true
			}
		}
		g.texts = firstTexts(g.texts)
		for _, id := range held.IDs {
			g.ids[id] = true
		}
	}
}

// firstTexts keeps 20 texts of the highest rank.
func firstTexts(texts []heldText) []heldText {
	slices.SortFunc(texts, func(a, b heldText) int {
		return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(a.ID, b.ID))
	})
	return texts[:min(len(texts), maxTexts)]
}

// summaries returns one summary for each group, the highest rank and the largest
// first, and one for all groups that are too many, whose texts are not known, or
// that could not be read.
func (t tally) summaries(unreadable int) []Summary {
	groups := slices.SortedFunc(maps.Values(t), func(a, b *counted) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(len(b.ids), len(a.ids)), cmp.Compare(a.group, b.group))
	})
	var list []Summary
	rest := Summary{Unreadable: unreadable}
	var texts []heldText
	for _, g := range groups {
		few := len(groups) <= maxSummaries && unreadable == 0
		if len(g.texts) > 0 && g.group != "" && (few || len(list) < maxSummaries-1) {
			list = append(list, Summary{Group: g.group, Groups: 1, Count: len(g.ids), Texts: textsOf(g.texts)})
			continue
		}
		rest.Groups++
		rest.Count += len(g.ids)
		texts = append(texts, g.texts...)
	}
	if rest.Groups > 0 || unreadable > 0 {
		rest.Texts = textsOf(firstTexts(texts))
		list = append(list, rest)
	}
	return list
}

func textsOf(list []heldText) [][]byte {
	var texts [][]byte
	for _, t := range list {
		texts = append(texts, t.Text)
	}
	return texts
}

// toldName is the name of the document beside the pieces of a window that records
// which summaries were posted. The pieces are named by digests.
const toldName = "told"

// told is which summaries of a part were posted.
type told struct {
	Pieces []string `json:"pieces"`
	Groups []string `json:"groups"`
	All    bool     `json:"all,omitempty"` // only to be removed: the process was killed meanwhile
}

func (s *Storms) fetchTold(ctx context.Context, p *part) (Document, told, error) {
	return fetchJSON(ctx, s.documents, heldFolder(p.channel, p.window)+toldName, told{})
}

// Forget records that a summary was posted, and removes what was held when it is
// the last of its part.
func (s *Storms) Forget(ctx context.Context, summary Summary) error {
	p := summary.of
	p.told[summary.Group] = true
	var err error
	if len(p.told) == len(p.groups) {
		err = s.remove(ctx, p)
	} else {
		err = s.tell(ctx, p, false)
	}
	if err != nil {
		return fmt.Errorf("forget a storm of %s: %w", p.channel, err)
	}
	return nil
}

// tell records which summaries were posted.
func (s *Storms) tell(ctx context.Context, p *part, all bool) error {
	t := told{Pieces: p.pieces, All: all}
	for _, group := range p.groups {
		if p.told[group] {
			t.Groups = append(t.Groups, group)
		}
	}
	return update(ctx, s.documents, func() (Document, told, error) { return s.fetchTold(ctx, p) }, func(old *told) { *old = t })
}

// remove deletes the pieces before the record of what was posted, by which
// a later call knows the pieces that are left.
func (s *Storms) remove(ctx context.Context, p *part) error {
	if err := s.tell(ctx, p, true); err != nil {
		return err
	}
	for _, d := range p.unreadable {
		if err := keepAside(ctx, s.documents, d); err != nil {
			return err
		}
	}
	for names := range slices.Chunk(p.pieces, piecesAtOnce) {
		failures := make([]error, len(names))
		parallel(len(names), func(i int) { failures[i] = s.documents.Delete(ctx, Document{Name: names[i]}) })
		if err := errors.Join(failures...); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // all is posted; a later call removes what is left
	}
	if err := s.documents.Delete(ctx, Document{Name: heldFolder(p.channel, p.window) + toldName}); err != nil {
		return err
	}
	p.forgotten = true
	return nil
}
