package event

import "podwatch/handler/internal/jsontext"

// A body is what an audit event shows of the request's body.
type body uint8

const (
	bodyWithheld body = iota // not logged, skipped for its size, or behind the cut
	bodyNone                 // the request had none
	bodyShown                // an object, perhaps the beginning of one
)

// requestBody reports what is shown of the request's body. That there was none is
// certain only in a whole event of a level that logs bodies.
func (e *Event) requestBody() body {
	log := e.auditLog()
	switch log.get("requestObject").Kind {
	case jsontext.Object:
		return bodyShown
	case jsontext.Invalid:
		if level := log.get("level"); log.state == whole && (level.Is("Request") || level.Is("RequestResponse")) {
			return bodyNone
		}
	}
	return bodyWithheld
}
