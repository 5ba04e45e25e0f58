package surroundings

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
)

// An Operation is what somebody did somewhere in the estate. [FromEvent] makes it.
type Operation struct {
	Time          time.Time
	OperationName string   // as Azure names it, or for Kubernetes "verb group/resource/subresource"
	ResourceID    string   // of what it was done to; for Kubernetes the cluster
	Target        string   // name of that
	Outcome       string   // succeeded, failed, started, accepted, or as logged
	Caller        string   // name to show
	Identities    []string // all ids and names that the caller is known by, lower case
	CorrelationID string

	what         description
	resource     string // ResourceID in lower case
	operationKey string // OperationName in lower case
	targetKey    string // Target in lower case
	stageKey     string // the same for all records of one operation
}

// prepared fills what is derived from the other fields.
func (o Operation) prepared() Operation {
	o.resource = strings.ToLower(o.ResourceID)
	o.operationKey = strings.ToLower(o.OperationName)
	o.targetKey = strings.ToLower(o.Target)
	o.stageKey = strings.ToLower(o.CorrelationID) + "\x00" + o.operationKey + "\x00" + o.resource
	return o
}

// maxOperations bounds those that are chosen from; a timeline shows ten.
const maxOperations = 50

// FromEvents reads the operations of the first events that are one, in the order of
// their time.
func FromEvents(events iter.Seq[*event.Event]) (all []Operation) {
	for ev := range events {
		if o, ok := FromEvent(ev); ok {
			all = append(all, o)
		}
		if len(all) == maxOperations {
			break
		}
	}
	slices.SortFunc(all, func(a, b Operation) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.stageKey, b.stageKey), strings.Compare(a.Outcome, b.Outcome))
	})
	return all
}

// FromEvent reads an Operation from an event; ok is false for what has no place
// in a timeline: reads, routine, and other logs.
func FromEvent(ev *event.Event) (o Operation, ok bool) {
	switch {
	case ev.Time().IsZero():
		return Operation{}, false
	case ev.Dataset() == event.ActivityLogs:
		o, ok = fromActivity(ev)
	case ev.Audit() != nil:
		o, ok = fromAudit(ev)
	}
	if !ok {
		return Operation{}, false
	}
	who := caller.From(ev)
	o.Caller, o.Identities = cmp.Or(who.Name, who.ID, who.AppID), who.Names()
	return o.prepared(), true
}

func fromActivity(ev *event.Event) (Operation, bool) {
	id := ev.ResourceID()
	if entity := ev.Entity(); strings.EqualFold(entity, id) {
		id = entity // the same in readable case
	}
	resultType, _ := ev.Member("resultType").(string)
	outcome := cmp.Or(resultType, ev.Outcome())
	return Operation{
		Time: ev.Time(), OperationName: ev.Operation(), ResourceID: id, Target: target(id),
		Outcome: cmp.Or(outcomes[strings.ToLower(outcome)], outcome), CorrelationID: ev.CorrelationID(), what: describe(ev.Operation(), ""),
	}, ev.Operation() != ""
}

// outcomes gives one set of words to the export's ("Success") and the service's
// ("Succeeded").
var outcomes = map[string]string{
	"success": "succeeded", "succeeded": "succeeded", "failure": "failed", "failed": "failed",
	"start": "started", "started": "started", "accept": "accepted", "accepted": "accepted",
}

