package event

import (
	"net/url"
	"slices"
	"strings"

	"podwatch/handler/internal/jsontext"
)

// objectOf derives what a request is about from its URI, as the API server's own
// request parsing does (RequestInfoFactory.NewRequestInfo of k8s.io/apiserver). ok
// is false for a request that is not about a resource.
//
// What an aggregated API or a proxied pod or service receives is part of the path
// behind its own resource, so such a request is never taken for one about pods of
// the cluster.
func objectOf(requestURI string) (o ObjectRef, ok bool) {
	u, err := url.ParseRequestURI(requestURI)
	if err != nil {
		return ObjectRef{}, false
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		o.APIGroup, parts = parts[1], parts[3:]
	default:
		return ObjectRef{}, false
	}
	special := parts[0] == "proxy" || parts[0] == "watch" // verbs of paths that Kubernetes no longer serves
	proxied := parts[0] == "proxy"
	if special {
		if parts = parts[1:]; len(parts) == 0 {
			return ObjectRef{}, false
		}
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		o.Namespace = parts[1]
		if len(parts) > 2 && !slices.Contains(namespaceSubresources, parts[2]) {
			parts = parts[2:]
		}
	}
	o.Resource = parts[0]
	if len(parts) > 1 {
		o.Name = parts[1]
	}
	if len(parts) > 2 && !proxied {
		o.Subresource = parts[2]
	}
	return o, o.Resource != ""
}

var namespaceSubresources = []string{"status", "finalize"}

// derivable are the members of an objectRef that follow from the request.
var derivable = []string{"resource", "subresource", "namespace", "name", "apiGroup"}

// fields returns the members of an objectRef, as the API server writes them.
func (o ObjectRef) fields() map[string]any {
	m := make(map[string]any, 5)
	set(m, "resource", o.Resource)
	set(m, "subresource", o.Subresource)
	set(m, "namespace", o.Namespace)
	set(m, "name", o.Name)
	set(m, "apiGroup", o.APIGroup)
	return m
}

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
