// Package event reads one exported Azure record as an [Event]: the same facts
// under the names that Elastic's detection rules query.
//
// A record is read where it lies, and only as far as it is asked for. One table
// has, for each data set, the fields, their types and how each is read; an event
// answers from it. Neither the order of questions nor their number changes an
// answer. What was truncated or withheld is not known; a time that cannot be read
// stays zero. What had to be repaired or dropped is in [Event.Notes]. Where
// Elastic's pipelines lose data by accident, podwatch keeps it, as long as no
// rule can be misled by that; each such place has a comment.
package event

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/jsontext"
)

// Data sets that podwatch normalises, as the rules spell them.
const (
	ActivityLogs       = "azure.activitylogs"
	PlatformLogs       = "azure.platformlogs"
	EntraAudit         = "azure.auditlogs"
	SignInLogs         = "azure.signinlogs"
	IdentityProtection = "azure.identity_protection"
)

// A Reader reads records one after another in memory that it reuses.
type Reader struct {
	event Event
	pool  pool
}

// Events returns the events of a record, one JSON object: more than one if its
// properties.log has several. An event and its values other than scalars are valid
// until the next, and as long as record does not change. The error reports why record is no JSON object; oddities
// inside of an object are notes of the event.
func (r *Reader) Events(record []byte) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		e := &r.event
		e.pool = &r.pool
		if err := e.begin(record); err != nil {
			yield(nil, err)
			return
		}
		if !yield(e, nil) {
			return
		}
		e.auditLog()
		pieces := e.pieces
		for n := 1; n < len(pieces); n++ {
			if err := e.begin(record); err != nil {
				return
			}
			if e.piece = pieces[n]; !yield(e, nil) {
				return
			}
		}
	}
}

// Read returns the n-th event of a record in memory of its own.
func Read(record []byte, n int) (*Event, error) {
	record = bytes.Clone(record)
	e := new(Event)
	if err := e.begin(record); err != nil {
		return nil, err
	}
	if n == 0 {
		return e, nil
	}
	e.auditLog()
	if n < 0 || n >= len(e.pieces) {
		return nil, fmt.Errorf("read record: it has no event %d", n)
	}
	piece := e.pieces[n]
	if err := e.begin(record); err != nil {
		return nil, err
	}
	e.piece = piece
	return e, nil
}

// An Event is one record under the rules' names. It remembers what it has read,
// and therefore is not safe for concurrent use.
type Event struct {
	raw     []byte
	pool    *pool // nil: values are not shared with other records
	table   *table
	answers []answer          // by row
	below   map[string]answer // by the names of fields without a row

	// Memory that is used again: of lists and maps in values, where pool is set, of
	// a text without its escapes, and of the members that a path may go through.
	lists      []any
	maps       []map[string]any
	mapsUsed   int
	plain      []byte
	candidates []member

	record     object // its members
	properties inner
	log        inner          // properties.log
	logged     jsontext.Value // the same, as it is in the record

	foreign bool // properties.log is malformed and nothing in it is of an audit event

	pieces [][]byte       // audit events in properties.log, if that is not one object
	piece  []byte         // the one of them that is this event, if that is not the first
	unread []byte         // see Unread
	object map[string]any // objectRef as derived from the request, see objectRef

	category, operation any // text, nil if there is none

	done    part // what is read already
	when    time.Time
	address address
	members map[string]any // see Record
	renamed map[string]any // properties under the rules' names
	tree    map[string]any // the fields of the log itself
	who     identity
	audit   *KubeAudit
	of      Resource
	notes   []note
}

// begin reads what decides which log the record is of.
func (e *Event) begin(record []byte) error {
	e.freeMaps()
	clear(e.below)
	*e = Event{
		raw: record, pool: e.pool,
		answers: e.answers[:0], below: e.below, lists: e.lists[:0], maps: e.maps, plain: e.plain[:0], candidates: e.candidates[:0],
		record: e.record.empty(), properties: e.properties.empty(), log: e.log.empty(),
	}
	if err := e.findMembers(); err != nil {
		return fmt.Errorf("parse record: %w", err)
	}
	e.reshape()
	e.category = e.label(e.record.get("category", "Category"))
	if e.category == nil {
		e.category = e.text(e.record.get("CategoryValue"))
	}
	e.operation = e.label(e.record.get("operationName", "OperationName"))
	e.table = tables[e.route()]
	e.answers = slices.Grow(e.answers, len(e.table.fields))[:len(e.table.fields)]
	clear(e.answers)
	return nil
}

