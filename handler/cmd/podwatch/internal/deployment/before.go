package deployment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/version"
)

// Plans are what is known of a deployment before it begins.
type Plans struct {
	Target             // Location is the one that is deployed to
	*Parameters        // of the template
	Package     string // file; "": not looked at
	HasAddress  bool   // the Teams address is passed with this deployment
}

// An Override is a parameter that the deployment must be given beside its file.
type Override struct{ Name, Value string }

// A preflight is one examination before a deployment.
type preflight struct {
	c *azure.Client
	Plans
	found     *Deployment // empty: none yet
	overrides []Override
	actions   []permission
	clusters  []Resource
}

// preflights are the lines of the page in their order.
var preflights = []struct {
	name string
	run  func(*preflight, context.Context) Finding
}{
	{"tools", (*preflight).checkTools},
	{"package", (*preflight).checkPackage},
	{"subscription", (*preflight).checkSubscription},
	{"deployment", (*preflight).checkRecord},
	{"region", (*preflight).checkRegion},
	{"plan", (*preflight).checkPlan},
	{"rights", (*preflight).checkRights},
	{"providers", (*preflight).checkProviders},
	{"clusters", (*preflight).checkClusters},
	{"exporters", (*preflight).checkSettings},
	{"vault", (*preflight).checkVault},
	{"teams", (*preflight).checkTeams},
}

// Before examines whether a deployment can succeed, and returns the parameters that
// only Azure's present state decides. It changes nothing. After a failure of the
// subscription itself it asks nothing more.
func Before(ctx context.Context, c *azure.Client, plans Plans) (*Page, []Override, error) {
	p := &preflight{c: c, Plans: plans, found: new(Deployment)}
	p.Group = cmp.Or(plans.ResourceGroupName, "rg-"+p.Name+"-"+region(p.Target.Location))
	page := &Page{Subject: fmt.Sprintf("before deploying %s to %s in resource group %s", p.Name, p.Target.Location, p.Group)}
	for _, ch := range preflights {
		c.Say("looking at " + ch.name)
		f := ch.run(p, ctx)
		page.add(ch.name, f)
		if ch.name == "subscription" && f.State == Failed {
			break
		}
	}
	return page, p.overrides, ctx.Err()
}

func (p *preflight) problem(err error) Finding {
	return failed(azure.Explain(azure.Anywhere, err).Cure, "%v", err)
}

const (
	leastAz    = "2.54"
	leastBicep = "0.36.1" // deployer().userPrincipalName
)

func (p *preflight) checkTools(ctx context.Context) Finding {
	az, err := run(ctx, "az", "version", "--output", "json")
	if err != nil {
		return failed("install the Azure CLI", "the Azure CLI does not run: %v", err)
	}
	var versions map[string]any
	_ = json.Unmarshal(az, &versions)
	core, _ := versions["azure-cli"].(string)
	if version.Older(core, leastAz) {
		return failed("az upgrade", "the Azure CLI is %s, at least %s is needed", core, leastAz)
	}
	command := []string{"az", "bicep", "version"}
	if _, err := exec.LookPath("bicep"); err == nil {
		command = []string{"bicep", "--version"}
	}
	bicep, err := run(ctx, command...)
	number := versionNumber.FindString(string(bicep))
	if err != nil || version.Older(number, leastBicep) {
		return failed("az bicep upgrade", "the Bicep CLI is %q, at least %s is needed", number, leastBicep)
	}
	return ok("Azure CLI %s, Bicep CLI %s", core, number)
}

func (p *preflight) checkPackage(context.Context) Finding {
	if p.Package == "" {
		return ok("not looked at: none was named")
	}
	pkg, err := OpenPackage(p.Package)
	if err != nil {
		return failed("make package", "%v", err)
	}
	return ok("%s holds %s", path.Base(p.Package), pkg.Version)
}

