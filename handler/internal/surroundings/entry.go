package surroundings

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"podwatch/handler/internal/event"
)

// An Entry is one operation that somebody did somewhere in the estate.
type Entry struct {
	Time          time.Time
	OperationName string   // as Azure names it, or for Kubernetes "verb group/resource/subresource"
	ResourceID    string   // of what it was done to; for Kubernetes the cluster
	Target        string   // name of that
	Outcome       string   // succeeded, failed, started, accepted, or as logged
	Caller        string   // name to show
	Identities    []string // all ids and names that the caller is known by, lower case
	CorrelationID string

	what         operation
	resource     string // ResourceID in lower case
	operationKey string // OperationName in lower case
	targetKey    string // Target in lower case
	stageKey     string // the same for all records of one operation
}

// prepared fills what is derived from the other fields.
func (e Entry) prepared() Entry {
	if e.what.words == "" {
		e.what = describe(e.OperationName, "")
	}
	e.Target = cmp.Or(e.Target, target(e.ResourceID))
	e.resource = strings.ToLower(e.ResourceID)
	e.operationKey = strings.ToLower(e.OperationName)
	e.targetKey = strings.ToLower(e.Target)
	e.stageKey = strings.ToLower(e.CorrelationID) + "\x00" + e.operationKey + "\x00" + e.resource
	return e
}

// FromEvent reads an Entry from an event that arrived in the same batch; ok is
// false for what has no place in a timeline: reads, routine, and other logs.
func FromEvent(ev *event.Event) (e Entry, ok bool) {
	switch {
	case ev.Time().IsZero():
		return Entry{}, false
	case ev.Dataset() == event.ActivityLogs:
		return fromActivity(ev)
	case ev.Audit() != nil:
		return fromAudit(ev)
	}
	return Entry{}, false
}

func fromActivity(ev *event.Event) (Entry, bool) {
	if ev.Operation() == "" {
		return Entry{}, false
	}
	resultType, _ := ev.Record()["resultType"].(string)
	identity, _ := ev.Record()["identity"].(map[string]any)
	claims, _ := identity["claims"].(map[string]any)
	id := ev.ResourceID()
	if properties, _ := ev.Record()["properties"].(map[string]any); properties != nil {
		if entity, _ := properties["entity"].(string); strings.EqualFold(entity, id) {
			id = entity // the same in readable case
		}
	}
	e := Entry{
		Time: ev.Time(), OperationName: ev.Operation(), ResourceID: id, Target: target(id),
		Outcome: outcome(resultType), CorrelationID: ev.CorrelationID(), what: describe(ev.Operation(), ""),
	}
	if resultType == "" {
		e.Outcome = outcome(ev.Outcome())
	}
	e.identify("", claims)
	return e.prepared(), true
}

