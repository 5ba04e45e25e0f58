package event

import "strings"

// route decides which log a record belongs to.
//
// Entra ID's logs and a few others say so in their category. The activity log
// does not: its category may be Administrative, an old Write, Delete or Action,
// or something else. A record counts as activity log if its category is one of
// Resource Manager's, or if it carries what only Resource Manager writes, or if
// its operation is a resource operation that changes something. Where that is
// too generous the record is still a log of the same operation, and a rule that
// names the operation is right to see it; the other error would hide it.
func route(category, operation string, rec, props map[string]any) string {
	if category == "" && operation == "" && rec["EventName"] == nil {
		// Metrics have neither, and nothing else in them to query.
		return ""
	}
	if hasSuffixFold(category, "SignInLogs") {
		return SignInLogs
	}
	c := strings.ToLower(category)
	switch c {
	case "auditlogs":
		return AuditLogs
	case "riskyusers", "userriskevents":
		return IdentityProtection
	case "microsoftgraphactivitylogs":
		return "azure.graphactivitylogs"
	case "aadgraphactivitylogs", "azureadgraphactivitylogs":
		return "azure.aadgraphactivitylogs"
	case "provisioninglogs":
		return "azure.provisioning"
	case "applicationgatewayaccesslog", "applicationgatewayfirewalllog":
		return "azure.application_gateway"
	case "azurefirewallapplicationrule", "azurefirewallnetworkrule", "azurefirewalldnsproxy",
		"azfwapplicationrule", "azfwnetworkrule", "azfwnatrule", "azfwdnsquery":
		return "azure.firewall_logs"
	}
	if props["log"] != nil || isKubeAudit(category) {
		return PlatformLogs
	}
	switch c {
	case "administrative", "policy", "servicehealth", "resourcehealth", "autoscale", "alert",
		"recommendation", "security", "write", "delete", "action":
		return ActivityLogs
	}
	if isActivityIdentity(get(rec, "identity", "Identity")) || activityCategory(props["eventCategory"]) {
		return ActivityLogs
	}
	if changesResource(operation) {
		return ActivityLogs
	}
	return PlatformLogs
}

func isKubeAudit(category string) bool {
	return strings.EqualFold(category, "kube-audit") || strings.EqualFold(category, "kube-audit-admin")
}

// isActivityIdentity reports whether the identity has Resource Manager's parts.
// Other services write "claim" (singular), a name, or nothing.
func isActivityIdentity(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return get(v, "authorization", "Authorization") != nil || get(v, "claims", "Claims") != nil
	case string:
		return looksLikeObject(v) && strings.Contains(v, `laims"`) && strings.Contains(v, `uthorization"`)
	}
	return false
}

func activityCategory(v any) bool {
	switch strings.ToLower(text(v)) {
	case "administrative", "policy", "servicehealth", "resourcehealth", "autoscale", "alert", "recommendation", "security":
		return true
	}
	return false
}

// changesResource reports whether op is a resource operation such as
// Microsoft.Kubernetes/connectedClusters/pods/delete. Reads are left out:
// resource logs are full of them (…/diagnosticLogs/Read).
func changesResource(op string) bool {
	slash := strings.IndexByte(op, '/')
	if slash < 0 || strings.IndexByte(op[:slash], '.') < 0 || strings.Count(op, "/") < 2 {
		return false
	}
	return hasSuffixFold(op, "/write") || hasSuffixFold(op, "/delete") || hasSuffixFold(op, "/action")
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
