package event

import (
	"strings"
)

// fieldTypes gives the Elasticsearch types of the fields that podwatch fills
// and that are not keywords, and of the subtrees that are flattened.
var fieldTypes = map[string]string{
	"@timestamp":       "date",
	"event.duration":   "long",
	"source.ip":        "ip",
	"client.ip":        "ip",
	"related.ip":       "ip",
	"source.port":      "long",
	"geo.location":     "object",
	"geo.location.lat": "double",
	"geo.location.lon": "double",
	"message":          "text",

	"azure.activitylogs.properties": "flattened",
	"azure.platformlogs.properties": "flattened",

	"azure.auditlogs.level":                        "double",
	"azure.auditlogs.properties.activity_datetime": "date",

	"azure.signinlogs.properties.created_at":                          "date",
	"azure.signinlogs.properties.autonomous_system_number":            "long",
	"azure.signinlogs.properties.processing_time_ms":                  "double",
	"azure.signinlogs.properties.status.error_code":                   "long",
	"azure.signinlogs.properties.is_interactive":                      "boolean",
	"azure.signinlogs.properties.is_tenant_restricted":                "boolean",
	"azure.signinlogs.properties.is_through_global_secure_access":     "boolean",
	"azure.signinlogs.properties.flagged_for_review":                  "boolean",
	"azure.signinlogs.properties.device_detail.is_compliant":          "boolean",
	"azure.signinlogs.properties.device_detail.is_managed":            "boolean",
	"azure.signinlogs.properties.applied_conditional_access_policies": "flattened",
	"azure.signinlogs.properties.authentication_details":              "flattened",
	"azure.signinlogs.properties.authentication_processing_details":   "flattened",
	"azure.signinlogs.properties.authentication_requirement_policies": "flattened",
	"azure.signinlogs.properties.network_location_details":            "flattened",
	"azure.identityprotection.properties.activity_datetime":           "date",
	"azure.identityprotection.properties.detected_datetime":           "date",
	"azure.identityprotection.properties.last_updated_datetime":       "date",
	"azure.identityprotection.properties.risk_last_updated_datetime":  "date",
	"azure.identityprotection.properties.ip_address":                  "ip",
	"azure.identityprotection.properties.is_deleted":                  "boolean",
	"azure.identityprotection.properties.is_guest":                    "boolean",
	"azure.identityprotection.properties.is_processing":               "boolean",
	"azure.identityprotection.properties.additional_info":             "flattened",
	"azure.identityprotection.properties.location":                    "flattened",
}

// commonFields are the fields outside the logs' own subtrees that Parse can
// fill, all keywords unless fieldTypes says otherwise. A rule that asks for any
// other field outside those subtrees asks in vain.
var commonFields = map[string]bool{
	"@timestamp": true, "message": true,
	"data_stream.dataset": true,
	"event.action":        true, "event.category": true, "event.dataset": true, "event.duration": true,
	"event.id": true, "event.kind": true, "event.outcome": true, "event.type": true,
	"cloud.provider": true, "cloud.region": true,
	"log.level": true,
	"geo.name":  true, "geo.country_iso_code": true, "geo.city_name": true, "geo.country_name": true,
	"geo.location": true, "geo.location.lat": true, "geo.location.lon": true,
	"source.ip": true, "source.port": true, "source.address": true, "client.ip": true,
	"related.ip": true, "related.user": true, "related.entity": true,
	"user.name": true, "user.domain": true, "user.email": true, "user.full_name": true, "user.id": true,
	"user_agent.original":   true,
	"azure.subscription_id": true, "azure.tenant_id": true, "azure.correlation_id": true,
	"azure.resource.id": true, "azure.resource.group": true, "azure.resource.provider": true,
	"azure.resource.name": true, "azure.resource.namespace": true, "azure.resource.authorization_rule": true,
}

// logRoots are the subtrees that take whatever a record holds.
var logRoots = [...]string{
	"azure.activitylogs.", "azure.platformlogs.", "azure.auditlogs.", "azure.signinlogs.", "azure.identityprotection.",
}

// FieldType returns the name of the Elasticsearch type that a field has where
// Elastic's Azure integration stores it, and "" for a field that podwatch does
// not know, whose type then follows from its value. All below a flattened field
// is "flattened": leaves there compare as text, whatever they are in JSON.
// field may have wildcards for names in between.
func FieldType(field string) string {
	if t, ok := fieldTypes[field]; ok {
		return t
	}
	for i := strings.LastIndexByte(field, '.'); i > 0; i = strings.LastIndexByte(field[:i], '.') {
		if fieldTypes[field[:i]] == "flattened" {
			return "flattened"
		}
	}
	switch {
	case commonFields[field]:
		return "keyword"
	case objectField(field):
		return "object"
	case keywordField(field):
		return "keyword"
	}
	return ""
}

