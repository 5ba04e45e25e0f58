package rule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
)

func TestLiteralsOfAQuery(t *testing.T) {
	const log = "azure.platformlogs.properties.log."
	for _, test := range []struct {
		name, query string
		want        string // literals, "all" when nothing can be promised; whole strings in quotes
	}{
		{"an operation", `event.action: "MICROSOFT.STORAGE/STORAGEACCOUNTS/REGENERATEKEY/ACTION"`, `MICROSOFT.STORAGE/STORAGEACCOUNTS/REGENERATEKEY/ACTION`},
		{"other fields, as far as no writer escapes them", `azure.resource.id: *RESOURCEGROUPS/RG-PROD*`, `RESOURCEGROUPS`},
		{"the best of an and", log + `verb: delete and ` + log + `userAgent: kube-hunter`, `"kube-hunter"`},
		{"all of an or", log + `verb: (delete or patch)`, `"delete" "patch"`},
		{"an or with a part that says nothing", log + `verb: delete or ` + log + `verb: *`, `all`},
		{"a not says nothing", `not ` + log + `verb: delete`, `all`},
		{"a not beside something", `not ` + log + `verb: delete and ` + log + `objectRef.resource: secrets`, `"secrets"`},
		{"the longest piece of a pattern", log + `userAgent: *kali*linux-amd64*`, `linux-amd64`},
		{"a pattern of stars", log + `userAgent: **`, `all`},
		{"numbers stand without quotes", log + `requestObject.spec.replicas: 12345`, `12345`},
		{"so do booleans", log + `requestObject.spec.hostNetwork: true`, `true`},
		{"what every record has is the last choice", log + `stage: ResponseComplete and ` + log + `verb: get`, `"get"`},
		{"and better than nothing", log + `stage: ResponseComplete`, `"ResponseComplete"`},
		{"the operation of all cluster logs", `event.action: "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read" and ` + log + `verb: get`, `"get"`},
		{"constants of podwatch", `event.kind: event and cloud.provider: azure`, `all`},
		{"the activity log is known by nothing", `data_stream.dataset: azure.activitylogs`, `all`},
		{"the audit log is known by its category", `data_stream.dataset: azure.auditlogs`, `AuditLogs`},
		{"derived fields", `event.outcome: success`, `all`},
		{"ranges", log + `responseStatus.code >= 200`, `all`},
		{"free text", `"kube-hunter"`, `all`},
		{"any field", `azure.*: kube-hunter`, `all`},
		{"null, which no event meets", log + `verb: null`, ``},
		{"empty text", log + `verb: ""`, `all`},
		{"not ASCII", log + `objectRef.name: "zürich"`, `rich`},
		{"everything", `*:*`, `all`},
		{"text that implies another", log + `userAgent: (curl* or mycurl* or curl)`, `curl`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _ := load(t, rule.FS("", files{"a.toml": head(idA) + queryKey + test.query + "'''"}))
			lits, all := set.Literals()
			if got := printed(lits, all); got != test.want {
				t.Errorf("%s: got %s, want %s", test.query, got, test.want)
			}
		})
	}
}

func printed(lits []prefilter.Literal, all bool) string {
	if all {
		return "all"
	}
	var words []string
	for _, l := range lits {
		if l.Whole {
			words = append(words, `"`+l.Text+`"`)
		} else {
			words = append(words, l.Text)
		}
	}
	sort.Strings(words)
	return strings.Join(words, " ")
}

func TestOneRuleWithoutLiteralsMeansAll(t *testing.T) {
	set, _ := load(t, rule.BuiltIn(), rule.FS("", files{"a.toml": head(idA) + queryKey + "event.outcome: success'''"}))
	if lits, all := set.Literals(); !all || lits != nil {
		t.Errorf("got %v, %t", lits, all)
	}
}

