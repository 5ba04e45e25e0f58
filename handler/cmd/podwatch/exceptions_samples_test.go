package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/exception"
)

// startLog is what the handler logs at start, or why it does not start.
func startLog(t *testing.T, cfg *config.Config) string {
	t.Helper()
	var log bytes.Buffer
	if _, err := app.Offline(cfg, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(log.String(), `\"`, `"`)
}

// Each file was written as people write exceptions. check and the handler come to
// the same conclusion: both refuse a file, or both warn with the same words.
func TestExceptionFilesAsPeopleWriteThem(t *testing.T) {
	const none = ""
	for file, test := range map[string]struct {
		refused bool
		want    string // none: nothing is odd
	}{
		"not-tag.yaml":              {false, none},
		"not-ip.yaml":               {false, none},
		"not-pod-bulk2.yaml":        {false, none},
		"schedule-null.yaml":        {true, `:8:5: exception "test": schedule has no value`},
		"rules-empty.yaml":          {true, `:8:5: exception "test": rules has no value`},
		"preceded-empty.yaml":       {true, `:8:19: exception "test": match has no value`},
		"first-saturday.yaml":       {false, `:8:22: exception "test": schedule: cron: day of month and day of week are both set`},
		"not-fancy.yaml":            {true, `:7:33: exception "test": match: "kubernetes.namespace: “line-control”" has a typographic quote`},
		"match-star.yaml":           {true, "fits everything"},
		"two-docs.yaml":             {true, ":8:1: a second YAML document"},
		"license-then-dashes2.yaml": {true, ":3:1: a second YAML document"},
		"ua.yaml":                   {false, "the client chooses caller.user_agent"},
		"cron-tzpanic.yaml":         {true, `"TZ=UTC" has a second time zone`},
		"include-tag.yaml":          {true, `:8:12: exception "test": tags (!include) are not read`},
		"cron-tz-prefix.yaml":       {true, "second time zone"},
		"feb30.yaml":                {false, "it never holds"},
		"star-minute.yaml":          {false, "the windows overlap"},
		"always24.yaml":             {false, "it is always on"},
		"etc.yaml":                  {false, "Etc/GMT+2 is -2 hours from UTC"},
		"from-until-zone.yaml":      {true, ":8:77: exception \"test\": schedule: time_zone has no effect"},
		"expiry-nz.yaml":            {false, none},
		"rules-typo.yaml":           {false, ":8:13: exception \"test\": rules: no loaded rule has the id or name"},
		"rules-blank.yaml":          {false, none},
		"tag-case.yaml":             {false, none},
		"preceded-typo.yaml":        {false, `there is no field "operationName": is operation meant?`},
		"preceded-outcome.yaml":     {false, `outcome is never "OK"`},
		"question.yaml":             {false, "? stands for itself"},
		"charclass.yaml":            {false, "[0-9] is no character class"},
		"endash.yaml":               {false, "an en dash"},
		"kind-evict.yaml":           {false, `kubernetes.deletion_kind is never "evict"`},
		"winuser-quoted.yaml":       {false, "an escape made the control character"},
		"bom.yaml":                  {false, none},
		"utf16.yaml":                {true, "the file is UTF-16"},
		"comments-only.yaml":        {true, "the file has no exception"},
		"norway.yaml":               {false, none},
		"anchor.yaml":               {true, `:8:5: exception "b": merge keys (<<) are not read`},
		"unquoted-match.yaml":       {true, "quote it"},
		"kql-fold.yaml":             {true, `:8:49: exception "a": match: the query ends before the '(' of line 8, column 33 is closed`},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata/exceptions", file)
			status, out, errs := runTool(t, "check", "--exceptions", path)
			cfg := config.Config{ExceptionsFile: path, ActivityLookups: true}
			start := startLog(t, &cfg)
			if (status != 0) != test.refused || strings.Contains(start, "exceptions are loaded") == test.refused {
				t.Fatalf("check ends with %d, the handler says %s; refused is to be %t\n%s%s", status, start, test.refused, out, errs)
			}
			if test.want == none {
				out = strings.ReplaceAll(out, "warning: it is wide", "") // about the samples, which the handler has not
				if strings.Contains(out, "warning:") || strings.Contains(start, "level=WARN") {
					t.Errorf("warned of nothing:\n%s\n%s", out, start)
				}
				return
			}
			if !strings.Contains(out+errs, test.want) || !strings.Contains(start, test.want) {
				t.Errorf("want %q of both\ncheck: %s%s\nhandler: %s", test.want, out, errs, start)
			}
		})
	}
	files, err := filepath.Glob("testdata/exceptions/*.yaml")
	if err != nil || len(files) != 38 {
		t.Errorf("%d files: each has its line above (%v)", len(files), err)
	}
}

