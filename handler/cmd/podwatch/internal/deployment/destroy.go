package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
)

// DestroyOptions steer [Destroy].
type DestroyOptions struct {
	Clusters  []string // resource ids of clusters in other subscriptions, beside those that are found
	Exporters bool     // only the diagnostic settings and the roles outside the resource group
	DryRun    bool
	Report    func(text string) // of each step
}

// A demolition is one run of Destroy. Each step is on its own; what fails is left.
type demolition struct {
	c *azure.Client
	Target
	DestroyOptions
	group         *Deployment // empty: the group is gone
	subscriptions []string    // where the identity may have roles
	left          int
}

// Destroy removes everything of the deployment that t means: first what writes into the
// hub, then the roles outside the resource group, the group, and the record. It finds
// what there is by asking Azure, so that it can be called again after any failure. The
// error counts what is left.
func Destroy(ctx context.Context, c *azure.Client, t Target, o DestroyOptions) error {
	m := &demolition{c: c, Target: t, DestroyOptions: o, group: new(Deployment)}
	found, err := Find(ctx, c, t)
	switch {
	case found != nil:
		m.group, m.Target = found, found.Target
		if err != nil {
			m.failed("list what the resource group holds", err)
		}
	case !errors.Is(err, ErrNone):
		return err
	}
	m.exporters(ctx)
	m.roles(ctx)
	if !o.Exporters {
		if m.group.GroupID != "" {
			m.remove(ctx, "resource group "+m.Group+" with everything in it", m.group.GroupID, apiResources)
		} else {
			m.Report("no resource group has the tag " + Tag + "=" + TagValue + m.where())
		}
		m.records(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.left > 0 {
		return fmt.Errorf("%d things were not removed: mend the causes and run destroy again", m.left)
	}
	return nil
}

func (m *demolition) failed(what string, err error) {
	m.left++
	cause := azure.Explain(azure.Anywhere, err)
	m.Report(fmt.Sprintf("FAILED   %s: %v. %s: %s", what, err, cause.What, cause.Cure))
}

func (m *demolition) remove(ctx context.Context, what, id, version string) {
	if m.DryRun {
		m.Report("would remove " + what)
		return
	}
	m.c.Say("removing " + what)
	if err := m.c.Delete(ctx, id, version); err != nil {
		m.failed("remove "+what, err)
		return
	}
	m.Report("removed  " + what)
}

// exporters removes the diagnostic settings of the subscription and of clusters.
func (m *demolition) exporters(ctx context.Context) {
	m.settings(ctx, m.scope(), "the subscription")
	all, err := clusters(ctx, m.c, m.Target, m.group.name(), m.Clusters)
	if err != nil {
		m.failed("find the clusters", err)
		all = nil
		for _, id := range m.Clusters {
			all = append(all, Resource{ID: id, Name: arm.Name(id)})
		}
	}
	m.subscriptions = []string{strings.ToLower(m.Subscription)}
	for _, c := range all {
		if id, ok := arm.Parse(c.ID); ok && !slices.Contains(m.subscriptions, strings.ToLower(id.Subscription)) {
			m.subscriptions = append(m.subscriptions, strings.ToLower(id.Subscription))
		}
		// Azure answers 200 to the deletion of a setting of a cluster that does not
		// exist: a misspelt id must be noticed here.
		if c.Location == "" {
			if err := m.c.Get(ctx, c.ID, apiOfCluster(c.ID), nil, nil); err != nil {
				m.failed("look at cluster "+c.ID, err)
				continue
			}
		}
		m.settings(ctx, c.ID, "cluster "+c.Name)
	}
}

func (m *demolition) settings(ctx context.Context, id, of string) {
	list, err := settingsOf(ctx, m.c, id)
	if err != nil {
		m.failed("look for the diagnostic setting of "+of, err)
		return
	}
	for _, s := range list {
		if m.ours(ctx, s) {
			m.remove(ctx, "diagnostic setting "+s.Name+" of "+of, id+"/providers/Microsoft.Insights/diagnosticSettings/"+s.Name, apiInsights)
		}
	}
}

// ours reports whether a setting exports to the namespace of the resource group or,
// where that is gone, to one that had podwatch's name and does not exist.
func (m *demolition) ours(ctx context.Context, s setting) bool {
	rule := s.Properties.EventHubAuthorizationRuleID
	if m.group.GroupID != "" {
		return m.group.ours(s)
	}
	id, ok := arm.Parse(rule)
	if !ok || !strings.HasPrefix(s.Name, "podwatch-") || m.Group != "" && !strings.EqualFold(id.Group, m.Group) {
		return false
	}
	return azure.NotFound(m.c.Get(ctx, id.Ancestor(4), apiEventHub, nil, nil)) // .../namespaces/NAME
}

// roles removes the identity's roles outside the group, which would stay behind as those
// of an unknown principal.
func (m *demolition) roles(ctx context.Context) {
	if m.group.Identity == "" {
		return
	}
	principal, err := m.group.principal(ctx)
	if err != nil {
		m.failed("find the roles outside the resource group", err)
		return
	}
	for _, s := range m.subscriptions {
		list, err := assignments(ctx, m.c, s, principal)
		if err != nil {
			m.failed("find the roles in subscription "+s, err)
			continue
		}
		for _, a := range list {
			if !below(a.Properties.Scope, m.group.GroupID) {
				m.remove(ctx, "role of podwatch's identity on "+a.Properties.Scope, a.ID, apiRoles)
			}
		}
	}
}

// records removes Azure's record of the deployment, which keeps its parameters readable.
func (m *demolition) records(ctx context.Context) {
	if m.Location == "" {
		return
	}
	r, err := readRecord(ctx, m.c, m.Target, m.group.name())
	if err != nil {
		m.failed("find the deployment's record", err)
	} else if r != nil {
		m.remove(ctx, "record of the deployment "+r.Name, m.scope()+"/providers/Microsoft.Resources/deployments/"+r.Name, apiResources)
	}
}
