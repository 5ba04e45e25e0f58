package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// line returns one line of a page.
func line(t *testing.T, p *Page, check string) Finding {
	t.Helper()
	i := slices.IndexFunc(p.Findings, func(f Finding) bool { return f.Check == check })
	if i < 0 {
		t.Fatalf("the page has no line %q", check)
	}
	return p.Findings[i]
}

func TestDoctorOfAPodwatchThatRuns(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	before := len(w.Calls("^(PUT|POST|DELETE)"))
	page := w.doctor(t, Options{}, nil)
	if page.State() != OK || len(page.Findings) != len(checks)+1 {
		t.Errorf("the page is:\n%s", w.text(page))
	}
	for _, call := range w.Calls("^(PUT|POST|DELETE)")[before:] {
		if !strings.HasSuffix(call, "/config/appsettings/list") {
			t.Errorf("doctor changes something: %s", call)
		}
	}
	for _, want := range []string{"resource group rg-podwatch-westeurope", "v1 runs, as it logged 24 h ago", "the activity log, cluster aks-shop", "aks-shop 0 s ago"} {
		if !strings.Contains(w.text(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, w.text(page))
		}
	}
}

// Each state of Azure shows on a line of its own, and the page is not ok.
func TestDoctorSees(t *testing.T) {
	t.Parallel()
	unresolved := func(status string) func(*world) {
		return func(w *world) { w.Status["TEAMS_WEBHOOK_URL"] = status }
	}
	const semantic = `{"error":{"code":"BadArgumentError","innererror":{"code":"SemanticError","innererror":{"code":"SEM0100","message":"Failed to resolve `
	for name, c := range map[string]struct {
		azure func(w *world)
		line  string
		state State
		says  string
		cure  string
	}{
		"the latest deployment failed": {func(w *world) {
			w.Change(azuretest.Record, "provisioningState", "Failed")
			w.Change(azuretest.Record, "error", json.RawMessage(`{"code":"DeploymentFailed","details":[{"code":"Conflict","message":"{\"error\":{\"code\":\"RequestDisallowedByPolicy\",\"message\":\"disallowed by policy 'no keys'\"}}"}]}`))
		}, "deployment", Failed, "a policy forbids it (RequestDisallowedByPolicy: disallowed by policy 'no keys')", "exemption"},
		"a deployment is running":       {func(w *world) { w.Change(azuretest.Record, "provisioningState", "Running") }, "deployment", Waiting, "which is running", ""},
		"the deployment did not finish": {func(w *world) { w.Remove(azuretest.Rule); w.Remove(azuretest.Workspace) }, "deployment", Failed, "no workspace, no data collection rule", "make deploy"},
		"the record may not be read":    {func(w *world) { w.Fail(-1, "GET", "deployments/podwatch-westeurope", 403, "") }, "deployment", Failed, "you are not allowed to", "role"},

		"another package started": {func(w *world) { w.Running = "v0" }, "package", Failed, ", and v0 ran at ", "publish"},
		"no handler started":      {func(w *world) { w.Running = "" }, "package", Failed, "no handler has logged anything", "log stream"},
		"the latest publication failed": {func(w *world) {
			w.Statuses, w.Failure = []int{3}, "InaccessibleStorageException 403"
		}, "package", Failed, "the latest publication failed: InaccessibleStorage", "Storage Blob Data Owner"},
		"queries are refused":  {func(w *world) { w.Fail(-1, "GET", "/logs$", 403, "") }, "package", Failed, "you may not query", "Log Analytics Reader"},
		"queries are broken":   {func(w *world) { w.Fail(-1, "GET", "/logs$", 400, semantic+`scalar expression named 'Line'"}}}}`) }, "package", Failed, "refuses the query", "version"},
		"queries time out":     {func(w *world) { w.Fail(-1, "GET", "/logs$", 504, "") }, "package", Failed, "not available", "later"},
		"the functions vanish": {func(w *world) { w.Syncs = 1e6 }, "functions", Failed, "Detect, Heartbeat, Redeliver not loaded yet (the app lists: WarmUp)", "publish"},
		"a function is disabled": {func(w *world) {
			w.Fail(-1, "GET", "/functions$", 200, `{"value":[{"name":"f/Detect","properties":{"isDisabled":true}}]}`)
		}, "functions", Failed, "Detect is disabled", "enable"},
		"the app is stopped": {func(w *world) { w.Change(azuretest.App, "state", "Stopped") }, "host", Failed, "the function app is Stopped", "start"},
		"the daily cap is reached": {func(w *world) {
			w.Change(azuretest.Workspace, "workspaceCapping", map[string]any{"dataIngestionStatus": "OverQuota"})
		}, "rows", Failed, "takes no rows: OverQuota", "daily cap"},
		"the app reads another hub": {func(w *world) { w.AppSetting("EventHub__fullyQualifiedNamespace", "other.servicebus.windows.net") }, "event hub", Failed, "reads a hub of other", "deploy"},
		"the setting names another hub": {func(w *world) {
			w.Change(azuretest.Cluster+azuretest.Setting, "eventHubName", "insights-logs-kube-audit")
		}, "exporters", Failed, "exports to the event hub insights-logs-kube-audit", "podwatch"},
		"no rule is set":       {func(w *world) { w.AppSetting("LOG_ANALYTICS_RULE_ID", "") }, "rows", Failed, "writes no rows", "deploy"},
		"the host is in error": {func(w *world) { w.Host = []string{"The listener for function 'Detect' was unable to start"} }, "host", Failed, "unable to start", "log stream"},
		"the host is down": {func(w *world) {
			w.Fail(-1, "GET", "host/status", 400, `{"error":{"code":"BadRequest","message":"Encountered an error (BadGateway) from host runtime."}}`)
		}, "host", Failed, "the host does not run", "log"},

		"the secret is missing":     {unresolved("SecretNotFound"), "teams", Failed, "the vault has no secret of that name. Rows flow, cards wait", "TEAMS_WEBHOOK_URL"},
		"the vault is missing":      {unresolved("VaultNotFound"), "teams", Failed, "does not exist", "TEAMS_WEBHOOK_URL"},
		"the version is missing":    {unresolved("SecretVersionNotFound"), "teams", Failed, "no such version", ""},
		"the vault refuses":         {unresolved("AccessToKeyVaultDenied"), "teams", Failed, "role on the secret is missing or new, or the vault's network is closed", "Key Vault Secrets User"},
		"the identity is refused":   {unresolved("UnauthorizedClient"), "teams", Failed, "refuses the app's identity", ""},
		"no identity":               {unresolved("MSINotEnabled"), "teams", Failed, "no identity", ""},
		"the reference is wrong":    {unresolved("InvalidSyntax"), "teams", Failed, "misspelled", ""},
		"the vault does not answer": {unresolved("FetchTimedOut"), "teams", Failed, "did not answer", ""},
		"some other reason":         {unresolved("OtherReasons"), "teams", Failed, "not resolved", ""},
		"never looked up":           {unresolved("Initialized"), "teams", Failed, "not been looked up", "run doctor again"},
		"a status that is new":      {unresolved("Whatever"), "teams", Failed, "not resolved: Whatever", ""},
		"the vault is closed": {func(w *world) {
			unresolved("AccessToKeyVaultDenied")(w)
			w.Change(azuretest.Vault, "publicNetworkAccess", "Disabled")
		}, "teams", Failed, "kv-podwatch-token has public network access disabled", "network"},

		"another rule":            {func(w *world) { w.Change(azuretest.Rule, "immutableId", "dcr-2") }, "rows", Failed, "another data collection rule", "deploy"},
		"another stream":          {func(w *world) { w.Change(azuretest.Rule, "streamDeclarations", map[string]any{}) }, "rows", Failed, "does not know the stream", "deploy"},
		"an old table":            {func(w *world) { w.Change(azuretest.Workspace+"/tables/PodwatchAlerts_CL", "schema", map[string]any{}) }, "rows", Failed, "lacks the column PodwatchVersion", "before its package"},
		"rows are refused":        {func(w *world) { w.Refused = "column X" }, "rows", Failed, "refused rows", "template"},
		"local auth is off":       {func(w *world) { w.Change(azuretest.Namespace, "disableLocalAuth", true) }, "event hub", Failed, "refuses keys", "policy"},
		"the namespace is broken": {func(w *world) { w.Change(azuretest.Namespace, "status", "Disabled") }, "event hub", Failed, "the namespace is Disabled", "portal"},

		"nothing exports": {func(w *world) {
			w.Remove("/subscriptions/" + azuretest.Subscription + azuretest.Setting)
			w.Remove(azuretest.Cluster + azuretest.Setting)
		},
			"exporters", Failed, "nothing of this subscription exports", "exportActivityLog"},
		"the setting lacks deletions":    {func(w *world) { w.Change("/subscriptions/"+azuretest.Subscription+azuretest.Setting, "logs", []any{}) }, "exporters", Failed, "does not export deletions", "Administrative"},
		"the cluster exports metrics":    {func(w *world) { w.Change(azuretest.Cluster+azuretest.Setting, "logs", []any{}) }, "exporters", Failed, "exports no audit log", "kube-audit-admin"},
		"the clusters may not be listed": {func(w *world) { w.Fail(-1, "GET", "managedClusters$", 403, "") }, "exporters", Failed, "not allowed", "role"},

		"a source is silent": {func(w *world) {
			feed := state.NewFeed(w.storage.Documents(state.StateContainer), time.Minute, w.time)
			w.pass(2 * time.Hour)
			if notices, err := feed.Check(context.Background(), nil); err == nil && len(notices) > 0 {
				_ = feed.Told(context.Background(), notices[0])
			}
			w.Do(func() { w.Beat = w.now })
		}, "sources", Failed, "silent, last record: the event hub 2 h ago", "diagnostic settings"},
		"nothing was ever read": {func(w *world) {
			_ = w.storage.Documents(state.StateContainer).Delete(context.Background(), state.Document{Name: "feed"})
		}, "sources", Failed, "no record was ever read", "exporters"},
		"no heartbeat":        {func(w *world) { w.Beat = w.now.Add(-time.Hour) }, "heartbeat", Failed, "the last heartbeat is 60 min ago", "host"},
		"never a heartbeat":   {func(w *world) { w.Beat = time.Time{} }, "heartbeat", Failed, "not run in 30 days", "functions"},
		"an error in the log": {func(w *world) { w.Error = `{"level":"ERROR","msg":"a sink refuses podwatch"}` }, "errors", Failed, "a sink refuses podwatch", "operate.md"},
		"alerts wait":         {func(w *world) { _ = w.storage.Queue(storage.UndeliveredQueue).Put(context.Background(), []byte("x")) }, "queue", Waiting, "1 alerts are in the queue", ""},
		"alerts are given up": {func(w *world) { _ = w.storage.Queue(storage.PoisonQueue).Put(context.Background(), []byte("x")) }, "queue", Waiting, "poison queue", ""},
		"there are dead letters": {func(w *world) {
			_ = state.NewDeadLetters(w.storage.Documents(state.StateContainer), time.Now).Add(context.Background(), []byte("x"), "no")
		}, "queue", Failed, "1 alerts were given up", "requeue"},
		"unreadable messages": {func(w *world) {
			_, _ = w.storage.Documents(storage.UnreadableContainer).Create(context.Background(), "a", []byte("x"))
		}, "unreadable", Failed, "1 messages could not be read", "replay"},
		"a role is missing": {func(w *world) {
			w.Remove(azuretest.Rule + "/providers/Microsoft.Authorization/roleAssignments/3913510d-42f4-4e42-8a64-420c390055eb")
		},
			"roles", Failed, "lacks Monitoring Metrics Publisher on dcr-podwatch-token (no row is written)", "deploy"},
		"the secret's role is missing": {func(w *world) {
			w.Remove(azuretest.Secret + "/providers/Microsoft.Authorization/roleAssignments/4633458b-17de-408a-b874-0445c86b69e6")
		},
			"roles", Failed, "lacks Key Vault Secrets User", "deploy"},
		"a role is new": {func(w *world) {
			w.Change(azuretest.Rule+"/providers/Microsoft.Authorization/roleAssignments/3913510d-42f4-4e42-8a64-420c390055eb", "createdOn", w.now.Add(-10*time.Minute))
		}, "roles", Waiting, "roles to take effect", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := deployed(t)
			c.azure(w)
			page := w.doctor(t, Options{}, nil)
			got := line(t, page, c.line)
			if got.State != c.state || !strings.Contains(got.Says, c.says) || !strings.Contains(got.Cure, c.cure) || (got.State == Failed) != (got.Cure != "") {
				t.Errorf("the line is %+v, want %s, %q, cure %q", got, c.state, c.says, c.cure)
			}
			if page.State() == OK {
				t.Errorf("the page is ok:\n%s", w.text(page))
			}
		})
	}
}

