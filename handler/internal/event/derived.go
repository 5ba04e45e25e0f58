package event

import (
	"net/netip"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// derived are fields that podwatch derives from an audit event, because a query
// over the record alone would have to imitate a parser. They are not Elastic's:
// only a query that names one reads it.
var derived = []Field{
	{Name: "podwatch.client", Type: keyword, own: true, read: (*Event).client},
	{Name: "podwatch.dry_run", Type: boolean, own: true, read: (*Event).dryRun},
	{Name: "podwatch.final_deletion", Type: boolean, own: true, read: (*Event).finalDeletion},
	{Name: "podwatch.proxied", Type: boolean, own: true, read: (*Event).proxied},
	{Name: "podwatch.public_address", Type: boolean, own: true, read: (*Event).publicAddress},
	{Name: "podwatch.scaled_to_zero", Type: boolean, own: true, read: (*Event).scaledToZero},
	{Name: "podwatch.source_address", Type: keyword, own: true, read: func(e *Event) any { return filled(e.CallerIP()) }},
	{Name: "podwatch.token_bound", Type: boolean, own: true, read: (*Event).tokenBound},
}

// logField begins the names of an audit event's fields. Whole names are constants
// where they are used, so that no question allocates.
const logField = "azure.platformlogs.properties.log."

// audited returns the value of a field of the audit event. A member that precedes
// the cut is known, also what it lacks.
func (e *Event) audited(field string) (value any, known bool) {
	if value, known = e.Lookup(field); known || value != nil || e.log.state != cut {
		return value, known
	}
	path := field[len(logField):]
	top, _, _ := strings.Cut(path, ".")
	return nil, top != e.log.last && e.log.get(top).Kind != jsontext.Invalid && !e.withheld(path)
}

// auditedText returns a field's text, "" where there is none or it is not known.
func (e *Event) auditedText(field string) string {
	value, _ := e.audited(field)
	return scalarText(value)
}

// Product is the client's name in a user agent: "kubelet" of
// "kubelet.exe/v1.31.2 (windows/amd64)". "" for an agent without a version.
func Product(userAgent string) string {
	name, _, versioned := strings.Cut(userAgent, "/")
	if !versioned {
		return ""
	}
	if n := len(name) - len(".exe"); n > 0 && strings.EqualFold(name[n:], ".exe") {
		name = name[:n]
	}
	return name
}

func (e *Event) client() any {
	agent, known := e.audited(logField + "userAgent")
	if !known {
		return notKnown
	}
	if name := Product(scalarText(agent)); name != "" {
		return e.pool.text([]byte(name))
	}
	return nil
}

// tokenBound reports whether the caller's token belongs to a pod or a node, as no
// controller's does.
func (e *Event) tokenBound() any {
	extra, known := e.audited(logField + "user.extra")
	if m, ok := extra.(map[string]any); ok {
		for key := range m {
			switch strings.TrimPrefix(strings.ToLower(key), "authentication.kubernetes.io/") {
			case "pod-name", "pod-uid", "node-name", "node-uid":
				return true
			}
		}
	}
	if !known {
		return notKnown
	}
	return false
}

// sources returns how many source addresses there are, and the last one. They are
// counted where they lie: each routine deletion asks for them.
func (e *Event) sources() (n int, last jsontext.Value, known bool) {
	log := e.auditLog()
	for v := range log.get("sourceIPs").Elements(0) {
		n, last = n+1, v
	}
	return n, last, n > 0 && (log.state == whole || log.last != "sourceIPs")
}

// proxied reports whether the request came through a proxy: then it has more than
// one address. A text that is no address may be several.
func (e *Event) proxied() any {
	switch n, last, known := e.sources(); {
	case n > 1:
		return true
	case !known:
		return notKnown
	default:
		if ip, _, _ := parseAddress(e.str(last)); ip == "" {
			return notKnown
		}
	}
	return false
}

// publicAddress reports whether the last address, the connection's own, is one
// that no private network uses.
func (e *Event) publicAddress() any {
	_, last, known := e.sources()
	if !known {
		return notKnown
	}
	text := e.str(last)
	if a, err := netip.ParseAddr(text); err == nil {
		return public(a)
	}
	ip, _, _ := parseAddress(text)
	return Public(ip)
}

// Public reports whether ip is an address that no private network uses.
func Public(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && public(a)
}

func public(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !sharedRange.Contains(a)
}

// sharedRange is RFC 6598, which some cluster networks use for pods.
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")
