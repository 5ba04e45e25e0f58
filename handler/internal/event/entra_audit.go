package event

import (
	"maps"
	"slices"
	"strconv"
)

// auditTable is that of Entra ID's audit log.
//
// Elastic renames a fixed list of names and leaves the others as logged, so
// that properties.userAgent and initiated_by.user.userPrincipalName keep their
// capitals while result_reason does not; rules rely on exactly that.
// target_resources and the modified_properties in it become maps keyed "0",
// "1", …: rules ask for target_resources.0 and for target_resources.*.
var auditTable = &table{
	dataset: EntraAudit,
	fields: slices.Concat(common, source, log("azure.auditlogs"), []Field{
		{Name: "azure.auditlogs.level", Type: double},
		{Name: "azure.auditlogs.properties", Type: group, Below: keyword},
		{Name: "azure.tenant_id", Type: keyword, Verbatim: true, read: (*Event).tenant},
		{Name: "log.level", Type: keyword, read: field("level")},
	},
		typed(date, "azure.auditlogs.properties.", "activity_datetime"),
		typed(group, "azure.auditlogs.properties.", "additional_details", "initiated_by", "initiated_by.app", "initiated_by.user",
			"target_resources", "target_resources.*", "target_resources.*.modified_properties", "target_resources.*.modified_properties.*"),
	),
	build:   (*Event).entraAudit,
	rename:  (*Event).auditProperties,
	outcome: func(e *Event) any { return outcomeOf(asText(e.renamedProperties()["result"])) },
	address: field("callerIpAddress"),
	otherAddress: func(e *Event) string {
		return scalarText(findIn(e.renamedProperties(), "initiated_by.user.ipAddress"))
	},
}

func (e *Event) entraAudit() map[string]any {
	s := renamed(e.Record(), dictionary(auditName))
	drop(s, "time", "resourceId", "callerIpAddress", "durationMs", "tenantId", "correlationId",
		"properties", "operationName", "category")
	if e.str(e.record.get("level")) != "" && e.record.get("Level").Kind == 0 {
		delete(s, "level")
	}
	if m, ok := s["identity"].(map[string]any); ok { // mapped as one keyword
		s["identity"] = scalarText(m["displayName"])
	}
	if p := e.renamedProperties(); p != nil {
		if outcomeOf(asText(p["result"])) != nil {
			p = maps.Clone(p)
			delete(p, "result")
		}
		s["properties"] = p
	}
	return s
}

var auditName = map[string]string{
	"Level": "level", "resultSignature": "result_signature", "resultType": "result_type",
	"resultDescription": "result_description", "operationVersion": "operation_version",
}

func (e *Event) auditProperties(properties map[string]any) map[string]any {
	if properties == nil {
		return nil
	}
	p := renamed(properties, dictionary(auditProperty))
	replace(p, "additional_details", e.additionalDetails)
	replace(p, "initiated_by", e.parsed)
	replace(p, "target_resources", e.targetResources)
	return p
}

var auditProperty = map[string]string{
	"activityDisplayName": "activity_display_name", "activityDateTime": "activity_datetime",
	"additionalDetails": "additional_details", "resultReason": "result_reason", "correlationId": "correlation_id",
	"loggedByService": "logged_by_service", "operationType": "operation_type",
	"authenticationProtocol": "authentication_protocol", "initiatedBy": "initiated_by", "targetResources": "target_resources",
}

func (e *Event) additionalDetails(v any) any {
	v = e.parsed(v)
	if m, ok := v.(map[string]any); ok {
		return renamed(m, dictionary(map[string]string{"userAgent": "user_agent"}))
	}
	return v
}

// targetResources turns the array into a map. Elastic gives up on the whole
// array at the first resource without modified properties; podwatch does not.
func (e *Event) targetResources(v any) any {
	return numbered(e.parsed(v), func(target map[string]any) map[string]any {
		t := copied(target, targetName)
		if v := target["modifiedProperties"]; v != nil {
			t["modified_properties"] = numbered(e.parsed(v), func(property map[string]any) map[string]any {
				return copied(property, modifiedName)
			})
		}
		return t
	})
}

var (
	targetName = map[string]string{
		"id": "id", "type": "type", "displayName": "display_name", "ipAddress": "ip_address", "userPrincipalName": "user_principal_name",
	}
	modifiedName = map[string]string{"displayName": "display_name", "newValue": "new_value", "oldValue": "old_value"}
)

// numbered turns an array of objects into a map with their numbers as names.
func numbered(v any, f func(map[string]any) map[string]any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(list))
	for i, element := range list {
		if m, ok := element.(map[string]any); ok {
			out[strconv.Itoa(i)] = f(m)
		}
	}
	return out
}

// copied returns the members of m that names has, under their new names.
func copied(m map[string]any, names map[string]string) map[string]any {
	out := make(map[string]any, len(names))
	for from, to := range names {
		if v := m[from]; v != nil {
			out[to] = v
		}
	}
	return out
}
