package infra_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// azureTables are the columns that podwatch reads of Azure's own tables, from the
// reference of Azure Monitor's tables. PodwatchAlerts_CL is taken from the template.
var azureTables = map[string]string{
	"AppRequests":  "(TimeGenerated:datetime, AppRoleName:string, AppVersion:string, Name:string, Success:bool, ResultCode:string, DurationMs:real, OperationName:string, Properties:dynamic, ItemCount:int)",
	"AppTraces":    "(TimeGenerated:datetime, AppRoleName:string, AppVersion:string, Message:string, SeverityLevel:int, OperationName:string, Properties:dynamic, ItemCount:int)",
	"DCRLogErrors": "(TimeGenerated:datetime, OperationName:string, InputStreamId:string, Message:string)",
	"Usage":        "(TimeGenerated:datetime, DataType:string, Quantity:real, QuantityUnit:string, IsBillable:bool)",
}

// A queryText begins with a table and goes on with an operator, or defines something
// for a query that does.
var queryText = regexp.MustCompile(`^\s*(?:let \w+ = )?(?:PodwatchAlerts_CL|AppRequests|AppTraces|DCRLogErrors|Usage)\s*\n?\s*\|`)

// TestQueries analyses every Kusto query that podwatch ships with Kusto's own parser:
// those of the workbook, of the alert rules and of Sentinel, those that code builds,
// and those of scripts and pages.
func TestQueries(t *testing.T) {
	queries := map[string]string{}
	deployedQueries(t, queries)
	codedQueries(t, queries)
	writtenQueries(t, queries)
	found := strings.Join(slices.Collect(maps.Keys(queries)), "\n")
	for _, source := range []string{"workbook: By caller", "podwatch-no-heartbeat", "Sentinel NRT", "Sentinel Scheduled", "handler/internal/alert/links.go", "docs/operate.md"} {
		if !strings.Contains(found, source) {
			t.Errorf("no query of %s was found", source)
		}
	}
	t.Logf("%d queries", len(queries))
	maps.Copy(queries, wrong)
	noticed := map[string]bool{}
	for _, diagnostic := range analyse(t, queries) {
		where, _, _ := strings.Cut(diagnostic, ": ")
		if noticed[where] = true; wrong[where] == "" {
			t.Error(diagnostic)
		}
	}
	for where := range wrong {
		if !noticed[where] {
			t.Errorf("nothing is said about a %s", where)
		}
	}
}

// wrong are queries that the parser must refuse: without its tables, columns and
// functions it would accept anything.
var wrong = map[string]string{
	"wrong table":    "Podwatch_CL | take 1",
	"wrong column":   "PodwatchAlerts_CL | where CallerNme == 'x'",
	"wrong function": "AppTraces | extend Line = parse_jsn(Message)",
	"wrong operator": "AppRequests | summarise count()",
}

// analyse returns what Kusto's parser says about queries, a line each.
func analyse(t *testing.T, queries map[string]string) []string {
	t.Helper()
	local := filepath.Join(root, "infra", "local")
	if _, err := os.Stat(filepath.Join(local, "node_modules", "@kusto")); err != nil {
		t.Fatal("the parser of Kusto queries is a node package: run `make deps`")
	}
	tables := map[string]string{"PodwatchAlerts_CL": alertColumns(t)}
	for name, columns := range azureTables {
		tables[name] = columns
	}
	request, err := json.Marshal(map[string]any{"tables": tables, "queries": queries})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(local, "kusto.mjs"))
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("analyse the queries (needs Node.js): %v", err)
	}
	return slices.Collect(strings.Lines(string(answer)))
}

