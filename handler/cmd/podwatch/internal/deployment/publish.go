package deployment

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
)

// Functions are those of the app, by name.
var Functions = []string{"Detect", "Heartbeat", "Redeliver"}

const (
	publishWithin = 10 * time.Minute // until the SCM site has deployed a package
	loadWithin    = 10 * time.Minute // until the functions are listed
	hostWithin    = 5 * time.Minute  // until the host runs
	startWithin   = 20 * time.Minute // until the workspace has the handler's first line
	clockSkew     = time.Minute
)

// Publish brings a package to run. It returns nil only when the functions are loaded,
// the host runs, and the package's handler has logged its version. Interrupted, it can be called again.
func (d *Deployment) Publish(ctx context.Context, p *Package) error {
	site, err := d.Site(ctx)
	if err != nil {
		return err
	}
	store, err := d.packages(ctx)
	if err != nil {
		return err
	}
	address, err := d.keep(ctx, store, p)
	if err != nil {
		return err
	}
	now := published{Version: p.Version, Time: d.c.Now().UTC()}
	if site.Flex() {
		now.ID, err = d.publishFlex(ctx, site, p)
	} else {
		err = d.publishPremium(ctx, address)
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", p.Version, err)
	}
	if err := store.add(ctx, now); err != nil {
		return fmt.Errorf("note that %s was published: %w", p.Version, err)
	}
	if err := d.load(ctx); err != nil {
		return fmt.Errorf("%s is published, and does not run: %w", p.Version, err)
	}
	if err := d.awaitStart(ctx, now); err != nil {
		return fmt.Errorf("%s is published and its functions are loaded, but nothing shows that it runs: %w", p.Version, err)
	}
	return nil
}

// An scmDeployment is the SCM site's answer about a deployment, with HTTP 200 or 202
// whatever became of it.
type scmDeployment struct {
	ID         string `json:"id"`
	Status     int    `json:"status"`
	StatusText string `json:"status_text"`
	Progress   string `json:"progress"`
	Message    string `json:"message"`
}

// What an SCM status means. 0 to 2 are under way.
const (
	scmFailed   = 3
	scmSuccess  = 4
	scmConflict = 5
)

// publishFlex sends the package to the SCM site until it is deployed, and returns the
// deployment's id.
func (d *Deployment) publishFlex(ctx context.Context, site *Site, p *Package) (id string, err error) {
	if name := site.Properties.FunctionAppConfig.Runtime.Name; name != "custom" {
		return "", fmt.Errorf("the app's runtime is %q, podwatch needs custom: deploy the template again", name)
	}
	scm, err := d.scm(site)
	if err != nil {
		return "", err
	}
	err = d.c.Until(ctx, azure.Wait{Where: azure.Publishing, Every: 15 * time.Second, Limit: publishWithin}, func(ctx context.Context) (string, error) {
		d.c.Say("sending the package " + p.Version)
		answer, err := scm.Post(ctx, "/api/publish?RemoteBuild=false&Deployer=podwatch", "application/zip", bytes.NewReader(p.data))
		if err == nil && json.Unmarshal(answer, &id) == nil && id != "" {
			d.c.Say("the SCM site deploys it as " + id)
			err = d.follow(ctx, scm, id)
		}
		return "", d.storageClosed(ctx, err)
	})
	return id, err
}

func (d *Deployment) scm(site *Site) (*azure.Site, error) {
	for _, state := range site.Properties.HostNameSslStates {
		if state.HostType == "Repository" {
			return d.c.SCM(state.Name)
		}
	}
	return nil, errors.New("the app has no SCM site")
}

// unknownTries is how often the SCM site may not know a deployment that it accepted.
const unknownTries = 10

// follow waits until the SCM site has ended a deployment. Where the site forgets it,
// because its worker was recycled, nothing is known: whether the app runs decides. A
// deployment that failed may succeed when it is published again.
func (d *Deployment) follow(ctx context.Context, scm *azure.Site, id string) (ended error) {
	unknown, last := 0, (*scmDeployment)(nil)
	err := d.c.Until(ctx, azure.Wait{Where: azure.Publishing, Every: time.Second, Limit: publishWithin}, func(ctx context.Context) (string, error) {
		var s scmDeployment
		err := scm.Get(ctx, "/api/deployments/"+url.PathEscape(id), &s)
		switch {
		case azure.NotFound(err) && (last != nil || unknown == unknownTries):
			d.c.Say("the SCM site does not know the deployment any more; whether it runs will show")
			return "", nil
		case azure.NotFound(err):
			unknown++
			return "the SCM site does not know the deployment yet", nil
		case err != nil:
			return "", err
		}
		last = &s
		switch {
		case s.Status == scmSuccess:
			return "", nil
		case s.Status >= 0 && s.Status < scmFailed:
			return cmp.Or(s.StatusText, "the package is being deployed"), nil
		}
		said := strings.Join(strings.Fields(strings.Join([]string{s.StatusText, s.Progress, s.Message, d.logOf(ctx, scm, id)}, " ")), " ")
		failed := &azure.Error{What: "deployment " + id, Status: http.StatusBadRequest, Code: fmt.Sprintf("ended with status %d", s.Status), Message: said, Text: said}
		if s.Status == scmConflict {
			failed.Status = http.StatusConflict
		}
		ended = failed
		return "", nil
	})
	return cmp.Or(err, ended)
}

