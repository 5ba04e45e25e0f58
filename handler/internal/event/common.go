package event

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// common are the fields of all logs.
var common = []Field{
	{Name: "@timestamp", Type: date, read: (*Event).timestamp},
	{Name: "data_stream.dataset", Type: keyword, read: func(e *Event) any { return e.table.name }},
	{Name: "event.dataset", Type: keyword, read: func(e *Event) any { return e.table.name }},
	{Name: "event.kind", Type: keyword, read: constant("event")},
	{Name: "event.action", Type: keyword, Verbatim: true, read: (*Event).action},
	{Name: "event.outcome", Type: keyword, read: (*Event).outcome, inner: true},
	{Name: "event.duration", Type: long, read: func(e *Event) any { return duration(e.str(e.record.get("durationMs", "DurationMs"))) }},
	{Name: "cloud.provider", Type: keyword, read: constant("azure")},
	{Name: "azure.correlation_id", Type: keyword, Verbatim: true, read: func(e *Event) any { return filled(e.CorrelationID()) }},
	{Name: "azure.subscription_id", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.subscription })},
	{Name: "azure.resource.id", Type: keyword, Verbatim: true, read: func(e *Event) any { return filled(e.ResourceID()) }},
	{Name: "azure.resource.group", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.group })},
	{Name: "azure.resource.provider", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.provider })},
	{Name: "azure.resource.name", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.name })},
	{Name: "azure.resource.namespace", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.namespace })},
	{Name: "azure.resource.authorization_rule", Type: keyword, Verbatim: true, read: ofResource(func(f resourceFields) string { return f.rule })},
	{Name: "related.entity", Type: keyword, read: (*Event).entities},
}

// source are the fields about the caller's address.
//
// Elastic keeps an address with a port as text only, so that no rule on
// source.ip can see it; podwatch takes the port off. That can only make a
// condition on source.ip test the address that was really there.
var source = []Field{
	{Name: "source.ip", Type: ip, read: func(e *Event) any { return filled(e.caller().ip) }, inner: true},
	{Name: "source.port", Type: long, read: func(e *Event) any {
		if e.caller().port == "" {
			return nil
		}
		return json.Number(e.address.port)
	}, inner: true},
	{Name: "source.address", Type: keyword, Verbatim: true, read: func(e *Event) any {
		if e.caller().plain && e.Dataset() != SignInLogs {
			return nil
		}
		return filled(e.address.logged)
	}, inner: true},
	{Name: "client.ip", Type: ip, read: func(e *Event) any { return filled(e.caller().ip) }, inner: true},
	{Name: "related.ip", Type: ip, read: func(e *Event) any { return list(e.caller().ip) }, inner: true},
}

// user are the fields that are cut out of a sign-in name.
var user = []Field{
	{Name: "user.name", Type: keyword, Verbatim: true, read: func(e *Event) any { return filled(e.userName()) }, inner: true},
	{Name: "user.domain", Type: keyword, Verbatim: true, read: func(e *Event) any {
		_, domain, _ := splitLogin(e.table.login(e))
		return filled(domain)
	}, inner: true},
	{Name: "related.user", Type: keyword, read: func(e *Event) any { return list(e.userName()) }, inner: true},
}

func constant(value any) func(*Event) any { return func(*Event) any { return value } }

// field returns the reader of the first of the names in the record that has text.
func field(names ...string) func(*Event) any {
	return func(e *Event) any { return e.text(e.record.get(names...)) }
}

// named returns the reader of a text in the properties under the rules' names.
func named(name string) func(*Event) any {
	return func(e *Event) any { return filled(scalarText(findIn(e.renamedProperties(), name))) }
}

func ofResource(part func(resourceFields) string) func(*Event) any {
	return func(e *Event) any { return filled(part(fieldsOf(e.ResourceID()))) }
}

// list is a list of one text, nil without it.
func list(s string) any {
	if s == "" {
		return nil
	}
	return []any{s}
}

// timestamp is Time in milliseconds, as Elastic keeps it.
func (e *Event) timestamp() any {
	switch {
	case !e.Time().IsZero():
		return e.when.Format(milliseconds)
	case e.log.state == cut:
		return notKnown // it would be taken from the request
	}
	return nil
}

const milliseconds = "2006-01-02T15:04:05.000Z"

func (e *Event) action() any {
	if e.operation == nil && e.Dataset() == PlatformLogs {
		return e.text(e.record.get("EventName"))
	}
	return e.operation
}

func (e *Event) entities() any {
	var related []any
	if id := e.ResourceID(); id != "" {
		related = append(related, id)
	}
	if e.Dataset() == ActivityLogs {
		if id := scalarText(findIn(e.identityFields(), "authorization.evidence.principal_id")); id != "" && !slices.Contains(related, any(id)) {
			related = append(related, id)
		}
	}
	if related == nil {
		return nil
	}
	return related
}