// alertColumns is the schema of the table of alerts as Kusto writes it.
func alertColumns(t *testing.T) string {
	t.Helper()
	columns, _ := readSnapshot(t, "flex").one("Microsoft.OperationalInsights/workspaces/tables").at("schema", "columns").([]any)
	var list []string
	for _, column := range columns {
		c, _ := column.(map[string]any)
		kind := strings.ToLower(fmt.Sprint(c["type"]))
		list = append(list, fmt.Sprintf("%v:%s", c["name"], strings.Replace(kind, "boolean", "bool", 1)))
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// deployedQueries are those of the snapshots, with the workbook's parameters filled in.
func deployedQueries(t *testing.T, queries map[string]string) {
	t.Helper()
	parameters := strings.NewReplacer("{TimeRange:grain}", "1h", "{TimeRange}", "> ago(7d)")
	for _, name := range snapshotNames {
		s := readSnapshot(t, name)
		_, workbook, err := s.workbook()
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range workbook.Items {
			if item.Content.Query != "" {
				queries["workbook: "+item.Content.Title] = parameters.Replace(item.Content.Query)
			}
		}
		for _, r := range s.PredictedResources {
			where := name + ": " + r.Name
			if r.Type == "Microsoft.SecurityInsights/alertRules" {
				where = "Sentinel " + r.Kind
			}
			walk("", r.Properties, func(path string, value any) {
				criteria, _ := value.([]any)
				for _, c := range criteria {
					if c, ok := c.(map[string]any); ok && c["query"] != nil {
						queries[where] = fmt.Sprint(c["query"])
					}
				}
				if path == "query" {
					queries[where] = fmt.Sprint(value)
				}
			})
		}
	}
}

// codedQueries are the texts in Go code, outside of tests, that are queries. Where a
// value is put in, X stands.
func codedQueries(t *testing.T, queries map[string]string) {
	t.Helper()
	files(t, []string{"handler"}, ".go", func(name string, text []byte) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			query, known := textOf(e)
			if known && queryText.MatchString(query) {
				queries[fmt.Sprintf("%s:%d", name, set.Position(e.Pos()).Line)] = query
				return false
			}
			return true
		})
	})
}

var verbs = strings.NewReplacer("%q", `"X"`, "%d", "1", "%s", "X", "%v", "X")

// textOf is the text that an expression of string constants makes; known is false
// where it has none.
func textOf(e ast.Expr) (text string, known bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return verbs.Replace(text), err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, knownLeft := textOf(e.X)
		right, knownRight := textOf(e.Y)
		return left + right, e.Op == token.ADD && (knownLeft || knownRight)
	case *ast.ParenExpr:
		return textOf(e.X)
	}
	return "X", false
}

var (
	fenced  = regexp.MustCompile("(?s)```k(?:usto|ql)\n(.*?)```")
	inline  = regexp.MustCompile("`([^`\n]+)`")
	inShell = regexp.MustCompile(`"((?:PodwatchAlerts_CL|AppRequests|AppTraces) \|[^"]*)"`)
)

// writtenQueries are those of pages and scripts.
func writtenQueries(t *testing.T, queries map[string]string) {
	t.Helper()
	files(t, []string{"docs", "README.md", "CONTRIBUTING.md"}, ".md", func(name string, text []byte) {
		for i, m := range append(fenced.FindAllStringSubmatch(string(text), -1), inline.FindAllStringSubmatch(string(text), -1)...) {
			if strings.HasPrefix(m[0], "```") || queryText.MatchString(m[1]) {
				queries[fmt.Sprintf("%s: query %d", name, i+1)] = m[1]
			}
		}
	})
	files(t, []string{"infra"}, ".sh", func(name string, text []byte) {
		for i, m := range inShell.FindAllStringSubmatch(string(text), -1) {
			queries[fmt.Sprintf("%s: query %d", name, i+1)] = m[1]
		}
	})
}

// files calls f for the files below places that end in ending.
func files(t *testing.T, places []string, ending string, f func(name string, text []byte)) {
	t.Helper()
	for _, place := range places {
		err := filepath.WalkDir(filepath.Join(root, place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && slices.Contains([]string{"node_modules", "testdata"}, entry.Name()) {
				return filepath.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(path, ending) {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			below, err := filepath.Rel(root, path)
			f(filepath.ToSlash(below), text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
