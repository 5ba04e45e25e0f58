package teams

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/sink/sinktest"
)

const testGuide = "## Investigate\n\n- Is the caller somebody who looks after\n  this cluster?\n- See [the manual](https://kubernetes.io/docs/) and `kubectl get events`.\n\n" +
	"1. First\n2) Second\n\n### Respond\n\nRevoke the sessions of the *caller*\nif nobody can explain it.\n\n```\nkubectl get pods\n```\n"

func testAdvice(string) Advice {
	return Advice{
		Guide:          testGuide,
		FalsePositives: []string{"Rollouts and node drains.", "Upgrades of the cluster\nor of its nodes."},
		References:     []string{"https://kubernetes.io/docs/tasks/debug/"},
		Highlighted:    []string{"azure.activitylogs.operation_name", "source.ip"},
	}
}

func testCards() cards {
	return cards{advice: testAdvice}
}

// user is a person who deleted a pod through Azure Arc, with all that podwatch
// can find out.
func user() *alert.Alert {
	a := sinktest.Alert(0)
	a.Techniques = []string{"T1489 Service Stop", "T1529 System Shutdown/Reboot"}
	a.UserAgent = "AZURECLI/2.81.0 (DEB) azsdk-python-core/1.35.0 Python/3.12.8"
	a.ResourceTags = map[string]string{"env": "production", "owner": "plant-it"}
	a.Timeline = []alert.TimelineEntry{
		{Time: a.EventTime.Add(-11 * time.Minute), Operation: "assigned a role", Target: "arc-plant-07", Outcome: "Success", Caller: "dana.ortiz@example.com", Relation: "both"},
		{Time: a.EventTime.Add(-130 * time.Second), Operation: "pulled the cluster user credential", Target: "arc-plant-07", Outcome: "Success", Caller: "dana.ortiz@example.com", Relation: "both"},
	}
	a.Links = alert.Links{
		Cluster:     "https://portal.azure.com/#resource" + a.ClusterId + "/overview",
		ActivityLog: "https://portal.azure.com/#blade/Microsoft_Azure_ActivityLog/ActivityLogBlade/queryInputs/%7B%22query%22:%7B%22top%22:1000%7D%7D",
		Query:       "https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/resourceId/%2Fsubscriptions%2Fx",
	}
	return a
}

func servicePrincipal() *alert.Alert {
	a := sinktest.Alert(1)
	a.Severity, a.RiskScore = "high", 73
	a.CallerKind, a.CallerName, a.CallerAppName = "servicePrincipal", "deploy-plant", "deploy-plant"
	a.CallerId, a.CallerAppId = "e5b0c7a4-1111-4222-8333-944455566677", "7f3c1b2a-aaaa-4bbb-8ccc-9ddddeeeefff"
	a.CallerOwnerResource = ""
	a.Notes = []string{"the application's owners are not known: GRAPH_LOOKUPS is off (needs Application.Read.All)"}
	a.ResourceId, a.Pod = a.ClusterId, "" // some records stop at the cluster
	a.Namespace = ""
	return a
}

func eviction() *alert.Alert {
	a := sinktest.Alert(2)
	a.RuleId, a.RuleName = "5f1a0d3c-aks", "Pods Deleted in an AKS Cluster"
	a.Source, a.Operation, a.Outcome = "azure.platformlogs", "create pods/eviction", "success"
	a.ClusterId = "/subscriptions/" + a.SubscriptionId + "/resourceGroups/rg-shop/providers/Microsoft.ContainerService/managedClusters/aks-shop"
	a.ResourceId, a.ClusterName, a.ClusterKind, a.ResourceGroup = a.ClusterId, "aks-shop", "aks", "rg-shop"
	a.Namespace, a.Pod, a.DeletionKind = "checkout", "cart-7c9d5b6f4-x2x9k", "eviction"
	a.CallerKind, a.CallerName, a.CallerId = "kubernetes", "system:serviceaccount:ops:drainer", "system:serviceaccount:ops:drainer"
	a.CallerAppId, a.CallerAppName, a.CallerRole, a.CallerIp = "", "", "", "10.244.3.17"
	a.UserAgent = "kubectl/v1.33.2 (linux/amd64) kubernetes/a7e2f6c"
	a.CorrelationId = "0b6d7f3e-6d1f-4b55-9a3e-6f2f2b8a9c10"
	a.CallerActedAs = "ops@example.com"
	return a
}

func seven() []*alert.Alert {
	group := sinktest.Alerts(7)
	group[3].Namespace = "packaging"
	group[5].DeletionKind = "eviction"
	group[0], group[6] = group[6], group[0] // the card is by time all the same
	return group
}

const hostile = "[x](http://evil.example) **b** _i_ <at>all</at> <img src=x> {{DATE(2020-01-01T00:00:00Z)}} {{{{TIME(x)}}" +
	" \u202egnp.exe\u2066 a\u200bdmin a\u200d\u200cb\x1b[31m\r\n# h\t\u2028new\u0000 Z\u0301\u0302\u0303\u0304\u0305\u0306 \U000e0041\u3164 \xff \" \\ &"

