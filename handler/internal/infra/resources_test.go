package infra_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/config"
)

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

// want complains unless the value is as expected.
func want(what string, got, want any) []string {
	if reflect.DeepEqual(got, want) {
		return nil
	}
	return []string{fmt.Sprintf("%s is %v, want %v", what, got, want)}
}

func checkApp(s *snapshot) (complaints []string) {
	plan, _ := s.Outputs["plan"].(string)
	app, on := s.one("Microsoft.Web/sites"), s.one("Microsoft.Web/serverfarms")
	// An app cannot move between the plans, so they must not meet under one name.
	complaints = append(complaints, want("the plan's name", on.Name, "plan-"+plan+"-"+app.Name)...)
	complaints = append(complaints, want("the kind", app.Kind, "functionapp,linux")...)
	if reference, _ := app.at("keyVaultReferenceIdentity").(string); !strings.Contains(reference, "/userAssignedIdentities/") {
		complaints = append(complaints, "Key Vault references are read as "+reference)
	}
	complaints = append(complaints, want("zone redundancy of the plan", on.at("zoneRedundant"), plan == "premium")...)
	redundancy := map[bool]any{false: "Standard_LRS", true: "Standard_ZRS"}[plan == "premium"]
	complaints = append(complaints, want("redundancy of the account", s.one("Microsoft.Storage/storageAccounts").SKU["name"], redundancy)...)
	if plan == "premium" {
		return complaints
	}
	complaints = append(complaints, want("the runtime", app.at("functionAppConfig", "runtime"), map[string]any{"name": "custom", "version": "1.0"})...)
	complaints = append(complaints, want("the package's place", app.at("functionAppConfig", "deployment", "storage", "type"), "blobContainer")...)
	ready, _ := app.at("functionAppConfig", "scaleAndConcurrency", "alwaysReady").([]any)
	for _, function := range ready {
		name, _ := function.(map[string]any)["name"].(string)
		if !exists("function_app/" + strings.TrimPrefix(name, "function:") + "/function.json") {
			complaints = append(complaints, "always ready is "+name+", which is no function")
		}
	}
	return append(complaints, want("functions that are always ready", len(ready) > 0, s.Name == "two-clusters")...)
}

// longest name of each type, and its form where Azure is strict.
var nameRules = map[string]*regexp.Regexp{
	"Microsoft.Storage/storageAccounts":        regexp.MustCompile(`^[a-z0-9]{3,24}$`),
	"Microsoft.KeyVault/vaults":                regexp.MustCompile(`^[a-z][a-z0-9-]{1,22}[a-z0-9]$`),
	"Microsoft.Web/sites":                      regexp.MustCompile(`^[a-z0-9-]{2,32}$`), // the host's id is no longer
	"Microsoft.EventHub/namespaces":            regexp.MustCompile(`^[a-z][a-z0-9-]{5,49}$`),
	"Microsoft.OperationalInsights/workspaces": regexp.MustCompile(`^[a-z0-9-]{4,63}$`),
	"Microsoft.Insights/dataCollectionRules":   regexp.MustCompile(`^[a-z0-9-]{3,64}$`),
}

// checkNames also holds the tags, by which an installation is found and removed.
func checkNames(s *snapshot) (complaints []string) {
	for _, r := range s.PredictedResources {
		if rule := nameRules[r.Type]; rule != nil && !rule.MatchString(r.Name) {
			complaints = append(complaints, fmt.Sprintf("%s cannot be named %s", r.Type, r.Name))
		}
		if r.Location == "" {
			continue // a part of what has one
		}
		if r.Location != "westeurope" && r.Type != "Microsoft.Insights/actionGroups" {
			complaints = append(complaints, fmt.Sprintf("%s %s is in %s", r.Type, r.Name, r.Location))
		}
		if strings.HasPrefix(r.Type, "Microsoft.OperationalInsights/workspaces/") {
			continue
		}
		if r.Tags["app"] != "podwatch" || r.Tags["podwatch-name"] == "" || r.Tags["podwatch-diagnostic-setting"] != s.Outputs["diagnosticSettingName"] {
			complaints = append(complaints, fmt.Sprintf("%s %s has the tags %v", r.Type, r.Name, r.Tags))
		}
	}
	return complaints
}

// columnType is the type of a column for a Go type, by what its JSON is.
func columnType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "datetime"
	case t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int:
		return "int"
	case t.Kind() == reflect.Float64:
		return "real"
	}
	return "dynamic"
}

// reserved are names that Log Analytics keeps for itself.
var reserved = []string{"id", "Type", "TenantId", "UniqueId", "Title", "_ResourceId", "_SubscriptionId"}

