package rule_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/rule"
	"podwatch/handler/rules"
)

const (
	arcRule = "83a1931d-8136-46fc-b7b9-2db4f639e014"
	aksRule = "9da204e2-ea1e-43bc-a95b-7b348f839616"

	workloadRule = "5b6f0c0e-6d5e-4c3b-9f1d-3a7f2f7f0c51"
	scaleRule    = "c2a4e2b1-0f4d-4a86-9b7e-8d5a6b1f4e92"
	tokenRule    = "e7d3b5a9-21c4-4f6e-8a50-6b9c0d1e2f37"
	publicRule   = "1f8e9d7c-5b3a-4c21-b0d9-e6f7a8b9c013"
)

func load(t testing.TB, sources ...rule.Source) (*rule.Set, *rule.Report) {
	t.Helper()
	set, report, err := rule.Load(sources...)
	if err != nil {
		t.Fatal(err)
	}
	return set, report
}

// records returns the records of a sample.
func records(t testing.TB, name string) []json.RawMessage {
	t.Helper()
	return logtest.Records(t, filepath.Join("..", "..", "testdata", "records", name))
}

func event1(t testing.TB, record []byte) *event.Event {
	t.Helper()
	ev, err := event.Read(record, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// sampleIndex is what testdata/records-index.json expects of each file.
func sampleIndex(t testing.TB) map[string]string {
	t.Helper()
	src, err := os.ReadFile("../../testdata/records-index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Files []struct{ File, Expect string }
	}
	if err := json.Unmarshal(src, &index); err != nil {
		t.Fatal(err)
	}
	expect := map[string]string{}
	for _, f := range index.Files {
		expect[f.File] = f.Expect
	}
	return expect
}

func TestEverySampleRecordIsJudgedAsItsIndexSays(t *testing.T) {
	set, _ := load(t, rule.BuiltIn())
	files, err := filepath.Glob("../../testdata/records/*.json")
	if err != nil || len(files) < 70 {
		t.Fatalf("found %d sample files, %v", len(files), err)
	}
	index := sampleIndex(t)
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "body-") {
			continue // a body that package export must take apart
		}
		t.Run(name, func(t *testing.T) {
			expect, ok := index[name]
			if !ok {
				t.Fatal("not in the index")
			}
			want, severity, score := aksRule, "medium", 47
			switch {
			case strings.HasPrefix(name, "act-"):
				want = arcRule
			case expect == "indirect" && strings.HasPrefix(name, "kube-scale"):
				want, severity, score = scaleRule, "low", 21
			case strings.HasPrefix(expect, "indirect"):
				want = workloadRule
			}
			matches, routine := 0, 0
			for _, record := range records(t, name) {
				for _, m := range set.Match(nil, event1(t, record)) {
					if m.Rule.ID != want {
						t.Errorf("matched %q", m.Rule.Name)
					}
					if m.Severity != severity || m.RiskScore != score {
						t.Errorf("severity %s, risk score %d", m.Severity, m.RiskScore)
					}
					if m.Routine {
						routine++
					} else {
						matches++
					}
				}
			}
			wantMatches, wantRoutine := 0, 0
			switch kind, number, _ := strings.Cut(expect, ":"); kind {
			case "no-match":
			case "indirect":
				wantMatches = 1
			case "routine", "indirect-routine":
				wantRoutine = 1
			case "match", "match-if-case-insensitive", "match-if-salvaged":
				wantMatches = 1
				if n, rest, dedup := strings.Cut(number, "-"); dedup && rest == "after-dedup" {
					wantMatches = 2 // the same record twice; the alert's identity makes one of them
				} else if n != "" {
					if wantMatches, err = strconv.Atoi(n); err != nil {
						t.Fatal(err)
					}
				}
			default:
				t.Fatalf("the index says %q, which this test does not know", expect)
			}
			if matches != wantMatches || routine != wantRoutine {
				t.Errorf("%d matches and %d routine, want %d and %d (%s)", matches, routine, wantMatches, wantRoutine, expect)
			}
		})
	}
}

