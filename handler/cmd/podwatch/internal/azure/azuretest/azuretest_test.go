package azuretest_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
)

// step is one request to the double and what the real service answers. Sources: the SCM
// site as Azure Developer CLI's funcapp_host_client.go, Functions Action and Core Tools
// read it; the host's state and synchronization as azure-functions-host and its issues
// 4570, 10169 and Functions Action 245 describe them; references as in the types of
// Microsoft.Web; errors of ARM and of queries as the Azure CLI prints them.
type step struct {
	method, path, body string
	status             int
	want               string // part of the answer
}

func TestManners(t *testing.T) {
	t.Parallel()
	const (
		sub    = "/subscriptions/" + azuretest.Subscription
		first  = "00000001-0000-4000-8000-000000000000"
		status = "/api/deployments/" + first
	)
	logs := azuretest.Workspace + "/providers/microsoft.insights/logs?query="
	for name, c := range map[string]struct {
		azure func(a *azuretest.Azure)
		steps []step
	}{
		"a package is accepted with the id as a JSON string, known after some 404, and 200 while it runs": {
			func(a *azuretest.Azure) { a.Unknown, a.Statuses = 2, []int{0, 1, 2, 4} }, []step{
				{"POST", "/api/publish?RemoteBuild=false", "zip", 202, `"` + first + `"`},
				{"GET", status, "", 404, ""}, {"GET", status, "", 404, ""},
				{"GET", status, "", 200, `"status":0`}, {"GET", status, "", 200, `"status":1`}, {"GET", status, "", 200, `"status":2`}, {"GET", status, "", 200, `"status":4`},
				{"GET", status + "/log", "", 200, `"message"`}, {"GET", "/api/deployments/latest", "", 200, first}, {"GET", "/api/deployments/other", "", 404, ""},
			}},
		"a failure is 200 as well":  {func(a *azuretest.Azure) { a.Statuses, a.Failure = []int{3}, "InaccessibleStorageException" }, []step{{"POST", "/api/publish", "zip", 202, ""}, {"GET", status, "", 200, `"status_text":"InaccessibleStorageException"`}}},
		"a recycled worker forgets": {func(a *azuretest.Azure) { a.Recycled, a.Statuses = true, []int{1} }, []step{{"POST", "/api/publish", "zip", 202, ""}, {"GET", status, "", 200, `"status":1`}, {"GET", status, "", 404, ""}}},
		"no functions before a package, WarmUp until a synchronization": {func(a *azuretest.Azure) { a.Syncs = 1 }, []step{
			{"GET", azuretest.App + "/functions", "", 200, `"value":[]`}, {"POST", "/api/publish", "zip", 202, ""}, {"GET", azuretest.App + "/functions", "", 200, "/WarmUp"},
			{"POST", azuretest.App + "/host/default/sync", "", 204, ""}, {"GET", azuretest.App + "/functions", "", 200, "/WarmUp"},
			{"POST", azuretest.App + "/host/default/sync", "", 204, ""}, {"GET", azuretest.App + "/functions", "", 200, "/Detect"},
		}},
		"a host that is down": {func(a *azuretest.Azure) { a.Host = []string{"boom"} }, []step{
			{"POST", azuretest.App + "/host/default/sync", "", 400, "Encountered an error (ServiceUnavailable) from host runtime."},
			{"GET", azuretest.App + "/hostruntime/admin/host/status", "", 200, `"state":"Error"`}, {"GET", azuretest.App, "", 200, `"state":"Running"`},
		}},
		"references": {func(a *azuretest.Azure) { a.Status["TEAMS_WEBHOOK_URL"], a.Refresh = "AccessToKeyVaultDenied", 1 }, []step{
			{"GET", azuretest.App + "/config/configreferences/appsettings", "", 200, `"status":"AccessToKeyVaultDenied"`},
			{"POST", azuretest.App + "/config/configreferences/appsettings/refresh", "", 200, ""},
			{"GET", azuretest.App + "/config/configreferences/appsettings", "", 200, `"status":"Resolved"`},
		}},
		"settings are replaced as a whole": {nil, []step{
			{"PUT", azuretest.App + "/config/appsettings", `{"properties":{"A":"b"}}`, 200, ""}, {"POST", azuretest.App + "/config/appsettings/list", "", 200, `{"properties":{"A":"b"}}`},
		}},
		"queries": {func(a *azuretest.Azure) { a.NoTable = true }, []step{
			{"GET", logs + "PodwatchAlerts_CL", "", 400, `"code":"SEM0100"`}, {"GET", logs + "DCRLogErrors", "", 200, `"rows":[]`},
		}},
		"a name is bound to its location": {nil, []step{{"PUT", azuretest.Record, `{"location":"northeurope"}`, 400, "InvalidDeploymentLocation"}}},
		"a failed run replaces the record of a good one": {func(a *azuretest.Azure) { a.Broken = `{"error":{"code":"X","message":"y"}}` }, []step{
			{"PUT", azuretest.Record, `{"location":"westeurope"}`, 409, "DeploymentFailed"}, {"GET", azuretest.Record, "", 200, `"outputs":null`},
		}},
		"a deleted vault": {nil, []step{
			{"DELETE", azuretest.Group, "", 200, ""}, {"DELETE", azuretest.Group, "", 404, "ResourceGroupNotFound"}, {"GET", sub + "/providers/Microsoft.KeyVault/deletedVaults", "", 200, "kv-podwatch-token"},
			{"PUT", azuretest.Record, `{"location":"westeurope"}`, 409, "VaultAlreadyExists"},
			{"PUT", azuretest.Record, `{"location":"westeurope","overrides":{"recoverVault":"true"}}`, 201, ""},
			{"PUT", azuretest.Record, `{"location":"westeurope","overrides":{"recoverVault":"true"}}`, 409, "SoftDeletedVaultDoesNotExist"},
		}},
		"a setting that never existed is deleted": {nil, []step{{"DELETE", azuretest.Cluster + "x/providers/Microsoft.Insights/diagnosticSettings/y", "", 200, ""}}},
		"other things that do not exist":          {nil, []step{{"DELETE", azuretest.Cluster + "x", "", 204, ""}, {"GET", azuretest.Cluster + "x", "", 404, "ResourceNotFound"}, {"GET", "/subscriptions/other/x", "", 404, "SubscriptionNotFound"}}},
		"throttling": {func(a *azuretest.Azure) { a.Fail(1, "GET", "functions", 429, "") }, []step{
			{"GET", azuretest.App + "/functions", "", 429, "Too Many Requests"}, {"GET", azuretest.App + "/functions", "", 200, "value"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := azuretest.Start(t)
			a.Teams = true
			a.Deploy(t)
			if c.azure != nil {
				c.azure(a)
			}
			for i, s := range c.steps {
				status, body := request(t, a, s)
				if status != s.status || !strings.Contains(body, s.want) {
					t.Errorf("step %d, %s %s: %d %s, want %d with %q", i, s.method, s.path, status, body, s.status, s.want)
				}
			}
		})
	}
}

func request(t *testing.T, a *azuretest.Azure, s step) (int, string) {
	t.Helper()
	body, kind := []byte(s.body), "application/json"
	if s.body == "zip" {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		_, err := z.Create("host.json")
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		body, kind = b.Bytes(), "application/zip"
	}
	r, err := http.NewRequestWithContext(t.Context(), s.method, a.URL+s.path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
