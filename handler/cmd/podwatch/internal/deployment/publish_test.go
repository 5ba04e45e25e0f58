package deployment

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
)

const uploadFailed = `InaccessibleStorageException: Failed to access storage account for deployment: BlobUploadFailedException: Failed to upload blob to storage account: Response status code does not indicate success: `

func TestPublish(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		azure func(w *world)
		want  string // part of the error; "": it runs
		cure  string
		least time.Duration // how long it tried at least
		most  time.Duration
	}{
		"at once": {most: time.Minute},
		"the functions are listed after the fourth synchronization": {func(w *world) { w.Syncs = 4 }, "", "", 30 * time.Second, 2 * time.Minute},
		"WarmUp for good": {func(w *world) { w.Syncs = 1e6 }, "Detect, Heartbeat, Redeliver not loaded yet (the app lists: WarmUp)", "", loadWithin, loadWithin + time.Minute},
		"the role acts after two minutes": {func(w *world) {
			w.Fail(8, "POST", "/api/publish", 400, uploadFailed+"403 (This request is not authorized to perform this operation using this permission.).")
		}, "", "", 2 * time.Minute, 3 * time.Minute},
		"the role never acts": {func(w *world) {
			w.Fail(-1, "POST", "/api/publish", 400, uploadFailed+"403 (This request is not authorized)")
		}, "the app's identity may not write the package yet", "Storage Blob Data Owner", 5 * time.Minute, 6 * time.Minute},
		"the account's network is closed": {func(w *world) {
			w.Fail(-1, "POST", "/api/publish", 400, uploadFailed+"403 (This request is not authorized)")
			w.Change(azuretest.Storage, "publicNetworkAccess", "Disabled")
		}, "stpodwatchtoken has public network access disabled", "open the network", 0, time.Second},
		"a network rule denies": {func(w *world) {
			w.Fail(-1, "POST", "/api/publish", 400, uploadFailed+"403 (This request is not authorized)")
			w.Change(azuretest.Storage, "networkAcls", map[string]any{"defaultAction": "Deny"})
		}, "the network rules of stpodwatchtoken deny", "open the network", 0, time.Second},
		"the container was deleted": {func(w *world) {
			w.Fail(-1, "POST", "/api/publish", 400, uploadFailed+"404 (The specified container does not exist.)")
		}, "the container of packages does not exist", "deploy the template again", 0, time.Second},
		"a token of another tenant":             {func(w *world) { w.Fail(-1, "POST", "/api/publish", 401, "") }, "the token is refused", "az login", 0, time.Second},
		"an access restriction":                 {func(w *world) { w.Fail(-1, "POST", "/api/publish", 403, "Ip Forbidden") }, "the SCM site refuses", "Website Contributor", time.Minute, 2 * time.Minute},
		"another deployment for a minute":       {func(w *world) { w.Fail(4, "POST", "/api/publish", 409, "") }, "", "", time.Minute, 2 * time.Minute},
		"another deployment for good":           {func(w *world) { w.Fail(-1, "POST", "/api/publish", 409, "") }, "another package is being published", "wait for it", 2 * time.Minute, 3 * time.Minute},
		"503 for days":                          {func(w *world) { w.Fail(-1, "POST", "/api/publish", 503, "") }, "the service is not available", "try again later", 5 * time.Minute, 6 * time.Minute},
		"throttled once":                        {func(w *world) { w.Fail(1, "POST", "/api/publish", 429, "") }, "", "", 15 * time.Second, time.Minute},
		"not known at first":                    {func(w *world) { w.Unknown = 4 }, "", "", 4 * time.Second, time.Minute},
		"forgotten when the worker is recycled": {func(w *world) { w.Recycled = true; w.Statuses = []int{1} }, "", "", 0, time.Minute},
		"under way for a minute": {func(w *world) {
			for range 60 {
				w.Statuses = append(w.Statuses, 2)
			}
			w.Statuses = append(w.Statuses, 4)
		}, "", "", time.Minute, 2 * time.Minute},
		"under way for ever": {func(w *world) { w.Statuses = []int{2} }, "gave up after 10m0s: the package is being deployed", "", publishWithin, publishWithin + time.Minute},
		"failed":             {func(w *world) { w.Statuses, w.Failure = []int{1, 3}, "Deployment of the package failed" }, "Deployment of the package failed [KuduSpecializer] done", "", 0, time.Minute},
		"canceled":           {func(w *world) { w.Statuses, w.Failure = []int{-1}, "was canceled" }, "was canceled", "", 0, time.Minute},
		"partly":             {func(w *world) { w.Statuses, w.Failure = []int{6}, "a part only" }, "a part only", "", 0, time.Minute},
		"conflict for good":  {func(w *world) { w.Statuses, w.Failure = []int{5}, "conflict" }, "another package is being published", "", 2 * time.Minute, 3 * time.Minute},
		"failed by a new role": {func(w *world) {
			w.Statuses, w.Failure = []int{3}, "InaccessibleStorageException: [StorageAccessibleCheck] 403"
		},
			"may not reach the package's storage yet", "Storage Blob Data Owner", 5 * time.Minute, 6 * time.Minute},
		"the handler ends at its start": {func(w *world) { w.Host = []string{"Exceeded language worker restart retry count"} },
			"v2 is published, and does not run: gave up after 10m0s: the host does not run", "read the app's log", loadWithin, loadWithin + time.Minute},
		"the host reports an error": {func(w *world) {
			w.Fail(-1, "GET", "hostruntime/admin/host/status", 200, `{"state":"Error","errors":["Value cannot be null"]}`)
		}, "v2 is published, and does not run: gave up after 5m0s: the host reports: Value cannot be null", "", hostWithin, hostWithin + time.Minute},
		"the old package goes on":          {func(w *world) { w.Hanging = true }, "nothing shows that it runs: gave up after 20m0s: v1 ran at", "", startWithin, startWithin + time.Minute},
		"the workspace may not be queried": {func(w *world) { w.Fail(-1, "GET", "/logs$", 403, "") }, "nothing shows that it runs: gave up after 1h0m0s: you may not query", "Log Analytics Reader", time.Hour, 61 * time.Minute},
		"telemetry comes late": {func(w *world) {
			w.Fail(6, "GET", "/logs$", 400, `{"error":{"innererror":{"code":"SEM0100","message":"Failed to resolve table or column expression named 'AppTraces'"}}}`)
		}, "", "", 0, 3 * time.Minute},
		"a runtime that is not custom": {func(w *world) {
			w.Change(azuretest.App, "functionAppConfig", map[string]any{"runtime": map[string]any{"name": "node"}})
		}, `the app's runtime is "node"`, "", 0, time.Second},
		"no SCM site": {func(w *world) { w.Change(azuretest.App, "hostNameSslStates", []any{}) }, "the app has no SCM site", "", 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := deployed(t)
			if c.azure != nil {
				c.azure(w)
			}
			begin := w.time()
			err := w.find(t).Publish(t.Context(), testPackage(t, "v2"))
			took := w.time().Sub(begin)
			if took < c.least || took > c.most {
				t.Errorf("it took %v, want %v to %v", took, c.least, c.most)
			}
			if c.want == "" {
				if err != nil || w.Running != "v2" {
					t.Errorf("got %v, running %q\n%s", err, w.Running, strings.Join(w.said, "\n"))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			var failure *azure.Failure
			if c.cure != "" && (!errors.As(err, &failure) || !strings.Contains(failure.Cure, c.cure)) {
				t.Errorf("got %v with the cure %q, want %q", err, failure, c.cure)
			}
		})
	}
}

