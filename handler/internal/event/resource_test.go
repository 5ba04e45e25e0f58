package event_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

func TestResource(t *testing.T) {
	const sub = "9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703"
	const arc = "/subscriptions/" + sub + "/resourceGroups/rg/providers/Microsoft.Kubernetes/connectedClusters/plant"
	cluster := event.Resource{
		SubscriptionID: sub, ResourceGroup: "rg", Provider: "Microsoft.Kubernetes",
		ClusterID: arc, ClusterKey: strings.ToLower(arc), ClusterName: "plant", ClusterKind: event.Arc,
	}
	fleet := event.Resource{
		SubscriptionID: sub, ResourceGroup: "rg", Provider: "Microsoft.ContainerService", Type: "fleets", Name: "hub",
		ClusterID: "/subscriptions/" + sub + "/resourceGroups/rg/providers/Microsoft.ContainerService/fleets/hub", ClusterName: "hub", ClusterKind: event.Fleet,
	}
	fleet.ClusterKey = strings.ToLower(fleet.ClusterID)
	with := func(typ, name, namespace, pod string) event.Resource {
		r := cluster
		r.Type, r.Name, r.Namespace, r.Pod = typ, name, namespace, pod
		return r
	}
	for _, c := range []struct {
		name, id, entity, scope string
		want                    event.Resource
	}{
		{"cluster", arc, "", "", with("connectedClusters", "plant", "", "")},
		{"fleet", fleet.ClusterID, "", "", fleet},
		{"trailing slash", arc + "/", "", "", with("connectedClusters", "plant", "", "")},
		{"pod", arc + "/namespaces/ns/pods/p", "", "", with("connectedClusters/namespaces/pods", "p", "ns", "p")},
		{"namespace", arc + "/namespaces/ns", "", "", with("connectedClusters/namespaces", "ns", "ns", "")},
		{"pod without namespace", arc + "/pods/p", "", "", with("connectedClusters/pods", "p", "", "p")},
		{"kind without name", arc + "/pods", "", "", with("connectedClusters/pods", "plant", "", "")},
		{"spelling of the entity", strings.ToUpper(arc + "/namespaces/ns/pods/p"), arc + "/namespaces/ns/pods/p", "", with("connectedClusters/namespaces/pods", "p", "ns", "p")},
		{"entity goes further", strings.ToUpper(arc), arc + "/namespaces/ns/pods/p", "", with("connectedClusters/namespaces/pods", "p", "ns", "p")},
		{"entity stops earlier", strings.ToUpper(arc) + "/namespaces/ns/pods/p", arc, "", with("connectedClusters/namespaces/pods", "p", "ns", "p")},
		{"another entity is not believed", arc, "/subscriptions/x/resourceGroups/y", "", with("connectedClusters", "plant", "", "")},
		{"a longer name is another cluster", arc, arc + "-2/namespaces/ns", "", with("connectedClusters", "plant", "", "")},
		{"entity alone", "", arc, "", with("connectedClusters", "plant", "", "")},
		{"spelling of the scope", strings.ToUpper(arc), "", arc, with("connectedClusters", "plant", "", "")},
		{"namespace of the scope", arc, arc, arc + "/namespaces/ns", with("connectedClusters", "plant", "ns", "")},
		{"scope above the cluster", arc, "", "/subscriptions/" + sub, with("connectedClusters", "plant", "", "")},
		{"AKS", "/subscriptions/s/resourcegroups/rg/providers/Microsoft.ContainerService/managedClusters/c/agentPools/a", "", "", event.Resource{
			SubscriptionID: "s", ResourceGroup: "rg", Provider: "Microsoft.ContainerService", Type: "managedClusters/agentPools", Name: "a",
			ClusterID: "/subscriptions/s/resourcegroups/rg/providers/Microsoft.ContainerService/managedClusters/c", ClusterKind: event.AKS, ClusterName: "c",
			ClusterKey: "/subscriptions/s/resourcegroups/rg/providers/microsoft.containerservice/managedclusters/c",
		}},
		{"Service Fabric has managed clusters too", "/subscriptions/s/providers/Microsoft.ServiceFabric/managedClusters/c", "", "", event.Resource{
			SubscriptionID: "s", Provider: "Microsoft.ServiceFabric", Type: "managedClusters", Name: "c",
		}},
		{"namespaces of Event Hubs", "/subscriptions/s/resourceGroups/g/providers/Microsoft.EventHub/namespaces/n", "", "", event.Resource{
			SubscriptionID: "s", ResourceGroup: "g", Provider: "Microsoft.EventHub", Type: "namespaces", Name: "n",
		}},
		{"extension", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v/providers/Microsoft.Insights/diagnosticSettings/d", "", "", event.Resource{
			SubscriptionID: "s", ResourceGroup: "g", Provider: "Microsoft.Insights", Type: "diagnosticSettings", Name: "d",
		}},
		{"subscription", "/subscriptions/s", "", "", event.Resource{SubscriptionID: "s"}},
		{"tenant", "/TeNaNtS/t/PROVIDERS/Microsoft.aadiam", "", "", event.Resource{Provider: "Microsoft.aadiam"}},
		{"nothing", "", "", "", event.Resource{}},
		{"slashes", strings.Repeat("/", 100_000), "", "", event.Resource{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, activity(t, map[string]any{
				"resourceId": c.id, "properties": map[string]any{"entity": c.entity},
				"identity": map[string]any{"authorization": map[string]any{"scope": c.scope}},
			}))
			if diff := cmp.Diff(c.want, ev.Resource()); diff != "" {
				t.Errorf("resource (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResourceFields(t *testing.T) {
	const sub = "9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703"
	for _, c := range []struct {
		name, id     string
		subscription any
		want         map[string]any
	}{
		{"capitals", "/SUBSCRIPTIONS/" + sub + "/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/C/NAMESPACES/X/PODS/Y", sub, map[string]any{
			"group": "RG", "provider": "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS", "name": "C/NAMESPACES/X/PODS/Y",
		}},
		{"as declared", "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm", "s", map[string]any{
			"group": "rg", "provider": "Microsoft.Compute/virtualMachines", "name": "vm",
		}},
		{"mixed", "/Subscriptions/s/resourceGROUPS/rg/PROVIDERS/Microsoft.Compute/virtualMachines/vm", "s", map[string]any{
			"group": "rg", "provider": "Microsoft.Compute/virtualMachines", "name": "vm",
		}},
		{"authorization rule", "/subscriptions/s/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/n/authorizationRules/r", "s", map[string]any{
			"group": "rg", "provider": "Microsoft.EventHub", "namespace": "n", "authorization_rule": "r",
		}},
		{"subscription level", "/subscriptions/s/providers/Microsoft.Security/alertsSuppressionRules/x", "s", map[string]any{
			"provider": "Microsoft.Security/alertsSuppressionRules", "name": "x",
		}},
		{"group", "/subscriptions/s/resourceGroups/rg", "s", map[string]any{"group": "rg"}},
		{"tenant", "/tenants/t/providers/Microsoft.aadiam", nil, map[string]any{"provider": "Microsoft.aadiam"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, activity(t, map[string]any{"resourceId": c.id}))
			c.want["id"] = c.id
			if diff := cmp.Diff(c.want, at(fields(ev), "azure.resource")); diff != "" {
				t.Errorf("azure.resource (-want +got):\n%s", diff)
			}
			if got := at(fields(ev), "azure.subscription_id"); got != c.subscription {
				t.Errorf("azure.subscription_id %v, want %v", got, c.subscription)
			}
		})
	}
}
