package deployment

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
)

// plans are those of a deployment of the template's defaults with one cluster.
func plans(change func(*Plans)) Plans {
	p := Plans{Target: Target{Subscription: azuretest.Subscription, Location: "westeurope"},
		Parameters: &Parameters{Name: "podwatch", Plan: "flex", Clusters: []Cluster{{Name: "aks-shop", ResourceGroup: "rg-shop"}}}}
	if change != nil {
		change(&p)
	}
	return p
}

// fakeTools puts an Azure CLI into PATH that knows its version only.
func fakeTools(t *testing.T, az, bicep string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in version*) echo '{\"azure-cli\":%q}';; 'bicep version') echo 'Bicep CLI version %s';; *) exit 2;; esac\n", az, bicep)
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin") // without any other az or bicep
}

func TestBefore(t *testing.T) {
	fakeTools(t, "2.87.0", "0.49.2")
	yes := true
	const deleted = "/subscriptions/" + azuretest.Subscription + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv-podwatch-token"
	five := func(of string) func(w *world) {
		return func(w *world) {
			for i := range 5 {
				w.Put(fmt.Sprintf("%s/providers/Microsoft.Insights/diagnosticSettings/other%d", of, i), "", map[string]any{"eventHubAuthorizationRuleId": ""})
			}
		}
	}
	for name, c := range map[string]struct {
		azure     func(w *world)
		plans     func(*Plans)
		deployed  bool
		line      string // "": all is ok
		state     State
		says      string
		cure      string
		overrides []string
	}{
		"the first deployment":  {},
		"an update":             {deployed: true, overrides: []string{"useTeams=true"}},
		"with the address":      {deployed: true, plans: func(p *Plans) { p.HasAddress = true }},
		"the file says so":      {deployed: true, plans: func(p *Plans) { p.UseTeams = &yes }},
		"on the premium plan":   {plans: func(p *Plans) { p.Plan = "premium" }},
		"after another failed":  {deployed: true, azure: func(w *world) { w.Change(azuretest.Record, "provisioningState", "Failed") }, overrides: []string{"useTeams=true"}},
		"the record was purged": {deployed: true, azure: func(w *world) { w.Remove(azuretest.Record) }, overrides: []string{"useTeams=true"}},
		"after it was removed": {azure: func(w *world) {
			w.Put(deleted, "", map[string]any{"vaultId": azuretest.Vault, "deletionDate": "2026-01-02T03:04:05Z"})
		}, overrides: []string{"recoverVault=true"}},
		"another vault was removed": {azure: func(w *world) {
			w.Put(deleted, "", map[string]any{"vaultId": strings.ReplaceAll(azuretest.Vault, "westeurope", "northeurope")})
		}},

		"no such subscription": {plans: func(p *Plans) { p.Subscription = "00000000-0000-0000-0000-000000000001" }, line: "subscription", state: Failed, says: "SubscriptionNotFound", cure: "az account list"},
		"it is disabled":       {azure: func(w *world) { w.Disable() }, line: "subscription", state: Failed, says: "is Disabled", cure: "enable"},
		"no such package":      {plans: func(p *Plans) { p.Package = "nowhere.zip" }, line: "package", state: Failed, says: "does not exist", cure: "make package"},
		"no such region":       {plans: func(p *Plans) { p.Target.Location = "westeuropa" }, line: "region", state: Failed, says: `no region "westeuropa"`, cure: "list-locations"},
		"two regions":          {plans: func(p *Plans) { p.Parameters.Location = "northeurope" }, line: "region", state: Failed, says: "northeurope", cure: "same"},
		"no Flex there": {azure: func(w *world) { w.Fail(-1, "GET", "geoRegions", 200, `{"value":[{"name":"North Europe"}]}`) },
			line: "plan", state: Failed, says: "does not offer Flex", cure: "premium"},
		"the other plan": {deployed: true, plans: func(p *Plans) { p.Plan = "premium" }, line: "plan", state: Failed, says: "on the other plan", cure: "delete the function app"},
		"no right to assign roles": {azure: func(w *world) {
			w.Fail(-1, "GET", "permissions", 200, `{"value":[{"actions":["*"],"notActions":["Microsoft.Authorization/*/Delete","Microsoft.Authorization/*/Write"]}]}`)
		}, line: "rights", state: Failed, says: "lack the action Microsoft.Authorization/roleAssignments/write", cure: "Role Based Access Control Administrator"},
		"two roles add up": {azure: func(w *world) {
			w.Fail(-1, "GET", "permissions", 200, `{"value":[{"actions":["*"],"notActions":["Microsoft.Authorization/*/Write"]},{"actions":["Microsoft.Authorization/roleAssignments/*"]}]}`)
		}},
		"a provider that may not be registered": {azure: func(w *world) {
			w.Fail(-1, "GET", "/providers$", 200, `{"value":[]}`)
			w.Fail(-1, "GET", "permissions", 200, `{"value":[{"actions":["Microsoft.Resources/*","Microsoft.Authorization/*","Microsoft.Insights/*","Microsoft.EventHub/namespaces/*/listKeys/action"]}]}`)
		}, line: "providers", state: Failed, says: "Microsoft.Web, ", cure: "az provider register"},
		"a provider is not registered": {azure: func(w *world) { w.Fail(-1, "GET", "/providers$", 200, `{"value":[]}`) }},
		"no such cluster":              {azure: func(w *world) { w.Remove(azuretest.Cluster) }, line: "clusters", state: Failed, says: "there is no cluster", cure: "az aks list"},
		"a cluster elsewhere":          {azure: func(w *world) { w.Put(azuretest.Cluster, "northeurope", map[string]any{}) }, line: "clusters", state: Failed, says: "is in northeurope", cure: "another podwatch"},
		"a cluster whose logs may not be exported": {azure: func(w *world) {
			w.Fail(-1, "GET", "aks-shop/providers/Microsoft.Authorization/permissions", 200, `{"value":[]}`)
		}, line: "clusters", state: Failed, says: "may not export", cure: "Monitoring Contributor"},
		"five settings of the subscription":    {azure: five("/subscriptions/" + azuretest.Subscription), line: "exporters", state: Failed, says: "the subscription has five diagnostic settings already: other0", cure: "delete one"},
		"five, but the activity log stays out": {azure: five("/subscriptions/" + azuretest.Subscription), plans: func(p *Plans) { p.ExportActivityLog = new(bool) }},
		"five settings of the cluster":         {azure: five(azuretest.Cluster), line: "exporters", state: Failed, says: "aks-shop has five", cure: "delete one"},
		"five, one of them ours": {deployed: true, azure: func(w *world) {
			five(azuretest.Cluster)(w)
			w.Remove(azuretest.Cluster + "/providers/Microsoft.Insights/diagnosticSettings/other0")
		},
			overrides: []string{"useTeams=true"}},
		"another run":            {deployed: true, azure: func(w *world) { w.Change(azuretest.Record, "provisioningState", "Running") }, line: "deployment", state: Waiting, says: "which is running"},
		"the group is elsewhere": {azure: func(w *world) { w.PutGroup(azuretest.Group, "northeurope") }, line: "deployment", state: Failed, says: "exists in northeurope", cure: "resourceGroupName"},
		"the record is of elsewhere": {azure: func(w *world) {
			w.Put(azuretest.Record, "northeurope", map[string]any{"provisioningState": "Succeeded"})
		}, line: "deployment", state: Failed, says: "exists in northeurope", cure: "sub delete"},
		"the secret may not be read":   {deployed: true, azure: func(w *world) { w.Fail(-1, "GET", "secrets/teams-webhook-url", 403, "") }, line: "teams", state: Failed, says: "not known", cure: "TEAMS_WEBHOOK_URL"},
		"the secret is asked in vain":  {deployed: true, azure: func(w *world) { w.Fail(-1, "GET", "secrets/teams-webhook-url", 429, "") }, line: "teams", state: Failed, says: "not known", cure: "TEAMS_WEBHOOK_URL"},
		"the settings may not be read": {deployed: true, azure: func(w *world) { w.Remove(azuretest.Secret); w.Fail(-1, "POST", "appsettings/list", 403, "") }, line: "teams", state: Failed, says: "not known", cure: "TEAMS_WEBHOOK_URL"},
		"the address is elsewhere":     {deployed: true, azure: func(w *world) { w.Remove(azuretest.Secret) }, line: "teams", state: Failed, says: "would switch the cards off", cure: "TEAMS_WEBHOOK_URL"},
		"deleted vaults stay unknown":  {azure: func(w *world) { w.Fail(-1, "GET", "deletedVaults", 403, "") }, line: "vault", state: Failed, says: "403", cure: "role"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.deployed {
				w.Teams = true
				w.Deploy(t)
			}
			if c.azure != nil {
				c.azure(w)
			}
			page, overrides, err := Before(t.Context(), w.c, plans(c.plans))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range overrides {
				got = append(got, o.Name+"="+o.Value)
			}
			if c.line == "" {
				if page.State() != OK || !slices.Equal(got, c.overrides) {
					t.Errorf("overrides %q, want %q; the page is:\n%s", got, c.overrides, w.text(page))
				}
				return
			}
			f := line(t, page, c.line)
			if f.State != c.state || !strings.Contains(f.Says, c.says) || !strings.Contains(f.Cure, c.cure) || page.State() == OK || slices.Contains(got, "useTeams=true") && c.line == "teams" {
				t.Errorf("the line is %+v, want %s %q, cure %q", f, c.state, c.says, c.cure)
			}
			if changes := w.Calls("^(PUT|DELETE)"); len(changes) > 1 || len(changes) == 1 && !c.deployed {
				t.Errorf("something was changed: %q", changes)
			}
		})
	}
}

