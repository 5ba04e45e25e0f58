package event_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

// valuesOf are the scalars in a value, in order.
func valuesOf(value any) []string {
	var out []string
	leaves("", value, func(_ string, v any) { out = append(out, fmt.Sprintf("%T %v", v, v)) })
	slices.Sort(out)
	return out
}

// lookupAgreesWithAll checks that Lookup returns for each name what All has.
func lookupAgreesWithAll(t testing.TB, ev *event.Event) {
	t.Helper()
	all := map[string][]any{}
	for name, value := range ev.All() {
		leaves(name, value, func(path string, v any) { all[path] = append(all[path], v) })
	}
	for name, want := range all {
		if strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
			continue // names without text are no fields
		}
		got, _ := ev.Lookup(name)
		if got := scalars(got); !cmp.Equal(valuesOf(want), got) {
			t.Errorf("Lookup(%q) = %q, All has %q, in %.300s", name, got, valuesOf(want), ev.Raw())
		}
	}
}

// scalars are the scalars of a field that are not below another name.
func scalars(value any) []string {
	var out []string
	leaves("", value, func(path string, v any) {
		if path == "" {
			out = append(out, fmt.Sprintf("%T %v", v, v))
		}
	})
	slices.Sort(out)
	return out
}

func TestLookupReturnsWhatAllHas(t *testing.T) {
	t.Parallel()
	for _, ev := range everyEvent(t) {
		lookupAgreesWithAll(t, ev)
	}
}

type answer struct {
	Value any
	Known bool
}

// The order of questions changes no answer: a reader that is asked at random,
// about one record after another, answers as an event that is asked once.
func TestOrderOfQuestionsChangesNoAnswer(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"no.such.field", "azure", "event", "azure.activitylogs", "azure.platformlogs.properties.log"}
	var reader event.Reader
	for _, name := range samples(t) {
		for _, record := range records(t, name) {
			questions := slices.Clone(names)
			for _, f := range event.Fields(parse(t, string(record)).Dataset()) {
				questions = append(questions, f.Name)
			}
			leaves("", fields(parse(t, string(record))), func(path string, _ any) {
				questions = append(questions, path, path[:strings.LastIndexByte(path, '.')+1]+"x")
			})
			once := map[string]answer{}
			for _, name := range questions {
				value, known := parse(t, string(record)).Lookup(name)
				once[name] = answer{value, known}
			}
			want := viewOf(parse(t, string(record)))
			for range 5 {
				random.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
				for ev, err := range reader.Events(record) {
					if err != nil {
						t.Fatal(err)
					}
					for _, name := range questions[:random.IntN(len(questions))] {
						got, known := ev.Lookup(name)
						if !cmp.Equal(once[name], answer{got, known}) {
							t.Fatalf("%s: Lookup(%q) = %v, %t, asked alone %v", name, name, got, known, once[name])
						}
					}
					if diff := cmp.Diff(want, viewOf(ev)); diff != "" {
						t.Fatalf("%s differs after questions (-asked once +asked at random):\n%s", name, diff)
					}
				}
			}
		}
	}
}

func TestWhatIsCutOrWithheldIsNotKnown(t *testing.T) {
	t.Parallel()
	const log = "azure.platformlogs.properties.log."
	whole := strings.TrimSpace(auditLog(t, "kube-delete-202.json"))
	before := func(member string) string { return whole[:strings.Index(whole, `,"`+member+`"`)] }
	tests := []struct {
		name, log, field string
		known, found     bool
		cut              event.Cut
	}{
		{"what the whole log has", whole, "verb", true, true, event.Whole},
		{"what the whole log has not", whole, "impersonatedUser", true, false, event.Whole},
		{"what precedes the cut", before("responseStatus"), "objectRef.name", true, true, event.BehindVerb},
		{"a list before the cut", before("responseStatus"), "user.groups", true, true, event.BehindVerb},
		{"what is behind the cut", before("responseStatus"), "responseStatus.code", false, false, event.BehindVerb},
		{"what would precede the cut", before("responseStatus"), "impersonatedUser", true, false, event.BehindVerb},
		{"what may be behind the cut", before("sourceIPs"), "impersonatedUser", false, false, event.BehindVerb},
		{"what a complete objectRef at the cut lacks", before("responseStatus"), "objectRef.subresource", true, false, event.BehindVerb},
		{"objectRef that is cut", whole[:strings.Index(whole, `"objectRef"`)+30], "objectRef.resource", true, true, event.BehindVerb},
		{"objectRef behind the cut", before("sourceIPs"), "objectRef.resource", true, true, event.BehindVerb},
		{"an objectRef without subresource", before("sourceIPs"), "objectRef.subresource", true, false, event.BehindVerb},
		{"what does not follow from the URI", before("sourceIPs"), "objectRef.uid", false, false, event.BehindVerb},
		{"the user's name before a cut in the groups", whole[:strings.Index(whole, `"groups"`)+20], "user.username", true, true, event.BehindVerb},
		{"groups that are cut", whole[:strings.Index(whole, `"groups"`)+60], "user.groups", false, true, event.BehindVerb},
		{"a deletion whose URI names no resource", `{"requestURI":"/healthz","verb":"delete","user":{"username":"a`, "verb", true, true, event.BeforeVerb},
		{"a cut before the verb", before("verb"), "verb", false, false, event.BeforeVerb},
		{"text that does not parse", `{"verb`, "verb", false, false, event.BeforeVerb},
		{"no audit text", "", "verb", false, false, event.BeforeVerb},
		{"a line of text", "I1109 started", "verb", false, false, event.BeforeVerb},
		{"a body that was cut", `{"verb":"delete","requestObject":{"dryRun":["All"],"x":`, "requestObject.dryRun", false, true, event.BehindVerb},
		{"a value of a body that was cut", `{"verb":"delete","requestObject":{"gracePeriodSeconds":0,"x":`, "requestObject.gracePeriodSeconds", true, true, event.BehindVerb},
		{"a body that is too large", `{"verb":"delete","level":"Request","requestObject":"skipped-too-big-size-object"}`, "requestObject.dryRun", false, false, event.Whole},
		{"the text in its place", `{"verb":"delete","level":"Request","requestObject":"skipped-too-big-size-object"}`, "requestObject", true, true, event.Whole},
		{"a body at level Metadata", `{"verb":"delete","level":"Metadata"}`, "requestObject", false, false, event.Whole},
		{"no body at level Request", `{"verb":"delete","level":"Request"}`, "requestObject", true, false, event.Whole},
		{"a response at level Request", `{"verb":"delete","level":"Request"}`, "responseObject.kind", false, false, event.Whole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev := parse(t, auditRecord(t, tt.log))
			value, known := ev.Lookup(log + tt.field)
			if known != tt.known || (value != nil) != tt.found {
				t.Errorf("Lookup(%q) = %v, known %t, want found %t, known %t", tt.field, value, known, tt.found, tt.known)
			}
			if got := ev.Cut(); got != tt.cut {
				t.Errorf("Cut %d, want %d", got, tt.cut)
			}
		})
	}
}
