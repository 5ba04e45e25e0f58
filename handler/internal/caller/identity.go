package caller

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/event"
)

// Claim names as the activity log writes them. Other resource logs use the
// short names of the token.
const (
	xmlsoap = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	entra   = "http://schemas.microsoft.com/identity/claims/"
)

// fromIdentity reads the identity member of an Azure record: an object, the
// same as JSON text, a display name, or nothing. ip is the caller's address.
func fromIdentity(identity any, ip string) Caller {
	c := Caller{Kind: KindUnknown}
	if o := object(identity); o != nil {
		readIdentity(&c, o, ip)
	} else if name, _ := identity.(string); strings.TrimSpace(name) != "" {
		c.Name = strings.TrimSpace(name)
		c.Note("the record holds only a display name, which is not unique")
	}
	if c.Name == "" && c.ID == "" && c.AppID == "" {
		c.Note("the record names no caller")
	}
	return c
}

func readIdentity(c *Caller, identity map[string]any, ip string) {
	cl := readClaims(identity)
	authorization := object(member(identity, "authorization"))
	evidence := object(member(authorization, "evidence"))

	c.ID = idOrText(cl.get(entra+"objectidentifier", "oid"))
	c.AppID = idOrText(cl.get("appid", "azp"))
	principalType := readEvidence(c, evidence)

	upn := cl.get(xmlsoap+"upn", "upn")
	unique := cl.get(xmlsoap+"name", "unique_name")
	personal := len(unique) > len(liveCom) && strings.EqualFold(unique[:len(liveCom)], liveCom)
	if personal {
		unique = unique[len(liveCom):]
	}
	scope := cl.get(entra+"scope", "scp")
	idtyp := strings.ToLower(cl.get("idtyp"))
	subject := idOrText(cl.get(xmlsoap+"nameidentifier", "sub"))
	c.OwnerResource = cl.get("xms_mirid")

	switch {
	case c.OwnerResource != "":
		c.Kind = KindManagedIdentity
		c.Name = arm.Name(c.OwnerResource)
		if isNodeIdentity(c.OwnerResource, cl.get("xms_az_rid")) {
			c.Note("the identity of a cluster's nodes: it stands for every pod on them, each of which can get its token")
		}
		if on := cl.get("xms_az_rid"); on != "" && !strings.EqualFold(on, c.OwnerResource) {
			var last arm.Pair
			for last = range arm.Pairs(on) {
			}
			c.Note("the token was issued on %s", last.Key+"/"+last.Value)
		}
	case idtyp == "app" || subject != "" && subject == c.ID || idtyp != "user" && upn+unique+scope == "" && c.AppID != "" && principalType != "user":
		c.Kind = KindServicePrincipal
		if app, ok := WellKnown(c.AppID); ok && app.Service {
			c.Kind, c.Name = KindMicrosoftApplication, app.Name
		}
	case idtyp == "user" || upn+unique+scope != "" || principalType == "user":
		c.Kind = KindUser
		c.DisplayName = cl.get("name")
		c.Name = cmp.Or(upn, unique, c.DisplayName)
		readGuest(c, cl, personal)
		if signIn := address(cl.get("ipaddr")); signIn != "" && ip != "" && signIn != ip {
			c.Note("the caller signed in from %s and called from %s, as a portal or a proxy would", signIn, ip)
		}
	case principalType == "serviceprincipal":
		c.Kind = KindServicePrincipal
	default:
		c.Name = cmp.Or(upn, unique, cl.get("name"))
	}
}

// readEvidence takes role and scope from the authorization evidence, and gives
// the principal's type in lower case. The evidence names the holder of the role
// assignment, which is a group when the role was given to a group.
func readEvidence(c *Caller, evidence map[string]any) (principalType string) {
	c.Role = text(member(evidence, "role"))
	principal := idOrText(text(member(evidence, "principalId")))
	principalType = strings.ToLower(text(member(evidence, "principalType")))
	switch {
	case principalType == "foreigngroup":
		c.Note("the role is held by a group of another tenant, as of a reseller or a service provider")
	case principalType == "group":
		c.RoleGroup = principal
		c.Note("the role is held by a group, not by the caller itself")
	case principal == "":
	case principalType != "user" && principalType != "serviceprincipal":
		c.Note(`the role is held by a principal of type "%s"`, principalType)
	case c.ID == "":
		c.ID = principal
		c.Note("the record has no token; the caller is taken from the role assignment")
	case principal != c.ID:
		c.Note("the token and the role assignment name different principals: %s and %s", c.ID, principal)
	}
	return principalType
}

// isNodeIdentity reports whether a managed identity is the one that AKS makes for
// the nodes of a cluster, or that of their machines, in the group of the nodes. That
// group may have any name: then the token was issued on a scale set of AKS.
func isNodeIdentity(owner, issuedOn string) bool {
	id := strings.ToLower(owner)
	forNodes := strings.HasSuffix(id, "-agentpool") && strings.Contains(id, "/userassignedidentities/")
	if !strings.Contains(id, "/resourcegroups/mc_") {
		return forNodes && strings.Contains(strings.ToLower(issuedOn), "/virtualmachinescalesets/aks-")
	}
	return forNodes || strings.Contains(id, "/virtualmachinescalesets/") || strings.Contains(id, "/virtualmachines/")
}

