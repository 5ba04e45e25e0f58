package infra_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/config"
)

// What may not change without a review: who may do what, what is open to whom, and
// what the app is told.

// roleNames are the built-in roles that podwatch uses.
var roleNames = map[string]string{
	"b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
	"ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
	"2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
	"974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
	"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
	"a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver",
	"2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender",
	"3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
	"4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
}

// docs/deploy.md says what each is for.
var (
	appRoles = []string{
		"podwatch: Storage Blob Data Owner on storageAccounts",
		"podwatch: Storage Queue Data Contributor on storageAccounts",
		"podwatch: Storage Table Data Contributor on storageAccounts",
		"podwatch: Azure Event Hubs Data Receiver on eventhubs/podwatch-logs",
		"podwatch: Monitoring Metrics Publisher on dataCollectionRules",
		"podwatch: Monitoring Metrics Publisher on components",
	}
	teamsRoles    = []string{"podwatch: Key Vault Secrets User on secrets/teams-webhook-url"}
	operatorRoles = []string{
		"Storage Blob Data Contributor on containers/deployments",
		"Storage Blob Data Reader on containers/podwatch-ledger",
		"Storage Blob Data Contributor on containers/podwatch-state",
		"Storage Blob Data Contributor on containers/unreadable-messages",
		"Storage Queue Data Contributor on storageAccounts",
		"Azure Event Hubs Data Receiver on eventhubs/podwatch-logs",
		"Azure Event Hubs Data Sender on eventhubs/podwatch-logs",
	}
	// The parameters of a snapshot that decide about roles.
	withTeams = []string{"flex", "premium", "two-clusters"}
	operators = map[string]string{"flex": "User", "premium": "Group"}
)

func checkRoles(s *snapshot) (complaints []string) {
	want := slices.Clone(appRoles)
	if slices.Contains(withTeams, s.Name) {
		want = append(want, teamsRoles...)
	}
	if kind := operators[s.Name]; kind != "" {
		for _, role := range operatorRoles {
			want = append(want, "operator ("+kind+"): "+role)
		}
	}
	var got []string
	for _, r := range s.all("Microsoft.Authorization/roleAssignments") {
		line, problem := s.assignment(r)
		if problem != "" {
			complaints = append(complaints, line+": "+problem)
		}
		got = append(got, line)
	}
	return append(complaints, difference("a role", got, want)...)
}

var assignmentScope = regexp.MustCompile(`^\[extensionResourceId\('([^']+)'|^(.+)/providers/Microsoft\.Authorization/`)

// assignment describes a role assignment, and what is wrong with its form.
func (s *snapshot) assignment(r resource) (line, problem string) {
	m := assignmentScope.FindStringSubmatch(r.ID)
	if m == nil {
		return r.ID, "it has no scope"
	}
	scope := m[1] + m[2]
	definition, _ := r.at("roleDefinitionId").(string)
	role := definition[strings.LastIndex(definition, "/")+1:]
	principal, _ := r.at("principalId").(string)
	kind, _ := r.at("principalType").(string)
	who := "operator (" + kind + ")"
	if strings.Contains(principal, "/userAssignedIdentities/") {
		// The name is made of what the assignment is, so that deploying again finds it.
		// The type is given, because the directory learns of a new identity late.
		who = "podwatch"
		if kind != "ServicePrincipal" || r.Name != fmt.Sprintf("[guid('%s', %s, '%s')]", scope, strings.Trim(principal, "[]"), role) {
			problem = fmt.Sprintf("type %q, name %s", kind, r.Name)
		}
	} else if principal != "33333333-3333-3333-3333-333333333333" {
		problem = "it is for " + principal
	}
	if r.Condition != "" {
		problem += " it has a condition: " + r.Condition
	}
	return fmt.Sprintf("%s: %s on %s", who, roleNames[role], s.place(scope)), problem
}

// opens matches properties that decide who comes in, and how.
var opens = regexp.MustCompile(`(?i)public|network|firewall|restriction|allow|localauth|tls|https|oauth|rbac|purge|softdelete|rights|ftps|cors|acls|authentication\.type|http20`)

