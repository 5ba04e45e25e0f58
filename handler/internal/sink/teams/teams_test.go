package teams

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/sinktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const query = "?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=pl4nted-S3cret_%2Bx%3D"

func TestSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, sinktest.Subject{
		New: func(t testing.TB, transport http.RoundTripper, log *slog.Logger) sinktest.Sink {
			return newSink(t, "http://127.0.0.1/workflows/0123456789abcdef0123"+query, sink.Options{Transport: transport, Logger: log})
		},
		Secrets:  []string{"pl4nted-S3cret", "0123456789abcdef0123", "%2Ftriggers"},
		Accepted: http.StatusAccepted,
	})
}

func newSink(t testing.TB, webhook string, o sink.Options) *Sink {
	t.Helper()
	e, err := outbound.ParseEndpoint(webhook)
	if err != nil {
		t.Fatal(err)
	}
	return New(e, Options{Delivery: o, Guide: testGuide})
}

func testGuide(string) string {
	return "## Investigate\n\n- Is the caller somebody who looks after\n  this cluster?\n- See [the manual](https://kubernetes.io/docs/) and `kubectl get events`.\n\n" +
		"1. First\n2) Second\n\n### Respond\n\nRevoke the sessions of the *caller*\nif nobody can explain it.\n\n```\nkubectl get pods\n```\n"
}

// TestRequest: the query goes out byte for byte, and no header gives another
// authorization than the signature.
func TestRequest(t *testing.T) {
	const path = "/powerautomate/automations/direct/workflows/ab%2Fc/triggers/manual/paths/invoke"
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	webhook := server.URL + path + "?b=2&a=1&a=%2f;x&sig=A%2bb%2Fc%3d&empty=&z"
	if failures := newSink(t, " "+webhook+"\n", sink.Options{}).Deliver(t.Context(), sinktest.Alerts(1)); failures != nil {
		t.Fatal(failures)
	}
	if want := strings.TrimPrefix(webhook, server.URL); got.RequestURI != want {
		t.Errorf("requested %s, want %s", got.RequestURI, want)
	}
	if _, ok := got.Header["Authorization"]; ok {
		t.Error("there is an Authorization header")
	}
	if got.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("the content type is %q", got.Header.Get("Content-Type"))
	}
}

func TestPrintingASinkTellsNothing(t *testing.T) {
	s := newSink(t, "https://prod-1.westeurope.logic.azure.com/workflows/x"+query, sink.Options{})
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("sink", "sink", s)
	text := fmt.Sprintf("%v %+v %#v %s ", s, s, s, s) + log.String()
	if strings.Contains(text, "pl4nted") {
		t.Errorf("the URL is told: %s", text)
	}
}

// TestOneCardPerGroup: what becomes of a card becomes of its alerts; a card that
// is refused costs no other, a server that is down ends the delivery.
func TestOneCardPerGroup(t *testing.T) {
	for name, c := range map[string]struct {
		statuses []int
		want     string // per alert: . accepted, x refused, r retryable
		requests int
	}{
		"all accepted":    {[]int{202, 202, 202}, "......", 3},
		"one is refused":  {[]int{202, 400, 202}, ".x.x..", 3},
		"down from start": {[]int{429}, "rrrrrr", 1},
		"down after one":  {[]int{202, 429}, ".r.r.r", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				transport := sinktest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "3600")
					w.WriteHeader(c.statuses[min(requests, len(c.statuses)-1)])
					requests++
				})
				alerts := sinktest.Alerts(6)
				alerts[1].CallerId = "another caller"
				alerts[3].CallerId = "another caller"
				alerts[5].ClusterId += "-2"
				failures := newSink(t, "http://127.0.0.1/"+query, sink.Options{Transport: transport}).Deliver(t.Context(), alerts)
				if got := outcome(failures, len(alerts)); got != c.want || requests != c.requests {
					t.Errorf("outcome %s after %d requests, want %s after %d: %v", got, requests, c.want, c.requests, failures)
				}
			})
		})
	}
}

func outcome(failures []error, n int) string {
	if failures == nil {
		failures = make([]error, n)
	}
	var out strings.Builder
	for _, err := range failures {
		var e *sink.Error
		switch {
		case err == nil:
			out.WriteByte('.')
		case errors.As(err, &e) && e.Retryable:
			out.WriteByte('r')
		default:
			out.WriteByte('x')
		}
	}
	return out.String()
}