func TestCheckShowsWhenAnExceptionHolds(t *testing.T) {
	t.Parallel()
	_, out, _ := runTool(t, "check", "--exceptions", "testdata/exceptions/expiry-nz.yaml")
	for _, want := range []string{"until Thu 2026-12-10 00:00 UTC", "8.33 % of the time", "08:00 to", "10:00 Pacific/Auckland (", "19:00 to", "21:00 UTC)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not shown:\n%s", want, out)
		}
	}
}

// What is not known suppresses nothing, in the whole row from record to alert.
func TestReplayWithDoubtfulExceptions(t *testing.T) {
	t.Parallel()
	for file, record := range map[string]string{
		"not-tag.yaml":       "samples/01-user.json",
		"not-pod-bulk2.yaml": "samples/06-kube-audit-bulk.json",
	} {
		_, out, errs := runTool(t, "replay", "--exceptions", "testdata/exceptions/"+file, record)
		if out == "" || strings.Contains(out, `"Suppressed":true`) {
			t.Errorf("%s on %s: %s%s", file, record, out, errs)
		}
	}
	if _, out, _ := runTool(t, "replay", "--exceptions", "testdata/exceptions/rules-blank.yaml", "samples/01-user.json"); !strings.Contains(out, `"SuppressedBy":"test"`) {
		t.Errorf("a rule's name with a blank behind it: %s", out)
	}
}

func TestTheHandlerReportsWhatItSilences(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "exceptions.yaml")
	const head = "exceptions:\n  - {name: a, reason: r, owner: o, match: 'caller.name: x', expires: 2020-01-01}\n" +
		"  - {name: b, reason: r, owner: o, match: 'caller.name: x'}\n" +
		"  - {name: c, reason: r, owner: o, match: 'resource.tags.env: dev', expires: 2099-01-01}\n"
	writeFile(t, file, head)
	log := startLog(t, &config.Config{ExceptionsFile: file})
	for _, want := range []string{
		"in_force=2 expired=1 without_end=1 waiting_for_lookups=1",
		"it expired on 2020-01-01", "it never expires", "set ACTIVITY_LOOKUPS to on",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not logged:\n%s", want, log)
		}
	}
}

func TestNearMissesBesideTheExecutableAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"Exceptions.yaml", "exceptions.yml", "exceptions.example.yaml"} {
		writeFile(t, filepath.Join(dir, name), "")
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "rules")); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Files(func(string) string { return "" }, dir)
	if err != nil || cfg.RulesDir+cfg.ExceptionsFile != "" {
		t.Fatal(cfg, err)
	}
	log := startLog(t, cfg)
	for _, want := range []string{"Exceptions.yaml", "exceptions.yml", "a link to what does not exist"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not named:\n%s", want, log)
		}
	}
	if strings.Contains(log, "example") {
		t.Errorf("the example is no near-miss:\n%s", log)
	}
}

// The examples hold for some sample, in their windows and after what they ask for,
// without a warning.
func TestShippedExamples(t *testing.T) {
	t.Parallel()
	samples, err := sampleAlerts()
	if err != nil {
		t.Fatal(err)
	}
	const shipped = "../../../function_app/"
	status, out, errs := runTool(t, "check", "--exceptions", shipped+"exceptions.example.yaml")
	if status != 0 || strings.Contains(out, "warning") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	set, err := exception.Load(shipped+"exceptions.example.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	suppressed := map[string]bool{}
	for _, e := range set.Exceptions() {
		for _, s := range samples {
			a := *s.alert
			a.ResourceTags = map[string]string{"Environment": "dev"}
			if !strings.HasPrefix(e.Name, "dev-and-test") {
				a.ResourceTags = map[string]string{}
			}
			for _, w := range e.Windows(time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC), 1) {
				a.EventTime = w.Start
			}
			a.Timeline = append(a.Timeline[:0:0], timelineOf("Microsoft.ContainerService/managedClusters/agentPools/write", a.EventTime))
			suppressed[set.Suppress(&a, s.event)] = true
		}
		if !suppressed[e.Name] {
			t.Errorf("%s suppresses no sample", e.Name)
		}
	}
}

