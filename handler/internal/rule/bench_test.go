package rule_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
)

// benchmarkRules makes n rules in the manner of Elastic's: most are about a few
// operations, those on kube-audit about what was done to which resource.
func benchmarkRules(n int) files {
	folder := files{}
	for i := range n {
		var q string
		switch i % 5 {
		case 0, 1:
			q = fmt.Sprintf(`data_stream.dataset: "azure.activitylogs" and azure.activitylogs.operation_name: ("MICROSOFT.TEST/KIND%d/WRITE" or "MICROSOFT.TEST/KIND%d/DELETE") and event.outcome: (Success or success)`, i, i)
		case 2:
			q = fmt.Sprintf(`data_stream.dataset: "azure.platformlogs" and event.action: "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read" and
				azure.platformlogs.category: ("kube-audit" or "kube-audit-admin") and azure.platformlogs.properties.log.verb: ("create" or "patch" or "update") and
				azure.platformlogs.properties.log.objectRef.resource: "kind%d" and not azure.platformlogs.properties.log.user.username: (aksService or system\:node\:*)`, i)
		case 3:
			q = fmt.Sprintf(`data_stream.dataset: "azure.auditlogs" and azure.auditlogs.operation_name: "Operation %d" and event.outcome: success`, i)
		case 4:
			q = fmt.Sprintf(`data_stream.dataset: "azure.signinlogs" and azure.signinlogs.properties.app_id: "app%d" and not source.ip: 10.0.0.0/8`, i)
		}
		folder[fmt.Sprintf("%04d.toml", i)] = head(fmt.Sprintf("00000000-0000-0000-0000-%012d", i)) + queryKey + q + "'''"
	}
	return folder
}

func BenchmarkMatch(b *testing.B) {
	events := map[string]*event.Event{
		"activity": event1(b, records(b, "noise-04-aks-agentpool-write.json")[0]), // matches nothing, as nearly all do
		"audit":    event1(b, records(b, "kube-noise-exec.json")[0]),
	}
	for _, n := range []int{1, 10, 65, 1000} {
		set, _ := load(b, rule.FS("", benchmarkRules(n)))
		for _, kind := range []string{"activity", "audit"} {
			ev := events[kind]
			b.Run(fmt.Sprintf("%s/rules=%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if set.Match(nil, ev) != nil {
						b.Fatal("matched")
					}
				}
			})
		}
	}
}

// BenchmarkDecide reads a record and decides it by the built-in rules.
func BenchmarkDecide(b *testing.B) {
	set, _ := load(b, rule.BuiltIn())
	routine := records(b, "kube-delete-replicaset-controller.json")[0]
	for _, c := range []struct {
		name   string
		record []byte
	}{
		{"routine/2KB", withBody(b, routine, 2<<10)},
		{"routine/20KB", withBody(b, routine, 20<<10)},
		{"routine/kubelet", records(b, "kube-delete-kubelet.json")[0]},
		{"person", records(b, "kube-delete-force.json")[0]},
		{"no match", records(b, "kube-noise-exec.json")[0]},
		{"activity", records(b, "act-match-user.json")[0]},
	} {
		b.Run(c.name, func(b *testing.B) {
			var reader event.Reader
			var matches []rule.Match
			b.ReportAllocs()
			b.SetBytes(int64(len(c.record)))
			for b.Loop() {
				for ev, err := range reader.Events(c.record) {
					if err != nil {
						b.Fatal(err)
					}
					matches = set.Match(matches[:0], ev)
				}
			}
		})
	}
}

// withBody returns a kube-audit record of about size bytes, by its response.
func withBody(t testing.TB, record []byte, size int) []byte {
	t.Helper()
	var r struct {
		Category, OperationName, ResourceID, Time string
		Properties                                map[string]string
	}
	if err := json.Unmarshal(record, &r); err != nil {
		t.Fatal(err)
	}
	var labels strings.Builder
	for i := 0; labels.Len() < size-len(record); i++ {
		fmt.Fprintf(&labels, `,"app.example.com/part-%d":"value-%d"`, i, i)
	}
	log := strings.TrimSpace(r.Properties["log"])
	r.Properties["log"] = strings.TrimSuffix(log, "}") + `,"responseObject":{"kind":"Pod"` + labels.String() + "}}\n"
	out, err := json.Marshal(map[string]any{
		"category": r.Category, "operationName": r.OperationName, "resourceId": r.ResourceID, "time": r.Time, "properties": r.Properties,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func BenchmarkLoadBuiltIn(b *testing.B) { // part of every cold start
	b.ReportAllocs()
	for b.Loop() {
		load(b, rule.BuiltIn())
	}
}
