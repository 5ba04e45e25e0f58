package event

import (
	"strings"
)

const xmlsoapClaims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"

// activity fills azure.activitylogs.* from a record of the activity log.
func (n *normaliser) activity() {
	ev := n.ev
	s := n.newLog("activitylogs", len(n.rec)+4)
	for k, v := range n.rec {
		switch k {
		case "time", "Time", "resourceId", "ResourceId", "callerIpAddress", "CallerIpAddress",
			"level", "Level", "durationMs", "DurationMs", "location", "Location",
			"correlationId", "CorrelationId", "identity", "Identity", "properties", "Properties",
			"operationName", "OperationName", "operationVersion", "OperationVersion",
			"tenantId", "TenantId", "resultType", "ResultType", "resultSignature", "ResultSignature",
			"category", "Category":
			// Moved or renamed below.
		default:
			if v != nil {
				s[k] = v
			}
		}
	}
	set(s, "operation_name", ev.Operation)
	set(s, "category", ev.Category)
	set(s, "tenant_id", ev.TenantID)
	set(s, "operation_version", text(get(n.rec, "operationVersion", "OperationVersion")))
	set(s, "result_type", text(get(n.rec, "resultType", "ResultType")))
	if v := get(n.rec, "resultSignature", "ResultSignature"); v != nil {
		s["result_signature"] = text(v)
	}
	n.outcome()
	n.eventType()
	n.source(strings.TrimSpace(text(get(n.rec, "callerIpAddress", "CallerIpAddress"))))
	if l := level(n.rec); l != "" {
		n.put("log", "level", l)
	}
	if l := text(get(n.rec, "location", "Location")); l != "" {
		n.put("geo", "name", l)
	}
	n.activityProperties(s)
	scope := n.activityIdentity(s)
	ev.Resource = resourceOf(ev.ResourceID, text(n.props["entity"]), scope)
}

// level is the record's level in words: the number is that of Azure's table.
func level(rec map[string]any) string {
	l := text(get(rec, "Level", "level"))
	switch l {
	case "1":
		return "Critical"
	case "2":
		return "Error"
	case "3":
		return "Warning"
	case "4":
		return "Informational"
	case "5":
		return "Verbose"
	}
	return l
}

// activityProperties fills properties, a flattened field, and what leaves it.
//
// requestbody is parsed if it is JSON text, because rules query below it.
// responseBody is left as text: the one rule on it looks for JSON text in it.
// Text that is no object stays what it is, so that a search in it still finds
// something; Elasticsearch would refuse the whole record.
func (n *normaliser) activityProperties(s map[string]any) {
	s["event_category"] = "Administrative"
	if n.props == nil {
		if n.propsText != "" {
			s["properties"] = n.propsText
		}
		return
	}
	p := renamed(n.props, activityProperty)
	if m := text(p["statusMessage"]); m != "" {
		n.ev.Fields["message"] = m
		delete(p, "statusMessage")
	}
	delete(p, "eventCategory")
	for _, name := range [...]string{"requestbody", "requestBody"} {
		if t, ok := p[name].(string); ok && looksLikeObject(t) {
			if m, _ := n.readText(name, t); m != nil {
				p[name] = m
			}
		}
	}
	if c := text(n.props["eventCategory"]); c != "" {
		s["event_category"] = c
	} else if n.props["policies"] != nil {
		s["event_category"] = "Policy"
	}
	s["properties"] = p
}

func activityProperty(name string) string {
	switch name {
	case "statusCode":
		return "status_code"
	case "serviceRequestId":
		return "service_request_id"
	}
	return name
}

// activityIdentity fills identity and the user fields. It returns the scope of
// the authorization.
//
// An identity that is JSON text is parsed. Elastic means to do so and does not
// (it renames the text away first); a rule can only win by it, since the claims
// are the caller's own. The text is kept as identity_name as there.
func (n *normaliser) activityIdentity(s map[string]any) (scope string) {
	var id map[string]any
	switch v := get(n.rec, "identity", "Identity").(type) {
	case map[string]any:
		id = v
	case string:
		if v != "" {
			s["identity_name"] = v
		}
		if looksLikeObject(v) {
			id, _ = n.readText("identity", v)
		}
	}
	if len(id) == 0 {
		return ""
	}
	out := make(map[string]any, len(id)+1)
	s["identity"] = out
	for k, v := range id {
		switch k {
		case "authorization", "Authorization", "claims", "Claims":
		default:
			if v != nil {
				out[k] = v
			}
		}
	}
	if auth, ok := get(id, "authorization", "Authorization").(map[string]any); ok {
		out["authorization"] = n.authorization(auth)
		scope = text(get(auth, "scope", "Scope"))
	}
	if claims, ok := get(id, "claims", "Claims").(map[string]any); ok {
		n.claims(out, claims)
	}
	return scope
}

