// Package teams posts alerts to a Microsoft Teams channel as Adaptive Cards,
// through a Workflows webhook.
//
// Alerts of one rule, caller and cluster become one card, one request each. Every
// value of an alert is text that somebody may have chosen with malice: it stands
// only where Teams reads no Markdown, without control, direction or invisible
// characters, and bounded. Buttons lead to the Azure portal and nowhere else. A
// card is never larger than [MaxCard]; what was left out for that is said on it.
//
// Accepted means that the workflow was started. Whether it posts the card shows
// only in its run history, so each message is checked against what Teams can
// draw before it is sent.
package teams

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink"
)

// Name is the name of the sink in errors, logs and the ledger.
const Name = "teams"

// Options of the sink. The zero value is right for production.
type Options struct {
	PortalHosts []string                   // hosts that buttons may lead to; empty: the Azure portal of each cloud
	Guide       func(ruleID string) string // what to do about a rule's alerts, in Markdown of our own; may be nil
	Delivery    sink.Options               // times, transport and logger of a delivery
}

// A Sink posts to one channel. It is safe for concurrent use. Printing it shows
// no secret.
type Sink struct {
	webhook outbound.Endpoint
	client  *sink.Client
	cards   cards
}

// New returns the sink for a webhook. It does no I/O.
func New(webhook outbound.Endpoint, o Options) *Sink {
	portals := o.PortalHosts
	if len(portals) == 0 {
		portals = []string{"portal.azure.com", "portal.azure.us", "portal.azure.cn"}
	}
	guide := o.Guide
	if guide == nil {
		guide = func(string) string { return "" }
	}
	return &Sink{
		webhook: webhook,
		client:  sink.NewClient(Name, "Microsoft Teams", webhook, nil, o.Delivery),
		cards:   cards{portals: portals, guide: guide},
	}
}

// Name returns "teams".
func (s *Sink) Name() string { return Name }

// String returns the name, so that no print of a sink tells its URL.
func (s *Sink) String() string { return Name }

// GoString is String for %#v.
func (s *Sink) GoString() string { return Name }

// Deliver posts one card for each group of alerts (see [alert.Group]). It returns
// nil when all were accepted, else one entry per alert. After a failure that is
// not the card's own the remaining cards are not tried: Teams is down or busy.
func (s *Sink) Deliver(ctx context.Context, alerts []*alert.Alert) []error {
	var outcome map[*alert.Alert]error
	var down error
	for _, group := range alert.Group(alerts) {
		err := down
		if err == nil {
			err = s.post(ctx, group)
		}
		if err == nil {
			continue
		}
		if outcome == nil {
			outcome = map[*alert.Alert]error{}
		}
		for _, a := range group {
			outcome[a] = err
		}
		var e *sink.Error
		if !errors.As(err, &e) || e.Retryable {
			down = err
		}
	}
	if outcome == nil {
		return nil
	}
	failures := make([]error, len(alerts))
	for i, a := range alerts {
		failures[i] = outcome[a]
	}
	return failures
}

// post delivers the card of one group.
func (s *Sink) post(ctx context.Context, group []*alert.Alert) error {
	message, err := s.cards.message(group)
	if err != nil {
		// The same alerts will make the same card.
		return s.client.Fail(err)
	}
	return s.client.Do(ctx, func(ctx context.Context) (*http.Request, error) {
		// There is no Authorization header: with one beside the signature the
		// workflow refuses.
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.webhook.URL("", nil), bytes.NewReader(message))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		return r, nil
	})
}
