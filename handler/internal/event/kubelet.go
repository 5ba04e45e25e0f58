package event

import (
	"slices"
	"strings"
)

// finalDeletion reports whether a request can be the one with which a kubelet
// removes a pod that has stopped. It is known for each event: only a grace period
// other than 0 or a pod of another node, if shown, is against it. What is withheld
// is not, because NodeRestriction lets a kubelet delete only pods of its node.
func (e *Event) finalDeletion() any {
	return e.requestBody() != bodyNone && e.withoutGrace() && e.ownPod()
}

// withoutGrace reports whether the grace period of the body is 0 or withheld, and no
// other is in the query string.
func (e *Event) withoutGrace() bool {
	if slices.ContainsFunc(queryOf(e.auditedText(logField + "requestURI"))["gracePeriodSeconds"], func(v string) bool { return v != "0" }) {
		return false
	}
	grace, known := e.Lookup(logField + "requestObject.gracePeriodSeconds")
	return scalarText(grace) == "0" || grace == nil && !known
}

// Forced reports whether a request deletes without a grace period, as far as the
// record shows it. Like the API server it looks at the query string only where there
// is no body.
func (e *Event) Forced() bool {
	if e.Audit() == nil {
		return false
	}
	if e.requestBody() == bodyNone {
		grace := queryOf(e.Audit().RequestURI)["gracePeriodSeconds"]
		return len(grace) > 0 && grace[0] == "0"
	}
	return e.auditedText(logField+"requestObject.gracePeriodSeconds") == "0"
}

// ownPod reports whether the pod in the response, if there is one, is of the node
// that the request acted for.
func (e *Event) ownPod() bool {
	account := e.auditedText(logField + "impersonatedUser.username")
	if account == "" {
		account = e.auditedText(logField + "user.username")
	}
	shown := e.auditedText(logField + "responseObject.spec.nodeName")
	return shown == "" || shown == strings.TrimPrefix(account, "system:node:")
}