func testCards() cards {
	return cards{portals: []string{"portal.azure.com"}, guide: testGuide}
}

// user is a person who deleted a pod through Azure Arc, with all that podwatch
// can find out.
func user() *alert.Alert {
	a := sinktest.Alert(0)
	a.Techniques = []string{"T1489 Service Stop", "T1529 System Shutdown/Reboot"}
	a.UserAgent = "AZURECLI/2.81.0 (DEB) azsdk-python-core/1.35.0 Python/3.12.8"
	a.ResourceTags = map[string]string{"env": "production", "owner": "plant-it"}
	a.Timeline = []alert.TimelineEntry{
		{Time: a.EventTime.Add(-11 * time.Minute), Operation: "assigned a role", Target: "arc-plant-07", Outcome: "Success", Caller: "dana.ortiz@example.com", Relation: "both"},
		{Time: a.EventTime.Add(-130 * time.Second), Operation: "pulled the cluster user credential", Target: "arc-plant-07", Outcome: "Success", Caller: "dana.ortiz@example.com", Relation: "both"},
	}
	a.Links = alert.Links{
		Cluster:     "https://portal.azure.com/#resource" + a.ClusterId + "/overview",
		ActivityLog: "https://portal.azure.com/#blade/Microsoft_Azure_ActivityLog/ActivityLogBlade/queryInputs/%7B%22query%22:%7B%22top%22:1000%7D%7D",
		Query:       "https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/resourceId/%2Fsubscriptions%2Fx",
	}
	return a
}

func servicePrincipal() *alert.Alert {
	a := sinktest.Alert(1)
	a.Severity, a.RiskScore = "high", 73
	a.CallerKind, a.CallerName, a.CallerAppName = "servicePrincipal", "deploy-plant", "deploy-plant"
	a.CallerId, a.CallerAppId = "e5b0c7a4-1111-4222-8333-944455566677", "7f3c1b2a-aaaa-4bbb-8ccc-9ddddeeeefff"
	a.CallerOwnerResource = ""
	a.Notes = []string{"the application's owners are not known: GRAPH_LOOKUPS is off (needs Application.Read.All)"}
	a.ResourceId, a.Pod = a.ClusterId, "" // some records stop at the cluster
	a.Namespace = ""
	return a
}

func eviction() *alert.Alert {
	a := sinktest.Alert(2)
	a.RuleId, a.RuleName = "5f1a0d3c-aks", "Pods Deleted in an AKS Cluster"
	a.Source, a.Operation, a.Outcome = "azure.platformlogs", "create pods/eviction", "success"
	a.ClusterId = "/subscriptions/" + a.SubscriptionId + "/resourceGroups/rg-shop/providers/Microsoft.ContainerService/managedClusters/aks-shop"
	a.ResourceId, a.ClusterName, a.ClusterKind, a.ResourceGroup = a.ClusterId, "aks-shop", "aks", "rg-shop"
	a.Namespace, a.Pod, a.DeletionKind = "checkout", "cart-7c9d5b6f4-x2x9k", "eviction"
	a.CallerKind, a.CallerName, a.CallerId = "kubernetes", "system:serviceaccount:ops:drainer", "system:serviceaccount:ops:drainer"
	a.CallerAppId, a.CallerAppName, a.CallerRole, a.CallerIp = "", "", "", "10.244.3.17"
	a.UserAgent = "kubectl/v1.33.2 (linux/amd64) kubernetes/a7e2f6c"
	a.CorrelationId = "0b6d7f3e-6d1f-4b55-9a3e-6f2f2b8a9c10"
	return a
}

func seven() []*alert.Alert {
	group := sinktest.Alerts(7)
	group[3].Namespace = "packaging"
	group[5].DeletionKind = "eviction"
	group[0], group[6] = group[6], group[0] // the card is by time all the same
	return group
}

const hostile = "[x](http://evil.example) **b** _i_ <at>all</at> <img src=x> {{DATE(2020-01-01T00:00:00Z)}} {{{{TIME(x)}}" +
	" \u202egnp.exe\u2066 a\u200bdmin a\u200d\u200cb\x1b[31m\r\n# h\t\u2028new\u0000 Z\u0301\u0302\u0303\u0304\u0305\u0306 \U000e0041\u3164 \xff \" \\ &"

