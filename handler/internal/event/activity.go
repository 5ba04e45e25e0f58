package event

import (
	"cmp"
	"slices"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// activityTable is the activity log's: the operations of Azure Resource Manager.
var activityTable = &table{
	dataset: ActivityLogs,
	fields: slices.Concat(common, source, user, log("azure.activitylogs"), []Field{
		{Name: "azure.activitylogs.event_category", Type: keyword, read: eventCategory, inner: true},
		{Name: "azure.activitylogs.identity", Type: keyword, Verbatim: true, Below: keyword},
		{Name: "azure.activitylogs.properties", Verbatim: true, Type: flattened, Below: flattened},
		{Name: "azure.activitylogs.identity.authorization", Type: group},
		{Name: "azure.activitylogs.identity.authorization.evidence", Type: group},
		{Name: "azure.activitylogs.identity.claims", Type: group},
		{Name: "azure.activitylogs.identity.claims_initiated_by_user", Type: group},
		{Name: "azure.activitylogs.identity.claims_initiated_by_user.schema", Type: keyword},
		{Name: "event.type", Type: keyword, read: eventType},
		{Name: "geo.name", Type: keyword, read: field("location", "Location")},
		{Name: "log.level", Type: keyword, read: level},
		{Name: "message", Type: fullText, read: func(e *Event) any { return e.text(e.props().get("statusMessage")) }, inner: true},
		{Name: "user.email", Type: keyword, Verbatim: true, read: func(e *Event) any {
			login := e.table.login(e)
			if _, _, ok := splitLogin(login); !ok {
				return nil
			}
			return login
		}},
		{Name: "user.full_name", Type: keyword, Verbatim: true, read: func(e *Event) any { return filled(scalarText(e.identity().claims["name"])) }},
	}),
	build:   (*Event).activity,
	outcome: resultOutcome,
	address: field("callerIpAddress", "CallerIpAddress"),
	login:   func(e *Event) string { return scalarText(e.identity().claims[xmlsoapClaims+"/name"]) },
	note: func(e *Event) {
		e.identity()
		if text := jsontext.String; e.props().get("requestbody").Kind == text || e.props().get("requestBody").Kind == text {
			e.ownFields()
		}
	},
}

const xmlsoapClaims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"

// levelWords has the words for the numbers of Azure's table.
var levelWords = map[any]any{"1": "Critical", "2": "Error", "3": "Warning", "4": "Informational", "5": "Verbose"}

// level is the record's level in words.
func level(e *Event) any {
	l := e.text(e.record.get("Level", "level"))
	return cmp.Or(levelWords[l], l)
}

// activity builds azure.activitylogs.* but for what has rows of its own.
func (e *Event) activity() map[string]any {
	s := renamed(e.Record(), unchanged)
	drop(s, "time", "Time", "resourceId", "ResourceId", "callerIpAddress", "CallerIpAddress",
		"level", "Level", "durationMs", "DurationMs", "location", "Location",
		"correlationId", "CorrelationId", "identity", "Identity", "properties", "Properties",
		"operationName", "OperationName", "operationVersion", "OperationVersion",
		"tenantId", "TenantId", "resultType", "ResultType", "resultSignature", "ResultSignature",
		"category", "Category", "event_category")
	set(s, "operation_version", e.str(e.record.get("operationVersion", "OperationVersion")))
	set(s, "result_type", e.str(e.record.get("resultType", "ResultType")))
	set(s, "tenant_id", asText(e.tenant()))
	if v := e.record.get("resultSignature", "ResultSignature"); v.Kind != jsontext.Invalid {
		s["result_signature"] = e.str(v)
	}
	set(s, "identity_name", e.identity().name)
	if fields := e.identityFields(); fields != nil {
		s["identity"] = fields
	}
	if p := e.activityProperties(); p != nil {
		s["properties"] = p
	}
	return s
}

// activityProperties is properties without what has left it.
//
// requestbody is parsed if it is JSON text, because rules query below it.
// responseBody is left as text: the one rule on it looks for JSON text in it.
// Text that is no object stays what it is, so that a search in it still finds
// something; Elasticsearch would refuse the whole record.
func (e *Event) activityProperties() any {
	if !e.props().is() {
		return e.propertiesText()
	}
	p := renamed(e.propertiesMap(), dictionary(activityProperty))
	if scalarText(p["statusMessage"]) != "" {
		delete(p, "statusMessage")
	}
	delete(p, "eventCategory")
	for _, name := range [...]string{"requestbody", "requestBody"} {
		if t, ok := p[name].(string); ok && looksLikeObject(t) {
			if m := e.parsedObject(partTree, name, t); m != nil {
				p[name] = m
			}
		}
	}
	return p
}

var activityProperty = map[string]string{
	"statusCode": "status_code", "serviceRequestId": "service_request_id",
}

// An identity is what the activity log has about the caller.
type identity struct {
	name   string         // where it is text
	logged map[string]any // nil: none
	scope  string         // of the authorization
	claims map[string]any // as logged
	fields map[string]any // see identityFields
}

// identity reads the caller.
//
// An identity that is JSON text is parsed. Elastic means to do so and does not
// (it renames the text away first); a rule can only win by it, since the claims
// are the caller's own. The text is kept as identity_name as there.
func (e *Event) identity() *identity {
	if !e.once(partIdentity) {
		return &e.who
	}
	id := e.decoded(e.record.find("identity"))
	if id == nil {
		id = e.decoded(e.record.find("Identity"))
	}
	switch v := id.(type) {
	case map[string]any:
		e.who.logged = v
	case string:
		e.who.name = v
		if looksLikeObject(v) {
			e.who.logged = e.parsedObject(partIdentity, "identity", v)
		}
	}
	if auth, ok := either(e.who.logged, "authorization", "Authorization").(map[string]any); ok {
		e.who.scope = scalarText(either(auth, "scope", "Scope"))
	}
	e.who.claims, _ = either(e.who.logged, "claims", "Claims").(map[string]any)
	return &e.who
}

// identityFields is azure.activitylogs.identity, nil if there is none.
func (e *Event) identityFields() map[string]any {
	id := e.identity().logged
	if len(id) == 0 || !e.once(partIdentityFields) {
		return e.who.fields
	}
	out := renamed(id, unchanged)
	drop(out, "authorization", "Authorization", "claims", "Claims")
	if auth, ok := either(id, "authorization", "Authorization").(map[string]any); ok {
		a := renamed(auth, unchanged)
		if evidence := objectIn(a, "evidence"); evidence != nil {
			a["evidence"] = renamed(evidence, dictionary(evidenceName))
		}
		out["authorization"] = a
	}
	if e.who.claims != nil {
		addClaims(out, e.who.claims)
	}
	e.who.fields = out
	return out
}

var evidenceName = map[string]string{
	"roleAssignmentScope": "role_assignment_scope", "roleDefinitionId": "role_definition_id",
	"roleAssignmentId": "role_assignment_id", "principalId": "principal_id", "principalType": "principal_type",
}

// addClaims adds the claims, with underscores for the dots in their names, since a
// dot would mean a level of nesting.
//
// The claim "name" is a person's display name and moves to
// claims_initiated_by_user. Elastic fills the rest of that object only if the
// display name was there; podwatch does so whenever a sign-in name is, which
// service principals and managed identities do not have, so their user fields
// stay empty as there.
func addClaims(identity, claims map[string]any) {
	out := renamed(claims, func(name string) string { return strings.ReplaceAll(name, ".", "_") })
	delete(out, "name")
	identity["claims"] = out

	by := make(map[string]any, 5)
	set(by, "fullname", scalarText(claims["name"]))
	for _, part := range [...]string{"name", "givenname", "surname"} {
		set(by, part, scalarText(claims[xmlsoapClaims+"/"+part]))
	}
	if by["name"] != nil {
		by["schema"] = xmlsoapClaims
	}
	if len(by) > 0 {
		identity["claims_initiated_by_user"] = by
	}
}
