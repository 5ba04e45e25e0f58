package event

import (
	"bytes"
	"slices"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// A Cut is where the text of an event ends early.
type Cut uint8

const (
	Whole      Cut = iota
	BehindVerb     // what was done and to what is known, not all of how
	BeforeVerb     // not even that
)

// Cut reports whether some of the event is missing or cannot be read. What is
// withheld on purpose does not count.
func (e *Event) Cut() Cut {
	log := e.auditLog()
	switch {
	case (e.isKubeAudit() || mentionsAudit(e.logged.Raw)) && !e.requestKnown():
		return BeforeVerb
	case e.props().state == cut, e.properties.state == broken, log.state == cut, log.state == broken:
		return BehindVerb
	}
	return Whole
}

// requestKnown reports whether the audit text holds what was done and, of what may
// have been a deletion, to what.
func (e *Event) requestKnown() bool {
	verb := e.log.get("verb")
	switch {
	case verb.Kind != jsontext.String:
		return false
	case e.log.state == whole:
		return true
	case verb.Is("delete") || verb.Is("deletecollection") || verb.Is("create"):
		_, known := e.inLog("objectRef.resource")
		return known
	}
	return true
}

// auditOrder is the order of an audit event's members, that of the API server's
// type: what precedes a member that is there is not cut off.
var auditOrder = []string{
	"kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user", "impersonatedUser", "authenticationMetadata",
	"sourceIPs", "userAgent", "objectRef", "responseStatus", "requestObject", "responseObject",
	"requestReceivedTimestamp", "stageTimestamp", "annotations",
}

// PrecedesCut reports whether a field is known of every event whose Cut is not
// BeforeVerb, however little of it there is.
func PrecedesCut(field string) bool {
	path, inLog := under(field, "azure.platformlogs.properties.log")
	if !inLog {
		_, inProperties := under(field, "azure.platformlogs.properties")
		f, _ := rowOf(field)
		return f != nil && !f.inner && !inProperties
	}
	name, rest, _ := strings.Cut(path, ".")
	if name == "objectRef" {
		return rest == "" || slices.Contains(derivable, rest)
	}
	place := slices.Index(auditOrder, name)
	return place >= 0 && place <= slices.Index(auditOrder, "verb")
}

// precedesCut reports whether a member of the audit event, if there were one of
// that name, would be before the cut.
func (e *Event) precedesCut(name string) bool {
	place := slices.Index(auditOrder, name)
	if place < 0 {
		return false
	}
	for i := len(auditOrder) - 1; i > place; i-- {
		if e.log.last == auditOrder[i] || e.log.get(auditOrder[i]).Kind != jsontext.Invalid {
			return true
		}
	}
	return false
}

// TellsRequest reports whether text, of which the end may be cut, is one audit event
// that has its verb and, behind that, its objectRef: all that [PrecedesCut] names can
// then be found in the text as it is. A text in which another event may be is not. It
// parses no more than what precedes the end of the objectRef.
func TellsRequest(text jsontext.Text) bool {
	told := 0
	for name, v := range text.Members(0) {
		switch {
		case v.Truncated:
			return false
		case name == "apiVersion" && isAuditVersion(v), (name == "auditID" || name == "verb") && v.Kind == jsontext.String:
			told++
		case name == "objectRef":
			tail := text.Raw[max(v.End, len(text.Raw)-lastHead):]
			return told == 3 && v.Kind == jsontext.Object && hasMember(v, "resource") && !text.Cut(0, v.End).Obscured() &&
				!severalEvents(text.Raw) && !bytes.Contains(tail, []byte(auditVersion))
		}
	}
	return false
}

// lastHead is how far behind the apiVersion of an audit event its auditID is at most,
// in bytes of text that is quoted several times.
const lastHead = 512
