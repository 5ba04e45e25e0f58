package event_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/prefilter"
)

// notCollected is what stateless rules ask for and podwatch declares missing.
var notCollected = []string{
	"source.as.number",                                            // a database of networks
	"user_agent.name", "user_agent.os.name", "user_agent.version", // a database of browsers
}

var allRows = event.Fields("")

// unfilled reports whether no row of the table covers a field.
func unfilled(field string) bool {
	return !slices.ContainsFunc(allRows, func(f event.Field) bool { return f.Covers(field) })
}

func ruleFields(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/rule-fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			fields = append(fields, line)
		}
	}
	return fields
}

// everyEvent parses all records under testdata.
func everyEvent(t testing.TB) []*event.Event {
	t.Helper()
	var events []*event.Event
	for _, name := range samples(t) {
		for _, r := range records(t, name) {
			events = append(events, parse(t, string(r)))
		}
	}
	return events
}

// leaves calls f with every value that is not an object or array, and the
// dotted path to it. Arrays have no part in the path.
func leaves(path string, v any, f func(path string, v any)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			p := k
			if path != "" {
				p = path + "." + k
			}
			leaves(p, e, f)
		}
	case []any:
		for _, e := range v {
			leaves(path, e, f)
		}
	case nil:
	default:
		f(path, v)
	}
}

func TestRuleFieldsAreFilledOrDeclaredMissing(t *testing.T) {
	filled := map[string]bool{}
	for _, ev := range everyEvent(t) {
		leaves("", fields(ev), func(path string, _ any) {
			filled[path] = true
			for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path[:i], '.') {
				filled[path[:i]] = true // an object exists if a leaf of it does
			}
		})
	}
	isFilled := func(field string) bool {
		for path := range filled {
			if ok, err := filepath.Match(field, path); err != nil {
				t.Fatal(err)
			} else if ok {
				return true
			}
		}
		return false
	}
	fields := ruleFields(t)
	if len(fields) < 60 {
		t.Fatalf("only %d fields", len(fields))
	}
	var missing []string
	for _, field := range fields {
		switch {
		case unfilled(field):
			missing = append(missing, field)
			if isFilled(field) {
				t.Errorf("%s is filled but declared missing", field)
			}
		case !isFilled(field):
			t.Errorf("%s is neither filled by a record nor declared missing", field)
		}
	}
	if diff := cmp.Diff(notCollected, missing); diff != "" {
		t.Errorf("declared missing (-want +got):\n%s", diff)
	}
}

func TestEverythingFilledIsKnown(t *testing.T) {
	for _, ev := range everyEvent(t) {
		leaves("", fields(ev), func(path string, v any) {
			if unfilled(path) {
				t.Errorf("%s is filled but declared missing", path)
			}
			if !fits(event.Type(path), v) {
				t.Errorf("%s: %T %v does not fit type %q", path, v, v, event.Type(path))
			}
		})
	}
}

// fits reports whether Elasticsearch would store v in a field of the type.
func fits(typ string, v any) bool {
	s, isText := v.(string)
	_, isNumber := v.(json.Number)
	_, isBool := v.(bool)
	switch typ {
	case "long", "double":
		return isNumber
	case "boolean":
		return isBool
	case "date":
		return isText && len(s) >= len("2006-01-02T15:04:05Z")
	case "ip":
		return isText && strings.ContainsAny(s, ".:")
	case "object":
		return false
	}
	return true
}

func TestType(t *testing.T) {
	for field, want := range map[string]string{
		"@timestamp":                                                           "date",
		"azure.activitylogs.operation_name":                                    "keyword",
		"azure.activitylogs.properties":                                        "flattened",
		"azure.activitylogs.properties.requestbody.properties.x":               "flattened",
		"azure.activitylogs.propertiesx":                                       "",
		"azure.activitylogs.identity.claims.appid":                             "keyword",
		"azure.activitylogs.identity.claims":                                   "object",
		"azure.platformlogs.properties.log.responseStatus.code":                "flattened",
		"azure.platformlogs.identity.claim.upn":                                "",
		"azure.platformlogs.status":                                            "keyword",
		"azure.auditlogs.properties.target_resources.*.type":                   "keyword",
		"azure.auditlogs.properties.target_resources":                          "object",
		"azure.auditlogs.properties.target_resources.0.modified_properties.12": "object",
		"azure.signinlogs.properties.status.error_code":                        "long",
		"azure.signinlogs.properties.status":                                   "object",
		"azure.signinlogs.properties.is_interactive":                           "boolean",
		"azure.signinlogs.properties.authentication_processing_details":        "flattened",
		"azure.identityprotection.properties.ip_address":                       "ip",
		"source.ip":                    "ip",
		"source.as.number":             "",
		"event.outcome":                "keyword",
		"message":                      "text",
		"user_agent.name":              "",
		"no.such.field":                "",
		"":                             "",
		".":                            "",
		"azure.signinlogs.properties.": "keyword",
	} {
		if got := event.Type(field); got != want {
			t.Errorf("Type(%q) = %q, want %q", field, got, want)
		}
	}
}

