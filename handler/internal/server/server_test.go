package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/server"
)

// fake is a pipeline of function fields; one that a test leaves unset panics,
// which the server must survive.
type fake struct {
	detect    func(*invocation.Events) *pipeline.Batch
	redeliver func(*alert.Alert) (pipeline.Counts, error)
	heartbeat func() (pipeline.Counts, error)
}

// A nil Scanner finds something in everything.
func (f fake) Begin() *prefilter.Search { return (*prefilter.Filter)(nil).Search(0) }
func (f fake) Curious() bool            { return false }
func (f fake) Wants(text []byte) bool   { return true }
func (f fake) DetectAmong(_ context.Context, in pipeline.Input) *pipeline.Batch {
	return f.detect(in.Events)
}
func (f fake) Redeliver(_ context.Context, a *alert.Alert) (pipeline.Counts, error) {
	return f.redeliver(a)
}
func (f fake) Heartbeat(context.Context) (pipeline.Counts, error) { return f.heartbeat() }

// start serves the pipeline and returns the address and the log.
func start(t *testing.T, p server.Pipeline) (string, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	s := httptest.NewServer(server.New(server.Options{
		Pipeline: p, BodyLimit: 1 << 20, Deadline: time.Minute, Log: slog.New(slog.NewJSONHandler(log, nil)),
	}))
	t.Cleanup(s.Close)
	return s.URL, log
}

// A reply is the host's view of an answer.
type reply struct {
	Outputs map[string]json.RawMessage
	Logs    []string
	Error   string
}

// post posts JSON and checks what holds for every answer: JSON, never empty.
func post(t *testing.T, url, body string) (int, reply) {
	t.Helper()
	response, err := http.Post(url, "application/json; charset=utf-8", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return read(t, response)
}

func read(t *testing.T, response *http.Response) (int, reply) {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type is %q: the host takes nothing but JSON", got)
	}
	var r reply
	if err := json.Unmarshal(text, &r); err != nil || len(text) == 0 || string(text) == "null" {
		t.Errorf("the answer %q would hang or fail the host: %v", text, err)
	}
	return response.StatusCode, r
}

const oneMessage = `{"Data":{"events":"[\"{}\"]"},"Metadata":{}}`

func TestDetectAnswersWithOutputs(t *testing.T) {
	url, log := start(t, fake{detect: func(*invocation.Events) *pipeline.Batch {
		return &pipeline.Batch{
			Counts:      pipeline.Counts{Messages: 1, Matches: 2},
			Undelivered: []*alert.Alert{{AlertId: "a1", RuleId: "r"}, {AlertId: "a2", RuleId: "r"}},
			Unreadable:  []pipeline.Unreadable{{Partition: "0", Sequence: 7, Reason: "broken", Text: "x"}},
		}
	}})
	status, r := post(t, url+"/Detect", oneMessage)
	if status != http.StatusOK {
		t.Fatalf("status is %d", status)
	}
	var queued []string
	if err := json.Unmarshal(r.Outputs["undelivered"], &queued); err != nil || len(queued) != 2 {
		t.Fatalf("the queue output is %s: the host takes an array of strings: %v", r.Outputs["undelivered"], err)
	}
	if a, err := alert.Parse([]byte(queued[1])); err != nil || a.AlertId != "a2" {
		t.Errorf("the second queued text is %q: %v", queued[1], err)
	}
	var blob string
	var pieces []map[string]any
	if err := json.Unmarshal(r.Outputs["unreadable"], &blob); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(blob), &pieces); err != nil || len(pieces) != 1 || pieces[0]["Reason"] != "broken" {
		t.Errorf("the blob is %q: %v", blob, err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), `"matches":2`) {
		t.Errorf("log is %q, want one line with the counts", log)
	}
}

func TestDetectSendsAnUnreadableEnvelopeAwayInsteadOfFailingForEver(t *testing.T) {
	url, _ := start(t, fake{})
	for _, body := range []string{"", "{", "null", "[]", `{"Data":{}}`, "\x00\xff", strings.Repeat("[", 100_000)} {
		status, r := post(t, url+"/Detect", body)
		if status != http.StatusOK || r.Outputs["unreadable"] == nil {
			t.Errorf("body %.20q: status %d, outputs %v; the host would send it again and again", body, status, r.Outputs)
		}
	}
}

func TestRedeliver(t *testing.T) {
	queue := func(text string) string {
		inner, _ := json.Marshal(text)
		outer, _ := json.Marshal(string(inner))
		return `{"Data":{"alert":` + string(outer) + `},"Metadata":{"DequeueCount":"3"}}`
	}
	queued := string((&alert.Alert{AlertId: "a1", RuleId: "r"}).JSON())
	for name, test := range map[string]struct {
		text   string
		err    error
		status int
		poison string // part of what goes to the poison queue
	}{
		"delivered":                {queued, nil, 200, ""},
		"to be tried again":        {queued, errors.New("teams is down"), 500, ""},
		"refused for good":         {queued, errors.Join(pipeline.ErrRejected, errors.New("the flow is gone")), 200, "the flow is gone"},
		"a message of someone":     {`{"hello":"world"}`, nil, 200, "hello"},
		"a message that is no one": {`not json`, nil, 200, "not json"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := start(t, fake{redeliver: func(a *alert.Alert) (pipeline.Counts, error) {
				if a.AlertId != "a1" {
					t.Errorf("alert %q arrives", a.AlertId)
				}
				return pipeline.Counts{}, test.err
			}})
			status, r := post(t, url+"/Redeliver", queue(test.text))
			if status != test.status {
				t.Errorf("status is %d, want %d", status, test.status)
			}
			if poison := string(r.Outputs["poison"]); (poison == "") != (test.poison == "") || !strings.Contains(poison, test.poison) {
				t.Errorf("the poison queue gets %q, want %q", poison, test.poison)
			}
		})
	}
}

