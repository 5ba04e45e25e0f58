package alert

import (
	"cmp"
	"strings"

	"podwatch/handler/internal/event"
)

// kinds has the kinds of workload by the resource that the API server calls them.
var kinds = map[string]string{
	"cronjobs": "CronJob", "daemonsets": "DaemonSet", "deployments": "Deployment", "jobs": "Job",
	"replicasets": "ReplicaSet", "replicationcontrollers": "ReplicationController", "statefulsets": "StatefulSet",
}

// WorkloadKind is the kind of workload that the API server calls so, "" for any other
// resource.
func WorkloadKind(resource string) string { return kinds[resource] }

// A target is what a request was about.
type target struct {
	namespace, pod, workloadKind, workload, node string
	all                                          bool // the namespace itself
}

func targetOf(ev *event.Event) target {
	if audit := ev.Audit(); audit != nil {
		return auditTarget(ev, audit.Object)
	}
	return activityTarget(ev.Resource(), strings.Split(strings.ToLower(ev.Operation()), "/"))
}

// activityTarget reads the resource id. The operation names the kind of a workload
// also where the id ends at its namespace or cluster.
func activityTarget(resource event.Resource, operation []string) target {
	t := target{namespace: resource.Namespace, pod: resource.Pod}
	if resource.ClusterKind == "" {
		return t
	}
	last := strings.ToLower(resource.Type[strings.LastIndexByte(resource.Type, '/')+1:])
	switch last {
	case "namespaces", "managednamespaces":
		t.namespace, t.all = resource.Name, true
	case "agentpools":
		t.workloadKind, t.workload = "AgentPool", resource.Name
	case "nodes":
		t.node = resource.Name
	}
	if n := len(operation); n >= 2 && kinds[operation[n-2]] != "" {
		t.workloadKind, t.all = kinds[operation[n-2]], false
		if last == operation[n-2] {
			t.workload = resource.Name
		}
	}
	return t
}

func auditTarget(ev *event.Event, object event.ObjectRef) target {
	t := target{namespace: object.Namespace}
	switch object.Resource {
	case "pods":
		t.pod = object.Name
	case "evictionrequests":
		pod, _ := ev.Lookup("azure.platformlogs.properties.log.requestObject.spec.target.pod.name")
		name, _ := pod.(string)
		t.pod = cmp.Or(name, object.Name)
	case "namespaces":
		t.namespace, t.all = cmp.Or(object.Name, object.Namespace), true
	case "nodes":
		t.node = object.Name
	default:
		if t.workloadKind = kinds[object.Resource]; t.workloadKind == "" && object.Subresource == "scale" {
			t.workloadKind = object.Resource
		}
		if t.workloadKind != "" {
			t.workload = object.Name
		}
	}
	return t
}