func (p *preflight) checkSubscription(ctx context.Context) Finding {
	var s struct{ DisplayName, State, TenantID string }
	if err := p.c.Get(ctx, p.scope(), apiResources, nil, &s); err != nil {
		return p.problem(err)
	}
	if s.State != "Enabled" {
		return failed("enable the subscription, or choose another", "the subscription %s is %s", s.DisplayName, s.State)
	}
	return ok("%s, tenant %s", s.DisplayName, s.TenantID)
}

// checkRecord looks for another run, and for what of an earlier one is in the way.
func (p *preflight) checkRecord(ctx context.Context) Finding {
	r, err := readRecord(ctx, p.c, p.Target, p.Name)
	if err != nil {
		return p.problem(err)
	}
	if d, err := Find(ctx, p.c, Target{Subscription: p.Subscription, Group: p.Group}); err == nil {
		p.found = d
	} else if !errors.Is(err, ErrNone) {
		return p.problem(err)
	}
	if p.found.GroupID != "" && !SameRegion(p.found.Location, p.Target.Location) {
		return failed("name another resource group (resourceGroupName), or deploy to "+p.found.Location, "the resource group %s exists in %s", p.Group, p.found.Location)
	}
	switch {
	case r == nil && p.found.GroupID == "":
		return ok("the first one")
	case r == nil:
		return ok("an update; no record of an earlier one is kept")
	case r.Properties.ProvisioningState == "Running" || r.Properties.ProvisioningState == "Accepted":
		return r.finding(Finding{})
	case !SameRegion(r.Location, p.Target.Location):
		return failed("delete that record: az deployment sub delete --name "+r.Name, "a deployment named %s exists in %s", r.Name, r.Location)
	}
	return ok("an update; the latest one %s", strings.ToLower(r.Properties.ProvisioningState))
}

func (p *preflight) checkRegion(ctx context.Context) Finding {
	list, err := azure.List[struct{ Name string }](ctx, p.c, p.scope()+"/locations", "2022-12-01", nil)
	if err != nil {
		return p.problem(err)
	}
	if !slices.ContainsFunc(list, func(l struct{ Name string }) bool { return SameRegion(l.Name, p.Target.Location) }) {
		return failed("az account list-locations --output table lists the regions", "the subscription has no region %q", p.Target.Location)
	}
	if p.Parameters.Location != "" && !SameRegion(p.Parameters.Location, p.Target.Location) {
		return failed("let both be the same", "the parameters file says location %q, and the deployment goes to %q", p.Parameters.Location, p.Target.Location)
	}
	return ok("%s", p.Target.Location)
}

func (p *preflight) checkPlan(ctx context.Context) Finding {
	if p.found.App != "" {
		site, err := p.found.Site(ctx)
		if err != nil {
			return p.problem(err)
		}
		if site.Flex() != (p.Plan == "flex") {
			return failed("delete the function app and its plan first, or keep the plan", "the function app is on the other plan, and %s is asked for", p.Plan)
		}
	}
	if p.Plan != "flex" {
		return p.keepPackage(ctx)
	}
	regions, err := azure.List[struct{ Name string }](ctx, p.c, p.scope()+"/providers/Microsoft.Web/geoRegions", apiWeb, url.Values{"sku": {"FlexConsumption"}})
	if err != nil {
		return p.problem(err)
	}
	if !slices.ContainsFunc(regions, func(r struct{ Name string }) bool { return SameRegion(r.Name, p.Target.Location) }) {
		return failed("choose another region, or plan = 'premium'", "%s does not offer Flex Consumption", p.Target.Location)
	}
	return ok("Flex Consumption, which the region offers")
}

// keepPackage lets an app on the Premium plan go on with the package that it runs.
func (p *preflight) keepPackage(ctx context.Context) Finding {
	if p.found.App == "" {
		return ok("Elastic Premium")
	}
	settings, err := p.found.Settings(ctx)
	if err != nil {
		return p.problem(err)
	}
	if name := arm.Name(settings[packageSetting]); name != "" {
		p.overrides = append(p.overrides, Override{"packageName", name})
		return ok("Elastic Premium, runs %s until another package is published", name)
	}
	return ok("Elastic Premium")
}