// logOf returns the log of a deployment, as far as it can be read.
func (d *Deployment) logOf(ctx context.Context, scm *azure.Site, id string) string {
	var entries []struct{ Message string }
	if scm.Get(ctx, "/api/deployments/"+url.PathEscape(id)+"/log", &entries) != nil {
		return ""
	}
	lines := make([]string, 0, len(entries))
	for _, e := range entries {
		lines = append(lines, e.Message)
	}
	return strings.Join(lines, "; ")
}

// storageClosed makes an error that looks like a missing role one that does not pass,
// when the account's network is what refuses the app.
func (d *Deployment) storageClosed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	cause := azure.Explain(azure.Publishing, err)
	if cause.Passes == 0 || !strings.Contains(cause.What, "identity") {
		return err
	}
	if closed := d.networkClosed(ctx, d.Storage, apiStorage); closed != "" {
		return &azure.Failure{Cause: azure.Cause{What: closed, Cure: "open the network of the storage account; its exception for trusted services does not cover publishing"}, Err: err}
	}
	return err
}

// networkClosed returns how a resource's network is closed; "": it is open, or cannot be
// read.
func (d *Deployment) networkClosed(ctx context.Context, id, version string) string {
	var r struct {
		Properties struct {
			PublicNetworkAccess string
			NetworkAcls         struct{ DefaultAction string }
		}
	}
	if id == "" || d.c.Get(ctx, id, version, nil, &r) != nil {
		return ""
	}
	switch name := arm.Name(id); {
	case strings.EqualFold(r.Properties.PublicNetworkAccess, "Disabled"):
		return name + " has public network access disabled"
	case strings.EqualFold(r.Properties.NetworkAcls.DefaultAction, "Deny"):
		return "the network rules of " + name + " deny by default"
	}
	return ""
}

// packageSetting names the package that an app on the Premium plan runs from.
const packageSetting = "WEBSITE_RUN_FROM_PACKAGE"

// publishPremium lets the app run from the package at address. A changed setting
// restarts the app; where it is the same already, a restart fetches it again.
func (d *Deployment) publishPremium(ctx context.Context, address string) error {
	settings, err := d.Settings(ctx)
	if err != nil {
		return err
	}
	if settings[packageSetting] == address {
		d.c.Say("restarting the app")
		return d.c.Post(ctx, d.App+"/restart", apiWeb, nil)
	}
	settings = maps.Clone(settings)
	settings[packageSetting] = address
	d.c.Say("the app is set to run from " + arm.Name(address))
	err = d.c.Put(ctx, d.App+"/config/appsettings", apiWeb, map[string]any{"properties": settings})
	if err == nil {
		d.settings = settings
	}
	return err
}

// load waits until the functions are listed and the host runs. The list is what the
// latest synchronization of triggers found, so it asks for one each time.
func (d *Deployment) load(ctx context.Context) error {
	err := d.c.Until(ctx, azure.Wait{Where: azure.Syncing, Every: 10 * time.Second, Limit: loadWithin}, func(ctx context.Context) (string, error) {
		if err := d.c.Post(ctx, d.App+"/host/default/sync", apiWeb, nil); err != nil {
			return "", err
		}
		return d.missingFunctions(ctx)
	})
	if err != nil {
		return err
	}
	return d.c.Until(ctx, azure.Wait{Where: azure.Syncing, Every: 10 * time.Second, Limit: hostWithin}, d.hostTrouble)
}

// missingFunctions returns the functions that are not listed, or switched off.
func (d *Deployment) missingFunctions(ctx context.Context) (string, error) {
	list, err := azure.List[struct {
		Name       string
		Properties struct{ IsDisabled bool }
	}](ctx, d.c, d.App+"/functions", apiWeb, nil)
	if err != nil {
		return "", err
	}
	var names []string
	for _, f := range list {
		if f.Properties.IsDisabled {
			return arm.Name(f.Name) + " is disabled", nil
		}
		names = append(names, arm.Name(f.Name))
	}
	missing := slices.DeleteFunc(slices.Clone(Functions), func(name string) bool { return slices.Contains(names, name) })
	if len(missing) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s not loaded yet (the app lists: %s)", strings.Join(missing, ", "), cmp.Or(strings.Join(names, ", "), "nothing")), nil
}

// hostTrouble asks the host for its state, through Azure Resource Manager: the front
// door of the app is closed.
func (d *Deployment) hostTrouble(ctx context.Context) (string, error) {
	var status struct {
		State  string
		Errors []string
	}
	if err := d.c.Get(ctx, d.App+"/hostruntime/admin/host/status", apiHost, nil, &status); err != nil {
		return "", err
	}
	switch {
	case len(status.Errors) > 0:
		return "the host reports: " + strings.Join(status.Errors, "; "), nil
	case status.State != "Running":
		return "the host's state is " + cmp.Or(status.State, "not known"), nil
	}
	return "", nil
}

// awaitStart waits for a log line of the package's handler.
func (d *Deployment) awaitStart(ctx context.Context, p published) error {
	return d.c.Until(ctx, azure.Wait{Where: azure.Querying, Every: 20 * time.Second, Limit: startWithin}, func(ctx context.Context) (string, error) {
		runs, err := d.running(ctx)
		switch {
		case err != nil:
			return "", err
		case runs.At.IsZero():
			return "no log line of a handler, which takes 2 to 5 minutes to arrive", nil
		case runs.Version != p.Version:
			return fmt.Sprintf("%s ran at %s, which is the latest that its log says", runs.Version, stamp(runs.At)), nil
		case runs.At.Before(p.Time.Add(-clockSkew)):
			return "the latest log line is of " + stamp(runs.At) + ", before it was published again", nil
		}
		return "", nil
	})
}
