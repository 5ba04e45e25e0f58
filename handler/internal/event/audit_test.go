package event_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

// auditRecord is a kube-audit record with the given properties.log.
func auditRecord(t testing.TB, log string) string {
	t.Helper()
	return changed(t, "kube-delete-202.json", map[string]any{"properties": map[string]any{"log": log, "pod": "p"}})
}

// auditLog is the properties.log of a sample.
func auditLog(t testing.TB, file string) string {
	t.Helper()
	var rec struct{ Properties struct{ Log string } }
	if err := json.Unmarshal(records(t, file)[0], &rec); err != nil {
		t.Fatal(err)
	}
	return rec.Properties.Log
}

// Wherever a log is cut, what is read is what the whole log says, or nothing.
func TestCutLogNeverTellsAnythingElse(t *testing.T) {
	log := strings.TrimSpace(auditLog(t, "kube-csr-approved.json"))
	whole := parse(t, auditRecord(t, log))
	for cut := 1; cut < len(log); cut++ {
		ev := parse(t, auditRecord(t, log[:cut]))
		if len(ev.Notes()) == 0 {
			t.Fatalf("cut at %d: no note", cut)
		}
		if ev.Audit() == nil {
			if at(fields(ev), "azure.platformlogs.properties.log") != nil {
				t.Fatalf("cut at %d: log without audit", cut)
			}
			continue
		}
		if !ev.Audit().Truncated {
			t.Fatalf("cut at %d: not marked as truncated", cut)
		}
		got, want := *ev.Audit(), *whole.Audit()
		if got.Object != (event.ObjectRef{}) && got.Object != want.Object {
			t.Fatalf("cut at %d: object %+v, want %+v or nothing", cut, got.Object, want.Object)
		}
		if got.Code != 0 && got.Code != want.Code {
			t.Fatalf("cut at %d: code %d", cut, got.Code)
		}
		if got.User.Name != "" && got.User.Name != want.User.Name || len(got.User.Groups) > len(want.User.Groups) {
			t.Fatalf("cut at %d: user %+v", cut, got.User)
		}
		for _, s := range [][2]string{{got.ID, want.ID}, {got.Stage, want.Stage}, {got.Verb, want.Verb}, {got.RequestURI, want.RequestURI}, {got.UserAgent, want.UserAgent}} {
			if s[0] != "" && s[0] != s[1] {
				t.Fatalf("cut at %d: %q, want %q or nothing", cut, s[0], s[1])
			}
		}
		if !contains(at(fields(whole), "azure.platformlogs.properties.log"), at(fields(ev), "azure.platformlogs.properties.log")) {
			t.Fatalf("cut at %d: the log has what the whole one has not: %v", cut, at(fields(ev), "azure.platformlogs.properties.log"))
		}
	}
}

// contains reports whether all of part is in whole.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for k, v := range p {
			if e, has := w[k]; !has || !contains(e, v) {
				return false
			}
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		if !ok || len(p) > len(w) {
			return false
		}
		for i := range p {
			if !contains(w[i], p[i]) {
				return false
			}
		}
		return true
	}
	return whole == part
}

func TestCutLogKeepsWhatRulesAskFor(t *testing.T) {
	log := auditLog(t, "kube-delete-202.json")
	cut := strings.Index(log, `"requestReceivedTimestamp"`)
	ev := parse(t, auditRecord(t, log[:cut]))
	a := ev.Audit()
	if a == nil || a.Verb != "delete" || a.Stage != "ResponseComplete" || a.Code != 202 || a.User.Name != "dana.ortiz@example.com" ||
		a.Object.Name == "" || a.UserAgent == "" || len(a.SourceIPs) != 1 || !a.Received.IsZero() ||
		at(fields(ev), "azure.platformlogs.properties.log.annotations") != nil {
		t.Errorf("audit %+v", a)
	}
	if ev.Resource().Pod == "" || ev.Resource().Namespace != "shop" || ev.CallerIP() != "203.0.113.24" {
		t.Errorf("resource %+v, caller %q", ev.Resource(), ev.CallerIP())
	}
	// An objectRef without its subresource would be another object: the URI decides.
	cut = strings.Index(auditLog(t, "kube-eviction-user-drain.json"), `,"subresource"`)
	ev = parse(t, auditRecord(t, auditLog(t, "kube-eviction-user-drain.json")[:cut]))
	if ev.Audit() == nil || ev.Audit().Object.Subresource != "eviction" || ev.Resource().Pod == "" {
		t.Errorf("half an objectRef was believed: %+v", ev.Audit())
	}
}