func TestBeforeWithOldTools(t *testing.T) {
	for name, c := range map[string]struct{ az, bicep, says string }{
		"an old Azure CLI": {"2.45.0", "0.49.2", "the Azure CLI is 2.45.0, at least 2.54"},
		"an old Bicep":     {"2.87.0", "0.36.0", `the Bicep CLI is "0.36.0"`},
		"no Bicep":         {"2.87.0", "", `the Bicep CLI is ""`},
	} {
		t.Run(name, func(t *testing.T) {
			fakeTools(t, c.az, c.bicep)
			page, _, err := Before(t.Context(), newWorld(t).c, plans(nil))
			if f := line(t, page, "tools"); err != nil || f.State != Failed || !strings.Contains(f.Says, c.says) {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
	t.Setenv("PATH", t.TempDir())
	page, _, err := Before(t.Context(), newWorld(t).c, plans(nil))
	if f := line(t, page, "tools"); err != nil || f.State != Failed || !strings.Contains(f.Says, "does not run") {
		t.Errorf("without an Azure CLI: %+v, %v", f, err)
	}
}

// What the Bicep CLI prints for parameters, as version 0.49.2 does, without the address.
func TestReadParameters(t *testing.T) {
	dir := t.TempDir()
	compiled, err := json.Marshal(map[string]any{"templateJson": "{}", "parametersJson": `{"parameters":{"name":{"value":"soc"},
		"clusters":{"value":[{"name":"aks-shop","resourceGroup":"rg-shop","subscriptionId":"22222222-2222-3333-4444-555555555555"},
		{"kind":"arc","name":"arc-dock","resourceGroup":"rg-dock"}]},"teamsWebhookUrl":{"value":""}}}`})
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ -z \"$TEAMS_WEBHOOK_URL\" ] || exit 9\ncat <<'E'\n" + string(compiled) + "\nE\n"
	if err := os.WriteFile(filepath.Join(dir, "bicep"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	t.Setenv("TEAMS_WEBHOOK_URL", "https://example.com/?sig=secret")
	file := filepath.Join(dir, "my.bicepparam")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := ReadParameters(t.Context(), file)
	if err != nil || p.Name != "soc" || p.Plan != "flex" || p.UseTeams != nil || len(p.Clusters) != 2 ||
		p.Clusters[1].id("x") != "/subscriptions/x/resourceGroups/rg-dock/providers/Microsoft.Kubernetes/connectedClusters/arc-dock" ||
		apiOfCluster(p.Clusters[1].id("11111111-2222-3333-4444-555555555555")) != apiConnected || apiOfCluster(p.Clusters[0].id("x")) != apiClusters ||
		p.Clusters[0].id("x") != "/subscriptions/22222222-2222-3333-4444-555555555555/resourceGroups/rg-shop/providers/Microsoft.ContainerService/managedClusters/aks-shop" {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := ReadParameters(t.Context(), filepath.Join(dir, "nowhere.bicepparam")); err == nil || !strings.Contains(err.Error(), "nowhere.bicepparam") {
		t.Errorf("a missing file: %v", err)
	}
}
