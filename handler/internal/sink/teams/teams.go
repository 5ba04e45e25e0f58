// Package teams posts alerts to a Microsoft Teams channel as Adaptive Cards,
// through a Workflows webhook.
//
// A group of alerts is one card and one request. Every value of an alert is text
// that somebody may have chosen with malice: it is shown only where Teams reads no
// Markdown, without control, direction or invisible characters, and bounded.
// Buttons lead to the Azure portal and nowhere else. A card is never larger than
// [MaxCard]; what was left out for that is said on it.
//
// Accepted means that the workflow was started. Whether it posts the card shows
// only in its run history.
package teams

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
)

// Name is the name of the sink in errors, logs and the ledger.
const Name = "teams"

// A Sink posts to one channel. It is safe for concurrent use.
type Sink struct {
	client *outbound.Client
	cards  cards
}

// New returns the sink for the webhook that is the client's endpoint. It does no
// I/O. guides are the investigation guides of rules by id, in Markdown of our own.
func New(client *outbound.Client, guides map[string]string) *Sink {
	return &Sink{client: client, cards: cards{guides: guides}}
}

// Name returns "teams".
func (s *Sink) Name() string { return Name }

// Post posts the card of a group, which shows all of its alerts.
func (s *Sink) Post(ctx context.Context, g alert.Group) (n int, err error) {
	message, err := s.cards.message(g)
	if err != nil {
		// The same alerts will make the same card.
		return len(g.Alerts), &outbound.Error{Service: "Teams", Kind: outbound.Rejected, Err: fmt.Errorf("draw the card: %w", err)}
	}
	// There is no Authorization header: with one beside the signature the workflow
	// refuses.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.client.Endpoint.URL("", nil), bytes.NewReader(message))
	if err != nil {
		return len(g.Alerts), err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	_, err = s.client.Do(r)
	return len(g.Alerts), err
}
