package azuretest

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const subscriptionPath = "/subscriptions/" + Subscription

var routes = []route{
	on("GET", subscriptionPath+"/resourcegroups", func(a *Azure, r *http.Request, _ []byte, _ []string) answer {
		groups := a.below(subscriptionPath, "/resourceGroups/")
		if strings.Contains(r.URL.Query().Get("$filter"), "tagName eq 'app' and tagValue eq 'podwatch'") {
			groups = slices.DeleteFunc(groups, func(g object) bool { return g["tags"] == nil })
		}
		return list(groups...)
	}),
	on("GET", "(/subscriptions/[^/]+/resourceGroups/[^/]+)/resources", func(a *Azure, _ *http.Request, _ []byte, at []string) answer {
		return list(a.all(func(key string) bool {
			rest, ok := strings.CutPrefix(key, strings.ToLower(at[1])+"/providers/")
			return ok && strings.Count(rest, "/") == 2
		})...)
	}),
	on("DELETE", "(/subscriptions/[^/]+/resourceGroups/[^/]+)", func(a *Azure, _ *http.Request, _ []byte, at []string) answer {
		for _, v := range a.below(at[1], "/providers/Microsoft.KeyVault/vaults/") {
			name := v["name"].(string)
			secret := a.resources[strings.ToLower(Secret)] != nil
			a.put(subscriptionPath+"/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/"+name, "", object{
				"vaultId": v["id"], "location": v["location"], "deletionDate": a.Now().UTC(), "hadSecret": secret})
		}
		if !a.remove(at[1]) {
			return no(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", at[1])
		}
		return answer{200, nil}
	}),
	on("GET", subscriptionPath+"/providers/Microsoft.KeyVault/deletedVaults", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		return list(a.below(subscriptionPath, "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/")...)
	}),
	on("GET", subscriptionPath+"/providers/Microsoft.ContainerService/managedClusters", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		return list(a.all(func(key string) bool {
			return strings.EqualFold(fmt.Sprint(a.resources[key]["type"]), "Microsoft.ContainerService/managedClusters")
		})...)
	}),
	on("GET", "(.*)/providers/Microsoft.Insights/diagnosticSettings", func(a *Azure, _ *http.Request, _ []byte, at []string) answer {
		if a.resources[strings.ToLower(at[1])] == nil {
			return no(404, "ResourceNotFound", "The Resource '%s' was not found.", at[1])
		}
		return list(a.below(at[1], "/providers/Microsoft.Insights/diagnosticSettings/")...)
	}),
	on("GET", "/subscriptions/([^/]+)/providers/Microsoft.Authorization/roleAssignments", func(a *Azure, r *http.Request, _ []byte, at []string) answer {
		return list(a.all(func(key string) bool {
			return strings.Contains(key, "/roleassignments/") && strings.Contains(r.URL.Query().Get("$filter"), "'"+fmt.Sprint(a.props(key)["principalId"])+"'")
		})...)
	}),
	on("GET", ".*/providers/Microsoft.Authorization/permissions", func(*Azure, *http.Request, []byte, []string) answer {
		return list(object{"actions": []string{"*"}, "notActions": []string{}})
	}),
	on("GET", subscriptionPath+"/locations", func(*Azure, *http.Request, []byte, []string) answer {
		return list(object{"name": "westeurope"}, object{"name": "northeurope"})
	}),
	on("GET", subscriptionPath+"/providers", func(*Azure, *http.Request, []byte, []string) answer {
		var all []object
		for _, name := range []string{"Web", "Storage", "EventHub", "KeyVault", "OperationalInsights", "Insights", "ManagedIdentity", "Authorization"} {
			all = append(all, object{"namespace": "Microsoft." + name, "registrationState": "Registered"})
		}
		return list(all...)
	}),
	on("GET", subscriptionPath+"/providers/Microsoft.Web/geoRegions", func(*Azure, *http.Request, []byte, []string) answer {
		return list(object{"name": "West Europe"}, object{"name": "North Europe"})
	}),
	on("PUT", subscriptionPath+"/providers/Microsoft.Resources/deployments/([^/]+)", (*Azure).deploy),

	on("POST", App+"/config/appsettings/list", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		return answer{200, object{"properties": a.settings}}
	}),
	on("PUT", App+"/config/appsettings", func(a *Azure, _ *http.Request, body []byte, _ []string) answer {
		var given struct{ Properties map[string]string }
		if json.Unmarshal(body, &given) != nil || given.Properties == nil {
			return no(400, "BadRequest", "no properties")
		}
		a.settings = given.Properties // all of them: what is left out is gone
		a.synced, a.archive = 0, []byte("premium:"+a.settings["WEBSITE_RUN_FROM_PACKAGE"])
		return answer{200, given}
	}),
	on("POST", App+"/restart", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		a.archive = []byte("premium:" + a.settings["WEBSITE_RUN_FROM_PACKAGE"])
		return answer{200, nil}
	}),
	on("GET", App+"/functions", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		names := []string{}
		if len(a.scm) > 0 || a.Plan == "premium" {
			if names = []string{"WarmUp"}; a.synced > a.Syncs {
				names = []string{"Detect", "Heartbeat", "Redeliver"}
			}
		}
		var all []object
		for _, name := range names {
			all = append(all, object{"name": "func-podwatch-token/" + name})
		}
		return list(all...)
	}),
	on("POST", App+"/host/default/sync", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		if len(a.Host) > 0 {
			return no(400, "BadRequest", "Encountered an error (ServiceUnavailable) from host runtime.")
		}
		a.synced++
		return answer{204, nil}
	}),
	on("GET", App+"/hostruntime/admin/host/status", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		if len(a.Host) > 0 {
			return answer{200, object{"state": "Error", "errors": a.Host, "version": "4.1044.0"}}
		}
		return answer{200, object{"state": "Running", "version": "4.1044.0", "processUptime": 1000}}
	}),
	on("GET", App+"/config/configreferences/appsettings", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		var all []object
		for _, name := range slices.Sorted(maps.Keys(a.settings)) {
			if !strings.HasPrefix(a.settings[name], "@Microsoft.KeyVault(") {
				continue
			}
			status := cmp.Or(a.Status[name], "Resolved")
			all = append(all, object{"name": name, "properties": object{"reference": a.settings[name], "status": status,
				"vaultName": "kv-podwatch-token", "secretName": "teams-webhook-url", "identityType": "SystemAssigned"}})
		}
		return list(all...)
	}),
	on("POST", App+"/config/configreferences/appsettings/refresh", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		if a.Refresh--; a.Refresh == 0 {
			a.Status = map[string]string{}
		}
		return answer{200, nil}
	}),
	on("GET", Workspace+"/providers/microsoft.insights/logs", func(a *Azure, r *http.Request, _ []byte, _ []string) answer {
		return a.query(r.URL.Query().Get("query"))
	}),

	// The SCM site.
	on("POST", "/api/publish", (*Azure).publish),
	on("GET", "/api/deployments/([^/]+)", (*Azure).scmStatus),
	on("GET", "/api/deployments/([^/]+)/log", func(a *Azure, _ *http.Request, _ []byte, _ []string) answer {
		return answer{200, []object{{"log_time": a.Now().UTC(), "message": "[KuduSpecializer] done", "details_url": ""}}}
	}),

	// The ingestion of the data collection rule, and a Teams workflow.
	on("POST", "/dataCollectionRules/[^/]+/streams/Custom-PodwatchAlerts", func(a *Azure, r *http.Request, body []byte, _ []string) answer {
		rows, err := unzipped(r, body)
		if err != nil {
			return no(400, "InvalidPayload", "%v", err)
		}
		a.Rows = append(a.Rows, rows...)
		return answer{204, nil}
	}),
	on("POST", "/teams", func(*Azure, *http.Request, []byte, []string) answer { return answer{202, nil} }),
}