// fromAudit reads changes of workloads, nodes and rights that explain or
// precede a deletion. Kubernetes' own controllers are left out: they follow
// orders, and there are thousands.
func fromAudit(ev *event.Event) (Operation, bool) {
	a := ev.Audit()
	// 101 is how a shell answers; 0 is a record without a response.
	done := a.Code >= 200 && a.Code <= 299 || a.Code == 101 || a.Code == 0
	if a.Stage != "ResponseComplete" || !done || controller(a.User.Name) {
		return Operation{}, false
	}
	op, ok := describeAudit(a)
	if !ok {
		return Operation{}, false
	}
	name := a.Verb + " " + strings.TrimPrefix(a.Object.APIGroup+"/"+a.Object.Resource, "/")
	if a.Object.Subresource != "" {
		name += "/" + a.Object.Subresource
	}
	o := Operation{
		Time: ev.Time(), OperationName: name, ResourceID: ev.Resource().ClusterID, Outcome: "succeeded", what: op,
		Target: strings.Trim(a.Object.Namespace+"/"+a.Object.Name, "/"), CorrelationID: a.ID,
	}
	if !a.Received.IsZero() {
		o.Time = a.Received
	}
	return o, true
}

func controller(name string) bool {
	if strings.HasPrefix(name, "system:serviceaccount:") {
		return strings.HasPrefix(name, "system:serviceaccount:kube-system:")
	}
	return strings.HasPrefix(name, "system:") || name == "aksService" || name == "hcpService"
}

func describeAudit(a *event.KubeAudit) (description, bool) {
	o := a.Object
	verb := a.Verb
	deleted := verb == "delete" || verb == "deletecollection"
	changed := verb == "update" || verb == "patch"
	kind := spaced(alert.WorkloadKind(o.Resource))
	owner := kind != "" // of pods: changing it replaces or removes them
	switch {
	case owner && o.Subresource == "scale" && changed:
		return description{"scaled a " + kind, rollout + 2, true}, true
	case owner && o.Subresource == "" && changed:
		return description{"changed a " + kind, rollout, true}, true
	case owner && o.Subresource == "" && deleted:
		return description{"deleted a " + kind, rollout + 2, true}, true
	case owner && o.Subresource == "" && verb == "create":
		return description{"created a " + kind, workload, false}, true
	case o.Resource == "nodes" && o.Subresource == "" && changed:
		return description{"changed a node, as cordon and drain do", rollout + 1, true}, true
	case o.Resource == "nodes" && o.Subresource == "" && deleted:
		return description{"deleted a node", rollout + 2, true}, true
	case o.Resource == "namespaces" && o.Subresource == "" && deleted:
		return description{"deleted a namespace", rollout + 3, true}, true
	case o.Resource == "pods" && o.APIGroup == "" && o.Subresource == "eviction" && verb == "create":
		return description{"evicted pods", workload + 1, false}, true
	case o.Resource == "pods" && o.APIGroup == "" && o.Subresource == "" && deleted:
		return description{"deleted pods", workload + 1, false}, true
	case o.Resource == "pods" && (o.Subresource == "exec" || o.Subresource == "attach"):
		return description{"opened a shell in a pod", privilege, false}, true
	case (o.Resource == "rolebindings" || o.Resource == "clusterrolebindings") && (changed || verb == "create"):
		return description{"bound a Kubernetes role", privilege, false}, true
	case o.Resource == "secrets" && (verb == "get" || verb == "list"):
		return description{"read Kubernetes secrets", credential, false}, true
	case o.Resource == "events" && deleted:
		return description{"deleted Kubernetes events", tracks, false}, true
	}
	return description{}, false
}

// fromService reads an Operation from one element of the Activity Log service's
// answer, a form that package event knows. ok is false for what is no operation.
func fromService(raw json.RawMessage) (o Operation, ok bool) {
	var said struct {
		Operation struct {
			Localized string `json:"localizedValue"`
		} `json:"operationName"`
		Caller string `json:"caller"`
	}
	if json.Unmarshal(raw, &said) != nil {
		return Operation{}, false
	}
	ev, err := event.Read(raw, 0)
	if err != nil {
		return Operation{}, false
	}
	if o, ok = FromEvent(ev); !ok {
		return Operation{}, false
	}
	o.what = describe(ev.Operation(), said.Operation.Localized)
	if said.Caller != "" { // the service's own name for who it was
		o.Caller = cmp.Or(o.Caller, said.Caller)
		o.Identities = append(o.Identities, strings.ToLower(said.Caller))
	}
	return o, true
}
