package state

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

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