// deploy makes what the template makes, or leaves a record of the failure.
func (a *Azure) deploy(_ *http.Request, body []byte, at []string) answer {
	id := subscriptionPath + "/providers/Microsoft.Resources/deployments/" + at[1]
	var p struct {
		Location  string
		Overrides map[string]string
		Teams     bool
	}
	_ = json.Unmarshal(body, &p)
	if old := a.resources[strings.ToLower(id)]; old != nil && old["location"] != p.Location {
		return no(400, "InvalidDeploymentLocation", "Invalid deployment location '%s'. The deployment '%s' already exists in location '%s'.", p.Location, at[1], old["location"])
	}
	a.Teams = a.Teams || p.Teams
	deleted := subscriptionPath + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv-podwatch-token"
	waiting, wasDeleted := a.resources[strings.ToLower(deleted)]
	broken := a.Broken
	switch recover := p.Overrides["recoverVault"] == "true"; {
	case broken != "":
	case wasDeleted && !recover:
		broken = `{"error":{"code":"VaultAlreadyExists","message":"The vault name is already in use, or held by a vault that was deleted."}}`
	case !wasDeleted && recover:
		broken = `{"error":{"code":"SoftDeletedVaultDoesNotExist","message":"A soft deleted vault with the given name does not exist."}}`
	case recover && waiting["properties"].(object)["hadSecret"] == true:
		a.put(Secret, "", object{})
	}
	a.put(Group, "westeurope", object{})["tags"] = object{"app": "podwatch"}
	a.put(Identity, "westeurope", object{"principalId": Principal})
	now := a.Now().UTC()
	if broken != "" {
		failure := object{"code": "DeploymentFailed", "message": "At least one resource deployment operation failed.", "details": []object{
			{"code": "ResourceDeploymentFailure", "message": "The resource write operation failed.", "details": []object{{"code": "Conflict", "message": broken}}}}}
		a.put(id, p.Location, object{"provisioningState": "Failed", "timestamp": now, "error": failure, "outputs": nil})
		return answer{409, object{"status": "Failed", "error": failure}}
	}
	a.remove(deleted)
	a.put(id, p.Location, object{"provisioningState": "Succeeded", "timestamp": now, "parameters": object{}})
	a.make(p.Overrides["useTeams"] == "true", now)
	return answer{201, a.resources[strings.ToLower(id)]}
}