func checkColumns(s *snapshot) (complaints []string) {
	var members []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[alert.Alert]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" && field.IsExported() {
			members = append(members, name+" "+columnType(field.Type))
		}
	}
	table, rule := s.one("Microsoft.OperationalInsights/workspaces/tables"), s.one("Microsoft.Insights/dataCollectionRules")
	stream := rule.at("streamDeclarations", config.DefaultStream, "columns")
	for where, list := range map[string]any{"the table": table.at("schema", "columns"), "the stream": stream} {
		columns, _ := list.([]any)
		var got []string
		for _, column := range columns {
			c, _ := column.(map[string]any)
			name := fmt.Sprint(c["name"])
			got = append(got, name+" "+strings.ToLower(fmt.Sprint(c["type"])))
			if len(name) > 45 || slices.Contains(reserved, name) {
				complaints = append(complaints, where+": Log Analytics keeps the name "+name)
			}
		}
		complaints = append(complaints, difference("a column of "+where, got, members)...)
	}
	flows, _ := json.Marshal(rule.at("dataFlows"))
	for _, part := range []string{`"Custom-PodwatchAlerts_CL"`, `"` + config.DefaultStream + `"`, `"transformKql":"source"`} {
		if !strings.Contains(string(flows), part) {
			complaints = append(complaints, fmt.Sprintf("the rule's flow %s has no %s", flows, part))
		}
	}
	complaints = append(complaints, want("the table", table.at("schema", "name"), "PodwatchAlerts_CL")...)
	return append(complaints, want("the rule's kind", rule.Kind, "Direct")...)
}

// storageNames lists the containers and queues that code and bindings name.
func storageNames() (names []string, err error) {
	names = []string{"containers/deployments", "containers/podwatch-ledger", "containers/podwatch-state", "queues/undelivered-alerts-poison"}
	functions, err := filepath.Glob(filepath.Join(root, "function_app", "*", "function.json"))
	for _, name := range functions {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var f struct {
			Bindings []struct{ Type, QueueName, Path string }
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, err
		}
		for _, b := range f.Bindings {
			container, _, _ := strings.Cut(b.Path, "/")
			if b.QueueName != "" {
				names = append(names, "queues/"+b.QueueName)
			}
			if container != "" {
				names = append(names, "containers/"+container)
			}
		}
	}
	return names, err
}

func checkStorage(s *snapshot) (complaints []string) {
	names, err := storageNames()
	if err != nil {
		return []string{err.Error()}
	}
	var got []string
	for _, r := range s.PredictedResources {
		if strings.HasSuffix(r.Type, "/containers") || strings.HasSuffix(r.Type, "/queues") {
			got = append(got, s.place(r.ID))
		}
	}
	return difference("a container or queue", got, names)
}

// The names in Go code are constants of packages that must not be imported for
// a name; reading them keeps storageNames honest.
func TestStorageNamesAreTheCodes(t *testing.T) {
	const file = "handler/internal/state/documents.go"
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	for _, name := range []string{"podwatch-ledger", "podwatch-state"} {
		if err != nil || !strings.Contains(string(text), `"`+name+`"`) {
			t.Errorf("%s does not use the container %s (%v)", file, name, err)
		}
	}
}

// The ledger and the unreadable messages expire, dead letters do not. The ledger
// outlives what the hub retains.
func checkLifecycle(s *snapshot) []string {
	policy, _ := json.Marshal(s.one("Microsoft.Storage/storageAccounts/managementPolicies").at("policy", "rules"))
	var rules []struct {
		Enabled    bool
		Definition struct {
			Filters struct{ PrefixMatch []string }
			Actions struct {
				BaseBlob struct {
					Delete struct{ DaysAfterModificationGreaterThan float64 }
				}
			}
		}
	}
	if err := json.Unmarshal(policy, &rules); err != nil {
		return []string{err.Error()}
	}
	got := map[string]float64{}
	for _, rule := range rules {
		for _, prefix := range rule.Definition.Filters.PrefixMatch {
			if rule.Enabled {
				got[prefix] = rule.Definition.Actions.BaseBlob.Delete.DaysAfterModificationGreaterThan
			}
		}
	}
	hub := s.one("Microsoft.EventHub/namespaces/eventhubs")
	complaints := want("days until blobs expire", got, map[string]float64{"podwatch-ledger/": 30, "unreadable-messages/": 30})
	complaints = append(complaints, want("hours that the hub retains", hub.at("retentionDescription", "retentionTimeInHours"), 168.0)...)
	return append(complaints, want("the hub's clean-up", hub.at("retentionDescription", "cleanupPolicy"), "Delete")...) // the exporter refuses compacted hubs
}

