package infra_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
)

// storageNames lists the containers and queues that the handler's code and
// bindings name, with "container" or "queue".
func storageNames() map[string]string {
	names := map[string]string{"podwatch-ledger": "container", "podwatch-state": "container", "undelivered-alerts-poison": "queue"}
	functions, _ := filepath.Glob(filepath.Join(root, "function_app", "*", "function.json"))
	for _, name := range functions {
		var f struct {
			Bindings []struct{ Type, QueueName, Path string }
		}
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			names[err.Error()] = "container" // shows up as missing
		}
		for _, b := range f.Bindings {
			if b.QueueName != "" {
				names[b.QueueName] = "queue"
			}
			if container, _, _ := strings.Cut(b.Path, "/"); container != "" {
				names[container] = "container"
			}
		}
	}
	return names
}

// The names in Go code are constants of packages that must not be imported for
// a name; reading them keeps storageNames honest.
func TestStorageNamesAreTheCodes(t *testing.T) {
	const file = "handler/internal/state/documents.go"
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	for _, name := range []string{"podwatch-ledger", "podwatch-state"} {
		if err != nil || !strings.Contains(string(text), `"`+name+`"`) {
			t.Errorf("%s does not use the container %s (%v)", file, name, err)
		}
	}
}

// The example of parameters is Bicep of another dialect, which the parser does
// not know: its lines are simple enough to read.
func TestParameterExampleFits(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "infra", "main.bicepparam"))
	if err != nil {
		t.Fatal(err)
	}
	tree := startParser(t).parse(t, readTemplates(t))
	if !strings.Contains(string(text), "using './main.bicep'") {
		t.Error("main.bicepparam does not use main.bicep")
	}
	given := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^param (\w+) = (.*)$`).FindAllStringSubmatch(string(text), -1) {
		given[m[1]] = true
		d := tree.find("main.bicep", "param", m[1])
		if d.Name == "" {
			t.Errorf("main.bicep has no parameter %s", m[1])
		}
		if d.Secure && !strings.HasPrefix(m[2], "readEnvironmentVariable(") {
			t.Errorf("the secret %s stands in the file: %s", m[1], m[2])
		}
	}
	if len(given) == 0 {
		t.Error("main.bicepparam gives nothing")
	}
	tree.each("param", func(file string, d *declaration) {
		if file == "main.bicep" && d.Value == "" && !given[d.Name] {
			t.Errorf("main.bicep wants %s, and the example does not give it", d.Name)
		}
	})
}

// workbookFile stands beside the templates, one of which loads it.
const workbookFile = "workbook.json"

// telemetry are columns of Azure's own tables that the workbook reads.
var telemetry = []string{"Message", "ItemCount", "Name", "Success", "DurationMs", "OperationName"}

var (
	countRead  = regexp.MustCompile(`Line\.counts\.(\w+)`)
	memberRead = regexp.MustCompile(`\bLine\.(\w+)`)
	saidRead   = regexp.MustCompile(`Line\.(?:msg|function) == "(\w+)"`)
	ruleRead   = regexp.MustCompile(`RuleId [!=]= "([\w-]+)"`)
)

// checkWorkbook holds the workbook against what there is to read. Each query may
// use the columns of an alert, those of the telemetry, and names that it makes
// itself; what it reads of the handler's log must be what the handler logs.
func checkWorkbook(t templates) (complaints []string) {
	complaints = wants("the workbook", t.find("modules/workbook.bicep", "resource", "workbook"), map[string]string{
		"kind":                      "'shared'",
		"properties.category":       "'workbook'",
		"properties.sourceId":       "workspaceId",
		"properties.serializedData": "replace(loadTextContent('../" + workbookFile + "'), '{workspaceId}', workspaceId)",
	})
	if text := t.find("main.bicep", "module", "workbook").Text; !strings.Contains(text, "'modules/workbook.bicep' = {") {
		complaints = append(complaints, "main.bicep does not always deploy the workbook")
	}
	var workbook struct {
		Items []struct {
			Type    int
			Content struct {
				Title, Query, ResourceType string
				Parameters                 []struct{ Name string }
			}
		}
		FallbackResourceIds []string
	}
	if err := json.Unmarshal([]byte(t.source[workbookFile]), &workbook); err != nil {
		return append(complaints, err.Error())
	}
	if !slices.Equal(workbook.FallbackResourceIds, []string{"{workspaceId}"}) {
		complaints = append(complaints, fmt.Sprintf("fallbackResourceIds is %v; the template replaces {workspaceId}", workbook.FallbackResourceIds))
	}
	known := slices.Clone(telemetry)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[alert.Alert]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		known = append(known, name)
	}
	tables := []string{"PodwatchAlerts_CL", "AppTraces", "AppRequests", "DCRLogErrors"}

	var titles, queries strings.Builder
	var parameters []string
	for _, item := range workbook.Items {
		for _, p := range item.Content.Parameters {
			parameters = append(parameters, p.Name)
		}
		if item.Type != 3 {
			continue
		}
		titles.WriteString(item.Content.Title + "\n")
		queries.WriteString(item.Content.Query + "\n")
		if item.Content.ResourceType != "microsoft.operationalinsights/workspaces" {
			complaints = append(complaints, fmt.Sprintf("%q asks %q", item.Content.Title, item.Content.ResourceType))
		}
		if problem := strangeWord(item.Content.Query, tables, known); problem != "" {
			complaints = append(complaints, fmt.Sprintf("the query of %q uses %s, which no table has:\n%s", item.Content.Title, problem, item.Content.Query))
		}
	}
	for _, topic := range []string{"Deletions over time", "By caller", "By cluster", "Suppressed, by exception", "Volume and records", "Alerts about the feed", "Delivered", "refused"} {
		if !strings.Contains(titles.String(), topic) {
			complaints = append(complaints, fmt.Sprintf("the workbook shows nothing of %q", topic))
		}
	}
	for _, m := range regexp.MustCompile(`\{(\w+)[:}]`).FindAllStringSubmatch(queries.String(), -1) {
		if !slices.Contains(parameters, m[1]) {
			complaints = append(complaints, fmt.Sprintf("the queries use the parameter %s, which nobody asks for", m[1]))
		}
	}
	// slog writes time, level and msg by itself.
	for what, in := range map[*regexp.Regexp]string{countRead: "app", memberRead: ".", saidRead: "server", ruleRead: "."} {
		code := sourceBelow(filepath.Join(root, "handler", "internal", in))
		for _, m := range what.FindAllStringSubmatch(queries.String(), -1) {
			if !strings.Contains(code, `"`+m[1]+`"`) && m[1] != "level" && m[1] != "msg" && !exists("function_app/"+m[1]) {
				complaints = append(complaints, fmt.Sprintf("the workbook reads %s, and the handler has no %q", m[0], m[1]))
			}
		}
	}
	return complaints
}

// sourceBelow is the Go code of a folder and those in it, without tests.
func sourceBelow(folder string) string {
	var all strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		return err.Error() // what is looked for is missing then
	}
	return all.String()
}

var (
	kqlString = regexp.MustCompile(`"[^"]*"`)
	kqlMade   = regexp.MustCompile(`\b([A-Z]\w*) =[^=~]`)
	kqlWord   = regexp.MustCompile(`\b[A-Z]\w*`)
)