func (a *Azure) make(keepTeams bool, now time.Time) {
	host, _ := url.Parse(a.URL)
	site := object{"state": "Running", "hostNameSslStates": []object{{"name": "func-podwatch-token.invalid", "hostType": "Standard"}, {"name": host.Host, "hostType": "Repository"}}}
	if a.Plan == "flex" {
		site["functionAppConfig"] = object{"runtime": object{"name": "custom", "version": "1.0"}}
	}
	for id, properties := range map[string]object{
		App:                                     site,
		Storage:                                 {"publicNetworkAccess": "Enabled", "networkAcls": object{"defaultAction": "Allow"}},
		Namespace:                               {"status": "Active", "disableLocalAuth": false, "publicNetworkAccess": "Enabled"},
		Vault:                                   {"publicNetworkAccess": "Enabled"},
		Workspace:                               {},
		Workspace + "/tables/PodwatchAlerts_CL": {"schema": object{"columns": []object{{"name": "AlertId"}, {"name": "PodwatchVersion"}}}},
		Rule:                                    {"immutableId": "dcr-00000000000000000000000000000001", "streamDeclarations": object{"Custom-PodwatchAlerts": object{}}},
	} {
		if a.resources[strings.ToLower(id)] == nil || id != Vault {
			a.put(id, "westeurope", properties)
		}
	}
	a.assign("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", Storage, now)
	a.assign("974c5e8b-45b9-4653-ba55-5f855dd0fb88", Storage, now)
	a.assign("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", Storage, now)
	a.assign("a638d3c7-ab3a-418d-83e6-5f17a39d4fde", Namespace+"/eventhubs/podwatch", now)
	a.assign("3913510d-42f4-4e42-8a64-420c390055eb", Rule, now)
	a.assign("4633458b-17de-408a-b874-0445c86b69e6", Secret, now)
	for _, of := range []string{subscriptionPath, Cluster} {
		category := map[bool]string{true: "Administrative", false: "kube-audit-admin"}[of == subscriptionPath]
		a.put(of+Setting, "", object{"eventHubAuthorizationRuleId": Namespace + "/authorizationRules/exporter", "eventHubName": "podwatch",
			"logs": []object{{"category": category, "enabled": true}}})
	}
	old := a.settings
	a.settings = map[string]string{
		"EventHub__fullyQualifiedNamespace": "evhns-podwatch-token.servicebus.windows.net", "EVENT_HUB_NAME": "podwatch",
		"LOG_ANALYTICS_ENDPOINT": a.URL, "LOG_ANALYTICS_RULE_ID": "dcr-00000000000000000000000000000001", "TEAMS_WEBHOOK_URL": "",
	}
	if a.Plan == "premium" {
		a.settings["WEBSITE_RUN_FROM_PACKAGE"] = old["WEBSITE_RUN_FROM_PACKAGE"]
	}
	if a.Teams {
		a.put(Secret, "", object{})
	}
	if a.Teams || keepTeams {
		a.settings["TEAMS_WEBHOOK_URL"] = "@Microsoft.KeyVault(SecretUri=https://kv-podwatch-token.vault.azure.net/secrets/teams-webhook-url)"
	}
	a.Teams = false // of this deployment's parameters
	maps.Copy(a.settings, a.Settings)
}

