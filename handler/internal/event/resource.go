package event

import "strings"

// Kinds of cluster.
const (
	AKS = "aks" // Microsoft.ContainerService/managedClusters
	Arc = "arc" // Microsoft.Kubernetes/connectedClusters
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
	ClusterKind string // AKS, Arc or ""
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

// A segment is one part of a resource id.
type segment struct {
	text string
	end  int // offset after the part in the id
}

// maxSegments bounds the work on a hostile id; ARM ids have fewer than 20.
const maxSegments = 64

func segments(id string, into []segment) []segment {
	for start := 0; start < len(id) && len(into) < maxSegments; {
		end := strings.IndexByte(id[start:], '/')
		if end < 0 {
			end = len(id)
		} else {
			end += start
		}
		if end > start {
			into = append(into, segment{id[start:end], end})
		}
		start = end + 1
	}
	return into
}

// parseResource reads an id tolerantly: any case, parts missing, extension
// resources (the last provider is the resource's own), Kubernetes objects below
// a cluster.
func parseResource(id string) Resource {
	var r Resource
	var buf [24]segment
	segs := segments(id, buf[:0])
	next := func(i int) string {
		if i+1 < len(segs) {
			return segs[i+1].text
		}
		return ""
	}
	for i := 0; i < len(segs); i += 2 {
		switch key := segs[i].text; {
		case strings.EqualFold(key, "providers"):
			r.Provider, r.Type, r.Name = next(i), "", ""
		case r.Provider == "":
			switch {
			case strings.EqualFold(key, "subscriptions"):
				r.SubscriptionID = next(i)
			case strings.EqualFold(key, "resourceGroups"):
				r.ResourceGroup = next(i)
			}
		default:
			if r.Type == "" {
				r.Type = key
			} else {
				r.Type += "/" + key
			}
			name := next(i)
			if name == "" {
				break
			}
			r.Name = name
			switch {
			case r.ClusterID != "":
				if strings.EqualFold(key, "namespaces") {
					r.Namespace = name
				} else if strings.EqualFold(key, "pods") {
					r.Pod = name
				}
			case strings.EqualFold(key, "connectedClusters") && strings.EqualFold(r.Provider, "Microsoft.Kubernetes"):
				r.ClusterKind = Arc
			case strings.EqualFold(key, "managedClusters") && strings.EqualFold(r.Provider, "Microsoft.ContainerService"):
				r.ClusterKind = AKS
			}
			if r.ClusterKind != "" && r.ClusterID == "" {
				r.ClusterName = name
				r.ClusterID = id[:segs[i+1].end]
				r.ClusterKey = strings.ToLower(r.ClusterID)
			}
		}
	}
	return r
}

// A resourceFields is what Elastic cuts out of a resource id: provider is the
// provider with its first type, name is all that follows. Spelling is the record's
// own. Elastic knows only ids whose fixed words are all in capitals or all as
// declared; podwatch takes any mixture.
type resourceFields struct{ subscription, group, provider, name, namespace, rule string }

func fieldsOf(id string) resourceFields {
	var f resourceFields
	var buf [24]segment
	segs := segments(id, buf[:0])
	provider := -1
	for i, s := range segs {
		if i+1 == len(segs) {
			break
		}
		switch {
		case strings.EqualFold(s.text, "subscriptions") && i == 0:
			f.subscription = segs[1].text
		case strings.EqualFold(s.text, "resourceGroups") && i == 2:
			f.group = segs[3].text
		case strings.EqualFold(s.text, "providers"):
			provider = i + 1
		}
	}
	if provider < 0 {
		return f
	}
	if i := provider + 1; i+3 < len(segs) &&
		strings.EqualFold(segs[i].text, "namespaces") && strings.EqualFold(segs[i+2].text, "authorizationRules") {
		f.provider = segs[provider].text
		f.namespace = segs[i+1].text
		f.rule = id[segs[i+2].end+1:]
		return f
	}
	last := provider
	if provider+1 < len(segs) {
		last = provider + 1
	}
	start := segs[provider].end - len(segs[provider].text)
	f.provider = id[start:segs[last].end]
	if last+1 < len(segs) {
		f.name = id[segs[last].end+1:]
	}
	return f
}
