// Package infra_test holds what a reviewer would ask of the templates in infra/,
// without Azure and without the Bicep CLI.
//
// Each check is a function from the templates to a list of complaints.
// TestTemplates wants none from any of them; TestChecksNotice spoils the
// templates in memory, one mistake at a time, and wants the check that is meant
// for it to complain. The scripts run against a stand-in for the Azure CLI.
//
// The package stands below handler because it compares the templates with Go
// types that only code below handler may import.
package infra_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
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

const root = "../../.."

// Templates are the Bicep files by their path below infra, as text and parsed,
// and the workbook that one of them loads, as text.
type templates struct {
	source map[string]string
	parsed map[string]*file
}

type file struct {
	Errors []struct {
		Line int
		Text string
	}
	Declarations []*declaration
}

// A declaration is described in infra/local/bicep.mjs.
type declaration struct {
	Kind, Name, Of, Text, Value string
	Line                        int
	Existing, Secure            bool
	Properties                  map[string]string
}

func (t templates) files() []string { return slices.Sorted(maps.Keys(t.parsed)) }

// each calls f for the declarations of a kind, in every file.
func (t templates) each(kind string, f func(file string, d *declaration)) {
	for _, name := range t.files() {
		for _, d := range t.parsed[name].Declarations {
			if d.Kind == kind {
				f(name, d)
			}
		}
	}
}

// resources lists the resources of a type, "Microsoft.Storage/storageAccounts".
func (t templates) resources(kind string) map[string]*declaration {
	found := map[string]*declaration{}
	t.each("resource", func(file string, d *declaration) {
		if name, _, _ := strings.Cut(d.Of, "@"); strings.EqualFold(name, kind) && !d.Existing {
			found[file+": "+d.Name] = d
		}
	})
	return found
}

func (t templates) find(file, kind, name string) *declaration {
	f := t.parsed[file]
	if f == nil {
		return &declaration{}
	}
	for _, d := range f.Declarations {
		if d.Kind == kind && d.Name == name {
			return d
		}
	}
	return &declaration{}
}

// A parser is the Node.js process that parses Bicep.
type parser struct {
	in  io.Writer
	out *bufio.Reader
}