func TestHeartbeatFailsTheInvocationWhenItCouldNotDoItsWork(t *testing.T) {
	var fails error
	url, _ := start(t, fake{heartbeat: func() (pipeline.Counts, error) { return pipeline.Counts{}, fails }})
	const timer = `{"Data":{"timer":{"IsPastDue":false}},"Metadata":{}}`
	if status, _ := post(t, url+"/Heartbeat", timer); status != 200 {
		t.Errorf("status is %d", status)
	}
	fails = errors.New("storage is down")
	if status, r := post(t, url+"/Heartbeat", timer); status != 500 || !strings.Contains(r.Error, "storage is down") {
		t.Errorf("status is %d, error %q", status, r.Error)
	}
}

func TestAPanicFailsTheInvocationAndNotTheProcess(t *testing.T) {
	url, log := start(t, fake{detect: func(*invocation.Events) *pipeline.Batch { panic("secret detail") }})
	status, r := post(t, url+"/Detect", oneMessage)
	if status != 500 || strings.Contains(r.Error, "secret detail") {
		t.Errorf("status is %d, error %q", status, r.Error)
	}
	if !strings.Contains(log.String(), "secret detail") || !strings.Contains(log.String(), "stack") {
		t.Errorf("the log does not say what broke: %s", log)
	}
	if response, err := http.Get(url + "/"); err != nil || response.StatusCode != 200 {
		t.Errorf("the server does not live on: %v", err)
	}
}

func TestRequestsThatAreNotTheHosts(t *testing.T) {
	url, _ := start(t, fake{detect: func(*invocation.Events) *pipeline.Batch { return &pipeline.Batch{} }})
	for name, test := range map[string]struct {
		method, path, contentType, body string
		status                          int
		says                            string
	}{
		"readiness":             {"GET", "/", "", "", 200, ""},
		"unknown function":      {"POST", "/Other", "application/json", "{}", 404, "Detect, Redeliver and Heartbeat"},
		"another casing":        {"POST", "/detect", "application/json", "{}", 404, ""},
		"a trailing slash":      {"POST", "/Detect/", "application/json", "{}", 404, ""},
		"a path to be cleaned":  {"POST", "//Detect", "application/json", "{}", 404, ""},
		"wrong method":          {"GET", "/Detect", "", "", 405, "POST"},
		"wrong content type":    {"POST", "/Detect", "text/plain", "{}", 415, "application/json"},
		"no content type":       {"POST", "/Detect", "", "{}", 415, ""},
		"a form":                {"POST", "/Detect", "application/x-www-form-urlencoded", "a=b", 415, ""},
		"body one byte too big": {"POST", "/Detect", "application/json", strings.Repeat(" ", 1<<20+1), 413, "BODY_LIMIT_MIB"},
		"body as big as may be": {"POST", "/Detect", "application/json", oneMessage + strings.Repeat(" ", 1<<20-len(oneMessage)), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequest(test.method, url+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.contentType)
			response, err := http.DefaultTransport.RoundTrip(request) // no redirects
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			status, r := read(t, response)
			if status != test.status || !strings.Contains(r.Error, test.says) {
				t.Errorf("status %d, error %q; want %d with %q", status, r.Error, test.status, test.says)
			}
		})
	}
}

func TestChunkedBodiesAreReadWholeAndBoundedToo(t *testing.T) {
	var got int
	url, _ := start(t, fake{detect: func(in *invocation.Events) *pipeline.Batch {
		got = len(in.Messages)
		return &pipeline.Batch{}
	}})
	chunked := func(body string) int {
		request, err := http.NewRequest("POST", url+"/Detect", io.MultiReader(strings.NewReader(body))) // no length known
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0 // the server closed the connection on a body that is too large
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	message, _ := json.Marshal(`["` + strings.Repeat("x", 300_000) + `","{}"]`)
	if status := chunked(`{"Data":{"events":` + string(message) + `},"Metadata":{}}`); status != 200 || got != 2 {
		t.Errorf("status %d with %d messages", status, got)
	}
	if status := chunked(strings.Repeat("x", 2<<20)); status != 413 && status != 0 {
		t.Errorf("status is %d, want 413", status)
	}
}

func TestHalfSentRequestsCostOnlyThemselves(t *testing.T) {
	url, _ := start(t, fake{detect: func(*invocation.Events) *pipeline.Batch { return &pipeline.Batch{} }})
	for _, half := range []string{
		"POST /Detect HTTP/1.1\r\nHost: x\r\n",
		"POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Data\"",
		"POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"Data\"",
		"\x16\x03\x01\x02\x00",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, half); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if status, _ := post(t, url+"/Detect", oneMessage); status != 200 {
			t.Errorf("after %q the next request gets %d", half, status)
		}
	}
}
