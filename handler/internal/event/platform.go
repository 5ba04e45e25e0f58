package event

import (
	"slices"
	"strings"

	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/kql"
)

// platformTable is that of resource logs, of which the audit log of a cluster is
// one.
//
// properties is flattened in Elasticsearch: every leaf compares as text, also
// numbers, which therefore keep the spelling of the record.
var platformTable = &table{
	dataset: PlatformLogs,
	fields: slices.Concat(common, source, derived, log("azure.platformlogs"), []Field{
		{Name: "azure.platformlogs.event_category", Type: keyword, read: eventCategory, inner: true},
		{Name: "azure.platformlogs.properties", Type: flattened, Below: flattened, Verbatim: true, tree: (*Event).inPlatformProperties},
		{Name: "azure.platformlogs.result_type", Type: keyword, Verbatim: true, read: field("resultType", "ResultType")},
		{Name: "azure.platformlogs.result_signature", Type: keyword, Verbatim: true, read: field("resultSignature", "ResultSignature")},
		{Name: "azure.platformlogs.result_description", Type: keyword, Verbatim: true, read: field("resultDescription", "ResultDescription")},
		{Name: "azure.platformlogs.status", Type: keyword, read: field("Status")},
		{Name: "cloud.region", Type: keyword, Verbatim: true, read: field("Region")},
		{Name: "event.type", Type: keyword, read: eventType},
		{Name: "geo.name", Type: keyword, read: field("location", "Location")},
		{Name: "log.level", Type: keyword, read: field("level")},
		{Name: "message", Type: fullText, read: (*Event).logText, inner: true},
	}),
	build:   (*Event).platform,
	outcome: platformOutcome,
	address: field("callerIpAddress", "CallerIpAddress"),
	note:    (*Event).noteLog,
}

func (e *Event) platform() map[string]any {
	s := make(map[string]any)
	for i := range e.record.members {
		m := &e.record.members[i]
		switch m.name {
		case "time", "Time", "resourceId", "ResourceId", "callerIpAddress", "CallerIpAddress",
			"level", "durationMs", "DurationMs", "location", "Location", "correlationId", "CorrelationId",
			"properties", "Properties", "EventProperties", "operationName", "OperationName",
			"resultType", "ResultType", "resultSignature", "ResultSignature",
			"resultDescription", "ResultDescription",
			"category", "Category", "CategoryValue", "Status", "Region", "EventName", "event_category":
		default:
			if v := e.value(m.value, 1); v != nil {
				s[e.name(m.name)] = v
			}
		}
	}
	return s
}

func platformOutcome(e *Event) any {
	outcome := resultOutcome(e)
	if status := e.record.get("Status"); outcome == nil && status.Kind == jsontext.String {
		switch s := e.str(status); s {
		case "success", "failure", "unknown", "Succeeded", "Failed":
			return strings.ToLower(s)
		}
	}
	return outcome
}

// auditLog is properties.log, parsed where it is an object as text. It is taken
// out of the members of properties.
//
// Azure cuts it at 16 KiB or more, which leaves half a JSON object; Elastic then
// has text only and its rules see nothing. What precedes the cut has what rules ask
// for, so podwatch reads that.
func (e *Event) auditLog() *inner {
	if !e.once(partLog) || e.Dataset() != PlatformLogs {
		return &e.log
	}
	p := e.props()
	name := "log"
	switch {
	case p.get(name).Kind != jsontext.Invalid:
	case isAuditEvent(&p.object): // in properties itself
		e.logged, p.members = e.record.get("properties", "Properties", "EventProperties"), p.members[:0]
	case e.isKubeAudit():
		name = auditColumn(p.members)
	}
	if e.logged.Kind == jsontext.Invalid {
		e.logged = p.get(name)
		p.members = slices.DeleteFunc(p.members, func(m member) bool { return m.name == name })
	}
	if p.get("status_code").Kind == jsontext.Invalid {
		for i := range p.members {
			if p.members[i].name == "statusCode" {
				p.members[i].name = "status_code"
			}
		}
	}
	e.openLog()
	if e.log.state == cut && len(e.log.members) == 0 {
		e.log.state = broken
	}
	e.foreign = (e.log.state == cut || e.log.state == broken) && !e.isKubeAudit() && !mentionsAudit(e.logged.Raw)
	return &e.log
}

// logText is properties.log where it is a line of a component, not an object.
func (e *Event) logText() any {
	if s := e.auditLog().state; s != plainText && s != broken {
		return nil
	}
	return e.value(e.logged, 1)
}

func (e *Event) noteLog() {
	e.noteDryRun()
	if !e.props().is() {
		if e.isKubeAudit() {
			e.note(partLog, "kube-audit record without a readable properties.log")
		}
		return
	}
	switch e.auditLog().state {
	case absent:
		if e.isKubeAudit() {
			e.note(partLog, "kube-audit record without properties.log")
		}
	case broken:
		e.note(partLog, "properties.log does not parse")
	case cut:
		e.noteCut()
	case whole:
		e.noteDerived()
		if e.withheld("responseStatus") {
			e.note(partLog, "the outcome of the request is not known")
		}
	}
	if len(e.pieces) > 1 || e.piece != nil {
		e.note(partLog, "properties.log has several audit events, each of which was read")
	}
	if len(e.unread) > 0 && len(e.pieces) > 0 {
		e.note(partLog, "properties.log has text besides its audit event")
	}
	if e.log.dropped() {
		e.note(partLog, "properties.log: values nested deeper than %d levels were dropped", maxDepth)
	}
}