var doors = []string{
	"Microsoft.EventHub/namespaces disableLocalAuth: false", // the exporter signs in with a key
	"Microsoft.EventHub/namespaces minimumTlsVersion: 1.2",
	"Microsoft.EventHub/namespaces publicNetworkAccess: Enabled",
	"Microsoft.EventHub/namespaces/authorizationRules rights: [Listen Manage Send]",
	"Microsoft.Insights/components DisableLocalAuth: true",
	"Microsoft.KeyVault/vaults enablePurgeProtection: true",
	"Microsoft.KeyVault/vaults enableRbacAuthorization: true",
	"Microsoft.KeyVault/vaults enableSoftDelete: true",
	"Microsoft.KeyVault/vaults publicNetworkAccess: Enabled",
	"Microsoft.KeyVault/vaults softDeleteRetentionInDays: 90",
	"Microsoft.OperationalInsights/workspaces features.disableLocalAuth: true",
	"Microsoft.OperationalInsights/workspaces publicNetworkAccessForIngestion: Enabled",
	"Microsoft.OperationalInsights/workspaces publicNetworkAccessForQuery: Enabled",
	"Microsoft.Storage/storageAccounts allowBlobPublicAccess: false",
	"Microsoft.Storage/storageAccounts allowCrossTenantReplication: false",
	"Microsoft.Storage/storageAccounts allowSharedKeyAccess: false",
	"Microsoft.Storage/storageAccounts defaultToOAuthAuthentication: true",
	"Microsoft.Storage/storageAccounts minimumTlsVersion: TLS1_2",
	"Microsoft.Storage/storageAccounts networkAcls.bypass: AzureServices",
	"Microsoft.Storage/storageAccounts networkAcls.defaultAction: Allow",
	"Microsoft.Storage/storageAccounts publicNetworkAccess: Enabled",
	"Microsoft.Storage/storageAccounts supportsHttpsTrafficOnly: true",
	"Microsoft.Storage/storageAccounts/blobServices/containers publicAccess: None",
	"Microsoft.Web/sites httpsOnly: true",
	"Microsoft.Web/sites publicNetworkAccess: Enabled",
	"Microsoft.Web/sites siteConfig.http20Enabled: true",
	"Microsoft.Web/sites siteConfig.ipSecurityRestrictionsDefaultAction: Deny",
	"Microsoft.Web/sites siteConfig.minTlsVersion: 1.2",
	"Microsoft.Web/sites siteConfig.scmIpSecurityRestrictionsDefaultAction: Allow", // publishing
	"Microsoft.Web/sites siteConfig.scmIpSecurityRestrictionsUseMain: false",
	"Microsoft.Web/sites/basicPublishingCredentialsPolicies allow: false",
}

func checkDoors(s *snapshot) []string {
	want := slices.Clone(doors)
	if s.Outputs["plan"] == "premium" {
		want = append(want, "Microsoft.Web/sites siteConfig.ftpsState: Disabled")
	} else {
		want = append(want, "Microsoft.Web/sites functionAppConfig.deployment.storage.authentication.type: UserAssignedIdentity")
	}
	var got []string
	for _, r := range s.PredictedResources {
		if r.Type != "Microsoft.Web/sites/config" {
			walk("", r.Properties, func(path string, value any) {
				if opens.MatchString(path) {
					got = append(got, fmt.Sprintf("%s %s: %v", r.Type, path, value))
				}
			})
		}
	}
	return difference("a door", got, want)
}

// walk calls f for each value that is no object, with its path.
func walk(path string, value any, f func(path string, value any)) {
	members, ok := value.(map[string]any)
	if !ok {
		f(path, value)
		return
	}
	for name, member := range members {
		walk(strings.TrimPrefix(path+"."+name, "."), member, f)
	}
}

var resourceTypes = []string{
	"Microsoft.Authorization/roleAssignments",
	"Microsoft.EventHub/namespaces",
	"Microsoft.EventHub/namespaces/authorizationRules",
	"Microsoft.EventHub/namespaces/eventhubs",
	"Microsoft.EventHub/namespaces/eventhubs/consumergroups",
	"Microsoft.Insights/components",
	"Microsoft.Insights/dataCollectionRules",
	"Microsoft.Insights/diagnosticSettings",
	"Microsoft.Insights/scheduledQueryRules",
	"Microsoft.Insights/workbooks",
	"Microsoft.KeyVault/vaults",
	"Microsoft.KeyVault/vaults/secrets",
	"Microsoft.ManagedIdentity/userAssignedIdentities",
	"Microsoft.OperationalInsights/workspaces",
	"Microsoft.OperationalInsights/workspaces/tables",
	"Microsoft.Resources/resourceGroups",
	"Microsoft.Storage/storageAccounts",
	"Microsoft.Storage/storageAccounts/blobServices",
	"Microsoft.Storage/storageAccounts/blobServices/containers",
	"Microsoft.Storage/storageAccounts/managementPolicies",
	"Microsoft.Storage/storageAccounts/queueServices",
	"Microsoft.Storage/storageAccounts/queueServices/queues",
	"Microsoft.Storage/storageAccounts/tableServices",
	"Microsoft.Web/serverfarms",
	"Microsoft.Web/sites",
	"Microsoft.Web/sites/basicPublishingCredentialsPolicies",
	"Microsoft.Web/sites/config",
}