func TestBuiltInRulesKeepTheirCases(t *testing.T) {
	set, report := load(t, rule.BuiltIn())
	folders, err := fs.ReadDir(rules.FS, ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Entries) != len(folders) {
		t.Errorf("%d rules in %d folders", len(report.Entries), len(folders))
	}
	for _, e := range report.Entries {
		t.Run(e.Rule.Name, func(t *testing.T) {
			if e.Verdict != rule.Runs {
				t.Fatalf("%s: %s", e.Verdict, e.Reason)
			}
			for _, w := range e.Lint() {
				t.Errorf("warning: %s", w)
			}
			cases, err := report.RunCases(set, e)
			if err != nil {
				t.Fatal(err)
			}
			count := map[string]int{}
			for _, c := range cases {
				count[c.Want]++
				if !c.OK() {
					t.Error(c)
				}
			}
			if count["match"] == 0 || count["no match"] == 0 || (count["routine"] == 0) != (e.Rule.Routine == "") {
				t.Errorf("cases: %v; every rule has matches and near-misses, and routine ones if it knows routine", count)
			}
		})
	}
}

func TestBuiltInRulesSayWhatAnAnalystNeeds(t *testing.T) {
	set, _ := load(t, rule.BuiltIn())
	for _, id := range []string{arcRule, aksRule} {
		r := set.Rule(id)
		if r == nil {
			t.Fatalf("no rule %s", id)
		}
		if !r.BuiltIn || r.MaxSignals != 100 {
			t.Errorf("%s: built in %t, max signals %d", r.Name, r.BuiltIn, r.MaxSignals)
		}
		_, name, _ := strings.Cut(filepath.ToSlash(r.Source), "/")
		file, err := fs.ReadFile(rules.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{`from = "now-25m"`, `interval = "5m"`, `description = "`, `setup = `} {
			if !strings.Contains(string(file), "\n"+line) {
				t.Errorf("%s lacks a line that starts with %s", r.Source, line)
			}
		}
		if got := strings.Join(append(r.Tactics, r.Techniques...), "; "); got != "TA0040 Impact; T1489 Service Stop; T1529 System Shutdown/Reboot" {
			t.Errorf("%s: threat %s", r.Name, got)
		}
		for _, heading := range []string{"## What happened", "## Investigate", "## False positives", "## Respond"} {
			if !strings.Contains(r.Note, heading) {
				t.Errorf("%s: the note lacks %q", r.Name, heading)
			}
		}
		if len(r.FalsePositives) == 0 {
			t.Errorf("%s: no false positives", r.Name)
		}
	}
}

// A copy of a built-in rule must see no less than the rule that it replaces. A rule
// file with a [podwatch] table of its own has the last word.
func TestACopyOfABuiltInRuleInheritsItsTable(t *testing.T) {
	src, err := fs.ReadFile(rules.FS, "azure-kubernetes-pods-deleted/rule.toml")
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(src), "[podwatch]")
	brought, report := load(t, rule.BuiltIn(), rule.FS("mine", files{"pods.toml": own}))
	builtIn, _ := load(t, rule.BuiltIn())

	upper := event1(t, records(t, "act-match-user.json")[0])
	mixed := event1(t, records(t, "act-mixed-case-operation.json")[0])
	if len(builtIn.Match(nil, upper)) != 1 || len(builtIn.Match(nil, mixed)) != 1 {
		t.Error("the built-in rule must match in any case")
	}
	if len(brought.Match(nil, upper)) != 1 || len(brought.Match(nil, mixed)) != 1 {
		t.Error("the copy must match in any case as well")
	}
	exact, _ := load(t, rule.BuiltIn(), rule.FS("mine", files{"pods.toml": own + "[podwatch]\nfold_case = []\n"}))
	if len(exact.Match(nil, upper)) != 1 || len(exact.Match(nil, mixed)) != 0 {
		t.Error("a [podwatch] table of the file itself is not overruled")
	}
	if ids := brought.Named("azure kubernetes PODS deleted"); !slices.Equal(ids, []string{arcRule}) {
		t.Errorf("the built-in rule's name is that of %v", ids)
	}
	var replaced, warned bool
	for _, e := range report.Entries {
		replaced = replaced || e.Verdict == rule.Replaced && e.Rule.BuiltIn && e.Rule.ID == arcRule
		for _, w := range e.Lint() {
			warned = warned || w.Code == "replaces" && strings.Contains(w.Msg, "takes over its [podwatch] table")
		}
	}
	if !replaced || !warned {
		t.Errorf("replaced %t, warned %t: taking a built-in rule's place must be said on both sides", replaced, warned)
	}
}

func TestMissingSourceIsAnError(t *testing.T) {
	_, _, err := rule.Load(rule.Path(filepath.Join(t.TempDir(), "none")))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v", err)
	}
}
