package event

import "strings"

// platform fills azure.platformlogs.* from a resource log.
//
// properties is flattened in Elasticsearch: every leaf compares as text, also
// numbers, which therefore keep the spelling of the record.
func (n *normaliser) platform() {
	ev := n.ev
	s := n.newLog("platformlogs", len(n.rec)+3)
	for k, v := range n.rec {
		switch k {
		case "time", "Time", "resourceId", "ResourceId", "callerIpAddress", "CallerIpAddress",
			"level", "durationMs", "DurationMs", "location", "Location", "correlationId", "CorrelationId",
			"properties", "Properties", "EventProperties", "operationName", "OperationName",
			"resultType", "ResultType", "resultSignature", "ResultSignature",
			"resultDescription", "ResultDescription",
			"category", "Category", "CategoryValue", "Status", "Region", "EventName":
		default:
			if v != nil {
				s[k] = v
			}
		}
	}
	set(s, "category", ev.Category)
	set(s, "operation_name", ev.Operation)
	set(s, "result_type", text(get(n.rec, "resultType", "ResultType")))
	set(s, "result_signature", text(get(n.rec, "resultSignature", "ResultSignature")))
	set(s, "result_description", text(get(n.rec, "resultDescription", "ResultDescription")))
	set(s, "status", text(n.rec["Status"]))
	if r := text(n.rec["Region"]); r != "" {
		n.put("cloud", "region", r)
	}
	if name := text(n.rec["EventName"]); name != "" && ev.Operation == "" {
		n.event["action"] = name
	}
	n.outcome()
	if ev.Outcome == "" {
		switch st, _ := n.rec["Status"].(string); st {
		case "success", "failure", "unknown", "Succeeded", "Failed":
			ev.Outcome = strings.ToLower(st)
		}
	}
	n.eventType()
	n.source(strings.TrimSpace(text(get(n.rec, "callerIpAddress", "CallerIpAddress"))))
	if l := text(n.rec["level"]); l != "" {
		n.put("log", "level", l)
	}
	if l := text(get(n.rec, "location", "Location")); l != "" {
		n.put("geo", "name", l)
	}
	n.platformProperties(s)
}

// platformProperties fills properties with properties.log parsed in its place.
// A log that is no JSON object is a line of a component and becomes message.
func (n *normaliser) platformProperties(s map[string]any) {
	s["event_category"] = "Administrative"
	if n.props == nil {
		if n.propsText != "" {
			s["properties"] = n.propsText
		}
		if isKubeAudit(n.ev.Category) {
			n.ev.note("kube-audit record without a readable properties.log")
		}
		return
	}
	if c := text(n.props["eventCategory"]); c != "" {
		s["event_category"] = c
	} else if n.props["policies"] != nil {
		s["event_category"] = "Policy"
	}
	p := renamed(n.props, platformProperty)
	delete(p, "log")
	s["properties"] = p
	switch log := n.props["log"].(type) {
	case map[string]any:
		p["log"] = log
		n.audit(log, false)
	case string:
		n.logText(p, log)
	case nil:
		if isKubeAudit(n.ev.Category) {
			n.ev.note("kube-audit record without properties.log")
		}
	default:
		p["log"] = log
	}
}

func platformProperty(name string) string {
	if name == "statusCode" {
		return "status_code"
	}
	return name
}

// logText parses properties.log. Azure cuts it at 16 KiB, which leaves half a
// JSON object; Elastic then sees text only and its rules see nothing. The part
// before the cut holds what rules ask for, so podwatch reads that.
func (n *normaliser) logText(p map[string]any, log string) {
	if !looksLikeObject(log) {
		n.ev.Fields["message"] = log
		return
	}
	raw := []byte(log)
	var (
		m      map[string]any
		pruned bool
		err    = errNotObject
	)
	if strings.HasSuffix(strings.TrimRight(log, " \t\r\n"), "}") { // else it is cut for sure
		m, pruned, err = decodeObject(raw)
	}
	if err == nil {
		if pruned {
			n.ev.note("properties.log: values nested deeper than %d levels were dropped", maxDepth)
		}
		p["log"] = m
		n.audit(m, false)
		return
	}
	m, r := readPrefix(raw)
	switch r.cutKey {
	case "requestObject", "responseObject", "":
	default:
		// A member that is cut may lack what would have changed its meaning, such
		// as the subresource of an objectRef; nothing is better than half of it.
		delete(m, r.cutKey)
	}
	if len(m) == 0 {
		n.ev.Fields["message"] = log
		n.ev.note("properties.log does not parse")
		return
	}
	if len(log) >= cutAt-4 {
		n.ev.note("properties.log was cut at 16 KiB; read up to the cut")
	} else {
		n.ev.note("properties.log does not parse after %d bytes; read up to there", r.dec.InputOffset())
	}
	p["log"] = m
	n.audit(m, true)
}

// cutAt is where Azure cuts properties.log, in bytes (Azure/AKS issue 4635). A
// cut inside a character loses up to three bytes more.
const cutAt = 16 << 10
