// Package teams posts alerts to a Microsoft Teams channel as Adaptive Cards,
// through a Workflows webhook.
//
// A group of alerts is one card and one request. Every value of an alert may be
// chosen by an attacker: it is in runs of text only, changed where a client would
// parse Markdown or a URL in it, without control, direction or invisible
// characters, and bounded. Buttons lead to the Azure portal only. A card has
// elements of version 1.2 only, and is never larger than [MaxMessage]; it names what
// was left out for that.
//
// Accepted means that the workflow was started. Whether it posts the card is
// visible only in its run history.
package teams

import (
	"bytes"
	"context"
	"errors"
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
// I/O. advice is what the rules' files contain for the card, by rule id.
func New(client *outbound.Client, advice map[string]Advice) *Sink {
	return &Sink{client: client, cards: cards{advice: func(ruleID string) Advice { return advice[ruleID] }}}
}

// Name returns "teams".
func (s *Sink) Name() string { return Name }

// Post posts the card of a group, which is about all of its alerts.
func (s *Sink) Post(ctx context.Context, g alert.Group) (n int, err error) {
	// No Authorization header: the workflow refuses one beside the signature.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.client.Endpoint.URL("", nil), bytes.NewReader(s.cards.message(g)))
	if err != nil {
		return len(g.Alerts), err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	_, err = s.client.Do(r)
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		e.Explain(cures[e.Status])
	}
	return len(g.Alerts), err
}

// cures are what a person does about a refusal, by status.
var cures = map[int]string{
	http.StatusUnauthorized: rotated,
	http.StatusForbidden:    rotated,
	http.StatusNotFound: "the workflow was deleted or is switched off; switch it on, or make a new one " +
		"(\"Send webhook alerts to a channel\") and put its URL into TEAMS_WEBHOOK_URL",
}

const rotated = "the workflow does not accept the signature; if its URL was rotated, put the new one into TEAMS_WEBHOOK_URL, " +
	"and set \"Who can trigger the flow\" to \"Anyone\""
