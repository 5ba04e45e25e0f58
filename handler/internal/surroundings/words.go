package surroundings

import (
	"cmp"
	"strings"
	"unicode"

	"podwatch/handler/internal/arm"
)

// A description is what the timeline knows of one kind of change.
type description struct {
	words  string // past tense, the caller is the subject
	weight int    // how relevant it is to a deletion; see the weights below

	// explains marks deployments, scaling and node work: pods are deleted or
	// evicted in their course.
	explains bool
}

// Weights order a timeline that is too long to show. They matter only against
// each other.
const (
	credential = 100 // a credential left the service
	privilege  = 90  // rights were given, or code was run on the cluster
	tracks     = 85  // logs were switched off or removed
	rollout    = 75  // something was deployed, scaled, upgraded
	removal    = 70
	workload   = 50 // pods, volumes, namespaces
	nearby     = 40 // around the cluster
	write      = 30 // any other change
	action     = 20
	reading    = 5
)

// operations are keyed by lower-case operation name. An operation that is not
// here is put in words by fallback.
var operations = map[string]description{
	// Credentials.
	"microsoft.containerservice/managedclusters/listclusteradmincredential/action":          {"pulled the cluster admin credential", credential, false},
	"microsoft.containerservice/managedclusters/listclusterusercredential/action":           {"pulled a cluster user credential", credential, false},
	"microsoft.containerservice/managedclusters/listclustermonitoringusercredential/action": {"pulled the cluster monitoring credential", credential, false},
	"microsoft.containerservice/managedclusters/accessprofiles/listcredential/action":       {"pulled a cluster credential by access profile", credential, false},
	"microsoft.kubernetes/connectedclusters/listclusterusercredential/action":               {"opened a session to the cluster through Arc", credential, false},
	"microsoft.kubernetes/connectedclusters/listclusterusercredentials/action":              {"opened a session to the cluster through Arc", credential, false},
	"microsoft.kubernetes/connectedclusters/secrets/read":                                   {"read Kubernetes secrets", credential, false},
	"microsoft.containerregistry/registries/listcredentials/action":                         {"pulled container registry credentials", credential, false},

	// Rights.
	"microsoft.authorization/roleassignments/write":                                              {"granted a role", privilege, false},
	"microsoft.authorization/roleassignments/delete":                                             {"took a role away", privilege - 1, false},
	"microsoft.authorization/elevateaccess/action":                                               {"took over access management of the whole tenant", privilege, false},
	"microsoft.kubernetes/connectedclusters/rbac.authorization.k8s.io/rolebindings/write":        {"bound a Kubernetes role", privilege, false},
	"microsoft.kubernetes/connectedclusters/rbac.authorization.k8s.io/clusterrolebindings/write": {"bound a Kubernetes cluster role", privilege, false},
	"microsoft.containerservice/managedclusters/resetaadprofile/action":                          {"reset the cluster's Entra settings", privilege, false},
	"microsoft.containerservice/managedclusters/rotateclustercertificates/action":                {"rotated the cluster's certificates", rollout, true},
	"microsoft.managedidentity/userassignedidentities/assign/action":                             {"assigned a managed identity", privilege - 1, false},
	"microsoft.managedidentity/userassignedidentities/federatedidentitycredentials/write":        {"let an outside token act as a managed identity", privilege, false},
	"microsoft.keyvault/vaults/accesspolicies/write":                                             {"changed who may read a key vault", privilege - 1, false},

	// Commands.
	"microsoft.containerservice/managedclusters/runcommand/action":                {"ran a command inside the cluster (command invoke)", privilege, false},
	"microsoft.containerservice/managedclusters/commandresults/read":              {"read the result of a command run inside the cluster", workload, false},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/runcommand/action": {"ran a command on a node", privilege, false},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/runcommands/write": {"ran a command on a node", privilege, false},
	"microsoft.compute/virtualmachines/runcommand/action":                         {"ran a command on a virtual machine", privilege, false},
	"microsoft.kubernetes/connectedclusters/pods/exec/action":                     {"opened a shell in a pod", privilege, false},

	// Covering tracks.
	"microsoft.kubernetes/connectedclusters/events.k8s.io/events/delete": {"deleted Kubernetes events", tracks, false},
	"microsoft.kubernetes/connectedclusters/events/delete":               {"deleted Kubernetes events", tracks, false},
	"microsoft.insights/diagnosticsettings/delete":                       {"switched log export off", tracks, false},
	"microsoft.insights/diagnosticsettings/write":                        {"changed log export", tracks - 1, false},

	// Deployments, scaling, upgrades.
	"microsoft.resources/deployments/write":                                                {"deployed resources", rollout, true},
	"microsoft.containerservice/managedclusters/agentpools/write":                          {"created, scaled or upgraded a node pool", rollout + 2, true},
	"microsoft.containerservice/managedclusters/agentpools/delete":                         {"deleted a node pool", rollout + 2, true},
	"microsoft.containerservice/managedclusters/agentpools/upgradenodeimageversion/action": {"upgraded the node image of a node pool", rollout + 2, true},
	"microsoft.containerservice/managedclusters/agentpools/deletemachines/action":          {"deleted nodes of a node pool", rollout + 2, true},
	"microsoft.containerservice/managedclusters/write":                                     {"created, scaled or upgraded the cluster", rollout + 2, true},
	"microsoft.containerservice/managedclusters/delete":                                    {"deleted the cluster", rollout + 3, true},
	"microsoft.containerservice/managedclusters/start/action":                              {"started the cluster", rollout, true},
	"microsoft.containerservice/managedclusters/stop/action":                               {"stopped the cluster", rollout + 2, true},
	"microsoft.containerservice/managedclusters/abort/action":                              {"aborted the cluster's last operation", rollout - 1, false},
	"microsoft.containerservice/managedclusters/maintenanceconfigurations/write":           {"planned maintenance of the cluster", rollout - 1, true},
	"microsoft.kubernetes/connectedclusters/write":                                         {"connected or changed the cluster in Arc", rollout - 1, false},
	"microsoft.kubernetes/connectedclusters/delete":                                        {"disconnected the cluster from Arc", removal, false},
	"microsoft.kubernetesconfiguration/extensions/write":                                   {"installed or changed a cluster extension", rollout, true},
	"microsoft.kubernetesconfiguration/extensions/delete":                                  {"removed a cluster extension", rollout, true},
	"microsoft.kubernetesconfiguration/fluxconfigurations/write":                           {"changed what GitOps deploys", rollout + 1, true},
	"microsoft.kubernetesconfiguration/fluxconfigurations/delete":                          {"removed a GitOps configuration", rollout + 1, true},
	"microsoft.compute/virtualmachinescalesets/write":                                      {"scaled or changed a scale set of nodes", rollout + 1, true},
	"microsoft.compute/virtualmachinescalesets/delete":                                     {"deleted a scale set of nodes", rollout + 1, true},
	"microsoft.compute/virtualmachinescalesets/deallocate/action":                          {"deallocated nodes", rollout + 1, true},
	"microsoft.compute/virtualmachinescalesets/restart/action":                             {"restarted nodes", rollout + 1, true},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/delete":                     {"deleted a node's virtual machine", rollout, true},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/deallocate/action":          {"deallocated a node", rollout, true},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/restart/action":             {"restarted a node", rollout, true},
	"microsoft.chaos/experiments/start/action":                                             {"started a chaos experiment", rollout, true},
	"microsoft.containerservice/fleets/updateruns/start/action":                            {"started an update run of a fleet", rollout, true},
	"microsoft.resources/subscriptions/resourcegroups/delete":                              {"deleted a resource group", removal, true},

	// Workloads, and what lies around the cluster.
	"microsoft.kubernetes/connectedclusters/pods/write":  {"created or changed pods", workload, false},
	"microsoft.kubernetes/connectedclusters/pods/delete": {"deleted pods", workload + 1, false},
	"microsoft.network/networksecuritygroups/write":      {"changed a network security group", nearby, false},
}