func TestLiteralsOfTheBuiltInRules(t *testing.T) {
	set, _ := load(t, rule.BuiltIn())
	if got, want := printed(set.Literals()), strings.Join([]string{
		`"delete" "deletecollection" "deployments" "eviction" "evictionrequests" "scale" "serviceaccounts" "statefulsets"`,
		"/MANAGEDNAMESPACES/DELETE /deployments /eviction /scale /serviceaccounts /statefulsets MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AGENTPOOLS/DELETE",
		"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/DELETE MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/APPS/ MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/BATCH/",
		"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/EXTENSIONS/",
		"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/NAMESPACES/DELETE MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/NODES/DELETE",
		"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/REPLICATIONCONTROLLERS/DELETE",
	}, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// holds is the scan that literals are meant for, in its plainest form.
func holds(raw []byte, lits []prefilter.Literal) bool {
	text := strings.ToLower(strings.ReplaceAll(string(raw), `\`, ""))
	for _, l := range lits {
		want := strings.ToLower(l.Text)
		if l.Whole {
			want = `"` + want + `"`
		}
		if strings.Contains(text, want) {
			return true
		}
	}
	return false
}

func TestEveryMatchingRecordHoldsALiteral(t *testing.T) {
	set, report := load(t, rule.BuiltIn())
	lits, all := set.Literals()
	if all {
		t.Fatal("the built-in rules promise nothing")
	}
	matching, skipped := 0, 0
	check := func(raw []byte) {
		ev := event1(t, raw)
		switch found := holds(raw, lits); {
		case len(set.Match(nil, ev)) > 0:
			matching++
			if !found {
				t.Errorf("matches without a literal: %s", raw)
			}
		case !found:
			skipped++
		}
	}
	for _, ev := range sampleEvents(t) {
		check(ev.Raw())
	}
	for _, e := range report.Entries {
		cases, err := report.RunCases(set, e)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			check(caseRecord(t, c))
		}
	}
	if matching < 80 || skipped < 10 {
		t.Errorf("%d records matched and %d could be skipped: too few to mean something", matching, skipped)
	}
}

// For every value that a sample's event has, a rule that asks for that value,
// or for a piece of it, has a literal that stands in the record.
func TestLiteralsAreSoundForEveryValueOfTheSamples(t *testing.T) {
	folder := files{}
	type want struct {
		ev   *event.Event
		file string
	}
	var wants []want
	add := func(ev *event.Event, query string) {
		name := fmt.Sprintf("%06d.toml", len(wants))
		quoted, _ := json.Marshal(query)
		folder[name] = head(fmt.Sprintf("00000000-0000-0000-0000-%012d", len(wants))) + "type = 'query'\nquery = " + string(quoted)
		wants = append(wants, want{ev, name})
	}
	seen := map[string]bool{}
	for _, ev := range sampleEvents(t) {
		visit := func(field, value string) {
			key := field + "\x00" + value
			if seen[key] || strings.ContainsAny(field, `\():<>"*{} `) || len(value) > 1000 {
				return
			}
			seen[key] = true
			add(ev, field+": "+quote(value))
			if len(value) > 8 {
				if piece := value[3 : len(value)-3]; !strings.ContainsAny(piece, "\\():<>\"*{}\n\t ") {
					add(ev, field+": *"+piece+"*")
				}
			}
		}
		for name, value := range ev.All() {
			leaves(value, name, visit)
		}
	}
	if len(wants) < 500 {
		t.Fatalf("only %d values", len(wants))
	}
	promised := 0
	for _, w := range wants {
		set, _ := load(t, rule.FS("", files{w.file: folder[w.file]}))
		if len(set.Match(nil, w.ev)) == 0 {
			continue // a field of a type that compares otherwise, such as a date
		}
		if lits, all := set.Literals(); !all {
			promised++
			if !holds(w.ev.Raw(), lits) {
				t.Errorf("%s matches without any of %v", set.Rules()[0].Query, lits)
			}
		}
	}
	if promised < 300 {
		t.Errorf("only %d of %d values have a literal", promised, len(wants))
	}
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

func leaves(v any, path string, visit func(field, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if path != "" {
				k = path + "." + k
			}
			leaves(inner, k, visit)
		}
	case []any:
		for _, inner := range v {
			leaves(inner, path, visit)
		}
	case string:
		visit(path, v)
	case json.Number:
		visit(path, v.String())
	}
}

func TestLiteralsAreStable(t *testing.T) {
	set, _ := load(t, rule.FS("corpus", corpus(t)), rule.BuiltIn())
	lits, all := set.Literals()
	for range 5 {
		again, alsoAll := set.Literals()
		if diff := cmp.Diff(lits, again); diff != "" || all != alsoAll {
			t.Fatal(diff)
		}
	}
}

func caseRecord(t *testing.T, c rule.Case) []byte {
	t.Helper()
	src, err := caseFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(src, []byte("\n"))[c.Line-1]
}