// A fresh deployment is waiting, and says for what and since when.
func TestDoctorOfAFreshDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := w.doctor(t, Options{}, nil)
	if page.State() != Failed || !strings.Contains(page.Findings[0].Says, "podwatch is not deployed there") {
		t.Errorf("before everything:\n%s", w.text(page))
	}
	w.Deploy(t)
	page = w.doctor(t, Options{Send: true}, nil) // which has no hub and would panic
	if f := line(t, page, "package"); f.State != Failed || f.Says != "no package was published" {
		t.Errorf("before a package:\n%s", w.text(page))
	}
	if f := line(t, page, "row"); f.State != Waiting {
		t.Errorf("the row is %+v", f)
	}
	w.Do(func() { w.NoTelemetry = true })
	if err := w.find(t).Publish(t.Context(), testPackage(t, "v1")); err == nil {
		t.Error("a package of which nothing is known runs")
	}
	w.Do(func() { w.now = w.now.Add(-25 * time.Minute) }) // as right after it was published
	page = w.doctor(t, Options{}, nil)
	for check, says := range map[string]string{"package": "first log line of v1", "sources": "90 minutes", "heartbeat": "first heartbeat", "rules": "first log line", "roles": "30 minutes"} {
		if f := line(t, page, check); f.State != Waiting || f.Since.IsZero() || !strings.Contains(f.Says, says) {
			t.Errorf("%s is %+v, want waiting for %q", check, f, says)
		}
	}
	if f := line(t, page, "teams"); f.State != OK || !strings.Contains(f.Says, "no cards") {
		t.Errorf("teams is %+v", f)
	}
	if page.State() != Waiting {
		t.Errorf("the page is:\n%s", w.text(page))
	}
}

