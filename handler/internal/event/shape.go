package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/jsontext"
)

// A shape rewrites a decoded record of another form as a diagnostic setting would
// have exported it.
type shape func(record map[string]any) map[string]any

// reshape reads the record's members from its exported form, if it has another.
// Raw stays what was received.
func (e *Event) reshape() {
	form := e.shape()
	if form == nil {
		return
	}
	var m map[string]any
	decoder := json.NewDecoder(bytes.NewReader(e.raw))
	decoder.UseNumber()
	if decoder.Decode(&m) != nil {
		return
	}
	text, err := json.Marshal(form(m))
	if err != nil {
		return
	}
	e.record.index(jsontext.Text{Raw: text}, 0)
}

// shape returns how to rewrite the record, nil for one as exported.
func (e *Event) shape() shape {
	has := func(names ...string) bool { return e.record.get(names...).Kind != jsontext.Invalid }
	switch {
	case has("eventTimestamp") && has("operationName"):
		return fromREST
	case has("TimeGenerated") && !has("time"):
		return fromLogAnalytics
	case has("properties", "Properties", "EventProperties"):
		return nil
	case isAuditEvent(&e.record) || e.record.get("kind").Is("EventList") && isAuditVersion(e.record.get("apiVersion")):
		return fromAuditEvent
	case has("data"):
		if data := e.record.get("data"); data.Kind == jsontext.Object && hasMember(data, "operationName") {
			return fromEventGrid
		}
	}
	if name := auditColumn(e.record.members); name != "" {
		return auditIn(name)
	}
	return nil
}

// auditIn is the shape of a record that has the text of an audit event in a member
// of its own.
func auditIn(name string) shape {
	return func(m map[string]any) map[string]any {
		m["properties"] = map[string]any{"log": m[name]}
		delete(m, name)
		return m
	}
}

// auditVersion begins the apiVersion of audit events.
const auditVersion = "audit.k8s.io"

// hasMember reports whether an object has a member of the name.
func hasMember(v jsontext.Value, name string) bool {
	for n := range v.Members(0) {
		if n == name {
			return true
		}
	}
	return false
}

// auditColumn returns the name of the member that has the text of an audit event,
// "" if there is none.
func auditColumn(members []member) string {
	for i := range members {
		v := members[i].value
		if (v.Kind == jsontext.String || v.Kind == jsontext.Object || v.Kind == jsontext.Array) && mentionsAudit(v.Raw) {
			return members[i].name
		}
	}
	return ""
}

// fromAuditEvent is the shape of an audit event, or a list of them, that stands
// alone.
func fromAuditEvent(m map[string]any) map[string]any {
	record := map[string]any{"properties": map[string]any{"log": m}}
	for _, name := range [...]string{"stageTimestamp", "requestReceivedTimestamp"} {
		if at := scalarText(m[name]); at != "" {
			record["time"] = at
			break
		}
	}
	return record
}

// fromREST is the shape of the activity log in Azure's REST API, in what
// `az monitor activity-log list` prints, and in the context of an alert of the
// common schema.
func fromREST(m map[string]any) map[string]any {
	authorization := parsedMap(m["authorization"])
	set(m, "time", scalarText(m["eventTimestamp"]))
	set(m, "operationName", valueOf(m["operationName"]))
	set(m, "category", cmp.Or(valueOf(m["category"]), valueOf(m["eventSource"]), "Administrative"))
	set(m, "resourceId", cmp.Or(scalarText(m["resourceId"]), scalarText(m["resourceUri"]), scalarText(authorization["scope"])))
	set(m, "resultType", resultType(valueOf(m["status"])))
	set(m, "resultSignature", valueOf(m["subStatus"]))
	set(m, "callerIpAddress", scalarText(parsedMap(m["httpRequest"])["clientIpAddress"]))
	m["identity"] = identityOf(authorization, parsedMap(m["claims"]), scalarText(m["caller"]))
	drop(m, "eventTimestamp", "authorization", "claims", "caller", "status", "subStatus", "httpRequest", "resourceUri", "eventSource")
	return m
}

// fromEventGrid is the shape of an event of Event Grid about a resource, in its own
// schema or in CloudEvents'.
func fromEventGrid(m map[string]any) map[string]any {
	data := objectIn(m, "data")
	set(data, "eventTimestamp", cmp.Or(scalarText(m["eventTime"]), scalarText(m["time"])))
	if scalarText(data["resourceUri"]) == "" {
		set(data, "resourceUri", scalarText(m["subject"]))
	}
	return fromREST(data)
}

// fromLogAnalytics is the shape of rows that Log Analytics exports. The columns tell
// what a row is, because tables of one form have several names: AKSAudit,
// AKSAuditAdmin, ArcK8sAudit, ArcK8sAuditAdmin. TenantId is the workspace's id.
func fromLogAnalytics(m map[string]any) map[string]any {
	record := map[string]any{}
	set(record, "time", scalarText(m["TimeGenerated"]))
	set(record, "resourceId", cmp.Or(scalarText(m["_ResourceId"]), scalarText(m["ResourceId"])))
	has := func(columns ...string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return m[c] != nil })
	}
	switch table := scalarText(m["Type"]); {
	case table == "AzureActivity", has("OperationNameValue", "ActivityStatusValue", "ActivityStatus"):
		activityRow(record, m)
	case has("AuditId") && has("RequestUri", "Verb"):
		record["category"] = "kube-audit"
		if strings.HasSuffix(table, "Admin") {
			record["category"] = "kube-audit-admin"
		}
		record["properties"] = map[string]any{"log": auditRow(m)}
	case table == "AzureDiagnostics", has("log_s"):
		diagnosticsRow(record, m)
	default:
		drop(m, "TimeGenerated", "TenantId")
		maps.Copy(m, record)
		for column, v := range m {
			if text, ok := v.(string); ok && mentionsAudit([]byte(text)) {
				return auditIn(column)(m)
			}
		}
		return m
	}
	return record
}