func startParser(t *testing.T) *parser {
	t.Helper()
	local := filepath.Join(root, "infra", "local")
	if _, err := os.Stat(filepath.Join(local, "node_modules", "tree-sitter-bicep")); err != nil {
		t.Fatal("parsing Bicep needs the node packages: run `make deps`")
	}
	cmd := exec.Command("node", filepath.Join(local, "bicep.mjs"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("parsing Bicep needs Node.js: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &parser{in: in, out: bufio.NewReader(out)}
}

func (p *parser) parse(t *testing.T, source map[string]string) templates {
	t.Helper()
	bicep := maps.Clone(source)
	delete(bicep, workbookFile)
	request, err := json.Marshal(bicep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(request, '\n')); err != nil {
		t.Fatal(err)
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	parsed := map[string]*file{}
	if err := json.Unmarshal(answer, &parsed); err != nil {
		t.Fatal(err)
	}
	return templates{source: source, parsed: parsed}
}

func readTemplates(t *testing.T) map[string]string {
	t.Helper()
	source := map[string]string{}
	for _, pattern := range []string{"*.bicep", "modules/*.bicep", workbookFile} {
		names, err := filepath.Glob(filepath.Join(root, "infra", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			below, err := filepath.Rel(filepath.Join(root, "infra"), name)
			if err != nil {
				t.Fatal(err)
			}
			source[filepath.ToSlash(below)] = string(text)
		}
	}
	if len(source) < 5 {
		t.Fatalf("found only %v", slices.Collect(maps.Keys(source)))
	}
	return source
}

// checks by the name that TestChecksNotice uses.
var checks = map[string]func(templates) []string{
	"syntax":           checkSyntax,
	"references":       checkReferences,
	"unused":           checkUnused,
	"settings":         checkSettings,
	"api versions":     checkAPIVersions,
	"roles":            checkRoles,
	"role assignments": checkRoleAssignments,
	"secrets":          checkSecrets,
	"storage":          checkStorage,
	"event hub":        checkEventHub,
	"vault":            checkVault,
	"app":              checkApp,
	"columns":          checkColumns,
	"monitoring":       checkMonitoring,
	"lifecycle":        checkLifecycle,
	"exports":          checkExports,
	"diagnostics":      checkDiagnostics,
	"failure alerts":   checkFailureAlerts,
	"workbook":         checkWorkbook,
}

func TestTemplates(t *testing.T) {
	tree := startParser(t).parse(t, readTemplates(t))
	for name, check := range checks {
		for _, complaint := range check(tree) {
			t.Errorf("%s: %s", name, complaint)
		}
	}
}

// A mistake replaces old by new once in a file; check must notice.
type mistake struct{ check, file, old, new string }

func TestChecksNotice(t *testing.T) {
	const (
		main       = "main.bicep"
		storage    = "modules/storage.bicep"
		hub        = "modules/eventhub.bicep"
		vault      = "modules/keyvault.bicep"
		monitoring = "modules/monitoring.bicep"
		flex       = "modules/app-flex.bicep"
		premium    = "modules/app-premium.bicep"
		failures   = "modules/failure-alerts.bicep"
		activity   = "modules/export-activity-log.bicep"
		cluster    = "modules/export-cluster.bicep"
		workbook   = "modules/workbook.bicep"
	)
	p, sound := startParser(t), readTemplates(t)
	for _, m := range []mistake{
		{"syntax", main, "targetScope = 'subscription'", "targetScope = "},
		{"syntax", hub, "parent: namespace\n", "parent: namespace {\n"},
		{"references", main, "storage.outputs.name\n", "storage.outputs.nme\n"},
		{"references", main, "    sku: storageSku\n", ""},
		{"references", main, "    sku: storageSku\n", "    sku: storageSku\n    colour: 'red'\n"},
		{"references", main, "modules/workbook.bicep", "modules/workbok.bicep"},
		{"unused", main, "param plan string = 'flex'", "param plan string = 'flex'\nparam colour string = 'red'"},
		{"unused", hub, "var roles = {", "var colours = []\nvar roles = {"},

		{"settings", main, "  FEED_SILENCE_AFTER: feedSilenceAfter\n", ""},
		{"settings", main, "EventHub__credential: 'managedidentity'", "EventHub__credential: 'none'"},
		{"settings", main, "  EVENT_HUB_NAME: eventHubName\n", "  EVENT_HUB_NAME: eventHubName\n  EventHub: 'Endpoint=sb://x'\n"},
		{"settings", main, "EVENT_HUB_CONSUMER_GROUP: consumerGroup", "EVENT_HUB_CONSUMER_GROUP: '$Default'"},
		{"settings", main, "ClientId=${identity.outputs.clientId};Authorization=AAD", "Authorization=AAD"},
		{"settings", flex, "appSettings: [for setting in items(settings)", "appSettings: [for setting in items({})"},
		{"settings", premium, "items(union(settings, planSettings))", "items(planSettings)"},
		{"settings", main, "  AZURE_CLIENT_ID: identity.outputs.clientId\n", ""},
		{"settings", main, "LOG_ANALYTICS_RULE_ID: monitoring.outputs.ruleImmutableId", "LOG_ANALYTICS_RULE_ID: 'dcr-1'"},
		{"settings", main, "  LOG_LEVEL: logLevel\n", "  LOG_LEVEL: logLevel\n  'Logging:LogLevel': logLevel\n"},

		{"api versions", storage, "Microsoft.Storage/storageAccounts@2025-06-01'", "Microsoft.Storage/storageAccounts'"},
		{"api versions", hub, "Microsoft.EventHub/namespaces@2024-01-01", "Microsoft.EventHub/namespaces@2026-07-01-preview"},

		{"roles", storage, "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "b7e6dc6d-f1e8-4753-8033-0f276bb0955c"},
		{"roles", hub, "azureEventHubsDataReceiver: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'", "azureEventHubsDataReceiver: 'f526a384-b230-433a-b45c-95f59c4a2dec'"},
		{"roles", vault, "keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'", "owner: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'"},
		{"roles", main, "var consumerGroup = 'podwatch'", "var owner = '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'"},
		{"role assignments", hub, "    principalType: 'ServicePrincipal'\n", ""},
		{"role assignments", storage, "name: guid(account.id, principalId, role)", "name: newGuid()"},
		{"role assignments", monitoring, "name: guid(rule.id, principalId, roles.monitoringMetricsPublisher)", "name: guid(rule.id)"},
		{"role assignments", vault, "  scope: webhook\n  properties: {\n    principalId", "  properties: {\n    principalId"},
		{"role assignments", hub, "  scope: hub\n  properties: {\n    principalId: principalId", "  scope: namespace\n  properties: {\n    principalId: principalId"},
		{"role assignments", hub, "name: guid(hub.id, principalId, roles.azureEventHubsDataReceiver)", "name: guid(hub.id, principalId, roles.azureEventHubsDataSender)"},
		{"role assignments", hub, "'Microsoft.Authorization/roleDefinitions', roles.azureEventHubsDataReceiver)", "'Microsoft.Authorization/roleDefinitions', roles.azureEventHubsDataSender)"},
		{"role assignments", storage, "  roles.storageTableDataContributor\n", "  roles.storageTableDataContributor\n  roles.storageBlobDataContributor\n"},
		{"role assignments", storage, "var operatorRoles = empty(operatorPrincipalId) ? [] : [\n  roles.storageBlobDataContributor", "var operatorRoles = empty(operatorPrincipalId) ? [] : [\n  roles.storageBlobDataOwner"},
		{"role assignments", monitoring, "    principalId: principalId\n", "    principalId: operator\n"},
		{"role assignments", monitoring, "resource insightsAssignment ", "resource anotherAssignment "},
		{"role assignments", "permissions.bicep", "roles.reader : roles.monitoringReader", "'owner' : roles.monitoringReader"},

		{"secrets", hub, "output exporterRuleId string = exporter.id", "output exporterRuleId string = exporter.listKeys().primaryConnectionString"},
		{"secrets", storage, "output name string = account.name", "output name string = listKeys(account.id, '2025-06-01').keys[0].value"},
		{"secrets", main, "output plan string = plan", "output plan string = teamsWebhookUrl"},
		{"secrets", main, "@secure()\nparam teamsWebhookUrl", "param teamsWebhookUrl"},
		{"secrets", vault, "@secure()\nparam teamsWebhookUrl", "param teamsWebhookUrl"},
		{"secrets", main, "TEAMS_WEBHOOK_URL: vault.outputs.webhookReference", "TEAMS_WEBHOOK_URL: teamsWebhookUrl"},
		{"secrets", main, "param teamsWebhookUrl string = ''", "param teamsWebhookUrl string = 'https://example.com/sig=x'"},

		{"storage", storage, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"},
		{"storage", storage, "allowBlobPublicAccess: false", "allowBlobPublicAccess: true"},
		{"storage", storage, "minimumTlsVersion: 'TLS1_2'", "minimumTlsVersion: 'TLS1_0'"},
		{"storage", storage, "defaultToOAuthAuthentication: true", "defaultToOAuthAuthentication: false"},
		{"storage", storage, "publicAccess: 'None'", "publicAccess: 'Blob'"},
		{"storage", storage, "resource account 'Microsoft.Storage/storageAccounts@2025-06-01' =", "resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing ="},
		{"storage", storage, "    supportsHttpsTrafficOnly: true\n", ""},
		{"storage", storage, "'unreadable-messages']", "'unreadable']"},
		{"storage", storage, "'podwatch-ledger', ", ""},
		{"storage", storage, "'podwatch-state', ", ""},
		{"storage", storage, "'undelivered-alerts', ", ""},

		{"event hub", hub, "minimumTlsVersion: '1.2'", "minimumTlsVersion: '1.0'"},
		{"event hub", hub, "signs in with a shared access key", "likes it"},
		{"event hub", hub, "disableLocalAuth: false", "disableLocalAuth: true"},
		{"event hub", hub, "parent: namespace\n  name: 'exporter'", "parent: namespace\n  name: 'RootManageSharedAccessKey'"},
		{"event hub", hub, "name: consumerGroup\n", "name: '$Default'\n"},
		{"event hub", hub, "rights: ['Listen', 'Manage', 'Send']", "rights: ['Listen', 'Send']"},
		{"event hub", main, "var consumerGroup = 'podwatch'", "var consumerGroup = '$Default'"},
		{"event hub", hub, "    // Exception to the rule", "    // Rule"},
		{"event hub", hub, "name: 'Standard' //", "name: 'Basic' //"},
		{"event hub", hub, "cleanupPolicy: 'Delete'", "cleanupPolicy: 'Compact'"},
		{"event hub", hub, "retentionTimeInHours: retentionDays * 24", "retentionTimeInHours: retentionDays"},
		{"event hub", hub, "name: eventHubName\n", "name: 'logs'\n"},

		{"vault", vault, "enableRbacAuthorization: true", "enableRbacAuthorization: false"},
		{"vault", vault, "enablePurgeProtection: true", "enablePurgeProtection: false"},
		{"vault", vault, "enableSoftDelete: true", "enableSoftDelete: false"},
		{"vault", vault, "softDeleteRetentionInDays: 90", "softDeleteRetentionInDays: 7"},
		{"vault", vault, "name: 'teams-webhook-url'", "name: 'webhook'"},
		{"vault", vault, "secrets/teams-webhook-url)'", "secrets/teams-webhook)'"},

		{"app", flex, "name: 'custom'", "name: 'node'"},
		{"app", flex, "version: '1.0'", "version: '2.0'"},
		{"app", flex, "httpsOnly: true", "httpsOnly: false"},
		{"app", premium, "minTlsVersion: '1.2'", "minTlsVersion: '1.0'"},
		{"app", flex, "type: 'UserAssignedIdentity'", "type: 'StorageAccountConnectionString'"},
		{"app", flex, "    keyVaultReferenceIdentity: identityId\n", ""},
		{"app", flex, "name: 'function:Detect'", "name: 'function:Detector'"},
		{"app", premium, "  FUNCTIONS_WORKER_RUNTIME: 'custom'\n", ""},
		{"app", main, "  LOG_LEVEL: logLevel\n", "  LOG_LEVEL: logLevel\n  FUNCTIONS_WORKER_RUNTIME: 'custom'\n"},
		{"app", premium, "      allow: false\n", "      allow: true\n"},
		{"app", flex, "kind: 'functionapp,linux'", "kind: 'functionapp'"},
		{"app", flex, "type: 'UserAssigned'", "type: 'SystemAssigned'"},
		{"app", flex, "      '${identityId}': {}\n", ""},
		{"app", premium, "WEBSITE_RUN_FROM_PACKAGE: packageUri", "WEBSITE_RUN_FROM_PACKAGE: '1'"},
		{"app", premium, "FUNCTIONS_EXTENSION_VERSION: '~4'", "FUNCTIONS_EXTENSION_VERSION: '~3'"},
		{"app", flex, "type: 'blobContainer'", "type: 'url'"},
		{"app", premium, "resource app 'Microsoft.Web/sites@", "resource app 'Microsoft.Web/staticSites@"},

		{"columns", monitoring, "  { name: 'UserAgent', type: 'string' }\n", ""},
		{"columns", monitoring, "{ name: 'RiskScore', type: 'int' }", "{ name: 'RiskScore', type: 'string' }"},
		{"columns", monitoring, "  { name: 'Pod', type: 'string' }\n", "  { name: 'Pod', type: 'string' }\n  { name: 'Container', type: 'string' }\n"},
		{"columns", monitoring, "{ name: 'Pod', type: 'string' }", "{ name: 'Title', type: 'string' }"},
		{"columns", monitoring, "        columns: columns\n", "        columns: []\n"},
		{"columns", monitoring, "columns: [for column in columns:", "columns: [for column in []:"},
		{"monitoring", monitoring, "var streamName = 'Custom-PodwatchAlerts'", "var streamName = 'Custom-Alerts'"},
		{"monitoring", monitoring, "kind: 'Direct'", "kind: 'Linux'"},
		{"monitoring", monitoring, "DisableLocalAuth: true", "DisableLocalAuth: false"},
		{"monitoring", monitoring, "rule.properties.endpoints.logsIngestion", "'https://westeurope.ingest.monitor.azure.com'"},
		{"monitoring", monitoring, "var tableName = 'PodwatchAlerts_CL'", "var tableName = 'PodwatchAlerts'"},
		{"monitoring", monitoring, "  dependsOn: [table]\n", ""},
		{"monitoring", monitoring, "disableLocalAuth: true //", "disableLocalAuth: false //"},
		{"monitoring", monitoring, "rule.properties.immutableId", "rule.id"},
		{"monitoring", monitoring, "outputStream: 'Custom-${tableName}'", "outputStream: 'Microsoft-Event'"},
		{"monitoring", monitoring, "WorkspaceResourceId: workspace.id", "WorkspaceResourceId: ''"},

		{"lifecycle", storage, "prefixMatch: ['podwatch-ledger/']", "prefixMatch: ['ledger/']"},
		{"lifecycle", storage, "prefixMatch: ['podwatch-ledger/']", "prefixMatch: ['podwatch-ledger/', 'podwatch-state/']"},
		{"lifecycle", storage, "daysAfterModificationGreaterThan: unreadableDays", "daysAfterCreationGreaterThan: unreadableDays"},
		{"lifecycle", main, "@minValue(8)\nparam ledgerDays", "@minValue(1)\nparam ledgerDays"},
		{"lifecycle", main, "@maxValue(7)\nparam hubRetentionDays", "@maxValue(90)\nparam hubRetentionDays"},
		{"lifecycle", main, "ledgerDays: ledgerDays\n", "ledgerDays: 1\n"},
		{"lifecycle", storage, "          name: 'expire-ledger'\n          enabled: true", "          name: 'expire-ledger'\n          enabled: false"},

		{"exports", activity, "'Administrative', ", ""},
		{"exports", activity, "'Security', ", ""},
		{"exports", activity, ", 'Policy'", ""},
		{"exports", activity, "category: category", "category: 'Alert'"},
		{"exports", cluster, "enabled: true", "enabled: false"},
		{"exports", cluster, "  scope: cluster\n", ""},
		{"exports", cluster, "    eventHubAuthorizationRuleId: authorizationRuleId\n", ""},
		{"exports", main, "param exportActivityLog bool = true", "param exportActivityLog bool = false"},
		{"exports", main, "= if (exportActivityLog) {", "= if (useTeams) {"},
		{"exports", main, "[for (c, i) in clusters:", "[for (c, i) in []:"},
		{"exports", main, "    categories: auditCategories\n", ""},
		{"exports", activity, "    eventHubName: eventHubName\n", ""},
		{"exports", cluster, "    eventHubName: eventHubName\n", ""},
		{"exports", cluster, "['kube-audit-admin']", "['kube-apiserver']"},
		{"exports", main, "param auditCategories string[] = ['kube-audit-admin']", "param auditCategories string[] = ['kube-audit']"},

		{"diagnostics", monitoring, "category: 'LogErrors'", "category: 'LogTroubleshooting'"},
		{"diagnostics", monitoring, "  scope: rule\n  properties: {\n    workspaceId", "  scope: insights\n  properties: {\n    workspaceId"},
		{"diagnostics", vault, "        enabled: true\n", "        enabled: false\n"},
		{"diagnostics", vault, "category: 'AuditEvent'", "category: 'AzurePolicyEvaluationDetails'"},
		{"diagnostics", hub, "    workspaceId: workspaceId\n", ""},
		{"diagnostics", storage, "resource diagnostics ", "resource other "},

		{"workbook", workbook, "sourceId: workspaceId", "sourceId: ''"},
		{"workbook", workbook, "'../workbook.json'", "'../notebook.json'"},
		{"workbook", workbook, "'{workspaceId}', workspaceId", "'{workspace}', workspaceId"},
		{"workbook", workbook, "kind: 'shared'", "kind: 'user'"},
		{"workbook", main, "module workbook 'modules/workbook.bicep' = {", "module workbook 'modules/workbook.bicep' = if (useTeams) {"},
		{"workbook", workbookFile, `"title": "By caller"`, `"title": "Who"`},
		{"workbook", workbookFile, "SuppressedBy", "ExceptionName"},
		{"workbook", workbookFile, "Line.counts.delivered", "Line.counts.shipped"},
		{"workbook", workbookFile, "Line.function ==", "Line.func =="},
		{"workbook", workbookFile, `Line.msg == \"invocation\"`, `Line.msg == \"batch\"`},
		{"workbook", workbookFile, `RuleId != \"podwatch-feed\"`, `RuleId != \"feed-silence\"`},
		{"workbook", workbookFile, "PodwatchAlerts_CL", "Podwatch_CL"},
		{"workbook", workbookFile, `"microsoft.operationalinsights/workspaces",`, `"microsoft.insights/components",`},
		{"workbook", workbookFile, `"name": "TimeRange"`, `"name": "Time"`},
		{"workbook", workbookFile, `"{workspaceId}"`, `"{workspace}"`},
		{"workbook", workbookFile, `"items"`, `items`},

		{"failure alerts", failures, "enabled: true\n    scopes", "enabled: false\n    scopes"},
		{"failure alerts", failures, "scopes: [workspaceId]", "scopes: []"},
		{"failure alerts", failures, "windowSize: 'PT15M'", "windowSize: 'PT1M'"},
		{"failure alerts", failures, "query: rule.query", "query: ''"},
		{"failure alerts", failures, "actionGroups: empty(emails) ? [] : [actions.id]", "actionGroups: []"},
		{"failure alerts", failures, "emailAddress: email", "emailAddress: 'somebody@example.com'"},
		{"failure alerts", main, "    appName: 'func-${name}-${token}'\n", "    appName: name\n"},
		{"failure alerts", main, "emails: failureEmails", "emails: []"},
		{"failure alerts", failures, `== "ERROR"`, `== "Error"`},
		{"failure alerts", failures, "query: 'DCRLogErrors'", "query: 'DCRErrors'"},
		{"failure alerts", failures, `Name == "Heartbeat"`, `Name == "Heart"`},
		{"failure alerts", failures, "operator: 'LessThan'", "operator: 'GreaterThan'"},
		{"failure alerts", failures, "Success == false", "Success == true"},
	} {
		t.Run(m.check+": "+strings.TrimSpace(m.old), func(t *testing.T) {
			source := maps.Clone(sound)
			if strings.Count(source[m.file], m.old) == 0 {
				t.Fatalf("%s does not contain %q", m.file, m.old)
			}
			source[m.file] = strings.Replace(source[m.file], m.old, m.new, 1)
			if len(checks[m.check](p.parse(t, source))) == 0 {
				t.Errorf("nobody noticed %q instead of %q", m.new, m.old)
			}
		})
	}
}

func checkSyntax(t templates) (complaints []string) {
	for name, f := range t.parsed {
		for _, e := range f.Errors {
			complaints = append(complaints, fmt.Sprintf("%s:%d: cannot be parsed near %q", name, e.Line, e.Text))
		}
	}
	return complaints
}

var outputOf = regexp.MustCompile(`\b([A-Za-z]\w*)\.outputs\.(\w+)`)

// checkReferences does some of the type checker's work: modules exist, get the
// parameters that they want and no others, and have the outputs that are used.
func checkReferences(t templates) (complaints []string) {
	t.each("module", func(file string, d *declaration) {
		target := filepath.ToSlash(filepath.Join(filepath.Dir(file), d.Of))
		module := t.parsed[target]
		if module == nil {
			complaints = append(complaints, fmt.Sprintf("%s: module %s: there is no %s", file, d.Name, target))
			return
		}
		wanted := map[string]bool{}
		for _, p := range module.Declarations {
			if p.Kind != "param" {
				continue
			}
			wanted[p.Name] = true
			if _, given := d.Properties["params."+p.Name]; !given && p.Value == "" {
				complaints = append(complaints, fmt.Sprintf("%s: module %s gets no %s", file, d.Name, p.Name))
			}
		}
		for path := range d.Properties {
			name, ok := strings.CutPrefix(path, "params.")
			if ok && !strings.Contains(name, ".") && !wanted[name] {
				complaints = append(complaints, fmt.Sprintf("%s: module %s has no parameter %s", file, d.Name, name))
			}
		}
	})
	for _, name := range t.files() {
		for _, m := range outputOf.FindAllStringSubmatch(t.source[name], -1) {
			module := t.find(name, "module", m[1])
			target := filepath.ToSlash(filepath.Join(filepath.Dir(name), module.Of))
			if t.find(target, "output", m[2]).Name == "" {
				complaints = append(complaints, fmt.Sprintf("%s: %s: no such output", name, m[0]))
			}
		}
	}
	return complaints
}

func checkUnused(t templates) (complaints []string) {
	for _, kind := range []string{"param", "var"} {
		t.each(kind, func(file string, d *declaration) {
			name := regexp.MustCompile(`\b` + d.Name + `\b`)
			// Once in its declaration; a member of the same name is no use.
			uses := 0
			for _, line := range strings.Split(t.source[file], "\n") {
				code, _, _ := strings.Cut(line, "// ")
				for _, at := range name.FindAllStringIndex(code, -1) {
					member := strings.TrimSpace(code[:at[0]]) == "" && strings.HasPrefix(code[at[1]:], ":")
					if !member && !strings.HasSuffix(code[:at[0]], ".") {
						uses++
					}
				}
			}
			if uses < 2 {
				complaints = append(complaints, fmt.Sprintf("%s: %s %s is never used", file, d.Kind, d.Name))
			}
		})
	}
	return complaints
}

// mustStayUnset are settings whose presence in Azure would be a mistake.
var mustStayUnset = []string{
	"AzureWebJobsStorage", // a connection string overrides the identity
	"EventHub",
}

// platform are settings that the host, azidentity and the telemetry read.
var platform = map[string]string{
	"AzureWebJobsStorage__credential":           "'managedidentity'",
	"AzureWebJobsStorage__clientId":             "identity.outputs.clientId",
	"EventHub__credential":                      "'managedidentity'",
	"EventHub__clientId":                        "identity.outputs.clientId",
	"EVENT_HUB_CONSUMER_GROUP":                  "consumerGroup",
	"AZURE_CLIENT_ID":                           "identity.outputs.clientId",
	"AZURE_TOKEN_CREDENTIALS":                   "'ManagedIdentityCredential'",
	"AZURE_AUTHORITY_HOST":                      "environment().authentication.loginEndpoint",
	"APPLICATIONINSIGHTS_CONNECTION_STRING":     "monitoring.outputs.insightsConnectionString",
	"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "'ClientId=${identity.outputs.clientId};Authorization=AAD'",
	"LOG_ANALYTICS_RULE_ID":                     "monitoring.outputs.ruleImmutableId",
	"LOG_ANALYTICS_ENDPOINT":                    "monitoring.outputs.ingestionEndpoint",
}

var settingLine = regexp.MustCompile(`(?m)^\s*([A-Za-z]\w*|'[^']+'):\s*(.*?)\s*(?:// .*)?$`)

// appSettings are the settings that main.bicep gives to the app.
func appSettings(t templates) map[string]string {
	settings := map[string]string{}
	for _, name := range []string{"storageSettings", "settings"} {
		for _, m := range settingLine.FindAllStringSubmatch(t.find("main.bicep", "var", name).Value, -1) {
			settings[strings.Trim(m[1], "'")] = m[2]
		}
	}
	return settings
}

func checkSettings(t templates) (complaints []string) {
	settings := appSettings(t)
	for _, name := range config.Settings() {
		_, set := settings[name]
		if unset := slices.Contains(mustStayUnset, name); set == unset {
			complaints = append(complaints, fmt.Sprintf("setting %s: set is %t, want %t", name, set, !unset))
		}
	}
	for name, want := range platform {
		if settings[name] != want {
			complaints = append(complaints, fmt.Sprintf("setting %s is %s, want %s", name, settings[name], want))
		}
	}
	for name := range settings {
		if strings.Contains(name, ":") {
			complaints = append(complaints, fmt.Sprintf("setting %s: Flex refuses colons", name))
		}
	}
	for file, want := range map[string]string{"modules/app-flex.bicep": "items(settings)", "modules/app-premium.bicep": "items(union(settings, planSettings))"} {
		if !strings.Contains(t.find(file, "resource", "app").Properties["properties.siteConfig.appSettings"], want) {
			complaints = append(complaints, fmt.Sprintf("%s does not set %s", file, want))
		}
	}
	return complaints
}

var apiVersion = regexp.MustCompile(`^Microsoft\.[\w.]+(/\w+)+@20\d\d-\d\d-\d\d(-preview)?$`)

func checkAPIVersions(t templates) (complaints []string) {
	t.each("resource", func(file string, d *declaration) {
		if !strings.Contains(d.Of, "/") {
			return // nested: has the version of what it stands in
		}
		m := apiVersion.FindStringSubmatch(d.Of)
		switch {
		case m == nil:
			complaints = append(complaints, fmt.Sprintf("%s: %s is of type %q, which has no API version", file, d.Name, d.Of))
		case m[2] != "" && !strings.HasPrefix(d.Of, "Microsoft.Insights/diagnosticSettings@"):
			complaints = append(complaints, fmt.Sprintf("%s: %s uses a preview: %s", file, d.Name, d.Of))
		}
	})
	return complaints
}

// knownRoles are the built-in roles that podwatch may use, by id.
var knownRoles = map[string]string{
	"b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "storageBlobDataOwner",
	"ba92f5b4-2d11-453d-a403-e96b0029c9fe": "storageBlobDataContributor",
	"974c5e8b-45b9-4653-ba55-5f855dd0fb88": "storageQueueDataContributor",
	"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "storageTableDataContributor",
	"a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "azureEventHubsDataReceiver",
	"2b629674-e913-4c01-ae53-ef4638d8f975": "azureEventHubsDataSender",
	"3913510d-42f4-4e42-8a64-420c390055eb": "monitoringMetricsPublisher",
	"4633458b-17de-408a-b874-0445c86b69e6": "keyVaultSecretsUser",
	"acdd72a7-3385-48ef-bd42-f606fba81ae7": "reader",
	"43d0d8ad-25c7-4714-9337-8ba259a9fe05": "monitoringReader",
}

var (
	anyGUID = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)
	roleRow = regexp.MustCompile(`(\w+): '(` + anyGUID.String() + `)'`)
)

func checkRoles(t templates) (complaints []string) {
	for _, file := range t.files() {
		named := map[string]bool{}
		for _, m := range roleRow.FindAllStringSubmatch(t.find(file, "var", "roles").Value, -1) {
			named[m[2]] = true
			if knownRoles[m[2]] != m[1] {
				complaints = append(complaints, fmt.Sprintf("%s: %s is the role %q, not %q", file, m[2], knownRoles[m[2]], m[1]))
			}
		}
		for _, id := range anyGUID.FindAllString(t.source[file], -1) {
			if !named[id] {
				complaints = append(complaints, fmt.Sprintf("%s: %s stands outside of the named roles", file, id))
			}
		}
	}
	return complaints
}

// assignments is who may do what on what, and nothing else: README says why. The
// permissions are the optional step, on a whole subscription.
var assignments = map[string]struct {
	principal, scope string
	roles            []string
}{
	"modules/storage.bicep: appAssignments":        {"principalId", "account", []string{"storageBlobDataOwner", "storageQueueDataContributor", "storageTableDataContributor"}},
	"modules/storage.bicep: operatorAssignments":   {"operatorPrincipalId", "account", []string{"storageBlobDataContributor", "storageQueueDataContributor"}},
	"modules/eventhub.bicep: appAssignment":        {"principalId", "hub", []string{"azureEventHubsDataReceiver"}},
	"modules/eventhub.bicep: operatorAssignments":  {"operatorPrincipalId", "hub", []string{"azureEventHubsDataReceiver", "azureEventHubsDataSender"}},
	"modules/monitoring.bicep: ruleAssignment":     {"principalId", "rule", []string{"monitoringMetricsPublisher"}},
	"modules/monitoring.bicep: insightsAssignment": {"principalId", "insights", []string{"monitoringMetricsPublisher"}},
	"modules/keyvault.bicep: appAssignment":        {"principalId", "webhook", []string{"keyVaultSecretsUser"}},
	"permissions.bicep: assignment":                {"principalId", "", []string{"reader", "monitoringReader"}},
}

var (
	roleOf   = regexp.MustCompile(`roleDefinitions', ([\w.]+)\)$`)
	roleName = regexp.MustCompile(`\broles\.(\w+)`)
	loopOver = regexp.MustCompile(`\[for (\w+) in (\w+):`)
)

func checkRoleAssignments(t templates) (complaints []string) {
	found := t.resources("Microsoft.Authorization/roleAssignments")
	for where := range assignments {
		if found[where] == nil {
			complaints = append(complaints, fmt.Sprintf("%s: there is no such role assignment", where))
		}
	}
	for where, d := range found {
		file, _, _ := strings.Cut(where, ":")
		want, known := assignments[where]
		if !known {
			complaints = append(complaints, fmt.Sprintf("%s: nobody knows what this role assignment is for", where))
			continue
		}
		kind := "'ServicePrincipal'"
		if want.principal == "operatorPrincipalId" {
			kind = "operatorPrincipalType"
		}
		role := ""
		if m := roleOf.FindStringSubmatch(d.Properties["properties.roleDefinitionId"]); m != nil {
			role = m[1]
		}
		// The name is made of what the assignment is, so that deploying again
		// finds it. Without a scope it is for all that is deployed to.
		scope := want.scope + ".id"
		if want.scope == "" {
			scope = "subscription().id"
		}
		complaints = append(complaints, wants(where, d, map[string]string{
			"name":                     fmt.Sprintf("guid(%s, %s, %s)", scope, want.principal, role),
			"scope":                    want.scope,
			"properties.principalId":   want.principal,
			"properties.principalType": kind,
		})...)
		if got := rolesNamed(t, file, d, role); !slices.Equal(got, want.roles) {
			complaints = append(complaints, fmt.Sprintf("%s: gives %v, want %v", where, got, want.roles))
		}
	}
	return complaints
}

// rolesNamed resolves the role of an assignment: roles.x itself, the variable
// that names one, or the list that is looped over.
func rolesNamed(t templates, file string, d *declaration, role string) (names []string) {
	text := role
	if m := loopOver.FindStringSubmatch(d.Text); m != nil && m[1] == role {
		text = t.find(file, "var", m[2]).Value
	} else if v := t.find(file, "var", role); v.Name != "" {
		text = v.Value
	}
	for _, m := range roleName.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

var (
	listCall     = regexp.MustCompile(`\blist[A-Z]?\w*\(`)
	secretOutput = regexp.MustCompile(`(?i)webhookurl|primarykey|sharedkey|sharedaccess|password|instrumentationkey|\.value\b`)
)

func checkSecrets(t templates) (complaints []string) {
	secrets := map[string][]string{} // file to secure parameters
	t.each("param", func(file string, d *declaration) {
		if d.Secure {
			secrets[file] = append(secrets[file], d.Name)
			if d.Value != "" && d.Value != "''" {
				complaints = append(complaints, fmt.Sprintf("%s: the secret %s has a default", file, d.Name))
			}
		} else if strings.Contains(strings.ToLower(d.Name), "webhookurl") {
			complaints = append(complaints, fmt.Sprintf("%s: %s is not @secure()", file, d.Name))
		}
	})
	for _, file := range t.files() {
		for _, call := range listCall.FindAllString(t.source[file], -1) {
			complaints = append(complaints, fmt.Sprintf("%s calls %s", file, call))
		}
	}
	t.each("output", func(file string, d *declaration) {
		value := d.Value
		for _, secret := range secrets[file] {
			value = strings.ReplaceAll(value, "empty("+secret+")", "")
		}
		if secretOutput.MatchString(value) {
			complaints = append(complaints, fmt.Sprintf("%s: output %s carries %s", file, d.Name, d.Value))
		}
	})
	if got := appSettings(t)["TEAMS_WEBHOOK_URL"]; got != "vault.outputs.webhookReference" {
		complaints = append(complaints, fmt.Sprintf("the setting TEAMS_WEBHOOK_URL is %s, not a Key Vault reference", got))
	}
	return complaints
}

// wants complains about properties of a resource that differ.
func wants(where string, d *declaration, want map[string]string) (complaints []string) {
	for path, value := range want {
		if got := d.Properties[path]; got != value {
			complaints = append(complaints, fmt.Sprintf("%s: %s is %q, want %s", where, path, got, value))
		}
	}
	return complaints
}

func checkStorage(t templates) (complaints []string) {
	accounts := t.resources("Microsoft.Storage/storageAccounts")
	if len(accounts) != 1 {
		complaints = append(complaints, fmt.Sprintf("%d storage accounts", len(accounts)))
	}
	for where, d := range accounts {
		complaints = append(complaints, wants(where, d, map[string]string{
			"properties.allowSharedKeyAccess":         "false",
			"properties.defaultToOAuthAuthentication": "true",
			"properties.allowBlobPublicAccess":        "false",
			"properties.minimumTlsVersion":            "'TLS1_2'",
			"properties.supportsHttpsTrafficOnly":     "true",
		})...)
	}
	complaints = append(complaints, wants("containers", t.find("modules/storage.bicep", "resource", "blobContainers"), map[string]string{"properties.publicAccess": "'None'"})...)
	containers := t.find("modules/storage.bicep", "var", "containers").Value
	queues := t.find("modules/storage.bicep", "var", "queues").Value
	for name, in := range storageNames() {
		list := containers
		if in == "queue" {
			list = queues
		}
		if !strings.Contains(list, "'"+name+"'") {
			complaints = append(complaints, fmt.Sprintf("there is no %s %s", in, name))
		}
	}
	return complaints
}

func checkEventHub(t templates) (complaints []string) {
	const file = "modules/eventhub.bicep"
	namespace := t.find(file, "resource", "namespace")
	complaints = append(complaints, wants(file, namespace, map[string]string{
		"properties.minimumTlsVersion": "'1.2'",
		"properties.disableLocalAuth":  "false", // or nothing is exported
		"sku.name":                     "'Standard'",
	})...)
	complaints = append(complaints, wants(file, t.find(file, "resource", "hub"), map[string]string{
		"name": "eventHubName",
		"properties.retentionDescription.cleanupPolicy":        "'Delete'",
		"properties.retentionDescription.retentionTimeInHours": "retentionDays * 24",
	})...)
	reason := regexp.MustCompile(`((?:\s*//[^\n]*\n)+)\s*disableLocalAuth: `).FindStringSubmatch(namespace.Text)
	if reason == nil || !strings.Contains(reason[1], "Exception") || !strings.Contains(reason[1], "shared access key") {
		complaints = append(complaints, "local authentication is on, and no comment says why")
	}
	exporter := t.find(file, "resource", "exporter")
	if exporter.Properties["name"] != "'exporter'" {
		complaints = append(complaints, "the exporter has no rule of its own")
	}
	for _, right := range []string{"Listen", "Manage", "Send"} {
		if !strings.Contains(exporter.Properties["properties.rights"], "'"+right+"'") {
			complaints = append(complaints, fmt.Sprintf("the exporter's rule lacks %s, which diagnostic settings demand", right))
		}
	}
	if t.find(file, "resource", "appGroup").Properties["name"] != "consumerGroup" || t.find("main.bicep", "var", "consumerGroup").Value != "'podwatch'" {
		complaints = append(complaints, "the app has no consumer group of its own")
	}
	return complaints
}

func checkVault(t templates) (complaints []string) {
	const file = "modules/keyvault.bicep"
	complaints = wants(file, t.find(file, "resource", "vault"), map[string]string{
		"properties.enableRbacAuthorization":   "true",
		"properties.enableSoftDelete":          "true",
		"properties.enablePurgeProtection":     "true",
		"properties.softDeleteRetentionInDays": "90",
	})
	secret := strings.Trim(t.find(file, "resource", "webhook").Properties["name"], "'")
	reference := t.find(file, "output", "webhookReference").Value
	if !strings.Contains(reference, "@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/"+secret+")") {
		complaints = append(complaints, fmt.Sprintf("the reference %s does not lead to the secret %s", reference, secret))
	}
	return complaints
}

func checkApp(t templates) (complaints []string) {
	sites := t.resources("Microsoft.Web/sites")
	if len(sites) != 2 {
		complaints = append(complaints, fmt.Sprintf("%d sites, want Flex and Premium", len(sites)))
	}
	for where, d := range sites {
		complaints = append(complaints, wants(where, d, map[string]string{
			"kind":          "'functionapp,linux'",
			"identity.type": "'UserAssigned'",
			"identity.userAssignedIdentities.${identityId}": "{}",
			"properties.httpsOnly":                          "true",
			"properties.keyVaultReferenceIdentity":          "identityId",
			"properties.siteConfig.minTlsVersion":           "'1.2'",
		})...)
		for _, login := range []string{"ftp", "scm"} {
			file, _, _ := strings.Cut(where, ":")
			complaints = append(complaints, wants(file+": "+login, t.find(file, "resource", login), map[string]string{"properties.allow": "false"})...)
		}
	}
	complaints = append(complaints, wants("Flex", t.find("modules/app-flex.bicep", "resource", "app"), map[string]string{
		"properties.functionAppConfig.runtime.name":                           "'custom'",
		"properties.functionAppConfig.runtime.version":                        "'1.0'",
		"properties.functionAppConfig.deployment.storage.type":                "'blobContainer'",
		"properties.functionAppConfig.deployment.storage.authentication.type": "'UserAssignedIdentity'",
	})...)
	ready := regexp.MustCompile(`'function:(\w+)'`).FindStringSubmatch(t.source["modules/app-flex.bicep"])
	if ready == nil || !exists("function_app/"+ready[1]+"/function.json") {
		complaints = append(complaints, fmt.Sprintf("always ready is %q, which is no function", ready))
	}
	// Flex refuses these; Premium does not start without them.
	premium := t.find("modules/app-premium.bicep", "var", "planSettings").Properties
	for name, want := range map[string]string{"FUNCTIONS_WORKER_RUNTIME": "'custom'", "FUNCTIONS_EXTENSION_VERSION": "'~4'", "WEBSITE_RUN_FROM_PACKAGE": "packageUri"} {
		if _, set := appSettings(t)[name]; set {
			complaints = append(complaints, fmt.Sprintf("Flex refuses the setting %s", name))
		}
		if premium[name] != want {
			complaints = append(complaints, fmt.Sprintf("Premium has %s = %q, want %s", name, premium[name], want))
		}
	}
	return complaints
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

var columnRow = regexp.MustCompile(`\{ name: '(\w+)', type: '(\w+)' \}`)

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

func checkColumns(t templates) (complaints []string) {
	const file = "modules/monitoring.bicep"
	var got, want []string
	for _, m := range columnRow.FindAllStringSubmatch(t.find(file, "var", "columns").Value, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[alert.Alert]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" || !field.IsExported() {
			continue
		}
		want = append(want, name+" "+columnType(field.Type))
	}
	for _, column := range want {
		if !slices.Contains(got, column) {
			complaints = append(complaints, fmt.Sprintf("%s: an alert has %s, the table has not", file, column))
		}
	}
	for _, column := range got {
		if !slices.Contains(want, column) {
			complaints = append(complaints, fmt.Sprintf("%s: the table has %s, an alert has not", file, column))
		}
		name, _, _ := strings.Cut(column, " ")
		if len(name) > 45 || slices.Contains([]string{"id", "Type", "TenantId", "UniqueId", "Title", "_ResourceId", "_SubscriptionId"}, name) {
			complaints = append(complaints, fmt.Sprintf("%s: Log Analytics keeps the name %s for itself", file, name))
		}
	}
	// Both the stream and the table take the same list.
	if !strings.HasPrefix(t.find(file, "resource", "table").Properties["properties.schema.columns"], "[for column in columns:") {
		complaints = append(complaints, "the table does not take the columns")
	}
	if t.find(file, "resource", "rule").Properties["properties.streamDeclarations.${streamName}.columns"] != "columns" {
		complaints = append(complaints, "the rule's stream does not take the columns")
	}
	return complaints
}

func checkMonitoring(t templates) (complaints []string) {
	const file = "modules/monitoring.bicep"
	if got := t.find(file, "var", "streamName").Value; got != "'"+config.DefaultStream+"'" {
		complaints = append(complaints, fmt.Sprintf("the stream is %s, want %s", got, config.DefaultStream))
	}
	if got := t.find(file, "var", "tableName").Value; got != "'PodwatchAlerts_CL'" {
		complaints = append(complaints, fmt.Sprintf("the table is %s", got))
	}
	rule := t.find(file, "resource", "rule")
	complaints = append(complaints, wants(file, rule, map[string]string{"kind": "'Direct'", "dependsOn": "[table]"})...)
	if !strings.Contains(rule.Properties["properties.dataFlows"], "outputStream: 'Custom-${tableName}'") {
		complaints = append(complaints, "the rule does not fill the table")
	}
	complaints = append(complaints, wants(file, t.find(file, "resource", "insights"), map[string]string{
		"properties.DisableLocalAuth":    "true",
		"properties.WorkspaceResourceId": "workspace.id",
	})...)
	complaints = append(complaints, wants(file, t.find(file, "resource", "workspace"), map[string]string{"properties.features.disableLocalAuth": "true"})...)
	for name, want := range map[string]string{"ingestionEndpoint": "rule.properties.endpoints.logsIngestion", "ruleImmutableId": "rule.properties.immutableId"} {
		if got := t.find(file, "output", name).Value; got != want {
			complaints = append(complaints, fmt.Sprintf("%s is %s, want what the rule says: %s", name, got, want))
		}
	}
	return complaints
}

func checkLifecycle(t templates) (complaints []string) {
	rules := t.find("modules/storage.bicep", "resource", "lifecycle").Properties["properties.policy.rules"]
	for container, days := range map[string]string{"podwatch-ledger": "ledgerDays", "unreadable-messages": "unreadableDays"} {
		rule := regexp.MustCompile(`(?s)enabled: true\s+type: 'Lifecycle'\s+definition: \{\s+filters: \{[^{}]*prefixMatch: \['` + container + `/'\].{1,200}?delete: \{\s*daysAfterModificationGreaterThan: ` + days)
		if !rule.MatchString(rules) {
			complaints = append(complaints, fmt.Sprintf("nothing of %s expires after %s", container, days))
		}
	}
	if strings.Contains(rules, "podwatch-state") {
		complaints = append(complaints, "dead letters expire")
	}
	complaints = append(complaints, wants("main.bicep", t.find("main.bicep", "module", "storage"), map[string]string{
		"params.ledgerDays":     "ledgerDays",
		"params.unreadableDays": "unreadableDays",
	})...)
	// The hub may keep a message for seven days.
	if !strings.Contains(t.source["main.bicep"], "@minValue(8)\nparam ledgerDays") || !strings.Contains(t.source["main.bicep"], "@maxValue(7)\nparam hubRetentionDays") {
		complaints = append(complaints, "the ledger may forget what the hub still holds")
	}
	return complaints
}

func checkExports(t templates) (complaints []string) {
	activity := t.find("modules/export-activity-log.bicep", "param", "categories").Value
	for _, category := range []string{"Administrative", "Security", "Policy"} {
		if !strings.Contains(activity, "'"+category+"'") {
			complaints = append(complaints, fmt.Sprintf("the activity log is exported without %s", category))
		}
	}
	for file, name := range map[string]string{"main.bicep": "auditCategories", "modules/export-cluster.bicep": "categories"} {
		if got := t.find(file, "param", name).Value; got != "['kube-audit-admin']" {
			complaints = append(complaints, fmt.Sprintf("%s: %s is %s by default", file, name, got))
		}
	}
	for _, file := range []string{"modules/export-activity-log.bicep", "modules/export-cluster.bicep"} {
		complaints = append(complaints, wants(file, t.find(file, "resource", "setting"), map[string]string{
			"properties.eventHubAuthorizationRuleId": "authorizationRuleId",
			"properties.eventHubName":                "eventHubName",
		})...)
		logs := t.find(file, "resource", "setting").Properties["properties.logs"]
		if strings.Join(strings.Fields(logs), " ") != "[for category in categories: { category: category enabled: true }]" {
			complaints = append(complaints, fmt.Sprintf("%s: exports %s, want every category, enabled", file, logs))
		}
	}
	complaints = append(complaints, wants("the cluster's setting", t.find("modules/export-cluster.bicep", "resource", "setting"), map[string]string{"scope": "cluster"})...)
	for module, want := range map[string]string{"activityLog": "= if (exportActivityLog) {", "clusterLogs": "= [for (c, i) in clusters: {"} {
		d := t.find("main.bicep", "module", module)
		if !strings.Contains(d.Text, want) {
			complaints = append(complaints, fmt.Sprintf("main.bicep: module %s is not deployed %s", module, want))
		}
		complaints = append(complaints, wants("main.bicep", d, map[string]string{
			"params.authorizationRuleId": "eventHub.outputs.exporterRuleId",
			"params.eventHubName":        "eventHubName",
		})...)
	}
	complaints = append(complaints, wants("main.bicep", t.find("main.bicep", "module", "clusterLogs"), map[string]string{"params.categories": "auditCategories"})...)
	if got := t.find("main.bicep", "param", "exportActivityLog").Value; got != "true" {
		complaints = append(complaints, fmt.Sprintf("main.bicep: exportActivityLog is %s by default", got))
	}
	return complaints
}

// checkDiagnostics holds what podwatch's own parts log into the workspace. The
// alert about refused rows reads what the data collection rule logs.
func checkDiagnostics(t templates) (complaints []string) {
	for file, want := range map[string]struct{ scope, workspace, log string }{
		"modules/monitoring.bicep": {"rule", "workspace.id", "category: 'LogErrors'"},
		"modules/storage.bicep":    {"blobs", "workspaceId", "category: 'StorageDelete'"},
		"modules/eventhub.bicep":   {"namespace", "workspaceId", "categoryGroup: 'audit'"},
		"modules/keyvault.bicep":   {"vault", "workspaceId", "category: 'AuditEvent'"},
	} {
		d := t.find(file, "resource", "diagnostics")
		complaints = append(complaints, wants(file, d, map[string]string{"scope": want.scope, "properties.workspaceId": want.workspace})...)
		logs := strings.Join(strings.Fields(d.Properties["properties.logs"]), " ")
		if logs != "[ { "+want.log+" enabled: true } ]" {
			complaints = append(complaints, fmt.Sprintf("%s: logs %s, want %s", file, logs, want.log))
		}
	}
	return complaints
}

func checkFailureAlerts(t templates) (complaints []string) {
	rules := t.find("modules/failure-alerts.bicep", "var", "rules").Value
	for what, pattern := range map[string]string{
		"failed invocations":  `(?s)AppRequests[^\n]*Success == false'\s*operator: 'GreaterThan'\s*threshold: 0`,
		"a missing heartbeat": `(?s)Name == "Heartbeat" and Success == true'\s*operator: 'LessThan'\s*threshold: 1`,
		"errors in the log":   `(?s)AppTraces[^\n]*"ERROR"'\s*operator: 'GreaterThan'`,
		"refused rows":        `(?s)DCRLogErrors'\s*operator: 'GreaterThan'`,
	} {
		if !regexp.MustCompile(pattern).MatchString(rules) {
			complaints = append(complaints, "nobody is told of "+what)
		}
	}
	complaints = append(complaints, wants("the rules", t.find("modules/failure-alerts.bicep", "resource", "alerts"), map[string]string{
		"properties.enabled":              "true",
		"properties.scopes":               "[workspaceId]",
		"properties.evaluationFrequency":  "'PT5M'",
		"properties.windowSize":           "'PT15M'", // three heartbeats
		"properties.actions.actionGroups": "empty(emails) ? [] : [actions.id]",
	})...)
	criteria := t.find("modules/failure-alerts.bicep", "resource", "alerts").Properties["properties.criteria.allOf"]
	for _, part := range []string{"query: rule.query\n", "operator: rule.operator\n", "threshold: rule.threshold\n", "timeAggregation: 'Count'\n"} {
		if !strings.Contains(criteria, part) {
			complaints = append(complaints, fmt.Sprintf("the rules are evaluated without %s", strings.TrimSpace(part)))
		}
	}
	if got := t.find("modules/failure-alerts.bicep", "resource", "actions").Properties["properties.emailReceivers"]; !strings.Contains(got, "in emails:") || !strings.Contains(got, "emailAddress: email\n") {
		complaints = append(complaints, fmt.Sprintf("mails go to %s", got))
	}
	// The app's name in the telemetry is the app's name.
	complaints = append(complaints, wants("main.bicep", t.find("main.bicep", "module", "failures"), map[string]string{
		"params.appName": t.find("main.bicep", "module", "flexApp").Properties["params.name"],
		"params.emails":  "failureEmails",
	})...)
	for _, m := range regexp.MustCompile(`\bName == "(\w+)"`).FindAllStringSubmatch(rules, -1) {
		if !exists("function_app/" + m[1] + "/function.json") {
			complaints = append(complaints, fmt.Sprintf("there is no function %s to miss", m[1]))
		}
	}
	return complaints
}