func TestTheLedgerOutlivesTheHub(t *testing.T) {
	main := string(readInfra(t, "main.bicep"))
	if !strings.Contains(main, "@minValue(8)\nparam ledgerDays") || !strings.Contains(main, "@maxValue(7)\nparam hubRetentionDays") {
		t.Error("the ledger may forget what the hub still holds")
	}
}

// diagnosticSettings lists them with what they are on and their categories.
func (s *snapshot) diagnosticSettings(target string) (lines []string) {
	for _, r := range s.all("Microsoft.Insights/diagnosticSettings") {
		if r.at(target) == nil {
			continue
		}
		on := strings.TrimSuffix(r.ID, "/providers/Microsoft.Insights/diagnosticSettings/"+r.Name)
		logs, _ := r.at("logs").([]any)
		line := s.place(on) + ":"
		for _, log := range logs {
			l, _ := log.(map[string]any)
			if l["enabled"] == true {
				line += fmt.Sprint(" ", l["category"])
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func checkExports(s *snapshot) (complaints []string) {
	var exported []string
	if s.Name != "no-activity-log" {
		exported = append(exported, "subscriptions/11111111-1111-1111-1111-111111111111: Administrative Security Policy")
	}
	if s.Name == "two-clusters" {
		exported = append(exported, "managedClusters/aks-shop: kube-audit-admin", "connectedClusters/arc-plant: kube-audit-admin")
	}
	for _, r := range s.all("Microsoft.Insights/diagnosticSettings") {
		if rule, _ := r.at("eventHubAuthorizationRuleId").(string); rule != "" {
			complaints = append(complaints, want("the exporter's rule", s.place(rule), "authorizationRules/exporter")...)
			complaints = append(complaints, want("the exporter's hub", r.at("eventHubName"), s.Outputs["eventHubName"])...)
			complaints = append(complaints, want("the setting's name", r.Name, s.Outputs["diagnosticSettingName"])...)
		}
	}
	var groups []string
	for _, r := range s.all("Microsoft.EventHub/namespaces/eventhubs/consumergroups") {
		groups = append(groups, s.place(r.ID))
	}
	complaints = append(complaints, difference("a consumer group", groups, []string{"consumergroups/podwatch", "consumergroups/podwatch-tool"})...)
	return append(complaints, difference("an export", s.diagnosticSettings("eventHubName"), exported)...)
}

// checkLogs holds what podwatch's own parts log into the workspace. The alert about
// refused rows reads what the data collection rule logs.
func checkLogs(s *snapshot) []string {
	return difference("a log of a part", s.diagnosticSettings("workspaceId"), []string{
		"dataCollectionRules: LogErrors",
		"blobServices/default: StorageDelete",
		"queueServices/default: StorageDelete",
		"tableServices/default: StorageDelete",
		"namespaces: OperationalLogs",
		"vaults: AuditEvent",
	})
}

func checkFailureAlerts(s *snapshot) (complaints []string) {
	told := s.all("Microsoft.Insights/actionGroups")
	warnings := fmt.Sprint(s.Outputs["warnings"])
	complaints = append(complaints, want("the warning that nobody is told", strings.Contains(warnings, "failureEmails is empty"), len(told) == 0)...)
	complaints = append(complaints, want("the warning about cards", strings.Contains(warnings, "No cards"), !slices.Contains(withTeams, s.Name))...)
	complaints = append(complaints, want("the warning about exports", strings.Contains(warnings, "Nothing is exported"), s.Name == "no-activity-log")...)
	var names []string
	for _, r := range s.all("Microsoft.Insights/scheduledQueryRules") {
		_, name, _ := strings.Cut(r.Name, "-")
		names = append(names, name)
		actions, _ := r.at("actions", "actionGroups").([]any)
		complaints = append(complaints, want(name+": who is told", len(actions), len(told))...)
		complaints = append(complaints, want(name+": enabled", r.at("enabled"), true)...)
		complaints = append(complaints, want(name+": window", r.at("windowSize"), "PT15M")...) // three heartbeats
		// It would resolve after the two days that a rule may look back.
		heartbeat := name == "no-heartbeat"
		complaints = append(complaints, want(name+": resolves", r.at("autoMitigate"), !heartbeat)...)
		complaints = append(complaints, want(name+": looks back", r.at("overrideQueryTimeRange"), map[bool]any{true: "P2D"}[heartbeat])...)
		criteria, _ := r.at("criteria", "allOf").([]any)
		if len(criteria) != 1 {
			complaints = append(complaints, fmt.Sprintf("%s has %d criteria", name, len(criteria)))
			continue
		}
		c, _ := criteria[0].(map[string]any)
		complaints = append(complaints, want(name+": criterion", fmt.Sprint(c["timeAggregation"], c["operator"], c["threshold"]), "CountGreaterThan0")...)
		query, _ := c["query"].(string)
		if app := fmt.Sprint(s.Outputs["functionAppName"]); strings.Contains(query, "AppRoleName") && !strings.Contains(query, `AppRoleName =~ "`+app+`"`) {
			complaints = append(complaints, name+" is about another app: "+query)
		}
		for _, m := range regexp.MustCompile(`\bName == "(\w+)"`).FindAllStringSubmatch(query, -1) {
			if !exists("function_app/" + m[1] + "/function.json") {
				complaints = append(complaints, "there is no function "+m[1]+" to miss")
			}
		}
	}
	return append(complaints, difference("an alert", names, []string{"failed-invocations", "errors", "no-heartbeat", "refused-rows"})...)
}

// checkIncidents holds the rule of Sentinel.
func checkIncidents(s *snapshot) (complaints []string) {
	kind := map[string]string{"premium": "NRT", "no-activity-log": "Scheduled"}[s.Name]
	rule := s.one("Microsoft.SecurityInsights/alertRules")
	if complaints = want("the rule's kind", rule.Kind, kind); kind == "" {
		return complaints
	}
	query, _ := rule.at("query").(string)
	for _, part := range []string{"PodwatchAlerts_CL\n", "Suppressed == false and Routine == false", "by AlertId"} {
		if !strings.Contains(query, part) {
			complaints = append(complaints, "the query has no "+part)
		}
	}
	complaints = append(complaints, want("what was ingested", strings.Contains(query, "ingestion_time() > ago(5m)"), kind == "Scheduled")...)
	complaints = append(complaints, want("how far it looks", rule.at("queryPeriod"), map[string]any{"Scheduled": "PT47H"}[kind])...)
	grouping, _ := rule.at("incidentConfiguration", "groupingConfiguration").(map[string]any)
	complaints = append(complaints, want("incidents", rule.at("incidentConfiguration", "createIncident"), true)...)
	complaints = append(complaints, want("grouping", fmt.Sprintf("%v %v %v", grouping["enabled"], grouping["matchingMethod"], grouping["groupByEntities"]), "true Selected [Account AzureResource]")...)
	entities, _ := json.Marshal(rule.at("entityMappings"))
	for _, entity := range []string{"Account", "IP", "AzureResource"} {
		if !strings.Contains(string(entities), `"entityType":"`+entity+`"`) {
			complaints = append(complaints, "no entity "+entity)
		}
	}
	override, _ := rule.at("alertDetailsOverride").(map[string]any)
	return append(complaints, want("severity and tactics", fmt.Sprint(override["alertSeverityColumnName"], " ", override["alertTacticsColumnName"]), "SentinelSeverity SentinelTactics")...)
}

var listCall = regexp.MustCompile(`\blist[A-Z]?\w*\(`)

// TestSecretsStayOut: the webhook is a secure parameter wherever it is one, and no
// template asks Azure for a key.
func TestSecretsStayOut(t *testing.T) {
	for _, pattern := range []string{"*.bicep", "modules/*.bicep"} {
		names, err := filepath.Glob(filepath.Join(root, "infra", filepath.FromSlash(pattern)))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), "param teamsWebhookUrl "); n != strings.Count(string(text), "@secure()\nparam teamsWebhookUrl ") {
				t.Errorf("%s: the webhook is not @secure()", name)
			}
			if call := listCall.FindString(string(text)); call != "" {
				t.Errorf("%s calls %s", name, call)
			}
		}
	}
	example := string(readInfra(t, "main.bicepparam"))
	if !strings.Contains(example, "readEnvironmentVariable('TEAMS_WEBHOOK_URL', '')") || strings.Contains(example, "https://") {
		t.Error("the example of parameters does not take the webhook from the environment")
	}
}

var anyGUID = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// TestPermissions holds the one template that is deployed apart: it grants reading and
// nothing else.
func TestPermissions(t *testing.T) {
	text := string(readInfra(t, "permissions.bicep"))
	reading := []string{"acdd72a7-3385-48ef-bd42-f606fba81ae7", "43d0d8ad-25c7-4714-9337-8ba259a9fe05"} // Reader, Monitoring Reader
	if got := anyGUID.FindAllString(text, -1); !slices.Equal(got, reading) {
		t.Errorf("the roles are %v, want %v", got, reading)
	}
	for _, part := range []string{"name: guid(subscription().id, principalId, roleId)", "principalType: 'ServicePrincipal'", "'roleDefinitions', roleId)"} {
		if !strings.Contains(text, strings.Replace(part, "'roleD", "'Microsoft.Authorization/roleD", 1)) {
			t.Errorf("the template has no %s", part)
		}
	}
}
