package deployment

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/internal/state"
)

const (
	sendWithin = 15 * time.Minute // until the hub takes the deletion: the operator's role
	rowWithin  = 30 * time.Minute // until its row can be queried
	cardWithin = 5 * time.Minute  // from the row on, until Teams has accepted the card
	resends    = 3                // of a deletion that an older version answered
)

// A Deletion is a synthetic record of the activity log. Its cluster has a name of its
// own, so that no storm holds its card and no repeat is taken for it.
type Deletion struct {
	Cluster, CorrelationID string
}

// NewDeletion returns one that there was not before.
func NewDeletion() Deletion {
	return Deletion{"podwatch-doctor-" + strings.ToLower(rand.Text()[:8]), uuid.NewString()}
}

// Body is the message that Azure Monitor would send.
func (d Deletion) Body(now time.Time) []byte {
	const operation = "Microsoft.Kubernetes/connectedClusters/pods/delete"
	pod := "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/podwatch/providers/Microsoft.Kubernetes/connectedClusters/" + d.Cluster + "/namespaces/doctor/pods/test-pod"
	type object = map[string]any
	text, err := json.Marshal(object{"records": []object{{
		"time": now.UTC().Format(time.RFC3339), "resourceId": pod, "operationName": strings.ToUpper(operation), "category": "Delete",
		"resultType": "Success", "resultSignature": "Succeeded.OK", "durationMs": 0, "callerIpAddress": "192.0.2.1", "correlationId": d.CorrelationID,
		"identity": object{
			"authorization": object{"scope": pod, "action": operation, "evidence": object{"role": "podwatch doctor"}},
			"claims":        object{"name": "podwatch doctor", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "podwatch-doctor@example.com", "idtyp": "user"},
		},
		"level": "Information", "properties": object{"statusCode": "OK", "entity": pod, "message": operation},
	}}})
	if err != nil {
		panic(err) // nothing in it depends on the input
	}
	return text
}

func sendBody(ctx context.Context, c hub.Connection, body []byte) error {
	sender, err := hub.NewSender(c, hub.SendOptions{})
	if err != nil {
		return err
	}
	defer sender.Close(context.WithoutCancel(ctx))
	if err := sender.Add(ctx, body); err != nil {
		return err
	}
	return sender.Flush(ctx)
}

// sendAndWait makes the lines about a deletion on its way through everything. Each
// needs the one before.
func (v *visit) sendAndWait(ctx context.Context, page *Page, may bool) {
	later := waiting(time.Time{}, "the lines above: without them no row comes")
	if may {
		later = waiting(time.Time{}, "the line above")
		v.refresh(ctx)
	}
	for _, step := range []check{
		{name: "deletion", run: (*visit).sendDeletion}, {name: "row", run: (*visit).awaitRow}, {name: "card", run: (*visit).awaitCard},
	} {
		f := later
		if may {
			f = step.run(v, ctx)
		}
		may = f.State == OK
		page.add(step.name, f)
	}
}

