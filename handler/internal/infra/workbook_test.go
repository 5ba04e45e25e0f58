package infra_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	countRead  = regexp.MustCompile(`Line\.counts\.(\w+)`)
	memberRead = regexp.MustCompile(`\bLine\.(\w+)`)
	saidRead   = regexp.MustCompile(`Line\.(?:msg|function) == "(\w+)"`)
	ruleRead   = regexp.MustCompile(`RuleId [!=]= "([\w-]+)"`)
)

// A workbook is the part of its form that the tests read.
type workbook struct {
	Items []struct {
		Type    int
		Content struct {
			Title, Query, ResourceType string
			Parameters                 []struct{ Name string }
		}
	}
	FallbackResourceIds []string
}

// workbook returns the one that is deployed.
func (s *snapshot) workbook() (resource, workbook, error) {
	var w workbook
	r := s.one("Microsoft.Insights/workbooks")
	text, _ := r.at("serializedData").(string)
	return r, w, json.Unmarshal([]byte(text), &w)
}

// checkWorkbook holds the workbook against what there is to read: what its queries
// want of the handler's log must be what the handler logs. TestQueries holds them
// against the tables.
func checkWorkbook(s *snapshot) (complaints []string) {
	r, workbook, err := s.workbook()
	if err != nil {
		return []string{err.Error()}
	}
	workspace := s.one("Microsoft.OperationalInsights/workspaces").ID
	complaints = append(complaints, want("the source", r.at("sourceId"), workspace)...)
	complaints = append(complaints, want("the fallback", workbook.FallbackResourceIds, []string{workspace})...)
	complaints = append(complaints, want("the kind", r.Kind, "shared")...)

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
