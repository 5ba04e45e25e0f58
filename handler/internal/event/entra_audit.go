package event

import (
	"encoding/json"
	"strconv"
	"strings"
)

// entraAudit fills azure.auditlogs.* from Entra ID's audit log.
//
// Elastic renames a fixed list of names and leaves the others as logged, so
// that properties.userAgent and initiated_by.user.userPrincipalName keep their
// capitals while result_reason does not; rules rely on exactly that.
// target_resources and the modified_properties in it become maps keyed "0",
// "1", …: rules ask for target_resources.0 and for target_resources.*.
func (n *normaliser) entraAudit() {
	s := renamed(n.rec, auditName)
	n.azure["auditlogs"] = s
	drop(s, "time", "resourceId", "callerIpAddress", "durationMs", "tenantId", "correlationId",
		"properties", "operationName", "category")
	if l := text(n.rec["level"]); l != "" {
		n.put("log", "level", l)
		if n.rec["Level"] == nil {
			delete(s, "level")
		}
	}
	if m, ok := s["identity"].(map[string]any); ok { // mapped as one keyword
		s["identity"] = text(m["displayName"])
	}
	set(s, "operation_name", n.ev.Operation)
	set(s, "category", n.ev.Category)
	set(n.azure, "tenant_id", n.ev.TenantID)
	n.source(strings.TrimSpace(text(n.rec["callerIpAddress"])))
	if n.props == nil {
		return
	}
	p := renamed(n.props, auditProperty)
	s["properties"] = p
	if r, ok := p["result"].(string); ok && (strings.EqualFold(r, "success") || strings.EqualFold(r, "failure")) {
		n.ev.Outcome = strings.ToLower(r)
		delete(p, "result")
	}
	replace(p, "additional_details", additionalDetails)
	replace(p, "initiated_by", parsed)
	replace(p, "target_resources", targetResources)
	if n.ev.CallerIP == "" {
		who := object(p, "initiated_by")
		n.ev.CallerIP, _, _ = parseAddress(text(object(who, "user")["ipAddress"]))
	}
}

func auditName(name string) string {
	switch name {
	case "Level":
		return "level"
	case "resultSignature":
		return "result_signature"
	case "resultType":
		return "result_type"
	case "resultDescription":
		return "result_description"
	case "operationVersion":
		return "operation_version"
	}
	return name
}

func auditProperty(name string) string {
	switch name {
	case "activityDisplayName":
		return "activity_display_name"
	case "activityDateTime":
		return "activity_datetime"
	case "additionalDetails":
		return "additional_details"
	case "resultReason":
		return "result_reason"
	case "correlationId":
		return "correlation_id"
	case "loggedByService":
		return "logged_by_service"
	case "operationType":
		return "operation_type"
	case "authenticationProtocol":
		return "authentication_protocol"
	case "initiatedBy":
		return "initiated_by"
	case "targetResources":
		return "target_resources"
	}
	return name
}

func drop(m map[string]any, names ...string) {
	for _, name := range names {
		delete(m, name)
	}
}

// replace puts f(m[name]) in the place of m[name], if that is there.
func replace(m map[string]any, name string, f func(any) any) {
	if v, ok := m[name]; ok {
		m[name] = f(v)
	}
}

// parsed is v, or what v says if it is JSON text, as some exports write the
// nested parts of Entra's records.
func parsed(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' || depth([]byte(s)) > maxDepth {
		return v
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var out any
	if dec.Decode(&out) != nil {
		return v
	}
	dropEmptyKeys(out)
	return out
}

func additionalDetails(v any) any {
	v = parsed(v)
	if m, ok := v.(map[string]any); ok {
		return renamed(m, func(name string) string {
			if name == "userAgent" {
				return "user_agent"
			}
			return name
		})
	}
	return v
}

// targetResources turns the array into a map. Elastic gives up on the whole
// array at the first resource without modified properties; podwatch does not.
func targetResources(v any) any {
	v = parsed(v)
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(list))
	for i, e := range list {
		target, ok := e.(map[string]any)
		if !ok {
			continue
		}
		t := make(map[string]any, 6)
		out[strconv.Itoa(i)] = t
		copyMember(t, "id", target, "id")
		copyMember(t, "type", target, "type")
		copyMember(t, "display_name", target, "displayName")
		copyMember(t, "ip_address", target, "ipAddress")
		copyMember(t, "user_principal_name", target, "userPrincipalName")
		if v := target["modifiedProperties"]; v != nil {
			t["modified_properties"] = modifiedProperties(parsed(v))
		}
	}
	return out
}

func copyMember(to map[string]any, name string, from map[string]any, member string) {
	if v := from[member]; v != nil {
		to[name] = v
	}
}

func modifiedProperties(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(list))
	for i, e := range list {
		property, ok := e.(map[string]any)
		if !ok {
			continue
		}
		p := make(map[string]any, 3)
		out[strconv.Itoa(i)] = p
		copyMember(p, "display_name", property, "displayName")
		copyMember(p, "new_value", property, "newValue")
		copyMember(p, "old_value", property, "oldValue")
	}
	return out
}
