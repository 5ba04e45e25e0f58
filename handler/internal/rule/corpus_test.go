package rule_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/rule"
	"podwatch/handler/rules"
)

// corpus makes a folder of rule files with the shape of Elastic's prebuilt ones
// for Azure: testdata/azure-rules.tsv has the facts of each, type, datasets and
// the fields of its query, and the query asks whether those fields exist.
func corpus(t testing.TB) files {
	t.Helper()
	src, err := os.ReadFile("testdata/azure-rules.tsv")
	if err != nil {
		t.Fatal(err)
	}
	folder := files{}
	lines := strings.Split(strings.TrimSpace(string(src)), "\n")
	columns := strings.Split(lines[0], "\t")
	for i, line := range lines[1:] {
		fact := map[string]string{}
		for j, value := range strings.Split(line, "\t") {
			fact[columns[j]] = value
		}
		folder[fact["file"]+".toml"] = corpusRule(i, fact)
	}
	return folder
}

func corpusRule(i int, fact map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[metadata]\nmaturity = \"production\"\nintegration = [\"azure\"]\n\n[rule]\n")
	fmt.Fprintf(&b, "rule_id = \"00000000-0000-4000-8000-%012d\"\nname = %q\ndescription = \"Generated.\"\nauthor = [\"podwatch\"]\n", i, fact["file"])
	fmt.Fprintf(&b, "type = %q\nseverity = %q\nrisk_score = %s\n", fact["type"], fact["severity"], fact["risk_score"])
	for _, key := range []string{"language", "from", "interval"} {
		if fact[key] != "" {
			fmt.Fprintf(&b, "%s = %q\n", key, fact[key])
		}
	}
	if fact["max_signals"] != "" {
		fmt.Fprintf(&b, "max_signals = %s\n", fact["max_signals"])
	}
	switch fact["language"] {
	case "":
		fmt.Fprintf(&b, "anomaly_threshold = 50\nmachine_learning_job_id = \"job\"\n")
	case "kuery":
		datasets := strings.Split(fact["datasets"], ";")
		query := fmt.Sprintf("data_stream.dataset:(%q)", strings.Join(datasets, `" or "`))
		query = strings.ReplaceAll(query, `\"`, `"`)
		for field := range strings.SplitSeq(fact["fields"], ";") {
			if field != "data_stream.dataset" && field != "event.dataset" {
				query += " and\n" + field + ":*"
			}
		}
		index := "logs-" + strings.Join(datasets, "-*\", \"logs-") + "-*"
		fmt.Fprintf(&b, "index = [%s]\nquery = '''\n%s\n'''\n", `"`+index+`", "filebeat-*"`, query)
	default:
		fmt.Fprintf(&b, "query = '''\nany where true\n'''\n")
	}
	switch fact["type"] {
	case "new_terms":
		terms, window, _ := strings.Cut(strings.TrimPrefix(fact["detail"], "new_terms="), " window=")
		fmt.Fprintf(&b, "\n[rule.new_terms]\nfield = \"new_terms_fields\"\nvalue = [\"%s\"]\n", strings.ReplaceAll(terms, ",", `", "`))
		fmt.Fprintf(&b, "[[rule.new_terms.history_window_start]]\nfield = \"history_window_start\"\nvalue = %q\n", window)
	case "threshold":
		var by, value, of, cardinality string
		detail := strings.NewReplacer("threshold field=", "", " value=", "\t", " cardinality=", "\t", ">=", "\t").Replace(fact["detail"])
		if parts := strings.Split(detail, "\t"); len(parts) == 4 {
			by, value, of, cardinality = strings.ReplaceAll(parts[0], ",", `", "`), parts[1], parts[2], parts[3]
		}
		fmt.Fprintf(&b, "\n[rule.threshold]\nfield = [\"%s\"]\nvalue = %s\n[[rule.threshold.cardinality]]\nfield = %q\nvalue = %s\n", by, value, of, cardinality)
	}
	return b.String()
}

func TestCorpusIsAccountedFor(t *testing.T) {
	set, report := load(t, rule.FS("corpus", corpus(t)))
	want := map[string]map[rule.Verdict]int{
		// Two ask for what needs a database (of browsers, of networks), and one is
		// about two logs, whose fields the corpus asks for together.
		"query":            {rule.Runs: 62, rule.CannotMatch: 3},
		"new_terms":        {rule.NeedsState: 35},
		"threshold":        {rule.NeedsState: 5},
		"eql":              {rule.Unsupported: 8},
		"esql":             {rule.Unsupported: 18},
		"machine_learning": {rule.Unsupported: 5},
	}
	if diff := cmp.Diff(want, report.Count()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if len(set.Rules()) != 62 {
		t.Errorf("%d rules run", len(set.Rules()))
	}
	for _, e := range report.Entries {
		if (e.Reason == "") != (e.Verdict == rule.Runs) {
			t.Errorf("%s: %s for the reason %q", e.File, e.Verdict, e.Reason)
		}
		for _, w := range e.Lint() {
			if w.Code != "missing-field" && w.Code != "dataset" {
				t.Errorf("warning: %s", w)
			}
		}
	}
}

// TestElasticRules loads Elastic's own rule files from the folder that
// PODWATCH_ELASTIC_RULES names, such as rules/integrations/azure of a checkout
// of its repository. Without it, the generated folder is written to disk and
// read the same way.
func TestElasticRules(t *testing.T) {
	dir, given := os.LookupEnv("PODWATCH_ELASTIC_RULES")
	if !given {
		dir = t.TempDir()
		for name, content := range corpus(t) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, report := load(t, rule.BuiltIn(), rule.Path(dir))
	count := report.Count()
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		for _, v := range slices.Sorted(maps.Keys(count[kind])) {
			t.Logf("%-16s %-11s %3d", kind, v, count[kind][v])
		}
	}
	for _, e := range report.Entries {
		switch {
		case e.Reason == "" && e.Verdict != rule.Runs:
			t.Errorf("%s: %s without a reason", e.File, e.Verdict)
		case e.Rule.Type == "query" && e.Rule.Language == "kuery" && e.Verdict != rule.Runs && e.Verdict != rule.Waits && e.Verdict != rule.CannotMatch && e.Verdict != rule.Replaced:
			t.Errorf("%s: a KQL query rule is %s: %s", e.File, e.Verdict, e.Reason)
		}
	}
	if len(report.Entries) < 3 {
		t.Errorf("%s holds no rules", dir)
	}
}

// caseFile reads a file of cases that a Case names.
func caseFile(name string) ([]byte, error) {
	return fs.ReadFile(rules.FS, strings.TrimPrefix(filepath.ToSlash(name), "built-in/"))
}
