// Package deployment publishes, examines and removes a podwatch that runs in Azure.
//
// [Find] asks Azure what there is, by tag; nothing is read from the record of a
// deployment, which Azure empties when a later one fails. [Deployment.Publish] brings
// a package to run, [Examine] makes the page of podwatch doctor, and [Destroy] removes
// everything. Each works on what an interrupted run left, too.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/storage"
)

// Versions of the APIs.
const (
	apiResources   = "2021-04-01"
	apiWeb         = "2024-11-01"
	apiHost        = "2022-03-01" // of what is passed on to the Functions host, and of references
	apiStorage     = "2025-06-01"
	apiEventHub    = "2024-01-01"
	apiVault       = "2024-11-01"
	apiInsights    = "2021-05-01-preview" // diagnostic settings
	apiRule        = "2023-03-11"         // data collection rules
	apiWorkspace   = "2025-02-01"
	apiRoles       = "2022-04-01"
	apiClusters    = "2024-09-01"
	apiConnected   = "2024-01-01" // of clusters that Arc enables
	apiLogs        = "2018-03-01-preview"
	apiIdentity    = "2023-01-31"
	apiPermissions = "2022-04-01"
)

// Tag is the tag by which everything of podwatch is found.
const (
	Tag      = "app"
	TagValue = "podwatch"
)

// A Target identifies a deployment. Group and Location are needed only where
// the subscription has several.
type Target struct {
	Subscription string
	Group        string // resource group
	Location     string
}

// Check reports what is missing or can be no name.
func (t Target) Check() error {
	switch _, ok := arm.ParseGUID(t.Subscription); {
	case t.Subscription == "":
		return errors.New("name the subscription: --subscription ID")
	case !ok:
		return fmt.Errorf("--subscription %q is not the id of a subscription (az account show --query id)", t.Subscription)
	case strings.ContainsAny(t.Group+t.Location, "/?#%"):
		return errors.New("a resource group or a location has no such characters")
	}
	return nil
}

func (t Target) scope() string { return "/subscriptions/" + strings.ToLower(t.Subscription) }

// A Resource is what lists of Azure have of each resource.
type Resource struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

// A Deployment is what there is of podwatch in one resource group. Ids of what does
// not exist are empty.
type Deployment struct {
	c *azure.Client
	Target
	GroupID string
	named   string // by its tag

	App, Storage, Namespace, Vault, Workspace, Rule, Identity string // resource ids

	site     *Site
	settings map[string]string
	account  *storage.Account
}

// A Site is what is read of the function app.
type Site struct {
	Properties struct {
		State             string
		HostNameSslStates []struct{ Name, HostType string }
		FunctionAppConfig *struct {
			Runtime struct{ Name string }
		}
	}
}

// ErrNone is the error of [Find] where there is no deployment.
var ErrNone = errors.New("podwatch is not deployed there")

// SameRegion compares two names of regions: "West Europe" is westeurope.
func SameRegion(a, b string) bool { return region(a) == region(b) }

func region(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "")) }

// Find returns the one deployment that t means.
func Find(ctx context.Context, c *azure.Client, t Target) (*Deployment, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	groups, err := azure.List[Resource](ctx, c, t.scope()+"/resourcegroups", apiResources,
		url.Values{"$filter": {fmt.Sprintf("tagName eq '%s' and tagValue eq '%s'", Tag, TagValue)}})
	groups = slices.DeleteFunc(groups, func(g Resource) bool {
		return t.Group != "" && !strings.EqualFold(t.Group, g.Name) || t.Location != "" && !SameRegion(t.Location, g.Location)
	})
	if err == nil && len(groups) == 0 && t.Group != "" { // a group whose tags were replaced
		var g Resource
		if err = c.Get(ctx, t.scope()+"/resourcegroups/"+url.PathEscape(t.Group), apiResources, nil, &g); err == nil {
			groups = []Resource{g}
		} else if azure.NotFound(err) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for podwatch's resource group: %w", err)
	case len(groups) == 0:
		return nil, fmt.Errorf("%w: subscription %s has no resource group with the tag %s=%s%s", ErrNone, t.Subscription, Tag, TagValue, t.where())
	case len(groups) > 1:
		names := make([]string, len(groups))
		for i, g := range groups {
			names[i] = g.Name
		}
		return nil, fmt.Errorf("podwatch is deployed %d times: choose one with --resource-group (%s)", len(groups), strings.Join(names, ", "))
	}
	t.Group, t.Location = groups[0].Name, groups[0].Location
	d := &Deployment{c: c, Target: t, GroupID: t.scope() + "/resourceGroups/" + groups[0].Name, named: groups[0].Tags["podwatch-name"]}
	return d, d.inventory(ctx)
}

func (t Target) where() (text string) {
	if t.Group != "" {
		text += " named " + t.Group
	}
	if t.Location != "" {
		text += " in " + t.Location
	}
	return text
}

// inventory lists the resources of the group.
func (d *Deployment) inventory(ctx context.Context) error {
	list, err := azure.List[Resource](ctx, d.c, d.GroupID+"/resources", apiResources, nil)
	if err != nil {
		return fmt.Errorf("list resource group %s: %w", d.Group, err)
	}
	for _, r := range list {
		if id := d.part(r.Type); id != nil && *id == "" {
			*id = r.ID
		}
	}
	return nil
}

func (d *Deployment) part(typ string) *string {
	return map[string]*string{
		"microsoft.web/sites":                              &d.App,
		"microsoft.storage/storageaccounts":                &d.Storage,
		"microsoft.eventhub/namespaces":                    &d.Namespace,
		"microsoft.keyvault/vaults":                        &d.Vault,
		"microsoft.operationalinsights/workspaces":         &d.Workspace,
		"microsoft.insights/datacollectionrules":           &d.Rule,
		"microsoft.managedidentity/userassignedidentities": &d.Identity,
	}[strings.ToLower(typ)]
}

// AppName returns the name of the function app.
func (d *Deployment) AppName() string { return arm.Name(d.App) }

var errNoApp = errors.New("the resource group has no function app: the deployment did not come so far")

// Site reads the function app, once.
func (d *Deployment) Site(ctx context.Context) (*Site, error) {
	if d.App == "" {
		return nil, errNoApp
	}
	if d.site == nil {
		var s Site
		if err := d.c.Get(ctx, d.App, apiWeb, nil, &s); err != nil {
			return nil, fmt.Errorf("read the function app: %w", err)
		}
		d.site = &s
	}
	return d.site, nil
}

// Flex reports whether the app's plan is Flex Consumption.
func (s *Site) Flex() bool { return s.Properties.FunctionAppConfig != nil }

// Settings reads the app's settings, once. They may hold secrets.
func (d *Deployment) Settings(ctx context.Context) (map[string]string, error) {
	if d.App == "" {
		return nil, errNoApp
	}
	if d.settings == nil {
		var answer struct{ Properties map[string]string }
		if err := d.c.Post(ctx, d.App+"/config/appsettings/list", apiWeb, &answer); err != nil {
			return nil, fmt.Errorf("read the app's settings: %w", err)
		}
		d.settings = answer.Properties
	}
	return d.settings, nil
}

// Account opens the app's storage account, once. The tool reaches it as the app does,
// but as another identity.
func (d *Deployment) Account(ctx context.Context) (*storage.Account, error) {
	s, err := d.Settings(ctx)
	if err == nil && d.account == nil {
		d.account, err = storage.Open(new(config.StorageFrom(func(name string) string { return s[name] })), d.c.Credential)
	}
	return d.account, err
}
