// Package event turns one exported Azure record into an [Event]: the same facts
// under the names that Elastic's detection rules query.
//
// [Parse] reads records of any log that Azure diagnostic settings export, from
// one hub, and decides by content which log each one is. It never panics, never
// invents a value (a time that cannot be read stays zero) and costs time and
// memory in proportion to the record. What it had to mend or drop is said in
// [Event.Notes]. Where Elastic's pipelines lose data by accident, podwatch keeps
// it, as long as no rule can be misled by that; each such place says so.
package event

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Datasets that podwatch normalises, as the rules spell them.
const (
	ActivityLogs       = "azure.activitylogs"
	PlatformLogs       = "azure.platformlogs"
	AuditLogs          = "azure.auditlogs"
	SignInLogs         = "azure.signinlogs"
	IdentityProtection = "azure.identity_protection"
)

// An Event is one record under the rules' names. Fields, Record and Raw share
// memory; whoever receives an Event only reads it. An Event may be read from
// many goroutines.
type Event struct {
	// Dataset is one of the constants above; the name of another Elastic data
	// stream ("azure.graphactivitylogs"), for which only the common fields are
	// filled; or "" when the record is no log event, such as a metric.
	Dataset string

	Category      string // as logged
	Operation     string // operationName as logged
	Outcome       string // event.outcome: lower case, "" when Elastic leaves it unset
	ResourceID    string // as logged
	CorrelationID string
	TenantID      string

	// Time is when it happened by the record's own clock, in UTC; zero when the
	// record does not say so readably.
	Time time.Time

	// CallerIP is an address without port, "" when unknown. In kube-audit it is
	// the last source address: the earlier ones can be set by the client.
	CallerIP string

	Fields map[string]any // what rules query; leaves are string, json.Number, bool, nil
	Record map[string]any // the decoded record, keys untouched but for empty ones, which are dropped
	Raw    []byte         // the record as received

	Audit    *Audit // of kube-audit records, also when read from a cut properties.log
	Resource Resource

	Notes []string // what was mended or lost, in words for a reader of the alert
}

func (ev *Event) note(format string, args ...any) {
	ev.Notes = append(ev.Notes, fmt.Sprintf(format, args...))
}

// Known reports whether podwatch fills the fields of the dataset.
func Known(dataset string) bool {
	switch dataset {
	case ActivityLogs, PlatformLogs, AuditLogs, SignInLogs, IdentityProtection:
		return true
	}
	return false
}

// Parse reads record, one JSON object. The error says why it is none; anything
// odd inside a JSON object is no error but a note. Parse keeps record.
func Parse(record []byte) (*Event, error) {
	rec, pruned, err := decodeObject(record)
	if err != nil {
		return nil, fmt.Errorf("parse record: %w", err)
	}
	ev := &Event{Record: rec, Raw: record}
	if pruned {
		ev.note("values nested deeper than %d levels were dropped", maxDepth)
	}
	n := &normaliser{ev: ev, rec: rec}
	n.readProperties()
	ev.Category = label(get(rec, "category", "Category"))
	if ev.Category == "" {
		ev.Category = text(rec["CategoryValue"])
	}
	ev.Operation = label(get(rec, "operationName", "OperationName"))
	ev.ResourceID = text(get(rec, "resourceId", "ResourceId"))
	ev.CorrelationID = text(get(rec, "correlationId", "CorrelationId"))
	ev.TenantID = text(get(rec, "tenantId", "TenantId"))
	ev.Dataset = route(ev.Category, ev.Operation, rec, n.props)
	if ev.Dataset == "" {
		n.readTime()
		ev.Resource = resourceOf(ev.ResourceID, "", "")
		ev.Fields = map[string]any{}
		return ev, nil
	}
	n.common()
	switch ev.Dataset {
	case ActivityLogs:
		n.activity()
	case AuditLogs:
		n.entraAudit()
	case SignInLogs:
		n.signIn()
	case IdentityProtection:
		n.identityProtection()
	case PlatformLogs:
		n.platform()
	}
	if ev.Outcome != "" {
		n.event["outcome"] = ev.Outcome
	}
	return ev, nil
}

// A normaliser carries what the files of this package share while one record is
// read.
type normaliser struct {
	ev  *Event
	rec map[string]any

	props map[string]any // properties, also when logged as JSON text; nil if there is nothing to read
	// propsText is properties when it is text that holds no object.
	propsText string

	event, azure map[string]any // Fields.event, Fields.azure
}

// put sets Fields[group][name].
func (n *normaliser) put(group, name string, v any) {
	m, ok := n.ev.Fields[group].(map[string]any)
	if !ok {
		m = make(map[string]any, 2)
		n.ev.Fields[group] = m
	}
	m[name] = v
}

// readProperties finds properties whether it is an object, an object as JSON
// text, or the broken beginning of one. Elastic parses the text for the
// activity log only; elsewhere such a record would not be searchable at all.
func (n *normaliser) readProperties() {
	v := get(n.rec, "properties", "Properties")
	if v == nil {
		v = n.rec["EventProperties"] // Event Hubs' own operational logs
	}
	switch v := v.(type) {
	case map[string]any:
		n.props = v
	case string:
		n.props, n.propsText = n.readText("properties", v)
	case nil:
	default:
		n.ev.note("properties is neither an object nor text")
	}
}

// readText reads an object that was logged as text under the given name. It
// returns the object, or the text if there is none in it.
func (n *normaliser) readText(name, s string) (map[string]any, string) {
	if !looksLikeObject(s) {
		return nil, s
	}
	m, pruned, err := decodeObject([]byte(s))
	if err == nil {
		if pruned {
			n.ev.note("%s: values nested deeper than %d levels were dropped", name, maxDepth)
		}
		return m, ""
	}
	m, _ = readPrefix([]byte(s))
	if len(m) == 0 {
		n.ev.note("%s is text that does not parse", name)
		return nil, s
	}
	n.ev.note("%s is JSON text that does not parse to its end; what comes before the fault was read", name)
	return m, ""
}

