package event

import (
	"encoding/json"
	"strconv"
	"strings"
)

// signIn fills azure.signinlogs.* from Entra ID's sign-in logs, interactive or
// not, of users, service principals and managed identities. Elastic turns every
// name into lower case with underscores and renames a few by hand.
//
// Not filled, because it needs a database: source.as, source.geo and
// user_agent.name, .version, .os.
func (n *normaliser) signIn() {
	ev := n.ev
	top := renamed(n.rec, unchanged)
	drop(top, "time", "resourceId", "callerIpAddress", "level", "Level", "durationMs", "location",
		"tenantId", "correlationId", "properties", "operationName")
	s, _ := snakeValue(top).(map[string]any)
	n.azure["signinlogs"] = s
	set(s, "operation_name", ev.Operation)
	set(n.azure, "tenant_id", ev.TenantID)
	if l := text(get(n.rec, "Level", "level")); l != "" {
		n.put("log", "level", l)
	}
	if l := text(n.rec["location"]); l != "" {
		n.put("geo", "country_iso_code", l)
	}
	n.event["category"] = []any{"authentication"}
	n.event["type"] = []any{"info"}

	p, _ := snakeValue(n.props).(map[string]any)
	if p == nil {
		p = map[string]any{}
	}
	s["properties"] = p
	caller := text(p["ip_address"])
	if caller == "" {
		caller = text(p["ipaddress"])
	}
	if caller == "" {
		caller = text(n.rec["callerIpAddress"])
	}
	delete(p, "ip_address")
	delete(p, "ipaddress")
	if caller = strings.TrimSpace(caller); caller != "" {
		n.source(caller)
		n.put("source", "address", caller)
	}
	rename(p, "created_date_time", "created_at")
	rename(p, "processing_time_in_milliseconds", "processing_time_ms")
	rename(p, "risk_level_during_sign_in", "risk_level_during_signin")
	replace(p, "authentication_processing_details", keyed)
	if ua := text(p["user_agent"]); ua != "" {
		n.put("user_agent", "original", ua)
		delete(p, "user_agent")
	}
	if id := text(p["id"]); id != "" {
		n.event["id"] = id
	}
	status := object(p, "status")
	n.signInOutcome(status)
	n.signInMessage(status)
	n.signInPlace(p)
	n.user(text(p["user_principal_name"]))
	if name := text(p["user_display_name"]); name != "" {
		n.put("user", "full_name", name)
	}
	if id := text(p["user_id"]); id != "" {
		n.put("user", "id", id)
	}
}

// signInOutcome follows the error code: 0 or none is success. Where the status
// is missing altogether Elastic calls the sign-in a success too; podwatch then
// looks at resultType, which holds the same number, so that a failed sign-in
// does not raise the alerts for successful ones.
func (n *normaliser) signInOutcome(status map[string]any) {
	code := text(status["error_code"])
	if code == "" {
		code = text(n.rec["resultType"])
	}
	n.ev.Outcome = "success"
	if v, err := strconv.ParseInt(strings.TrimSpace(code), 10, 64); err == nil && v > 0 {
		n.ev.Outcome = "failure"
	}
}

func (n *normaliser) signInMessage(status map[string]any) {
	reason, details := text(status["failure_reason"]), text(status["additional_details"])
	delete(status, "failure_reason")
	delete(status, "additional_details")
	switch {
	case reason != "" && details != "":
		n.ev.Fields["message"] = reason + " (" + details + ")"
	case reason != "" || details != "":
		n.ev.Fields["message"] = reason + details
	}
}

func (n *normaliser) signInPlace(p map[string]any) {
	place := object(p, "location")
	if place == nil {
		return
	}
	delete(p, "location")
	if city := text(place["city"]); city != "" {
		n.put("geo", "city_name", city)
	}
	if state := text(place["state"]); state != "" {
		n.put("geo", "country_name", state)
	}
	at := object(place, "geo_coordinates")
	lat, okLat := at["latitude"].(json.Number)
	lon, okLon := at["longitude"].(json.Number)
	if okLat && okLon {
		n.put("geo", "location", map[string]any{"lat": lat, "lon": lon})
	}
}

// keyed turns an array of key and value pairs into a map.
func keyed(v any) any {
	v = parsed(v)
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(list))
	for _, e := range list {
		pair, ok := e.(map[string]any)
		if !ok {
			return v
		}
		key := text(pair["key"])
		if key == "" {
			return v
		}
		out[key] = pair["value"]
	}
	return out
}

func rename(m map[string]any, from, to string) {
	if v, ok := m[from]; ok {
		delete(m, from)
		m[to] = v
	}
}

// snakeValue copies v with all names in it in snake case. Text that holds JSON
// is left alone.
func snakeValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return nil
		}
		out := renamed(v, snakeCase)
		for k, e := range out {
			out[k] = snakeValue(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = snakeValue(e)
		}
		return out
	}
	return v
}

// snakeCase is Elastic's: an underscore between a small letter and the capitals
// after it, then all small. riskLevelDuringSignIn becomes
// risk_level_during_sign_in, userIPAddress user_ipaddress.
func snakeCase(s string) string {
	capitals := 0
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			capitals++
		}
	}
	if capitals == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + capitals)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			if i > 0 && 'a' <= s[i-1] && s[i-1] <= 'z' {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}
