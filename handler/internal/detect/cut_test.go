package detect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
)

// A longDeletion is an audit event by a person, with what may make its text long.
type longDeletion struct {
	uri, verb, object                string
	groups, as, addresses, userAgent int
}

func (d longDeletion) text() string {
	list := func(format string, n int) string {
		var texts []string
		for i := range n {
			texts = append(texts, fmt.Sprintf(format, i))
		}
		return strings.Join(texts, ",")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"0b000000-0000-4000-8000-000000000001",`+
		`"stage":"ResponseComplete","requestURI":%q,"verb":%q,"user":{"username":"dana.ortiz@example.com","groups":[%s],"extra":{"oid":["c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2"]}},`,
		d.uri, d.verb, list(`"1b7c9d20-3e4f-4a51-8b62-%012d"`, d.groups))
	if d.as > 0 {
		fmt.Fprintf(&b, `"impersonatedUser":{"username":"ops","groups":[%s]},`, list(`"group-%06d"`, d.as))
	}
	fmt.Fprintf(&b, `"sourceIPs":[%s],"userAgent":"kubectl/v1.31.2 %s","objectRef":{%s,"apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},`+
		`"requestObject":{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0},"requestReceivedTimestamp":"2026-11-09T08:14:30.402113Z",`+
		`"stageTimestamp":"2026-11-09T08:14:30.441020Z","annotations":{"authorization.k8s.io/decision":"allow"}}`,
		list(`"203.0.113.%d"`, max(d.addresses, 1)), strings.Repeat("x", d.userAgent), d.object)
	return b.String()
}

// However long a client makes its request, and wherever the text is cut behind the
// verb, a deletion by a person is an alert or is reported as unreadable.
func TestADeletionIsNeverLostBehindACut(t *testing.T) {
	t.Parallel()
	const pod = "/api/v1/namespaces/shop/pods/cart-7c9d5b6f48-q8w2z"
	const object = `"resource":"pods","namespace":"shop","name":"cart-7c9d5b6f48-q8w2z"`
	tests := map[string]longDeletion{
		"delete":                      {uri: pod, verb: "delete", object: object},
		"groups":                      {uri: pod, verb: "delete", object: object, groups: 60},
		"groups of an impersonation":  {uri: pod, verb: "delete", object: object, as: 150},
		"addresses":                   {uri: pod, verb: "delete", object: object, addresses: 150},
		"a user agent":                {uri: pod, verb: "delete", object: object, userAgent: 2500},
		"a URI":                       {uri: pod + "?timeout=" + strings.Repeat("9", 2500), verb: "delete", object: object},
		"eviction":                    {uri: pod + "/eviction", verb: "create", object: object + `,"subresource":"eviction"`, groups: 60},
		"deletecollection":            {uri: "/api/v1/namespaces/shop/pods?labelSelector=app%3Dcart", verb: "deletecollection", object: `"resource":"pods","namespace":"shop"`, groups: 60},
		"a namespace":                 {uri: "/api/v1/namespaces/shop", verb: "delete", object: `"resource":"namespaces","namespace":"shop","name":"shop"`, groups: 10},
		"a node":                      {uri: "/api/v1/nodes/np1", verb: "delete", object: `"resource":"nodes","name":"np1"`, addresses: 40},
		"a workload":                  {uri: "/apis/apps/v1/namespaces/shop/deployments/cart", verb: "delete", object: `"resource":"deployments","namespace":"shop","name":"cart","apiGroup":"apps"`, groups: 10},
		"an escape in the URI":        {uri: "/api/v1/namespaces/shop/p%6Fds/cart-0", verb: "delete", object: object, groups: 20},
		"a URI that cannot be parsed": {uri: "/api/v1/namespaces/%zz/pods/cart-0", verb: "delete", object: object, groups: 20},
	}
	d := detect.New(builtIn, true)
	positions := 0
	for name, deletion := range tests {
		text := deletion.text()
		start := strings.Index(text, `,"user"`)
		positions += len(text) - start
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := start; at < len(text); at++ {
				body := auditMessage(t, text[:at])
				found := d.Detect(detect.Plain(body), false)
				alerts := 0
				for _, f := range found.Findings {
					if !f.Routine {
						alerts++
					}
				}
				if alerts == 0 && len(found.Unreadable) == 0 || !d.Filter().Contains(body) {
					t.Fatalf("cut at %d of %d: lost, found by the filter %t: %s", at, len(text), d.Filter().Contains(body), text[:at])
				}
			}
		})
	}
	t.Logf("%d cut positions", positions)
	if positions < 20_000 {
		t.Errorf("%d positions are too few", positions)
	}
}

// A URI so long that it ends around the cut, before or behind the verb.
func TestADeletionWithALongURIIsNeverLost(t *testing.T) {
	t.Parallel()
	const pod = "/api/v1/namespaces/shop/pods/cart-0?timeout="
	d := detect.New(builtIn, true)
	for _, size := range []int{16 << 10, 32 << 10} {
		head := len(longDeletion{uri: pod, verb: "delete"}.text()) // of which the URI is a part
		for n := size - head - 200; n < size; n += 7 {
			text := longDeletion{uri: pod + strings.Repeat("9", n), verb: "delete", object: `"resource":"pods","namespace":"shop","name":"cart-0"`}.text()
			body := auditMessage(t, text[:min(len(text), size)])
			search := d.Filter().Search(0)
			search.More(body, true)
			found := d.Detect(detect.Plain(body), false)
			if len(found.Findings) == 0 && len(found.Unreadable) == 0 || len(search.Hits()) == 0 {
				t.Fatalf("a URI of %d bytes, cut at %d: %d findings, %d unreadable, %d hits", len(pod)+n, size, len(found.Findings), len(found.Unreadable), len(search.Hits()))
			}
		}
	}
}

