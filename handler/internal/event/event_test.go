package event_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/logtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// records returns the records of a sample. The samples that only this package
// needs are in its own testdata.
func records(t testing.TB, name string) []json.RawMessage {
	t.Helper()
	file := filepath.Join("testdata", "records", name)
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join("..", "..", "testdata", "records", name)
	}
	return logtest.Records(t, file)
}

// samples returns the names of the samples that have a golden file.
func samples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".golden") + ".json"
	}
	return files
}

func parse(t testing.TB, record string) *event.Event {
	t.Helper()
	ev, err := event.Read([]byte(record), 0)
	if err != nil {
		t.Fatalf("Read(%.200s): %v", record, err)
	}
	return ev
}

// at returns the value at a dotted path in nested maps.
func at(m map[string]any, path string) any {
	var v any = m
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// fields are all fields of an event as nested objects.
func fields(ev *event.Event) map[string]any {
	all := map[string]any{}
	for name, value := range ev.All() {
		if value != nil {
			put(all, name, value)
		}
	}
	return all
}

func put(m map[string]any, path string, value any) {
	head, rest, more := strings.Cut(path, ".")
	inner, _ := m[head].(map[string]any)
	object, isObject := value.(map[string]any)
	switch {
	case more:
		if inner == nil {
			inner = map[string]any{}
			m[head] = inner
		}
		put(inner, rest, value)
	case isObject && inner != nil:
		maps.Copy(inner, object)
	case isObject:
		m[head] = maps.Clone(object)
	default:
		m[head] = value
	}
}

// view is an event without what is only the record again.
type view struct {
	Dataset, Category, Operation, Outcome, ResourceID, CorrelationID, TenantID string
	Time                                                                       time.Time
	CallerIP                                                                   string
	Resource                                                                   event.Resource
	Audit                                                                      *event.KubeAudit
	Notes                                                                      []string
	Fields                                                                     map[string]any
}

func viewOf(ev *event.Event) view {
	return view{
		ev.Dataset(), ev.Category(), ev.Operation(), ev.Outcome(), ev.ResourceID(), ev.CorrelationID(), ev.TenantID(),
		ev.Time(), ev.CallerIP(), ev.Resource(), ev.Audit(), ev.Notes(), fields(ev),
	}
}

func TestGolden(t *testing.T) {
	for _, name := range samples(t) {
		t.Run(name, func(t *testing.T) {
			var out []byte
			for _, r := range records(t, name) {
				ev := parse(t, string(r))
				b, err := json.MarshalIndent(viewOf(ev), "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				out = append(append(out, b...), '\n')
			}
			golden := filepath.Join("testdata", "golden", strings.TrimSuffix(name, ".json")+".golden")
			if *update {
				if err := os.WriteFile(golden, out, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(out)); diff != "" {
				t.Errorf("event differs (-golden +got):\n%s", diff)
			}
		})
	}
}
