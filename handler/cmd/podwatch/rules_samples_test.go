package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/config"
	"podwatch/handler/rules"
)

func timelineOf(operation string, t time.Time) alert.TimelineEntry {
	return alert.TimelineEntry{Time: t.Add(-time.Minute), OperationName: operation, Outcome: "succeeded", Relation: "cluster"}
}

// Folders of rules as people keep them: check, replay and the handler name the same.
func TestRuleFoldersAsPeopleKeepThem(t *testing.T) {
	all := []string{"#six.toml#", ".five.toml", "copy of good.ndjson.gz", "eight.tml", "four.toml~", "nine.toml.txt", "one.TOML", "seven.toml.bak", "three.yml", "two.Toml"}
	for folder, test := range map[string]struct {
		refused bool
		want    []string
	}{
		"rules-ext":       {false, all},
		"rules-onlyupper": {true, []string{"no rule found", "one.TOML"}},
		"rules-nd-dupkey": {true, []string{`a.ndjson:1:684: the key "query" is written twice`}},
		"rules-nd-saved":  {false, []string{"a saved object, not a rule: export rules instead"}},
	} {
		t.Run(folder, func(t *testing.T) {
			dir := "testdata/exceptions/" + folder
			t.Setenv("RULES_DIR", dir)
			status, checked, errs := runTool(t, "check")
			checked += errs
			replayStatus, _, replayed := runTool(t, "replay", "samples/01-user.json")
			start := startLog(t, &config.Config{RulesDir: dir})
			refused := !strings.Contains(start, "level=")
			if (status != 0) != test.refused || (replayStatus != 0) != test.refused || refused != test.refused {
				t.Errorf("refused by check: %t, by replay: %t, by the handler: %t; want %t", status != 0, replayStatus != 0, refused, test.refused)
			}
			for _, want := range test.want {
				for by, text := range map[string]string{"check": checked, "replay": strings.ReplaceAll(replayed, `\"`, `"`), "handler": start} {
					if !strings.Contains(text, want) {
						t.Errorf("%s does not name %q:\n%s", by, want, text)
					}
				}
			}
		})
	}
}

// A rule that no event can meet is no rule that runs: in check, in the handler's
// start log, and in what replay counts.
func TestRulesThatCannotMatch(t *testing.T) {
	wants := map[string]string{
		"lint.toml": "", "lint3.toml": "",
		"lint2.toml": "needs source.ip, which no event of azure.platformlogs with the category kube-audit has",
		"lint4.toml": "needs azure.signinlogs.properties.app_id, which no event of azure.activitylogs has",
		"lint5.toml": "needs event.outcome, which no event of azure.platformlogs with the category kube-audit has",
		"lint6.toml": "needs cloud.account.id, which no event of azure.activitylogs has",
		"lint7.toml": "is azure.signinlogs.properties.app_id meant?",
		"lint8.toml": "needs user_agent.original, which no event of azure.auditlogs has",
	}
	_, out, _ := runTool(t, "check", "testdata/elastic/rules", "--json")
	seen := 0
	for line := range strings.Lines(out) {
		var r checkedRule
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Rule == "" {
			continue
		}
		seen++
		want := wants[filepath.Base(r.File)]
		if (want == "") != (r.Verdict == "runs") || (want != "") != (r.Verdict == "cannot match") || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: %s: %s; want %q", r.File, r.Verdict, r.Reason, want)
		}
	}
	if seen != len(wants) {
		t.Errorf("%d rules, want %d", seen, len(wants))
	}
	start := startLog(t, &config.Config{RulesDir: "testdata/elastic/rules"})
	if n := strings.Count(start, `msg="a rule cannot match"`); n != 6 {
		t.Errorf("the handler names %d rules that cannot match, want 6:\n%s", n, start)
	}
	if _, _, errs := runTool(t, "replay", "--rules", "testdata/elastic/rules", "samples/01-user.json"); !strings.Contains(errs, "6 of 14 rules do not run") {
		t.Errorf("replay says %s", errs)
	}
}

func TestAnExceptionOnFieldsThatNothingFills(t *testing.T) {
	t.Parallel()
	_, out, _ := runTool(t, "check", "--exceptions", "testdata/elastic/ex.yaml")
	for _, want := range []string{`there is no field "source.as.number"`, `there is no field "user.roles"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
}

// With Elastic's own file of the built-in rule, whatever matched without it still
// does, and an exception that names the built-in rule still holds.
func TestElasticsCopyOfABuiltInRuleTakesNothingAway(t *testing.T) {
	src, err := rules.FS.ReadFile("azure-kubernetes-pods-deleted/rule.toml")
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(src), "[podwatch]")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "copy.toml"), strings.Replace(own, `name = "`, `name = "Copy of `, 1))
	t.Setenv("EXCEPTIONS_FILE", "testdata/exceptions/rules-blank.yaml")
	alerts := func(args ...string) (n int, out, errs string) {
		_, out, errs = runTool(t, append([]string{"replay", "testdata/elastic/mixed.json", "samples/01-user.json"}, args...)...)
		return strings.Count(out, "\n"), out, errs
	}
	n, out, _ := alerts()
	if n != 2 || strings.Count(out, `"SuppressedBy":"test"`) != 1 {
		t.Errorf("%d alerts without the copy: %s", n, out)
	}
	n, out, errs := alerts("--rules", dir)
	if n != 2 || strings.Count(out, `"SuppressedBy":"test"`) != 1 {
		t.Errorf("%d alerts with the copy: %s", n, out)
	}
	const replaced = `replaces the built-in rule "Azure Kubernetes Pods Deleted" and takes over its [podwatch] table`
	t.Setenv("RULES_DIR", dir)
	_, checked, _ := runTool(t, "check")
	for by, text := range map[string]string{"replay": strings.ReplaceAll(errs, `\"`, `"`), "check": checked, "handler": startLog(t, &config.Config{RulesDir: dir})} {
		if strings.Count(text, replaced) != 1 {
			t.Errorf("%s does not report what was replaced in one line:\n%s", by, text)
		}
	}
}

// A rule of the built-in id that does not run leaves the built-in one in force.
func TestABrokenCopyOfABuiltInRuleTakesNothingAway(t *testing.T) {
	src, err := rules.FS.ReadFile("azure-kubernetes-pods-deleted/rule.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	waits := strings.NewReplacer(`"azure.activitylogs"`, `"azure.graphactivitylogs"`, "azure.activitylogs and", "azure.graphactivitylogs and").Replace(string(src))
	writeFile(t, filepath.Join(dir, "copy.toml"), waits)
	_, out, errs := runTool(t, "replay", "--rules", dir, "samples/01-user.json")
	if strings.Count(out, "\n") != 1 || !strings.Contains(errs, "which stays, because this one does not run") {
		t.Errorf("%s%s", out, errs)
	}
}

// An identity may be an object, JSON text, or under a name with a capital.
func TestTheTimelineDoesNotDependOnHowAnIdentityIsWritten(t *testing.T) {
	t.Parallel()
	var want string
	for _, form := range []string{"object", "text", "capital"} {
		_, out, errs := runTool(t, "replay", "testdata/elastic/"+form+".json")
		var a struct {
			CallerName string
			Timeline   json.RawMessage
		}
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err, errs)
		}
		if form == "object" {
			want = string(a.Timeline)
		}
		if a.CallerName != "dana.ortiz@example.com" || string(a.Timeline) != want || !strings.Contains(want, "LISTKEYS") {
			t.Errorf("%s: %s %s, want %s", form, a.CallerName, a.Timeline, want)
		}
	}
}