// every returns an alert of which each text is v.
func every(v string) *alert.Alert {
	a := user()
	for _, text := range []*string{
		&a.AlertId, &a.RuleId, &a.RuleName, &a.Source, &a.Operation, &a.Outcome, &a.ResourceId, &a.ClusterId, &a.ClusterName, &a.ClusterKind,
		&a.SubscriptionId, &a.ResourceGroup, &a.Namespace, &a.Pod, &a.CallerKind, &a.CallerName, &a.CallerId, &a.CallerAppId,
		&a.CallerAppName, &a.CallerIp, &a.CallerRole, &a.CallerOwnerResource, &a.UserAgent, &a.CorrelationId, &a.SuppressedBy, &a.Severity,
		&a.Links.Cluster, &a.Links.ActivityLog, &a.Links.Query,
	} {
		*text = v
	}
	a.Tactics, a.Techniques, a.Notes = []string{v, v}, []string{v}, []string{v, v + "2"}
	a.ResourceTags = map[string]string{v: v}
	for i := range a.Timeline {
		e := &a.Timeline[i]
		e.Operation, e.Target, e.Outcome, e.Caller = v, v, v, v
	}
	return a
}

// huge fills everything to the limits of an alert and beyond.
func huge(n int, v string) []*alert.Alert {
	group := make([]*alert.Alert, n)
	for i := range group {
		a := every(v)
		a.EventTime = a.EventTime.Add(time.Duration(i) * time.Hour)
		for j := range 60 {
			a.Timeline = append(a.Timeline, alert.TimelineEntry{Time: a.EventTime.Add(-time.Duration(j) * time.Second), Operation: v + fmt.Sprint(i, j), Target: v, Outcome: v, Caller: v})
			a.Notes = append(a.Notes, fmt.Sprint(j, i)+v)
			a.ResourceTags[fmt.Sprint(j)+v] = v
			a.Tactics, a.Techniques = append(a.Tactics, v), append(a.Techniques, v)
		}
		for _, l := range []*string{&a.Links.Cluster, &a.Links.ActivityLog, &a.Links.Query} {
			*l = "https://portal.azure.com/#" + strings.Repeat("x", maxURL-len("https://portal.azure.com/#"))
		}
		group[i] = a
	}
	return group
}

func feed() *alert.Alert {
	at := time.Date(2026, 11, 9, 9, 30, 0, 0, time.UTC)
	return &alert.Alert{
		TimeGenerated: at, EventTime: at, AlertId: "feed01", RuleId: "podwatch-feed", RuleName: "No records from arc-plant-07 for an hour",
		Severity: "medium", RiskScore: 47, Source: "podwatch", Operation: "no records", CallerKind: "unknown",
		Notes: []string{"The last record arrived at 08:29 UTC.", "Look at the diagnostic setting of the cluster."},
	}
}

func suppressed() *alert.Alert {
	a := user()
	a.Suppressed, a.SuppressedBy = true, "nightly maintenance of the plant"
	return a
}

func TestCards(t *testing.T) {
	for name, group := range map[string][]*alert.Alert{
		"user":              {user()},
		"service principal": {servicePrincipal()},
		"eviction":          {eviction()},
		"group of seven":    seven(),
		"hostile":           {every(hostile)},
		"huge":              huge(40, strings.Repeat("long value ", 100)),
		"feed":              {feed()},
		"suppressed":        {suppressed()},
		"nothing known":     {{}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := testCards().message(group)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, text, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			golden := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got.String(), string(want)); diff != "" {
				t.Errorf("the card is not that of %s; if it should be, run with -update (-got +want):\n%s", golden, diff)
			}
		})
	}
}

