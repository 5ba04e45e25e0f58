// Package caller says who did what a record reports.
//
// [From] reads the record alone: it does no I/O, never fails, and treats every
// value as data that somebody else chose. [Directory] adds what Microsoft Graph
// knows, for a whole batch at once, within two seconds, and leaves the callers
// as they were when it cannot. What stays uncertain is said in Caller.Notes.
//
// A name is shown, not trusted: identity rests on Kind and ID.
package caller

import (
	"net/netip"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
)

// The kinds of caller. KindUnknown also stands for an Entra object of which the
// record holds only the id, until [Directory.Resolve] has asked.
const (
	KindUser                 = "user"
	KindServicePrincipal     = "servicePrincipal"
	KindManagedIdentity      = "managedIdentity"
	KindMicrosoftApplication = "microsoftApplication"
	KindKubernetes           = "kubernetes" // an account of the cluster itself
	KindUnknown              = "unknown"
)

// States of an Entra account, as the directory had it when it was asked.
const (
	AccountEnabled  = "enabled"
	AccountDisabled = "disabled"
	AccountDeleted  = "deleted" // in the directory's recycle bin
)

// A Caller is the identity behind one event. Empty means not known.
type Caller struct {
	Kind        string
	Name        string   // sign-in name of a user, display name of an application, user name of a Kubernetes account
	DisplayName string   // of a user; not unique and chosen by people
	ID          string   // Entra object id with hyphens in lower case; uid of a service account
	AppID       string   // client application: the tool of a user, the application itself otherwise
	AppName     string   // names the tool, see WellKnown
	IP          string   // without port
	Role        string   // display name of the role that allowed the call
	RoleScope   string   // where that role was assigned
	RoleGroup   string   // group that holds the role, by id until it is looked up
	Account     string   // AccountEnabled, AccountDisabled or AccountDeleted
	TenantID    string   // of the token
	UserAgent   string   // as the client sent it
	Namespace   string   // of a Kubernetes service account
	Groups      []string // ids in Entra, names in Kubernetes
	Guest       bool

	// OwnerResource is the ARM id that a managed identity belongs to: the
	// resource it is switched on at, or the user-assigned identity itself.
	OwnerResource string

	// Via is the account that relayed the request for the caller, such as
	// the Arc proxy. ActingAs is the identity that the caller took on, as with
	// kubectl --as. Both come from Kubernetes impersonation, told apart by who
	// may be trusted to say so.
	Via, ActingAs string

	Notes []string // cautions and what is missing, one sentence each without full stop
}

// From reads the caller of ev from its record alone.
func From(ev *event.Event) Caller {
	var c Caller
	switch {
	case ev.Audit() != nil:
		c = fromAudit(ev.Audit())
	case ev.Dataset() == event.SignInLogs:
		c = fromSignIn(ev.Record())
	case ev.Dataset() == event.AuditLogs:
		c = fromDirectoryAudit(ev.Record())
	default:
		c = fromIdentity(member(ev.Record(), "identity"), ev.CallerIP())
	}
	if c.Kind == "" {
		c.Kind = KindUnknown
	}
	if c.IP == "" {
		c.IP = ev.CallerIP()
	}
	if c.TenantID == "" {
		c.TenantID = idOrText(ev.TenantID())
	}
	if c.AppName == "" {
		if app, ok := WellKnown(c.AppID); ok {
			c.AppName = app.Name
		}
	}
	return c
}

func (c *Caller) note(text string) { c.Notes = append(c.Notes, text) }

// ParseID reads an Entra object or application id, with or without hyphens, in
// any case, and gives the usual form. ok is false for anything else.
func ParseID(s string) (id string, ok bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", false
	}
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:], true
}

// idOrText normalises an id and passes anything else through.
func idOrText(s string) string {
	if id, ok := ParseID(s); ok {
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

// outside reports whether ip is an address that no private network uses.
func outside(ip string) bool {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	return !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !sharedRange.Contains(a)
}

// sharedRange is RFC 6598, which some cluster networks use for pods.
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

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
	c.Groups, c.Notes = slices.Clone(c.Groups), slices.Clone(c.Notes)
	return c
}
