// Package deploytest runs infra/*.sh and the podwatch executable, unmodified, against a
// double of Azure: from doctor --before to destroy. What the double publishes runs: the
// handler in the stand-in for the Functions host, beside the stand-in of the Event Hub
// and Azurite. It contains only tests.
package deploytest

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
	"podwatch/handler/internal/azurite"
)

const (
	root   = "../../../../.."
	secret = "sig=planted-secret"
	tenant = "00000000-1111-2222-3333-444444444444"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "podwatch-deploytest")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"podwatch": "./handler/cmd/podwatch", "app/handler": "./handler"} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	app := filepath.Join(dir, "app")
	host, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(app, "host.json"), host, 0o600), os.WriteFile(filepath.Join(app, "version.txt"), []byte("devel\n"), 0o600),
			os.CopyFS(app, os.DirFS(filepath.Join(root, "function_app"))))
	}
	if err != nil {
		return "", err
	}
	pack := exec.Command("go", "run", "-buildvcs=false", "./infra/pack", "-o", filepath.Join(dir, "dist.zip"), app)
	pack.Dir = root
	if out, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("pack: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// A desk is where somebody runs the scripts.
type desk struct {
	*azuretest.Azure
	dir   string // working directory, without anything of the repository
	built string
	env   []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{Azure: azuretest.Start(t), dir: t.TempDir(), built: built}
	d.RetryAfter = 20 * time.Millisecond
	if err := os.WriteFile(filepath.Join(d.dir, "my.bicepparam"), []byte("using 'main.bicep'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env = []string{"PATH=" + bin + ":" + withoutBicep(t), "HOME=" + d.dir, "ARM_ENDPOINT=" + d.URL, "FAKE_LOG=" + filepath.Join(d.dir, "log"),
		"PODWATCH=" + filepath.Join(built, "podwatch")}
	return d
}

// withoutBicep is a PATH in which the Azure CLI's Bicep is the only one.
func withoutBicep(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"bash", "curl", "sed", "grep", "mktemp", "rm", "dirname", "cat", "tr", "env"} {
		file, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(file, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs a program of the desk; typed is what waits on its standard input.
func (d *desk) run(t *testing.T, env []string, name string, args ...string) (status int, out string) {
	t.Helper()
	var both bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Stdin = d.dir, &both, &both, strings.NewReader("y\ny\ny\n")
	cmd.Env = slices.Concat(d.env, env)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), both.String()
}

func (d *desk) script(t *testing.T, name string, env []string, args ...string) (status int, out string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "infra", name))
	if err != nil {
		t.Fatal(err)
	}
	return d.run(t, env, "/bin/bash", append([]string{path}, args...)...)
}

// calls are those of the Azure CLI, one a line.
func (d *desk) calls(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// app runs what the double publishes.
type app struct {
	storage, hub string
	url          string
	t            *testing.T
	stop         func()
}

// start replaces what ran before by the package.
func (a *app) start(archive []byte) {
	if a.stop != nil {
		a.stop()
	}
	folder := a.t.TempDir()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		a.t.Error(err)
		return
	}
	for _, f := range z.File {
		if err := unzip(f, filepath.Join(folder, filepath.FromSlash(f.Name))); err != nil {
			a.t.Error(err)
			return
		}
	}
	log := slog.New(slog.DiscardHandler)
	host, err := devhost.Start(context.WithoutCancel(a.t.Context()), devhost.Options{App: folder, Log: log, Settings: map[string]string{
		"AzureWebJobsStorage": a.storage, "EventHub": a.hub, "EVENT_HUB_NAME": "podwatch", "EVENT_HUB_CONSUMER_GROUP": "$Default",
		"TEAMS_WEBHOOK_URL": a.url + "/teams?" + secret, "LOG_ANALYTICS_ENDPOINT": a.url, "LOG_ANALYTICS_RULE_ID": "dcr-00000000000000000000000000000001",
	}})
	if err != nil {
		a.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.follow(ctx, host, log) }()
	a.stop = func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Error(err)
		}
		host.Close()
	}
}

// follow is the trigger: it hands the messages of the hub to the host.
func (a *app) follow(ctx context.Context, host *devhost.Host, log *slog.Logger) error {
	client, err := container.NewClientFromConnectionString(a.storage, "checkpoints", nil)
	if err != nil {
		return err
	}
	store, err := hub.NewBlobCheckpoints(ctx, client)
	if err != nil {
		return err
	}
	return hub.Consume(ctx, hub.Connection{ConnectionString: a.hub, Hub: "podwatch"}, store, hub.ConsumeOptions{Log: log}, func(ctx context.Context, from hub.Partition, messages []hub.Message) error {
		return host.Deliver(ctx, from.ID, messages...)
	})
}