// TestEveryCardFits: whatever the alerts hold, the card is valid and within its
// size, says what it left out, and still tells which alert it is about.
func TestEveryCardFits(t *testing.T) {
	values := map[string]string{
		"latin": strings.Repeat("long value ", 100), "quotes": strings.Repeat(`"\`, 600), "astral": strings.Repeat("𝕏", 1000),
		"braces": strings.Repeat("{", 1000), "hostile": strings.Repeat(hostile, 4), "marks": strings.Repeat("e\u0301\u0302\u0303", 300), "empty": "", "blank": " \u200b ",
	}
	for name, v := range values {
		for _, n := range []int{1, 2, 300} {
			text, err := testCards().message(huge(n, v))
			if err != nil {
				t.Errorf("%s, %d alerts: %v", name, n, err)
			}
			if len(text) > MaxCard {
				t.Errorf("%s, %d alerts: %d bytes", name, n, len(text))
			}
			if n > 25 && !bytes.Contains(text, []byte(" more")) {
				t.Errorf("%s, %d alerts: the list is cut without a word", name, n)
			}
			if !bytes.Contains(text, []byte(`"guide"`)) && !bytes.Contains(text, []byte("Shortened to fit")) {
				t.Errorf("%s, %d alerts: something was left out without a word", name, n)
			}
		}
	}
}

// TestUntrustedTextIsInert looks for the traces of a hostile value in every text
// of a card: it may stand in runs only, in one line, with nothing invisible.
func TestUntrustedTextIsInert(t *testing.T) {
	text, err := testCards().message([]*alert.Alert{every(hostile), every(hostile + "2")})
	if err != nil {
		t.Fatal(err)
	}
	var m any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	runs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for name, e := range v {
				s, ok := e.(string)
				if !ok {
					walk(e)
					continue
				}
				for _, r := range s {
					if r != '\u200b' && r != '\r' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == '\u3164') {
						t.Errorf("%U stands in %s: %q", r, name, s)
					}
				}
				trace := strings.Contains(s, "evil") || strings.Contains(s, "gnp")
				if trace && v["type"] == "TextRun" {
					runs++
				}
				if trace && v["type"] != "TextRun" && name != "summary" {
					t.Errorf("a value stands in %s of a %v: %q", name, v["type"], s)
				}
				if v["type"] != "TextBlock" && strings.Contains(s, "{{") {
					t.Errorf("braces stand in %s: %q", name, s)
				}
			}
		}
	}
	walk(m)
	if runs < 20 {
		t.Errorf("the value stands in %d runs: is it shown at all?", runs)
	}
	if bytes.Contains(text, []byte("Action.OpenUrl")) {
		t.Error("a hostile link became a button")
	}
}

func TestLinksLeadToThePortalOnly(t *testing.T) {
	for address, want := range map[string]bool{
		"https://portal.azure.com/#resource/x":                    true,
		"http://portal.azure.com/":                                false,
		"https://portal.azure.com.evil.com/":                      false,
		"https://evil.com/portal.azure.com":                       false,
		"https://portal.azure.com@evil.com/":                      false,
		"https://u@portal.azure.com/":                             false,
		"https://portal.azure.com:8443/":                          false,
		"https://Portal.azure.com/":                               false,
		"javascript:alert(1)":                                     false,
		"//portal.azure.com/":                                     false,
		"https://portal.azure.com/ x":                             false,
		"https://portal.azure.com/\u202e":                         false,
		"https://portal.azure.com/{{DATE(x)}}":                    false,
		"":                                                        false,
		"https://portal.azure.com/" + strings.Repeat("x", maxURL): false,
	} {
		if got := portalURL(address, []string{"portal.azure.com"}); got != want {
			t.Errorf("portalURL(%.60q) = %t, want %t", address, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"plain":                            "plain",
		" a \t\r\n b\u00a0\u2003c ":        "a b c",
		"a\u2028b\u2029c\u0085d":           "a b c d",
		"a\x00b\x1bc\x7f":                  "a\ufffdb\ufffdc\ufffd",
		"\u202eabc\u2069":                  "\ufffdabc\ufffd",
		"ad\u200dmin\u200c":                "admin",
		"ad\u200bmin\ufeff":                "ad\ufffdmin\ufffd",
		"{{x}}":                            "{\u200b{x}}",
		"{{{{":                             "{\u200b{\u200b{\u200b{",
		"{ {":                              "{ {",
		"{\u200d{":                         "{\u200b{",
		"{\u200b{":                         "{\u200b{",
		"x\u0301\u0302\u0303\u0304\u0305y": "x\u0301\u0302\u0303y",
		"\u3164\u115f":                     "\ufffd\ufffd",
		"bad\xff":                          "bad\ufffd",
		"0123456789ABCDEFGHIJ":             "0123456789ABCDEFGHIJ",
		"0123456789ABCDEFGHIJK":            "0123456789AB…EFGHIJK",
		"äöüäöüäöüäöüäöüäöüäöüäöüäöü": "äöüäöüäöüäöü…üäöüäöü",
	} {
		got := plain(in, 20)
		if got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
		if again := plain(got, 20); again != got {
			t.Errorf("plain(%q) is not at rest: %q", got, again)
		}
	}
}

func TestGuide(t *testing.T) {
	var got []string
	for _, e := range guide("# One\nwrapped\nlines `code`\n\n- a\n  goes on\n* b ![p](https://x/p.png) [evil](http://x) [ok](https://x/y \"t\")\n\n## \n1. c\ntext {{DATE(x)}} {[{x](y)\n```sh\nrm {{x}}\n\n```\r\nend\x00") {
		switch {
		case e.Type == "RichTextBlock":
			got = append(got, "code: "+e.Inlines[0].Text)
		case e.Weight != "":
			got = append(got, "heading: "+e.Text)
		default:
			got = append(got, e.Text)
		}
	}
	want := []string{
		"heading: One", "wrapped lines code", "- a goes on\r- b p evil [ok](https://x/y)", "1. c", "text { {DATE(x)}} { {x", "code: rm { {x}}", "end",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("guide (-got +want):\n%s", diff)
	}
}

func TestLongGuideSaysSo(t *testing.T) {
	elements := guide(strings.Repeat("A paragraph of the guide.\n\n", 1000))
	size := 0
	for _, e := range elements {
		size += len(e.Text)
	}
	if last := elements[len(elements)-1]; size > maxGuide+100 || !strings.Contains(last.Text, "The rest") {
		t.Errorf("%d bytes, ending in %q", size, last.Text)
	}
}

// TestValidatorIsStrict breaks a good message in every way that the webhook
// would take without a word.
func TestValidatorIsStrict(t *testing.T) {
	text, err := testCards().message([]*alert.Alert{user()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, replacement string }{
		"no attachments":          {`"attachments":[`, `"attachment":[`},
		"another content type":    {"card.adaptive", "card.hero"},
		"a content URL":           {`"contentUrl":null`, `"contentUrl":"x"`},
		"no content URL":          {`"contentUrl":null,`, ``},
		"a newer version":         {`"version":"1.5"`, `"version":"1.6"`},
		"an unknown element":      {`"type":"RichTextBlock"`, `"type":"FactSet"`},
		"a member too many":       {`"wrap":true`, `"wrap":true,"url":"x"`},
		"text that does not wrap": {`"wrap":true`, `"wrap":false`},
		"an empty run":            {`"text":"Not expected: no exception covers it"`, `"text":""`},
		"braces in a run":         {`Not expected: `, `{{DATE(2026-11-09T08:14:22Z, SHORT)}}`},
		"braces in Markdown":      {`{{TIME(2026-11-09T08:14:22Z)}}`, `{{TIME(x)}}`},
		"a target not there":      {`"id":"details"`, `"id":"detail"`},
		"an id twice":             {`"id":"timeline"`, `"id":"details"`},
		"a foreign link":          {`https://portal.azure.com/#resource`, `https://portal.azure.net/#resource`},
		"a script":                {`"Action.OpenUrl"`, `"Action.Submit"`},
		"no summary":              {`"summary":"Azure`, `"summary":"","x":"Azure`},
		"a column too many":       {`"columns":[`, `"columns":[{"width":1},`},
		"not JSON":                {`{"type":"message"`, `"type":"message"`},
		"too large":               {`"version":"1.5"`, `"version":"` + strings.Repeat("x", MaxCard) + `"`},
	} {
		broken := strings.Replace(string(text), c.old, c.replacement, 1)
		if broken == string(text) {
			t.Errorf("%s: %q is not in the message", name, c.old)
		}
		if err := validate([]byte(broken), []string{"portal.azure.com"}); err == nil {
			t.Errorf("%s: the message counts as valid", name)
		}
	}
}

// FuzzCard: any alert and any guide make a card that is valid.
func FuzzCard(f *testing.F) {
	f.Add(hostile, "pod", "delete", testGuide(""), 2)
	f.Add("", "", "", "", 1)
	f.Add("{{", "{", "deletecollection", "# \n- \n```\n{{\n", 30)
	f.Add("\u200b", "\u2028", "eviction", "[{{](https://{{)", 3)
	f.Fuzz(func(t *testing.T, v, pod, kind, note string, n int) {
		group := make([]*alert.Alert, min(max(n, 1), 60))
		for i := range group {
			group[i] = every(v)
			group[i].Pod, group[i].DeletionKind = pod, kind
		}
		c := cards{portals: []string{"portal.azure.com"}, guide: func(string) string { return note }}
		if _, err := c.message(group); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCard(b *testing.B) {
	for name, group := range map[string][]*alert.Alert{"one": {user()}, "seven": seven(), "huge": huge(40, strings.Repeat("long value ", 100))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := testCards()
			for b.Loop() {
				if _, err := c.message(group); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
