package surroundings

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/logtest"
)

var at = time.Date(2026, 11, 9, 8, 14, 22, 0, time.UTC)

const aks = "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg-aks-prod/providers/Microsoft.ContainerService/managedClusters/aks-shop-01"

func entry(before time.Duration, operation, resource, caller, outcome, correlation string) Operation {
	return Operation{
		Time: at.Add(-before), OperationName: operation, ResourceID: resource, Outcome: outcome,
		Caller: caller, Identities: []string{caller}, CorrelationID: correlation,
		Target: target(resource), what: describe(operation, ""),
	}.prepared()
}

// place is all of a timeline before it is ranked.
func place(r Question, entries []Operation) []related { return relate(r, pick(r, entries)) }

func TestTimelineKeepsTheTelling(t *testing.T) {
	var entries []Operation
	for i := range 12 { // nearer to the deletion, but they tell little
		entries = append(entries, entry(time.Duration(i)*time.Second, fmt.Sprintf("Microsoft.X/t%d/read", i), "/x", "dana", "succeeded", ""))
	}
	telling := []string{
		"Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action",
		"Microsoft.Authorization/roleAssignments/write",
		"Microsoft.ContainerService/managedClusters/runCommand/action",
		"Microsoft.ContainerService/managedClusters/agentPools/write",
		"Microsoft.Resources/deployments/write",
	}
	for i, op := range telling {
		entries = append(entries, entry(time.Duration(20-i)*time.Minute, op, aks, "dana", "succeeded", ""))
	}
	got := timeline(place(Question{Callers: []string{"DANA "}, Time: at}, entries))
	if len(got) != 10 {
		t.Fatalf("%d entries, want 10", len(got))
	}
	for i, op := range telling { // the oldest, so they come first
		if got[i].OperationName != op {
			t.Errorf("entry %d is %q, want %q", i, got[i].OperationName, op)
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i].Time.Before(got[i-1].Time) {
			t.Errorf("entry %d is older than the one before", i)
		}
	}
	if got[5].OperationName != "Microsoft.X/t4/read" {
		t.Errorf("of equals, entry 5 is %q, want the nearest five kept", got[5].OperationName)
	}
}

func TestStagesAndRepeatsAreOneEntry(t *testing.T) {
	const op = "Microsoft.ContainerService/managedClusters/agentPools/write"
	entries := []Operation{
		entry(1*time.Minute, op, aks+"/agentPools/a", "bot", "succeeded", "c1"),
		entry(2*time.Minute, strings.ToUpper(op), strings.ToUpper(aks+"/agentPools/a"), "bot", "accepted", "c1"),
		entry(3*time.Minute, op, aks+"/agentPools/a", "bot", "started", "C1"),
		entry(4*time.Minute, op, aks+"/agentPools/b", "bot", "succeeded", "c2"),
		entry(5*time.Minute, op, aks+"/agentPools/a", "bot", "succeeded", "c3"),
		entry(6*time.Minute, op, aks+"/agentPools/a", "bot", "failed", "c4"),
		entry(7*time.Minute, op, aks+"/agentPools/a", "dana", "succeeded", "c5"),
	}
	var got []string
	for _, e := range timeline(place(Question{Cluster: aks, Time: at}, entries)) {
		got = append(got, fmt.Sprintf("%s %s on %s %s, %s before", e.Caller, e.Operation, e.Target, e.Outcome, at.Sub(e.Time)))
	}
	if diff := cmp.Diff([]string{
		"dana created, scaled or upgraded a node pool on aks-shop-01/a succeeded, 7m0s before",
		"bot created, scaled or upgraded a node pool on aks-shop-01/a failed, 6m0s before",
		"bot created, scaled or upgraded a node pool (3 times) on aks-shop-01/a and 1 more succeeded, 3m0s before",
	}, got); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}

