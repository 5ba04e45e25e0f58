package detect_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/detect"
)

const (
	podsRule     = "Pods Deleted in an AKS Cluster"
	workloadRule = "Pods Deleted With Their Workload, Namespace or Node"
	publicRule   = "Controller Account Used from a Public Address"
)

// What is routine, what a dry run, and who began a deletion, after public reports
// and attacks.
func TestSamplesOfAKindEndAsTheyShould(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file    string
		alerts  []string // rules of the findings
		routine int
	}{
		{"adversary/control", []string{podsRule}, 0},
		{"adversary/dry-semicolon", []string{podsRule}, 0},
		{"adversary/dry-coll-semicolon", []string{podsRule}, 0},
		{"adversary/dry-cut", []string{podsRule}, 0},
		{"adversary/coll-504", []string{podsRule}, 0},
		{"adversary/r-rs-podbound", []string{podsRule, publicRule}, 0},
		{"adversary/r-sched", []string{publicRule}, 1},
		{"wild/aksservice-upgrade-delete", []string{podsRule}, 0},
		{"wild/delete-deployment-user", []string{workloadRule}, 0},
		{"wild/delete-namespace-user", []string{workloadRule}, 0},
		{"wild/delete-node-user", []string{workloadRule}, 0},
		{"wild/device-taint-eviction-controller", nil, 1},
		{"wild/dryrun-big-pod-both-skipped", []string{podsRule}, 0},
		{"wild/kubelet-exe-30", nil, 30},
		{"wild/kubelet-metadata-level", nil, 1},
		{"wild3/evictionrequest-and-responder", []string{podsRule}, 1},
		{"wild3/heartbeat-only", nil, 0},
		{"wild3/flexnode-kubelet-impersonates-node", nil, 3},
		{"wild3/flexnode-kubelet-is-principal", []string{podsRule, podsRule, podsRule}, 0},
		{"wild3/kubelet-mirror-pod", nil, 1},
		{"wild3/managed-namespace-deleted", []string{workloadRule, workloadRule}, 1},
		{"wild3/podgc-stuck-on-finalizer", nil, 3},
		{"wild3/rbac-denied-burst", nil, 0},
		{"wild3/vap-denied", nil, 0},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			result := detect.New(builtIn, false).Detect(detect.Plain(sample(t, c.file)), false)
			var alerts []string
			for _, f := range result.Findings {
				alerts = append(alerts, f.Rule.Name)
			}
			slices.Sort(alerts)
			slices.Sort(c.alerts)
			if !slices.Equal(alerts, c.alerts) || result.Routine != c.routine || len(result.Unreadable) > 0 {
				t.Errorf("%q, %d routine, %d unreadable; want %q, %d routine", alerts, result.Routine, len(result.Unreadable), c.alerts, c.routine)
			}
		})
	}
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "..", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// first is the alert of a sample's first finding.
func first(t *testing.T, body []byte) *alert.Alert {
	t.Helper()
	findings := detect.New(builtIn, false).Detect(detect.Plain(body), false).Findings
	if len(findings) == 0 {
		t.Fatal("no finding")
	}
	ev, err := findings[0].Event()
	if err != nil {
		t.Fatal(err)
	}
	return alert.New(findings[0], ev, caller.From(ev), ev.Time())
}

func TestAnAlertNamesWhatWasDeleted(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][5]string{ // namespace, pod, workload, its kind, node
		"wild/delete-deployment-user":         {"shop", "", "cart", "Deployment", ""},
		"wild/delete-namespace-user":          {"shop", "", "", "", ""},
		"wild/delete-node-user":               {"", "", "", "", "aks-np1-vmss000000"},
		"wild3/managed-namespace-deleted":     {"harbor", "", "", "", ""},
		"wild3/evictionrequest-and-responder": {"harbor", "ledger-5c9f8d7b6-x4k2p", "", "", ""},
	} {
		a := first(t, sample(t, name))
		if got := [5]string{strings.ToLower(a.Namespace), a.Pod, a.WorkloadName, a.WorkloadKind, a.Node}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if strings.Contains(name, "evictionrequest") && (a.DeletionKind != alert.DeletionEviction || a.CallerName != "imke.vos@example.com") {
			t.Errorf("%s: %s by %s", name, a.DeletionKind, a.CallerName)
		}
	}
}

