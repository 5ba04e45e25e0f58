package exception_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

func TestWhatIsNotKnownSuppressesNothing(t *testing.T) {
	noTags := func(a *alert.Alert) { a.ResourceTags = nil }
	untagged := func(a *alert.Alert) { a.ResourceTags = map[string]string{} }
	noAddress := func(a *alert.Alert) { a.CallerIp = "" }
	bulk := func(a *alert.Alert) { a.Pod, a.DeletionKind = "", "deletecollection" }
	for name, test := range map[string]struct {
		match  string
		change func(*alert.Alert)
		want   bool
	}{
		"not a tag that the cluster has":               {"cluster.name: arc-plant-* and not resource.tags.environment: prod", nil, true},
		"not a tag, and tags were not looked up":       {"cluster.name: arc-plant-* and not resource.tags.environment: prod", noTags, false},
		"not a tag that an untagged cluster lacks":     {"cluster.name: arc-plant-* and not resource.tags.environment: prod", untagged, false},
		"a tag in any case":                            {"resource.tags.Environment: dev", nil, true},
		"no tag of the name":                           {"not resource.tags.team: *", nil, true},
		"no tag of the name on an untagged cluster":    {"not resource.tags.team: *", untagged, true},
		"no tag of the name, not looked up":            {"not resource.tags.team: *", noTags, false},
		"no tag at all, not looked up":                 {"not resource.tags: *", noTags, false},
		"no tag of a pattern, not looked up":           {"not resource.tags.t*: *", noTags, false},
		"not a value in any field, tags not looked up": {"not prod", noTags, false},
		"not a network":                                {"kubernetes.namespace: line-control and not caller.ip: 198.51.100.0/24", nil, true},
		"not a network, without an address":            {"kubernetes.namespace: line-control and not caller.ip: 198.51.100.0/24", noAddress, false},
		"no address":                                   {"not caller.ip: *", noAddress, true},
		"not a pod":                                    {"cluster.kind: arc and not kubernetes.pod: db-*", nil, true},
		"not a pod, on a bulk deletion":                {"cluster.kind: arc and not kubernetes.pod: db-*", bulk, false},
		"a certain condition beside one that is not":   {"cluster.kind: arc or not resource.tags.environment: prod", noTags, true},
		"not a field of the event that it lacks":       {"not event.outcome: failure", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := deletion(t)
			if test.change != nil {
				test.change(a)
			}
			if got := parse(t, "match: >-", "  "+test.match).Suppress(a, kql.Map(nil)) != ""; got != test.want {
				t.Errorf("suppressed is %t, want %t", got, test.want)
			}
		})
	}
}

func TestPrecedingOperationWithoutOutcomeIsNoEvidence(t *testing.T) {
	set := parse(t, "match: 'cluster.kind: arc'", "preceded_by: {match: 'not outcome: failed', same: cluster, within: 15m}")
	a := deletion(t)
	if set.Suppress(a, kql.Map(nil)) == "" {
		t.Error("an operation that succeeded does not suppress")
	}
	a.Timeline[0].Outcome = ""
	if set.Suppress(a, kql.Map(nil)) != "" {
		t.Error("an operation without an outcome suppresses")
	}
}

// Removing a field of an alert or of its event turns no alert into a
// suppression: for exceptions that use the values of the samples, other values,
// and "not" in every place, but not presence.
func TestRemovingAFieldSuppressesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 1))
	samples := sampleAlerts(t)
	tried, alerted := 0, 0
	for _, s := range samples {
		names := slices.Sorted(maps.Keys(s.values))
		condition := func() (field, condition string) {
			field = names[random.IntN(len(names))]
			value := s.values[field]
			switch random.IntN(4) {
			case 0:
				value = "other"
			case 1:
				return field, fmt.Sprintf("%s: *%s*", field, "x")
			case 2:
				return field, fmt.Sprintf("%s*: %q", field[:len(field)-1], value)
			}
			return field, fmt.Sprintf("%s: %q", field, value)
		}
		for range 25 {
			field1, a := condition()
			field2, b := condition()
			query := [...]string{
				"not " + a, a + " and not " + b, "not (" + a + " or " + b + ")", "not (" + a + " and " + b + ")",
				a + " or not " + b, "not (not " + a + ") and not " + b, fmt.Sprintf("not %q", s.values[field1]),
			}[random.IntN(7)]
			encoded, err := json.Marshal(query)
			if err != nil {
				t.Fatal(err)
			}
			set, err := exception.Parse("test.yaml", []byte(file("match: "+string(encoded))), nil)
			if err != nil {
				continue // what the lint refuses suppresses nothing
			}
			tried++
			if set.Suppress(s.alert, s.event) != "" {
				continue
			}
			alerted++
			for _, field := range []string{field1, field2, names[random.IntN(len(names))], names[random.IntN(len(names))]} {
				a, fields := s.without(field)
				if set.Suppress(a, fields) != "" {
					t.Errorf("%s: does not suppress %s, but does without %s", query, s.name, field)
				}
			}
		}
	}
	if alerted < 500 {
		t.Errorf("only %d of %d exceptions left their alert alone: the test compares too little", alerted, tried)
	}
}