func (a *Azure) assign(role, scope string, now time.Time) {
	id := scope + "/providers/Microsoft.Authorization/roleAssignments/" + role
	if a.resources[strings.ToLower(id)] == nil {
		a.put(id, "", object{"roleDefinitionId": subscriptionPath + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
			"scope": scope, "principalId": Principal, "createdOn": now})
	}
}

// publish accepts a package: 202 with the id of the deployment as a JSON string.
func (a *Azure) publish(r *http.Request, body []byte, _ []string) answer {
	if r.Header.Get("Content-Type") != "application/zip" {
		return answer{415, "Unsupported Media Type"}
	}
	id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", len(a.scm)+1)
	a.scm = append(a.scm, object{"id": id, "deployer": r.URL.Query().Get("Deployer")})
	a.asked, a.synced, a.pending = 0, 0, body
	return answer{202, `"` + id + `"`}
}

// scmStatus answers 200 whatever became of the deployment.
func (a *Azure) scmStatus(_ *http.Request, _ []byte, at []string) answer {
	if len(a.scm) == 0 {
		return answer{404, ""}
	}
	latest := a.scm[len(a.scm)-1]
	if at[1] != "latest" {
		if at[1] != latest["id"] {
			return answer{404, ""}
		}
		if a.asked++; a.asked <= a.Unknown || a.Recycled && a.asked > a.Unknown+1 {
			if a.asked > a.Unknown {
				a.archive, a.pending = a.pending, nil
			}
			return answer{404, ""}
		}
	}
	status := 4
	if n := len(a.Statuses); n > 0 {
		status = a.Statuses[max(0, min(a.asked-a.Unknown-1, n-1))]
	}
	if status == 4 && a.pending != nil {
		a.archive, a.pending = a.pending, nil
	}
	s := maps.Clone(latest)
	s["status"], s["status_text"], s["progress"], s["complete"] = status, "", "", status > 2
	if status != 4 && status > 2 || status < 0 {
		s["status_text"] = a.Failure
	}
	return answer{200, s}
}

// starting returns the start of a package that was published, once.
func (a *Azure) starting() func() {
	if a.archive == nil || a.Hanging || len(a.Host) > 0 {
		return nil
	}
	archive := a.archive
	a.archive = nil
	if a.Published != nil {
		return func() { a.Published(archive) }
	}
	a.Running, a.Started, a.Beat = versionIn(archive), a.Now(), a.Now()
	return nil
}

// versionIn reads the version of a package, or of the name of one in storage.
func versionIn(archive []byte) string {
	if name, ok := strings.CutPrefix(string(archive), "premium:"); ok {
		_, version, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], "podwatch-")
		return strings.TrimSuffix(version, ".zip")
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return ""
	}
	f, err := z.Open("version.txt")
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text))
}
