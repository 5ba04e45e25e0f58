// Package teams posts alerts to a Microsoft Teams channel as Adaptive Cards,
// through a Workflows webhook.
//
// Alerts of one rule, caller and cluster become one card, in one request. Every
// value of an alert may be chosen by an attacker: it is in runs of text only,
// changed where a client would parse Markdown or a URL in it, without control,
// direction or invisible characters, and bounded. Buttons lead to the Azure portal
// only. A card has elements of version 1.2 only, and is never larger than
// [MaxMessage]; it names what was left out for that.
//
// Accepted means that the workflow was started. Whether it posts the card is
// visible only in its run history.
package teams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink"
)

// Name is the name of the sink in errors, logs and the ledger.
const Name = "teams"

// Options of the sink. The zero value is right for production.
type Options struct {
	AllowedHosts []string                   // hosts of webhooks, with their subdomains, besides Microsoft's
	PortalHosts  []string                   // hosts that buttons may lead to; empty: the Azure portal of each cloud
	Advice       func(ruleID string) Advice // what a rule's file contains for those who read its alerts; nil: nothing
	Delivery     sink.Options               // times, transport and logger of a delivery
}

// A Sink posts to one channel. It is safe for concurrent use. Printing it shows
// no secret.
type Sink struct {
	webhook *url.URL
	client  *sink.Client
	cards   cards
}

// New returns the sink for a webhook URL. It does no I/O. The URL is the
// credential: the error says what is wrong with it and never repeats it.
func New(webhook string, o Options) (*Sink, error) {
	u, err := parseWebhook(webhook, o.AllowedHosts)
	if err != nil {
		return nil, fmt.Errorf("teams webhook: %w", err)
	}
	portals := o.PortalHosts
	if len(portals) == 0 {
		portals = []string{"portal.azure.com", "portal.azure.us", "portal.azure.cn"}
	}
	advice := o.Advice
	if advice == nil {
		advice = func(string) Advice { return Advice{} }
	}
	return &Sink{
		webhook: u,
		client:  sink.NewClient(Name, o.Delivery, sink.URLSecrets(u)...),
		cards:   cards{portals: portals, advice: advice},
	}, nil
}

// Name returns "teams".
func (s *Sink) Name() string { return Name }

// String returns the name, so that printing a sink does not show its URL.
func (s *Sink) String() string { return Name }

// GoString is String for %#v.
func (s *Sink) GoString() string { return Name }

// Deliver posts one card for each group of alerts (see [alert.Group]). It returns
// nil when all were accepted, else one entry per alert. After a failure that is
// not the card's own the remaining cards are not tried: Teams is down or busy.
func (s *Sink) Deliver(ctx context.Context, alerts []*alert.Alert) []error {
	var outcome map[*alert.Alert]error
	var down error
	for _, together := range alert.Group(alerts) {
		err := down
		if err == nil {
			err = s.post(ctx, together)
		}
		if err == nil {
			continue
		}
		if outcome == nil {
			outcome = map[*alert.Alert]error{}
		}
		for _, a := range together {
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
func (s *Sink) post(ctx context.Context, alerts []*alert.Alert) error {
	message := s.cards.message(group{Alerts: alerts, Total: len(alerts)})
	return s.client.Do(ctx, func(ctx context.Context) (*http.Response, error) {
		// No Authorization header: the workflow refuses one beside the signature.
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.webhook.String(), bytes.NewReader(message))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		req.Header.Set("User-Agent", "podwatch")
		return s.client.HTTP().Do(req)
	})
}