func strangeWord(query string, tables, known []string) string {
	query = regexp.MustCompile(`\{[^}]*\}|\.\w+`).ReplaceAllString(kqlString.ReplaceAllString(query, `""`), " ")
	var made []string
	for _, m := range kqlMade.FindAllStringSubmatch(query, -1) {
		made = append(made, m[1])
	}
	for _, word := range kqlWord.FindAllString(query, -1) {
		if !slices.Contains(tables, word) && !slices.Contains(known, word) && !slices.Contains(made, word) {
			return word
		}
	}
	return ""
}

func TestScriptsAreSoundAndExplainThemselves(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "infra", "*.sh"))
	if err != nil || len(scripts) < 4 {
		t.Fatalf("found %v, %v", scripts, err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
		out, err := exec.Command("bash", script).CombinedOutput()
		if err == nil || !strings.Contains(string(out), filepath.Base(script)) {
			t.Errorf("%s without arguments: %v, says %q; want how to use it", script, err, out)
		}
	}
}

// What the smoke test sends must be what the rule looks for.
func TestSmokeTestSendsADeletion(t *testing.T) {
	out, err := exec.Command("bash", filepath.Join(root, "infra", "smoke.sh"), "--print").Output()
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Records []json.RawMessage }
	if err := json.Unmarshal(out, &body); err != nil || len(body.Records) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	ev, err := event.Read(body.Records[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	if ev.Dataset() != "azure.activitylogs" || !strings.EqualFold(ev.Operation(), "microsoft.kubernetes/connectedclusters/pods/delete") ||
		!strings.EqualFold(ev.Outcome(), "success") || ev.Resource().ClusterName != "podwatch-smoke-test" || ev.Resource().Pod == "" || len(ev.CorrelationID()) != 36 {
		t.Errorf("the smoke test sends %s", out)
	}
}