func TestAuditForms(t *testing.T) {
	t.Run("object instead of text", func(t *testing.T) {
		ev := parse(t, `{"category":"kube-audit","properties":{"log":{"verb":"delete","objectRef":{"resource":"pods","name":"p"}}}}`)
		if ev.Audit() == nil || ev.Audit().Verb != "delete" || ev.Resource().Pod != "p" {
			t.Errorf("%+v", ev.Audit())
		}
	})
	t.Run("text instead of objects", func(t *testing.T) {
		ev := parse(t, auditRecord(t, `{"verb":"delete","requestObject":"skipped-too-big-size-object","responseObject":"skipped-too-big-size-object","user":"x","objectRef":"y","responseStatus":{"code":"200"},"sourceIPs":"192.0.2.1"}`))
		if ev.Audit() == nil || ev.Audit().Code != 200 || ev.Audit().User.Name != "" || ev.CallerIP() != "192.0.2.1" {
			t.Errorf("%+v", ev.Audit())
		}
		if got := at(fields(ev), "azure.platformlogs.properties.log.requestObject"); got != "skipped-too-big-size-object" {
			t.Errorf("requestObject %v", got)
		}
	})
	t.Run("escaped slashes", func(t *testing.T) {
		ev := parse(t, auditRecord(t, `{"verb":"delete","requestURI":"\/api\/v1\/pods"}`))
		if ev.Audit().RequestURI != "/api/v1/pods" {
			t.Errorf("%q", ev.Audit().RequestURI)
		}
	})
	t.Run("last source address counts", func(t *testing.T) {
		ev := parse(t, auditRecord(t, `{"sourceIPs":["192.0.2.66","203.0.113.24"]}`))
		if ev.CallerIP() != "203.0.113.24" || fields(ev)["source"] != nil {
			t.Errorf("caller %q, source %v", ev.CallerIP(), fields(ev)["source"])
		}
	})
	t.Run("numbers keep their spelling", func(t *testing.T) {
		ev := parse(t, auditRecord(t, `{"responseStatus":{"code":200},"requestObject":{"n":12345678901234567890,"f":1.0}}`))
		log := at(fields(ev), "azure.platformlogs.properties.log").(map[string]any)
		if got := []any{at(log, "responseStatus.code"), at(log, "requestObject.n"), at(log, "requestObject.f")}; !cmp.Equal(got, []any{json.Number("200"), json.Number("12345678901234567890"), json.Number("1.0")}) {
			t.Errorf("%v", got)
		}
	})
	t.Run("pods of another group", func(t *testing.T) {
		ev := parse(t, auditRecord(t, `{"objectRef":{"resource":"pods","apiGroup":"metrics.k8s.io","namespace":"n","name":"x"}}`))
		if ev.Resource().Pod != "" || ev.Resource().Namespace != "n" {
			t.Errorf("%+v", ev.Resource())
		}
	})
	t.Run("a line of a component", func(t *testing.T) {
		ev := parse(t, changed(t, "kube-delete-202.json", map[string]any{"category": "kube-scheduler", "properties": map[string]any{"log": "I1109 {x"}}))
		if ev.Audit() != nil || fields(ev)["message"] != "I1109 {x" || at(fields(ev), "azure.platformlogs.properties.log") != nil || ev.Notes() != nil {
			t.Errorf("audit %v, message %v, notes %q", ev.Audit(), fields(ev)["message"], ev.Notes())
		}
	})
	t.Run("not an audit event", func(t *testing.T) {
		ev := parse(t, changed(t, "kube-delete-202.json", map[string]any{"category": "csi-azuredisk-controller", "properties": map[string]any{"log": `{"verb":"delete"}`}}))
		if ev.Audit() != nil {
			t.Errorf("%+v", ev.Audit())
		}
	})
	t.Run("no log", func(t *testing.T) {
		for _, properties := range []any{nil, map[string]any{"stream": "stdout"}} {
			ev := parse(t, changed(t, "kube-delete-202.json", map[string]any{"properties": properties}))
			if ev.Audit() != nil || len(ev.Notes()) != 1 {
				t.Errorf("properties %v: audit %v, notes %q", properties, ev.Audit(), ev.Notes())
			}
		}
	})
}

func TestSignInOutcome(t *testing.T) {
	for _, c := range []struct{ members, want string }{
		{`"resultType":"0","properties":{"status":{"errorCode":0}}`, "success"},
		{`"resultType":"50126","properties":{"status":{"errorCode":50126}}`, "failure"},
		{`"resultType":"50126","properties":{"status":{"errorCode":"50126"}}`, "failure"},
		{`"resultType":"0","properties":{}`, "success"},
		{`"resultType":"7000215","properties":{}`, "failure"}, // Elastic: success
		{`"properties":{}`, "success"},
		{`"resultType":"x"`, "success"},
	} {
		ev := parse(t, `{"category":"SignInLogs","operationName":"Sign-in activity",`+c.members+`}`)
		if ev.Outcome() != c.want {
			t.Errorf("%s: %q, want %q", c.members, ev.Outcome(), c.want)
		}
	}
}

func TestEntraNestedPartsAsText(t *testing.T) {
	ev := parse(t, `{"category":"AuditLogs","operationName":"Add device","properties":{"result":"SUCCESS",`+
		`"targetResources":"[{\"displayName\":\"D\",\"modifiedProperties\":[{\"displayName\":\"A\",\"newValue\":\"[1]\"}]}]",`+
		`"initiatedBy":"{\"user\":{\"userPrincipalName\":\"u\",\"ipAddress\":\"192.0.2.7\"}}","additionalDetails":{"userAgent":"x"}}}`)
	got := []any{
		at(fields(ev), "azure.auditlogs.properties.target_resources.0.modified_properties.0.new_value"),
		at(fields(ev), "azure.auditlogs.properties.initiated_by.user.userPrincipalName"),
		at(fields(ev), "azure.auditlogs.properties.additional_details.user_agent"),
		ev.Outcome(), ev.CallerIP(),
	}
	if diff := cmp.Diff([]any{"[1]", "u", "x", "success", "192.0.2.7"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A client chooses all addresses but the last.
func TestNoAddressWhereTheLastIsCut(t *testing.T) {
	log := strings.Replace(auditLog(t, "kube-delete-202.json"), `"sourceIPs":["`, `"sourceIPs":["192.0.2.1","192.0.2.2","`, 1)
	ev := parse(t, auditRecord(t, log[:strings.Index(log, `"192.0.2.2"`)+8]))
	if ip := ev.CallerIP(); ip != "" || len(ev.Audit().SourceIPs) > 0 {
		t.Errorf("address %q of %q", ip, ev.Audit().SourceIPs)
	}
	if first, known := ev.Lookup("azure.platformlogs.properties.log.sourceIPs"); known || first == nil {
		t.Errorf("Lookup = %v, known %t, want what there is of it", first, known)
	}
}
