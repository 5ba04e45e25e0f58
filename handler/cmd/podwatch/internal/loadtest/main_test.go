// Package loadtest shows bounds of the executable that runs in Azure: a storm of
// deletions is rows, few cards and one summary; bodies of any size and number stay
// below the memory that the docs promise.
//
// It starts the handler as the host does and posts invocations to it, with Azurite
// for storage and package inbox for Teams and Log Analytics. There is nothing here
// but tests.
package loadtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
)

// executable is the handler, built once.
var executable struct {
	sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if executable.path != "" {
		os.RemoveAll(filepath.Dir(executable.path))
	}
	os.Exit(code)
}

func build(t *testing.T) string {
	t.Helper()
	executable.Do(func() {
		dir, err := os.MkdirTemp("", "podwatch-load-")
		if err != nil {
			executable.err = err
			return
		}
		executable.path = filepath.Join(dir, "handler")
		if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", executable.path, "podwatch/handler").CombinedOutput(); err != nil {
			executable.err = fmt.Errorf("build the handler: %w\n%s", err, said)
		}
	})
	if executable.err != nil {
		t.Fatal(executable.err)
	}
	return executable.path
}

// A handler is a process with its sinks.
type handler struct {
	t     *testing.T
	inbox *inbox.Inbox
	url   string
	pid   int

	mu      sync.Mutex
	lines   []line
	invoked map[string]int // by function
}

// A line is what the handler logged.
type line struct {
	Level, Msg, Address, Function, Err string
	Counts                             app.Counts
}

// start starts the handler with sinks that answer as answer says, nil for well. It
// ends with the test.
func start(t *testing.T, answer func(inbox.Request) *inbox.Answer, settings ...string) *handler {
	t.Helper()
	h := &handler{t: t, invoked: map[string]int{}, inbox: inbox.New(inbox.Options{Keep: -1, Answer: answer})}
	page := httptest.NewServer(h.inbox)
	t.Cleanup(page.Close)
	cmd := exec.CommandContext(t.Context(), build(t))
	cmd.Env = append(os.Environ(), append([]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT=0", "EventHub=Endpoint=sb://ns.servicebus.windows.net;SharedAccessKeyName=n;SharedAccessKey=k",
		"EVENT_HUB_NAME=podwatch", "EVENT_HUB_CONSUMER_GROUP=$Default",
	}, settings...)...)
	for name, value := range inbox.Settings(page.URL) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.pid = cmd.Process.Pid
	listening, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		h.follow(out, listening)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	select {
	case address := <-listening:
		h.url = "http://" + address
	case <-read:
		t.Fatalf("the handler does not start: %+v", h.lines)
	}
	return h
}

// follow keeps the lines of the log.
func (h *handler) follow(out io.Reader, listening chan<- string) {
	lines := bufio.NewReader(out)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		l := line{Msg: string(text)}
		_ = json.Unmarshal(text, &l) // what is no JSON is its own message
		h.mu.Lock()
		h.lines = append(h.lines, l)
		h.mu.Unlock()
		if l.Msg == "listening" {
			listening <- l.Address
		}
	}
}

// log returns what was logged so far.
func (h *handler) log() []line {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines
}

// of returns the log lines of a function, one for each answered invocation.
func (h *handler) of(function string) (lines []line) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		lines = nil
		for _, l := range h.log() {
			if l.Function == function {
				lines = append(lines, l)
			}
		}
		h.mu.Lock()
		invoked := h.invoked[function]
		h.mu.Unlock()
		if len(lines) >= invoked {
			return lines
		}
		if time.Now().After(end) {
			h.t.Fatalf("%d lines of log for %d invocations of %s", len(lines), invoked, function)
		}
	}
}

// post invokes a function and returns the status and the alerts for the queue.
func (h *handler) post(function string, body io.Reader) (status int, undelivered []string) {
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+"/"+function, io.NopCloser(body))
	if err != nil {
		h.t.Error(err)
		return 0, nil
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	h.mu.Lock()
	h.invoked[function]++
	h.mu.Unlock()
	var reply struct {
		Outputs struct{ Undelivered []string }
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
			h.t.Error(err)
		}
	}
	return resp.StatusCode, reply.Outputs.Undelivered
}

// redeliver is the queue: it hands over alerts until each is taken, also those of which
// the claim of a request that failed must end first. It returns how many invocations
// that took.
func (h *handler) redeliver(alerts []string) (n int) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Minute); len(alerts) > 0; {
		var again []string
		for _, a := range alerts {
			n++
			if status, _ := h.post("Redeliver", bytes.NewReader(invocation.EncodeQueue(invocation.QueueItem{Function: "Redeliver", Binding: "alert", Text: a, DequeueCount: 1}))); status != http.StatusOK {
				again = append(again, a)
			}
		}
		if alerts = again; time.Now().After(end) {
			h.t.Fatalf("%d alerts are still in the queue", len(alerts))
		}
	}
	return n
}

// heartbeat invokes Heartbeat and returns how long it took, and whether it succeeded.
func (h *handler) heartbeat() (took time.Duration, ok bool) {
	now := time.Now()
	status, _ := h.post("Heartbeat", strings.NewReader(string(invocation.EncodeTimer("Heartbeat", "timer", now, now, now, "x"))))
	return time.Since(now), status == http.StatusOK
}

const cluster = "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-SHOP/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-SHOP"

// deletions encodes the invocation of n deletions, the first of them number from,
// by callers in turn.
func deletions(from, n, callers int) []byte {
	const each = 100
	in := invocation.Messages{Function: "Detect", Binding: "events"}
	for first := from; first < from+n; first += each {
		var records []string
		for i := first; i < min(first+each, from+n); i++ {
			pod := fmt.Sprintf("pod-%d", i)
			records = append(records, string(logtest.AuditRecord(cluster, time.Now(), event.KubeAudit{
				ID: pod, Stage: "ResponseComplete", Level: "Metadata", Verb: "delete", Code: 200, RequestURI: "/api/v1/namespaces/shop/pods/" + pod,
				User:      event.AuditUser{Name: fmt.Sprintf("user-%d@example.com", i%callers)},
				SourceIPs: []string{"203.0.113.24"}, Object: event.ObjectRef{Resource: "pods", Namespace: "shop", Name: pod},
			})))
		}
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(`{"records":[` + strings.Join(records, ",") + `]}`), Offset: "1"})
	}
	return invocation.EncodeEvents(in)
}
