package event

import (
	"strconv"
	"strings"
	"time"
)

// An Audit is a Kubernetes audit event of AKS or an Arc-enabled cluster. Names,
// user agent and all but the last source address are chosen by the client.
type Audit struct {
	ID           string // auditID: one request, several stages; the client may choose it
	Stage        string // RequestReceived, ResponseStarted, ResponseComplete or Panic
	Level        string // Metadata, Request or RequestResponse
	Verb         string
	RequestURI   string
	UserAgent    string
	User         AuditUser
	Impersonated *AuditUser // on whose behalf; through Arc the person, with User the proxy
	SourceIPs    []string
	Object       ObjectRef
	Code         int       // of the response; 0 when not logged
	Received     time.Time // when the API server got the request; zero when not logged
	Truncated    bool      // properties.log was cut: members are missing
	Annotations  map[string]string
}

// An AuditUser is an account as Kubernetes knows it.
type AuditUser struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string // oid: the Entra object id; authentication.kubernetes.io/pod-name, …
}

// An ObjectRef is what the request was about.
type ObjectRef struct {
	Resource    string
	Subresource string
	Namespace   string
	Name        string // "" for collections
	APIGroup    string // "" for the core group
}

// audit fills Event.Audit from a parsed properties.log, if that is an audit
// event, and what it says about the resource and the caller.
func (n *normaliser) audit(log map[string]any, truncated bool) {
	ev := n.ev
	if !isKubeAudit(ev.Category) && !strings.HasPrefix(text(log["apiVersion"]), "audit.k8s.io/") {
		return
	}
	a := &Audit{
		ID:          text(log["auditID"]),
		Stage:       text(log["stage"]),
		Level:       text(log["level"]),
		Verb:        text(log["verb"]),
		RequestURI:  text(log["requestURI"]),
		UserAgent:   text(log["userAgent"]),
		SourceIPs:   texts(log["sourceIPs"]),
		Truncated:   truncated,
		Annotations: annotations(object(log, "annotations")),
	}
	if u := object(log, "user"); u != nil {
		a.User = auditUser(u)
	}
	if u := object(log, "impersonatedUser"); u != nil {
		imp := auditUser(u)
		a.Impersonated = &imp
	}
	if o := object(log, "objectRef"); o != nil {
		a.Object = ObjectRef{
			Resource:    text(o["resource"]),
			Subresource: text(o["subresource"]),
			Namespace:   text(o["namespace"]),
			Name:        text(o["name"]),
			APIGroup:    text(o["apiGroup"]),
		}
	}
	// Texts that are no number leave the code at 0.
	a.Code, _ = strconv.Atoi(text(object(log, "responseStatus")["code"]))
	if s := text(log["requestReceivedTimestamp"]); s != "" {
		if t, err := parseTime(s); err == nil {
			a.Received = t
		} else {
			ev.note("requestReceivedTimestamp is not readable: %v", err)
		}
	}
	ev.Audit = a

	if ev.Time.IsZero() && !a.Received.IsZero() {
		ev.Time = a.Received
		n.timestamp()
		ev.note("time taken from requestReceivedTimestamp")
	}
	if last := len(a.SourceIPs) - 1; last >= 0 {
		// Elastic does not copy it to source.ip, so neither do the fields here.
		ev.CallerIP, _, _ = parseAddress(a.SourceIPs[last])
	}
	ev.Resource.Namespace = a.Object.Namespace
	if a.Object.Resource == "pods" && a.Object.APIGroup == "" {
		ev.Resource.Pod = a.Object.Name
	}
}

func auditUser(u map[string]any) AuditUser {
	user := AuditUser{Name: text(u["username"]), UID: text(u["uid"]), Groups: texts(u["groups"])}
	if extra := object(u, "extra"); len(extra) > 0 {
		user.Extra = make(map[string][]string, len(extra))
		for k, v := range extra {
			user.Extra[k] = texts(v)
		}
	}
	return user
}

func annotations(m map[string]any) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}