// An address is the caller's.
type address struct {
	logged   string
	ip, port string // see parseAddress
	plain    bool
}

func (e *Event) caller() address {
	if e.once(partAddress) && e.table.address != nil {
		logged := strings.TrimSpace(asText(e.table.address(e)))
		e.address.logged = logged
		e.address.ip, e.address.port, e.address.plain = parseAddress(logged)
	}
	return e.address
}

// parseAddress reads the address in a logged one: IPv4 or IPv6, alone, with a
// port or in brackets. plain says that it was logged as nothing but an address.
// addr is "" for networks, host names and junk, which name no single caller.
func parseAddress(logged string) (addr, port string, plain bool) {
	s := strings.TrimSpace(logged)
	if a, err := netip.ParseAddr(s); err == nil {
		return canonical(a), "", true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return canonical(ap.Addr()), s[strings.LastIndexByte(s, ':')+1:], false
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			if a, err := netip.ParseAddr(inner); err == nil {
				return canonical(a), "", false
			}
		}
	}
	return "", "", false
}

// canonical drops a zone, which means nothing off its host, and writes an
// IPv4 address inside IPv6 as IPv4.
func canonical(a netip.Addr) string { return a.WithZone("").Unmap().String() }

func (e *Event) userName() string {
	login := e.table.login(e)
	if name, _, ok := splitLogin(login); ok {
		return name
	}
	return login
}

// splitLogin finds name@domain in a sign-in name the way Elastic does: the run
// of letters, digits, dots, hyphens and underscores on the left of an @, and a
// host name on its right. "live.com#a@b.example" gives a and b.example; a guest's
// "a_b.example#EXT#@c.example" gives nothing, since # is no part of a name.
func splitLogin(s string) (name, domain string, ok bool) {
	before, after, found := strings.Cut(s, "@")
	for ; found; before, after, found = strings.Cut(after, "@") {
		name = before[len(strings.TrimRightFunc(before, inLogin)):]
		domain = after[:len(after)-len(strings.TrimLeftFunc(after, inHost))]
		if name != "" && domain != "" && alnum(rune(domain[0])) {
			return name, strings.TrimRight(domain, ".-"), true
		}
	}
	return "", "", false
}

func alnum(c rune) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func inHost(c rune) bool  { return alnum(c) || c == '.' || c == '-' }
func inLogin(c rune) bool { return inHost(c) || c == '_' }

// resultOutcome is Elastic's rule for event.outcome: resultType if it is success
// or failure in any case, else properties.result if it is exactly success,
// failure or unknown. Start, Accept, Succeeded and Failed leave it unset, on
// purpose: the rules that ask for success mean the final record of an operation.
func resultOutcome(e *Event) any {
	if v := e.record.get("resultType", "ResultType"); v.Kind == jsontext.String {
		if outcome := outcomeOf(e.str(v)); outcome != nil {
			return outcome
		}
	}
	switch result := e.props().get("result"); {
	case result.Is("success"), result.Is("failure"), result.Is("unknown"):
		return e.text(result)
	}
	return nil
}

// outcomeOf is success or failure, if text is that in any case; nil for any other.
func outcomeOf(text string) any {
	switch {
	case strings.EqualFold(text, "success"):
		return "success"
	case strings.EqualFold(text, "failure"):
		return "failure"
	}
	return nil
}

// eventType is the ECS event.type of the categories that old activity records
// and some resource logs use.
func eventType(e *Event) any { return eventTypes[strings.ToLower(e.Category())] }

var eventTypes = map[string]any{
	"write": []any{"change"}, "action": []any{"change"}, "delete": []any{"deletion"}, "read": []any{"access"},
}

// eventCategory is <log>.event_category of the logs of Azure's resources.
func eventCategory(e *Event) any {
	if c := e.text(e.props().get("eventCategory")); c != nil {
		return c
	}
	if e.props().get("policies").Kind != jsontext.Invalid {
		return "Policy"
	}
	return "Administrative"
}

// duration turns milliseconds into nanoseconds. It is nil for what is no number
// or too large.
func duration(logged string) any {
	s := strings.TrimSpace(logged)
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms > math.MaxInt64/1_000_000 || ms < math.MinInt64/1_000_000 {
			return nil
		}
		return json.Number(strconv.FormatInt(ms*1_000_000, 10))
	}
	ms, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(ms) || math.Abs(ms) > math.MaxInt64/2e6 {
		return nil
	}
	return json.Number(strconv.FormatInt(int64(math.Round(ms*1e6)), 10))
}
