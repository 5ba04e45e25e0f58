package event

import (
	"strings"

	"podwatch/handler/internal/jsontext"
)

// route decides which log a record belongs to.
//
// Entra ID's logs and a few others say so in their category. The activity log
// does not: its category may be Administrative, an old Write, Delete or Action,
// or something else. A record counts as activity log if its category is one of
// Resource Manager's, or if it carries what only Resource Manager writes, or if
// its operation is a resource operation that changes something. Where that is
// too generous the record is still a log of the same operation, and a rule that
// names the operation is right to see it; the other error would hide it.
func (e *Event) route() string {
	category, operation := e.Category(), e.Operation()
	if category == "" && operation == "" && e.record.get("EventName").Kind == jsontext.Invalid && !e.hasAudit() {
		// Metrics have neither, and nothing else in them to query.
		return ""
	}
	category = strings.ToLower(strings.TrimSpace(category))
	if strings.HasSuffix(category, "signinlogs") {
		return SignInLogs
	}
	if dataset := byCategory[category]; dataset != "" {
		return dataset
	}
	switch {
	case e.isKubeAudit(), e.props().get("log").Kind != jsontext.Invalid, isAuditEvent(&e.props().object):
		return PlatformLogs
	case activityCategory(category), category == "write", category == "delete", category == "action",
		e.hasActivityIdentity(), activityCategory(e.str(e.props().get("eventCategory"))), changesResource(operation):
		return ActivityLogs
	}
	return PlatformLogs
}

// categories has the data sets that are chosen by the category alone. Those without a
// constant are not normalised.
var categories = map[string][]string{
	EntraAudit:                   {"AuditLogs"},
	SignInLogs:                   {"SignInLogs"}, // also at the end of a longer one
	IdentityProtection:           {"RiskyUsers", "UserRiskEvents"},
	"azure.graphactivitylogs":    {"MicrosoftGraphActivityLogs"},
	"azure.aadgraphactivitylogs": {"AADGraphActivityLogs", "AzureADGraphActivityLogs"},
	"azure.provisioning":         {"ProvisioningLogs"},
	"azure.application_gateway":  {"ApplicationGatewayAccessLog", "ApplicationGatewayFirewallLog"},
	"azure.firewall_logs": {
		"AzureFirewallApplicationRule", "AzureFirewallNetworkRule", "AzureFirewallDnsProxy",
		"AZFWApplicationRule", "AZFWNetworkRule", "AZFWNatRule", "AZFWDnsQuery",
	},
}

// byCategory has the same data sets by category in lower case.
var byCategory = func() map[string]string {
	datasets := map[string]string{}
	for dataset, names := range categories {
		for _, name := range names {
			datasets[strings.ToLower(name)] = dataset
		}
	}
	return datasets
}()

// hasAudit reports whether properties.log mentions an audit event, or the properties are
// one.
func (e *Event) hasAudit() bool {
	return mentionsAudit(e.props().get("log").Raw) || isAuditEvent(&e.props().object)
}

func (e *Event) isKubeAudit() bool {
	category := strings.TrimSpace(e.Category())
	return strings.EqualFold(category, "kube-audit") || strings.EqualFold(category, "kube-audit-admin")
}

// hasActivityIdentity reports whether the identity has Resource Manager's parts.
// Other services write "claim" (singular), a name, or nothing.
func (e *Event) hasActivityIdentity() bool {
	v := e.record.get("identity", "Identity")
	if v.Kind == jsontext.String {
		s := e.str(v)
		return looksLikeObject(s) && strings.Contains(s, `laims"`) && strings.Contains(s, `uthorization"`)
	}
	var id inner
	id.read(v, 2)
	return id.get("authorization", "Authorization", "claims", "Claims").Kind != jsontext.Invalid
}

func activityCategory(category string) bool {
	switch strings.ToLower(category) {
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