// The ready exceptions suppress what the tools did in recorded events, and not what
// lies beside it.
func TestReadyExceptionsOfTools(t *testing.T) {
	t.Parallel()
	const tools = "../../../function_app/exceptions.tools.yaml"
	if status, out, errs := runTool(t, "check", "--exceptions", tools); status != 0 || strings.Contains(out, "warning") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	for file, want := range map[string]map[string]int{ // alerts by exception
		"descheduler":                  {"descheduler": 1},
		"argocd":                       {"argo-cd": 1},
		"selfhosted-karpenter":         {"karpenter": 1},
		"aksservice-upgrade-delete":    {"": 1}, // no operation precedes it
		"aks-eraser-image-cleaner":     {"aks-image-cleaner": 4},
		"aks-vpa-updater-evicts":       {"vertical-pod-autoscaler": 3},
		"mesh-cni-repair":              {"linkerd-cni": 1, "istio-cni": 1},
		"aks-node-termination-handler": {"aks-node-termination": 1},
		"ci-arc-needle-in-the-storm":   {"github-runners": 30, "": 1}, // the database
		"ci-gitlab-runner":             {"gitlab-runner": 2},
		"ci-tekton-timeout":            {"tekton": 1},
		"ci-argo-podgc":                {"argo-workflows": 1},
		"batch-spark-deletecollection": {"spark": 1, "": 1}, // without a selector
		"op-kyverno-cleanup":           {"kyverno": 1},
		"op-kueue-preemption":          {"kueue": 1},
		"op-chaos-studio":              {"chaos-mesh": 1},
		"after-scaling":                {"": 1}, // anyone, after anyone's scaling
	} {
		_, out, errs := runTool(t, "replay", "--exceptions", tools, "testdata/tools/"+file+".json")
		got := map[string]int{}
		for line := range strings.Lines(out) {
			var a struct{ SuppressedBy string }
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			got[a.SuppressedBy]++
		}
		if len(got) != len(want) {
			t.Errorf("%s: alerts by exception %v, want %v\n%s", file, got, want, errs)
		}
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s: alerts by exception %v, want %v", file, got, want)
			}
		}
	}
	if _, out, _ := runTool(t, "replay", "--exceptions", "../../../function_app/exceptions.example.yaml", "testdata/tools/after-scaling.json"); strings.Contains(out, `"Suppressed":true`) {
		t.Errorf("anyone's eviction passes after anyone's scaling: %s", out)
	}
}

// The exception that belongs to a sample suppresses alerts of the accounts that it
// names, and of no others.
func TestExceptionsOfTheSamples(t *testing.T) {
	t.Parallel()
	const samples = "../../testdata/wild3/"
	var index []struct{ File, Exception string }
	text, err := os.ReadFile(samples + "index.json")
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, s := range index {
		query, _, _ := strings.Cut(s.Exception, " (without")
		if !strings.HasPrefix(query, "caller.") {
			continue // in words, or none
		}
		match, _ := json.Marshal(query)
		file := tempFile(t, "exceptions.yaml", fmt.Sprintf("exceptions: [{name: ready, reason: r, owner: o, expires: 2030-01-01, match: %s}]", match))
		_, out, errs := runTool(t, "replay", "--exceptions", file, samples+s.File)
		suppressed, alerts := 0, 0
		for line := range strings.Lines(out) {
			var a struct {
				CallerName, CallerId string
				Suppressed           bool
			}
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			alerts++
			if !a.Suppressed {
				continue
			}
			suppressed++
			if !strings.Contains(query, `"`+cmp.Or(a.CallerName, a.CallerId)+`"`) {
				t.Errorf("%s: suppresses an alert about %q, which it does not name", s.File, a.CallerName+a.CallerId)
			}
		}
		if tried++; alerts > 0 && suppressed == 0 {
			t.Errorf("%s: suppresses none of %d alerts\n%s", s.File, alerts, errs)
		}
	}
	if tried < 10 {
		t.Errorf("only %d exceptions were tried", tried)
	}
}