func unzip(f *zip.File, name string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, f.Mode()))
}

func TestFromBeforeToDestroy(t *testing.T) {
	d := newDesk(t)
	a := &app{storage: azurite.Start(t), hub: hubtest.Start(t, hubtest.Options{}).ConnectionString, url: d.URL, t: t}
	t.Cleanup(func() {
		if a.stop != nil {
			a.stop()
		}
	})
	container, err := container.NewClientFromConnectionString(a.storage, "deployments", nil)
	if err == nil {
		_, err = container.Create(t.Context(), nil) // by the template
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Azure.Settings = map[string]string{"AzureWebJobsStorage": a.storage, "EventHub": a.hub}
	d.Published = func(archive []byte) {
		a.start(archive)
		d.Do(func() { d.Running, d.Started, d.Beat = "devel", time.Now(), time.Now() })
	}
	d.Syncs = 2
	// The rest of an installation that was removed.
	d.Put("/subscriptions/"+azuretest.Subscription+"/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv-podwatch-token", "",
		map[string]any{"vaultId": azuretest.Vault, "deletionDate": "2026-01-02T03:04:05Z"})
	if err := os.Symlink(filepath.Join(d.built, "dist.zip"), filepath.Join(d.dir, "dist.zip")); err != nil {
		t.Fatal(err)
	}

	address := []string{"TEAMS_WEBHOOK_URL=https://prod-00.westeurope.logic.azure.com/workflows/x?" + secret, "PACKAGE=dist.zip"}
	status, out := d.script(t, "deploy.sh", address, azuretest.Subscription, "westeurope", "my.bicepparam")
	if status != 0 {
		t.Fatalf("deploy.sh ended with %d:\n%s", status, out)
	}
	for _, want := range []string{"ok       row          alert ", "from version devel", "ok       card         Teams accepted it", "ok       roles        assigned, and in effect", "devel runs in func-podwatch-token"} {
		if !strings.Contains(out, want) {
			t.Errorf("deploy.sh does not print %q:\n%s", want, out)
		}
	}
	calls := d.calls(t)
	if strings.Count(calls, "deployment sub create") != 2 || strings.Count(calls, "recoverVault=true") != 1 {
		t.Errorf("a deleted vault is recovered, and deployed again:\n%s", calls)
	}

	// Again, without the address: cards stay on.
	status, out = d.script(t, "deploy.sh", []string{"PACKAGE=dist.zip"}, azuretest.Subscription, "westeurope", "my.bicepparam")
	if status != 0 || !strings.Contains(out, "cards stay on: the vault holds the address") || !strings.Contains(out, "Teams accepted it") {
		t.Errorf("deploy.sh again ended with %d:\n%s", status, out)
	}

	podwatch := filepath.Join(d.built, "podwatch")
	status, out = d.run(t, nil, podwatch, "destroy", "--subscription", azuretest.Subscription, "--dry-run")
	if status != 0 || !strings.Contains(out, "would remove resource group rg-podwatch-westeurope") || len(d.IDs(azuretest.App)) == 0 {
		t.Errorf("destroy --dry-run ended with %d:\n%s", status, out)
	}
	for range 2 { // a second time there is nothing left, which is no failure
		if status, out = d.run(t, nil, podwatch, "destroy", "--subscription", azuretest.Subscription, "--location", "westeurope"); status != 0 {
			t.Errorf("destroy ended with %d:\n%s", status, out)
		}
	}
	for _, id := range d.IDs("/subscriptions/" + azuretest.Subscription + "/") {
		if id != azuretest.Cluster && !strings.Contains(id, "/deletedVaults/") {
			t.Errorf("%s is left", id)
		}
	}
	if status, out = d.run(t, nil, podwatch, "doctor", "--subscription", azuretest.Subscription); status != 3 || !strings.Contains(out, "podwatch is not deployed there") {
		t.Errorf("doctor ended with %d:\n%s", status, out)
	}
	var page struct {
		Findings []struct{ Check, State, Cure string }
	}
	if _, out = d.run(t, nil, podwatch, "doctor", "--subscription", azuretest.Subscription, "--json"); json.NewDecoder(strings.NewReader(out)).Decode(&page) != nil ||
		len(page.Findings) != 1 || page.Findings[0].State != "failed" || page.Findings[0].Cure == "" {
		t.Errorf("doctor --json prints %s", out)
	}
	wellMannered(t, d.calls(t))
}

// wellMannered holds the calls of the Azure CLI against what a caller must be able to
// rely on.
func wellMannered(t *testing.T, calls string) {
	t.Helper()
	for call := range strings.Lines(calls) {
		if strings.HasPrefix(call, "deployment ") && !strings.Contains(call, "--subscription "+azuretest.Subscription) {
			t.Errorf("the subscription is not named: az %s", call)
		}
	}
	for _, wrong := range []string{"account set", "standard input", secret, "--parameters  ", "signed-in-user", "operatorPrincipal", "deployment sub show", "config-zip"} {
		if strings.Contains(calls, wrong) {
			t.Errorf("the calls hold %q:\n%s", wrong, calls)
		}
	}
}

// What stops deploy.sh, before and while it deploys.
func TestDeployStops(t *testing.T) {
	t.Parallel()
	full := []string{azuretest.Subscription, "westeurope", "my.bicepparam"}
	for name, c := range map[string]struct {
		desk   func(d *desk)
		env    []string
		args   []string
		status int
		want   []string
		calls  string // what must not have been called
	}{
		"no subscription":            {args: []string{"", "westeurope"}, status: 2, want: []string{"infra/deploy.sh SUBSCRIPTION LOCATION"}, calls: "."},
		"no location":                {args: []string{azuretest.Subscription, ""}, status: 2, want: []string{"infra/deploy.sh SUBSCRIPTION LOCATION"}, calls: "."},
		"a name for an id":           {args: []string{"my subscription", "westeurope", "my.bicepparam"}, status: 2, want: []string{"is not the id of a subscription"}, calls: "deployment"},
		"another subscription":       {args: []string{"00000000-0000-0000-0000-000000000001", "westeurope", "my.bicepparam"}, status: 3, want: []string{"SubscriptionNotFound", "az account list"}, calls: "deployment"},
		"no package":                 {env: []string{"PACKAGE=nowhere.zip"}, args: full, status: 3, want: []string{"nowhere.zip does not exist", "make package"}, calls: "deployment"},
		"no podwatch":                {env: []string{"PODWATCH=nowhere/podwatch"}, args: full, status: 127, want: []string{"nowhere/podwatch"}, calls: "."},
		"no parameters":              {args: []string{azuretest.Subscription, "westeurope", "nowhere.bicepparam"}, status: 1, want: []string{"nowhere.bicepparam"}, calls: "deployment"},
		"the vault may not be asked": {desk: func(d *desk) { d.Fail(-1, "GET", "deletedVaults", 403, "") }, args: full, status: 3, want: []string{"failed   vault"}, calls: "deployment"},
		"Teams is not certain": {desk: func(d *desk) { d.Teams = true; d.Fail(-1, "GET", "secrets/teams-webhook-url", 429, "") }, args: full, status: 3,
			want: []string{"whether the vault holds the Teams address is not known", "TEAMS_WEBHOOK_URL"}, calls: "deployment"},
		"a policy forbids it": {desk: func(d *desk) {
			d.Broken = `{"error":{"code":"RequestDisallowedByPolicy","message":"Resource was disallowed by policy 'no keys'."}}`
		}, args: full, status: 1, want: []string{`ERROR: {"error":`, "a policy forbids it (RequestDisallowedByPolicy: Resource was disallowed by policy 'no keys'.)", "do: get an exemption"}, calls: "publish"},
		"not signed in": {env: []string{"FAKE_AZ=signed-out"}, args: full, status: 1, want: []string{"Please run 'az login'"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			if name == "Teams is not certain" {
				d.Do(func() { d.Teams = true })
				d.Deploy(t)
			}
			if c.desk != nil {
				c.desk(d)
			}
			status, out := d.script(t, "deploy.sh", slices.Concat([]string{"PACKAGE=" + filepath.Join(d.built, "dist.zip")}, c.env), c.args...)
			if status != c.status {
				t.Errorf("it ended with %d, want %d:\n%s", status, c.status, out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			calls := d.calls(t)
			if c.calls != "" && regexp.MustCompile(c.calls).MatchString(calls) {
				t.Errorf("it went on:\n%s", calls)
			}
			wellMannered(t, calls)
		})
	}
}

// A second region has a deployment of its own name.
func TestDeployToASecondRegion(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Deploy(t)
	d.Put(azuretest.Cluster, "northeurope", map[string]any{})
	d.Do(func() { d.Broken = `{"error":{"code":"Stop","message":"here"}}` })
	_, out := d.script(t, "deploy.sh", []string{"PACKAGE=" + filepath.Join(d.built, "dist.zip")}, azuretest.Subscription, "northeurope", "my.bicepparam")
	if calls := d.calls(t); !strings.Contains(calls, "--name podwatch-northeurope") || strings.Contains(out, "InvalidDeploymentLocation") {
		t.Errorf("calls:\n%s\n%s", calls, out)
	}
}

func TestGrantGraph(t *testing.T) {
	t.Parallel()
	const post = "rest --method post"
	for name, c := range map[string]struct {
		env    []string
		args   []string
		status int
		says   string
		posts  bool
	}{
		"granted":                  {args: []string{tenant, "principal"}, says: "granted Directory.Read.All", posts: true},
		"another permission":       {args: []string{tenant, "principal", "User.Read.All"}, says: "granted User.Read.All", posts: true},
		"a permission that is not": {args: []string{tenant, "principal", "Pods.Read.All"}, status: 1, says: "has no application permission Pods.Read.All"},
		"granted already":          {env: []string{"FAKE_AZ=granted"}, args: []string{tenant, "principal"}, says: "is granted already"},
		"may not be read":          {env: []string{"FAKE_AZ=graph-denied"}, args: []string{tenant, "principal"}, status: 1, says: "Authorization_RequestDenied"},
		"another tenant":           {args: []string{"11111111-1111-1111-1111-111111111111", "principal"}, status: 1, says: "az login --tenant 11111111"},
		"no principal":             {args: []string{tenant, ""}, status: 2, says: "infra/grant-graph.sh TENANT PRINCIPAL_ID"},
		"signed out":               {env: []string{"FAKE_AZ=signed-out"}, args: []string{tenant, "principal"}, status: 1, says: "az login"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			status, out := d.script(t, "grant-graph.sh", c.env, c.args...)
			if calls := d.calls(t); status != c.status || !strings.Contains(out, c.says) || strings.Contains(calls, post) != c.posts {
				t.Errorf("it ended with %d, says %q, calls:\n%s", status, out, calls)
			}
		})
	}
}

// The manners of the stand-in for the Azure CLI, as the real one has them.
func TestTheStandInForAz(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env    []string
		args   string
		status int
		says   string
	}{
		"signed out":              {[]string{"FAKE_AZ=signed-out"}, "deployment sub create --name x", 1, "ERROR: Please run 'az login' to setup account."},
		"an unknown subscription": {nil, "deployment sub create --subscription x --name x", 1, "ERROR: Subscription 'x' not found. Check the spelling and casing and try again."},
		"an empty subscription":   {nil, "account show --query tenantId --subscription", 0, "WARNING: Subscription '' not recognized."},
		"an unknown command":      {nil, "monitor log-analytics query", 2, "ERROR: 'monitor' is misspelled or not recognized by the system."},
		"no such permission":      {nil, "ad sp show --query appRoles[?value=='x'].id", 0, ""},
		"the slash":               {nil, "cloud show", 0, "https://graph.microsoft.com/\n"},
		"rest fails":              {[]string{"FAKE_AZ=graph-denied"}, "rest --method get --url appRoleAssignments", 1, `ERROR: Forbidden({"error":`},
		"a location mismatch":     {nil, "deployment sub create --subscription " + azuretest.Subscription + " --name podwatch-westeurope --location northeurope", 1, "ERROR: {\"error\":{\"code\":\"InvalidDeploymentLocation\""},
		"nothing on output none":  {nil, "deployment sub create --name podwatch-westeurope --location westeurope --output none", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.Deploy(t)
			args := strings.Fields(c.args)
			if name == "an empty subscription" {
				args = append(args, "")
			}
			status, out := d.run(t, c.env, filepath.Join(strings.SplitN(d.env[0][len("PATH="):], ":", 2)[0], "az"), args...)
			if status != c.status || !strings.HasPrefix(out, c.says) || c.says == "" && out != "" {
				t.Errorf("it ended with %d and %q, want %d and %q", status, out, c.status, c.says)
			}
		})
	}
}
