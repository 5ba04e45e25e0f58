package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

// activity is an activity record with the given members put in or, where nil,
// taken out.
func activity(t testing.TB, members map[string]any) string {
	t.Helper()
	return changed(t, "act-match-user.json", members)
}

func changed(t testing.TB, file string, members map[string]any) string {
	t.Helper()
	var rec map[string]any
	if err := json.Unmarshal(records(t, file)[0], &rec); err != nil {
		t.Fatal(err)
	}
	for k, v := range members {
		if v == nil {
			delete(rec, k)
			continue
		}
		rec[k] = v
	}
	b, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTimeForms(t *testing.T) {
	const want = "2007-01-09T09:41:00"
	for _, c := range []struct{ in, want string }{
		{"2007-01-09T09:41:00.6816663Z", want + ".6816663Z"},
		{"2007-01-09T09:41:00.68Z", want + ".68Z"},
		{"2007-01-09T09:41:00.681Z", want + ".681Z"},
		{"2007-01-09T09:41:00.681666Z", want + ".681666Z"},
		{"2007-01-09T09:41:00.681666312Z", want + ".681666312Z"},
		{"2007-01-09T09:41:00Z", want + "Z"},
		{"2007-01-09T09:41:00", want + "Z"},
		{"2007-01-09T09:41:00.68", want + ".68Z"},
		{"2007-01-09T09:41:00+00:00", want + "Z"},
		{"2007-01-09T11:41:00.5+02:00", want + ".5Z"},
		{"2007-01-09T11:41:00+0200", want + "Z"},
		{"2007-01-09T9:41:00.5Z", want + ".5Z"},
		{"2007-01-09 09:41:00", want + "Z"},
		{"2007-01-09 09:41:00Z", want + "Z"},
		{" 2007-01-09T09:41:00Z ", want + "Z"},
		{"1/9/2007 9:41:00 AM", want + "Z"}, // the month comes first
		{"1/9/2007 9:41:00 am", want + "Z"},
		{"1/9/2007 9:41:00 PM", "2007-01-09T21:41:00Z"},
		{"1/9/2007 10:41:00 AM +01:00", want + "Z"},
		{"1/9/2007 10:41:00 AM+01:00", want + "Z"},
		{"01/09/2007 09:41:00", want + "Z"},
		{"01/09/2007 10:41:00 +01:00", want + "Z"},
		{"01/09/2007 10:41:00+01:00", want + "Z"},
		{"", ""},
		{"yesterday", ""},
		{"13/1/2007 9:41:00 AM", ""},
		{"2007-02-30T09:41:00Z", ""},
		{"0001-01-01T00:00:00Z", ""}, // .NET's way to say never
		{"1168335660", ""},
		{strings.Repeat("2007-01-09T09:41:00Z", 1000), ""},
	} {
		ev := parse(t, activity(t, map[string]any{"time": c.in}))
		got := ""
		if !ev.Time().IsZero() {
			got = ev.Time().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("time %.40q: got %q, want %q", c.in, got, c.want)
		}
		if stamp, set := fields(ev)["@timestamp"]; set != (c.want != "") {
			t.Errorf("time %.40q: @timestamp %v", c.in, stamp)
		}
		if noted := len(ev.Notes()) > 0; noted != (c.want == "") {
			t.Errorf("time %.40q: notes %q", c.in, ev.Notes())
		}
	}
	if got := at(fields(parse(t, activity(t, map[string]any{"time": "2007-01-09T09:41:00.6816663Z"}))), "@timestamp"); got != "2007-01-09T09:41:00.681Z" {
		t.Errorf("@timestamp %v is not in milliseconds", got)
	}
}

func TestTimeIsNeverInvented(t *testing.T) {
	for _, v := range []any{nil, 1168335660000, true, map[string]any{}} {
		if ev := parse(t, activity(t, map[string]any{"time": v})); !ev.Time().IsZero() || len(ev.Notes()) == 0 {
			t.Errorf("time %v: got %v, notes %q", v, ev.Time(), ev.Notes())
		}
	}
	// A kube-audit event says itself when its request came in.
	ev := parse(t, changed(t, "kube-delete-202.json", map[string]any{"time": nil}))
	if want := time.Date(2026, 11, 9, 8, 14, 30, 402113000, time.UTC); !ev.Time().Equal(want) {
		t.Errorf("kube-audit without time: got %v, want %v", ev.Time(), want)
	}
}

func TestCallerAddress(t *testing.T) {
	for _, c := range []struct {
		in, ip   string
		port     any
		original any // source.address
	}{
		{"203.0.113.24", "203.0.113.24", nil, nil},
		{" 203.0.113.24 ", "203.0.113.24", nil, nil},
		{"2001:db8:40:1::5", "2001:db8:40:1::5", nil, nil},
		{"2001:DB8:40:1:0:0:0:5", "2001:db8:40:1::5", nil, nil},
		{"fe80::1%eth0", "fe80::1", nil, nil},
		{"::ffff:203.0.113.24", "203.0.113.24", nil, nil},
		{"203.0.113.24:51544", "203.0.113.24", json.Number("51544"), "203.0.113.24:51544"},
		{"[2001:db8:40:1::5]:51544", "2001:db8:40:1::5", json.Number("51544"), "[2001:db8:40:1::5]:51544"},
		{"[2001:db8:40:1::5]", "2001:db8:40:1::5", nil, "[2001:db8:40:1::5]"},
		{"127.0.0.0/8", "", nil, "127.0.0.0/8"},
		{"XX:2a02::1", "", nil, "XX:2a02::1"},
		{"203.0.113.24:99999", "", nil, "203.0.113.24:99999"},
		{"host.example.com", "", nil, "host.example.com"},
		{"", "", nil, nil},
	} {
		ev := parse(t, activity(t, map[string]any{"callerIpAddress": c.in}))
		if ev.CallerIP() != c.ip {
			t.Errorf("%q: CallerIP %q, want %q", c.in, ev.CallerIP(), c.ip)
		}
		var ip any
		if c.ip != "" {
			ip = c.ip
		}
		got := []any{at(fields(ev), "source.ip"), at(fields(ev), "client.ip"), at(fields(ev), "source.port"), at(fields(ev), "source.address")}
		if diff := cmp.Diff([]any{ip, ip, c.port, c.original}, got); diff != "" {
			t.Errorf("%q: source.ip, client.ip, source.port, source.address (-want +got):\n%s", c.in, diff)
		}
	}
	if ev := parse(t, activity(t, map[string]any{"callerIpAddress": nil})); fields(ev)["source"] != nil || ev.CallerIP() != "" {
		t.Errorf("without address: %v", fields(ev)["source"])
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		result     any
		properties any
		want       string
	}{
		{"Success", nil, "success"},
		{"success", nil, "success"},
		{"SUCCESS", nil, "success"},
		{"Failure", nil, "failure"},
		{"Start", nil, ""},
		{"Accept", nil, ""},
		{"Succeeded", nil, ""}, // what the REST interface says; Elastic leaves it unset
		{"Failed", nil, ""},
		{"Active", nil, ""},
		{"0", nil, ""},
		{0, nil, ""},
		{nil, nil, ""},
		{nil, map[string]any{"result": "success"}, "success"},
		{nil, map[string]any{"result": "unknown"}, "unknown"},
		{nil, map[string]any{"result": "Success"}, ""}, // exactly, here
		{nil, `{"result":"failure"}`, "failure"},
		{"Start", map[string]any{"result": "success"}, "success"},
		{"Failure", map[string]any{"result": "success"}, "failure"},
		{nil, map[string]any{"result": map[string]any{}}, ""},
	} {
		ev := parse(t, activity(t, map[string]any{"resultType": c.result, "properties": c.properties}))
		if ev.Outcome() != c.want || text(at(fields(ev), "event.outcome")) != c.want {
			t.Errorf("resultType %v, properties %v: got %q and %v, want %q", c.result, c.properties, ev.Outcome(), at(fields(ev), "event.outcome"), c.want)
		}
	}
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func TestIdentityForms(t *testing.T) {
	object := map[string]any{
		"authorization": map[string]any{"evidence": map[string]any{"principalType": "User"}},
		"claims":        map[string]any{"appid": "a-1", "a.b": "c"},
	}
	asText, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                  string
		identity              any
		appid, principal, who any
	}{
		{"object", object, "a-1", "User", nil},
		{"JSON text", string(asText), "a-1", "User", string(asText)},
		{"display name", "Dana Ortiz", nil, nil, "Dana Ortiz"},
		{"absent", nil, nil, nil, nil},
		{"empty object", map[string]any{}, nil, nil, nil},
		{"empty text", "", nil, nil, nil},
		{"capitalised", map[string]any{"Authorization": object["authorization"], "Claims": object["claims"]}, "a-1", "User", nil},
		{"array", []any{1}, nil, nil, nil},
		{"claims as text", map[string]any{"claims": "x"}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, activity(t, map[string]any{"identity": c.identity}))
			got := []any{
				at(fields(ev), "azure.activitylogs.identity.claims.appid"),
				at(fields(ev), "azure.activitylogs.identity.authorization.evidence.principal_type"),
				at(fields(ev), "azure.activitylogs.identity_name"),
			}
			if diff := cmp.Diff([]any{c.appid, c.principal, c.who}, got); diff != "" {
				t.Errorf("appid, principal_type, identity_name (-want +got):\n%s", diff)
			}
			if c.appid != nil && at(fields(ev), "azure.activitylogs.identity.claims.a_b") != "c" {
				t.Error("a dot in a claim's key is no underscore")
			}
		})
	}
	if ev := parse(t, `{"category":"Write","operationName":"a.b/c/write","identity":null,"time":"2026-01-01T00:00:00Z"}`); ev.Dataset() != event.ActivityLogs {
		t.Errorf("identity null: dataset %q", ev.Dataset())
	}
}

