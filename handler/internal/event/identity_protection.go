package event

import "strings"

// identityProtection fills azure.identityprotection.* (the dataset is called
// azure.identity_protection) from Entra ID Protection's risky users and risk
// detections.
func (n *normaliser) identityProtection() {
	s := renamed(n.rec, snakeCase)
	n.azure["identityprotection"] = s
	drop(s, "time", "resource_id", "caller_ip_address", "duration_ms", "tenant_id", "correlation_id",
		"properties", "identity", "level", "location")
	set(s, "operation_name", n.ev.Operation)
	set(s, "category", n.ev.Category)
	set(n.azure, "tenant_id", n.ev.TenantID)
	n.source(strings.TrimSpace(text(n.rec["callerIpAddress"])))
	if n.props == nil {
		return
	}
	p := renamed(n.props, riskProperty)
	s["properties"] = p
	replace(p, "additional_info", parsed)
	for _, name := range [...]string{
		"activity_datetime", "detected_datetime", "last_updated_datetime", "risk_last_updated_datetime",
	} {
		if v, ok := p[name]; ok {
			n.dateField(p, name, text(v))
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

func riskProperty(name string) string {
	name = snakeCase(name)
	if stem, ok := strings.CutSuffix(name, "_date_time"); ok {
		return stem + "_datetime"
	}
	return name
}

// dateField replaces a date, which Azure writes with an hour of one digit at
// times, by the form that rules compare, or removes it if it is none.
func (n *normaliser) dateField(m map[string]any, name, value string) {
	t, err := parseTime(value)
	if err != nil {
		delete(m, name)
		n.ev.note("%s is not readable: %v", name, err)
		return
	}
	m[name] = t.Format("2006-01-02T15:04:05.000Z")
}