// every returns an alert of which each text is v.
func every(v string) *alert.Alert {
	a := user()
	for _, text := range []*string{
		&a.AlertId, &a.RuleId, &a.RuleName, &a.Source, &a.Operation, &a.Outcome, &a.ResourceId, &a.ClusterId, &a.ClusterName, &a.ClusterKind,
		&a.SubscriptionId, &a.ResourceGroup, &a.Namespace, &a.Pod, &a.CallerKind, &a.CallerName, &a.CallerId, &a.CallerAppId,
		&a.CallerAppName, &a.CallerIp, &a.CallerRole, &a.CallerOwnerResource, &a.UserAgent, &a.CorrelationId, &a.SuppressedBy, &a.Severity,
		&a.Links.Cluster, &a.Links.ActivityLog, &a.Links.Query,
	} {
		*text = v
	}
	a.Tactics, a.Techniques, a.Notes = []string{v, v}, []string{v}, []string{v, v + "2"}
	a.ResourceTags = map[string]string{v: v}
	for i := range a.Timeline {
		e := &a.Timeline[i]
		e.Operation, e.Target, e.Outcome, e.Caller = v, v, v, v
	}
	return a
}

// huge fills everything to the limits of an alert and beyond.
func huge(n int, v string) []*alert.Alert {
	group := make([]*alert.Alert, n)
	for i := range group {
		a := every(v)
		a.EventTime = a.EventTime.Add(time.Duration(i) * time.Hour)
		for j := range 60 {
			a.Timeline = append(a.Timeline, alert.TimelineEntry{Time: a.EventTime.Add(-time.Duration(j) * time.Second), Operation: v + fmt.Sprint(i, j), Target: v, Outcome: v, Caller: v})
			a.Notes = append(a.Notes, fmt.Sprint(j, i)+v)
			a.ResourceTags[fmt.Sprint(j)+v] = v
			a.Tactics, a.Techniques = append(a.Tactics, v), append(a.Techniques, v)
		}
		for _, l := range []*string{&a.Links.Cluster, &a.Links.ActivityLog, &a.Links.Query} {
			*l = "https://portal.azure.com/#" + strings.Repeat("x", maxURL-len("https://portal.azure.com/#"))
		}
		group[i] = a
	}
	return group
}

func feed() *alert.Alert {
	at := time.Date(2026, 11, 9, 9, 30, 0, 0, time.UTC)
	return &alert.Alert{
		TimeGenerated: at, EventTime: at, AlertId: "feed01", RuleId: "podwatch-feed", RuleName: "No records from arc-plant-07 for an hour",
		Severity: "medium", RiskScore: 47, Source: "podwatch", Operation: "no records", CallerKind: "unknown",
		Notes: []string{"The last record arrived at 08:29 UTC.", "Look at the diagnostic setting of the cluster."},
	}
}

func suppressed() *alert.Alert {
	a := user()
	a.Suppressed, a.SuppressedBy = true, "nightly maintenance of the plant"
	return a
}

// samples returns an alert for each event of the records under handler/testdata.
func samples(t testing.TB) map[string]*alert.Alert {
	t.Helper()
	files, err := filepath.Glob("../../../testdata/records/*.json")
	if err != nil {
		t.Fatal(err)
	}
	alerts := map[string]*alert.Alert{}
	match := rule.Match{Rule: &rule.Rule{ID: "83a1931d", Name: "Pods Deleted"}, Severity: "medium", RiskScore: 47}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Records []json.RawMessage }
		if json.Unmarshal(text, &body) != nil {
			continue // a sample of an unreadable body
		}
		for i, record := range body.Records {
			if ev, err := event.Read(record, 0); err == nil {
				alerts[fmt.Sprintf("%s %d", filepath.Base(file), i)] = alert.New(alert.Finding{Match: match, ID: alert.ID(match.Rule.ID, ev)}, ev, caller.From(ev), user().TimeGenerated)
			}
		}
	}
	if len(alerts) < 80 {
		t.Fatalf("%d sample alerts", len(alerts))
	}
	return alerts
}

// storm is n deletions of one deployment, and one of a pod that matters.
func storm(n int) []*alert.Alert {
	alerts := sinktest.Alerts(n)
	alerts[n/2].Namespace, alerts[n/2].Pod = "security", "falco-x7k2p"
	alerts[1].Namespace, alerts[1].Pod = "data", "redis-0"
	alerts[2].Namespace, alerts[2].Pod = "data", "redis-0"
	return alerts
}

func all(alerts ...*alert.Alert) alert.Group { return alert.Group{Alerts: alerts, Total: len(alerts)} }

// cases are the cards of the golden files.
func cases() map[string]alert.Group {
	twice := sinktest.Alerts(2)
	twice[1].Pod, twice[1].Notes = twice[0].Pod, []string{alert.NoteForced}
	exec := eviction()
	exec.RuleName, exec.Operation, exec.DeletionKind = "Command in a Pod", "create pods/exec", ""
	return map[string]alert.Group{
		"no deletion":       all(exec),
		"user":              all(user()),
		"service principal": all(servicePrincipal()),
		"eviction":          all(eviction()),
		"group of seven":    all(seven()...),
		"one pod twice":     all(twice...),
		"storm":             all(storm(300)...),
		"summary of groups": {Alerts: append(sinktest.Alerts(3), servicePrincipal()), Total: 50_000, Groups: 12},
		"hostile":           all(every(hostile)),
		"huge":              all(huge(40, strings.Repeat("long value ", 100))...),
		"feed":              all(feed()),
		"suppressed":        all(suppressed()),
		"nothing known":     all(&alert.Alert{}),
	}
}