func TestDoctorOfWhatAnotherToolPublished(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	archive := testPackage(t, "v7").data
	resp, err := http.Post(w.URL+"/api/publish?Deployer=core_tools", "application/zip", bytes.NewReader(archive))
	if err == nil {
		resp.Body.Close()
		resp, err = http.Get(w.URL + "/api/deployments/latest")
	}
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.Do(func() { w.Syncs = -1 })
	if page := w.doctor(t, Options{}, nil); page.State() != OK || !strings.Contains(line(t, page, "package").Says, "v7 runs") {
		t.Errorf("the page is:\n%s", w.text(page))
	}
}

func TestDoctorChoosesAmongDeployments(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.PutGroup("/subscriptions/"+azuretest.Subscription+"/resourceGroups/rg-podwatch-northeurope", "northeurope")
	_, err := Find(t.Context(), w.c, Target{Subscription: azuretest.Subscription})
	if err == nil || !strings.Contains(err.Error(), "--resource-group (rg-podwatch-northeurope, rg-podwatch-westeurope)") {
		t.Errorf("got %v", err)
	}
	if d, err := Find(t.Context(), w.c, Target{Subscription: azuretest.Subscription, Location: "West Europe"}); err != nil || d.Group != "rg-podwatch-westeurope" {
		t.Errorf("got %+v, %v", d, err)
	}
	for _, id := range []string{"", "my subscription", azuretest.Subscription + "/x"} {
		if _, err := Find(t.Context(), w.c, Target{Subscription: id}); err == nil || !strings.Contains(err.Error(), "--subscription") {
			t.Errorf("subscription %q: %v", id, err)
		}
	}
}

