package deployment

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
)

// A setting is a diagnostic setting: an exporter of logs.
type setting struct {
	Name       string
	Properties struct {
		EventHubAuthorizationRuleID string
		EventHubName                string
		Logs                        []struct {
			Category, CategoryGroup string
			Enabled                 bool
		}
	}
}

// exports reports whether the setting exports a category.
func (s setting) exports(category string) bool {
	for _, l := range s.Properties.Logs {
		if l.Enabled && (strings.EqualFold(l.Category, category) || strings.EqualFold(l.CategoryGroup, "allLogs")) {
			return true
		}
	}
	return false
}

// maxSettings is how many diagnostic settings a resource or a subscription can have.
const maxSettings = 5

// A Cluster is one that exports its audit log, as the template's parameter names it.
type Cluster struct{ Kind, Name, ResourceGroup, SubscriptionID string }

func (c Cluster) id(subscription string) string {
	if c.SubscriptionID != "" {
		subscription = c.SubscriptionID
	}
	kind := "Microsoft.ContainerService/managedClusters"
	if c.Kind == "arc" {
		kind = "Microsoft.Kubernetes/connectedClusters"
	}
	return "/subscriptions/" + subscription + "/resourceGroups/" + c.ResourceGroup + "/providers/" + kind + "/" + c.Name
}

// apiOfCluster is the API version of a cluster of either kind.
func apiOfCluster(id string) string {
	if c, ok := arm.Parse(id); ok && c.Is("Microsoft.Kubernetes", "connectedClusters") {
		return apiConnected
	}
	return apiClusters
}

// settingsOf lists the diagnostic settings of a resource or subscription.
func settingsOf(ctx context.Context, c *azure.Client, id string) ([]setting, error) {
	list, err := azure.List[setting](ctx, c, id+"/providers/Microsoft.Insights/diagnosticSettings", apiInsights, nil)
	if err != nil {
		return nil, fmt.Errorf("list the diagnostic settings of %s: %w", arm.Name(id), err)
	}
	return list, nil
}

// clusters returns the ids of the clusters that may export: the managed clusters of the
// subscription, those of the latest deployment's parameters, and the named ones.
func clusters(ctx context.Context, c *azure.Client, t Target, name string, named []string) (found []Resource, err error) {
	found, err = azure.List[Resource](ctx, c, t.scope()+"/providers/Microsoft.ContainerService/managedClusters", apiClusters, nil)
	if err != nil {
		return nil, fmt.Errorf("list the clusters of the subscription: %w", err)
	}
	ids := slices.Clone(named)
	if r, err := readRecord(ctx, c, t, name); err != nil {
		return nil, err
	} else if r != nil {
		for _, p := range r.Properties.Parameters.Clusters.Value {
			ids = append(ids, p.id(t.Subscription))
		}
	}
	for _, id := range ids {
		found = append(found, Resource{ID: id, Name: arm.Name(id)})
	}
	// The first of each id stays: one that Azure listed has its location.
	slices.SortStableFunc(found, func(a, b Resource) int { return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID)) })
	return slices.CompactFunc(found, func(a, b Resource) bool { return strings.EqualFold(a.ID, b.ID) }), nil
}

// ours reports whether a setting exports to a namespace of the resource group.
func (d *Deployment) ours(s setting) bool {
	return below(s.Properties.EventHubAuthorizationRuleID, d.GroupID)
}

// checkExporters looks for what exports to the hub.
func (v *visit) checkExporters(ctx context.Context) Finding {
	own, err := settingsOf(ctx, v.c, v.scope())
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	settings, err := v.Settings(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	name := settings["EVENT_HUB_NAME"]
	elsewhere := func(s setting) Finding {
		return failed("let its event hub be "+name, "the setting %s exports to the event hub %s, and the app reads %s", s.Name, s.Properties.EventHubName, name)
	}
	exporting, without := []string{}, []string{}
	if i := slices.IndexFunc(own, v.ours); i >= 0 {
		if own[i].Properties.EventHubName != name {
			return elsewhere(own[i])
		}
		if !own[i].exports("Administrative") {
			return failed("enable the category Administrative in the setting "+own[i].Name, "the subscription's setting does not export deletions")
		}
		exporting = append(exporting, "the activity log")
	}
	all, err := clusters(ctx, v.c, v.Target, v.name(), v.Clusters)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	for _, c := range all {
		list, err := settingsOf(ctx, v.c, c.ID)
		if err != nil {
			return v.problem(azure.Anywhere, err)
		}
		wanted := c.Location == "" // of the parameters or the command line
		switch i := slices.IndexFunc(list, v.ours); {
		case i >= 0 && list[i].Properties.EventHubName != name:
			return elsewhere(list[i])
		case i >= 0 && !list[i].exports("kube-audit-admin") && !list[i].exports("kube-audit"):
			return failed("enable kube-audit-admin in its setting "+list[i].Name, "cluster %s exports no audit log", c.Name)
		case i >= 0:
			exporting = append(exporting, "cluster "+c.Name)
		case len(list) >= maxSettings && (wanted || SameRegion(c.Location, v.Location)):
			without = append(without, c.Name+" (its five diagnostic settings are used up)")
		case wanted || SameRegion(c.Location, v.Location):
			without = append(without, c.Name)
		}
	}
	if len(exporting) == 0 {
		return failed("deploy with exportActivityLog or clusters, unless a management group exports to this hub", "nothing of this subscription exports to the hub")
	}
	f := ok("%s", strings.Join(exporting, ", "))
	if len(without) > 0 {
		f.Says += "; clusters of the region that do not export: " + strings.Join(without, ", ")
	}
	return f
}
