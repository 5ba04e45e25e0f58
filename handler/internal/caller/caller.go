// Package caller determines who did what a record reports.
//
// [From] reads the record alone: it does no I/O, never fails, and treats every
// value as data that somebody else chose. What stays uncertain becomes one of the
// caller's notes; package directory adds what Microsoft Graph knows.
//
// A name is shown, not trusted: identity rests on Kind and ID.
package caller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/event"
)

// The kinds of caller. KindUnknown includes an Entra object of which the
// record holds only the id, until package directory has asked.
const (
	KindUser                 = "user"
	KindServicePrincipal     = "servicePrincipal"
	KindManagedIdentity      = "managedIdentity"
	KindMicrosoftApplication = "microsoftApplication"
	KindKubernetes           = "kubernetes"       // an account of the cluster itself
	KindExternalIdentity     = "externalIdentity" // of an issuer that the cluster trusts; not in Entra ID
	KindUnknown              = "unknown"
)

// A Caller is the identity behind one event. Empty means not known.
type Caller struct {
	Kind        string
	Name        string // sign-in name of a user, display name of an application, user name of a Kubernetes account
	DisplayName string // of a user; not unique and chosen by people
	ID          string // Entra object id with hyphens in lower case; uid of a service account
	AppID       string // client application: the tool of a user, the application itself otherwise
	AppName     string // names the tool, see WellKnown
	IP          string // without port
	Role        string // display name of the role that allowed the call
	RoleGroup   string // group that holds the role, by id until it is looked up
	UserAgent   string // as the client sent it
	Namespace   string // of a Kubernetes service account
	ActedAs     string // account that it impersonated

	// OwnerResource is the ARM id that a managed identity belongs to: the
	// resource it is switched on at, or the user-assigned identity itself.
	OwnerResource string

	Notes []string // cautions and what is missing, one sentence each without full stop
}

// From reads the caller of ev from its record alone.
func From(ev *event.Event) Caller {
	var c Caller
	switch {
	case ev.Audit() != nil:
		c = fromAudit(ev.Audit())
	case ev.Dataset() == event.SignInLogs:
		c = fromSignIn(ev)
	case ev.Dataset() == event.EntraAudit:
		c = fromDirectoryAudit(ev)
	default:
		c = fromIdentity(ev.Member("identity"), ev.CallerIP())
		if ev.Dataset() == event.ActivityLogs {
			readTenant(&c, ev)
		}
	}
	app, _ := WellKnown(c.AppID)
	c.Kind, c.IP, c.AppName = cmp.Or(c.Kind, KindUnknown), cmp.Or(c.IP, ev.CallerIP()), cmp.Or(c.AppName, app.Name)
	return c
}

// Note adds a sentence, in which values take the places of %s. Somebody else chose
// them, so each is shortened.
func (c *Caller) Note(format string, values ...string) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = short(v)
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	c.Notes = append(c.Notes, format)
}

// Names returns what records know the caller by, in lower case: ids, and the name
// where it is not one that anybody may choose.
func (c Caller) Names() []string {
	names := []string{c.Name, c.ID}
	switch {
	case c.Kind == KindServicePrincipal, c.Kind == KindManagedIdentity, c.Kind == KindMicrosoftApplication:
		names[0] = c.AppID // of a user it is the tool, shared by many
	case c.Name == c.DisplayName:
		names[0] = ""
	}
	for i, n := range names {
		names[i] = strings.ToLower(strings.TrimSpace(n))
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// idOrText normalises an id and passes anything else through.
func idOrText(s string) string {
	if id, ok := arm.ParseGUID(s); ok {
		return id
	}
	return s
}

// address reads an IP address with or without port, zone or brackets; "" when
// the text is none.
func address(s string) string {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("").String()
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return ""
}

// short bounds a value of a record for use inside a note.
func short(s string) string {
	const limit = 120
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

// Clone returns a copy that shares no memory with c.
func (c Caller) Clone() Caller {
	c.Notes = slices.Clone(c.Notes)
	return c
}
