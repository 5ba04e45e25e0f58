package rule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

const queryKey = "type = 'query'\nquery = '''"

// vault is a Key Vault record with the given members of properties.
func vault(t testing.TB, properties string) *event.Event {
	return event1(t, fmt.Appendf(nil, `{"time":"2026-01-01T00:00:00Z","category":"AuditEvent","operationName":"SecretGet","resultType":"Success",
		"resourceId":"/SUBSCRIPTIONS/X/RESOURCEGROUPS/Y/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/Z","properties":{%s}}`, properties))
}

func TestOverridesByTheEvent(t *testing.T) {
	set, _ := load(t, rule.FS("", files{"a.toml": head(idA) + queryKey + `event.action: SecretGet'''
[[rule.severity_mapping]]
field = "azure.platformlogs.properties.level"
operator = "equals"
value = "2"
severity = "medium"
[[rule.severity_mapping]]
field = "azure.platformlogs.properties.who"
operator = "equals"
value = 'ad"min*'
severity = "critical"
[[rule.severity_mapping]]
field = "azure.platformlogs.properties.level"
operator = "equals"
value = "2"
severity = "low"
[[rule.risk_score_mapping]]
field = "azure.platformlogs.properties.none"
operator = "equals"
value = ""
[[rule.risk_score_mapping]]
field = "azure.platformlogs.properties.score"
operator = "equals"
value = ""
`}))
	for _, test := range []struct {
		name, properties string
		severity         string
		risk             int
	}{
		{"nothing applies", ``, "low", 21},
		{"one mapping applies, and of two severities the higher counts", `"level":2`, "medium", 21},
		{"the highest of several counts", `"level":"2","who":["x","ad\"min*"]`, "critical", 21},
		{"a star in the value is a star", `"who":"ad\"minister"`, "low", 21},
		{"the score is copied", `"score":88`, "low", 88},
		{"from text too", `"score":"7"`, "low", 7},
		{"the highest of a list", `"score":["90",3,101,"x"]`, "low", 90},
		{"a score out of range is none", `"score":101`, "low", 21},
		{"a negative one neither", `"score":-1`, "low", 21},
		{"nor a word", `"score":"high"`, "low", 21},
		{"nor an object", `"score":{"a":1}`, "low", 21},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := set.Match(nil, vault(t, test.properties))
			want := []rule.Match{{Rule: set.Rule(idA), Severity: test.severity, RiskScore: test.risk}}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(rule.Match{})); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestOnlyWhatIsCertainIsRoutine(t *testing.T) {
	const who = "azure.platformlogs.properties.who"
	for _, test := range []struct {
		name, routine, properties string
		want                      bool
	}{
		{"another caller is known", "not " + who + ": admin", `"who":"robot"`, true},
		{"the caller is known", "not " + who + ": admin", `"who":"admin"`, false},
		{"no caller is known", "not " + who + ": admin", ``, false},
		{"absence is asked for", "not " + who + ": *", ``, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _ := load(t, rule.FS("", files{"a.toml": head(idA) + queryKey + "event.action: SecretGet'''\n[podwatch]\nroutine = '" + test.routine + "'"}))
			got := set.Match(nil, vault(t, test.properties))
			if len(got) != 1 || got[0].Routine != test.want {
				t.Errorf("got %+v, want routine %t", got, test.want)
			}
		})
	}
}