func checkTypes(s *snapshot) []string {
	want := slices.Clone(resourceTypes)
	switch s.Name {
	case "flex":
		want = append(want, "Microsoft.Insights/actionGroups")
	case "premium":
		want = append(want, "Microsoft.Insights/actionGroups", "Microsoft.SecurityInsights/alertRules", "Microsoft.SecurityInsights/onboardingStates")
	case "no-activity-log":
		want = append(want, "Microsoft.SecurityInsights/alertRules", "Microsoft.SecurityInsights/onboardingStates")
	}
	var got []string
	for _, r := range s.PredictedResources {
		got = append(got, r.Type)
	}
	return difference("a type of resource", got, want)
}

// mustStayUnset are settings whose presence in Azure would be a mistake: a connection
// string overrides the identity, and an account name means the public cloud.
var mustStayUnset = []string{"AzureWebJobsStorage", "EventHub", "AzureWebJobsStorage__accountName"}

// fixed are the settings that are neither podwatch's own nor a parameter of the
// template, with the end of their value.
var fixed = map[string]string{
	"AzureWebJobsStorage__blobServiceUri":       ".primaryEndpoints.blob]",
	"AzureWebJobsStorage__queueServiceUri":      ".primaryEndpoints.queue]",
	"AzureWebJobsStorage__tableServiceUri":      ".primaryEndpoints.table]",
	"AzureWebJobsStorage__credential":           "managedidentity",
	"AzureWebJobsStorage__clientId":             ").clientId]",
	"EventHub__fullyQualifiedNamespace":         ").serviceBusEndpoint, 'https://', ''), ':')[0]]",
	"EventHub__credential":                      "managedidentity",
	"EventHub__clientId":                        ").clientId]",
	"EVENT_HUB_NAME":                            "podwatch-logs",
	"EVENT_HUB_CONSUMER_GROUP":                  "podwatch",
	"LOG_ANALYTICS_ENDPOINT":                    ").endpoints.logsIngestion]",
	"LOG_ANALYTICS_RULE_ID":                     ").immutableId]",
	"LOG_ANALYTICS_STREAM":                      config.DefaultStream,
	"ARM_ENDPOINT":                              "[environment().resourceManager]",
	"AZURE_AUTHORITY_HOST":                      "[environment().authentication.loginEndpoint]",
	"AZURE_CLIENT_ID":                           ").clientId]",
	"AZURE_TOKEN_CREDENTIALS":                   "ManagedIdentityCredential",
	"APPLICATIONINSIGHTS_CONNECTION_STRING":     ").ConnectionString]",
	"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": ").clientId)]",
}

// Flex refuses these; Premium does not start without them.
var premiumSettings = map[string]string{
	"FUNCTIONS_EXTENSION_VERSION":                  "~4",
	"FUNCTIONS_WORKER_RUNTIME":                     "custom",
	"WEBSITE_RUN_FROM_PACKAGE":                     ".primaryEndpoints.blob), 'podwatch-1.2.3.zip')]",
	"WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID": "/userAssignedIdentities/id-pod-k4acze2wg34js",
}