// Interrupted while the SCM site works, it ends at once; a second call ends the work.
func TestPublishIsInterrupted(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Statuses = []int{1}
	ctx, interrupt := context.WithCancel(t.Context())
	sleep := w.c.Sleep
	w.c.Sleep = func(ctx context.Context, d time.Duration) error { interrupt(); return sleep(ctx, d) }
	if err := w.find(t).Publish(ctx, testPackage(t, "v2")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.c.Sleep = sleep
	w.Do(func() { w.Statuses = nil })
	if err := w.find(t).Publish(t.Context(), testPackage(t, "v2")); err != nil || w.Running != "v2" {
		t.Errorf("got %v, %q runs", err, w.Running)
	}
}

func TestPublishOnThePremiumPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Plan, w.Teams = "premium", true
	w.Deploy(t)
	w.Settings["WEBSITE_RUN_FROM_PACKAGE"] = ""
	for _, version := range []string{"v1", "v2"} {
		if err := w.find(t).Publish(t.Context(), testPackage(t, version)); err != nil {
			t.Fatal(err)
		}
		if s := w.AppSettings(); !strings.HasSuffix(s["WEBSITE_RUN_FROM_PACKAGE"], "/deployments/podwatch-"+version+".zip") || !strings.HasPrefix(s["TEAMS_WEBHOOK_URL"], "@Microsoft.KeyVault(") || w.Running != version {
			t.Errorf("%s: the settings are %v, %q runs", version, s, w.Running)
		}
	}
	if err := w.find(t).Publish(t.Context(), testPackage(t, "v2")); err != nil || len(w.Calls("POST .*/restart")) != 1 {
		t.Errorf("the same package again: %v, %q", err, w.Calls("restart"))
	}
	if len(w.Calls("POST /api/publish")) > 0 {
		t.Error("the SCM site was asked")
	}
	w.Hanging = true
	if err := w.find(t).Publish(t.Context(), testPackage(t, "v3")); err == nil || !strings.Contains(err.Error(), "v2 ran at ") {
		t.Errorf("a restart without effect: %v", err)
	}
}