// findMembers finds the members of the record.
func (e *Event) findMembers() error {
	t := jsontext.Text{Raw: e.raw}
	start := t.Space(0)
	if t.Kind(start) != jsontext.Object {
		return syntaxError(e.raw)
	}
	e.record.index(t, start)
	if e.record.cut && levels(e.raw) > jsontext.MaxLevels {
		t.Raw = pruned(e.raw)
		e.record.index(t, 0)
	}
	if rest := len(t.Raw) - t.Space(e.record.end); e.record.cut || rest > 0 {
		return syntaxError(e.raw)
	}
	return nil
}

// A part is something that an event reads once.
type part uint16

const (
	partProperties part = 1 << iota
	partTime
	partAddress
	partRecord
	partRenamed
	partTree
	partIdentity
	partIdentityFields
	partLog
	partObject
	partAudit
	partResource
	partNotes
)

// once reports whether p is still to be read, and marks it as read.
func (e *Event) once(p part) bool {
	first := e.done&p == 0
	e.done |= p
	return first
}

// A note is what had to be repaired or was lost. Notes are in the order of their
// places, whatever was read first.
type note struct {
	place part
	text  string
}

func (e *Event) note(place part, format string, args ...any) {
	e.notes = append(e.notes, note{place, fmt.Sprintf(format, args...)})
}

// Dataset is one of the constants above; the name of another Elastic data stream
// ("azure.graphactivitylogs"), of which only the common fields are filled; or ""
// when the record is no log event, such as a metric.
func (e *Event) Dataset() string { return e.table.dataset }

// Metric reports whether the record is a metric, which no rule is about.
func (e *Event) Metric() bool { return e.record.get("metricName").Kind == jsontext.String }

// Raw is the record as received.
func (e *Event) Raw() []byte { return e.raw }

// Record is the decoded record. Names are untouched; members without one are
// dropped.
func (e *Event) Record() map[string]any {
	if e.once(partRecord) {
		e.members = make(map[string]any, len(e.record.members))
		for i := range e.record.members {
			m := &e.record.members[i]
			e.members[e.name(m.name)] = e.decoded(m)
		}
	}
	return e.members
}

// Member is a member of the decoded record; if there is none of the name, one that
// differs from it in case only.
func (e *Event) Member(name string) any {
	m := e.record.find(name)
	for i := len(e.record.members) - 1; m == nil && i >= 0; i-- {
		if strings.EqualFold(e.record.members[i].name, name) {
			m = &e.record.members[i]
		}
	}
	return e.decoded(m)
}

// decoded returns the value of a member of the record, which is decoded once; nil
// for no member.
func (e *Event) decoded(m *member) any {
	if m == nil {
		return nil
	}
	if !m.isDecoded {
		m.decoded, m.isDecoded = e.value(m.value, 1), true
	}
	return m.decoded
}

// Category is the category as logged.
func (e *Event) Category() string { return asText(e.category) }

// Operation is operationName as logged.
func (e *Event) Operation() string { return asText(e.operation) }

// ResourceID is the resource id as logged.
func (e *Event) ResourceID() string { return e.str(e.record.get("resourceId", "ResourceId")) }

// CorrelationID is the correlation id as logged.
func (e *Event) CorrelationID() string {
	return e.str(e.record.get("correlationId", "CorrelationId"))
}

func (e *Event) tenant() any { return e.text(e.record.get("tenantId", "TenantId")) }

// Outcome is event.outcome: lower case, "" where Elastic leaves it unset.
func (e *Event) Outcome() string {
	outcome, _ := e.Lookup("event.outcome")
	return asText(outcome)
}

func (e *Event) outcome() any {
	if e.table.outcome == nil {
		return nil
	}
	return e.table.outcome(e)
}

// Time is when it happened by the record's own clock, in UTC; zero when the
// record has no readable time.
func (e *Event) Time() time.Time {
	if e.once(partTime) {
		e.when = e.readTime()
		if e.when.IsZero() && e.Audit() != nil && !e.Audit().Received.IsZero() {
			e.when = e.Audit().Received
			e.note(partAudit, "time taken from requestReceivedTimestamp")
		}
	}
	return e.when
}