type sample struct {
	name   string
	alert  *alert.Alert
	event  kql.Map
	values map[string]string // fields that can be removed: names in the alert's struct are mapped
}

// columns are the fields of an alert by the names that exceptions use.
var columns = map[string]string{
	"caller.kind": "CallerKind", "caller.name": "CallerName", "caller.id": "CallerId", "caller.app_id": "CallerAppId", "caller.ip": "CallerIp",
	"caller.role": "CallerRole", "caller.user_agent": "UserAgent", "cluster.id": "ClusterId", "cluster.name": "ClusterName", "cluster.kind": "ClusterKind",
	"resource.id": "ResourceId", "resource.group": "ResourceGroup", "resource.subscription_id": "SubscriptionId", "kubernetes.namespace": "Namespace",
	"kubernetes.pod": "Pod", "kubernetes.deletion_kind": "DeletionKind", "alert.operation": "Operation", "alert.severity": "Severity",
}

func sampleAlerts(t *testing.T) []sample {
	t.Helper()
	files, err := filepath.Glob("../../testdata/records/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var wrapper struct{ Records []json.RawMessage }
		if err := json.Unmarshal(body, &wrapper); err != nil || wrapper.Records == nil {
			wrapper.Records = []json.RawMessage{body}
		}
		if len(wrapper.Records) == 0 {
			continue
		}
		ev, err := event.Read(wrapper.Records[0], 0)
		if err != nil || ev.Dataset() == "" {
			continue
		}
		a := alert.New(alert.Finding{Match: rule.Match{Rule: &rule.Rule{ID: "r", Name: "rule"}, Severity: "medium"}}, ev, caller.From(ev), time.Now())
		a.ResourceTags = map[string]string{"environment": "dev"}
		s := sample{filepath.Base(file), a, maps.Collect(ev.All()), map[string]string{"resource.tags.environment": "dev"}}
		for field, column := range columns {
			if v := reflect.ValueOf(a).Elem().FieldByName(column).String(); v != "" {
				s.values[field] = v
			}
		}
		texts(s.event, "", s.values)
		samples = append(samples, s)
	}
	if len(samples) < 50 {
		t.Fatalf("only %d samples", len(samples))
	}
	return samples
}

// texts collects the fields of an object that are text.
func texts(object map[string]any, path string, found map[string]string) {
	for key, v := range object {
		switch v := v.(type) {
		case map[string]any:
			texts(v, path+key+".", found)
		case string:
			if !strings.ContainsAny(path+key, `\():<>"*{} `) && len(v) < 200 {
				found[path+key] = v
			}
		}
	}
}

// without returns copies of the alert and of the fields of its event in which
// one field is missing.
func (s sample) without(field string) (*alert.Alert, kql.Map) {
	a := *s.alert
	if column, ok := columns[field]; ok {
		reflect.ValueOf(&a).Elem().FieldByName(column).SetString("")
	}
	if field == "resource.tags.environment" {
		a.ResourceTags = map[string]string{}
	}
	return &a, remove(s.event, "", field)
}

func remove(object map[string]any, path, field string) map[string]any {
	rest := map[string]any{}
	for key, v := range object {
		if inner, ok := v.(map[string]any); ok {
			rest[key] = remove(inner, path+key+".", field)
		} else if path+key != field {
			rest[key] = v
		}
	}
	return rest
}
