package event_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/event"
)

// deletion returns a record of a deletion in kube-audit with some members replaced; nil
// removes one.
func deletion(t testing.TB, members map[string]any) []byte {
	t.Helper()
	log := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "stage": "ResponseComplete",
		"requestURI": "/api/v1/namespaces/shop/pods/web-0", "verb": "delete", "sourceIPs": []string{"10.0.0.4"},
		"user":      map[string]any{"username": "dana.ortiz@example.com"},
		"objectRef": map[string]any{"resource": "pods", "namespace": "shop", "name": "web-0"},
	}
	for name, v := range members {
		if log[name] = v; v == nil {
			delete(log, name)
		}
	}
	text, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(map[string]any{
		"category": "kube-audit-admin", "time": "2026-11-09T08:14:30Z",
		"properties": map[string]any{"log": string(text)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func derived(t testing.TB, record []byte, name string) (value any, known bool) {
	t.Helper()
	ev, err := event.Read(record, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ev.Lookup("podwatch." + name)
}

const skipped = "skipped-too-big-size-object"

func TestDerivedFields(t *testing.T) {
	t.Parallel()
	object := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	node := object("username", "system:node:np1-2", "groups", []string{"system:nodes"})
	kubelet := func(pairs ...any) map[string]any { return object(append([]any{"user", node}, pairs...)...) }
	scale := func(pairs ...any) map[string]any {
		return object(append([]any{
			"verb", "patch", "objectRef", object("resource", "deployments", "subresource", "scale"),
		}, pairs...)...)
	}
	deployment := func(pairs ...any) map[string]any {
		return object(append([]any{"verb", "patch", "objectRef", object("resource", "deployments")}, pairs...)...)
	}
	replicas := func(n any) map[string]any { return object("spec", object("replicas", n)) }
	const unknown = "unknown"
	for _, c := range []struct {
		name, field string
		log         map[string]any
		want        any
	}{
		{"the client of Windows", "client", object("userAgent", "kubelet.exe/v1.31.2 (windows/amd64)"), "kubelet"},
		{"the client in capitals", "client", object("userAgent", "KUBELET.EXE/v1"), "KUBELET"},
		{"a client without a version", "client", object("userAgent", "kubelet"), nil},

		{"a controller's token", "token_bound", object("user", object("extra", object("authentication.kubernetes.io/credential-id", []string{"JTI=1"}))), false},
		{"a pod's token", "token_bound", object("user", object("extra", object("authentication.kubernetes.io/pod-name", []string{"web-0"}))), true},
		{"a node's token", "token_bound", object("user", object("extra", object("authentication.kubernetes.io/node-uid", []string{"1"}))), true},

		{"a pod's token in capitals", "token_bound", object("user", object("extra", object("Authentication.kubernetes.io/Pod-Name", []string{"web-0"}))), true},

		{"one address", "proxied", nil, false},
		{"one address with a port", "proxied", object("sourceIPs", []string{"[2001:db8::1]:443"}), false},
		{"two addresses in one text", "proxied", object("sourceIPs", []string{"10.0.0.5, 203.0.113.9"}), unknown},
		{"two addresses", "proxied", object("sourceIPs", []string{"10.0.0.5", "10.0.0.4"}), true},
		{"no address", "proxied", object("sourceIPs", nil), unknown},
		{"a private address", "public_address", nil, false},
		{"a shared address", "public_address", object("sourceIPs", []string{"100.100.0.1"}), false},
		{"a public address", "public_address", object("sourceIPs", []string{"10.0.0.4", "203.0.113.9"}), true},

		{"a dry run in the query", "dry_run", object("requestURI", "/p?dryRun=All"), true},
		{"an empty dry run", "dry_run", object("requestURI", "/p?dryRun="), false},
		{"a body beside the query", "dry_run", object("requestURI", "/p?dryRun=All", "requestObject", object()), false},
		{"a dry run in the body", "dry_run", object("requestObject", object("dryRun", []string{"All"})), true},
		{"an empty list", "dry_run", object("requestObject", object("dryRun", []string{})), false},
		{"another value in the body", "dry_run", object("requestObject", object("dryRun", []string{"All", "Some"})), false},
		{"a text for the list", "dry_run", object("requestObject", object("dryRun", "All")), false},
		{"a body skipped for its size", "dry_run", object("requestURI", "/p?dryRun=All", "requestObject", skipped), unknown},
		{"a body that the level hides", "dry_run", object("level", "Metadata"), unknown},
		{"an unknown level", "dry_run", object("level", nil), unknown},
		{"an eviction by query, with a body", "dry_run", object("verb", "create", "requestURI", "/p/eviction?dryRun=All",
			"objectRef", object("resource", "pods", "subresource", "eviction"), "requestObject", object()), true},
		{"an eviction by body", "dry_run", object("verb", "create",
			"objectRef", object("resource", "pods", "subresource", "eviction"), "requestObject", object("deleteOptions", object("dryRun", []string{"All"}))), true},
		{"an eviction with a hidden body", "dry_run", object("verb", "create", "level", "Metadata",
			"objectRef", object("resource", "pods", "subresource", "eviction")), unknown},
		{"a patch by query", "dry_run", scale("requestURI", "/p?dryRun=All", "requestObject", object()), true},
		{"a patch by body", "dry_run", scale("requestObject", object("dryRun", []string{"All"})), false},

		{"grace 0", "final_deletion", kubelet("requestObject", object("gracePeriodSeconds", 0)), true},
		{"grace 30", "final_deletion", kubelet("requestObject", object("gracePeriodSeconds", 30)), false},
		{"grace of the pod", "final_deletion", kubelet("requestObject", object()), false},
		{"no body", "final_deletion", kubelet(), false},
		{"a withheld body", "final_deletion", kubelet("level", "Metadata"), true},
		{"a skipped body", "final_deletion", kubelet("requestObject", skipped), true},
		{"grace in the query", "final_deletion", kubelet("level", "Metadata", "requestURI", "/p?gracePeriodSeconds=30"), false},
		{"a pod of the node", "final_deletion", kubelet("requestObject", skipped, "responseObject", object("spec", object("nodeName", "np1-2"))), true},
		{"a pod of another node", "final_deletion", kubelet("requestObject", skipped, "responseObject", object("spec", object("nodeName", "np1-3"))), false},
		{"a pod of the impersonated node", "final_deletion", object("user", object("username", "machine"), "impersonatedUser", node,
			"requestObject", skipped, "responseObject", object("spec", object("nodeName", "np1-2"))), true},

		{"scale to 0", "scaled_to_zero", scale("requestObject", replicas(0)), true},
		{"scale to 0.0", "scaled_to_zero", scale("requestObject", replicas(json.RawMessage("0.0"))), true},
		{"scale to 2", "scaled_to_zero", scale("requestObject", replicas(2)), false},
		{"scale by what the response omits", "scaled_to_zero", scale("requestObject", replicas(nil), "responseObject", object("spec", object(), "status", object("replicas", 3))), true},
		{"scale with a withheld body", "scaled_to_zero", scale("level", "Metadata"), unknown},
		{"scale by a list of operations", "scaled_to_zero", scale("requestObject", []any{object("op", "replace", "path", "/spec/replicas", "value", 0)}), true},
		{"read of a scale", "scaled_to_zero", scale("verb", "get"), false},
		{"a deployment with 0", "scaled_to_zero", deployment("requestObject", replicas(0)), true},
		{"a deployment that had run none", "scaled_to_zero", deployment("requestObject", replicas(0), "responseObject", object("spec", object("replicas", 0), "status", object())), false},
		{"a deployment that runs some", "scaled_to_zero", deployment("requestObject", replicas(0), "responseObject", object("spec", object("replicas", 0), "status", object("replicas", 3))), true},
		{"another change of a deployment with 0", "scaled_to_zero", deployment("requestObject", object("metadata", object()), "responseObject", object("spec", object("replicas", 0), "status", object("replicas", 3))), false},
		{"a deployment with a withheld body", "scaled_to_zero", deployment("level", "Metadata"), unknown},
		{"a deployment, both skipped", "scaled_to_zero", deployment("requestObject", skipped, "responseObject", skipped), unknown},
		{"a deployment whose response alone is shown", "scaled_to_zero", deployment("requestObject", skipped, "responseObject", object("spec", object("replicas", 0), "status", object("replicas", 3))), true},
		{"a deployment whose response shows replicas", "scaled_to_zero", deployment("requestObject", skipped, "responseObject", object("spec", object("replicas", 2), "status", object("replicas", 3))), false},
		{"a deployment whose response shows no pods before", "scaled_to_zero", deployment("requestObject", skipped, "responseObject", object("spec", object("replicas", 0), "status", object())), false},
		{"another change of a deployment, response skipped", "scaled_to_zero", deployment("requestObject", object("spec", object("template", object())), "responseObject", skipped), false},
	} {
		t.Run(c.field+"/"+c.name, func(t *testing.T) {
			got, known := derived(t, deletion(t, c.log), c.field)
			if !known {
				got = unknown
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A deletion is a dry run only if the API server would decode it as one: whatever
// the query string, the body and the cut.
func TestOnlyWhatTheAPIServerDecodesAsADryRunIsOne(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	query := func() string {
		var q strings.Builder
		for range r.IntN(5) {
			q.WriteString(pick("dryRun=All", "dryRun", "=", "All", "&", ";", "%zz", "%3B", "dry%52un=All", "?", "+", "x=1&", "&dryRun=All", "dryRun=all", "%", "dryRun=%41ll"))
		}
		return q.String()
	}
	bodies := []any{nil, nil, skipped, map[string]any{}, map[string]any{"dryRun": []string{"All"}}, map[string]any{"dryRun": []string{"All", "all"}},
		map[string]any{"dryRun": "All"}, map[string]any{"DryRun": []string{"All"}}, map[string]any{"dryRun": []any{nil}}, map[string]any{"dryRun": []string{}}}
	seen := map[string]int{}
	for range 20_000 {
		eviction := r.IntN(2) == 0
		members := map[string]any{"requestURI": "/api/v1/namespaces/shop/pods/web-0?" + query(), "level": pick("Request", "RequestResponse", "Metadata")}
		body := bodies[r.IntN(len(bodies))]
		if members["level"] == "Metadata" {
			body = nil
		}
		if _, object := body.(map[string]any); eviction {
			members["verb"], members["objectRef"] = "create", map[string]any{"resource": "pods", "subresource": "eviction"}
			if object {
				body = map[string]any{"kind": "Eviction", "deleteOptions": body}
			}
		}
		members["requestObject"] = body
		got, known := derived(t, deletion(t, members), "dry_run")
		want := apiServerTries(t, members["requestURI"].(string), body, eviction)
		switch {
		case !known:
			seen["unknown"]++
		case got == true && !want:
			t.Fatalf("a dry run to podwatch, not to the API server: %v", members)
		case got == false && want:
			t.Fatalf("a dry run to the API server, not to podwatch: %v", members)
		default:
			seen[fmt.Sprint(got)]++
		}
	}
	if seen["true"] < 100 || seen["false"] < 1000 || seen["unknown"] < 1000 {
		t.Errorf("the generator is lopsided: %v", seen)
	}
}

// apiServerTries decodes as the API server does. A body that is not shown counts as
// none, since podwatch must not be sure then.
func apiServerTries(t *testing.T, uri string, body any, eviction bool) bool {
	t.Helper()
	request, err := http.NewRequest(http.MethodDelete, "https://cluster", nil)
	if err != nil {
		t.Fatal(err)
	}
	if request.URL, err = url.ParseRequestURI(uri); err != nil {
		return false
	}
	all := func(values []string) bool {
		return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return v != "All" })
	}
	inQuery := all(request.URL.Query()["dryRun"])
	if _, object := body.(map[string]any); !object {
		return inQuery
	}
	// The API server compares names exactly, unlike encoding/json with a struct.
	var decoded map[string]json.RawMessage
	text, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(text, &decoded)
	}
	if err != nil {
		t.Fatal(err)
	}
	if eviction {
		options := decoded["deleteOptions"]
		decoded = nil
		if json.Unmarshal(options, &decoded) != nil {
			return inQuery
		}
	}
	var values []string
	if json.Unmarshal(decoded["dryRun"], &values) != nil {
		return eviction && inQuery
	}
	return all(values) || eviction && inQuery
}

// A cut event is never surely a dry run by what the cut took: with the body that
// overrides the query string behind it, the answer is not known.
func TestACutNeverMakesADryRun(t *testing.T) {
	t.Parallel()
	const whole = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete",` +
		`"requestURI":"/api/v1/namespaces/shop/pods/web-0?dryRun=All","verb":"delete","user":{"username":"dana.ortiz@example.com"},` +
		`"objectRef":{"resource":"pods"},"responseStatus":{"code":200},"requestObject":{"kind":"DeleteOptions","dryRun":[]}}`
	for end := 1; end < len(whole); end++ {
		log, err := json.Marshal(whole[:end])
		if err != nil {
			t.Fatal(err)
		}
		record := []byte(`{"category":"kube-audit","properties":{"log":` + string(log) + `}}`)
		if got, known := derived(t, record, "dry_run"); known && got == true {
			t.Fatalf("cut after %d bytes: a dry run", end)
		}
	}
}

// However long the parts are that a client chooses, and wherever the text is cut: a
// dry run to podwatch is one to the API server, which had all of the request.
func TestNoLengthMakesADryRun(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	long := func() string {
		return strings.Repeat(pick("x", `\`, `"`, "dryRun=All", "é", `{"dryRun":["All"]},`), r.IntN(40))
	}
	bodies := []string{``, `{}`, `{"dryRun":["All"]}`, `{"dryRun":["All","All"]}`, `{"dryRun":["All"],"dryRun":[]}`, `{"dryRun":[],"dryRun":["All"]}`,
		`{"dryRun":["All"],"dryRun":null}`, `{"dryRun":null}`, `{"dryRun":"All"}`, `{"dryRun":[["All"]]}`, `{"dryRun":["All",{}]}`, `{"dryRun":{"0":"All"}}`,
		`{"dryrun":["All"]}`, `{"dryRun ":["All"]}`, `{"a":{"dryRun":["All"]}}`, `{"dry\u0052un":["\u0041ll"]}`, `{"dryRun":["All "]}`, `{"dryRun":["All\u0000"]}`,
		`{"gracePeriodSeconds":0,"dryRun":["All","Some"]}`}
	seen := map[string]int{}
	for range 20_000 {
		eviction := r.IntN(2) == 0
		uri := "/api/v1/namespaces/shop/pods/web-0" + pick("", "", "?dryRun=All", "?dryRun=All&dryRun=Al", "?dryRun=All;", "?dryRun=All&x="+strings.Repeat("y", r.IntN(60)), "?x="+strings.Repeat("y", r.IntN(60))+"&dryRun=All")
		body := bodies[r.IntN(len(bodies))]
		verb, object := "delete", `{"resource":"pods","namespace":"shop","name":"web-0"}`
		if eviction {
			verb, object = "create", `{"resource":"pods","namespace":"shop","name":"web-0","subresource":"eviction"}`
			if body != "" {
				body = `{"kind":"Eviction","deleteOptions":` + body + `}`
			}
		}
		quoted := func(text string) string { q, _ := json.Marshal(text); return string(q) }
		whole := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":` + quoted(long()) +
			`,"stage":"ResponseComplete","requestURI":` + quoted(uri) + `,"verb":"` + verb + `","user":{"username":"dana.ortiz@example.com","extra":{"x":[` + quoted(long()) +
			`]}},"sourceIPs":["203.0.113.9",` + quoted(long()) + `],"userAgent":` + quoted(long()) + `,"objectRef":` + object + `,"responseStatus":{"code":200}`
		if body != "" {
			whole += `,"requestObject":` + body
		}
		whole += `,"annotations":{"a":` + quoted(long()) + `}}`
		end := len(whole)
		if r.IntN(3) > 0 {
			end = r.IntN(end)
		}
		log, err := json.Marshal(whole[:end])
		if err != nil {
			t.Fatal(err)
		}
		got, known := derived(t, []byte(`{"category":"kube-audit","properties":{"log":`+string(log)+`}}`), "dry_run")
		var shown any
		if body != "" {
			if err := json.Unmarshal([]byte(body), &shown); err != nil {
				t.Fatal(err)
			}
		}
		want := apiServerTries(t, uri, shown, eviction)
		if known && got == true {
			if seen["true"]++; !want {
				t.Fatalf("a dry run to podwatch, not to the API server: %s", whole[:end])
			}
		} else if end == len(whole) && want {
			t.Fatalf("a dry run to the API server, not to podwatch: %s %s", uri, body)
		}
		seen["all"]++
	}
	if seen["true"] < 1000 {
		t.Errorf("the generator is lopsided: %v", seen)
	}
}

// Elastic's rules must not see what podwatch derives, unless they name it.
func TestDerivedFieldsAreNotAmongAll(t *testing.T) {
	t.Parallel()
	ev, err := event.Read(deletion(t, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	for name := range ev.All() {
		if strings.HasPrefix(name, "podwatch") {
			t.Errorf("%s", name)
		}
	}
}