func TestAnAlertSaysHowItEnded(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ outcome, note string }{
		"adversary/coll-504":               {alert.OutcomeUnknown, "ended with status 504"},
		"wild/dryrun-big-pod-both-skipped": {"success", "was withheld or cut"},
		"records/kube-delete-force":        {"success", "deleted by force"},
	} {
		a := first(t, sample(t, name))
		if a.Outcome != want.outcome || !strings.Contains(strings.Join(a.Notes, "\n"), want.note) {
			t.Errorf("%s: outcome %s, notes %q", name, a.Outcome, a.Notes)
		}
	}
}

// The deletion of a managed namespace is in two logs that share no id. The alert that
// names an account of the platform says where the person is.
func TestTheAlertOfAManagedNamespaceSaysWhereThePersonIs(t *testing.T) {
	t.Parallel()
	found := detect.New(builtIn, false).Detect(detect.Plain(sample(t, "wild3/managed-namespace-deleted")), false)
	var callers []string
	for _, f := range found.Findings {
		ev, err := f.Event()
		if err != nil {
			t.Fatal(err)
		}
		a := alert.New(f, ev, caller.From(ev), ev.Time())
		callers = append(callers, a.CallerName)
		if noted := strings.Contains(strings.Join(a.Notes, "\n"), "managedNamespaces/delete"); noted != (a.CallerName == "aksService") {
			t.Errorf("%s: %q", a.CallerName, a.Notes)
		}
	}
	if !slices.Equal(callers, []string{"imke.vos@example.com", "aksService"}) {
		t.Errorf("callers %q", callers)
	}
}

// record returns the audit event of a pod's deletion by the controllers.
func routineRecord(namespace, pod, user, at string) string {
	return `{"category":"kube-audit","time":"` + at + `","resourceId":"/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-AKS-PROD/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-SHOP-01","properties":{"log":"{` +
		strings.ReplaceAll(`"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"`+pod+user+`","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/`+namespace+`/pods/`+pod+
			`","verb":"delete","user":{"username":"`+user+`","groups":["system:nodes"]},"sourceIPs":["10.0.0.4"],"userAgent":"kubelet/v1.34.1","objectRef":{"resource":"pods","namespace":"`+namespace+`","name":"`+pod+
			`"},"responseStatus":{"code":200},"requestReceivedTimestamp":"`+at+`"}`, `"`, `\"`) + `"}}`
}

func TestPodsThatWentWithIt(t *testing.T) {
	t.Parallel()
	later := "2026-11-09T08:15:00.000000Z"
	routine := []string{
		routineRecord("shop", "cart-7c9d5b6f48-aaaaa", "system:node:aks-np1-vmss000000", later),
		routineRecord("shop", "cart-7c9d5b6f48-aaaaa", "system:node:aks-np1-vmss000001", later), // the same pod
		routineRecord("shop", "cart-7c9d5b6f48-bbbbb", "system:node:aks-np1-vmss000001", later),
		routineRecord("shop", "cartoon-1", "system:node:aks-np1-vmss000000", later),
		routineRecord("other", "cart-1", "system:node:aks-np1-vmss000000", later),
		routineRecord("shop", "cart-before", "system:node:aks-np1-vmss000000", "2026-11-09T07:00:00.000000Z"),
	}
	for name, want := range map[string]int{
		"wild/delete-deployment-user": 2,
		"wild/delete-namespace-user":  3,
		"wild/delete-node-user":       3,
		"adversary/control":           0, // a pod by itself
	} {
		body := []byte(strings.Replace(string(sample(t, name)), `"records":[`, `"records":[`+strings.Join(routine, ",")+",", 1))
		body = []byte(strings.Replace(string(body), `"records": [`, `"records":[`+strings.Join(routine, ",")+",", 1))
		result := detect.New(builtIn, false).Detect(detect.Plain(body), false)
		if len(result.Findings) != 1 || result.Findings[0].Pods != want || result.Routine != len(routine) {
			t.Errorf("%s: %d findings, %d routine, %+v", name, len(result.Findings), result.Routine, result.Findings)
			continue
		}
		notes := strings.Join(first(t, body).Notes, "\n")
		if counted := strings.Contains(notes, "Kubernetes deleted"); counted != (want > 0) {
			t.Errorf("%s: %s", name, notes)
		}
	}
}

