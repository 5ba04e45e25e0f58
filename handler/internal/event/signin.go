package event

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// signInTable is that of Entra ID's sign-in logs, interactive or not, of users,
// service principals and managed identities. Elastic turns every name into lower
// case with underscores and renames a few by hand.
//
// The sign-in name is user.name whole, and user.email if it is an address.
//
// Not filled, because it needs a database: source.as, source.geo and
// user_agent.name, .version, .os.
var signInTable = &table{
	dataset: SignInLogs,
	fields: slices.Concat(common, source, log("azure.signinlogs"), []Field{
		{Name: "azure.signinlogs.properties", Type: group, Below: keyword},
		{Name: "azure.tenant_id", Type: keyword, Verbatim: true, read: (*Event).tenant},
		{Name: "event.category", Type: keyword, read: constant([]any{"authentication"})},
		{Name: "event.type", Type: keyword, read: constant([]any{"info"})},
		{Name: "event.id", Type: keyword, read: named("id"), inner: true},
		{Name: "geo.country_iso_code", Type: keyword, read: field("location")},
		{Name: "geo.city_name", Type: keyword, read: named("location.city"), inner: true},
		{Name: "geo.country_name", Type: keyword, read: named("location.state"), inner: true},
		{Name: "geo.location.lat", Type: double, read: coordinate("latitude"), inner: true},
		{Name: "geo.location.lon", Type: double, read: coordinate("longitude"), inner: true},
		{Name: "geo.location", Type: group},
		{Name: "log.level", Type: keyword, read: field("Level", "level")},
		{Name: "message", Type: fullText, read: signInMessage, inner: true},
		{Name: "related.user", Type: keyword, read: func(e *Event) any { return list(e.table.login(e)) }, inner: true},
		{Name: "user.name", Type: keyword, Verbatim: true, read: named("user_principal_name"), inner: true},
		{Name: "user.email", Type: keyword, Verbatim: true, read: func(e *Event) any {
			if login := e.table.login(e); strings.Contains(login, "@") {
				return login
			}
			return nil
		}, inner: true},
		{Name: "user.full_name", Type: keyword, Verbatim: true, read: named("user_display_name"), inner: true},
		{Name: "user.id", Type: keyword, Verbatim: true, read: named("user_id"), inner: true},
		{Name: "user_agent.original", Type: keyword, Verbatim: true, read: named("user_agent"), inner: true},
	},
		typed(date, "azure.signinlogs.properties.", "created_at"),
		typed(long, "azure.signinlogs.properties.", "autonomous_system_number", "status.error_code"),
		typed(double, "azure.signinlogs.properties.", "processing_time_ms"),
		typed(boolean, "azure.signinlogs.properties.", "is_interactive", "is_tenant_restricted", "is_through_global_secure_access",
			"flagged_for_review", "device_detail.is_compliant", "device_detail.is_managed"),
		typed(flattened, "azure.signinlogs.properties.", "applied_conditional_access_policies", "authentication_details",
			"authentication_processing_details", "authentication_requirement_policies", "network_location_details"),
		typed(group, "azure.signinlogs.properties.", "status", "device_detail", "mfa_detail", "agent", "conditional_access_audiences",
			"private_link_details", "token_protection_status_details"),
	),
	build: (*Event).signIn,
	rename: func(_ *Event, properties map[string]any) map[string]any {
		p, _ := snakeValue(properties).(map[string]any)
		return p
	},
	outcome: signInOutcome,
	address: func(e *Event) any {
		p := e.renamedProperties()
		return cmp.Or(scalarText(p["ip_address"]), scalarText(p["ipaddress"]), e.str(e.record.get("callerIpAddress")))
	},
	login: func(e *Event) string { return scalarText(e.renamedProperties()["user_principal_name"]) },
}

func (e *Event) signIn() map[string]any {
	top := renamed(e.Record(), unchanged)
	drop(top, "time", "resourceId", "callerIpAddress", "level", "Level", "durationMs", "location",
		"tenantId", "correlationId", "properties", "operationName", "category")
	s := snakeValue(top).(map[string]any)
	p := maps.Clone(e.renamedProperties())
	s["properties"] = p
	drop(p, "ip_address", "ipaddress")
	rename(p, "created_date_time", "created_at")
	rename(p, "processing_time_in_milliseconds", "processing_time_ms")
	rename(p, "risk_level_during_sign_in", "risk_level_during_signin")
	replace(p, "authentication_processing_details", e.keyed)
	if scalarText(p["user_agent"]) != "" {
		delete(p, "user_agent")
	}
	if status := objectIn(p, "status"); status != nil {
		status = maps.Clone(status)
		drop(status, "failure_reason", "additional_details")
		p["status"] = status
	}
	if objectIn(p, "location") != nil {
		delete(p, "location")
	}
	return s
}

// signInOutcome follows the error code: 0 or none is success. Where the status
// is missing altogether Elastic calls the sign-in a success too; podwatch then
// looks at resultType, which has the same number, so that a failed sign-in
// does not raise the alerts for successful ones.
func signInOutcome(e *Event) any {
	code := scalarText(objectIn(e.renamedProperties(), "status")["error_code"])
	if code == "" {
		code = e.str(e.record.get("resultType"))
	}
	if v, err := strconv.ParseInt(strings.TrimSpace(code), 10, 64); err == nil && v > 0 {
		return "failure"
	}
	return "success"
}

func signInMessage(e *Event) any {
	status := objectIn(e.renamedProperties(), "status")
	reason, details := scalarText(status["failure_reason"]), scalarText(status["additional_details"])
	if reason != "" && details != "" {
		return reason + " (" + details + ")"
	}
	return filled(reason + details)
}

// coordinate returns the reader of a number that Elastic takes only with its pair.
func coordinate(name string) func(*Event) any {
	return func(e *Event) any {
		at := objectIn(objectIn(e.renamedProperties(), "location"), "geo_coordinates")
		_, okLat := at["latitude"].(json.Number)
		_, okLon := at["longitude"].(json.Number)
		if !okLat || !okLon {
			return nil
		}
		return at[name]
	}
}

// keyed turns an array of key and value pairs into a map.
func (e *Event) keyed(v any) any {
	v = e.parsed(v)
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(list))
	for _, element := range list {
		pair, ok := element.(map[string]any)
		if !ok {
			return v
		}
		key := scalarText(pair["key"])
		if key == "" {
			return v
		}
		out[key] = pair["value"]
	}
	return out
}
