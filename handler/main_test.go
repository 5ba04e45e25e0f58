package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/invocation"
)

// A process is the handler run in this process, listening on a port that the
// system chose, with its output.
type process struct {
	url   string
	ended chan error
	stop  func() string // ends it and returns all output
}

// A lockedBuffer is an output that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var listening = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

// startHandler runs the handler with the settings and waits until it listens.
func startHandler(t *testing.T, settings map[string]string) *process {
	t.Helper()
	out := new(lockedBuffer)
	p := launch(t, settings, out)
	p.await(t, out, `"msg":"listening"`)
	p.url = "http://" + listening.FindStringSubmatch(out.String())[1]
	return p
}

// launch runs the handler with the settings, by default on a port that the system
// chooses.
func launch(t *testing.T, settings map[string]string, out *lockedBuffer) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := func(name string) string {
		if name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
			return cmp.Or(settings[name], "0")
		}
		return settings[name]
	}
	dir := t.TempDir()
	go func() { ended <- run(ctx, getenv, dir, out) }()
	p := &process{ended: ended, stop: func() string {
		cancel()
		if err := <-ended; !errors.Is(err, errStopped) {
			t.Errorf("the handler ended with %v", err)
		}
		ended <- errStopped
		return out.String()
	}}
	t.Cleanup(func() { p.stop() })
	return p
}

// await waits until the output has a text.
func (p *process) await(t *testing.T, out *lockedBuffer, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), text); {
		select {
		case err := <-p.ended:
			p.ended <- err
			t.Fatalf("the handler ended with %v before its output has %q", err, text)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the output: %s", text, out)
		}
	}
}

// invoke posts one invocation and returns the reply's outputs.
func (p *process) invoke(t *testing.T, function string, body []byte) map[string]json.RawMessage {
	t.Helper()
	response, err := http.Post(p.url+"/"+function, "application/json; charset=utf-8", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var reply struct{ Outputs map[string]json.RawMessage }
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" || json.Unmarshal(text, &reply) != nil {
		t.Fatalf("%s answers %d %s %q", function, response.StatusCode, response.Header.Get("Content-Type"), text)
	}
	return reply.Outputs
}

// alerts are the alerts among the handler's output lines.
func alerts(output string) (ids []string) {
	for line := range strings.Lines(output) {
		var a struct{ AlertId string }
		if json.Unmarshal([]byte(line), &a) == nil && a.AlertId != "" {
			ids = append(ids, a.AlertId)
		}
	}
	return ids
}

// TestEveryInvocationOfTheHostIsAnswered posts what the real host posted, also what
// podwatch does not read.
func TestEveryInvocationOfTheHostIsAnswered(t *testing.T) {
	p := startHandler(t, nil)
	for file, function := range map[string]string{
		"eventhub-many-string.json":  "Detect",
		"eventhub-admin.json":        "Detect",
		"eventhub-many-untyped.json": "Detect",
		"eventhub-many-binary.json":  "Detect",
		"eventhub-one.json":          "Detect",
		"timer.json":                 "Heartbeat",
	} {
		body, err := os.ReadFile(filepath.Join("internal", "invocation", "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		p.invoke(t, function, body)
	}
	p.invoke(t, "Redeliver", invocation.EncodeQueue(invocation.QueueItem{
		Function: "Redeliver", Binding: "alert", Text: `{"AlertId":"1","RuleId":"r"}`, ID: "1", PopReceipt: "p", DequeueCount: 1,
	}))
}

func TestTheStartLogHasTheVersion(t *testing.T) {
	out := startHandler(t, nil).stop()
	if !regexp.MustCompile(`"msg":"listening".*"version":"devel","commit":"unknown","go":"go1\.`).MatchString(out) {
		t.Errorf("the start log lacks version, commit or Go version: %s", out)
	}
}

// expected is how many alerts a sample is to raise, by the index's words.
func expected(t *testing.T, expect string) int {
	t.Helper()
	switch {
	case expect == "match", expect == "match-if-case-insensitive", expect == "match-if-salvaged", strings.HasPrefix(expect, "match:1"), expect == "indirect":
		return 1
	case strings.HasPrefix(expect, "match:2"):
		return 2
	case expect == "no-match", expect == "routine", expect == "indirect-routine", expect == "ambiguous":
		// Ambiguous is the record with two operation names: the last one counts,
		// as in every JSON decoder, and it is another operation.
		return 0
	}
	t.Fatalf("the index says %q", expect)
	return 0
}

func TestEverySampleRecordRaisesWhatItShould(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "records-index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Files []struct{ File, Expect, Note string }
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	for _, sample := range index.Files {
		t.Run(sample.File, func(t *testing.T) {
			message, err := os.ReadFile(filepath.Join("testdata", "records", sample.File))
			if err != nil {
				t.Fatal(err)
			}
			body := invocation.EncodeEvents(invocation.Messages{
				Function: "Detect", Binding: "events",
				Messages: []invocation.Message{{Body: message, Sequence: 1}},
			})
			p := startHandler(t, nil)
			p.invoke(t, "Detect", body)
			if got, want := len(alerts(p.stop())), expected(t, sample.Expect); got != want {
				t.Errorf("%d alerts, want %d (%s: %s)", got, want, sample.Expect, sample.Note)
			}
		})
	}
}

func TestTheHandlerRefusesToStartAndSaysWhy(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(broken, []byte("[rule]\nname = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		settings map[string]string
		want     string
	}{
		"a wrong setting":        {map[string]string{"GRAPH_LOOKUPS": "yes"}, "GRAPH_LOOKUPS"},
		"a broken rule":          {map[string]string{"RULES_DIR": broken}, "broken.toml:"},
		"a broken exception":     {map[string]string{"EXCEPTIONS_FILE": broken}, "exceptions are wrong"},
		"a webhook without sig":  {map[string]string{"TEAMS_WEBHOOK_URL": "https://prod-1.westeurope.logic.azure.com/workflows/1"}, "TEAMS_WEBHOOK_URL"},
		"a webhook of elsewhere": {map[string]string{"TEAMS_WEBHOOK_URL": "https://evil.example.com/?sig=s3cr3t"}, "TEAMS_WEBHOOK_URL"},
		"a broken storage text":  {map[string]string{"AzureWebJobsStorage": "AccountKey=s3cr3t"}, "AzureWebJobsStorage"},
	} {
		t.Run(name, func(t *testing.T) {
			var out lockedBuffer
			getenv := func(name string) string {
				if name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
					return "0"
				}
				return test.settings[name]
			}
			err := run(t.Context(), getenv, t.TempDir(), &out)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err, out.String()), "s3cr3t") {
				t.Errorf("a secret is shown: %v %s", err, out.String())
			}
		})
	}
}