func TestUnfilled(t *testing.T) {
	for field, want := range map[string]bool{
		"event.outcome":                          false,
		"source.as.number":                       true,
		"source.as.*":                            true,
		"source.*":                               false,
		"user_agent.*":                           false, // original is there
		"user_agent.os.*":                        true,
		"*":                                      false,
		"azure.*.operation_name":                 false,
		"azure.auditlogs.properties.*.x":         false,
		"http.request.method":                    true,
		"azure.graphactivitylogs.properties.x":   true,
		"azure.platformlogs.properties.log.verb": false,
		"*.ip":                                   false,
		"*.as.*":                                 false, // the star may stand for a log's own subtree
	} {
		if got := unfilled(field); got != want {
			t.Errorf("unfilled(%q) = %t, want %t", field, got, want)
		}
	}
}

func TestRawText(t *testing.T) {
	for _, c := range []struct {
		field, value string
		want         []string
	}{
		{"azure.activitylogs.operation_name", "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", []string{"MICROSOFT.KUBERNETES"}},
		{"event.action", "Add member to role", []string{"Add member to role"}},
		{"azure.platformlogs.properties.log.verb", "delete", []string{"delete"}},
		{"azure.platformlogs.properties.log.responseStatus.code", "200", []string{"200"}},
		{"azure.auditlogs.properties.target_resources.0.modified_properties.3.new_value", `"Global Administrator"`, []string{"Global Administrator"}},
		{"data_stream.dataset", "azure.auditlogs", []string{"AuditLogs"}},
		{"event.dataset", "azure.identity_protection", []string{"RiskyUsers", "UserRiskEvents"}},
		{"data_stream.dataset", "azure.activitylogs", nil}, // by content
		{"data_stream.dataset", "azure.platformlogs", nil},
		{"event.outcome", "success", nil}, // a number in the sign-in logs
		{"event.type", "deletion", nil},
		{"event.category", "authentication", nil},
		{"azure.activitylogs.event_category", "Administrative", nil},
		{"azure.activitylogs.identity.claims_initiated_by_user.schema", "http", nil},
		{"azure.signinlogs.properties.status.error_code", "0", nil}, // 0.0 is equal
		{"azure.signinlogs.properties.is_interactive", "true", nil},
		{"azure.auditlogs.properties.target_resources.*.type", "User", nil},
		{"source.ip", "2001:db8::1", nil}, // other spellings are equal
		{"@timestamp", "2026", nil},
		{"message", "x", nil},
		{"no.such.field", "x", nil},
		{"event.action", `/"\<>&`, nil}, // nothing left that is surely written as it is
		{"event.action", "", nil},
		{"event.action", "é", nil},
	} {
		got, ok := event.RawText(c.field, c.value)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != (c.want != nil) {
			t.Errorf("RawText(%q, %q), %t (-want +got):\n%s", c.field, c.value, ok, diff)
		}
	}
}

// rawTextHolds checks RawText's promise on every value of an event: a search that
// follows escapes finds it.
func rawTextHolds(t testing.TB, ev *event.Event) {
	t.Helper()
	raw := strings.ToLower(string(ev.Raw()))
	leaves("", fields(ev), func(path string, v any) {
		var value string
		switch v := v.(type) {
		case string:
			value = v
		case json.Number:
			value = v.String()
		case bool:
			value = strconv.FormatBool(v)
		}
		alternatives, verbatim := event.RawText(path, value)
		if !verbatim || slices.ContainsFunc(alternatives, func(text string) bool { return strings.Contains(raw, strings.ToLower(text)) }) {
			return
		}
		var lits []prefilter.Literal
		for _, text := range alternatives {
			lits = append(lits, prefilter.Literal{Text: text})
		}
		if !prefilter.New(lits).Contains(ev.Raw()) {
			t.Errorf("%s is %q but the record has none of %q", path, value, alternatives)
		}
	})
}

func TestRawTextHoldsForEverySample(t *testing.T) {
	for _, ev := range everyEvent(t) {
		rawTextHolds(t, ev)
	}
}