// podwatch stands in for what consumes the hub: it writes the row and, unless the
// version is empty, the ledger's mark.
func (w *world) podwatch(t *testing.T, version, outcome string) func(context.Context, hub.Connection, []byte) error {
	return func(ctx context.Context, _ hub.Connection, body []byte) error {
		var m struct{ Records []json.RawMessage }
		if err := json.Unmarshal(body, &m); err != nil {
			return err
		}
		e, err := event.Read(m.Records[0], 0)
		if err != nil || !strings.EqualFold(e.Operation(), "microsoft.kubernetes/connectedclusters/pods/delete") || e.Outcome() != "success" {
			t.Errorf("the deletion is %s: %v", body, err)
			return err
		}
		if version != "" {
			w.Do(func() {
				w.Rows = append(w.Rows, map[string]any{"CorrelationId": e.CorrelationID(), "AlertId": e.CorrelationID(), "PodwatchVersion": version, "Suppressed": outcome == "suppressed", "SuppressedBy": "tests"})
			})
		}
		if outcome != "" {
			_, err = w.storage.Documents(state.LedgerContainer).Create(ctx, "teams/"+e.CorrelationID(), []byte(`{"outcome":"`+outcome+`"}`))
		}
		return err
	}
}

func TestDoctorSends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version, outcome string
		azure            func(*world)
		refused          int // how often the hub refuses the identity
		err              error
		line             string
		state            State
		says             string
		least, most      time.Duration
	}{
		"a row and a card":              {version: "v1", outcome: "accepted", line: "card", state: OK, says: "Teams accepted it", most: time.Minute},
		"the role on the hub is new":    {version: "v1", outcome: "accepted", refused: 9, line: "card", state: OK, least: 3 * time.Minute, most: 4 * time.Minute},
		"the role never comes":          {refused: 1e6, line: "deletion", state: Failed, says: "gave up after 15m0s: your role on the event hub", least: sendWithin, most: sendWithin + time.Minute},
		"an error that does not pass":   {err: errors.New("no such hub"), line: "deletion", state: Failed, says: "no such hub", most: time.Minute},
		"no row":                        {line: "row", state: Failed, says: "gave up after 30m0s", least: rowWithin, most: rowWithin + time.Minute},
		"the hub is late and no row":    {refused: 40, line: "row", state: Failed, says: "gave up after 30m0s", least: sendWithin - 2*time.Minute + rowWithin, most: sendWithin + rowWithin + time.Minute},
		"the row of an older version":   {version: "v0", outcome: "accepted", line: "row", state: Failed, says: "the rows come from version v0, and v1 was published", most: 2 * time.Minute},
		"no card":                       {version: "v1", line: "card", state: Failed, says: "gave up after 5m0s", least: cardWithin, most: cardWithin + time.Minute},
		"the card was given up":         {version: "v1", outcome: "given up", line: "card", state: Failed, says: `"given up"`, most: time.Minute},
		"an exception suppresses it":    {version: "v1", outcome: "suppressed", line: "card", state: Failed, says: `the exception "tests" suppresses`, most: time.Minute},
		"queries may not be made":       {azure: func(w *world) { w.Fail(-1, "GET", "/logs$", 403, "") }, line: "row", state: Waiting, says: "without them no row", most: time.Minute},
		"the table is not there yet":    {version: "v1", outcome: "accepted", azure: func(w *world) { w.NoTable = true }, line: "row", state: Failed, says: "not known to queries yet", least: rowWithin, most: time.Hour},
		"the reference needs a refresh": {version: "v1", outcome: "accepted", azure: func(w *world) { w.Status["TEAMS_WEBHOOK_URL"], w.Refresh = "AccessToKeyVaultDenied", 3 }, line: "card", state: OK, least: 2 * time.Minute, most: 5 * time.Minute},
		"Teams is not set up":           {version: "v1", azure: func(w *world) { w.AppSetting("TEAMS_WEBHOOK_URL", "") }, line: "card", state: OK, says: "none is wanted", most: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := deployed(t)
			if c.azure != nil {
				c.azure(w)
			}
			begin, podwatch := w.time(), w.podwatch(t, c.version, c.outcome)
			clusters := map[string]bool{}
			page := w.doctor(t, Options{Send: true}, func(ctx context.Context, h hub.Connection, body []byte) error {
				clusters[string(body)] = true
				if c.refused--; c.refused >= 0 {
					return unauthorized{}
				}
				if c.err != nil {
					return c.err
				}
				return podwatch(ctx, h, body)
			})
			got := line(t, page, c.line)
			if got.State != c.state || !strings.Contains(got.Says, c.says) {
				t.Errorf("the line is %+v, want %s %q\n%s", got, c.state, c.says, w.text(page))
			}
			if took := w.time().Sub(begin); took < c.least || took > c.most {
				t.Errorf("it took %v, want %v to %v", took, c.least, c.most)
			}
			if (page.State() == OK) != (c.line == "card" && c.state == OK) && name != "the reference needs a refresh" {
				t.Errorf("the page is:\n%s", w.text(page))
			}
			if name == "the row of an older version" && len(clusters) != 1+resends {
				t.Errorf("%d deletions were sent, want %d", len(clusters), 1+resends)
			}
		})
	}
}

// unauthorized is how the hub's client reports a role that is missing.
type unauthorized struct{}

func (unauthorized) Error() string { return "unauthorized" }
func (unauthorized) RPCCode() int  { return 401 }

func TestARowProvesTheRoles(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Change(azuretest.Rule+"/providers/Microsoft.Authorization/roleAssignments/3913510d-42f4-4e42-8a64-420c390055eb", "createdOn", w.time())
	if page := w.doctor(t, Options{Send: true}, w.podwatch(t, "v1", "accepted")); page.State() != OK {
		t.Errorf("the page is:\n%s", w.text(page))
	}
}