// The operator's role on the storage account is as new as the deployment.
func TestUploadWaitsForTheRoleAndNotForTheFirewall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code  string
		times int
		want  string
		most  time.Duration
	}{
		"the role acts after a minute": {"AuthorizationPermissionMismatch", 4, "", 2 * time.Minute},
		"the role never acts":          {"AuthorizationPermissionMismatch", 1e6, "gave up after 5m0s: you may not write to the storage account yet", 6 * time.Minute},
		"a firewall":                   {"AuthorizationFailure", 1e6, "the storage account refuses you or your network", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Plan = "premium"
			connection := w.Azure.Settings["AzureWebJobsStorage"]
			blobs := regexp.MustCompile(`BlobEndpoint=(http://[^/]+)`).FindStringSubmatch(connection)[1]
			target, err := url.Parse(blobs)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(target)
			front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".zip") {
					if c.times--; c.times >= 0 {
						rw.Header().Set("X-Ms-Error-Code", c.code)
						rw.WriteHeader(http.StatusForbidden)
						return
					}
				}
				proxy.ServeHTTP(rw, r)
			}))
			defer front.Close()
			w.Azure.Settings["AzureWebJobsStorage"] = strings.Replace(connection, "BlobEndpoint="+blobs, "BlobEndpoint="+front.URL, 1)
			w.Deploy(t)
			begin := w.time()
			err = w.find(t).Publish(t.Context(), testPackage(t, "v1"))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || w.time().Sub(begin) > c.most {
				t.Errorf("got %v after %v, want %q", err, w.time().Sub(begin), c.want)
			}
		})
	}
}

func TestPreviousPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Deploy(t)
	for i, version := range []string{"v1", "v2", "v2"} {
		if _, err := w.find(t).Previous(t.Context()); i < 2 && err == nil {
			t.Error("there is a package before the first")
		}
		if err := w.find(t).Publish(t.Context(), testPackage(t, version)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"v1", "v2"} { // and back again
		d := w.find(t)
		p, err := d.Previous(t.Context())
		if err == nil {
			err = d.Publish(t.Context(), p)
		}
		if err != nil || w.Running != want {
			t.Fatalf("got %v, %q runs, want %s", err, w.Running, want)
		}
	}
}

func TestPackagesThatWouldNotRunAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, want string }{
		"no file":      {"nowhere.zip", "run make package"},
		"no zip":       {"publish_test.go", "it is no zip file"},
		"no host.json": {packageFile(t, "v1", "host.json"), "it has no host.json"},
		"no handler":   {packageFile(t, "v1", "handler"), "missing or not executable"},
		"no version":   {packageFile(t, "v1", VersionFile), "it has no version.txt"},
	} {
		if _, err := OpenPackage(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
