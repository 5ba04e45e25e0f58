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
	s := n.newStream("auditlogs", len(n.rec)+2)
	for k, v := range n.rec {
		switch k {
		case "time", "resourceId", "callerIpAddress", "durationMs", "tenantId", "correlationId", "properties", "operationName", "category":
			continue
		case "level":
			n.put("log", "level", text(v))
			continue
		case "Level":
			k = "level"
		case "resultSignature":
			k = "result_signature"
		case "resultType":
			k = "result_type"
		case "resultDescription":
			k = "result_description"
		case "operationVersion":
			k = "operation_version"
		case "identity":
			if m, ok := v.(map[string]any); ok { // mapped as one keyword
				v = text(m["displayName"])
			}
		}
		if v != nil {
			s[k] = v
		}
	}
	set(s, "operation_name", n.ev.Operation)
	set(s, "category", n.ev.Category)
	set(n.azure, "tenant_id", n.ev.TenantID)
	n.source(strings.TrimSpace(text(n.rec["callerIpAddress"])))
	if n.props == nil {
		return
	}
	p := make(map[string]any, len(n.props))
	s["properties"] = p
	for k, v := range n.props {
		switch k {
		case "result":
			if r, ok := v.(string); ok && (strings.EqualFold(r, "success") || strings.EqualFold(r, "failure")) {
				n.ev.Outcome = strings.ToLower(r)
				continue
			}
		case "activityDisplayName":
			k = "activity_display_name"
		case "activityDateTime":
			k = "activity_datetime"
		case "additionalDetails":
			k, v = "additional_details", additionalDetails(v)
		case "resultReason":
			k = "result_reason"
		case "correlationId":
			k = "correlation_id"
		case "loggedByService":
			k = "logged_by_service"
		case "operationType":
			k = "operation_type"
		case "authenticationProtocol":
			k = "authentication_protocol"
		case "initiatedBy":
			k, v = "initiated_by", parsed(v)
		case "targetResources":
			k, v = "target_resources", targetResources(parsed(v))
		}
		if v != nil {
			p[k] = v
		}
	}
	if n.ev.CallerIP == "" {
		who := object(p, "initiated_by")
		n.ev.CallerIP, _, _ = parseAddress(text(object(who, "user")["ipAddress"]))
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
	if m, ok := v.(map[string]any); ok && m["userAgent"] != nil {
		out := make(map[string]any, len(m))
		for k, v := range m {
			if k == "userAgent" {
				k = "user_agent"
			}
			out[k] = v
		}
		return out
	}
	return v
}

// targetResources turns the array into a map. Elastic gives up on the whole
// array at the first resource without modified properties; podwatch does not.
func targetResources(v any) any {
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
		for k, v := range target {
			switch k {
			case "displayName":
				k = "display_name"
			case "ipAddress":
				k = "ip_address"
			case "userPrincipalName":
				k = "user_principal_name"
			case "modifiedProperties":
				k, v = "modified_properties", modifiedProperties(parsed(v))
			case "id", "type":
			default:
				continue
			}
			if v != nil {
				t[k] = v
			}
		}
	}
	return out
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
		for k, name := range map[string]string{"displayName": "display_name", "newValue": "new_value", "oldValue": "old_value"} {
			if v := property[k]; v != nil {
				p[name] = v
			}
		}
	}
	return out
}