func TestUserFields(t *testing.T) {
	const claim = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	for _, c := range []struct {
		name   string
		claims map[string]any
		want   map[string]any
	}{
		{"user", map[string]any{claim: "dana.ortiz@example.com", "name": "Dana Ortiz"}, map[string]any{
			"name": "dana.ortiz", "domain": "example.com", "email": "dana.ortiz@example.com", "full_name": "Dana Ortiz",
		}},
		{"no display name", map[string]any{claim: "dana@example.com"}, map[string]any{
			"name": "dana", "domain": "example.com", "email": "dana@example.com",
		}},
		{"guest by mail", map[string]any{claim: "live.com#pat@example.net", "name": "Pat"}, map[string]any{
			"name": "pat", "domain": "example.net", "email": "live.com#pat@example.net", "full_name": "Pat",
		}},
		{"guest by tenant", map[string]any{claim: "pat_example.net#EXT#@example.com", "name": "Pat"}, map[string]any{
			"name": "pat_example.net#EXT#@example.com", "full_name": "Pat",
		}},
		{"leading space", map[string]any{claim: " pat@example.net"}, map[string]any{
			"name": "pat", "domain": "example.net", "email": " pat@example.net",
		}},
		{"no mail", map[string]any{claim: "pat@"}, map[string]any{"name": "pat@"}},
		{"upn alone is not used", map[string]any{"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "dana@example.com"}, nil},
		{"service principal", map[string]any{"appid": "x", "idtyp": "app"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, activity(t, map[string]any{"identity": map[string]any{"claims": c.claims}}))
			got, _ := fields(ev)["user"].(map[string]any)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
			if at(fields(ev), "azure.activitylogs.identity.claims.name") != nil {
				t.Error("the display name stayed in claims")
			}
		})
	}
}

func TestPropertiesForms(t *testing.T) {
	for _, c := range []struct {
		name       string
		properties any
		status     any
		notes      int
	}{
		{"object", map[string]any{"statusCode": "OK"}, "OK", 0},
		{"JSON text", `{"statusCode":"OK"}`, "OK", 0},
		{"JSON text, cut", `{"statusCode":"OK","entity":"/subscr`, "OK", 1},
		{"JSON text, cut in a number", `{"statusCode":20`, nil, 1},
		{"text", "not JSON", nil, 0},
		{"empty text", "", nil, 0},
		{"absent", nil, nil, 0},
		{"array", []any{1}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, activity(t, map[string]any{"properties": c.properties}))
			if got := at(fields(ev), "azure.activitylogs.properties.status_code"); got != c.status {
				t.Errorf("status_code %v, want %v", got, c.status)
			}
			if len(ev.Notes()) != c.notes {
				t.Errorf("notes %q, want %d", ev.Notes(), c.notes)
			}
			if ev.Outcome() != "success" || ev.Operation() == "" {
				t.Error("the rest of the record was lost")
			}
		})
	}
}