// At the sizes at which Azure cuts.
func TestADeletionInManyGroupsIsAnAlert(t *testing.T) {
	t.Parallel()
	const pod = "/api/v1/namespaces/shop/pods/cart-0"
	const object = `"resource":"pods","namespace":"shop","name":"cart-0"`
	d := detect.New(builtIn, true)
	for _, size := range []int{16 << 10, 32 << 10} {
		for n := 0; n < 1200; n += 7 {
			for _, deletion := range []longDeletion{
				{uri: pod, verb: "delete", object: object, groups: n},
				{uri: pod, verb: "delete", object: object, as: n},
				{uri: pod, verb: "delete", object: object, addresses: n},
				{uri: pod, verb: "delete", object: object, userAgent: 30 * n},
			} {
				text := deletion.text()
				found := d.Detect(detect.Plain(auditMessage(t, text[:min(len(text), size)])), false)
				if len(found.Findings) != 1 || len(found.Unreadable) > 0 {
					t.Fatalf("%+v cut at %d: %d findings, unreadable %+v", deletion, size, len(found.Findings), found.Unreadable)
				}
				outcomeCut := strings.Index(text, `"responseStatus"`) >= size
				if f := found.Findings[0]; f.Routine || outcomeCut && !f.Uncertain || len(text) <= size && f.Uncertain {
					t.Fatalf("%+v cut at %d: routine %t, uncertain %t", deletion, size, f.Routine, f.Uncertain)
				}
			}
		}
	}
}

// A text that is longer than the search follows is passed over only where reading
// all of it finds nothing: whatever was asked for, wherever it is cut, and whatever
// stands behind it.
func TestALongTextIsPassedOverOnlyWithoutAFinding(t *testing.T) {
	t.Parallel()
	const pod, rest = "/api/v1/namespaces/shop/pods/cart-0", `,"namespace":"shop","name":"cart-0"`
	long := strings.Repeat(`key = \"value\", `, 1100)
	body := func(d longDeletion) string {
		return strings.TrimSuffix(d.text(), "}") + `,"responseObject":{"data":"` + long + `"}}`
	}
	update := longDeletion{uri: "/api/v1/namespaces/shop/configmaps/a", verb: "update", object: `"resource":"configmaps"` + rest}
	deletion := longDeletion{uri: pod, verb: "delete", object: `"resource":"pods"` + rest}
	texts := map[string]string{
		"update":                               body(update),
		"update, nothing cut":                  body(update) + "\n",
		"update in many groups":                longDeletion{uri: update.uri, verb: "update", object: update.object, groups: 450}.text(),
		"create":                               body(longDeletion{uri: update.uri, verb: "create", object: update.object}),
		"delete":                               body(deletion),
		"delete in many groups":                longDeletion{uri: pod, verb: "delete", object: deletion.object, groups: 450}.text(),
		"eviction, in a URI with an escape":    longDeletion{uri: pod + "/evic%74ion", verb: "create", object: deletion.object + `,"subresource":"eviction"`, groups: 450}.text(),
		"no object":                            body(longDeletion{uri: "/healthz", verb: "get", object: `"resource":""`}),
		"no audit event":                       `{"data":"` + long + long + `"}`,
		"an update, then a deletion":           body(update) + "\n" + deletion.text(),
		"an update, then a deletion in groups": body(update) + longDeletion{uri: pod, verb: "delete", object: deletion.object, groups: 100}.text(),
		"an update, then one with a long URI":  body(update) + longDeletion{uri: pod + "?timeout=" + strings.Repeat("9", 700), verb: "delete", object: deletion.object}.text(),
		"no verb":                              strings.Replace(body(update), `"verb":"update",`, "", 1),
		"in another order":                     `{"objectRef":{"resource":"pods"` + rest + `},` + body(deletion)[1:],
		"a list":                               `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + body(update) + "," + deletion.text() + `]}`,
		"a verb twice":                         strings.TrimSuffix(body(update), "}") + `,"verb":"delete","objectRef":{"resource":"pods"` + rest + `}}`,
		"text before it":                       "F0612 " + body(update),
	}
	d := detect.New(builtIn, true)
	passed := 0
	for name, text := range texts {
		for size := len(text); size > 16_500; size -= 20 {
			if len(text)-size > 800 { // before the second event
				size -= 600
			}
			message := auditMessage(t, text[:size])
			wire := invocation.EncodeEvents(invocation.Messages{Function: "Detect", Binding: "events", Messages: []invocation.Message{{Body: message}}})
			b, err := reader.Read(t.Context(), bytes.NewReader(wire), d.Filter())
			if err != nil {
				t.Fatal(err)
			}
			got, want := d.Detect(b, false), d.Detect(detect.Plain(message), false)
			if len(got.Findings) != len(want.Findings) || len(got.Unreadable) != len(want.Unreadable) {
				t.Errorf("%s, cut at %d of %d: %d findings and %d unreadable, want %d and %d",
					name, size, len(text), len(got.Findings), len(got.Unreadable), len(want.Findings), len(want.Unreadable))
			}
			if got.Opened == 0 && len(got.Unreadable) == 0 {
				passed++
				if got.Audits == 0 {
					t.Errorf("%s: passed over, and not counted", name)
				}
			}
			b.Close()
		}
	}
	if passed < 20 {
		t.Errorf("%d texts were passed over", passed)
	}
}

// auditMessage is a message with one record of the audit log.
func auditMessage(t testing.TB, log string) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"records": []any{map[string]any{
		"category": "kube-audit-admin", "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
		"time": "2026-11-09T08:14:30.4418829Z", "properties": map[string]any{"log": log, "stream": "stdout"},
		"resourceId": "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
