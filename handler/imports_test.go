package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of our packages a package may import: data flows one
// way, and siblings under sink do not know each other. A package that is not
// listed here is new and has to find its place first.
var mayImport = map[string][]string{
	"arm":        {},
	"outbound":   {},
	"config":     {"arm", "outbound"},
	"kql":        {},
	"invocation": {},
	"export":     {},
	"azurite":    {},
	"event":      {"arm"},
	"scan":       {},
	"logtest":    {"invocation"},

	"rule":         {"arm", "event", "kql"},
	"caller":       {"arm", "event"},
	"directory":    {"arm", "caller", "outbound"},
	"alert":        {"event", "rule", "caller"},
	"surroundings": {"arm", "caller", "event", "outbound"},
	"exception":    {"alert", "event", "kql", "surroundings"},

	"sink":              {"alert", "outbound"},
	"sink/sinktest":     {"alert", "sink"},
	"sink/teams":        {"alert", "arm", "outbound", "sink"},
	"sink/loganalytics": {"alert", "outbound", "sink"},
	"sink/console":      {"alert"},

	"state":    {"alert"},
	"pipeline": {"alert", "arm", "caller", "event", "export", "invocation", "rule", "scan", "sink", "surroundings"},
	"server":   {"alert", "invocation", "pipeline", "scan"},

	"app": {"alert", "config", "directory", "exception", "outbound", "pipeline", "rule", "sink", "sink/console", "sink/loganalytics", "sink/teams", "state", "surroundings"},

	"hub":           {},
	"hub/hubtest":   {},
	"devhost":       {"invocation"},
	"devhost/inbox": {},
}

// The executables tie the parts together and may import anything.
var executables = []string{"", "cmd/podwatch"}

func TestImportsGoOneWay(t *testing.T) {
	for dir, imports := range ourImports(t) {
		if slices.Contains(executables, dir) {
			continue
		}
		name, inside := strings.CutPrefix(dir, "internal/")
		if !inside {
			continue
		}
		allowed, listed := mayImport[name]
		if !listed {
			t.Errorf("package %s has no place in mayImport", name)
			continue
		}
		for _, imported := range imports {
			if !slices.Contains(allowed, imported) {
				t.Errorf("package %s imports %s: data does not flow that way", name, imported)
			}
		}
	}
}

// ourImports maps each folder below handler to the packages below internal that
// its code, tests left out, imports.
func ourImports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "testdata" {
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
			if name, ours := strings.CutPrefix(imported, "podwatch/handler/internal/"); ours && !slices.Contains(found[dir], name) {
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