func TestRelation(t *testing.T) {
	const group = "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/"
	const deploy, vmss = "Microsoft.Resources/deployments/write", "Microsoft.Compute/virtualMachineScaleSets/write"
	for name, tt := range map[string]struct {
		operation, resource, caller string
		want                        string
	}{
		"the cluster":                          {"x/write", strings.ToUpper(aks), "bot", "cluster"},
		"below the cluster":                    {"x/write", aks + "/agentPools/a", "bot", "cluster"},
		"the cluster by the caller":            {"x/write", aks, "dana", "both"},
		"a cluster whose name goes on":         {"x/write", aks + "-2", "bot", ""},
		"elsewhere by the caller":              {"x/write", "/elsewhere", "dana", "caller"},
		"elsewhere by another":                 {"x/write", "/elsewhere", "bot", ""},
		"by nobody known":                      {"x/write", "/elsewhere", "", ""},
		"nodes":                                {vmss, group + "MC_rg-aks-prod_aks-shop-01_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets/v", "bot", "cluster"},
		"nodes of another cluster":             {vmss, group + "MC_rg-aks-prod_aks-shop-012_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets/v", "bot", ""},
		"deployment to the resource group":     {deploy, group + "rg-aks-prod/providers/Microsoft.Resources/deployments/main", "bot", "cluster"},
		"deployment to another group":          {deploy, group + "rg-aks-prod2/providers/Microsoft.Resources/deployments/main", "bot", ""},
		"other change in the resource group":   {"Microsoft.Network/networkSecurityGroups/write", group + "rg-aks-prod/providers/Microsoft.Network/networkSecurityGroups/n", "bot", ""},
		"resource group of the cluster":        {"Microsoft.Resources/subscriptions/resourceGroups/delete", group + "rg-aks-prod", "bot", "cluster"},
		"scale set in the cluster's group":     {vmss, group + "rg-aks-prod/providers/Microsoft.Compute/virtualMachineScaleSets/v", "bot", ""},
		"role assignment lying on the cluster": {"Microsoft.Authorization/roleAssignments/write", aks + "/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555", "bot", "cluster"},
		"chaos experiment of the subscription": {"Microsoft.Chaos/experiments/start/action", group + "rg-chaos/providers/Microsoft.Chaos/experiments/e", "bot", "subscription"},
		"chaos experiment by the caller":       {"Microsoft.Chaos/experiments/start/action", group + "rg-chaos/providers/Microsoft.Chaos/experiments/e", "dana", "caller"},
		"chaos experiment of another":          {"Microsoft.Chaos/experiments/start/action", "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/g/providers/Microsoft.Chaos/experiments/e", "bot", ""},
		"update run of a fleet":                {"Microsoft.ContainerService/fleets/updateRuns/start/action", group + "rg-fleet/providers/Microsoft.ContainerService/fleets/f/updateRuns/r", "bot", "subscription"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Question{Subscription: "9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703", Cluster: aks, Callers: []string{"", "dana"}, Time: at}
			got := ""
			if all := place(r, []Operation{entry(time.Minute, tt.operation, tt.resource, tt.caller, "succeeded", "c")}); len(all) > 0 {
				got = all[0].relation
			}
			if got != tt.want {
				t.Errorf("relation %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLookbackIsExact(t *testing.T) {
	for before, want := range map[time.Duration]int{25 * time.Minute: 1, 25*time.Minute + 1: 0, 0: 1, -1: 0} {
		if got := len(place(Question{Cluster: aks, Time: at}, []Operation{entry(before, "x/write", aks, "bot", "succeeded", "c")})); got != want {
			t.Errorf("%d entries of %v before, want %d", got, before, want)
		}
	}
}

func TestItselfIsLeftOut(t *testing.T) {
	r := Question{Cluster: aks, Time: at, CorrelationID: "C", Operation: "x/pods/delete"}
	for name, tt := range map[string]struct {
		e    Operation
		want int
	}{
		"the same record":                 {entry(0, "X/PODS/DELETE", aks, "bot", "succeeded", "c"), 0},
		"an earlier stage":                {entry(time.Second, "X/PODS/DELETE", aks, "bot", "started", "c"), 0},
		"another step of the same chain":  {entry(time.Second, "x/write", aks, "bot", "succeeded", "c"), 1},
		"the same operation, other chain": {entry(time.Second, "X/PODS/DELETE", aks, "bot", "succeeded", "d"), 1},
	} {
		if got := len(place(r, []Operation{tt.e})); got != tt.want {
			t.Errorf("%s: %d entries, want %d", name, got, tt.want)
		}
	}
	r.CorrelationID = ""
	for name, tt := range map[string]struct {
		e    Operation
		want int
	}{
		"the same record, both without an id": {entry(0, "X/PODS/DELETE", aks, "bot", "succeeded", ""), 0},
		"a moment earlier, without an id":     {entry(time.Second, "X/PODS/DELETE", aks, "bot", "succeeded", ""), 1},
		"the same moment, but another chain":  {entry(0, "X/PODS/DELETE", aks, "bot", "succeeded", "c"), 1},
	} {
		if got := len(place(r, []Operation{tt.e})); got != tt.want {
			t.Errorf("%s: %d entries, want %d", name, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	const scale, deploy = "Microsoft.ContainerService/managedClusters/agentPools/write", "Microsoft.Resources/deployments/write"
	group := strings.TrimSuffix(aks, "/providers/Microsoft.ContainerService/managedClusters/aks-shop-01")
	for name, tt := range map[string]struct {
		entries []Operation
		want    string
	}{
		"nothing":                                   {nil, ""},
		"a credential explains nothing":             {[]Operation{entry(time.Minute, "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action", aks, "dana", "succeeded", "c")}, ""},
		"a failed operation explains nothing":       {[]Operation{entry(time.Minute, scale, aks+"/agentPools/a", "bot", "failed", "c")}, ""},
		"the caller's deployment elsewhere neither": {[]Operation{entry(time.Minute, deploy, "/elsewhere", "dana", "succeeded", "c")}, ""},
		"an operation under way": {[]Operation{entry(90*time.Second, scale, aks+"/agentPools/a", "bot", "started", "c")},
			"May be explained by what happened 2 minutes before: bot created, scaled or upgraded a node pool (aks-shop-01/a)"},
		"the latest of two": {[]Operation{
			entry(20*time.Second, deploy, group+"/providers/Microsoft.Resources/deployments/main", "dana", "succeeded", "c"),
			entry(time.Minute, scale, aks+"/agentPools/a", "bot", "succeeded", "d")},
			"May be explained by what happened 20 seconds before: the same caller deployed resources (main)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Question{Cluster: aks, Callers: []string{"dana"}, Time: at}
			if got := explain(r, place(r, tt.entries)); got != tt.want {
				t.Errorf("explain gives %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	for name, want := range map[string]string{
		"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/RUNCOMMAND/ACTION": "ran a command inside the cluster (command invoke)",
		"Microsoft.Storage/storageAccounts/listKeys/action":            "called list keys on storage accounts (Microsoft.Storage)",
		"MICROSOFT.STORAGE/STORAGEACCOUNTS/WRITE":                      "created or changed storageaccounts (microsoft.storage)",
		"Microsoft.Sql/servers/databases/delete":                       "deleted servers databases (Microsoft.Sql)",
		"Microsoft.X/action":                                           "acted on microsoft.x",
		"Microsoft.X/y/read":                                           "read y (Microsoft.X)",
		"Microsoft.X/y/frobnicate":                                     "did frobnicate on y (Microsoft.X)",
		"Sign-in activity":                                             "Sign-in activity",
		"//":                                                           "//",
	} {
		if got := describe(name, "").words; got != want {
			t.Errorf("describe(%q) = %q, want %q", name, got, want)
		}
	}
	if got := describe("Microsoft.Storage/storageAccounts/listKeys/action", "List Storage Account Keys").words; got != "List Storage Account Keys" {
		t.Errorf("the service's own words give way to %q", got)
	}
	for name := range operations {
		if name != strings.ToLower(name) {
			t.Errorf("operation %q can never be found: it is not in lower case", name)
		}
	}
}

func TestTarget(t *testing.T) {
	const sub = "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703"
	for id, want := range map[string]string{
		aks:                      "aks-shop-01",
		aks + "/agentPools/pool": "aks-shop-01/pool",
		strings.ToUpper(aks):     "AKS-SHOP-01",
		aks + "/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555": "aks-shop-01",
		aks + "/providers/Microsoft.Insights/diagnosticSettings/export":                                 "aks-shop-01",
		aks + "/providers/Microsoft.KubernetesConfiguration/fluxConfigurations/apps":                    "apps",
		sub + "/resourceGroups/rg-1": "resource group rg-1",
		sub + "/resourcegroups/rg-1/providers/Microsoft.Authorization/roleAssignments/1": "resource group rg-1",
		sub: "subscription 9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703",
		sub + "/providers/Microsoft.Authorization/roleAssignments/1": "subscription 9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703",
		"/providers/Microsoft.Authorization/roleAssignments/1":       "1",
		"/providers/":      "providers",
		"\x8f/providers/0": "\x8f/providers/0", // a byte that grows when put in lower case
		"[x](http://evil)": "[x](http://evil)",
		"":                 "",
	} {
		if got := target(id); got != want {
			t.Errorf("target(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestFromAudit(t *testing.T) {
	dana := event.AuditUser{Name: "Dana@example.com", Extra: map[string][]string{"oid": {"C0A2D6F4-15be-4b39-9d57-08f1e7a4b6d2"}}}
	deployments := event.ObjectRef{Resource: "deployments", APIGroup: "apps", Namespace: "shop", Name: "cart"}
	scale := deployments
	scale.Subresource = "scale"
	for name, tt := range map[string]struct {
		audit event.KubeAudit
		want  string // "" when it has no place in a timeline
	}{
		"scale":                      {event.KubeAudit{Verb: "patch", Code: 200, User: dana, Object: scale}, "Dana@example.com scaled a deployment: shop/cart (patch apps/deployments/scale)"},
		"rollout":                    {event.KubeAudit{Verb: "patch", Code: 200, User: dana, Object: deployments}, "Dana@example.com changed a deployment: shop/cart (patch apps/deployments)"},
		"status is no change":        {event.KubeAudit{Verb: "patch", Code: 200, User: dana, Object: event.ObjectRef{Resource: "deployments", Subresource: "status"}}, ""},
		"refused":                    {event.KubeAudit{Verb: "patch", Code: 403, User: dana, Object: scale}, ""},
		"read":                       {event.KubeAudit{Verb: "get", Code: 200, User: dana, Object: deployments}, ""},
		"cordon":                     {event.KubeAudit{Verb: "patch", Code: 200, User: dana, Object: event.ObjectRef{Resource: "nodes", Name: "n1"}}, "Dana@example.com changed a node, as cordon and drain do: n1 (patch nodes)"},
		"namespace":                  {event.KubeAudit{Verb: "delete", Code: 200, User: dana, Object: event.ObjectRef{Resource: "namespaces", Name: "shop"}}, "Dana@example.com deleted a namespace: shop (delete namespaces)"},
		"bulk":                       {event.KubeAudit{Verb: "deletecollection", Code: 200, User: dana, Object: event.ObjectRef{Resource: "pods", Namespace: "shop"}}, "Dana@example.com deleted pods: shop (deletecollection pods)"},
		"pods of another API group":  {event.KubeAudit{Verb: "delete", Code: 200, User: dana, Object: event.ObjectRef{Resource: "pods", APIGroup: "metrics.k8s.io"}}, ""},
		"shell":                      {event.KubeAudit{Verb: "create", Code: 101, User: dana, Object: event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "p"}}, "Dana@example.com opened a shell in a pod: shop/p (create pods/exec)"},
		"shell that was refused":     {event.KubeAudit{Verb: "create", Code: 403, User: dana, Object: event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "p"}}, ""},
		"controllers follow orders":  {event.KubeAudit{Verb: "patch", Code: 200, User: event.AuditUser{Name: "system:serviceaccount:kube-system:deployment-controller"}, Object: deployments}, ""},
		"a workload's own account":   {event.KubeAudit{Verb: "patch", Code: 200, User: event.AuditUser{Name: "system:serviceaccount:argocd:app"}, Object: deployments}, "system:serviceaccount:argocd:app changed a deployment: shop/cart (patch apps/deployments)"},
		"a person through the proxy": {event.KubeAudit{Verb: "patch", Code: 200, User: event.AuditUser{Name: "system:serviceaccount:azure-arc:azure-arc-kube-aad-proxy-sa"}, Impersonated: &dana, Object: scale}, "Dana@example.com scaled a deployment: shop/cart (patch apps/deployments/scale)"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.audit.Stage = "ResponseComplete"
			ev, err := event.Read(logtest.AuditRecord(aks, at, tt.audit), 0)
			if err != nil {
				t.Fatal(err)
			}
			e, ok := FromEvent(ev)
			got := ""
			if ok {
				got = fmt.Sprintf("%s %s: %s (%s)", e.Caller, e.what.words, e.Target, e.OperationName)
			}
			if got != tt.want {
				t.Errorf("FromEvent gives %q, want %q", got, tt.want)
			}
			if ok && strings.HasPrefix(got, "Dana") {
				if diff := cmp.Diff([]string{"dana@example.com", "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2"}, e.Identities); diff != "" {
					t.Errorf("identities (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func FuzzWords(f *testing.F) {
	f.Add("MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", aks)
	f.Add("//", "/providers//providers/Microsoft.Insights/")
	f.Add("a/b", aks+"/providers/Microsoft.Authorization/roleAssignments/1")
	f.Fuzz(func(t *testing.T, name, id string) {
		if words := describe(name, "").words; name != "" && words == "" {
			t.Errorf("describe(%q) says nothing", name)
		}
		if got := target(id); len(got) > len(id)+len("resource group ") {
			t.Errorf("target(%q) = %q", id, got)
		}
	})
}

// BenchmarkLook is the worst batch: every event slot full, many alerts, none of
// it a call.
func BenchmarkLook(b *testing.B) {
	var batch []Operation
	for i := range 2000 {
		batch = append(batch, entry(time.Duration(i)*500*time.Millisecond, "Microsoft.Storage/storageAccounts/write", fmt.Sprintf("/subscriptions/s/resourceGroups/g%d", i), "dana", "succeeded", fmt.Sprint(i)))
	}
	for _, n := range []int{1, 100} {
		requests := make([]Question, n)
		for i := range requests {
			requests[i] = Question{Cluster: aks, Callers: []string{"dana"}, Time: at}
		}
		b.Run(fmt.Sprintf("alerts=%d", n), func(b *testing.B) {
			s := new(Surroundings)
			for b.Loop() {
				s.Look(b.Context(), requests, batch)
			}
		})
	}
}