// A permission is what the caller may do at a scope.
type permission struct{ Actions, NotActions []string }

// neededActions are those of the template that are not everybody's.
var neededActions = []string{
	"Microsoft.Resources/subscriptions/resourceGroups/write",
	"Microsoft.Authorization/roleAssignments/write",
	"Microsoft.Insights/diagnosticSettings/write",
	"Microsoft.EventHub/namespaces/authorizationRules/listKeys/action",
}

// allows reports whether one of the permissions has the action. Two roles add up: what
// one leaves out another may give.
func allows(list []permission, action string) bool {
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(strings.ReplaceAll(strings.ToLower(pattern), "/", "|"), strings.ReplaceAll(strings.ToLower(action), "/", "|"))
			return err == nil && ok
		})
	}
	return slices.ContainsFunc(list, func(p permission) bool { return matches(p.Actions) && !matches(p.NotActions) })
}

func (p *preflight) permissions(ctx context.Context, scope string) ([]permission, error) {
	return azure.List[permission](ctx, p.c, scope+"/providers/Microsoft.Authorization/permissions", apiPermissions, nil)
}

func (p *preflight) checkRights(ctx context.Context) (f Finding) {
	var err error
	if p.actions, err = p.permissions(ctx, p.scope()); err != nil {
		return p.problem(err)
	}
	for _, action := range neededActions {
		if !allows(p.actions, action) {
			return failed("you need Owner, or Contributor with Role Based Access Control Administrator, on the subscription", "you lack the action %s", action)
		}
	}
	return ok("you may create resources, assign roles and export logs")
}

// providers are those that the template and its clusters need.
var providers = []string{
	"Microsoft.Web", "Microsoft.Storage", "Microsoft.EventHub", "Microsoft.KeyVault", "Microsoft.OperationalInsights",
	"Microsoft.Insights", "Microsoft.ManagedIdentity", "Microsoft.Authorization",
}

