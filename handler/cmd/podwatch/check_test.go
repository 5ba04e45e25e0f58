package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCheckPrintsWhatBecomesOfEachRule(t *testing.T) {
	for _, test := range []struct {
		golden string
		args   []string
		status int
		stderr string
	}{
		{"rules", []string{"testdata/check/rules"}, 0, ""},
		{"rules.json", []string{"--json", "testdata/check/rules"}, 0, ""},
		{"broken", []string{"testdata/check/broken", "testdata/check/rules/vault/rule.toml"}, 1, "podwatch: 3 rules are broken\n"},
		{"broken.json", []string{"testdata/check/broken", "--json"}, 1, "podwatch: 3 rules are broken\n"},
		{"failing", []string{"testdata/check/failing"}, 1, "podwatch: 3 cases fail\n"},
	} {
		t.Run(test.golden, func(t *testing.T) {
			status, stdout, stderr := runTool(t, append([]string{"check"}, test.args...)...)
			if status != test.status || stderr != test.stderr {
				t.Errorf("status %d, stderr %q; want %d, %q", status, stderr, test.status, test.stderr)
			}
			golden := filepath.Join("testdata", "check", test.golden+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), stdout); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestCheckWithoutArgumentsTakesTheBuiltInRulesAndRulesDir(t *testing.T) {
	t.Setenv("RULES_DIR", "")
	status, stdout, stderr := runTool(t, "check", "--json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %s\n%s", status, stderr, stdout)
	}
	names := func(out string) (names []string) {
		dec := json.NewDecoder(strings.NewReader(out))
		for {
			var r checkedRule
			if err := dec.Decode(&r); errors.Is(err, io.EOF) {
				return names
			} else if err != nil {
				t.Fatal(err)
			}
			if r.Rule != "" {
				names = append(names, r.Rule)
			}
			if strings.HasPrefix(r.File, "built-in") && (r.Cases == nil || r.Cases.Passed == 0 || len(r.Warnings) > 0) {
				t.Errorf("%s: cases %+v, warnings %v", r.Rule, r.Cases, r.Warnings)
			}
		}
	}
	builtIn := []string{
		"Pods Deleted in an AKS Cluster", "Azure Kubernetes Pods Deleted", "Controller Account Used from a Public Address",
		"Token Requested for a Controller Account", "Pods Deleted With Their Workload, Namespace or Node", "Workload Scaled to Zero",
	}
	if diff := cmp.Diff(builtIn, names(stdout)); diff != "" {
		t.Error(diff)
	}
	t.Setenv("RULES_DIR", "testdata/check/rules/vault")
	_, stdout, _ = runTool(t, "check", "--json")
	if diff := cmp.Diff(append(builtIn, "Secret Read from a Key Vault"), names(stdout)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckOfNothingFails(t *testing.T) {
	status, stdout, stderr := runTool(t, "check", "testdata/check/none.toml")
	if status != 1 || stdout != "" || !strings.Contains(stderr, "none.toml") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	if status, _, stderr := runTool(t, "check", t.TempDir()); status != 1 || !strings.Contains(stderr, "no rule found") {
		t.Errorf("an empty folder: status %d, stderr %q", status, stderr)
	}
}

func TestCheckKeepsRulesFromSteeringTheTerminal(t *testing.T) {
	dir := t.TempDir()
	src := `{"rule_id":"3d1f0c7a-52a4-4a7e-8a5e-1f0f6a0c0009","name":"A\u001b[2J\u202eB","description":"d","type":"esql","query":"x","severity":"low","risk_score":1,"\u001b]0;x\u0007":1}`
	writeFile(t, filepath.Join(dir, "a.json"), src)
	if _, stdout, _ := runTool(t, "check", dir); strings.ContainsAny(stdout, "\x1b\x07\u202e") {
		t.Errorf("got %q", stdout)
	}
}

func TestCheckExplainsItself(t *testing.T) {
	_, stdout, _ := runTool(t, "check", "--help")
	for _, want := range []string{"needs state", "nomatch.jsonl", "[podwatch]", "fold_case", "RULES_DIR", "podwatch check --json"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the help does not mention %s", want)
		}
	}
}