// identify fills who did it: caller is the service's own word for it, claims
// are the token's under their full or short names.
func (e *Entry) identify(caller string, claims map[string]any) {
	claim := func(names ...string) string {
		for _, name := range names {
			if v, _ := claims[name].(string); v != "" {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	upn := claim("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn", "upn")
	unique := claim("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name", "unique_name")
	oid := claim("http://schemas.microsoft.com/identity/claims/objectidentifier", "oid")
	app := claim("appid", "azp")
	if upn != "" || unique != "" {
		app = "" // the tool of a person, shared by many
	}
	for _, name := range []string{upn, unique, caller, oid, app} {
		if name == "" {
			continue
		}
		if e.Caller == "" {
			e.Caller = name
		}
		e.Identities = append(e.Identities, strings.ToLower(name))
	}
}

// outcome gives one set of words to the export's ("Success") and the service's
// ("Succeeded").
func outcome(s string) string {
	switch strings.ToLower(s) {
	case "success", "succeeded":
		return "succeeded"
	case "failure", "failed":
		return "failed"
	case "start", "started":
		return "started"
	case "accept", "accepted":
		return "accepted"
	}
	return s
}

// fromAudit reads changes of workloads, nodes and rights that explain or
// foreshadow a deletion. Kubernetes' own controllers are left out: they follow
// orders, and there are thousands.
func fromAudit(ev *event.Event) (Entry, bool) {
	a := ev.Audit()
	// 101 is how a shell answers; 0 is a record without a response.
	done := a.Code >= 200 && a.Code <= 299 || a.Code == 101 || a.Code == 0
	if a.Stage != "ResponseComplete" || !done || controller(a.User.Name) {
		return Entry{}, false
	}
	op, ok := describeAudit(a)
	if !ok {
		return Entry{}, false
	}
	name := a.Verb + " " + strings.TrimPrefix(a.Object.APIGroup+"/"+a.Object.Resource, "/")
	if a.Object.Subresource != "" {
		name += "/" + a.Object.Subresource
	}
	e := Entry{
		Time: ev.Time(), OperationName: name, ResourceID: ev.Resource().ClusterID, Outcome: "succeeded", what: op,
		Target: strings.Trim(a.Object.Namespace+"/"+a.Object.Name, "/"), CorrelationID: a.ID,
	}
	if !a.Received.IsZero() {
		e.Time = a.Received
	}
	who := &a.User
	if a.Impersonated != nil && a.User.Name == arcProxy {
		who = a.Impersonated
	}
	e.Caller = who.Name
	e.Identities = append(e.Identities, strings.ToLower(who.Name))
	if oid := who.Extra["oid"]; len(oid) > 0 {
		e.Identities = append(e.Identities, strings.ToLower(oid[0]))
	}
	return e.prepared(), true
}

// arcProxy speaks for people; see package caller.
const arcProxy = "system:serviceaccount:azure-arc:azure-arc-kube-aad-proxy-sa"

func controller(name string) bool {
	if strings.HasPrefix(name, "system:serviceaccount:") {
		return strings.HasPrefix(name, "system:serviceaccount:kube-system:")
	}
	return strings.HasPrefix(name, "system:") || name == "aksService" || name == "hcpService"
}

// workloads own pods: changing one replaces or removes its pods.
var workloads = map[string]string{
	"deployments": "deployment", "statefulsets": "stateful set", "daemonsets": "daemon set",
	"replicasets": "replica set", "replicationcontrollers": "replication controller", "jobs": "job", "cronjobs": "cron job",
}

func describeAudit(a *event.Audit) (operation, bool) {
	o := a.Object
	verb := a.Verb
	deleted := verb == "delete" || verb == "deletecollection"
	changed := verb == "update" || verb == "patch"
	kind, owner := workloads[o.Resource]
	switch {
	case owner && o.Subresource == "scale" && changed:
		return operation{"scaled a " + kind, rollout + 2, true}, true
	case owner && o.Subresource == "" && changed:
		return operation{"changed a " + kind, rollout, true}, true
	case owner && o.Subresource == "" && deleted:
		return operation{"deleted a " + kind, rollout + 2, true}, true
	case owner && o.Subresource == "" && verb == "create":
		return operation{"created a " + kind, workload, false}, true
	case o.Resource == "nodes" && o.Subresource == "" && changed:
		return operation{"changed a node, as cordon and drain do", rollout + 1, true}, true
	case o.Resource == "nodes" && o.Subresource == "" && deleted:
		return operation{"deleted a node", rollout + 2, true}, true
	case o.Resource == "namespaces" && o.Subresource == "" && deleted:
		return operation{"deleted a namespace", rollout + 3, true}, true
	case o.Resource == "pods" && o.APIGroup == "" && o.Subresource == "eviction" && verb == "create":
		return operation{"evicted pods", workload + 1, false}, true
	case o.Resource == "pods" && o.APIGroup == "" && o.Subresource == "" && deleted:
		return operation{"deleted pods", workload + 1, false}, true
	case o.Resource == "pods" && (o.Subresource == "exec" || o.Subresource == "attach"):
		return operation{"opened a shell in a pod", privilege, false}, true
	case (o.Resource == "rolebindings" || o.Resource == "clusterrolebindings") && (changed || verb == "create"):
		return operation{"bound a Kubernetes role", privilege, false}, true
	case o.Resource == "secrets" && (verb == "get" || verb == "list"):
		return operation{"read Kubernetes secrets", credential, false}, true
	case o.Resource == "events" && deleted:
		return operation{"deleted Kubernetes events", tracks, false}, true
	}
	return operation{}, false
}

// fromService reads an Entry from one element of the Activity Log service's
// answer. ok is false for what is no operation.
func fromService(raw json.RawMessage) (e Entry, ok bool) {
	var v struct {
		Time      time.Time `json:"eventTimestamp"`
		Operation struct {
			Value     string `json:"value"`
			Localized string `json:"localizedValue"`
		} `json:"operationName"`
		Status struct {
			Value string `json:"value"`
		} `json:"status"`
		ResourceID    string          `json:"resourceId"`
		Caller        string          `json:"caller"`
		CorrelationID string          `json:"correlationId"`
		Claims        json.RawMessage `json:"claims"`
	}
	if json.Unmarshal(raw, &v) != nil || v.Operation.Value == "" || v.Time.IsZero() {
		return Entry{}, false
	}
	e = Entry{
		Time: v.Time.UTC(), OperationName: v.Operation.Value, ResourceID: v.ResourceID, Target: target(v.ResourceID),
		Outcome: outcome(v.Status.Value), CorrelationID: v.CorrelationID, what: describe(v.Operation.Value, v.Operation.Localized),
	}
	var claims map[string]any
	_ = json.Unmarshal(v.Claims, &claims) // absent, or not what it should be: the caller's name is left
	e.identify(v.Caller, claims)
	return e.prepared(), true
}