// readTenant notes that the caller's token is of another tenant than the record: that
// of a service provider through Lighthouse, or of a reseller.
func readTenant(c *Caller, ev *event.Event) {
	cl := readClaims(object(ev.Member("identity")))
	theirs, ok := arm.ParseGUID(cl.get(entra+"tenantid", "tid"))
	if !ok {
		return
	}
	ours, ok := arm.ParseGUID(text(ev.Member("tenantId")))
	if !ok {
		root, _, _ := strings.Cut(strings.TrimPrefix(text(member(object(ev.Member("properties")), "hierarchy")), "/"), "/")
		ours, ok = arm.ParseGUID(root)
	}
	if ok && theirs != ours {
		c.Note("the caller is of another tenant (%s), as through Lighthouse or a reseller", theirs)
	}
}

const guestNote = "guest account; the address at home is likely %s"

// guestHome returns the address at home of an account of another organisation, from
// the form of its name; "" for any other name.
func guestHome(name string) string {
	at := strings.Index(strings.ToUpper(name), "#EXT#")
	if at < 0 {
		return ""
	}
	home := name[:at]
	i := strings.LastIndexByte(home, '_')
	if i <= 0 || i == len(home)-1 {
		return home
	}
	return home[:i] + "@" + home[i+1:]
}

// liveCom begins the name of a personal account.
const liveCom = "live.com#"

// readGuest recognises an account of another organisation: by the form of its
// name, or because another tenant vouched for it.
func readGuest(c *Caller, cl claims, personal bool) {
	if home := guestHome(c.Name); home != "" {
		c.Note(guestNote, home)
		return
	}
	idp := cl.get(entra+"identityprovider", "idp")
	tenant := idOrText(cl.get(entra+"tenantid", "tid"))
	ownTenant := tenant != "" && strings.Contains(strings.ToLower(idp), tenant)
	if idp != "" && !ownTenant || personal {
		c.Note("guest account, signed in through %s", cmp.Or(idp, "live.com"))
	}
}

// fromSignIn reads an Entra sign-in record.
func fromSignIn(ev *event.Event) Caller {
	p := object(ev.Member("properties"))
	c := Caller{
		Kind:        KindUser,
		Name:        text(member(p, "userPrincipalName")),
		DisplayName: text(member(p, "userDisplayName")),
		ID:          idOrText(text(member(p, "userId"))),
		AppID:       idOrText(text(member(p, "appId"))),
		AppName:     text(member(p, "appDisplayName")),
		IP:          address(text(member(p, "ipAddress"))),
		UserAgent:   text(member(p, "userAgent")),
	}
	if id := text(member(p, "servicePrincipalId")); id != "" {
		c.Kind, c.ID, c.Name = KindServicePrincipal, idOrText(id), text(member(p, "servicePrincipalName"))
	}
	if c.Name == "" && c.ID == "" {
		return fromIdentity(ev.Member("identity"), c.IP)
	}
	return c
}

// fromDirectoryAudit reads an Entra audit record.
func fromDirectoryAudit(ev *event.Event) Caller {
	by := object(member(object(ev.Member("properties")), "initiatedBy"))
	if u := object(member(by, "user")); text(member(u, "id")) != "" || text(member(u, "userPrincipalName")) != "" {
		name := text(member(u, "userPrincipalName"))
		return Caller{
			Kind: KindUser, Name: name, DisplayName: text(member(u, "displayName")),
			ID: idOrText(text(member(u, "id"))), IP: address(text(member(u, "ipAddress"))),
		}
	}
	if a := object(member(by, "app")); len(a) > 0 {
		return Caller{
			Kind: KindServicePrincipal, Name: text(member(a, "displayName")),
			ID: idOrText(text(member(a, "servicePrincipalId"))), AppID: idOrText(text(member(a, "appId"))),
		}
	}
	return fromIdentity(ev.Member("identity"), "")
}

// claims are the token's claims by lower-case name.
type claims map[string]string

// readClaims accepts "claims" as the activity log has it and "claim" as Key
// Vault does. Values are text even for numbers; an array is joined by commas.
func readClaims(identity map[string]any) claims {
	raw := object(member(identity, "claims"))
	if len(raw) == 0 {
		raw = object(member(identity, "claim"))
	}
	cl := make(claims, len(raw))
	for k, v := range raw {
		cl[strings.ToLower(k)] = text(v)
	}
	return cl
}

// get is the first non-empty claim of the given names.
func (cl claims) get(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(cl[name]); v != "" {
			return v
		}
	}
	return ""
}

// member finds key in m, ignoring case when it is not there as written: some
// exports capitalise the names.
func member(m map[string]any, key string) any {
	if v, ok := m[key]; ok {
		return v
	}
	for k, v := range m {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

// object is v as an object, also when it is one in JSON text; nil otherwise.
func object(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		return v
	case string:
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(v))
		d.UseNumber()
		if strings.HasPrefix(strings.TrimSpace(v), "{") && d.Decode(&m) == nil {
			return m
		}
	}
	return nil
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	case bool, float64, int, int64:
		return fmt.Sprint(v)
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			if s := text(e); s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, ",")
	}
	return ""
}
