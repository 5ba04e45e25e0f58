package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport lists, for each package, which of our packages its code may import:
// data flows in one direction, from the bottom of the list to its top, and the
// sinks do not import each other. Names are relative to handler/internal; those of
// the tool are relative to handler/cmd/podwatch/internal and begin with
// "podwatch/". A package that is not listed fails the test.
var mayImport = map[string][]string{
	"arm":       {},
	"child":     {},
	"jsontext":  {},
	"kql":       {},
	"outbound":  {},
	"prefilter": {},
	"state":     {},
	"version":   {},

	"config":     {"arm", "outbound"},
	"emulator":   {"child", "config"},
	"event":      {"arm", "jsontext", "kql"},
	"export":     {"jsontext"},
	"invocation": {"jsontext", "prefilter"},

	"caller":            {"arm", "event"},
	"rule":              {"arm", "event", "kql", "prefilter"},
	"alert":             {"arm", "caller", "event", "jsontext", "rule", "version"},
	"directory":         {"arm", "caller", "outbound"},
	"surroundings":      {"alert", "arm", "caller", "event", "outbound"},
	"exception":         {"alert", "event", "kql", "rule", "surroundings"},
	"sink/teams":        {"alert", "arm", "outbound"},
	"sink/loganalytics": {"alert", "outbound"},
	"storage":           {"config", "state"},

	"detect":  {"alert", "arm", "caller", "event", "export", "jsontext", "prefilter", "rule"},
	"enrich":  {"alert", "caller", "directory", "event", "exception", "surroundings"},
	"deliver": {"alert", "outbound", "state"},

	"app": {
		"alert", "config", "deliver", "detect", "directory", "enrich", "exception", "invocation", "outbound",
		"rule", "sink/loganalytics", "sink/teams", "state", "storage", "surroundings", "version",
	},
	"server": {"invocation"},

	"podwatch/azure":         {"outbound"},
	"podwatch/deployment":    {"arm", "config", "podwatch/azure", "podwatch/hub", "state", "storage", "version"},
	"podwatch/files":         {"export", "jsontext"},
	"podwatch/hub":           {"invocation"},
	"podwatch/devhost":       {"child", "config", "emulator", "invocation"},
	"podwatch/devhost/inbox": {},
}

// testOnly are the packages that only tests may import.
var testOnly = map[string][]string{
	"azurite":                  {"emulator"},
	"logtest":                  {"event", "invocation"},
	"outbound/outboundtest":    {"outbound"},
	"sink/sinktest":            {"alert"},
	"podwatch/azure/azuretest": {},
	"podwatch/hub/hubtest":     {"child", "emulator"},
}

// azureUsers are the packages that may import Azure's modules. All others get what they
// need of them as an outbound.Token or as state.Documents.
var azureUsers = []string{"app", "storage", "podwatch/azure", "podwatch/deployment", "podwatch/hub", "podwatch/devhost"}

// executables compose the packages and may import all of them, except those for
// tests.
var executables = []string{"", "cmd/podwatch"}

// azureModules begin the import paths of Azure's modules.
const azureModules = "github.com/Azure/"

// benchmarkModule is a module of its own, of which nothing is imported.
const benchmarkModule = "benchmark"

// rulesFolder embeds the built-in rules; package rule and the tool import it.
const rulesFolder = "rules"

func TestImportsGoOneWay(t *testing.T) {
	for dir, imports := range ourImports(t) {
		executable := slices.Contains(executables, dir)
		name, known := shortName(dir)
		allowed, production := mayImport[name]
		if !production {
			allowed, known = testOnly[name], known && testOnly[name] != nil
		}
		if !executable && !known && dir != rulesFolder {
			t.Errorf("package %s is listed neither in mayImport nor in testOnly", dir)
			continue
		}
		for _, imported := range imports {
			switch {
			case strings.HasPrefix(imported, azureModules):
				if !executable && !slices.Contains(azureUsers, name) {
					t.Errorf("package %s imports %s: only %q may import Azure's modules", dir, imported, azureUsers)
				}
			case testOnly[imported] != nil:
				t.Errorf("package %s imports %s, which only tests may import", dir, imported)
			case !executable && !slices.Contains(allowed, imported):
				t.Errorf("package %s imports %s: data does not flow in that direction", dir, imported)
			}
		}
	}
}

// TestPackagesKeepOutWhatTheyMustNotPullIn looks at all dependencies, also those of
// dependencies.
func TestPackagesKeepOutWhatTheyMustNotPullIn(t *testing.T) {
	t.Parallel()
	for pkg, forbidden := range map[string][]string{
		"./handler":                     {"testing", "github.com/spf13/cobra", "podwatch/handler/cmd/", "github.com/Azure/azure-sdk-for-go/sdk/messaging/"},
		"./handler/cmd/podwatch":        {"testing"},
		"./handler/internal/kql":        {"podwatch/handler/internal/event", "net/http", "github.com/Azure/"},
		"./handler/internal/detect":     {"net/http", "github.com/Azure/"},
		"./handler/internal/invocation": {"net/http", "github.com/Azure/"},
		"./handler/internal/state":      {"net/http", "github.com/Azure/"},
		"./handler/internal/enrich":     {"github.com/Azure/"},
		"./handler/internal/deliver":    {"github.com/Azure/"},
		"./handler/internal/server":     {"github.com/Azure/"},
	} {
		t.Run(pkg, func(t *testing.T) {
			t.Parallel()
			list := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
			list.Dir = ".."
			out, err := list.Output()
			if err != nil {
				t.Fatalf("list the dependencies: %v", err)
			}
			for dependency := range strings.FieldsSeq(string(out)) {
				for _, f := range forbidden {
					if dependency == f || strings.HasSuffix(f, "/") && strings.HasPrefix(dependency, f) {
						t.Errorf("%s depends on %s", pkg, dependency)
					}
				}
			}
		})
	}
}

// shortName returns the name that a folder below handler has in the lists.
func shortName(dir string) (name string, ok bool) {
	if name, ok = strings.CutPrefix(dir, "internal/"); ok {
		return name, true
	}
	name, ok = strings.CutPrefix(dir, "cmd/podwatch/internal/")
	return "podwatch/" + name, ok
}

// ourImports maps each folder below handler to the packages that its code imports:
// ours by their names in the lists, and Azure's. Tests are not read.
func ourImports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || path == benchmarkModule) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if dir == "." {
			dir = ""
		}
		found[dir] = append(found[dir], nil...)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			folder, ours := strings.CutPrefix(imported, "podwatch/handler/")
			name, listed := shortName(folder)
			if strings.HasPrefix(imported, azureModules) {
				name, ours, listed = imported, true, true
			}
			if ours && listed && !slices.Contains(found[dir], name) {
				found[dir] = append(found[dir], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
