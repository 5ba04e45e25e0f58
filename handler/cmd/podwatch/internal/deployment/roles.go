package deployment

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
)

// A roleAssignment is one of the identity's.
type roleAssignment struct {
	ID         string
	Properties struct {
		RoleDefinitionID string
		Scope            string
		CreatedOn        time.Time
	}
}

// A need is a role without which a part of podwatch does not work.
type need struct {
	role, name, scope, without string
}

const roleTakes = 30 * time.Minute

func (v *visit) needs(settings map[string]string) []need {
	list := []need{
		{"b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner", v.Storage, "the host does not start"},
		{"974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor", v.Storage, "undelivered alerts are not retried"},
		{"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor", v.Storage, "the host's log fills with errors"},
		{"a638d3c7-ab3a-418d-83e6-5f17a39d4fde", "Azure Event Hubs Data Receiver", v.Namespace + "/eventhubs/" + settings["EVENT_HUB_NAME"], "no log is read"},
		{"3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher", v.Rule, "no row is written"},
	}
	if strings.HasPrefix(settings[webhookSetting], "@Microsoft.KeyVault(") {
		list = append(list, need{"4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User", v.Vault + "/secrets/" + webhookSecret, "no card is sent"})
	}
	return list
}

const webhookSecret = "teams-webhook-url"

// assignments lists the roles of a principal in a subscription, below and above it.
func assignments(ctx context.Context, c *azure.Client, subscription, principal string) ([]roleAssignment, error) {
	list, err := azure.List[roleAssignment](ctx, c, "/subscriptions/"+subscription+"/providers/Microsoft.Authorization/roleAssignments", apiRoles,
		url.Values{"$filter": {"principalId eq '" + principal + "'"}})
	if err != nil {
		return nil, fmt.Errorf("list the roles of podwatch's identity: %w", err)
	}
	return list, nil
}

// principal returns the object id of the app's identity.
func (d *Deployment) principal(ctx context.Context) (string, error) {
	var identity struct{ Properties struct{ PrincipalID string } }
	if err := d.c.Get(ctx, d.Identity, apiIdentity, nil, &identity); err != nil {
		return "", fmt.Errorf("read podwatch's identity: %w", err)
	}
	if _, ok := arm.ParseGUID(identity.Properties.PrincipalID); !ok {
		return "", fmt.Errorf("podwatch's identity has no object id yet")
	}
	return identity.Properties.PrincipalID, nil
}

// checkRoles looks for the roles. An assignment takes minutes to act, which only a row
// disproves.
func (v *visit) checkRoles(ctx context.Context) Finding {
	settings, err := v.Settings(ctx)
	var principal string
	if err == nil {
		principal, err = v.principal(ctx)
	}
	var list []roleAssignment
	if err == nil {
		list, err = assignments(ctx, v.c, v.Subscription, principal)
	}
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	var newest time.Time
	var lacks []string
	for _, n := range v.needs(settings) {
		i := slices.IndexFunc(list, func(a roleAssignment) bool {
			return strings.HasSuffix(strings.ToLower(a.Properties.RoleDefinitionID), n.role) && below(n.scope, a.Properties.Scope)
		})
		if i < 0 {
			lacks = append(lacks, fmt.Sprintf("%s on %s (%s)", n.name, arm.Name(n.scope), n.without))
		} else if at := list[i].Properties.CreatedOn; at.After(newest) {
			newest = at
		}
	}
	switch young := v.c.Now().Sub(newest) < roleTakes; {
	case len(lacks) > 0:
		return failed("make deploy again, which assigns them", "the app's identity lacks %s", strings.Join(lacks, ", "))
	case young && v.row == nil:
		return waiting(newest, "roles to take effect, which can take 30 minutes; a row (doctor --send) shows that they have")
	case v.row != nil:
		return ok("assigned, and in effect: a row came")
	}
	return ok("assigned for %s", ago(v.c.Now().Sub(newest)))
}

// below reports whether a resource is within a scope of an assignment.
func below(id, scope string) bool {
	id, scope = strings.ToLower(id), strings.TrimRight(strings.ToLower(scope), "/")
	return id == scope || strings.HasPrefix(id, scope+"/")
}
