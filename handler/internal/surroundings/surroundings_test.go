package surroundings_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/outbound/outboundtest"
	"podwatch/handler/internal/surroundings"
)

const (
	subscription = "9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703"
	cluster      = "/subscriptions/" + subscription + "/resourceGroups/rg-aks-prod/providers/Microsoft.ContainerService/managedClusters/aks-shop-01"
	dana         = "dana.ortiz@example.com"
	danaID       = "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2"
	botID        = "71e3b9a8-4c60-4f12-8e9d-2d5c6b7a8f90"
	agentPool    = "Microsoft.ContainerService/managedClusters/agentPools/write"
	adminCred    = "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action"
)

// when is the time of the deletion in every test.
var when = time.Date(2026, 11, 9, 8, 14, 22, 0, time.UTC)

// question asks about a deletion on the cluster by dana.
func question() surroundings.Question {
	return surroundings.Question{Subscription: subscription, Cluster: cluster, Callers: []string{dana, danaID}, Time: when}
}

// logged is one element of the Activity Log service's answer.
func logged(before time.Duration, operation, resource, caller, status, correlation string) string {
	v := map[string]any{
		"eventTimestamp": when.Add(-before).Format("2006-01-02T15:04:05.0000000Z"),
		"operationName":  map[string]string{"value": operation, "localizedValue": operation},
		"resourceId":     resource, "status": map[string]string{"value": status}, "caller": caller, "correlationId": correlation,
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// An arm answers as Azure Resource Manager does.
type arm struct {
	pages  [][]string        // of the Activity Log
	tags   map[string]string // JSON by lower-case resource id
	before func(w http.ResponseWriter, r *http.Request) (answered bool)

	mu    sync.Mutex
	calls []*url.URL
}

func (a *arm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.calls = append(a.calls, r.URL)
	a.mu.Unlock()
	if a.before != nil && a.before(w, r) {
		return
	}
	path := strings.ToLower(r.URL.Path)
	switch {
	case strings.HasSuffix(path, "/providers/microsoft.insights/eventtypes/management/values"):
		n := 0
		fmt.Sscan(r.URL.Query().Get("$skiptoken"), &n)
		next := ""
		if n+1 < len(a.pages) {
			next = fmt.Sprintf(`,"nextLink":"http://%s%s?api-version=2015-04-01&$skiptoken=%d"`, r.Host, r.URL.Path, n+1)
		}
		var page []string
		if n < len(a.pages) {
			page = a.pages[n]
		}
		fmt.Fprintf(w, `{"value":[%s]%s}`, strings.Join(page, ","), next)
	case strings.HasSuffix(path, "/providers/microsoft.resources/tags/default"):
		if t, ok := a.tags[strings.TrimSuffix(path, "/providers/microsoft.resources/tags/default")]; ok {
			fmt.Fprintf(w, `{"properties":{"tags":%s}}`, t)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"code":"ResourceNotFound"}}`)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

// count is how many calls went to addresses that contain part.
func (a *arm) count(part string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, u := range a.calls {
		if strings.Contains(strings.ToLower(u.Path), part) {
			n++
		}
	}
	return n
}

func serve(t *testing.T, a *arm, now func() time.Time) *surroundings.Surroundings {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return surroundings.New(outboundtest.Client(t, "Azure Resource Manager", server.URL), now, slog.New(slog.DiscardHandler))
}

// soon is a moment after the deletion.
func soon() time.Time { return when.Add(time.Minute) }

// look asks one question.
func look(t *testing.T, s *surroundings.Surroundings, r surroundings.Question, batch ...surroundings.Operation) surroundings.Answer {
	t.Helper()
	return s.Look(t.Context(), []surroundings.Question{r}, batch)[0]
}

// lines shows a timeline as a reader would tell it.
func lines(timeline []alert.TimelineEntry) []string {
	var out []string
	for _, e := range timeline {
		out = append(out, fmt.Sprintf("-%s %s %s: %s, %s [%s]", when.Sub(e.Time), e.Caller, e.Operation, e.Target, e.Outcome, e.Relation))
	}
	return out
}

func TestLook(t *testing.T) {
	a := &arm{
		pages: [][]string{{
			logged(1*time.Minute, agentPool, cluster+"/agentPools/nodepool1", botID, "Succeeded", "c1"),
			logged(2*time.Minute, agentPool, strings.ToUpper(cluster+"/agentPools/nodepool1"), botID, "Accepted", "c1"),
			logged(2*time.Minute, agentPool, cluster+"/agentPools/nodepool1", botID, "Started", "c1"),
			logged(3*time.Minute, "Microsoft.Storage/storageAccounts/listKeys/action", "/subscriptions/"+subscription+"/resourceGroups/rg-other/providers/Microsoft.Storage/storageAccounts/st1", "DANA.ORTIZ@example.com", "Succeeded", "c2"),
		}, {
			logged(10*time.Minute, adminCred, cluster, dana, "Succeeded", "c3"),
			logged(11*time.Minute, "Microsoft.Storage/storageAccounts/write", "/subscriptions/"+subscription+"/resourceGroups/rg-other/providers/Microsoft.Storage/storageAccounts/st2", botID, "Succeeded", "c4"), // neither
			logged(26*time.Minute, adminCred, cluster, dana, "Succeeded", "c5"),                          // too early
			logged(-time.Minute, adminCred, cluster, dana, "Succeeded", "c6"),                            // after
			logged(5*time.Minute, agentPool, cluster+"0/agentPools/nodepool1", botID, "Succeeded", "c7"), // of another cluster
			logged(6*time.Minute, "Microsoft.Resources/deployments/write", "/subscriptions/"+subscription+"/resourceGroups/RG-AKS-PROD/providers/Microsoft.Resources/deployments/main", botID, "Failed", "c8"),
			`{"operationName":7}`, `null`, // not events
		}},
		tags: map[string]string{strings.ToLower(cluster): `{"environment":"prod","owner":"[x](http://evil)"}`},
	}
	got := look(t, serve(t, a, soon), question())
	if diff := cmp.Diff([]string{
		"-10m0s dana.ortiz@example.com pulled the cluster admin credential: aks-shop-01, succeeded [both]",
		"-6m0s " + botID + " deployed resources: main, failed [cluster]",
		"-3m0s DANA.ORTIZ@example.com called list keys on storage accounts (Microsoft.Storage): st1, succeeded [caller]",
		"-2m0s " + botID + " created, scaled or upgraded a node pool: aks-shop-01/nodepool1, succeeded [cluster]",
	}, lines(got.Timeline)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if want := "May be explained by what happened 2 minutes before: " + botID + " created, scaled or upgraded a node pool (aks-shop-01/nodepool1)"; got.Explanation != want {
		t.Errorf("explanation %q, want %q", got.Explanation, want)
	}
	if diff := cmp.Diff(map[string]string{"environment": "prod", "owner": "[x](http://evil)"}, got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if len(got.Notes) != 0 {
		t.Errorf("notes %q", got.Notes)
	}

	first := a.calls[slices.IndexFunc(a.calls, func(u *url.URL) bool { return strings.Contains(u.Path, "eventtypes") })].Query()
	if got, want := first.Get("$filter"), "eventTimestamp ge '2026-11-09T07:45:00Z' and eventTimestamp le '2026-11-09T08:15:00Z'"; got != want {
		t.Errorf("filter %q, want %q", got, want)
	}
	if first.Get("$select") == "" || first.Get("api-version") != "2015-04-01" {
		t.Errorf("query %v", first)
	}
}

func TestHundredAlertsCostOneCallEach(t *testing.T) {
	a := &arm{pages: [][]string{{logged(time.Minute, adminCred, cluster, dana, "Succeeded", "c1")}}, tags: map[string]string{strings.ToLower(cluster): `{}`}}
	s := serve(t, a, soon)
	var questions []surroundings.Question
	for i := range 100 {
		r := question()
		r.Time = when.Add(time.Duration(i) * 5 * time.Second)
		r.Cluster = strings.ToUpper(r.Cluster[:20]) + r.Cluster[20:]
		questions = append(questions, r)
	}
	for round := range 2 { // the second is answered from the cache
		for i, res := range s.Look(t.Context(), questions, nil) {
			if len(res.Timeline) != 1 || len(res.Notes) != 0 {
				t.Fatalf("result %d is %+v", i, res)
			}
		}
		if got, tags := a.count("eventtypes"), a.count("tags"); got != 1 || tags != 1 {
			t.Errorf("round %d: %d Activity Log calls and %d for tags, want 1 and 1", round, got, tags)
		}
	}
}

func TestListingsExpire(t *testing.T) {
	now := when.Add(time.Minute)
	a := &arm{}
	s := serve(t, a, func() time.Time { return now })
	for _, step := range []struct {
		after time.Duration
		calls int
	}{
		{0, 1},
		{50 * time.Second, 1},
		{70 * time.Second, 2}, // recent: more may have come in
		{2 * time.Hour, 3},
		{2*time.Hour + 9*time.Minute, 3},
		{2*time.Hour + 11*time.Minute, 4},
	} {
		now = when.Add(time.Minute + step.after)
		look(t, s, question())
		if got := a.count("eventtypes"); got != step.calls {
			t.Errorf("%d calls after %v, want %d", got, step.after, step.calls)
		}
	}
}

func TestFarTimesAreSeparateWindows(t *testing.T) {
	a := &arm{tags: map[string]string{strings.ToLower(cluster): `{}`}}
	s := serve(t, a, soon)
	var questions []surroundings.Question
	for i := range 6 {
		r := question()
		r.Time = when.Add(time.Duration(i) * 24 * time.Hour)
		questions = append(questions, r)
	}
	results := s.Look(t.Context(), questions, nil)
	if got := a.count("eventtypes"); got != 4 {
		t.Errorf("%d calls, want no more than 4", got)
	}
	want := []string{"recent operations not looked up: the batch spans too many subscriptions or hours"}
	if results[0].Notes != nil || !slices.Equal(results[5].Notes, want) {
		t.Errorf("notes %q and %q", results[0].Notes, results[5].Notes)
	}
}

func TestLongLogIsBounded(t *testing.T) {
	a := &arm{}
	for i := range 20 {
		a.pages = append(a.pages, []string{logged(time.Duration(i)*time.Second, adminCred, cluster, dana, "Succeeded", fmt.Sprint(i))})
	}
	got := look(t, serve(t, a, soon), question())
	if n := a.count("eventtypes"); n != 5 {
		t.Errorf("%d pages read, want 5", n)
	}
	if diff := cmp.Diff([]string{"-0s dana.ortiz@example.com pulled the cluster admin credential (5 times): aks-shop-01, succeeded [both]"}, lines(got.Timeline)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if !slices.Contains(got.Notes, "the subscription's Activity Log of that time is longer than podwatch reads: older operations may be missing") {
		t.Errorf("notes %q", got.Notes)
	}
}

// TestFailures holds that a failure costs what it hides and no more, and that
// the note names what would help.
func TestFailures(t *testing.T) {
	const service = "Azure Resource Manager "
	answer := func(status int, body string, headers ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		log    string
		tags   string
	}{
		"forbidden": {
			answer(403, `{"error":{"code":"AuthorizationFailed","message":"no"}}`),
			service + "refused the request (HTTP 403 AuthorizationFailed); podwatch's identity needs Reader or Monitoring Reader on subscription " + subscription,
			service + "refused the request (HTTP 403 AuthorizationFailed); podwatch's identity needs Reader on the cluster",
		},
		"throttled": {answer(429, ``, "Retry-After", "60"), service + "asked podwatch to wait (HTTP 429)", service + "asked podwatch to wait (HTTP 429)"},
		"gone":      {answer(404, `{"error":{"code":"SubscriptionNotFound"}}`), service + "does not know it (HTTP 404 SubscriptionNotFound)", service + "does not know it (HTTP 404 SubscriptionNotFound)"},
		"cut":       {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, service + "did not answer: the connection was closed", service + "did not answer: the connection was closed"},
		"bad JSON":  {answer(200, `{"value":[`), service + "gave an unreadable answer: not the expected JSON", service + "gave an unreadable answer: not the expected JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &arm{before: func(w http.ResponseWriter, _ *http.Request) bool { tt.answer(w); return true }}
			s := serve(t, a, soon)
			inBatch := operations(t, record(adminCred, cluster, "Success", "c1", time.Minute, `{"upn":"`+dana+`"}`))[0]
			got := look(t, s, question(), inBatch)
			if want := []string{"recent operations not looked up: " + tt.log, "the cluster's tags are not known: " + tt.tags}; !slices.EqualFunc(got.Notes, want, strings.HasPrefix) { // one may have paused the other
				t.Errorf("notes %q, want %q", got.Notes, want)
			}
			if len(got.Timeline) != 1 {
				t.Errorf("timeline %v, want what the batch held", got.Timeline)
			}
			if name == "gone" { // an answer, not a failure: asked again
				return
			}
			before := a.count("")
			if got = look(t, s, question()); a.count("") != before {
				t.Errorf("%d calls while the failure is remembered", a.count("")-before)
			}
			if len(got.Notes) != 2 || !strings.Contains(got.Notes[0], "no new attempt before") {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}

func TestHalfAnAnswerIsUsed(t *testing.T) {
	for name, next := range map[string]string{
		"the second page fails":              "",
		"the second page is on another host": "http://127.0.0.1:1/values",
	} {
		t.Run(name, func(t *testing.T) {
			a := &arm{tags: map[string]string{strings.ToLower(cluster): `{}`}}
			a.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "eventtypes") {
					return false
				}
				if r.URL.Query().Has("page") {
					w.WriteHeader(http.StatusForbidden)
					return true
				}
				link := next
				if link == "" {
					link = "http://" + r.Host + r.URL.Path + "?page=2"
				}
				fmt.Fprintf(w, `{"value":[%s],"nextLink":%q}`, logged(time.Minute, adminCred, cluster, dana, "Succeeded", "c1"), link)
				return true
			}
			got := look(t, serve(t, a, soon), question())
			if len(got.Timeline) != 1 || len(got.Notes) != 1 || !strings.HasPrefix(got.Notes[0], "only a part of the recent operations was read: Azure Resource Manager ") {
				t.Errorf("timeline %v, notes %q", lines(got.Timeline), got.Notes)
			}
		})
	}
}

func TestSelectionRefused(t *testing.T) {
	a := &arm{pages: [][]string{{logged(time.Minute, adminCred, cluster, dana, "Succeeded", "c1")}}, tags: map[string]string{strings.ToLower(cluster): `{}`}}
	a.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("$select") {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	}
	if got := look(t, serve(t, a, soon), question()); len(got.Timeline) != 1 || len(got.Notes) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestSlowServiceCostsTheBudgetOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := outboundtest.Client(t, "Azure Resource Manager", "http://127.0.0.1")
		c.Transport = outboundtest.Hanging{}
		began := time.Now()
		s := surroundings.New(c, func() time.Time { return when.Add(time.Since(began)) }, slog.New(slog.DiscardHandler))
		for i, want := range []time.Duration{2 * time.Second, 0} {
			start := time.Now()
			got := look(t, s, question())
			if took := time.Since(start); took != want {
				t.Errorf("look %d took %v, want %v", i, took, want)
			}
			if len(got.Notes) != 2 || !strings.HasPrefix(got.Notes[0], "recent operations not looked up: Azure Resource Manager could not be reached: timed out") {
				t.Errorf("notes %q", got.Notes)
			}
		}
		time.Sleep(2 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		s.Look(ctx, []surroundings.Question{question()}, nil)
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("took %v, want no longer than the invocation's 300ms", took)
		}
	})
}

func TestIDsFromRecordsStayInTheirPlace(t *testing.T) {
	a := &arm{}
	s := serve(t, a, soon)
	for _, id := range []string{
		"/subscriptions/" + subscription + "/resourceGroups/../providers/Microsoft.X/y/z",
		"/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.X/y/z?api-version=1",
		"/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.X/y/a/b/c",
		"/subscriptions/" + subscription + "/resourceGroups/rg%2f/providers/Microsoft.X/y/z",
		"//evil.example/x", "x",
	} {
		got := look(t, s, surroundings.Question{Subscription: "../../" + subscription, Cluster: id, Time: when})
		if want := []string{"the cluster's tags were not looked up: its resource id is not of the usual form"}; !slices.Equal(got.Notes, want) {
			t.Errorf("%q: notes %q, want %q", id, got.Notes, want)
		}
	}
	if n := a.count(""); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestTagsAreCached(t *testing.T) {
	now := when
	a := &arm{}
	s := serve(t, a, func() time.Time { return now })
	for range 2 {
		got := look(t, s, surroundings.Question{Cluster: cluster, Time: when})
		if want := []string{"the cluster's tags are not known: Azure Resource Manager does not know it (HTTP 404 ResourceNotFound)"}; !slices.Equal(got.Notes, want) {
			t.Errorf("notes %q, want %q", got.Notes, want)
		}
	}
	if n := a.count("tags"); n != 1 {
		t.Errorf("%d calls for a cluster that is not there, want 1", n)
	}
	a.tags = map[string]string{strings.ToLower(cluster): `{"a":"b"}`}
	now = now.Add(11 * time.Minute)
	one, two := look(t, s, surroundings.Question{Cluster: cluster, Time: when}), look(t, s, surroundings.Question{Cluster: cluster, Time: when})
	one.Tags["a"] = "changed"
	if two.Tags["a"] != "b" || a.count("tags") != 2 {
		t.Errorf("tags %v after %d calls", two.Tags, a.count("tags"))
	}
}

func TestLookConcurrently(t *testing.T) {
	a := &arm{pages: [][]string{{logged(time.Minute, adminCred, cluster, dana, "Succeeded", "c1")}}, tags: map[string]string{strings.ToLower(cluster): `{"a":"b"}`}}
	s := serve(t, a, soon)
	batch := operations(t, record(agentPool, cluster, "Success", "c1", 0, `{}`))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := question()
			r.Time = when.Add(time.Duration(i) * time.Hour)
			for range 10 {
				s.Look(context.Background(), []surroundings.Question{question(), r}, batch)
			}
		})
	}
	wg.Wait()
}

// operations reads records, JSON objects; those without a place in a timeline are
// left out.
func operations(t *testing.T, records ...string) []surroundings.Operation {
	t.Helper()
	var all []surroundings.Operation
	for _, record := range records {
		ev, err := event.Read([]byte(record), 0)
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := surroundings.FromEvent(ev); ok {
			all = append(all, o)
		}
	}
	return all
}

// TestFromEventsChoosesTheFirstOperations, and passes over what is none.
func TestFromEventsChoosesTheFirstOperations(t *testing.T) {
	read := 0
	all := surroundings.FromEvents(func(yield func(*event.Event) bool) {
		for i := range 300 {
			text := record(agentPool, cluster, "Success", fmt.Sprint("c", i), time.Duration(i)*time.Second, "{}")
			if i%3 == 0 {
				text = `{"time":"2026-11-09T08:14:22Z","category":"AuditLogs","operationName":"Add user"}`
			}
			ev, err := event.Read([]byte(text), 0)
			if err != nil {
				t.Fatal(err)
			}
			read++
			if !yield(ev) {
				return
			}
		}
	})
	byTime := slices.IsSortedFunc(all, func(a, b surroundings.Operation) int { return a.Time.Compare(b.Time) })
	if len(all) != 50 || read != 75 || !byTime || all[len(all)-1].CorrelationID != "c1" {
		t.Errorf("%d operations of %d events, in the order of time: %t", len(all), read, byTime)
	}
}

func record(operation, resource, resultType, correlation string, before time.Duration, claims string) string {
	return fmt.Sprintf(`{"time":%q,"category":"Administrative","operationName":%q,"resourceId":%q,"resultType":%q,"correlationId":%q,"identity":{"claims":%s}}`,
		when.Add(-before).Format(time.RFC3339Nano), operation, resource, resultType, correlation, claims)
}

// TestBatchIsUsedWithoutAsking holds what arrives together against each kind of
// caller.
func TestBatchIsUsedWithoutAsking(t *testing.T) {
	user := `{"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"` + dana + `","appid":"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}`
	app := `{"http://schemas.microsoft.com/identity/claims/objectidentifier":"` + botID + `","appid":"e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21"}`
	stranger := `{"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"lee@example.com","appid":"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}`
	elsewhere := "/SUBSCRIPTIONS/" + strings.ToUpper(subscription) + "/RESOURCEGROUPS/RG-X/PROVIDERS/MICROSOFT.STORAGE/STORAGEACCOUNTS/ST1"
	batch := operations(t,
		record(strings.ToUpper(adminCred), strings.ToUpper(cluster), "Start", "c1", 3*time.Minute, `{}`),
		record(strings.ToUpper(adminCred), strings.ToUpper(cluster), "Success", "c1", 2*time.Minute, user),
		record("MICROSOFT.STORAGE/STORAGEACCOUNTS/WRITE", elsewhere, "Success", "c2", time.Minute, stranger), // same tool, another person
		record("MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", elsewhere, "Failure", "c3", time.Minute, app),
		record("MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", cluster, "Success", "self", 0, user), // the alert's own event
		`{"metricName":"x","time":"2026-11-09T08:14:22Z"}`,
	)
	person := surroundings.Question{
		Subscription: subscription, Cluster: cluster, Time: when, CorrelationID: "self", Operation: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",
		Callers: caller.Caller{Kind: "user", Name: dana, ID: danaID, AppID: "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}.Names(),
	}
	bot := surroundings.Question{Time: when, Callers: caller.Caller{Kind: "servicePrincipal", AppID: "e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21"}.Names()}
	// An application with the id of a tool: what people did with the tool is not its doing.
	tool := surroundings.Question{Time: when, Callers: caller.Caller{Kind: "servicePrincipal", AppID: "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}.Names()}
	answers := new(surroundings.Surroundings).Look(t.Context(), []surroundings.Question{person, bot, tool}, batch)

	if diff := cmp.Diff([]string{
		"-3m0s dana.ortiz@example.com pulled the cluster admin credential: AKS-SHOP-01, succeeded [both]",
	}, lines(answers[0].Timeline)); diff != "" {
		t.Errorf("timeline of the person (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-1m0s " + botID + " called listkeys on storageaccounts (microsoft.storage): ST1, failed [caller]"}, lines(answers[1].Timeline)); diff != "" {
		t.Errorf("timeline of the application (-want +got):\n%s", diff)
	}
	if len(answers[2].Timeline) != 0 {
		t.Errorf("timeline of the tool %v, want none", lines(answers[2].Timeline))
	}
	if n := len(answers[0].Notes) + len(answers[1].Notes); n != 0 {
		t.Errorf("notes %q and %q", answers[0].Notes, answers[1].Notes)
	}
}

// TestClaimsOfTheService: an answer of the service is read as an event, so its caller
// is what package caller makes of the same claims.
func TestClaimsOfTheService(t *testing.T) {
	withClaims := strings.Replace(logged(time.Minute, adminCred, cluster, botID, "Succeeded", "c1"), `"caller":`, `"claims":{"appid":"e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21","http://schemas.microsoft.com/identity/claims/objectidentifier":"`+botID+`"},"caller":`, 1)
	a := &arm{pages: [][]string{{withClaims}}, tags: map[string]string{strings.ToLower(cluster): `{}`}}
	// Claims that are none leave the service's own name for the caller.
	a.pages[0] = append(a.pages[0], strings.Replace(logged(2*time.Minute, agentPool, cluster, dana, "Succeeded", "c2"), `"caller":`, `"claims":"none","caller":`, 1))
	q := question()
	q.Callers = []string{"e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21"}
	if diff := cmp.Diff([]string{
		"-2m0s " + dana + " created, scaled or upgraded a node pool: aks-shop-01, succeeded [cluster]",
		"-1m0s " + botID + " pulled the cluster admin credential: aks-shop-01, succeeded [both]",
	}, lines(look(t, serve(t, a, soon), q).Timeline)); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}

// TestOneSubscriptionsFaultIsItsOwn holds that another subscription, and after a
// fault of one window or link the next window, are looked up all the same.
func TestOneSubscriptionsFaultIsItsOwn(t *testing.T) {
	const other = "11111111-7c35-4d8a-8f20-6ad1c2e9b703"
	elsewhere, later := question(), question()
	elsewhere.Subscription, elsewhere.Cluster = other, strings.ReplaceAll(cluster, subscription, other)
	later.Time = when.Add(2 * time.Hour)
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		next   surroundings.Question
	}{
		"throttled":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, elsewhere},
		"broken":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, elsewhere},
		"cut":             {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, elsewhere},
		"a bad question":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, later},
		"a broken answer": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, later},
		"a broken link": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("page") {
				w.WriteHeader(500)
				return
			}
			fmt.Fprintf(w, `{"value":[],"nextLink":"http://%s%s?page=2"}`, r.Host, r.URL.Path)
		}, later},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fault atomic.Bool
			fault.Store(true)
			a := &arm{tags: map[string]string{strings.ToLower(cluster): `{"a":"b"}`, strings.ToLower(elsewhere.Cluster): `{"a":"b"}`}}
			a.before = func(w http.ResponseWriter, r *http.Request) bool {
				if fault.Load() && strings.Contains(r.URL.Path, "eventtypes") {
					tt.answer(w, r)
					return true
				}
				return false
			}
			s := serve(t, a, func() time.Time { return when.Add(3 * time.Hour) })
			if got := look(t, s, question()); len(got.Notes) == 0 {
				t.Fatalf("got %+v, want a note", got)
			}
			fault.Store(false)
			if got := look(t, s, tt.next); len(got.Notes) != 0 || got.Tags["a"] != "b" {
				t.Errorf("the next look-up gives tags %v and notes %q", got.Tags, got.Notes)
			}
		})
	}
}

// TestNothingIsAskedBeyondTheLogsMemory: the service refuses questions beyond 90 days.
func TestNothingIsAskedBeyondTheLogsMemory(t *testing.T) {
	a := &arm{tags: map[string]string{strings.ToLower(cluster): `{}`}}
	s := serve(t, a, func() time.Time { return when.Add(90 * 24 * time.Hour) })
	if got := look(t, s, question()); a.count("eventtypes") != 0 || !slices.Equal(got.Notes, []string{"recent operations not looked up: the Activity Log keeps 90 days"}) {
		t.Errorf("%d calls, notes %q", a.count("eventtypes"), got.Notes)
	}
}