// refresh asks the app to look its references up again, once a minute until all are
// resolved: it remembers a failed look-up for up to a day. What is not resolved in the
// end is in the line teams.
func (v *visit) refresh(ctx context.Context) {
	_ = v.c.Until(ctx, azure.Wait{Where: azure.Anywhere, Every: time.Minute, Limit: 10 * time.Minute}, func(ctx context.Context) (string, error) {
		list, err := v.references(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range list {
			cause, resolved := azure.Reference(r.Properties.Status)
			if resolved || cause.Passes == 0 {
				continue
			}
			if err := v.c.Post(ctx, v.App+"/config/configreferences/appsettings/refresh", apiHost, nil); err != nil {
				return "", err
			}
			return r.Name + ": " + cause.What, nil
		}
		return "", nil
	})
}

func (v *visit) sendDeletion(ctx context.Context) Finding {
	v.sent = NewDeletion()
	connection, err := v.connection(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	begin := v.c.Now()
	err = v.c.Until(ctx, azure.Wait{Where: azure.Anywhere, Every: 20 * time.Second, Limit: sendWithin}, func(ctx context.Context) (string, error) {
		switch err := v.send(ctx, connection, v.sent.Body(v.c.Now())); {
		case err == nil:
			return "", nil
		case hub.Unauthorized(err):
			return "your role on the event hub, which takes some minutes", nil
		default:
			return "", err
		}
	})
	if err != nil {
		return failed("you need Azure Event Hubs Data Sender on the event hub (operatorPrincipalId), and a network that may reach it", "the hub took no deletion: %v", err)
	}
	return ok("the hub took one of cluster %s after %s", v.sent.Cluster, ago(v.c.Now().Sub(begin)))
}

// awaitRow waits for the row of the deletion, with the version that was published. A
// row of an older version can be that of an instance that was still at work: the
// deletion is sent again.
func (v *visit) awaitRow(ctx context.Context) Finding {
	var row map[string]string
	begin, tries := v.c.Now(), 0
	err := v.c.Until(ctx, azure.Wait{Where: azure.Querying, Every: 20 * time.Second, Limit: rowWithin}, func(ctx context.Context) (state string, err error) {
		switch row, err = v.query(ctx, queryRow, v.sent.CorrelationID); {
		case err != nil:
			return "", err
		case row == nil:
			return "the row of the deletion", nil
		case row["Version"] == v.Version || v.Version == "":
			return "", nil
		case tries == resends:
			return "", fmt.Errorf("the rows come from version %s, and %s was published: the new package does not run", row["Version"], v.Version)
		}
		tries++
		state = fmt.Sprintf("a row of %s: one of %s came, another deletion is sent", v.Version, row["Version"])
		if f := v.sendDeletion(ctx); f.State != OK {
			return "", errors.New(f.Says)
		}
		return state, nil
	})
	switch {
	case err != nil && tries > 0:
		return failed("publish it again: bin/podwatch publish --subscription ... dist.zip", "%v", err)
	case err != nil:
		return failed(cmp.Or(azure.Explain(azure.Querying, err).Cure, "see the lines queue, errors and roles"), "no row: %v", err)
	}
	v.row = row
	return ok("alert %s came after %s, from version %s", row["AlertId"], ago(v.c.Now().Sub(begin)), row["Version"])
}

// awaitCard waits for the ledger's mark that Teams accepted the card.
func (v *visit) awaitCard(ctx context.Context) Finding {
	settings, err := v.Settings(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	switch {
	case settings[webhookSetting] == "":
		return ok("none is wanted: Teams is not set up")
	case v.row["Suppressed"] != "":
		return failed("let the exception leave out clusters named podwatch-doctor-*", "the exception %q suppresses the deletion: nothing shows that cards arrive", v.row["SuppressedBy"])
	}
	account, err := v.Account(ctx)
	if err != nil {
		return v.storageProblem(err)
	}
	begin, outcome := v.c.Now(), ""
	ledger := state.NewLedger(account.Documents(state.LedgerContainer), slog.New(slog.DiscardHandler))
	err = v.c.Until(ctx, azure.Wait{Where: azure.Anywhere, Every: 2 * time.Second, Limit: cardWithin}, func(ctx context.Context) (string, error) {
		outcome, err = ledger.Outcome(ctx, state.Key{Sink: "teams", ID: v.row["AlertId"]})
		if err != nil {
			return "", err
		}
		if outcome == "" {
			return "Teams to accept the card", nil
		}
		return "", nil
	})
	switch {
	case err != nil:
		return failed("see the lines teams, queue and errors", "no card: %v", err)
	case outcome != "accepted":
		return failed("see the line errors", "the card was not accepted: the ledger says %q", outcome)
	}
	return ok("Teams accepted it after %s; whether it shows it is in the workflow's run history", ago(v.c.Now().Sub(begin)))
}
