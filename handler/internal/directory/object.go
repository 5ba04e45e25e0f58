package directory

import (
	"cmp"
	"slices"
	"strings"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/caller"
)

// The properties of an object that are asked for; each type refuses those of others.
const (
	userFields        = "id,displayName,accountEnabled,userPrincipalName"
	applicationFields = "id,displayName,accountEnabled,appId,servicePrincipalType,alternativeNames,appOwnerOrganizationId"
)

// An object is a user, group or service principal. A nil pointer is a property
// that was not shown: without the permission for a type, Graph gives id and type
// alone, which is not the same as "not found".
type object struct {
	Type                   string   `json:"@odata.type"`
	ID                     string   `json:"id"`
	DisplayName            *string  `json:"displayName"`
	UserPrincipalName      string   `json:"userPrincipalName"`
	AccountEnabled         *bool    `json:"accountEnabled"`
	AppID                  string   `json:"appId"`
	ServicePrincipalType   string   `json:"servicePrincipalType"`
	AppOwnerOrganizationID string   `json:"appOwnerOrganizationId"`
	AlternativeNames       []string `json:"alternativeNames"`
}

// name is the display name, "" for none.
func (o *object) name() string {
	if o.DisplayName == nil {
		return ""
	}
	return *o.DisplayName
}

// microsoftTenants own the applications that Microsoft runs: the services
// tenant, which is documented, and the corporate tenant.
var microsoftTenants = []string{
	"f8cdef31-a31e-4b4a-93e4-5f571e91255a",
	"72f988bf-86f1-41af-91ab-2d7cd011db47",
}

// The families of types.
const (
	user             = "user"
	servicePrincipal = "servicePrincipal"
	notAccount       = "not an account"
)

// family returns the type that the object's own type descends from, and the
// permission to read it. Graph adds types over time, such as those of agents.
func (o *object) family() (family, permission string) {
	switch own := strings.ToLower(o.kind()); {
	case own == "user", own == "agentuser":
		return user, byName
	case own == "serviceprincipal", strings.HasPrefix(own, "agentidentity"):
		return servicePrincipal, byApp
	case own == "group", own == "device", own == "administrativeunit", own == "orgcontact":
		return notAccount, byID
	}
	return "", byID
}

// kind is the object's own type without its namespace.
func (o *object) kind() string { return o.Type[strings.LastIndexByte(o.Type, '.')+1:] }

// apply copies what the directory knows. The record's name takes precedence,
// because other logs of that time contain it too; the kind is the directory's.
func (o *object) apply(c *caller.Caller, deleted bool) {
	c.Notes = slices.DeleteFunc(c.Notes, func(n string) bool { return n == caller.NoteIDOnly })
	family, permission := o.family()
	switch family {
	case user:
		o.applyUser(c, deleted)
	case servicePrincipal:
		o.applyApplication(c)
	case notAccount:
		c.Note("the directory says that this id is not an account but a %s", o.kind())
	default:
		c.Name = cmp.Or(c.Name, o.name())
		c.Note("the directory has an account of a type that podwatch does not know: %s", o.kind())
	}
	if o.DisplayName == nil {
		c.Note("the directory knows this id but shows no name: podwatch's identity needs " + permission)
	}
	switch {
	case deleted:
		c.Note("the account has since been deleted")
	case o.AccountEnabled != nil && !*o.AccountEnabled:
		c.Note("the account is disabled now")
	}
}

func (o *object) applyUser(c *caller.Caller, deleted bool) {
	c.Kind = caller.KindUser
	c.Name = cmp.Or(c.Name, o.UserPrincipalName, o.name())
	c.DisplayName = cmp.Or(c.DisplayName, o.name())
	if today := o.UserPrincipalName; today != "" && !strings.EqualFold(today, c.Name) && strings.Contains(c.Name, "@") && !deleted {
		c.Note("the account's name in the directory is %s", today)
	}
}

func (o *object) applyApplication(c *caller.Caller) {
	switch {
	case strings.EqualFold(o.ServicePrincipalType, "ManagedIdentity"):
		c.Kind = caller.KindManagedIdentity
		for _, name := range o.AlternativeNames { // in no promised order
			if strings.HasPrefix(strings.ToLower(name), "/subscriptions/") || strings.HasPrefix(strings.ToLower(name), "/providers/") {
				c.OwnerResource = cmp.Or(c.OwnerResource, name)
			}
		}
		if strings.Contains(strings.ToLower(c.OwnerResource), "/policyassignments/") {
			c.Note("the identity belongs to a policy assignment")
		}
	case slices.Contains(microsoftTenants, strings.ToLower(o.AppOwnerOrganizationID)):
		c.Kind = caller.KindMicrosoftApplication
	case c.Kind == caller.KindUnknown || c.Kind == caller.KindUser:
		c.Kind = caller.KindServicePrincipal
	}
	c.Name, c.AppName = cmp.Or(c.Name, o.name()), cmp.Or(c.AppName, o.name())
	if id, ok := arm.ParseGUID(o.AppID); ok {
		c.AppID = cmp.Or(c.AppID, id)
	}
}
