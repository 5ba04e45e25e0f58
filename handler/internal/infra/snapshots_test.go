// Package infra_test holds what a reviewer would ask of the templates in infra/.
//
// The tests read infra/snapshots: what the Bicep compiler makes of the templates in
// four deployments. So they need neither the compiler nor Azure. `make infra-check`
// compares the snapshots with the templates where there is a compiler; without one
// TestSnapshotsAreOfTheseSources still notices a template that was changed alone.
//
// The package is below handler because it compares the templates with Go types that
// only code below handler may import.
package infra_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// A snapshot is what one deployment would create.
type snapshot struct {
	Name               string
	PredictedResources []resource
	Outputs            map[string]any
}

type resource struct {
	ID, Type, Name, Condition, Kind, Location string
	Tags                                      map[string]string
	Properties                                map[string]any
	SKU                                       map[string]any
}

var snapshotNames = []string{"flex", "no-activity-log", "premium", "two-clusters"}

func readSnapshot(t *testing.T, name string) *snapshot {
	t.Helper()
	s := &snapshot{Name: name}
	if err := json.Unmarshal(readInfra(t, "snapshots/"+name+".snapshot.json"), s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func readInfra(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "infra", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// all returns the resources of a type.
func (s *snapshot) all(kind string) (found []resource) {
	for _, r := range s.PredictedResources {
		if r.Type == kind {
			found = append(found, r)
		}
	}
	return found
}

// one returns the only resource of a type, or an empty one.
func (s *snapshot) one(kind string) resource {
	if found := s.all(kind); len(found) == 1 {
		return found[0]
	}
	return resource{}
}

// at returns the value at a path of properties, nil where there is none.
func (r resource) at(path ...string) any {
	var value any = r.Properties
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	return value
}

// token is the part that names have in common.
func (s *snapshot) token() string {
	name, _ := s.Outputs["diagnosticSettingName"].(string)
	return strings.TrimPrefix(name, "podwatch-")
}

// place names a resource by its last type and its name, without a name that differs
// between installations.
func (s *snapshot) place(id string) string {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	kind, name := parts[len(parts)-2], parts[len(parts)-1]
	if strings.Contains(name, s.token()[:8]) {
		return kind
	}
	return kind + "/" + name
}

// A template must not change without its snapshots, nor a snapshot by hand.
func TestSnapshotsAreOfTheseSources(t *testing.T) {
	recorded := map[string]string{}
	for line := range strings.Lines(string(readInfra(t, "snapshots/sources.sha256"))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		recorded[name] = sum
	}
	sources := []string{"bicepconfig.json", "main.bicepparam", "workbook.json"}
	for _, pattern := range []string{"*.bicep", "modules/*.bicep", "snapshots/*.bicepparam", "snapshots/*.snapshot.json"} {
		names, err := filepath.Glob(filepath.Join(root, "infra", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			below, err := filepath.Rel(filepath.Join(root, "infra"), name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, filepath.ToSlash(below))
		}
	}
	for _, name := range sources {
		sum := sha256.Sum256(readInfra(t, name))
		if recorded[name] != hex.EncodeToString(sum[:]) {
			t.Errorf("infra/%s is not what the snapshots were recorded of: run `make snapshots` (needs the Bicep CLI) and review what it changes", name)
		}
		delete(recorded, name)
	}
	for name := range recorded {
		t.Errorf("the snapshots were recorded with infra/%s, which is gone: run `make snapshots`", name)
	}
	if len(sources) < 20 {
		t.Errorf("found only %v", sources)
	}
}

// checks by name. Each returns complaints about one snapshot.
var checks = map[string]func(*snapshot) []string{
	"roles":          checkRoles,
	"doors":          checkDoors,
	"types":          checkTypes,
	"settings":       checkSettings,
	"app":            checkApp,
	"names":          checkNames,
	"columns":        checkColumns,
	"storage":        checkStorage,
	"lifecycle":      checkLifecycle,
	"exports":        checkExports,
	"logs":           checkLogs,
	"failure alerts": checkFailureAlerts,
	"incidents":      checkIncidents,
	"workbook":       checkWorkbook,
}

func TestTemplates(t *testing.T) {
	for _, name := range snapshotNames {
		s := readSnapshot(t, name)
		for what, check := range checks {
			for _, complaint := range check(s) {
				t.Errorf("%s: %s: %s", name, what, complaint)
			}
		}
	}
}

// missing and unexpected tell apart two lists.
func difference(what string, got, want []string) (complaints []string) {
	for _, line := range got {
		if !slices.Contains(want, line) {
			complaints = append(complaints, what+" that nobody reviewed: "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			complaints = append(complaints, what+" that is gone: "+line)
		}
	}
	return complaints
}
