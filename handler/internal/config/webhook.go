package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/internal/outbound"
)

// webhookHosts are the places of Power Automate, with all hosts below them. This is
// the one list of them; TEAMS_WEBHOOK_HOSTS adds to it.
//
// Sources, read on 2026-11-28: for the public cloud the required endpoints in
// learn.microsoft.com/power-automate/ip-address-configuration, and public reports of
// webhook URLs. The US government forms are the same names below the domains of Power
// Platform and Logic Apps there; no page confirms them for webhooks. Teams has no
// connector in the China cloud.
var webhookHosts = []string{
	"environment.api.powerplatform.com", // the newer URLs
	"logic.azure.com",                   // the older URLs
	"powerautomate.com",
	"flow.microsoft.com",
	"environment.api.gov.powerplatform.microsoft.us",
	"environment.api.high.powerplatform.microsoft.us",
	"environment.api.appsplatform.us",
	"logic.azure.us",
}

// parseWebhook checks a webhook URL, whose query stays as it is. Errors explain
// what to do and never repeat any of it but the host.
func parseWebhook(raw string, moreHosts []string) (outbound.Endpoint, error) {
	e, err := outbound.ParseEndpoint(raw)
	switch {
	case err != nil:
	case e.Within("webhook.office.com", "outlook.office.com"):
		err = errors.New("this is the address of an Office 365 connector; those were switched off in May 2026: " +
			"make a workflow \"Send webhook alerts to a channel\" in Teams and use its URL")
	case !e.Loopback() && !e.Within(slices.Concat(webhookHosts, moreHosts)...):
		err = fmt.Errorf("the host %q is none of Power Automate's; if it is yours, add it to TEAMS_WEBHOOK_HOSTS", e.Host())
	case !signed(e.Query()):
		err = errors.New("the URL has no sig in its query: either it was copied in part, or the workflow accepts people of the tenant only; " +
			"set \"Who can trigger the flow\" to \"Anyone\" and copy the whole URL again")
	}
	if err != nil {
		return outbound.Endpoint{}, err
	}
	return e, nil
}

// signed reports whether a query has a value for sig. It looks at the text
// itself, since the query must never be taken apart and put together again.
func signed(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(pair, "="); name == "sig" && value != "" {
			return true
		}
	}
	return false
}
