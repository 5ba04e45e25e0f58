package event

import "strings"

// identityProtection fills azure.identityprotection.* (the dataset is called
// azure.identity_protection) from Entra ID Protection's risky users and risk
// detections.
func (n *normaliser) identityProtection() {
	s := n.newStream("identityprotection", len(n.rec)+2)
	for k, v := range n.rec {
		switch k {
		case "time", "resourceId", "callerIpAddress", "durationMs", "tenantId", "correlationId", "properties",
			"operationName", "category", "identity", "Level", "level", "location":
			continue
		}
		if v != nil {
			s[snakeCase(k)] = v
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
		if v == nil {
			continue
		}
		switch name := snakeCase(k); {
		case strings.HasSuffix(name, "_date_time"):
			n.dateField(p, strings.TrimSuffix(name, "_date_time")+"_datetime", text(v))
		case name == "additional_info":
			p[name] = parsed(v)
		default:
			p[name] = v
		}
	}
	if n.ev.CallerIP == "" {
		n.ev.CallerIP, _, _ = parseAddress(text(p["ip_address"]))
	}
	if upn := text(p["user_principal_name"]); upn != "" {
		n.put("user", "email", upn)
		n.user(upn)
	}
	if name := text(p["user_display_name"]); name != "" {
		n.put("user", "full_name", name)
	}
	if id := text(p["user_id"]); id != "" {
		n.put("user", "id", id)
	}
}

// dateField sets a date that Azure writes with an hour of one digit at times.
func (n *normaliser) dateField(m map[string]any, name, value string) {
	t, err := parseTime(value)
	if err != nil {
		n.ev.note("%s is not readable: %v", name, err)
		return
	}
	m[name] = t.Format("2006-01-02T15:04:05.000Z")
}