func TestRequestBodyIsParsedResponseBodyIsNot(t *testing.T) {
	ev := parse(t, activity(t, map[string]any{"properties": map[string]any{
		"requestbody":  `{"properties":{"roleDefinitionId":"r-1"}}`,
		"responseBody": `{"properties":{}}`,
	}}))
	if got := at(fields(ev), "azure.activitylogs.properties.requestbody.properties.roleDefinitionId"); got != "r-1" {
		t.Errorf("roleDefinitionId %v", got)
	}
	if got := at(fields(ev), "azure.activitylogs.properties.responseBody"); got != `{"properties":{}}` {
		t.Errorf("responseBody %v", got)
	}
	if got := at(ev.Record(), "properties.requestbody"); got != `{"properties":{"roleDefinitionId":"r-1"}}` {
		t.Errorf("the record was changed: %v", got)
	}
	ev = parse(t, activity(t, map[string]any{"properties": map[string]any{"requestbody": `"{broken`}}))
	if got := at(fields(ev), "azure.activitylogs.properties.requestbody"); got != `"{broken` {
		t.Errorf("requestbody that is no object: %v", got)
	}
}

func TestLevelAndDuration(t *testing.T) {
	for _, c := range []struct {
		members  map[string]any
		level    any
		duration any
	}{
		{map[string]any{"level": "Information", "durationMs": 2826}, "Information", json.Number("2826000000")},
		{map[string]any{"level": nil, "Level": 4, "durationMs": "118"}, "Informational", json.Number("118000000")},
		{map[string]any{"level": nil, "Level": "1", "durationMs": "1.5"}, "Critical", json.Number("1500000")},
		{map[string]any{"level": 2, "durationMs": "soon"}, "Error", nil},
		{map[string]any{"level": 9, "durationMs": "NaN"}, "9", nil},
		{map[string]any{"level": nil, "durationMs": json.Number("9223372036854775807")}, nil, nil},
		{map[string]any{"level": map[string]any{}, "durationMs": nil}, nil, nil},
	} {
		ev := parse(t, activity(t, c.members))
		if diff := cmp.Diff([]any{c.level, c.duration}, []any{at(fields(ev), "log.level"), at(fields(ev), "event.duration")}); diff != "" {
			t.Errorf("%v: log.level, event.duration (-want +got):\n%s", c.members, diff)
		}
	}
}