func (e *Event) readTime() time.Time {
	v := e.record.get("time", "Time", "EventTimeString", "timeStamp")
	switch v.Kind {
	case jsontext.Invalid:
		e.note(partTime, "the record has no time")
	case jsontext.String:
		t, err := parseTime(asText(e.value(v, 0)))
		if err != nil {
			e.note(partTime, "time is not readable: %v", err)
		}
		return t
	default:
		e.note(partTime, "time is not text")
	}
	return time.Time{}
}

// CallerIP is the caller's address without port, "" when unknown. In kube-audit
// it is the last source address: the client can choose the earlier ones.
func (e *Event) CallerIP() string {
	if a := e.Audit(); a != nil && len(a.SourceIPs) > 0 {
		ip, _, _ := parseAddress(a.SourceIPs[len(a.SourceIPs)-1])
		return ip
	}
	ip := e.caller().ip
	if ip == "" && e.table.otherAddress != nil {
		ip, _, _ = parseAddress(e.table.otherAddress(e))
	}
	return ip
}

// Entity is the resource id that the properties of an activity record have, "" if
// there is none.
func (e *Event) Entity() string { return e.str(e.props().get("entity")) }

// Resource is what the record is about.
func (e *Event) Resource() Resource {
	if e.once(partResource) {
		var entity, scope string
		if e.Dataset() == ActivityLogs {
			entity, scope = e.Entity(), e.identity().scope
		}
		e.of = resourceOf(e.ResourceID(), entity, scope)
		if a := e.Audit(); a != nil {
			e.of.Namespace = a.Object.Namespace
			if a.Object.Resource == "pods" && a.Object.APIGroup == "" {
				e.of.Pod = a.Object.Name
			}
		}
	}
	return e.of
}

// Notes is what was repaired or lost, in words for a reader of the alert.
func (e *Event) Notes() []string {
	if e.once(partNotes) {
		if levels(e.raw) > maxDepth {
			e.note(0, "values nested deeper than %d levels were dropped", maxDepth)
		}
		e.noteFaults(partProperties, "properties", e.props())
		e.Time()
		if e.table.note != nil {
			e.table.note(e)
		}
		slices.SortStableFunc(e.notes, func(a, b note) int { return cmp.Compare(a.place, b.place) })
	}
	var texts []string
	for _, n := range e.notes {
		texts = append(texts, n.text)
	}
	return texts
}

// props is properties, whether it is an object, an object as JSON text, or the
// broken beginning of one. Elastic parses the text for the activity log only;
// elsewhere such a record would not be searchable at all.
func (e *Event) props() *inner {
	if e.once(partProperties) {
		// EventProperties is of Event Hubs' own operational logs.
		e.properties.read(e.record.get("properties", "Properties", "EventProperties"), 2)
	}
	return &e.properties
}

// noteFaults notes what is wrong with an inner object, which is called name.
func (e *Event) noteFaults(place part, name string, in *inner) {
	switch in.state {
	case other:
		e.note(place, "%s is neither an object nor text", name)
	case broken:
		e.note(place, "%s is text that does not parse", name)
	case cut:
		e.note(place, "%s is JSON text that does not parse to its end; what comes before the fault was read", name)
	}
	if in.dropped() {
		e.note(place, "%s: values nested deeper than %d levels were dropped", name, maxDepth)
	}
}

// propertiesMap is properties decoded, nil if it has no object.
func (e *Event) propertiesMap() map[string]any {
	if !e.props().is() {
		return nil
	}
	return e.decode(e.properties.members, e.properties.level)
}

// renamedProperties is properties under the rules' names, with all members.
func (e *Event) renamedProperties() map[string]any {
	if e.once(partRenamed) {
		e.renamed = e.table.rename(e, e.propertiesMap())
	}
	return e.renamed
}

// ownFields are the fields of the log itself that have no rows of their own.
func (e *Event) ownFields() map[string]any {
	if e.once(partTree) {
		e.tree = e.table.build(e)
	}
	return e.tree
}

// propertiesText is properties where it is text without an object in it.
func (e *Event) propertiesText() any {
	if s := e.props().state; s != plainText && s != broken {
		return nil
	}
	return e.text(e.record.get("properties", "Properties", "EventProperties"))
}

// asText is a text or, for nil, "".
func asText(v any) string {
	s, _ := v.(string)
	return s
}
