package event

import (
	"slices"
	"strings"
)

// riskTable is that of Entra ID Protection: risky users and risk detections. Its
// own fields are below azure.identityprotection.
var riskTable = &table{
	dataset: IdentityProtection,
	fields: slices.Concat(common, source, user, log("azure.identityprotection"), []Field{
		{Name: "azure.identityprotection.properties", Type: group, Below: keyword},
		{Name: "azure.tenant_id", Type: keyword, Verbatim: true, read: (*Event).tenant},
		{Name: "user.email", Type: keyword, Verbatim: true, read: named("user_principal_name"), inner: true},
		{Name: "user.full_name", Type: keyword, Verbatim: true, read: named("user_display_name"), inner: true},
		{Name: "user.id", Type: keyword, Verbatim: true, read: named("user_id"), inner: true},
	},
		typed(date, "azure.identityprotection.properties.", riskDates...),
		typed(ip, "azure.identityprotection.properties.", "ip_address"),
		typed(boolean, "azure.identityprotection.properties.", "is_deleted", "is_guest", "is_processing"),
		typed(flattened, "azure.identityprotection.properties.", "additional_info", "location"),
	),
	build:        (*Event).identityProtection,
	rename:       (*Event).riskProperties,
	address:      field("callerIpAddress"),
	login:        func(e *Event) string { return scalarText(e.renamedProperties()["user_principal_name"]) },
	otherAddress: func(e *Event) string { return scalarText(e.renamedProperties()["ip_address"]) },
	note:         func(e *Event) { e.renamedProperties() },
}

func (e *Event) identityProtection() map[string]any {
	s := renamed(e.Record(), snakeCase)
	drop(s, "time", "resource_id", "caller_ip_address", "duration_ms", "tenant_id", "correlation_id",
		"properties", "identity", "level", "location", "operation_name", "category")
	if p := e.renamedProperties(); p != nil {
		s["properties"] = p
	}
	return s
}

var riskDates = []string{"activity_datetime", "detected_datetime", "last_updated_datetime", "risk_last_updated_datetime"}

func (e *Event) riskProperties(properties map[string]any) map[string]any {
	if properties == nil {
		return nil
	}
	p := renamed(properties, riskProperty)
	replace(p, "additional_info", e.parsed)
	for _, name := range riskDates {
		if v, ok := p[name]; ok {
			e.dateField(p, name, scalarText(v))
		}
	}
	return p
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
func (e *Event) dateField(m map[string]any, name, value string) {
	t, err := parseTime(value)
	if err != nil {
		delete(m, name)
		e.note(partRenamed, "%s is not readable: %v", name, err)
		return
	}
	m[name] = t.Format(milliseconds)
}