func checkSettings(s *snapshot) (complaints []string) {
	want := maps.Clone(fixed)
	if s.Outputs["plan"] == "premium" {
		maps.Copy(want, premiumSettings)
	}
	names := slices.Collect(maps.Keys(want))
	for _, name := range config.Settings() {
		if _, listed := want[name]; !listed && !slices.Contains(mustStayUnset, name) {
			names = append(names, name)
		}
	}
	settings := s.one("Microsoft.Web/sites/config").Properties
	complaints = difference("a setting", slices.Collect(maps.Keys(settings)), names)
	for name, end := range want {
		if value := fmt.Sprint(settings[name]); !strings.HasSuffix(value, end) {
			complaints = append(complaints, fmt.Sprintf("%s is %s, want %s", name, value, end))
		}
	}
	webhook := fmt.Sprint(settings["TEAMS_WEBHOOK_URL"])
	reference := strings.HasPrefix(webhook, "[format('@Microsoft.KeyVault(SecretUri={0}secrets/teams-webhook-url)', ") && strings.HasSuffix(webhook, ").vaultUri)]")
	if reference != slices.Contains(withTeams, s.Name) || !reference && webhook != "" {
		complaints = append(complaints, "TEAMS_WEBHOOK_URL is "+webhook)
	}
	return append(complaints, refused(settings)...)
}

// refused tells what the handler would say at its start in Azure.
func refused(settings map[string]any) (complaints []string) {
	values := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "7071"}
	for name, value := range settings {
		if values[name] = fmt.Sprint(value); strings.HasPrefix(values[name], "[") {
			values[name] = map[string]string{
				"AzureWebJobsStorage__blobServiceUri":  "https://st.blob.core.windows.net/",
				"AzureWebJobsStorage__queueServiceUri": "https://st.queue.core.windows.net/",
				"TEAMS_WEBHOOK_URL":                    "https://prod-1.westeurope.logic.azure.com/workflows/1?sig=x",
				"LOG_ANALYTICS_ENDPOINT":               "https://dcr.westeurope-1.ingest.monitor.azure.com",
				"LOG_ANALYTICS_RULE_ID":                "dcr-0123456789abcdef0123456789abcdef",
				"ARM_ENDPOINT":                         "https://management.azure.com/",
				"AZURE_AUTHORITY_HOST":                 "https://login.microsoftonline.com/",
			}[name]
		}
	}
	if _, err := config.Load(func(name string) string { return values[name] }, root); err != nil {
		complaints = append(complaints, "the handler does not start: "+err.Error())
	}
	return complaints
}

// TestAReviewIsDemanded changes each snapshot in memory, one role, door or setting at a
// time; the check that holds it must complain.
func TestAReviewIsDemanded(t *testing.T) {
	for _, name := range snapshotNames {
		sound := readSnapshot(t, name)
		tried := 0
		noticed := func(check, what string, changed *snapshot) {
			t.Helper()
			tried++
			if len(checks[check](changed)) == 0 {
				t.Errorf("%s: %s: nobody noticed %s", name, check, what)
			}
		}
		for i, r := range sound.PredictedResources {
			without := *sound
			without.PredictedResources = slices.Delete(slices.Clone(sound.PredictedResources), i, i+1)
			with := func(path string, value any) *snapshot {
				changed := *sound
				changed.PredictedResources = slices.Clone(sound.PredictedResources)
				changed.PredictedResources[i].Properties = replaced(r.Properties, strings.Split(path, "."), value)
				return &changed
			}
			switch {
			case r.Type == "Microsoft.Authorization/roleAssignments":
				noticed("roles", "the lack of "+r.ID, &without)
				noticed("roles", "another role in "+r.ID, with("roleDefinitionId", "/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"))
				noticed("roles", "another principal in "+r.ID, with("principalId", "5"))
			case r.Type == "Microsoft.Web/sites/config":
				for setting := range r.Properties {
					noticed("settings", "the lack of "+setting, with(setting, nil))
				}
				noticed("settings", "a key", with("AzureWebJobsStorage", "AccountKey=x"))
			default:
				walk("", r.Properties, func(path string, value any) {
					if opens.MatchString(path) {
						noticed("doors", fmt.Sprintf("%s %s: %v changed", r.Type, path, value), with(path, "open"))
					}
				})
			}
		}
		if tried < 80 {
			t.Errorf("%s: only %d changes were tried", name, tried)
		}
	}
}

// replaced returns a copy of an object with another value at the path; nil removes it.
func replaced(object map[string]any, path []string, value any) map[string]any {
	object = maps.Clone(object)
	inner, _ := object[path[0]].(map[string]any)
	switch {
	case len(path) > 1:
		object[path[0]] = replaced(inner, path[1:], value)
	case value == nil:
		delete(object, path[0])
	default:
		object[path[0]] = value
	}
	return object
}