// readTime sets Event.Time from the record's time.
func (n *normaliser) readTime() {
	v := get(n.rec, "time", "Time")
	if v == nil {
		v = n.rec["EventTimeString"]
	}
	switch s := v.(type) {
	case string:
		t, err := parseTime(s)
		if err != nil {
			n.ev.note("time is not readable: %v", err)
			return
		}
		n.ev.Time = t
	case nil:
		n.ev.note("the record has no time")
	default:
		n.ev.note("time is not text")
	}
}

// common fills what all logs share: dataset, time, resource.
func (n *normaliser) common() {
	ev := n.ev
	n.event = make(map[string]any, 10)
	n.azure = make(map[string]any, 5)
	ev.Fields = make(map[string]any, 12)
	ev.Fields["event"] = n.event
	ev.Fields["azure"] = n.azure
	ev.Fields["data_stream"] = map[string]any{"dataset": ev.Dataset}
	ev.Fields["cloud"] = map[string]any{"provider": "azure"}
	n.event["dataset"] = ev.Dataset
	n.event["kind"] = "event"
	if ev.Operation != "" {
		n.event["action"] = ev.Operation
	}
	n.readTime()
	n.timestamp()
	if ev.CorrelationID != "" {
		n.azure["correlation_id"] = ev.CorrelationID
	}
	ev.Resource = resourceOf(ev.ResourceID, "", "")
	n.resource()
	if d := duration(get(n.rec, "durationMs", "DurationMs")); d != nil {
		n.event["duration"] = d
	}
}

// timestamp copies Event.Time to @timestamp, in milliseconds as Elastic keeps it.
func (n *normaliser) timestamp() {
	if !n.ev.Time.IsZero() {
		n.ev.Fields["@timestamp"] = n.ev.Time.Format("2006-01-02T15:04:05.000Z")
	}
}

// newLog makes the map of Fields.azure.<name>.
func (n *normaliser) newLog(name string, size int) map[string]any {
	m := make(map[string]any, size)
	n.azure[name] = m
	return m
}

// source fills the caller's address.
//
// Elastic keeps an address with a port as text only, so that no rule on
// source.ip can see it; podwatch takes the port off. That can only make a
// condition on source.ip speak about the address that was really there.
func (n *normaliser) source(logged string) {
	if logged == "" {
		return
	}
	addr, port, plain := parseAddress(logged)
	if addr == "" {
		n.put("source", "address", logged)
		return
	}
	n.ev.CallerIP = addr
	src := map[string]any{"ip": addr}
	if !plain {
		src["address"] = logged
		if port != "" {
			src["port"] = number(port)
		}
	}
	n.ev.Fields["source"] = src
	n.ev.Fields["client"] = map[string]any{"ip": addr}
	n.put("related", "ip", []any{addr})
}

// user fills user.name and user.domain from a sign-in name. It returns whether
// the name had both parts.
func (n *normaliser) user(login string) bool {
	if login == "" {
		return false
	}
	name, domain, ok := splitLogin(login)
	if !ok {
		name = login
	} else {
		n.put("user", "domain", domain)
	}
	n.put("user", "name", name)
	n.put("related", "user", []any{name})
	return ok
}

// splitLogin finds name@domain in a sign-in name the way Elastic does: the run
// of letters, digits, dots, hyphens and underscores on the left of an @, and a
// host name on its right. "live.com#a@b.example" gives a and b.example; a guest's
// "a_b.example#EXT#@c.example" gives nothing, since # is no part of a name.
func splitLogin(s string) (name, domain string, ok bool) {
	for at := strings.IndexByte(s, '@'); at >= 0; {
		start := at
		for start > 0 && loginByte(s[start-1]) {
			start--
		}
		end := at + 1
		for end < len(s) && (alnum(s[end]) || end > at+1 && (s[end] == '-' || s[end] == '.')) {
			end++
		}
		if start < at && end > at+1 {
			return s[start:at], strings.TrimRight(s[at+1:end], ".-"), true
		}
		next := strings.IndexByte(s[at+1:], '@')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return "", "", false
}

func alnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func loginByte(c byte) bool { return alnum(c) || c == '.' || c == '_' || c == '-' }

// outcome is Elastic's rule for event.outcome: resultType if it is success or
// failure in any case, else properties.result if it is exactly success, failure
// or unknown. Start, Accept, Succeeded and Failed leave it unset, on purpose:
// the rules that ask for success mean the final record of an operation.
func (n *normaliser) outcome() {
	switch rt, _ := get(n.rec, "resultType", "ResultType").(string); {
	case strings.EqualFold(rt, "success"):
		n.ev.Outcome = "success"
	case strings.EqualFold(rt, "failure"):
		n.ev.Outcome = "failure"
	default:
		if r, _ := n.props["result"].(string); r == "success" || r == "failure" || r == "unknown" {
			n.ev.Outcome = r
		}
	}
}

// eventType is the ECS event.type of the categories that old activity records
// and some resource logs use.
func (n *normaliser) eventType() {
	switch c := n.ev.Category; {
	case strings.EqualFold(c, "write"), strings.EqualFold(c, "action"):
		n.event["type"] = []any{"change"}
	case strings.EqualFold(c, "delete"):
		n.event["type"] = []any{"deletion"}
	case strings.EqualFold(c, "read"):
		n.event["type"] = []any{"access"}
	}
}

var errNotObject = errors.New("not a JSON object")