func TestMatchesComeInTheOrderOfLoading(t *testing.T) {
	set, _ := load(t, rule.FS("", files{
		"a.toml": head(idA) + queryKey + "data_stream.dataset: azure.platformlogs and event.action: SecretGet'''",
		"b.toml": head(idB) + queryKey + "event.kind: event'''",
		"c.toml": head(idC) + queryKey + "data_stream.dataset: azure.platformlogs and azure.platformlogs.category: AuditEvent'''",
	}))
	var got []string
	for _, m := range set.Match(nil, vault(t, ``)) {
		got = append(got, m.Rule.ID)
	}
	if diff := cmp.Diff([]string{idA, idB, idC}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBuildingBlockMatchesAndIsMarked(t *testing.T) {
	set, _ := load(t, rule.FS("", files{"a.toml": head(idA) + queryKey + "event.action: SecretGet'''\nbuilding_block_type = 'default'"}))
	got := set.Match(nil, vault(t, ``))
	if len(got) != 1 || !got[0].Rule.BuildingBlock {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyRulesOfTheEventsDatasetAreEvaluated(t *testing.T) {
	set, _ := load(t, rule.FS("", files{
		"a.toml": head(idA) + queryKey + "not data_stream.dataset: azure.auditlogs and event.kind: event'''", // names no log
		"b.toml": head(idB) + queryKey + "data_stream.dataset: (azure.signinlogs or azure.platformlogs) and event.kind: event'''",
		"c.toml": head(idC) + queryKey + "data_stream.dataset: azure.auditlogs and event.kind: event'''",
	}))
	names := func(ev *event.Event) string {
		var ids []string
		for _, m := range set.Match(nil, ev) {
			ids = append(ids, m.Rule.ID[len(m.Rule.ID)-1:])
		}
		return strings.Join(ids, " ")
	}
	if got := names(vault(t, ``)); got != "1 2" {
		t.Errorf("platform log: rules %s", got)
	}
	if got := names(event1(t, []byte(`{"category":"AuditLogs","operationName":"x"}`))); got != "3" {
		t.Errorf("audit log: rules %s", got)
	}
	if got := names(event1(t, []byte(`{"category":"SignInLogs","operationName":"x"}`))); got != "1 2" {
		t.Errorf("sign-in log: rules %s", got)
	}
	if got := names(event1(t, records(t, "noise-25-metric.json")[0])); got != "" {
		t.Errorf("metric: rules %s", got)
	}
}

// The index over datasets and operations must not change what matches: each
// random query gives the same answer alone, straight from package kql.
func TestIndexChangesNoMatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	events := sampleEvents(t)
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	value := func(field string) string {
		if random.IntN(3) == 0 {
			return pick(`*`, `""`, `Micro*`, `null`, `"*"`)
		}
		for range 20 { // a value that occurs
			v, _ := events[random.IntN(len(events))].Lookup(field)
			if s, ok := v.(string); ok {
				return fmt.Sprintf("%q", s)
			}
		}
		return "x"
	}
	var query func(depth int) string
	query = func(depth int) string {
		switch n := random.IntN(9); {
		case depth > 0 && n == 0:
			return "not (" + query(depth-1) + ")"
		case depth > 0 && n < 4:
			return "(" + query(depth-1) + " and " + query(depth-1) + ")"
		case depth > 0 && n < 6:
			return "(" + query(depth-1) + " or " + query(depth-1) + ")"
		}
		field := pick("event.action", "azure.activitylogs.operation_name", "azure.platformlogs.operation_name", "data_stream.dataset", "event.dataset", "azure.platformlogs.category", "event.outcome",
			"azure.platformlogs.properties.log.verb", "azure.platformlogs.properties.log.objectRef.resource", "azure.platformlogs.properties.log.objectRef")
		if random.IntN(2) == 0 {
			return field + ":(" + value(field) + " or " + value(field) + ")"
		}
		return field + ":" + value(field)
	}
	folder := files{}
	var queries []*kql.Node
	for i := range 300 {
		q := query(3)
		n, err := kql.Parse(q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		queries = append(queries, n)
		extra := ""
		if i%5 == 0 {
			extra = "\n[podwatch]\nfold_case = ['event.action']"
		}
		folder[fmt.Sprintf("%03d.toml", i)] = head(fmt.Sprintf("00000000-0000-0000-0000-%012d", i)) + queryKey + q + "'''" + extra
	}
	set, report := load(t, rule.FS("", folder))
	matched := 0
	for _, ev := range events {
		got := map[string]bool{}
		for _, m := range set.Match(nil, ev) {
			got[m.Rule.ID] = true
		}
		for i, e := range report.Entries {
			o := kql.Options{Type: func(f string) kql.Type { typ, _ := kql.ParseType(event.Type(f)); return typ }}
			if i%5 == 0 {
				o.FoldCase = func(f string) bool { return f == "event.action" }
			}
			want := kql.Compile(queries[i], o).Match(ev)
			if e.Verdict == rule.Waits {
				want = false
			}
			if got[e.Rule.ID] != want {
				t.Errorf("%s: in the set %t, alone %t, for %.300s", queries[i], got[e.Rule.ID], want, ev.Raw())
			}
			if want {
				matched++
			}
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matches: the test compares too little", matched)
	}
}

func sampleEvents(t testing.TB) []*event.Event {
	var events []*event.Event
	for name := range sampleIndex(t) {
		if !strings.HasPrefix(name, "body-") {
			for _, record := range records(t, name) {
				events = append(events, event1(t, record))
			}
		}
	}
	slices.SortFunc(events, func(a, b *event.Event) int { return bytes.Compare(a.Raw(), b.Raw()) })
	return events
}

func TestMatchIsSafeForConcurrentUse(t *testing.T) {
	set, _ := load(t, rule.BuiltIn(), rule.FS("corpus", corpus(t)))
	count := func() (n int) {
		for _, ev := range sampleEvents(t) {
			n += len(set.Match(nil, ev))
		}
		return n
	}
	want := count()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got := count(); got != want {
				t.Errorf("%d matches, want %d", got, want)
			}
		})
	}
	group.Wait()
}

func TestMatchDoesNotAllocateWhenNothingMatches(t *testing.T) {
	set, _ := load(t, rule.BuiltIn(), rule.FS("corpus", corpus(t)))
	quiet := 0
	for _, ev := range sampleEvents(t) {
		if len(set.Match(nil, ev)) > 0 {
			continue
		}
		quiet++
		if allocs := testing.AllocsPerRun(10, func() { set.Match(nil, ev) }); allocs != 0 {
			t.Errorf("%v allocations for %.200s", allocs, ev.Raw())
		}
	}
	if quiet < 5 {
		t.Errorf("only %d samples match nothing", quiet)
	}
}

// Deciding a routine deletion takes no memory that grows with the record.
func TestDecidingARoutineDeletionAllocatesNoMoreForALargeRecord(t *testing.T) {
	set, _ := load(t, rule.BuiltIn())
	for _, name := range []string{"kube-delete-replicaset-controller", "kube-delete-kubelet"} {
		for _, size := range []int{2 << 10, 200 << 10} {
			record := withBody(t, records(t, name+".json")[0], size)
			var reader event.Reader
			var matches []rule.Match
			allocs := testing.AllocsPerRun(20, func() {
				for ev, err := range reader.Events(record) {
					if err != nil {
						t.Fatal(err)
					}
					matches = set.Match(matches[:0], ev)
				}
			})
			if len(matches) != 1 || !matches[0].Routine || allocs > 2 {
				t.Errorf("%s of %d bytes: %+v, %v allocations", name, size, matches, allocs)
			}
		}
	}
}

func TestOnlyARuleAboutCutEventsMatchesOnDoubt(t *testing.T) {
	t.Parallel()
	const query = `data_stream.dataset: azure.platformlogs and azure.platformlogs.properties.log.verb: delete and azure.platformlogs.properties.log.responseStatus.code: 200'''`
	set, _ := load(t, rule.FS("", files{"own.toml": head(idA) + queryKey + query + "\n[podwatch]\ncut = true\n", "theirs.toml": head(idB) + queryKey + query}))
	tests := map[string]struct {
		log  string
		want []rule.Match
	}{
		"a whole event":             {`{"verb":"delete","responseStatus":{"code":200}}`, make([]rule.Match, 2)},
		"the outcome was cut":       {`{"requestURI":"/api/v1/namespaces/a/pods/b","verb":"delete","user":{"username":"x`, []rule.Match{{Uncertain: true}}},
		"another verb was cut":      {`{"requestURI":"/api/v1/namespaces/a/pods/b","verb":"get","user":{"username":"x`, nil},
		"a cut before the verb":     {`{"requestURI":"/api/v1/namespaces/a/po`, nil},
		"a cut without an object":   {`{"requestURI":"/healthz","verb":"delete","user":{"username":"x`, nil},
		"a whole event of failures": {`{"verb":"delete","responseStatus":{"code":403}}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record, err := json.Marshal(map[string]any{"time": "2026-11-09T08:14:22Z", "category": "kube-audit", "properties": map[string]any{"log": tt.log}})
			if err != nil {
				t.Fatal(err)
			}
			ev, err := event.Read(record, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := set.Match(nil, ev)
			if len(got) != len(tt.want) {
				t.Fatalf("%d rules match, want %d", len(got), len(tt.want))
			}
			for i := range got {
				if got[i].Uncertain != tt.want[i].Uncertain {
					t.Errorf("rule %s: uncertain %t", got[i].Rule.ID, got[i].Uncertain)
				}
			}
		})
	}
}