func (n *normaliser) authorization(auth map[string]any) map[string]any {
	out := renamed(auth, unchanged)
	if evidence := object(auth, "evidence"); evidence != nil {
		e := renamed(evidence, evidenceName)
		out["evidence"] = e
		if id := text(e["principal_id"]); id != "" {
			n.relate("entity", id)
		}
	}
	return out
}

func unchanged(name string) string { return name }

func evidenceName(name string) string {
	switch name {
	case "roleAssignmentScope":
		return "role_assignment_scope"
	case "roleDefinitionId":
		return "role_definition_id"
	case "roleAssignmentId":
		return "role_assignment_id"
	case "principalId":
		return "principal_id"
	case "principalType":
		return "principal_type"
	}
	return name
}

// relate appends to related.<name>.
func (n *normaliser) relate(name, value string) {
	related, _ := n.ev.Fields["related"].(map[string]any)
	list, _ := related[name].([]any)
	for _, v := range list {
		if v == value {
			return
		}
	}
	n.put("related", name, append(list, value))
}

// claims fills identity.claims and the fields about a user.
//
// The claim "name" is a person's display name and moves to
// claims_initiated_by_user. Elastic fills the rest of that object only if the
// display name was there; podwatch does so whenever a sign-in name is, which
// service principals and managed identities do not have, so their user fields
// stay empty as there.
func (n *normaliser) claims(identity, claims map[string]any) {
	out := renamed(claims, claimKey)
	delete(out, "name")
	identity["claims"] = out

	by := make(map[string]any, 5)
	set(by, "fullname", text(claims["name"]))
	login := text(claims[xmlsoapClaims+"/name"])
	set(by, "name", login)
	set(by, "givenname", text(claims[xmlsoapClaims+"/givenname"]))
	set(by, "surname", text(claims[xmlsoapClaims+"/surname"]))
	if login != "" {
		by["schema"] = xmlsoapClaims
		if n.user(login) {
			n.put("user", "email", login)
		}
	}
	if full := text(claims["name"]); full != "" {
		n.put("user", "full_name", full)
	}
	if len(by) > 0 {
		identity["claims_initiated_by_user"] = by
	}
	if n.ev.TenantID == "" {
		n.ev.TenantID = text(claims["http://schemas.microsoft.com/identity/claims/tenantid"])
	}
}

// claimKeys spares the common claims a new string each.
var claimKeys = map[string]string{
	"http://schemas.microsoft.com/identity/claims/tenantid":                "http://schemas_microsoft_com/identity/claims/tenantid",
	"http://schemas.microsoft.com/identity/claims/objectidentifier":        "http://schemas_microsoft_com/identity/claims/objectidentifier",
	"http://schemas.microsoft.com/identity/claims/scope":                   "http://schemas_microsoft_com/identity/claims/scope",
	"http://schemas.microsoft.com/identity/claims/identityprovider":        "http://schemas_microsoft_com/identity/claims/identityprovider",
	"http://schemas.microsoft.com/claims/authnclassreference":              "http://schemas_microsoft_com/claims/authnclassreference",
	"http://schemas.microsoft.com/claims/authnmethodsreferences":           "http://schemas_microsoft_com/claims/authnmethodsreferences",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":            "http://schemas_xmlsoap_org/ws/2005/05/identity/claims/upn",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":           "http://schemas_xmlsoap_org/ws/2005/05/identity/claims/name",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname":      "http://schemas_xmlsoap_org/ws/2005/05/identity/claims/givenname",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname":        "http://schemas_xmlsoap_org/ws/2005/05/identity/claims/surname",
	xmlsoapClaims + "/nameidentifier":                                      "http://schemas_xmlsoap_org/ws/2005/05/identity/claims/nameidentifier",
	"http://schemas.microsoft.com/2012/01/devicecontext/claims/identifier": "http://schemas_microsoft_com/2012/01/devicecontext/claims/identifier",
}

// claimKey is the claim's key with underscores for dots, since a dot would mean
// a level of nesting.
func claimKey(k string) string {
	if safe, ok := claimKeys[k]; ok {
		return safe
	}
	if strings.IndexByte(k, '.') < 0 {
		return k
	}
	return strings.ReplaceAll(k, ".", "_")
}

func set(m map[string]any, name, value string) {
	if value != "" {
		m[name] = value
	}
}
