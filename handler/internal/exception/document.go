package exception

import (
	"iter"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// A field is one that a query of an exception may name.
type field struct {
	name   string                      // one that ends in a dot and a star is any below it
	typ    kql.Type                    // of the fields of an alert
	of     func(a *alert.Alert) string // its value in an alert; nil: not a text of one
	values []string                    // all that it can have; nil: any
	by     origin
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

// alertFields are what an exception can query besides the fields of the event. They
// compare ignoring case, as Azure compares its names.
var alertFields = []field{
	{name: "rule.id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.RuleId }},
	{name: "rule.name", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.RuleName }},
	{name: "alert.severity", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Severity }, values: severities},
	{name: "alert.source", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Source }, values: event.Datasets()},
	{name: "alert.operation", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Operation }},
	{name: "alert.time", typ: kql.TypeDate, of: func(a *alert.Alert) string { return a.EventTime.UTC().Format(time.RFC3339Nano) }},
	{name: "caller.kind", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerKind }, values: callers},
	{name: "caller.name", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerName }, by: caller},
	{name: "caller.id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerId }, by: caller},
	{name: "caller.app_id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerAppId }, by: caller},
	{name: "caller.app_name", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerAppName }, by: caller},
	{name: "caller.ip", typ: kql.TypeIP, of: func(a *alert.Alert) string { return a.CallerIp }, by: caller},
	{name: "caller.role", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerRole }},
	{name: "caller.owner_resource", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.CallerOwnerResource }, by: caller},
	{name: "caller.user_agent", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.UserAgent }, by: client},
	{name: "cluster.id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.ClusterId }},
	{name: "cluster.name", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.ClusterName }},
	{name: "cluster.kind", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.ClusterKind }, values: clusters},
	{name: "resource.id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.ResourceId }},
	{name: "resource.group", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.ResourceGroup }},
	{name: "resource.subscription_id", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.SubscriptionId }},
	{name: "resource.tags.*", typ: kql.TypeKeyword}, // by lower-case names
	{name: "kubernetes.namespace", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Namespace }},
	{name: "kubernetes.pod", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Pod }, by: client},
	{name: "kubernetes.workload_kind", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.WorkloadKind }},
	{name: "kubernetes.workload", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.WorkloadName }, by: client},
	{name: "kubernetes.node", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.Node }},
	{name: "kubernetes.deletion_kind", typ: kql.TypeKeyword, of: func(a *alert.Alert) string { return a.DeletionKind }, values: deletions},
}

// alertRoots has what the names of alertFields begin with.
var alertRoots = func() map[string]bool {
	roots := map[string]bool{}
	for _, f := range alertFields {
		root, _, _ := strings.Cut(f.name, ".")
		roots[root] = true
	}
	return roots
}()

// A document is what an exception's match sees of an alert: the fields of its
// event and alertFields. Empty values are left out, so that `field: *`
// asks whether the alert has one.
type document struct {
	own   kql.Map
	event kql.Document
	tags  bool // the cluster's tags are known
}

const tagsField = "resource.tags"

func newDocument(a *alert.Alert, ev kql.Document) *document {
	d := &document{own: kql.Map{}, event: ev, tags: a.ResourceTags != nil && !tagsWritten(a.Timeline)}
	for _, f := range alertFields {
		if f.of == nil {
			continue
		}
		if v := f.of(a); v != "" {
			d.own[f.name] = v
		}
	}
	if d.tags && len(a.ResourceTags) > 0 {
		tags := map[string]any{}
		for name, value := range a.ResourceTags {
			tags[strings.ToLower(name)] = value
		}
		d.own[tagsField] = tags
	}
	return d
}

// tagsWritten reports whether the cluster's tags may have been written before the
// alert, by an operation on them or on the whole cluster: who deletes pods may have
// made the tags claim that it is expected.
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

// Lookup returns the value of one of alertFields or of the event. Tags are not
// known unless they were looked up and not written shortly before.
func (d *document) Lookup(field string) (value any, known bool) {
	root, _, _ := strings.Cut(field, ".")
	if !alertRoots[root] {
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

// alertField returns the row of a field; ok is false for one of the event.
func alertField(name string) (f field, ok bool) {
	i := slices.IndexFunc(alertFields, func(f field) bool { return f.covers(name) })
	if i < 0 {
		return field{}, false
	}
	return alertFields[i], true
}

// fieldType gives a field's type, an alert's first and then the event's.
func fieldType(name string) kql.Type {
	if f, ok := alertField(name); ok {
		return f.typ
	}
	return rule.FieldType(name)
}

func foldCase(field string) bool {
	_, ok := alertField(field)
	return ok
}