func (p *preflight) checkProviders(ctx context.Context) Finding {
	list, err := azure.List[struct{ Namespace, RegistrationState string }](ctx, p.c, p.scope()+"/providers", apiResources, nil)
	if err != nil {
		return p.problem(err)
	}
	state := map[string]string{}
	for _, l := range list {
		state[strings.ToLower(l.Namespace)] = l.RegistrationState
	}
	var missing []string
	for _, name := range providers {
		if state[strings.ToLower(name)] != "Registered" {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == 0:
		return ok("all are registered")
	case allows(p.actions, missing[0]+"/register/action"):
		return ok("the deployment registers %s", strings.Join(missing, ", "))
	}
	return failed("ask for az provider register --namespace "+missing[0]+" --wait", "%s not registered, and you may not register it", strings.Join(missing, ", "))
}

func (p *preflight) checkClusters(ctx context.Context) Finding {
	if len(p.Clusters) == 0 {
		return ok("none is named: deletions with kubectl in AKS clusters stay unseen")
	}
	names := make([]string, 0, len(p.Clusters))
	for _, wanted := range p.Clusters {
		var c Resource
		id := wanted.id(p.Subscription)
		if err := p.c.Get(ctx, id, apiOfCluster(id), nil, &c); azure.NotFound(err) {
			return failed("correct clusters in the parameters file; az aks list shows the names", "there is no cluster %s", id)
		} else if err != nil {
			return p.problem(err)
		}
		if !SameRegion(c.Location, p.Target.Location) {
			return failed("deploy another podwatch to "+c.Location+" for it", "cluster %s is in %s, and can export to a hub of its own region only", wanted.Name, c.Location)
		}
		if actions, err := p.permissions(ctx, id); err != nil {
			return p.problem(err)
		} else if !allows(actions, "Microsoft.Insights/diagnosticSettings/write") {
			return failed("you need Contributor or Monitoring Contributor on the cluster", "you may not export the logs of cluster %s", wanted.Name)
		}
		c.ID = id
		p.clusters = append(p.clusters, c)
		names = append(names, wanted.Name)
	}
	return ok("%s", strings.Join(names, ", "))
}

// checkSettings counts the diagnostic settings.
func (p *preflight) checkSettings(ctx context.Context) Finding {
	scopes := p.clusters
	if p.ExportActivityLog == nil || *p.ExportActivityLog {
		scopes = append([]Resource{{ID: p.scope(), Name: "the subscription"}}, scopes...)
	}
	group := Deployment{GroupID: p.scope() + "/resourceGroups/" + p.Group}
	for _, r := range scopes {
		list, err := settingsOf(ctx, p.c, r.ID)
		if err != nil {
			return p.problem(err)
		}
		if len(list) >= maxSettings && !slices.ContainsFunc(list, group.ours) {
			names := make([]string, len(list))
			for i, s := range list {
				names[i] = s.Name
			}
			return failed("delete one of them", "%s has five diagnostic settings already: %s", r.Name, strings.Join(names, ", "))
		}
	}
	return ok("room for one more diagnostic setting, where it is needed")
}

// checkVault looks for the vault of an earlier installation, which keeps its name while
// it is deleted. It comes back with its old properties, which only another deployment
// replaces.
func (p *preflight) checkVault(ctx context.Context) Finding {
	if p.found.Vault != "" {
		return ok("%s", arm.Name(p.found.Vault))
	}
	list, err := azure.List[struct {
		Name       string
		Properties struct {
			VaultID      string
			DeletionDate time.Time
		}
	}](ctx, p.c, p.scope()+"/providers/Microsoft.KeyVault/deletedVaults", apiVault, nil)
	if err != nil {
		return p.problem(err)
	}
	for _, v := range list {
		if below(v.Properties.VaultID, p.scope()+"/resourceGroups/"+p.Group) && strings.HasPrefix(v.Name, "kv-"+p.Name+"-") {
			p.overrides = append(p.overrides, Override{"recoverVault", "true"})
			return ok("%s, deleted at %s, is recovered with its secret; the deployment then runs a second time", v.Name, stamp(v.Properties.DeletionDate))
		}
	}
	return ok("a new one")
}

// checkTeams makes sure that a deployment without the address does not switch off cards
// that arrive. What cannot be read is not taken for "no Teams".
func (p *preflight) checkTeams(ctx context.Context) Finding {
	if p.HasAddress {
		return ok("the address goes to Key Vault")
	}
	if p.UseTeams != nil {
		return ok("the parameters file says useTeams = %t", *p.UseTeams)
	}
	if p.found.Vault != "" {
		err := p.c.Get(ctx, p.found.Vault+"/secrets/"+webhookSecret, apiVault, nil, nil)
		switch {
		case err == nil:
			p.overrides = append(p.overrides, Override{"useTeams", "true"})
			return ok("cards stay on: the vault holds the address")
		case !azure.NotFound(err):
			return failed("pass the address in TEAMS_WEBHOOK_URL, or useTeams in the parameters file", "whether the vault holds the Teams address is not known: %v", err)
		}
	}
	if p.found.App != "" {
		settings, err := p.found.Settings(ctx)
		switch {
		case err != nil:
			return failed("pass the address in TEAMS_WEBHOOK_URL, or useTeams in the parameters file", "whether cards are on is not known: %v", err)
		case settings[webhookSetting] != "":
			return failed("pass the address in TEAMS_WEBHOOK_URL, or useTeams = false in the parameters file",
				"the app has a Teams address, and the vault has not: the deployment would switch the cards off")
		}
	}
	return ok("no address was given: alerts become rows, no cards. TEAMS_WEBHOOK_URL sets one")
}
