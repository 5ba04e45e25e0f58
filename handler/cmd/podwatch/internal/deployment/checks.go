package deployment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

func (v *visit) checkParts(ctx context.Context) Finding {
	r, err := readRecord(ctx, v.c, v.Target, v.name())
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	lacks := v.lacks()
	f := ok("all parts are there")
	if len(lacks) > 0 {
		f = failed("make deploy again; it continues where it ended", "the resource group has no %s", strings.Join(lacks, ", no "))
	}
	if r == nil {
		return f
	}
	v.changed = r.Properties.Timestamp
	return r.finding(f)
}

// lacks names the parts that the deployment has not made so far.
func (d *Deployment) lacks() (names []string) {
	for _, part := range []struct{ name, id string }{
		{"function app", d.App}, {"identity", d.Identity}, {"storage account", d.Storage}, {"event hub namespace", d.Namespace},
		{"key vault", d.Vault}, {"workspace", d.Workspace}, {"data collection rule", d.Rule},
	} {
		if part.id == "" {
			names = append(names, part.name)
		}
	}
	return names
}

// checkPackage compares what was published with what runs.
func (v *visit) checkPackage(ctx context.Context) Finding {
	store, err := v.packages(ctx)
	if err == nil {
		v.history, err = store.history(ctx)
	}
	if err != nil {
		return v.storageProblem(err)
	}
	var last published
	if n := len(v.history); n > 0 {
		last = v.history[n-1]
	}
	if f := v.otherTool(ctx, &last); f.State == Failed {
		return f
	}
	if last.Version != "" {
		v.Version = last.Version
		if last.Time.After(v.changed) {
			v.changed = last.Time
		}
	}
	runs, err := v.running(ctx)
	switch other := last.Version != "" && runs.Version != last.Version; {
	case err != nil:
		return v.problem(azure.Querying, err)
	case last.Version == "" && runs.Version == "":
		return failed("bin/podwatch publish --subscription ... dist.zip", "no package was published")
	case other && v.recently(startWithin):
		return waiting(last.Time, "the first log line of %s, which takes 2 to 5 minutes", last.Version)
	case runs.Version == "":
		return failed("read the app's log stream: a setting or a rule is wrong", "%s was published at %s, and no handler has logged anything", last.Version, stamp(last.Time))
	case other:
		return failed("publish it again: bin/podwatch publish --subscription ... dist.zip", "%s was published at %s, and %s ran at %s",
			last.Version, stamp(last.Time), runs.Version, stamp(runs.At))
	}
	return ok("%s runs, as it logged %s ago", runs.Version, ago(v.c.Now().Sub(runs.At)))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// otherTool forgets the record of the last package when a tool that keeps none, such as
// func or azd, has published since. Its line matters when that failed.
func (v *visit) otherTool(ctx context.Context, last *published) Finding {
	site, err := v.Site(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	if !site.Flex() {
		settings, err := v.Settings(ctx)
		if err == nil && !strings.HasSuffix(settings[packageSetting], "/"+blobName(last.Version)) {
			*last = published{}
		}
		return Finding{}
	}
	var latest scmDeployment
	scm, err := v.scm(site)
	if err == nil {
		err = scm.Get(ctx, "/api/deployments/latest", &latest)
	}
	switch {
	case err != nil: // the site is asleep, or closed to this address: the handler's start decides
	case latest.Status >= scmFailed && latest.Status != scmSuccess || latest.Status < 0:
		said := strings.TrimSpace(latest.StatusText + " " + latest.Progress)
		return failed(azure.ExplainText(azure.Publishing, said).Cure, "the latest publication failed: %s", said)
	case latest.ID != last.ID:
		*last = published{}
	}
	return Finding{}
}

func (v *visit) checkFunctions(ctx context.Context) Finding {
	missing, err := v.missingFunctions(ctx)
	switch {
	case err != nil:
		return v.problem(azure.Syncing, err)
	case missing == "":
		return ok("%s are loaded", strings.Join(Functions, ", "))
	case v.recently(loadWithin):
		return waiting(v.changed, "%s", missing)
	}
	return failed("publish again, which asks for a synchronization until they are loaded: bin/podwatch publish --subscription ... dist.zip; enable what is disabled", "%s", missing)
}

func (v *visit) checkHost(ctx context.Context) Finding {
	if site, err := v.Site(ctx); err != nil {
		return v.problem(azure.Anywhere, err)
	} else if site.Properties.State != "Running" {
		return failed("az functionapp start", "the function app is %s", cmp.Or(site.Properties.State, "in no known state"))
	}
	trouble, err := v.hostTrouble(ctx)
	switch {
	case err != nil:
		return v.problem(azure.Syncing, err)
	case trouble == "":
		return ok("runs without errors")
	case v.recently(hostWithin):
		return waiting(v.changed, "a running host: %s", trouble)
	}
	return failed("read the app's log stream: a setting or a rule is wrong", "%s", trouble)
}

// A reference is the state of a setting that refers to Key Vault.
type reference struct {
	Name       string
	Properties struct{ Status, Details string }
}

const webhookSetting = "TEAMS_WEBHOOK_URL"

// checkReferences looks at every reference; that of the Teams address is the usual one.
func (v *visit) checkReferences(ctx context.Context) Finding {
	settings, err := v.Settings(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	list, err := v.references(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	for _, r := range list {
		cause, resolved := azure.Reference(r.Properties.Status)
		if resolved {
			continue
		}
		if closed := v.networkClosed(ctx, v.Vault, apiVault); closed != "" {
			cause = azure.Cause{What: closed, Cure: "let the vault's network be open: references of this plan do not resolve through a closed one"}
		}
		cause.What = fmt.Sprintf("%s: %s. Rows flow, cards wait in the queue", r.Name, strings.TrimSpace(cause.What+" "+r.Properties.Details))
		return v.because(cause, nil)
	}
	value := settings[webhookSetting]
	switch refers := strings.HasPrefix(value, "@Microsoft.KeyVault("); {
	case value == "":
		return ok("not set up: alerts become rows, no cards")
	case refers && !slices.ContainsFunc(list, func(r reference) bool { return strings.EqualFold(r.Name, webhookSetting) }):
		return v.because(azure.Cause{What: "the reference of " + webhookSetting + " is not listed yet", Cure: "restart the app", Passes: 10 * time.Minute}, nil)
	case refers:
		return ok("the address comes from Key Vault")
	}
	return ok("the address stands in the app's settings, readable for everybody who may read them; a Key Vault reference hides it")
}

func (v *visit) references(ctx context.Context) ([]reference, error) {
	list, err := azure.List[reference](ctx, v.c, v.App+"/config/configreferences/appsettings", apiHost, nil)
	if err != nil {
		return nil, fmt.Errorf("read the state of the Key Vault references: %w", err)
	}
	return list, nil
}

// checkRule holds the data collection rule and the table against the app's settings.
func (v *visit) checkRule(ctx context.Context) Finding {
	settings, err := v.Settings(ctx)
	if err != nil {
		return v.problem(azure.Anywhere, err)
	}
	if settings["LOG_ANALYTICS_ENDPOINT"] == "" || settings["LOG_ANALYTICS_RULE_ID"] == "" {
		return failed("make deploy again, which sets LOG_ANALYTICS_ENDPOINT and LOG_ANALYTICS_RULE_ID", "the app writes no rows: its settings name no data collection rule")
	}
	var rule struct {
		Properties struct {
			ImmutableID        string
			StreamDeclarations map[string]any
		}
	}
	if err := v.c.Get(ctx, v.Rule, apiRule, nil, &rule); err != nil {
		return v.problem(azure.Anywhere, err)
	}
	var table struct {
		Properties struct {
			Schema struct{ Columns []struct{ Name string } }
		}
	}
	if err := v.c.Get(ctx, v.Workspace+"/tables/PodwatchAlerts_CL", apiWorkspace, nil, &table); err != nil {
		return v.problem(azure.Anywhere, err)
	}
	var workspace struct {
		Properties struct {
			WorkspaceCapping struct{ DataIngestionStatus string }
		}
	}
	if err := v.c.Get(ctx, v.Workspace, apiWorkspace, nil, &workspace); err != nil {
		return v.problem(azure.Anywhere, err)
	}
	ingestion := workspace.Properties.WorkspaceCapping.DataIngestionStatus
	refused, err := v.query(ctx, queryRefused)
	stream := cmp.Or(settings["LOG_ANALYTICS_STREAM"], "Custom-PodwatchAlerts")
	hasVersion := slices.ContainsFunc(table.Properties.Schema.Columns, func(c struct{ Name string }) bool { return c.Name == "PodwatchVersion" })
	switch {
	case err != nil && !noTable(err):
		return v.problem(azure.Querying, err)
	case slices.Contains([]string{"OverQuota", "SubscriptionSuspended", "ForceOff"}, ingestion):
		return failed("raise the daily cap of the workspace, or wait for its next day", "the workspace takes no rows: %s", ingestion)
	case rule.Properties.ImmutableID != settings["LOG_ANALYTICS_RULE_ID"]:
		return failed("make deploy again", "the app writes to another data collection rule than that of the resource group")
	case rule.Properties.StreamDeclarations[stream] == nil:
		return failed("make deploy again", "the data collection rule does not know the stream %s", stream)
	case !hasVersion:
		return failed("deploy the template of this version before its package", "the table PodwatchAlerts_CL lacks the column PodwatchVersion")
	case refused != nil:
		return failed("deploy the template of this version: table and rule must have the package's columns", "the workspace has refused rows since %s: %s", refused["At"], refused["Message"])
	}
	return ok("the data collection rule knows the stream, and has refused no row in the last hour")
}

// checkHub looks at the namespace, and at the newest message of the hub.
func (v *visit) checkHub(ctx context.Context) Finding {
	var ns struct {
		Properties struct {
			Status           string
			DisableLocalAuth bool
		}
	}
	if err := v.c.Get(ctx, v.Namespace, apiEventHub, nil, &ns); err != nil {
		return v.problem(azure.Anywhere, err)
	}
	closed := v.networkClosed(ctx, v.Namespace, apiEventHub)
	switch {
	case ns.Properties.DisableLocalAuth:
		return failed("exempt the namespace from the policy that disables local authentication, then set disableLocalAuth to false",
			"the namespace refuses keys, and Azure Monitor can write with a key only: no log arrives")
	case ns.Properties.Status != "" && ns.Properties.Status != "Active":
		return failed("look at the namespace in the portal", "the namespace is %s", ns.Properties.Status)
	}
	connection, err := v.connection(ctx)
	if name, _, _ := strings.Cut(connection.Namespace, "."); err == nil && connection.Namespace != "" && !strings.EqualFold(name, arm.Name(v.Namespace)) {
		return failed("make deploy again", "the app reads a hub of %s, and not of %s", name, arm.Name(v.Namespace))
	}
	var latest time.Time
	if err == nil {
		latest, err = v.latest(ctx, connection)
	}
	switch {
	case err != nil && closed != "":
		return failed("run doctor from a network that may reach it", "%s: %v", closed, err)
	case err != nil:
		return v.because(azure.Cause{What: "the event hub cannot be reached", Cure: "you need Azure Event Hubs Data Receiver and Data Sender on it (operatorPrincipalId)", Passes: 10 * time.Minute}, err)
	case latest.IsZero() && v.recently(firstRecords):
		return waiting(v.changed, "the first message; a new diagnostic setting takes up to 90 minutes")
	case latest.IsZero():
		return failed("see the line exporters", "the hub retains no message")
	}
	return ok("reachable, last message %s ago", ago(v.c.Now().Sub(latest)))
}

// firstRecords is how long the first records of a new diagnostic setting may take.
const firstRecords = 90 * time.Minute

// checkSources reports when each source was last read.
func (v *visit) checkSources(ctx context.Context) Finding {
	account, err := v.Account(ctx)
	if err != nil {
		return v.storageProblem(err)
	}
	sources, err := state.NewFeed(account.Documents(state.StateContainer), 0, v.c.Now).Sources(ctx)
	switch {
	case err != nil:
		return v.storageProblem(err)
	case len(sources) == 0 && v.recently(firstRecords):
		return waiting(v.changed, "the first records; a new diagnostic setting takes up to 90 minutes")
	case len(sources) == 0:
		return failed("see the lines exporters, event hub and functions", "no record was ever read")
	}
	var heard, silent []string
	for _, s := range sources {
		text := fmt.Sprintf("%s %s ago", sourceName(s.Name), ago(v.c.Now().Sub(s.Last)))
		if s.Silent {
			silent = append(silent, text)
		} else if s.Name != state.WholeFeed {
			heard = append(heard, text)
		}
	}
	if len(silent) > 0 {
		return failed("look at the diagnostic settings of these sources (a deleted one is itself suspicious), and at the line event hub", "silent, last record: %s", strings.Join(silent, ", "))
	}
	if more := len(heard) - maxNamed; more > 0 {
		heard = append(heard[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return ok("last records: %s", cmp.Or(strings.Join(heard, ", "), ago(v.c.Now().Sub(sources[0].Last))+" ago"))
}

const maxNamed = 12

// sourceName is the last part of a resource id, with what it is the name of.
func sourceName(id string) string {
	if p, ok := arm.Parse(id); ok && p.Provider == "" {
		return "subscription " + p.Subscription
	}
	return arm.Name(id)
}

func (v *visit) checkHeartbeat(ctx context.Context) Finding {
	row, err := v.query(ctx, queryHeartbeat, v.AppName())
	last, tried := timeOf(row["At"]), timeOf(row["Tried"])
	switch young := v.recently(startWithin); {
	case err != nil && !noTable(err):
		return v.problem(azure.Querying, err)
	case last.IsZero() && young:
		return waiting(v.changed, "the first heartbeat: it runs every 5 minutes, and telemetry takes 2 to 5 more")
	case last.IsZero() && tried.IsZero():
		return failed("see the lines package, functions and host", "Heartbeat has not run in 30 days")
	case v.c.Now().Sub(last) > heartbeatWithin && tried.After(last):
		return failed("read the errors of Heartbeat in the app's log", "Heartbeat fails, last at %s", stamp(tried))
	case v.c.Now().Sub(last) > heartbeatWithin && !young:
		return failed("see the lines package, functions and host", "the last heartbeat is %s ago", ago(v.c.Now().Sub(last)))
	}
	return ok("last %s ago", ago(v.c.Now().Sub(last)))
}

// heartbeatWithin: three heartbeats, and the delay of the telemetry.
const heartbeatWithin = 20 * time.Minute

func (v *visit) checkRules(ctx context.Context) Finding {
	runs, err := v.running(ctx)
	switch {
	case err != nil:
		return v.problem(azure.Querying, err)
	case runs.Rules == "" && v.recently(startWithin):
		return waiting(v.changed, "the first log line of the handler")
	case runs.Rules == "" || runs.Rules == "0":
		return failed("see the line package", "no log line names the rules that run")
	}
	return ok("%s run", runs.Rules)
}

// checkQueue counts what has not been delivered.
func (v *visit) checkQueue(ctx context.Context) Finding {
	account, err := v.Account(ctx)
	if err != nil {
		return v.storageProblem(err)
	}
	undelivered, err1 := account.Queue(storage.UndeliveredQueue).Len(ctx)
	poison, err2 := account.Queue(storage.PoisonQueue).Len(ctx)
	dead, err3 := state.NewDeadLetters(account.Documents(state.StateContainer), v.c.Now).Count(ctx)
	switch err := errors.Join(err1, err2, err3); {
	case err != nil:
		return v.storageProblem(err)
	case dead > 0:
		return failed("mend the sink, then put them back with bin/podwatch requeue", "%d alerts were given up and are kept as dead letters", dead)
	case poison > 0:
		return waiting(time.Time{}, "Heartbeat, which saves the %d alerts in the poison queue as dead letters", poison)
	case undelivered > 0:
		return waiting(time.Time{}, "a sink: %d alerts are in the queue and are delivered again without action", undelivered)
	}
	return ok("no alert is undelivered")
}

func (v *visit) checkUnreadable(ctx context.Context) Finding {
	account, err := v.Account(ctx)
	if err != nil {
		return v.storageProblem(err)
	}
	switch n, err := account.Count(ctx, storage.UnreadableContainer); {
	case err != nil:
		return v.storageProblem(err)
	case n > 0:
		return failed("evaluate them with bin/podwatch replay and delete them; docs/operate.md describes how", "%d messages could not be read: deletions in them are unseen", n)
	}
	return ok("no message")
}

func (v *visit) checkErrors(ctx context.Context) Finding {
	row, err := v.query(ctx, queryErrors, v.AppName())
	switch {
	case err != nil && !noTable(err):
		return v.problem(azure.Querying, err)
	case row != nil:
		return failed("see docs/operate.md, which lists the cures", "the handler logged an error at %s: %s", row["At"], row["Message"])
	}
	return ok("none in the log of the last hour")
}
