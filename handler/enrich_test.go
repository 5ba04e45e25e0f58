package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
)

var update = flag.Bool("update", false, "write the golden files anew")

// detect posts message bodies in one invocation.
func (p *process) detect(t *testing.T, bodies ...string) {
	t.Helper()
	batch := invocation.Messages{Function: "Detect", Binding: "events"}
	for i, body := range bodies {
		batch.Messages = append(batch.Messages, invocation.Message{Body: []byte(body), Sequence: int64(i)})
	}
	p.invoke(t, "Detect", invocation.EncodeEvents(batch))
}

// raised are the alerts among the handler's output lines.
func raised(output string) (found []*alert.Alert) {
	for line := range strings.Lines(output) {
		if a, err := alert.Parse([]byte(line)); err == nil {
			found = append(found, a)
		}
	}
	return found
}

func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "records", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The golden file is for reading: one line for each sample that raises alerts,
// with who did it and to what.
func TestWhoDidWhatInEverySample(t *testing.T) {
	files, err := filepath.Glob("testdata/records/*.json")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	var got bytes.Buffer
	fmt.Fprintf(&got, "%-48s %-21s %-62s %-13s %s\n", "file", "CallerKind", "CallerName", "Namespace", "Pod")
	for _, file := range files {
		p := startHandler(t, nil)
		name := filepath.Base(file)
		p.detect(t, sample(t, name))
		for _, a := range raised(p.stop()) {
			fmt.Fprintf(&got, "%-48s %-21s %-62s %-13s %s\n", name, a.CallerKind, orDash(a.CallerName), orDash(a.Namespace), orDash(a.Pod))
		}
	}
	golden := filepath.Join("testdata", "who.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("who did what differs from %s (run with -update and review):\n%s", golden, got.Bytes())
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// A cloud answers as Microsoft Graph and Azure Resource Manager do.
type cloud struct {
	*httptest.Server
	graph, activity, tags atomic.Int32 // calls
	graphAnswers          http.HandlerFunc
	armAnswers            http.HandlerFunc
}

func startCloud(t *testing.T) *cloud {
	c := &cloud{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.Contains(r.URL.Path, "/directoryObjects/getByIds"):
			c.graph.Add(1)
			c.graphAnswers(w, r)
		case strings.Contains(strings.ToLower(r.URL.Path), "/providers/microsoft.insights/eventtypes"):
			c.activity.Add(1)
			c.armAnswers(w, r)
		case strings.Contains(strings.ToLower(r.URL.Path), "/managedclusters/"):
			c.tags.Add(1)
			c.armAnswers(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":{"code":"NotFound"}}`)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) settings() map[string]string {
	return map[string]string{"GRAPH_LOOKUPS": "on", "ACTIVITY_LOOKUPS": "on", "GRAPH_ENDPOINT": c.URL, "ARM_ENDPOINT": c.URL}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// deletions are n deletions of different pods by the service principal that is
// known by its object id only.
func deletions(t *testing.T, n int) []string {
	var bodies []string
	for i := range n {
		body := sample(t, "kube-delete-guest-user.json")
		bodies = append(bodies, strings.Replace(body, `\"auditID\":\"`, fmt.Sprintf(`\"auditID\":\"%d-`, i), 1))
	}
	return bodies
}

func TestAHundredAlertsOfOneCallerCostOneCallOfEachKind(t *testing.T) {
	c := startCloud(t)
	c.graphAnswers = func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ IDs []string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.IDs) != 1 {
			t.Errorf("Graph is asked for %v (%v), want one id", asked.IDs, err)
			return
		}
		fmt.Fprintf(w, `{"value":[{"@odata.type":"#microsoft.graph.user","id":%q,"displayName":"Robin Vale","userPrincipalName":"robin.vale_partner.example#EXT#@example.com","userType":"Guest","accountEnabled":true}]}`, asked.IDs[0])
	}
	c.armAnswers = func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(strings.ToLower(r.URL.Path), "eventtypes") {
			io.WriteString(w, `{"value":[]}`)
			return
		}
		io.WriteString(w, `{"tags":{"environment":"production"},"properties":{"tags":{"environment":"production"}}}`)
	}
	p := startHandler(t, c.settings())
	p.detect(t, deletions(t, 100)...)
	found := raised(p.stop())
	if len(found) != 100 {
		t.Fatalf("%d alerts, want 100", len(found))
	}
	if g, a, tags := c.graph.Load(), c.activity.Load(), c.tags.Load(); g != 1 || a != 1 || tags != 1 {
		t.Errorf("%d Graph, %d Activity Log and %d tag calls, want one of each", g, a, tags)
	}
	for _, a := range found {
		if a.CallerKind != "user" || !strings.Contains(a.CallerName, "robin.vale") || a.ResourceTags["environment"] != "production" {
			t.Fatalf("an alert says %s %q, tags %v, notes %q", a.CallerKind, a.CallerName, a.ResourceTags, a.Notes)
		}
	}
}

func TestAlertsGoOutWhateverGraphAndAzureAnswer(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // a server notices that the client left only after the body
		<-r.Context().Done()
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, test := range map[string]struct {
		graph, arm http.HandlerFunc
		notes      []string // parts of what the alert says is missing
	}{
		"forbidden": {answer(403, `{"error":{"code":"Authorization_RequestDenied"}}`), answer(403, `{"error":{"code":"AuthorizationFailed"}}`), []string{"Directory.Read.All", "Reader"}},
		"hanging":   {hang, hang, []string{"Graph", "Azure Resource Manager"}},
		"cut":       {cut, cut, []string{"Graph", "Azure Resource Manager"}},
		"throttled": {answer(429, `{}`), answer(429, `{}`), []string{"Graph", "Azure Resource Manager"}},
		"no JSON":   {answer(200, `<html>`), answer(200, `<html>`), []string{"Graph", "Azure Resource Manager"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCloud(t)
			c.graphAnswers, c.armAnswers = test.graph, test.arm
			p := startHandler(t, c.settings())
			p.detect(t, deletions(t, 1)[0])
			asked := c.graph.Load()
			second := strings.Replace(deletions(t, 1)[0], `\"auditID\":\"`, `\"auditID\":\"later-`, 1)
			p.detect(t, second)
			found := raised(p.stop())
			if len(found) != 2 {
				t.Fatalf("%d alerts, want 2", len(found))
			}
			for _, a := range found {
				for _, want := range test.notes {
					if !strings.Contains(strings.Join(a.Notes, "\n"), want) {
						t.Errorf("the alert does not say that %s is missing: %q", want, a.Notes)
					}
				}
			}
			if again := c.graph.Load(); again != asked {
				t.Errorf("Graph is called %d times more while its failure is remembered", again-asked)
			}
		})
	}
}