// describe finds an operation by its name, in any case; said is what the
// service itself calls it, "" when it has none.
func describe(name, said string) description {
	if op, ok := operations[strings.ToLower(name)]; ok {
		return op
	}
	op := fallback(name)
	if said = strings.TrimSpace(said); said != "" && !strings.EqualFold(said, name) {
		op.words = said
	}
	return op
}

// fallback reads the words out of "Microsoft.X/y/z/action": a verb and what it
// was done to. Exported names are often all capitals and then stay unseparated.
func fallback(name string) description {
	parts := strings.Split(strings.Trim(name, "/"), "/")
	if len(parts) < 2 {
		return description{words: name, weight: action}
	}
	provider := parts[0]
	verb := strings.ToLower(parts[len(parts)-1])
	object := parts[1 : len(parts)-1]
	op := description{weight: action}
	switch verb {
	case "read":
		op.words, op.weight = "read", reading
	case "write":
		op.words, op.weight = "created or changed", write
	case "delete":
		op.words, op.weight = "deleted", write+1
	case "action":
		if len(object) > 0 {
			op.words, object = "called "+spaced(object[len(object)-1])+" on", object[:len(object)-1]
		} else {
			op.words = "acted on"
		}
	default:
		op.words = "did " + spaced(verb) + " on"
	}
	if len(object) == 0 {
		object = []string{provider}
	}
	for i, o := range object {
		object[i] = spaced(o)
	}
	op.words += " " + strings.Join(object, " ")
	if provider != "" && !strings.EqualFold(object[0], provider) {
		op.words += " (" + tame(provider) + ")"
	}
	return op
}

// spaced separates camel case: "listClusterUserCredential" is "list cluster
// user credential". Text in capitals comes out in lower case.
func spaced(s string) string {
	if s == strings.ToUpper(s) {
		return strings.ToLower(s)
	}
	var b strings.Builder
	var before rune
	for _, r := range s {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
		before = r
	}
	return b.String()
}

// tame writes a name in capitals in lower case.
func tame(s string) string {
	if s == strings.ToUpper(s) {
		return strings.ToLower(s)
	}
	return s
}

// target names what an operation was done to, by its resource id: the names
// without their types. Where the id is that of a role assignment or another
// extension, whose name is a GUID, it names what the extension lies on.
func target(id string) string {
	var subscription, group, provider string
	var names []string
	for p := range arm.Pairs(id) {
		switch isProvider := strings.EqualFold(p.Key, "providers"); {
		case isProvider && subscription+provider != "" && extension(p.Value):
			return describeTarget(subscription, group, provider, names)
		case isProvider:
			provider, names = p.Value, nil
		case provider != "":
			names = append(names, p.Value)
		case strings.EqualFold(p.Key, "subscriptions"):
			subscription = p.Value
		case strings.EqualFold(p.Key, "resourceGroups"):
			group = p.Value
		}
	}
	return cmp.Or(describeTarget(subscription, group, provider, names), strings.Trim(id, "/"))
}

func describeTarget(subscription, group, provider string, names []string) string {
	switch {
	case len(names) > 0:
		return strings.Trim(strings.Join(names, "/"), "/")
	case provider != "":
		return provider
	case group != "":
		return "resource group " + group
	case subscription != "":
		return "subscription " + subscription
	}
	return ""
}

// extension reports that resources of this provider lie on others.
func extension(provider string) bool {
	return strings.EqualFold(provider, "Microsoft.Authorization") || strings.EqualFold(provider, "Microsoft.Insights")
}