// objectField reports whether a field of a log's own subtree holds members, not
// a value: the names of Azure's nested objects, and the keys of the maps that
// arrays become.
func objectField(field string) bool {
	if !inLog(field) {
		return false
	}
	switch name := field[strings.LastIndexByte(field, '.')+1:]; name {
	case "authorization", "evidence", "claims", "claims_initiated_by_user",
		"target_resources", "modified_properties", "initiated_by", "user", "app", "additional_details",
		"status", "device_detail", "mfa_detail", "agent", "conditional_access_audiences",
		"private_link_details", "token_protection_status_details", "properties", "*":
		return field != "azure.platformlogs.status"
	default:
		return name != "" && strings.Trim(name, "0123456789") == ""
	}
}

// keywordField reports whether Elastic maps a field of a log's own subtree as
// keyword. It covers what is mapped by name; what a record brings besides is
// left to its value.
func keywordField(field string) bool {
	for _, prefix := range [...]string{
		"azure.activitylogs.identity.", "azure.auditlogs.properties.",
		"azure.signinlogs.properties.", "azure.identityprotection.properties.",
	} {
		if strings.HasPrefix(field, prefix) {
			return true
		}
	}
	for _, root := range logRoots {
		if name, ok := strings.CutPrefix(field, root); ok {
			switch name {
			case "category", "event_category", "identity", "identity_name", "operation_name", "operation_version",
				"result_type", "result_signature", "result_description", "status", "tenant_id":
				return true
			}
		}
	}
	return false
}

// Missing reports whether field, which may have wildcards, is one that Parse
// never fills, so that a rule asking for it waits in vain. Such are, among
// others, source.as.*, source.geo.* and user_agent.name, .version and .os.*:
// they take a database that podwatch does not carry.
func Missing(field string) bool {
	if !strings.Contains(field, "*") {
		return !commonFields[field] && !inLog(field)
	}
	fixed := field[:strings.IndexByte(field, '*')]
	for _, root := range logRoots {
		if strings.HasPrefix(fixed, root) || strings.HasPrefix(root, fixed) {
			return false
		}
	}
	for known := range commonFields {
		if globMatch(field, known) {
			return false
		}
	}
	return true
}

func inLog(field string) bool {
	for _, root := range logRoots {
		if strings.HasPrefix(field, root) {
			return true
		}
	}
	return false
}

// globMatch matches a pattern in which each star stands for any text.
func globMatch(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for i, part := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return s == ""
}

// RawText says what must stand in a raw record whose event has value in field.
// At least one of the alternatives does, possibly in another case: search
// ignoring ASCII case. verbatim is false when nothing can be said. value may
// also be a piece of the field's value, such as a wildcard pattern has between
// its stars.
//
// It may stand there behind escapes, see package scan. The promise is kept narrow:
//   - only fields whose value is copied from the record, not derived, mapped or
//     compared other than as text;
//   - only characters that no JSON writer escapes, so a value is cut at slashes,
//     quotes, angle brackets and the like, and its longest piece is taken;
//   - event.outcome is not promised at all: the sign-in logs derive it from a
//     number.
func RawText(field, value string) (alternatives []string, verbatim bool) {
	if field == "data_stream.dataset" || field == "event.dataset" {
		// Only datasets that route takes from the category alone.
		switch value {
		case AuditLogs:
			return []string{"AuditLogs"}, true
		case SignInLogs:
			return []string{"SignInLogs"}, true
		case IdentityProtection:
			return []string{"RiskyUsers", "UserRiskEvents"}, true
		}
		return nil, false
	}
	if !copied(field) {
		return nil, false
	}
	piece := longestPlain(value)
	if piece == "" {
		return nil, false
	}
	return []string{piece}, true
}

// copied reports whether the text of field's values is text of the record.
func copied(field string) bool {
	if strings.Contains(field, "*") {
		return false
	}
	switch FieldType(field) {
	case "keyword", "flattened":
	default:
		return false
	}
	switch field {
	case "event.action", "source.address", "cloud.region",
		"user.name", "user.domain", "user.email", "user.full_name", "user.id", "user_agent.original",
		"azure.subscription_id", "azure.tenant_id", "azure.correlation_id",
		"azure.resource.id", "azure.resource.group", "azure.resource.provider",
		"azure.resource.name", "azure.resource.namespace", "azure.resource.authorization_rule":
		return true
	case "azure.activitylogs.event_category", "azure.platformlogs.event_category",
		"azure.activitylogs.identity.claims_initiated_by_user.schema", "azure.platformlogs.status":
		return false
	}
	return inLog(field)
}

// longestPlain is the longest run in s of characters that every JSON writer
// writes as they are, in a string and in JSON text inside a string.
func longestPlain(s string) string {
	best, start := "", 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && plainByte(s[i]) {
			continue
		}
		if i-start > len(best) {
			best = s[start:i]
		}
		start = i + 1
	}
	return best
}

func plainByte(c byte) bool {
	return alnum(c) || c == '.' || c == '_' || c == '-' || c == ' ' || c == ':'
}
