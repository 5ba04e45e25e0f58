package rule_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"podwatch/handler/internal/rule"
)

const (
	idA = "0b1f6a52-6f0e-4b1c-9c1e-2f5f0f7c0a01"
	idB = "0b1f6a52-6f0e-4b1c-9c1e-2f5f0f7c0a02"
	idC = "0b1f6a52-6f0e-4b1c-9c1e-2f5f0f7c0a03"
)

// head is a rule table that lacks only what the test is about.
func head(id string) string {
	return fmt.Sprintf(`[rule]
rule_id = %q
name = "Key vault opened"
description = "A test."
severity = "low"
risk_score = 21
`, id)
}

func TestRuleFileWithEveryKey(t *testing.T) {
	const src = `
[metadata]
creation_date = "2024/01/02"
updated_date = "2024/02/03"
maturity = "production"
integration = ["azure"]
min_stack_version = "8.13.0"

[transform]
[[transform.investigate]]
label = "Look"

[rule]
rule_id = "0b1f6a52-6f0e-4b1c-9c1e-2f5f0f7c0a01"
name = "Key vault opened"
description = "Somebody opened a key vault."
author = ["A", "B"]
license = "Apache-2.0"
type = "query"
language = "kuery"
severity = "low"
risk_score = 21
index = ["logs-azure.platformlogs-*"]
query = 'data_stream.dataset: "azure.platformlogs" and event.action: SecretGet'
interval = "15m"
from = "now-20m"
to = "now-1m"
max_signals = 7
enabled = true
building_block_type = "default"
timestamp_override = "event.ingested"
rule_name_override = "event.action"
references = ["https://example.com"]
false_positives = ["Backup"]
tags = ["Domain: Cloud"]
note = "## What happened"
setup = "Send the log."

[rule.investigation_fields]
field_names = ["source.ip"]

[rule.alert_suppression]
group_by = ["source.ip"]
missing_fields_strategy = "doNotSuppress"
[rule.alert_suppression.duration]
value = 2
unit = "h"

[[rule.severity_mapping]]
field = "event.outcome"
operator = "equals"
value = "failure"
severity = "high"

[[rule.risk_score_mapping]]
field = "azure.platformlogs.properties.score"
operator = "equals"
value = ""

[[rule.threat]]
framework = "MITRE ATT&CK"
[rule.threat.tactic]
id = "TA0006"
name = "Credential Access"
reference = "https://attack.mitre.org/tactics/TA0006/"
[[rule.threat.technique]]
id = "T1555"
name = "Credentials from Password Stores"
reference = "https://attack.mitre.org/techniques/T1555/"
[[rule.threat.technique.subtechnique]]
id = "T1555.006"
name = "Cloud Secrets Management Stores"
reference = "https://attack.mitre.org/techniques/T1555/006/"
[[rule.threat]]
framework = "MITRE ATT&CK"
technique = []
tactic = {id = "TA0010", name = "Exfiltration", reference = "https://attack.mitre.org/tactics/TA0010/"}

[podwatch]
fold_case = ["event.action"]
routine = 'user.name: backup'
`
	set, report := load(t, rule.FS("mine", files{"a/rule.toml": src}))
	want := &rule.Rule{
		ID: idA, Name: "Key vault opened",
		Type: "query", Language: "kuery",
		Query:    `data_stream.dataset: "azure.platformlogs" and event.action: SecretGet`,
		Routine:  "user.name: backup",
		FoldCase: []string{"event.action"},
		Severity: "low", RiskScore: 21,
		SeverityMapping:  []rule.SeverityOverride{{Field: "event.outcome", Value: "failure", Severity: "high"}},
		RiskScoreMapping: []string{"azure.platformlogs.properties.score"},
		MaxSignals:       7, BuildingBlock: true, Enabled: true,
		Tactics:    []string{"TA0006 Credential Access", "TA0010 Exfiltration"},
		Techniques: []string{"T1555 Credentials from Password Stores", "T1555.006 Cloud Secrets Management Stores"},
		Note:       "## What happened",
		References: []string{"https://example.com"}, FalsePositives: []string{"Backup"},
		Highlighted: []string{"source.ip"},
		Index:       []string{"logs-azure.platformlogs-*"},
		Source:      filepath.FromSlash("mine/a/rule.toml"),
	}
	if diff := cmp.Diff(want, set.Rule(idA)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	var codes []string
	for _, w := range report.Entries[0].Lint() {
		codes = append(codes, fmt.Sprintf("%d %s", w.Line, w.Code))
	}
	if diff := cmp.Diff([]string{"32 not-honoured", "42 not-honoured", "81 missing-field"}, codes); diff != "" {
		t.Errorf("warnings: -want +got\n%s", diff)
	}
}

func TestDefaultsOfAShortRule(t *testing.T) {
	set, _ := load(t, rule.FS("", files{"a.toml": head(idA) + "type = 'query'\nquery = 'event.dataset: azure.auditlogs'"}))
	got := set.Rule(strings.ToUpper(idA)) // ids are UUIDs, whose case means nothing
	want := &rule.Rule{
		ID: idA, Name: "Key vault opened", Type: "query", Language: "kuery",
		Query: "event.dataset: azure.auditlogs", Severity: "low", RiskScore: 21,
		MaxSignals: 100, Enabled: true, Source: "a.toml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestKibanaExport(t *testing.T) {
	ndjson := strings.Join([]string{
		`{"id":"x","updated_at":"2024-01-01","rule_id":"` + idA + `","name":"A","description":"d","type":"query","language":"kuery","query":"data_stream.dataset:azure.auditlogs","severity":"high","risk_score":73,"immutable":false,"revision":2,"version":3,"threat":[],"exceptions_list":[{"id":"1","list_id":"l","type":"detection","namespace_type":"single"}],"enabled":true,"severity_mapping":[],"actions":[],"rule_source":{"type":"internal"}}`,
		``,
		`{"rule_id":"` + idB + `","name":"B","description":"d","type":"new_terms","language":"kuery","query":"data_stream.dataset:azure.signinlogs","new_terms_fields":["user.id","source.ip"],"history_window_start":"now-7d","severity":"low","risk_score":21}`,
		`{"rule_id":"` + idC + `","name":"C","description":"d","type":"query","query":"data_stream.dataset:azure.auditlogs","severity":"low","risk_score":2.0e1,"enabled":false}`,
		`{"_version":"v","list_id":"l","name":"my list","type":"detection"}`,
		`{"item_id":"i","list_id":"l","name":"my item","type":"simple","entries":[{"field":"a","operator":"included","type":"match","value":"b"}]}`,
		`{"attributes":{"actionTypeId":".teams"},"type":"action","id":"9"}`,
		`{"exported_count":6,"exported_rules_count":3,"missing_rules":[],"missing_rules_count":0,"exported_exception_list_count":1}`,
	}, "\n")
	bare := `[
  {"rule_id": "0b1f6a52-6f0e-4b1c-9c1e-2f5f0f7c0a04", "name": "D", "description": "d", "type": "query",
   "query": "data_stream.dataset:azure.auditlogs", "severity": "low", "risk_score": 1, "podwatch": {"fold_case": "event.action"}}
]`
	_, report := load(t, rule.FS("", files{"export.ndjson": ndjson, "bare.json": bare}))
	var got []string
	for _, e := range report.Entries {
		got = append(got, strings.TrimSpace(e.Rule.Name+" "+string(e.Verdict)+" "+e.Reason))
		for _, w := range e.Lint() {
			got = append(got, w.String())
		}
	}
	for _, s := range report.Skipped {
		got = append(got, fmt.Sprintf("%s:%d %s", s.File, s.Line, s.What))
	}
	want := []string{
		"D runs",
		"bare.json:3:114: fold_case names event.action, which the query does not use [value]",
		"A runs",
		"export.ndjson:1:302: Elastic exception lists are not honoured: write them as exceptions of podwatch [not-honoured]",
		"B needs state remembers the values of user.id, source.ip since now-7d",
		"C off enabled is false in its file",
		`export.ndjson:5 exception list "my list": write its items as exceptions of podwatch`,
		`export.ndjson:6 exception item "my item": write it as an exception of podwatch`,
		"export.ndjson:7 connector: podwatch delivers to its own sinks",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestExportThatLostRulesSaysSo(t *testing.T) {
	ndjson := `{"rule_id":"` + idA + `","name":"A","description":"d","type":"query","query":"data_stream.dataset:azure.auditlogs","severity":"high","risk_score":73}
{"exported_count":2,"exported_rules_count":2}`
	_, report := load(t, rule.FS("", files{"a.ndjson": ndjson}))
	if len(report.Skipped) != 1 || report.Skipped[0].What != "summary of the export: it counts 2 rules, the file holds 1" {
		t.Errorf("got %+v", report.Skipped)
	}
}

// Each mistake is reported at the place where a person would mend it.
func TestMistakesAndTheirPlace(t *testing.T) {
	for _, test := range []struct {
		name, file, src string
		want            []string
	}{
		{"TOML that does not parse", "a.toml", "[rule]\nname = \n", []string{"a.toml:2:8: "}},
		{"key given twice", "a.toml", "[rule]\nname = 'a'\nname = 'b'\n", []string{"a.toml:3:1: "}},
		{"no rule in the file", "a.toml", "[metadata]\nmaturity = 'beta'\n", []string{"a.toml:1:1: no [rule] table: this is not a rule file"}},
		{"empty file", "a.toml", "", []string{"a.toml:1:1: no [rule] table: this is not a rule file"}},
		{"missing keys", "a.toml", "\n[rule]\ntype = 'query'\nquery = 'a:b'\n", []string{
			"a.toml:2:2: rule_id is missing", "a.toml:2:2: name is missing", "a.toml:2:2: severity is missing", "a.toml:2:2: risk_score is missing",
		}},
		{"unknown type", "a.toml", head(idA) + "type = 'regex'\nquery = 'a:b'", []string{"a.toml:7:8: type \"regex\" is none of query, saved_query, threshold, new_terms, threat_match, eql, esql, machine_learning"}},
		{"unknown language", "a.toml", head(idA) + "type = 'query'\nlanguage = 'sql'\nquery = 'a:b'", []string{"a.toml:8:12: language \"sql\" is none of kuery, lucene, eql, esql"}},
		{"wrong types", "a.toml", "[rule]\nrule_id = '" + idA + "'\nname = 1\nseverity = true\nrisk_score = 'x'\ntype = 'query'\nquery = ['a:b']\ntags = [1]\nthreat = 'x'\nenabled = 1\n", []string{
			"a.toml:3:8: name must be a string, not a number", "a.toml:4:12: severity must be a string, not a boolean",
			"a.toml:5:14: risk_score must be a number, not a string", "a.toml:7:1: query must be a string, not a list",
			"a.toml:8:9: tags[0] must be a string, not a number", "a.toml:9:10: threat must be a list of tables, not a string",
			"a.toml:10:11: enabled must be true or false, not a number",
		}},
		{"risk score out of range", "a.toml", strings.Replace(head(idA), "21", "101", 1) + "type = 'query'\nquery = 'a:b'", []string{"a.toml:6:14: risk_score must be between 0 and 100, not 101"}},
		{"severity of another product", "a.toml", strings.Replace(head(idA), "low", "informational", 1) + "type = 'query'\nquery = 'a:b'", []string{`a.toml:5:12: severity "informational" is none of low, medium, high, critical`}},
		{"severity in a mapping", "a.toml", head(idA) + "type = 'query'\nquery = 'a:b'\n[[rule.severity_mapping]]\nfield = 'a'\nseverity = 'low'\n[[rule.severity_mapping]]\nfield = 'a'\noperator = 'matches'\nseverity = 'lowest'\n", []string{
			`a.toml:15:12: severity "lowest" is none of low, medium, high, critical`, `a.toml:14:12: operator "matches" is not equals`,
		}},
		{"interval without unit", "a.toml", head(idA) + "type = 'query'\nquery = 'a:b'\ninterval = '5'", []string{`a.toml:9:12: interval "5" is not a number followed by s, m, h or d`}},
		{"index and data view", "a.toml", head(idA) + "type = 'query'\nquery = 'a:b'\nindex = ['logs-*']\ndata_view_id = 'x'", []string{"a.toml:10:16: index and data_view_id exclude each other"}},
		{"query left out", "a.toml", head(idA) + "type = 'query'", []string{"a.toml:1:2: query is missing"}},
		{"query on one line", "a.toml", head(idA) + "type = 'query'\nquery = 'a:b and c:d e:f'", []string{"a.toml:8:"}},
		{"query on several lines", "a.toml", head(idA) + "type = 'query'\nquery = '''\na:b and\n  c:(x or y\n'''", []string{"a.toml:11:1: query: "}},
		{"query with escapes", "a.toml", head(idA) + `type = 'query'` + "\n" + `query = "a:\"b\" and c:(\"d\""`, []string{"a.toml:8:"}},
		{"query in a folded string", "a.toml", head(idA) + "type = 'query'\nquery = \"\"\"\na:b and \\\n   c:x d:e\"\"\"", []string{"a.toml:10:9: query: "}},
		{"routine query", "a.toml", head(idA) + "type = 'query'\nquery = 'a:b'\n[podwatch]\nroutine = 'a:('", []string{"a.toml:10:"}},
		{"threshold without a threshold", "a.toml", head(idA) + "type = 'threshold'\nquery = 'a:b'", []string{"a.toml:1:2: threshold is missing"}},
		{"new terms without fields", "a.toml", head(idA) + "type = 'new_terms'\nquery = 'a:b'", []string{"a.toml:1:2: new_terms names no fields"}},
		{"JSON that does not parse", "a.ndjson", "{\"rule_id\":1}\n{\"x\":]", []string{"a.ndjson:1:12: rule_id must be a string, not a number", "a.ndjson:2:6: "}},
		{"JSON that ends early", "a.json", `{"rule_id":`, []string{"a.json:1:12: the file ends inside a JSON value"}},
		{"JSON of another kind", "a.json", ` 17`, []string{"a.json:1:2: expected a JSON object that holds a rule, got a number"}},
		{"JSON rule with a bad query", "a.ndjson", `{"rule_id":"` + idA + `","name":"A","description":"d","type":"query","query":"a:\"b\" and c:d e:f","severity":"high","risk_score":73}`, []string{"a.ndjson:1:121: query: "}},
		{"JSON nested without end", "a.json", strings.Repeat("[", 200), []string{"a.json:1:101: nested deeper than 100 levels"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _, err := rule.Load(rule.FS("", files{test.file: test.src, "z.toml": head(idC) + "type = 'query'\nquery = 'data_stream.dataset:azure.auditlogs'"}))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			for i, want := range test.want {
				found := false
				for _, line := range got {
					found = found || strings.HasPrefix(line, want)
				}
				if !found {
					t.Errorf("mistake %d: want %q among\n%s", i, want, err)
				}
			}
			var at *rule.FileError
			if !errors.As(err, &at) || at.Line == 0 {
				t.Errorf("%v has no place", err)
			}
			if set.Rule(idC) == nil {
				t.Error("the rule in the other file must be there for a check to go on")
			}
		})
	}
}

func TestOneLoadReportsEveryBrokenRule(t *testing.T) {
	good := "type = 'query'\nquery = 'data_stream.dataset:azure.auditlogs'"
	_, report, err := rule.Load(rule.FS("rules", files{
		"a.toml": head(idA) + good,
		"b.toml": head(strings.ToUpper(idA)) + good, // the same id
		"c.toml": head(idC) + "type = 'query'\nquery = 'a:('",
		"d.toml": "[[",
	}))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"rules/b.toml:2:11: rule_id " + strings.ToUpper(idA) + " is already used by rules/a.toml", "rules/c.toml:8:", "rules/d.toml:1:",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	var verdicts []string
	for _, e := range report.Entries {
		verdicts = append(verdicts, string(e.Verdict))
	}
	if diff := cmp.Diff([]string{"runs", "broken", "broken", "broken"}, verdicts); diff != "" {
		t.Error(diff)
	}
}

func TestVerdictsAndTheirReasons(t *testing.T) {
	for _, test := range []struct {
		name, src string
		want      string
		datasets  []string
	}{
		{"an audit rule", "type = 'query'\nquery = 'event.dataset:azure.auditlogs and event.action:b'", "runs", []string{"azure.auditlogs"}},
		{"either of two logs", "type = 'query'\nquery = 'data_stream.dataset:(azure.auditlogs or azure.signinlogs)'", "runs", []string{"azure.auditlogs", "azure.signinlogs"}},
		{"a log in an inner group", "type = 'query'\nquery = 'event.action:b and (log.level:d and event.dataset:azure.auditlogs)'", "runs", []string{"azure.auditlogs"}},
		{"a log that is only one way out", "type = 'query'\nquery = 'event.action:b or event.dataset:azure.auditlogs'", "runs", nil},
		{"not a log", "type = 'query'\nquery = 'event.action:b and not event.dataset:azure.auditlogs'", "runs", nil},
		{"a pattern of logs", "type = 'query'\nquery = 'event.dataset:azure.a*'", "runs", nil},
		{"the index names the log", "type = 'query'\nquery = 'event.action:b'\nindex = ['logs-azure.auditlogs-*']", "runs", []string{"azure.auditlogs"}},
		{"the index leaves one out", "type = 'query'\nquery = 'event.action:b'\nindex = ['logs-azure.*', '-logs-azure.s*', '-logs-azure.i*', '-*platform*']", "runs", []string{"azure.activitylogs", "azure.auditlogs"}},
		{"the index is filebeat's", "type = 'query'\nquery = 'event.action:b'\nindex = ['logs-azure.auditlogs-*', 'filebeat-*']", "runs", nil},
		{"another cluster's index", "type = 'query'\nquery = 'event.action:b'\nindex = ['eu:logs-azure.auditlogs-*']", "runs", []string{"azure.auditlogs"}},
		{"a log that is not collected", "type = 'query'\nquery = 'event.dataset:azure.graphactivitylogs'", "waits: reads azure.graphactivitylogs, which podwatch does not collect", []string{"azure.graphactivitylogs"}},
		{"an index of something else", "type = 'query'\nquery = 'a:b'\nindex = ['auditbeat-*', 'winlogbeat-*']", "waits: reads the indexes auditbeat-*, winlogbeat-*, which podwatch does not collect", nil},
		{"two logs at once", "type = 'query'\nquery = 'event.dataset:azure.auditlogs and event.dataset:azure.signinlogs'", "waits: asks for several datasets in one event, which podwatch does not collect", nil},
		{"disabled", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nenabled = false", "off: enabled is false in its file", []string{"azure.auditlogs"}},
		{"threshold", "type = 'threshold'\nquery = 'event.dataset:azure.signinlogs'\n[rule.threshold]\nfield = ['user.id', 'source.ip']\nvalue = 5\n[[rule.threshold.cardinality]]\nfield = 'event.action'\nvalue = 3", "needs state: counts events by user.id, source.ip and alerts from 5 on, with 3 different values of event.action", []string{"azure.signinlogs"}},
		{"threshold over everything", "type = 'threshold'\nquery = 'event.dataset:azure.signinlogs'\n[rule.threshold]\nfield = ['']\nvalue = 30", "needs state: counts events and alerts from 30 on", []string{"azure.signinlogs"}},
		{"new terms of a log that is not collected", "type = 'new_terms'\nquery = 'event.dataset:azure.graphactivitylogs'\n[rule.new_terms]\nfield = 'new_terms_fields'\nvalue = ['user.id']\n[[rule.new_terms.history_window_start]]\nfield = 'history_window_start'\nvalue = 'now-14d'", "needs state: remembers the values of user.id since now-14d; and it reads azure.graphactivitylogs, which podwatch does not collect", []string{"azure.graphactivitylogs"}},
		{"ES|QL", "type = 'esql'\nlanguage = 'esql'\nquery = 'from logs-* | limit 1'", "unsupported: ES|QL is not evaluated", nil},
		{"EQL", "type = 'eql'\nlanguage = 'eql'\nquery = 'any where true'", "unsupported: EQL is not evaluated", nil},
		{"machine learning", "type = 'machine_learning'\nanomaly_threshold = 50\nmachine_learning_job_id = ['a']", "unsupported: needs a machine learning job", nil},
		{"indicators", "type = 'threat_match'\nquery = 'event.dataset:azure.auditlogs'", "unsupported: needs a list of indicators to compare with", []string{"azure.auditlogs"}},
		{"saved query", "type = 'saved_query'\nsaved_id = 'x'", "unsupported: its query is kept in Kibana", nil},
		{"Lucene", "type = 'query'\nlanguage = 'lucene'\nquery = 'a:[1 TO 5]'", "unsupported: queries in lucene are not evaluated", nil},
		{"filters", "type = 'query'\nquery = ''\nfilters = [{meta = {negate = false}, query = {match_phrase = {a = 'b'}}}]", "unsupported: Kibana filters narrow its query and are not evaluated", nil},
		{"filters that are switched off", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nfilters = [{meta = {disabled = true}}]", "runs", []string{"azure.auditlogs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, report := load(t, rule.FS("", files{"a.toml": head(idA) + test.src}))
			e := report.Entries[0]
			got := string(e.Verdict)
			if e.Reason != "" {
				got += ": " + e.Reason
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if diff := cmp.Diff(test.datasets, e.Datasets, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("datasets: %s", diff)
			}
			if (set.Rule(idA) != nil) != (e.Verdict == rule.Runs) || len(set.Rules()) != map[bool]int{true: 1}[e.Verdict == rule.Runs] {
				t.Error("the set holds the rules that run, and only those")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct{ name, src, want string }{
		{"unknown key", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nseverty = 'low'", "a.toml:9:11: key severty is not known here and has no effect [unknown-key]"},
		{"unknown table", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\n[podwatsh]\nx = 1", "a.toml:9:2: key podwatsh is not known here and has no effect [unknown-key]"},
		{"key of podwatch", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\n[podwatch]\nfoldcase = []", "a.toml:10:1: key foldcase is not known here and has no effect [unknown-key]"},
		{"deprecated", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\n[metadata]\nmaturity = 'deprecated'", "a.toml:10:12: its author has deprecated this rule [value]"},
		{"too many signals", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nmax_signals = 5000", "a.toml:9:15: max_signals is taken as 1000, the most that Kibana allows [value]"},
		{"a start that is not relative", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nfrom = '2024-01-01'", `a.toml:9:8: from "2024-01-01" does not start with now [value]`},
		{"part of its logs missing", "type = 'query'\nquery = 'event.dataset:(azure.signinlogs or o365.audit)'", "a.toml: reads o365.audit too, which is not collected [dataset]"},
		{"exception lists", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\nexceptions_list = [{list_id = 'x'}]", "a.toml:9:1: Elastic exception lists are not honoured: write them as exceptions of podwatch [not-honoured]"},
		{"fold_case of another field", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\n[podwatch]\nfold_case = ['event.dataset', 'x']", "a.toml:10:31: fold_case names x, which the query does not use [value]"},
		{"field that nothing fills", "type = 'query'\nquery = 'event.dataset:azure.auditlogs and (source.as.number:1 or event.action:x)'", "a.toml:8:45: query: source.as.number is never filled here, so no condition on it holds [missing-field]"},
		{"not portable", "type = 'query'\nquery = 'data_stream.dataset:azure.platformlogs and azure.platformlogs.properties.a: *b*'", `a.toml:8:53: query: "azure.platformlogs.properties.a" lies in a flattened field, where Elasticsearch refuses a star that is not at the end; it works here [flattened-pattern]`},
		{"not meant to be portable", "type = 'query'\nquery = 'data_stream.dataset:azure.platformlogs and azure.platformlogs.properties.a: *b*'\n[podwatch]", ""},
		{"threat mappings", "type = 'query'\nquery = 'event.dataset:azure.auditlogs'\n[[rule.threat_mappings]]\nframework = 'MITRE ATT&CK'", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, report := load(t, rule.FS("", files{"a.toml": head(idA) + test.src}))
			var got []string
			for _, w := range report.Entries[0].Lint() {
				got = append(got, w.String())
			}
			if strings.Join(got, "\n") != test.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), test.want)
			}
		})
	}
}

func TestFolderOnDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "type = 'query'\nquery = 'data_stream.dataset:azure.auditlogs'"
	write("deep/er/rule.toml", head(idA)+good)
	write("flat.toml", head(idB)+good)
	write(".git/rule.toml", "not a rule")
	write("deep/.rule.toml", "not a rule")
	write("README.md", "not a rule")
	write("deep/er/match.jsonl", "not a rule")

	_, report := load(t, rule.Path(dir), rule.Path(filepath.Join(dir, "flat.toml")))
	var got []string
	for _, e := range report.Entries {
		got = append(got, e.File)
	}
	want := []string{filepath.Join(dir, "deep/er/rule.toml"), filepath.Join(dir, "flat.toml")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestCasesNeedAFolderOfTheirOwn(t *testing.T) {
	good := "type = 'query'\nquery = 'data_stream.dataset:azure.auditlogs'"
	set, report := load(t, rule.FS("", files{"a.toml": head(idA) + good, "b.toml": head(idB) + good, "match.jsonl": "{}"}))
	if _, err := report.RunCases(set, report.Entries[0]); err == nil || !strings.Contains(err.Error(), "several rules") {
		t.Errorf("got %v", err)
	}
}

func TestCasesThatFail(t *testing.T) {
	audit := `{"time":"2026-01-01T00:00:00Z","category":"AuditLogs","operationName":"Add user","resultType":"","properties":{"result":"success"}}`
	set, report := load(t, rule.FS("", files{
		"a/rule.toml":     head(idA) + "type = 'query'\nquery = 'data_stream.dataset:azure.auditlogs and event.action:(\"Add user\" or \"Sync\")'\n[podwatch]\nroutine = 'event.action: Sync'",
		"a/match.jsonl":   audit + "\n\n" + strings.Replace(audit, "Add user", "Sync", 1) + "\n{\"category\":\n",
		"a/nomatch.jsonl": strings.Replace(audit, "Add user", "Add group", 1) + "\r\n" + audit,
		"a/routine.jsonl": audit,
	}))
	cases, err := report.RunCases(set, report.Entries[0])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		if c.OK() {
			got = append(got, fmt.Sprintf("%s:%d ok", c.File, c.Line))
		} else {
			got = append(got, c.String())
		}
	}
	want := []string{
		"a/match.jsonl:1 ok",
		"a/match.jsonl:3: want match, got routine",
		"a/match.jsonl:4: want match, got parse record: ",
		"a/routine.jsonl:1: want routine, got match",
		"a/nomatch.jsonl:1 ok",
		"a/nomatch.jsonl:2: want no match, got match",
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(filepath.ToSlash(got[i]), want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestWhatIsNotReadIsNamed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"good.toml": head(idA) + "type = 'query'\nquery = 'event.action:x'", "one.TOML": "x", "two.yml": "x", ".three.toml": "x", "README.md": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	_, report := load(t, rule.Path(dir))
	want := []string{filepath.Join(dir, ".three.toml"), filepath.Join(dir, "linked") + " (a linked folder)", filepath.Join(dir, "one.TOML"), filepath.Join(dir, "two.yml")}
	if diff := cmp.Diff(want, report.Unread); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rule.Load(rule.Path(dir)); err == nil || !strings.Contains(err.Error(), "empty.toml") {
		t.Errorf("an empty file: %v", err)
	}
}

// Files of Elastic's tools that are no rules get one line each.
func TestFilesThatAreNoRulesGetOneLine(t *testing.T) {
	rule1 := head(idA) + "type = 'query'\nquery = 'event.action:x'"
	for name, test := range map[string]struct{ file, text, want string }{
		"a version lock":        {"version.lock.json", `{"` + idB + `":{"rule_name":"A","sha256":"0","type":"query","version":1}}`, "a version lock of detection-rules"},
		"a saved object":        {"a.ndjson", `{"type":"alert","id":"1","attributes":{"name":"A"}}`, "a saved object"},
		"detections as code":    {"exceptions/a.toml", "[metadata]\nlist_name = 'x'\n[[exceptions]]\ndescription = 'x'", "exceptions of a detections-as-code folder"},
		"its action connectors": {"connectors/a.toml", "[metadata]\n[[action_connectors]]\nid = 'x'", "connectors of a detections-as-code folder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, report := load(t, rule.FS("", files{"good.toml": rule1, test.file: test.text}))
			if len(report.Skipped) != 1 || !strings.Contains(report.Skipped[0].What, test.want) || len(report.Entries) != 1 {
				t.Errorf("skipped %v, %d entries", report.Skipped, len(report.Entries))
			}
		})
	}
	_, _, err := rule.Load(rule.FS("", files{"a.json": `{"records":[]}`}))
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "this is not a rule") {
		t.Errorf("an export of a log: %v", err)
	}
}

func TestEncodingsOfARuleFile(t *testing.T) {
	text := head(idA) + "type = 'query'\nquery = 'event.action:x'"
	if set, _ := load(t, rule.FS("", files{"a.toml": "\ufeff" + text})); len(set.Rules()) != 1 {
		t.Error("a byte order mark is not dropped")
	}
	for want, text := range map[string]string{"UTF-16": "\xff\xfea\x00", "is not UTF-8": text + "\n# \xff", "NUL": text + "\n#\x00"} {
		if _, _, err := rule.Load(rule.FS("", files{"a.toml": text})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCutIsLinted(t *testing.T) {
	t.Parallel()
	const dataset = `data_stream.dataset: azure.platformlogs and azure.platformlogs.properties.log.`
	tests := map[string]struct{ query, warning string }{
		"the verb is known":    {dataset + `verb: delete'''`, ""},
		"the object is known":  {dataset + `objectRef.resource: pods'''`, ""},
		"the outcome is not":   {dataset + `responseStatus.code: 200'''`, "every cut event matches"},
		"no condition but not": {`not event.outcome: failure'''`, "every cut event matches"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, report, err := rule.Load(rule.FS("", files{"a.toml": head(idA) + queryKey + tt.query + "\n[podwatch]\ncut = true\n"}))
			if err != nil {
				t.Fatal(err)
			}
			var found string
			for _, w := range report.Entries[0].Lint() {
				if strings.HasPrefix(w.Msg, "cut") {
					found = w.Msg
				}
			}
			if (tt.warning == "") != (found == "") || !strings.Contains(found, tt.warning) {
				t.Errorf("warning %q, want %q", found, tt.warning)
			}
		})
	}
}

// A message about a query may name a second place, which is one of the file, too.
func TestASecondPlaceInAQueryIsOneOfTheFile(t *testing.T) {
	t.Parallel()
	for file, test := range map[string]struct{ src, want string }{
		"a.toml": {head(idA) + "type = 'query'\nquery = '''\n  event.dataset: azure.auditlogs and\n  (event.action: x\n'''", `a.toml:11:1: query: the query ends before the '(' of line 10, column 3 is closed`},
		"a.json": {`{"rule_id": "` + idA + `", "name": "A", "description": "d", "type": "query", "severity": "low", "risk_score": 1,` + "\n" +
			`  "query": "event.dataset:\"azure.auditlogs\" and\n(event.action: x"}`, `a.json:2:68: query: the query ends before the '(' of line 2, column 52 is closed`},
	} {
		_, _, err := rule.Load(rule.FS("", files{file: test.src}))
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}
