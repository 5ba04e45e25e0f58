package event

import (
	"strings"

	"podwatch/handler/internal/arm"
)

// Kinds of cluster.
const (
	AKS   = "aks"   // Microsoft.ContainerService/managedClusters
	Arc   = "arc"   // Microsoft.Kubernetes/connectedClusters
	Fleet = "fleet" // Microsoft.ContainerService/fleets
)

// A Resource is what an ARM resource id tells, in the best spelling that the
// record has: Azure logs resource ids mostly in capitals and the declared
// spelling, if at all, in properties.entity. Compare all of it ignoring case.
type Resource struct {
	SubscriptionID string
	ResourceGroup  string
	Provider       string // "Microsoft.Kubernetes"
	Type           string // "connectedClusters/namespaces/pods"
	Name           string // of the last named type

	ClusterID   string // ARM id of the cluster, for showing
	ClusterKey  string // the same in lower case, for comparing
	ClusterName string
	ClusterKind string // AKS, Arc, Fleet or ""
	Namespace   string // Kubernetes namespace
	Pod         string
}

// resourceOf parses the resource id of a record. entity (properties.entity)
// lends its spelling where it names the same resource or one above or below it,
// and then goes on where the id ends. scope, that of the caller's authorization,
// lends its spelling too, and a namespace and pod that the others leave out; it
// never names another resource.
func resourceOf(id, entity, scope string) Resource {
	switch {
	case id == "":
	case below(scope, id):
		id = scope[:len(strings.TrimRight(id, "/"))]
	default:
		id = respell(id, scope)
	}
	r := parseResource(respell(id, entity))
	if r.ClusterID != "" && r.Namespace == "" && below(scope, r.ClusterID) {
		s := parseResource(scope)
		r.Namespace = s.Namespace
		if r.Pod == "" {
			r.Pod = s.Pod
		}
	}
	return r
}

// respell returns id as other spells it, as far as other does; and other itself
// where that goes on below id.
func respell(id, other string) string {
	other = strings.TrimRight(other, "/")
	switch {
	case other == "":
		return id
	case id == "", below(other, id):
		return other
	case below(id, other):
		return other + id[len(other):]
	}
	return id
}

// below reports whether id is parent or lies below it, ignoring case.
func below(id, parent string) bool {
	parent = strings.TrimRight(parent, "/")
	if parent == "" || len(id) < len(parent) || !strings.EqualFold(id[:len(parent)], parent) {
		return false
	}
	return len(id) == len(parent) || id[len(parent)] == '/'
}

// parseResource reads an id tolerantly: any case, parts missing, extension
// resources (the last provider is the resource's own), Kubernetes objects below
// a cluster.
func parseResource(id string) Resource {
	var r Resource
	for p := range arm.Pairs(id) {
		switch {
		case strings.EqualFold(p.Key, "providers"):
			r.Provider, r.Type, r.Name = p.Value, "", ""
		case r.Provider == "" && strings.EqualFold(p.Key, "subscriptions"):
			r.SubscriptionID = p.Value
		case r.Provider == "" && strings.EqualFold(p.Key, "resourceGroups"):
			r.ResourceGroup = p.Value
		case r.Provider != "":
			r.Type = strings.TrimPrefix(r.Type+"/"+p.Key, "/")
			if p.Value != "" {
				r.Name = p.Value
				r.locate(p, id)
			}
		}
	}
	return r
}

// locate enters what a named type of id says of a cluster or of an object in it.
func (r *Resource) locate(p arm.Pair, id string) {
	switch {
	case r.ClusterID != "" && strings.EqualFold(p.Key, "namespaces"):
		r.Namespace = p.Value
	case r.ClusterID != "" && strings.EqualFold(p.Key, "pods"):
		r.Pod = p.Value
	case r.ClusterID != "":
	case strings.EqualFold(p.Key, "connectedClusters") && strings.EqualFold(r.Provider, "Microsoft.Kubernetes"):
		r.ClusterKind = Arc
	case strings.EqualFold(p.Key, "managedClusters") && strings.EqualFold(r.Provider, "Microsoft.ContainerService"):
		r.ClusterKind = AKS
	case strings.EqualFold(p.Key, "fleets") && strings.EqualFold(r.Provider, "Microsoft.ContainerService"):
		r.ClusterKind = Fleet
	}
	if r.ClusterKind != "" && r.ClusterID == "" {
		r.ClusterName, r.ClusterID = p.Value, id[:p.End]
		r.ClusterKey = strings.ToLower(r.ClusterID)
	}
}

// A resourceFields is what Elastic cuts out of a resource id: provider is the
// provider with its first type, name is all that follows. Spelling is the record's
// own. Elastic knows only ids whose fixed words are all in capitals or all as
// declared; podwatch takes any mixture.
type resourceFields struct{ subscription, group, provider, name, namespace, rule string }

func fieldsOf(id string) resourceFields {
	var f resourceFields
	var pairs []arm.Pair
	provider := -1
	for p := range arm.Pairs(id) {
		switch i := len(pairs); {
		case p.Value == "":
		case i == 0 && strings.EqualFold(p.Key, "subscriptions"):
			f.subscription = p.Value
		case i == 1 && strings.EqualFold(p.Key, "resourceGroups"):
			f.group = p.Value
		case strings.EqualFold(p.Key, "providers"):
			provider = i
		}
		pairs = append(pairs, p)
	}
	if provider < 0 {
		return f
	}
	start := pairs[provider].End - len(pairs[provider].Value)
	types := pairs[provider+1:]
	if len(types) >= 2 && strings.EqualFold(types[0].Key, "namespaces") && strings.EqualFold(types[1].Key, "authorizationRules") && types[1].Value != "" {
		f.provider, f.namespace, f.rule = pairs[provider].Value, types[0].Value, id[types[1].KeyEnd+1:]
		return f
	}
	f.provider = id[start:]
	if len(types) > 0 {
		f.provider = id[start:types[0].KeyEnd]
		if types[0].Value != "" {
			f.name = id[types[0].KeyEnd+1:]
		}
	}
	return f
}