func TestEventTypeAndCategory(t *testing.T) {
	for _, c := range []struct {
		category   string
		properties map[string]any
		eventType  any
		eventCat   string
	}{
		{"Delete", nil, []any{"deletion"}, "Administrative"},
		{"WRITE", nil, []any{"change"}, "Administrative"},
		{"Action", map[string]any{"policies": "[]"}, []any{"change"}, "Policy"},
		{"Read", nil, []any{"access"}, "Administrative"},
		{"Administrative", map[string]any{"eventCategory": "Security", "policies": "[]"}, nil, "Security"},
	} {
		ev := parse(t, activity(t, map[string]any{"category": c.category, "properties": c.properties}))
		got := []any{at(fields(ev), "event.type"), at(fields(ev), "azure.activitylogs.event_category"), at(fields(ev), "azure.activitylogs.properties.eventCategory")}
		if diff := cmp.Diff([]any{c.eventType, c.eventCat, nil}, got); diff != "" {
			t.Errorf("%s: event.type, event_category, eventCategory (-want +got):\n%s", c.category, diff)
		}
	}
}

func TestRoute(t *testing.T) {
	const arm = `"operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"`
	for _, c := range []struct{ name, record, want string }{
		{"activity, new category", `{"category":"Administrative",` + arm + `}`, event.ActivityLogs},
		{"activity, old category", `{"category":"Delete",` + arm + `}`, event.ActivityLogs},
		{"activity, unheard-of category", `{"category":"Cleanup",` + arm + `}`, event.ActivityLogs},
		{"activity, no category", `{` + arm + `}`, event.ActivityLogs},
		{"activity, capitalised names", `{"Category":"Administrative","OperationName":"x"}`, event.ActivityLogs},
		{"activity by identity", `{"category":"Whatever","operationName":"read","identity":{"claims":{}, "authorization":{}}}`, event.ActivityLogs},
		{"activity by identity text", `{"category":"Whatever","operationName":"read","identity":"{\"claims\":{},\"authorization\":{}}"}`, event.ActivityLogs},
		{"activity by event category", `{"category":"Whatever","operationName":"read","properties":{"eventCategory":"ServiceHealth"}}`, event.ActivityLogs},
		{"audit of AKS", `{"category":"kube-audit","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":"{}"}}`, event.PlatformLogs},
		{"audit of Arc under another operation", `{"category":"kube-audit-admin",` + arm + `,"properties":{"log":"{}"}}`, event.PlatformLogs},
		{"component log", `{"category":"guard","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":"x"}}`, event.PlatformLogs},
		{"resource log that reads", `{"category":"AuditEvent","operationName":"Microsoft.KeyVault/vaults/secrets/read"}`, event.PlatformLogs},
		{"Key Vault", `{"category":"AuditEvent","operationName":"SecretGet","identity":{"claim":{"oid":"x"}}}`, event.PlatformLogs},
		{"sign-in", `{"category":"SignInLogs","operationName":"Sign-in activity"}`, event.SignInLogs},
		{"sign-in of a managed identity", `{"category":"ManagedIdentitySignInLogs"}`, event.SignInLogs},
		{"Entra audit", `{"category":"AuditLogs","operationName":"Add user"}`, event.EntraAudit},
		{"risk", `{"category":"UserRiskEvents"}`, event.IdentityProtection},
		{"risky user", `{"category":"RiskyUsers"}`, event.IdentityProtection},
		{"Graph activity, not normalised", `{"category":"MicrosoftGraphActivityLogs"}`, "azure.graphactivitylogs"},
		{"firewall, not normalised", `{"category":"AZFWNatRule"}`, "azure.firewall_logs"},
		{"metric", `{"metricName":"cpu","average":1}`, ""},
		{"empty", `{}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := parse(t, c.record)
			if ev.Dataset() != c.want {
				t.Fatalf("dataset %q, want %q", ev.Dataset(), c.want)
			}
			if c.want == "" {
				if fields(ev) == nil || len(fields(ev)) != 0 {
					t.Errorf("fields %v", fields(ev))
				}
				return
			}
			if at(fields(ev), "data_stream.dataset") != c.want || at(fields(ev), "event.dataset") != c.want {
				t.Errorf("fields name another dataset: %v", fields(ev))
			}
		})
	}
}

func TestNotAnObject(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, "parse record: unexpected end of JSON input"},
		{`null`, "parse record: not a JSON object"},
		{`[]`, "parse record: not a JSON object"},
		{`"x"`, "parse record: not a JSON object"},
		{`{"a":`, "parse record: unexpected end of JSON input"},
		{`{"a":1} {"a":2}`, "parse record: invalid character '{' after top-level value"},
		{`{a:1}`, "parse record: invalid character 'a' looking for beginning of object key string"},
		{strings.Repeat(`{"a":`, 100), "parse record: unexpected end of JSON input"},
		{strings.Repeat(`{"a":`, 1000), "parse record: unexpected end of JSON input"},
	} {
		ev, err := event.Read([]byte(c.in), 0)
		if ev != nil || err == nil || err.Error() != c.want {
			t.Errorf("Read(%.20q): %v, %v, want error %q", c.in, ev, err, c.want)
		}
	}
}

func TestDuplicateAndEmptyKeys(t *testing.T) {
	ev := parse(t, `{"category":"Delete","operationName":"first","operationName":"a.b/c/delete","":"x","properties":{"":"y","a":[{"" :1,"b":2}]}}`)
	if ev.Operation() != "a.b/c/delete" {
		t.Errorf("operation %q: the last of duplicate keys counts", ev.Operation())
	}
	want := map[string]any{"a": []any{map[string]any{"b": json.Number("2")}}}
	if diff := cmp.Diff(want, at(fields(ev), "azure.activitylogs.properties")); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	if _, ok := ev.Record()[""]; ok {
		t.Error("empty key in the record")
	}
}

func TestMembersOfOneNameDoNotDependOnMapOrder(t *testing.T) {
	record := `{"category":"SignInLogs","operationName":"x","properties":{"ipAddress":"192.0.2.1","IpAddress":"192.0.2.2","userId":"a","UserId":"b","user_id":"c","x":null}}`
	for range 50 {
		ev := parse(t, record)
		if got := at(fields(ev), "azure.signinlogs.properties.user_id"); got != "c" {
			t.Fatalf("user_id %v, want the member that has the name already", got)
		}
		if ev.CallerIP() != "192.0.2.2" {
			t.Fatalf("ip_address %v, want the first in order", ev.CallerIP())
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000)
	check := func(t *testing.T, record string) *event.Event {
		t.Helper()
		ev := parse(t, record)
		if len(ev.Notes()) == 0 || !strings.Contains(strings.Join(ev.Notes(), "; "), "deeper than 64 levels") {
			t.Errorf("notes %q", ev.Notes())
		}
		if d := depthOf(fields(ev)); d > 80 {
			t.Errorf("fields are %d levels deep", d)
		}
		return ev
	}
	ev := check(t, `{"category":"Delete","operationName":"a.b/c/delete","resultType":"Success","properties":{"x":`+deep+`,"entity":"e"},"correlationId":"c-1"}`)
	if ev.Outcome() != "success" || ev.CorrelationID() != "c-1" || at(fields(ev), "azure.activitylogs.properties.entity") != "e" {
		t.Error("a deep value cost the rest of the record")
	}
	log, err := json.Marshal(`{"verb":"delete","requestObject":` + deep + `,"responseStatus":{"code":200}}`)
	if err != nil {
		t.Fatal(err)
	}
	ev = check(t, `{"category":"kube-audit","properties":{"log":`+string(log)+`}}`)
	if ev.Audit() == nil || ev.Audit().Verb != "delete" || ev.Audit().Code != 200 || ev.Audit().Truncated {
		t.Errorf("audit %+v", ev.Audit())
	}
	arrays := strings.Repeat(`[`, 200_000) + strings.Repeat(`]`, 200_000)
	check(t, `{"category":"Delete","operationName":"a.b/c/delete","properties":{"x":`+arrays+`}}`)
}

func depthOf(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, depthOf(e)+1)
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, depthOf(e)+1)
		}
	}
	return deepest
}
