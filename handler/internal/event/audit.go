package event

import (
	"strconv"
	"time"
)

// A KubeAudit is a Kubernetes audit event of AKS or an Arc-enabled cluster. Names,
// user agent and all but the last source address are chosen by the client.
type KubeAudit struct {
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
	Truncated    bool      // the text was cut: members behind the cut are missing, Object may be derived from RequestURI
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

// Audit is the Kubernetes audit event in properties.log, also if that is cut; nil
// if there is none.
func (e *Event) Audit() *KubeAudit {
	if e.once(partAudit) && e.HasAudit() {
		e.audit = e.readAudit()
	}
	return e.audit
}

// HasAudit reports whether there is an audit event, without reading it.
func (e *Event) HasAudit() bool {
	log := e.auditLog()
	return log.is() && (e.isKubeAudit() || isAuditVersion(log.get("apiVersion")))
}

func (e *Event) readAudit() *KubeAudit {
	text := func(name string) string { return e.str(e.log.get(name)) }
	object := func(name string) map[string]any {
		m, _ := e.value(e.log.get(name), e.log.level).(map[string]any)
		return m
	}
	a := &KubeAudit{
		ID:         text("auditID"),
		Stage:      text("stage"),
		Level:      text("level"),
		Verb:       text("verb"),
		RequestURI: text("requestURI"),
		UserAgent:  text("userAgent"),
		SourceIPs:  texts(e.value(e.log.get("sourceIPs"), e.log.level)),
		Truncated:  e.log.state == cut,
	}
	if e.log.state == cut && e.log.last == "sourceIPs" {
		a.SourceIPs = nil // the last address is the certain one
	}
	if u := object("user"); u != nil {
		a.User = auditUser(u)
	}
	if u := object("impersonatedUser"); u != nil {
		imp := auditUser(u)
		a.Impersonated = &imp
	}
	about := e.derivedObject()
	if about == nil {
		about = object("objectRef")
	}
	a.Object = objectRef(about)
	// Texts that are no number leave the code at 0.
	a.Code, _ = strconv.Atoi(scalarText(object("responseStatus")["code"]))
	if s := text("requestReceivedTimestamp"); s != "" {
		t, err := parseTime(s)
		if err != nil {
			e.note(partAudit, "requestReceivedTimestamp is not readable: %v", err)
		}
		a.Received = t
	}
	return a
}

func objectRef(o map[string]any) ObjectRef {
	return ObjectRef{
		Resource:    scalarText(o["resource"]),
		Subresource: scalarText(o["subresource"]),
		Namespace:   scalarText(o["namespace"]),
		Name:        scalarText(o["name"]),
		APIGroup:    scalarText(o["apiGroup"]),
	}
}

func auditUser(u map[string]any) AuditUser {
	user := AuditUser{Name: scalarText(u["username"]), UID: scalarText(u["uid"]), Groups: texts(u["groups"])}
	if extra := objectIn(u, "extra"); len(extra) > 0 {
		user.Extra = make(map[string][]string, len(extra))
		for k, v := range extra {
			user.Extra[k] = texts(v)
		}
	}
	return user
}
