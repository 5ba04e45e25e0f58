package deployment

import (
	"slices"
	"strings"
	"testing"

	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
)

// rest is what a subscription has that is not podwatch's.
func rest(w *world) []string {
	ids := w.IDs("/subscriptions/" + azuretest.Subscription + "/")
	return slices.DeleteFunc(ids, func(id string) bool { return id == azuretest.Cluster || strings.Contains(id, "/deletedVaults/") })
}

func (w *world) destroy(t *testing.T, o DestroyOptions) (lines []string, err error) {
	t.Helper()
	o.Report = func(text string) { lines = append(lines, text) }
	err = Destroy(t.Context(), w.c, Target{Subscription: azuretest.Subscription}, o)
	return lines, err
}

func TestDestroy(t *testing.T) {
	t.Parallel()
	const (
		foreign = "/subscriptions/" + azuretest.Subscription + "/providers/Microsoft.Insights/diagnosticSettings/other"
		outside = "/subscriptions/" + azuretest.Subscription + "/providers/Microsoft.Authorization/roleAssignments/reader"
	)
	for name, c := range map[string]struct {
		azure func(w *world)
		o     DestroyOptions
		want  string   // part of a line that reports what is left; "": all is gone
		left  []string // parts of ids that are left
	}{
		"everything": {},
		"after a failed first deployment": {azure: func(w *world) {
			w.Change(azuretest.Record, "provisioningState", "Failed")
			w.Remove(azuretest.App)
			w.Remove(azuretest.Workspace)
		}},
		"the record was purged":      {azure: func(w *world) { w.Remove(azuretest.Record) }},
		"the identity is gone":       {azure: func(w *world) { w.Remove(azuretest.Identity); w.Remove(outside) }},
		"the activity log is denied": {func(w *world) { w.Fail(-1, "DELETE", "^/subscriptions/[^/]+/providers/Microsoft.Insights", 403, "") }, DestroyOptions{}, "FAILED   remove diagnostic setting podwatch-token of the subscription", []string{azuretest.Setting}},
		"settings may not be read":   {func(w *world) { w.Fail(-1, "GET", "aks-shop/providers/Microsoft.Insights", 403, "") }, DestroyOptions{}, "FAILED   look for the diagnostic setting of cluster aks-shop", []string{azuretest.Cluster}},
		"roles may not be listed":    {func(w *world) { w.Fail(-1, "GET", "roleAssignments$", 403, "") }, DestroyOptions{}, "FAILED   find the roles", []string{outside}},
		"the group is locked": {func(w *world) {
			w.Fail(-1, "DELETE", "resourceGroups/rg-podwatch-westeurope$", 409, `{"error":{"code":"ScopeLocked","message":"locked"}}`)
		}, DestroyOptions{}, "a lock forbids it: remove the lock", []string{azuretest.Group}},
		"a mistyped cluster":                {nil, DestroyOptions{Clusters: []string{azuretest.Cluster + "x"}}, "FAILED   look at cluster " + azuretest.Cluster + "x", nil},
		"the clusters may not be listed":    {func(w *world) { w.Fail(-1, "GET", "managedClusters$", 403, "") }, DestroyOptions{}, "FAILED   find the clusters", []string{azuretest.Cluster}},
		"they are not listed but named":     {func(w *world) { w.Fail(-1, "GET", "managedClusters$", 403, "") }, DestroyOptions{Clusters: []string{azuretest.Cluster}}, "FAILED   find the clusters", nil},
		"only the exporters":                {nil, DestroyOptions{Exporters: true}, "", []string{azuretest.Group, azuretest.Record}},
		"dry run":                           {nil, DestroyOptions{DryRun: true}, "", []string{azuretest.Group, azuretest.Record, azuretest.Setting, outside}},
		"throttled in the middle, for once": {azure: func(w *world) { w.Fail(2, "DELETE", "resourceGroups", 429, "") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Deploy(t)
			w.Put(foreign, "", map[string]any{"eventHubAuthorizationRuleId": strings.ReplaceAll(azuretest.Namespace, "rg-podwatch-westeurope", "rg-podwatch-westeurope2") + "/authorizationRules/exporter"})
			w.Put(outside, "", map[string]any{"principalId": azuretest.Principal, "scope": "/subscriptions/" + azuretest.Subscription})
			if c.azure != nil {
				c.azure(w)
			}
			lines, err := w.destroy(t, c.o)
			if (err != nil) != (c.want != "") || !strings.Contains(strings.Join(lines, "\n"), c.want) {
				t.Errorf("got %v, want %q:\n%s", err, c.want, strings.Join(lines, "\n"))
			}
			left := rest(w)
			if !slices.Contains(left, foreign) {
				t.Error("the setting of somebody else is gone")
			}
			for _, id := range left {
				if id != foreign && !slices.ContainsFunc(c.left, func(part string) bool { return strings.Contains(id, part) }) {
					t.Errorf("%s is left", id)
				}
			}
			for _, part := range c.left {
				if !slices.ContainsFunc(left, func(id string) bool { return strings.Contains(id, part) }) {
					t.Errorf("%s is gone", part)
				}
			}
			// A second run, when the cause is mended, finishes the work.
			w.Mend()
			lines, err = w.destroy(t, DestroyOptions{})
			if again := rest(w); err != nil || len(again) > 2 || !slices.Contains(again, foreign) || len(again) == 2 && again[1] != outside && again[0] != outside {
				t.Errorf("the second run: %v, %q is left:\n%s", err, again, strings.Join(lines, "\n"))
			}
		})
	}
}

func TestExportersGoBeforeTheHub(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Deploy(t)
	if _, err := w.destroy(t, DestroyOptions{}); err != nil {
		t.Fatal(err)
	}
	calls := w.Calls("^DELETE")
	group := slices.Index(calls, "DELETE "+azuretest.Group)
	for i, call := range calls {
		if strings.Contains(call, "diagnosticSettings") && i > group {
			t.Errorf("%s comes after the group", call)
		}
	}
	if group < 2 {
		t.Errorf("calls: %q", calls)
	}
}