// noteCut notes where the audit text ends, what is missing and what was derived.
func (e *Event) noteCut() {
	text, err := e.log.text.Plain(nil)
	if err != nil {
		return
	}
	where := "after its last complete field"
	if e.log.last != "" {
		where = "within " + e.log.last
	}
	e.note(partLog, "the audit text was cut after %d bytes, %s", len(text), where)
	e.noteDerived()
	if e.log.get("responseStatus").Kind == jsontext.Invalid || e.log.last == "responseStatus" {
		e.note(partLog, "the outcome of the request is not known")
	}
}

func (e *Event) noteDerived() {
	if e.derivedObject() != nil {
		e.note(partLog, "what the request was about was derived from its URI")
	}
}

// inPlatformProperties is the tree of properties, with properties.log parsed in
// its place.
func (e *Event) inPlatformProperties(path string) (value any, known bool) {
	e.auditLog()
	rest, inLog := under(path, "log")
	switch {
	case path == "":
		return e.platformProperties()
	case !e.props().is():
		return nil, e.properties.state != broken && (!inLog || !e.isKubeAudit())
	case inLog:
		value, known = e.inLog(rest)
	default:
		known = e.properties.state != cut
	}
	value = kql.Combine(value, e.find(e.properties.members, path, e.properties.level))
	return value, known || scalar(value)
}

func (e *Event) platformProperties() (value any, known bool) {
	if !e.props().is() {
		return e.propertiesText(), e.properties.state != broken && !e.isKubeAudit()
	}
	p := renamed(e.propertiesMap(), dictionary(map[string]string{"statusCode": "status_code"}))
	log, known := e.inLog("")
	if log != nil {
		p["log"] = log
	}
	return p, known && e.properties.state != cut
}

// inLog is what properties.log has at a path.
func (e *Event) inLog(path string) (value any, known bool) {
	switch e.auditLog().state {
	case absent, plainText:
		return nil, !e.isKubeAudit()
	case broken:
		return nil, e.foreign
	case other:
		if path == "" {
			value = e.value(e.logged, e.properties.level)
		}
		return value, true
	}
	if path == "" {
		log := e.decode(e.log.members, e.log.level)
		if object := e.derivedObject(); object != nil {
			log["objectRef"] = object
		}
		return log, e.log.state == whole || e.foreign
	}
	if rest, ok := under(path, "objectRef"); ok {
		if object := e.derivedObject(); object != nil {
			if rest == "" {
				return object, true
			}
			return object[rest], slices.Contains(derivable, rest)
		}
	}
	if e.log.state == cut && !e.foreign {
		return e.inCutLog(path)
	}
	value = e.find(e.log.members, path, e.log.level)
	return value, value != nil || !e.withheld(path)
}

// inCutLog is inLog of a text that is cut: a member that is complete is known, and
// one that would precede the cut is known to be absent.
func (e *Event) inCutLog(path string) (value any, known bool) {
	value = e.find(e.log.members, path, e.log.level)
	name, _, _ := strings.Cut(path, ".")
	switch {
	case name == e.log.last:
		return value, scalar(value)
	case value == nil:
		return nil, (e.log.get(name).Kind != jsontext.Invalid || e.precedesCut(name)) && !e.withheld(path)
	}
	return value, true
}

// derivedObject returns the objectRef of a text that has none, or is cut before that
// is complete, as it follows from the request URI; nil for any other text.
func (e *Event) derivedObject() map[string]any {
	if e.once(partObject) && e.log.is() && (e.log.last == "objectRef" || !hasMember(e.log.get("objectRef"), "resource")) {
		if o, ok := objectOf(e.str(e.log.get("requestURI"))); ok {
			e.object = o.fields()
		}
	}
	return e.object
}

// withheld reports whether the audit log lacks what is at path because the API
// server does not log it at the level of the event, AKS leaves it out for its size, or a
// forwarder took it away.
func (e *Event) withheld(path string) bool {
	body, rest, _ := strings.Cut(path, ".")
	switch body {
	case "requestObject", "responseObject":
	case "stage", "responseStatus": // the API server always logs them, so a forwarder left it out
		stage := e.log.get("stage")
		return e.log.get(body).Kind == jsontext.Invalid && (stage.Kind == jsontext.Invalid || stage.Is("ResponseComplete"))
	default:
		return false
	}
	if v := e.log.get(body); v.Kind != jsontext.Invalid {
		return rest != "" && v.Is("skipped-too-big-size-object")
	}
	level := e.log.get("level")
	return level.Is("Metadata") || level.Is("Request") && body == "responseObject"
}
