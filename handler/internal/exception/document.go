package exception

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// A Field is one that an exception's match may query besides the event's own
// fields.
type Field struct {
	Name string // a name that ends in a dot and a star is any below it
	Type string // Elasticsearch's name of the type
	Text string // what it holds

	Values []string // all that it can have; nil: any

	by origin
}

// An origin is who determines the value of a field.
type origin uint8

const (
	facts  origin = iota // what happened, and to what
	caller               // Azure or the API server: it tells callers apart
	client               // the client, which may choose what it likes
)

var (
	severities = []string{"low", "medium", "high", "critical"}
	callers    = []string{"user", "servicePrincipal", "managedIdentity", "microsoftApplication", "kubernetes", "externalIdentity", "unknown"}
	clusters   = []string{"aks", "arc", "fleet"}
	deletions  = []string{"delete", "deletecollection", "eviction"}
)

// Fields lists what an exception can query besides the fields of the event. Texts among them
// compare ignoring case, as Azure compares its names.
func Fields() []Field {
	return []Field{
		{"rule.id", "keyword", "id of the rule that matched", nil, facts},
		{"rule.name", "keyword", "its name", nil, facts},
		{"alert.severity", "keyword", "low, medium, high or critical", severities, facts},
		{"alert.source", "keyword", "azure.activitylogs or azure.platformlogs", event.Datasets(), facts},
		{"alert.operation", "keyword", "what was done: the operation, or verb and resource of kube-audit", nil, facts},
		{"alert.time", "date", "when it happened", nil, facts},
		{"caller.kind", "keyword", "user, servicePrincipal, managedIdentity, microsoftApplication, kubernetes, externalIdentity or unknown", callers, facts},
		{"caller.name", "keyword", "sign-in name, application name or Kubernetes user name", nil, caller},
		{"caller.id", "keyword", "object id or Kubernetes user name", nil, caller},
		{"caller.app_id", "keyword", "application id of the client or of the caller itself", nil, caller},
		{"caller.app_name", "keyword", "name of that application", nil, caller},
		{"caller.ip", "ip", "address the call came from", nil, caller},
		{"caller.role", "keyword", "role that allowed the call", nil, facts},
		{"caller.owner_resource", "keyword", "Azure resource a managed identity belongs to", nil, caller},
		{"caller.user_agent", "keyword", "what the client calls itself: the client chooses it", nil, client},
		{"cluster.id", "keyword", "resource id of the cluster", nil, facts},
		{"cluster.name", "keyword", "its name", nil, facts},
		{"cluster.kind", "keyword", "aks, arc or fleet", clusters, facts},
		{"resource.id", "keyword", "resource id as logged", nil, facts},
		{"resource.group", "keyword", "resource group", nil, facts},
		{"resource.subscription_id", "keyword", "subscription", nil, facts},
		{"resource.tags.*", "keyword", "tags of the cluster, names in lower case (needs ACTIVITY_LOOKUPS)", nil, facts},
		{"kubernetes.namespace", "keyword", "namespace of the pods", nil, facts},
		{"kubernetes.pod", "keyword", "name of the pod; empty for deletecollection", nil, client},
		{"kubernetes.workload_kind", "keyword", "kind of the workload that was deleted or scaled: Deployment, Job, ...", nil, facts},
		{"kubernetes.workload", "keyword", "its name", nil, client},
		{"kubernetes.node", "keyword", "name of the node that was deleted", nil, facts},
		{"kubernetes.deletion_kind", "keyword", "delete, deletecollection or eviction", deletions, facts},
	}
}

var aboutAlertFields = Fields()

// A document is what an exception's match sees of an alert: the fields of its
// event and those of [Fields]. Empty values are left out, so that `field: *`
// asks whether the alert has one.
type document struct {
	own   kql.Map // by root
	event kql.Document
	tags  bool // the cluster's tags are known
}

const tagsField = "resource.tags"

func newDocument(a *alert.Alert, ev kql.Document) *document {
	d := &document{own: kql.Map{}, event: ev, tags: a.ResourceTags != nil && !tagsWritten(a.Timeline)}
	set := func(root string, values map[string]any) {
		maps.DeleteFunc(values, func(_ string, v any) bool { return v == "" || v == nil })
		d.own[root] = values
	}
	set("rule", map[string]any{"id": a.RuleId, "name": a.RuleName})
	set("alert", map[string]any{
		"severity": a.Severity, "source": a.Source, "operation": a.Operation,
		"time": a.EventTime.UTC().Format(time.RFC3339Nano),
	})
	set("caller", map[string]any{
		"kind": a.CallerKind, "name": a.CallerName, "id": a.CallerId, "app_id": a.CallerAppId, "app_name": a.CallerAppName,
		"ip": a.CallerIp, "role": a.CallerRole, "owner_resource": a.CallerOwnerResource, "user_agent": a.UserAgent,
	})
	set("cluster", map[string]any{"id": a.ClusterId, "name": a.ClusterName, "kind": a.ClusterKind})
	set("resource", map[string]any{"id": a.ResourceId, "group": a.ResourceGroup, "subscription_id": a.SubscriptionId, "tags": d.tagsByName(a)})
	set("kubernetes", map[string]any{
		"namespace": a.Namespace, "pod": a.Pod, "deletion_kind": a.DeletionKind,
		"workload_kind": a.WorkloadKind, "workload": a.WorkloadName, "node": a.Node,
	})
	return d
}

// tagsWritten reports whether the cluster's tags may have been written before the
// alert, by an operation on them or on the whole cluster: who deletes pods may have
// made the tags say that it is expected.
func tagsWritten(timeline []alert.TimelineEntry) bool {
	return slices.ContainsFunc(timeline, func(e alert.TimelineEntry) bool {
		switch strings.ToLower(e.OperationName) {
		case "microsoft.resources/tags/write", "microsoft.containerservice/managedclusters/write",
			"microsoft.kubernetes/connectedclusters/write", "microsoft.containerservice/fleets/write":
			return e.Relation == "cluster" || e.Relation == "both"
		}
		return false
	})
}

// Lookup returns the value of one of [Fields] or of the event. Tags are not
// known unless they were looked up and nobody wrote them shortly before.
func (d *document) Lookup(field string) (value any, known bool) {
	root, _, _ := strings.Cut(field, ".")
	if _, own := d.own[root]; !own {
		return d.event.Lookup(field)
	}
	if name, ok := strings.CutPrefix(field, tagsField+"."); ok {
		field = tagsField + "." + strings.ToLower(name)
	}
	value, _ = d.own.Lookup(field)
	return value, d.tags || root != "resource" || field != root && !strings.HasPrefix(field, tagsField)
}

// All returns the fields of the event and ours.
func (d *document) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, part := range []kql.Document{d.event, d.own} {
			for field, value := range part.All() {
				if !yield(field, value) {
					return
				}
			}
		}
		if !d.tags {
			yield(tagsField, nil)
		}
	}
}

// tagsByName keys the cluster's tags by lower-case name, if they are known: Azure
// compares tag names ignoring case.
func (d *document) tagsByName(a *alert.Alert) any {
	if !d.tags || len(a.ResourceTags) == 0 {
		return nil
	}
	tags := make(map[string]any, len(a.ResourceTags))
	for name, value := range a.ResourceTags {
		tags[strings.ToLower(name)] = value
	}
	return tags
}

// ours reports whether a field is one of Fields rather than of the event.
func ours(field string) (Field, bool) {
	for _, f := range aboutAlertFields {
		if f.covers(field) {
			return f, true
		}
	}
	return Field{}, false
}

func foldCase(field string) bool {
	_, ok := ours(field)
	return ok
}