func activityRow(record, m map[string]any) {
	set(record, "operationName", cmp.Or(scalarText(m["OperationNameValue"]), scalarText(m["OperationName"])))
	set(record, "category", cmp.Or(scalarText(m["CategoryValue"]), scalarText(m["Category"]), "Administrative"))
	set(record, "resultType", resultType(cmp.Or(scalarText(m["ActivityStatusValue"]), scalarText(m["ActivityStatus"]))))
	set(record, "resultSignature", scalarText(m["ActivitySubstatusValue"]))
	set(record, "callerIpAddress", scalarText(m["CallerIpAddress"]))
	set(record, "correlationId", scalarText(m["CorrelationId"]))
	set(record, "level", scalarText(m["Level"]))
	authorization, claims := parsedMap(m["Authorization_d"], m["Authorization"]), parsedMap(m["Claims_d"], m["Claims"])
	record["identity"] = identityOf(authorization, claims, scalarText(m["Caller"]))
	properties := parsedMap(m["Properties_d"], m["Properties"])
	if properties == nil {
		properties = map[string]any{}
	}
	if properties["hierarchy"] == nil {
		set(properties, "hierarchy", scalarText(m["Hierarchy"]))
	}
	record["properties"] = properties
}

// auditColumns are the members of an audit event by the columns of AKSAudit.
var auditColumns = map[string]string{
	"Level": "level", "AuditId": "auditID", "Stage": "stage", "RequestUri": "requestURI", "Verb": "verb", "User": "user",
	"ImpersonatedUser": "impersonatedUser", "SourceIps": "sourceIPs", "UserAgent": "userAgent", "ObjectRef": "objectRef",
	"ResponseStatus": "responseStatus", "RequestObject": "requestObject", "ResponseObject": "responseObject",
	"RequestReceivedTime": "requestReceivedTimestamp", "StageReceivedTime": "stageTimestamp", "Annotations": "annotations",
}

func auditRow(m map[string]any) map[string]any {
	log := map[string]any{"kind": "Event", "apiVersion": "audit.k8s.io/v1"}
	for column, name := range auditColumns {
		if v := m[column]; v != nil && v != "" {
			log[name] = parsedText(v)
		}
	}
	return log
}

// diagnosticsRow reads a row of AzureDiagnostics, where properties are columns with
// the type at the end of their names.
func diagnosticsRow(record, m map[string]any) {
	properties := map[string]any{}
	for column, v := range m {
		if i := len(column) - 2; i > 0 && column[i] == '_' && strings.IndexByte("sdbtg", column[i+1]) >= 0 {
			properties[column[:i]] = v
			continue
		}
		switch column {
		case "TimeGenerated", "TenantId", "Type", "_ResourceId", "ResourceId", "SourceSystem", "SubscriptionId", "ResourceGroup", "ResourceProvider", "Resource", "ResourceType":
		case "CallerIPAddress":
			record["callerIpAddress"] = v
		case "AdditionalFields":
			properties[column] = v
		default:
			record[strings.ToLower(column[:1])+column[1:]] = v
		}
	}
	// Columns beyond the table's limit are in one.
	if more := parsedMap(properties["AdditionalFields"]); more != nil {
		delete(properties, "AdditionalFields")
		maps.Copy(properties, more)
	}
	record["properties"] = properties
}

// identityOf is the identity of a caller, who is known by name alone where there are
// no claims.
func identityOf(authorization, claims map[string]any, who string) map[string]any {
	if len(claims) == 0 && who != "" {
		claim := "name"
		if _, isID := arm.ParseGUID(who); isID {
			claim = "http://schemas.microsoft.com/identity/claims/objectidentifier"
		} else if strings.Contains(who, "@") {
			claim = xmlsoapClaims + "/upn"
		}
		claims = map[string]any{claim: who}
	}
	return map[string]any{"authorization": authorization, "claims": claims}
}

// resultType is a status of the REST API as resultType of the export.
func resultType(status string) string { return cmp.Or(resultTypes[strings.ToLower(status)], status) }

var resultTypes = map[string]string{"succeeded": "Success", "failed": "Failure", "started": "Start", "accepted": "Accept"}

// valueOf is text, or the value of a pair of value and localizedValue.
func valueOf(v any) string {
	if pair, ok := v.(map[string]any); ok {
		return scalarText(pair["value"])
	}
	return scalarText(v)
}

// parsedText is v, or what is in it if it is the text of a JSON object or array.
func parsedText(v any) any {
	s, ok := v.(string)
	if trimmed := strings.TrimSpace(s); !ok || trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return v
	}
	var parsed any
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	if decoder.Decode(&parsed) != nil {
		return v
	}
	return parsed
}

// parsedMap is the first of the values that is an object with members, or its text;
// else what the last one is.
func parsedMap(values ...any) (m map[string]any) {
	for _, v := range values {
		if m, _ = parsedText(v).(map[string]any); len(m) > 0 {
			break
		}
	}
	return m
}
