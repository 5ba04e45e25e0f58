package alert

import (
	"strings"
	"time"

	"podwatch/handler/internal/event"
)

// A Cause is a deletion or scaling after which Kubernetes itself deletes pods: of a
// workload, a namespace or a node.
type Cause struct {
	cluster string
	target
	since time.Time // zero: the record does not contain when it began
}

// CauseOf returns the cause that an event is.
func CauseOf(ev *event.Event) (c Cause, ok bool) {
	c = Cause{cluster: ev.Resource().ClusterKey, target: targetOf(ev)}
	verb := ev.Operation()[strings.LastIndexByte(ev.Operation(), '/')+1:]
	if audit := ev.Audit(); audit != nil {
		c.since, verb = audit.Received, audit.Verb
	}
	switch strings.ToLower(verb) {
	case "delete", "patch", "update":
		return c, c.cluster != "" && (c.workload != "" || c.node != "" || c.all)
	}
	return c, false
}

// Took returns the pod that an event deleted, where it is one of the cause's: of a
// workload by the beginning of its name, because the record of a deletion need not
// contain its owner.
func (c Cause) Took(ev *event.Event) (pod string, ok bool) {
	audit := ev.Audit()
	if audit == nil || audit.Object.Name == "" || deletionKind(ev) == "" || ev.Resource().ClusterKey != c.cluster || audit.Received.Before(c.since) {
		return "", false
	}
	switch {
	case c.node != "":
		on, _ := ev.Lookup("azure.platformlogs.properties.log.responseObject.spec.nodeName")
		ok = on == c.node || audit.User.Name == "system:node:"+c.node
	case c.workload != "":
		ok = audit.Object.Namespace == c.namespace && strings.HasPrefix(audit.Object.Name, c.workload+"-")
	default:
		ok = audit.Object.Namespace == c.namespace
	}
	return audit.Object.Namespace + "/" + audit.Object.Name, ok
}