func TestAControllerAccountFromAPublicAddressAlertsOnceADay(t *testing.T) {
	t.Parallel()
	at := func(oldnew ...string) string {
		body := strings.NewReplacer(oldnew...).Replace(string(sample(t, "adversary/r-sched")))
		for _, f := range detect.New(builtIn, false).Detect(detect.Plain([]byte(body)), false).Findings {
			if f.Rule.Name == publicRule {
				return f.ID
			}
		}
		t.Fatal("no finding")
		return ""
	}
	one := at()
	if at("eaff4595", "eaff4596", "web-0", "web-1", "T08:14:30", "T23:59:59") != one {
		t.Error("another deletion of the day is another alert")
	}
	for what, other := range map[string]string{
		"day":     at("2026-11-09", "2026-11-10"),
		"address": at("203.0.113.99", "203.0.113.98"),
		"account": at("system:kube-scheduler", "system:serviceaccount:kube-system:job-controller"),
		"cluster": at("AKS-SHOP-01", "AKS-SHOP-02", "aks-shop-01", "aks-shop-02"),
	} {
		if other == one {
			t.Errorf("another %s is the same alert", what)
		}
	}
}

// A record near the limit of a message is one row, cut with a mark.
func TestARecordOfAMegabyteIsOneRow(t *testing.T) {
	t.Parallel()
	large := strings.Replace(string(sample(t, "records/act-match-user")), `"properties": {`, `"properties":{`, 1)
	large = strings.Replace(large, `"properties":{`, `"properties":{"responseBody":"`+strings.Repeat("x", 1<<20)+`",`, 1)
	if len(large) < 1<<20 {
		t.Fatal("the sample has no properties")
	}
	a := first(t, []byte(large))
	row := a.JSON()
	if len(row) > alert.MaxSize || !strings.Contains(string(row), "the original record was cut from") || a.CallerName != "dana.ortiz@example.com" {
		t.Errorf("%d bytes by %s: %.300s", len(row), a.CallerName, row)
	}
	if n := len(detect.New(builtIn, false).Detect(detect.Plain([]byte(large)), false).Findings); n != 1 {
		t.Errorf("%d findings", n)
	}
}

// Two people who act through one account have cards of their own, whether that is a
// known access proxy or not.
func TestPeopleBehindOneAccountAreToldApart(t *testing.T) {
	t.Parallel()
	known := sample(t, "wild3/proxy-teleport-two-people")
	unknown := bytes.ReplaceAll(known, []byte("teleport:teleport-kube-agent"), []byte("access:gateway"))
	for name, body := range map[string][]byte{"known": known, "unknown": unknown} {
		var alerts []*alert.Alert
		for _, f := range detect.New(builtIn, false).Detect(detect.Plain(body), false).Findings {
			ev, err := f.Event()
			if err != nil {
				t.Fatal(err)
			}
			alerts = append(alerts, alert.New(f, ev, caller.From(ev), ev.Time()))
		}
		if groups := alert.Groups(alerts); len(groups) != 2 {
			t.Errorf("%s proxy: %d groups of %d alerts", name, len(groups), len(alerts))
		}
	}
}
