package devhost_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/internal/invocation"
)

// A world is a staged app with a running host and what a test looks at.
type world struct {
	*devhost.Host
	t         *testing.T
	dir       string
	record    string
	queue     string // undelivered-alerts of this test
	container string
	storage   string
	results   chan devhost.Result
	log       *safeBuffer
}

const hostJSON = `{
  "version": "2.0",
  "functionTimeout": "00:00:05",
  "customHandler": {"description": {"defaultExecutablePath": "handler"}},
  "extensions": {
    "eventHubs": {"maxEventBatchSize": 3},
    "queues": {"batchSize": 2, "visibilityTimeout": "00:00:30", "maxDequeueCount": 3, "maxPollingInterval": "00:00:01"}
  }
}`

const detectJSON = `{
  "bindings": [
    {"type": "eventHubTrigger", "direction": "in", "name": "events", "connection": "EventHub",
     "eventHubName": "%EVENT_HUB_NAME%", "consumerGroup": "$Default", "cardinality": "many", "dataType": "string"},
    {"type": "queue", "direction": "out", "name": "undelivered", "queueName": "%QUEUE%"},
    {"type": "blob", "direction": "out", "name": "unreadable", "path": "%CONTAINER%/{DateTime:yyyy}/{rand-guid}.json"}
  ],
  "retry": {"strategy": "exponentialBackoff", "maxRetryCount": 2, "minimumInterval": "00:00:05", "maximumInterval": "00:05:00"}
}`

const redeliverJSON = `{"bindings": [{"type": "queueTrigger", "direction": "in", "name": "alert", "queueName": "%QUEUE%"}]}`

const heartbeatJSON = `{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 */5 * * * *", "runOnStartup": true}]}`

// stage writes an app whose handler is the test binary itself.
func stage(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "handler")); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func start(t *testing.T, functions map[string]string, change func(*devhost.Options)) *world {
	t.Helper()
	files := map[string]string{"host.json": hostJSON}
	maps.Copy(files, functions)
	id := strings.ReplaceAll(uuid.NewString(), "-", "")
	w := &world{
		t: t, dir: stage(t, files), queue: "q" + id, container: "c" + id,
		storage: storageForTest(t), results: make(chan devhost.Result, 1000), log: &safeBuffer{},
	}
	w.record = filepath.Join(t.TempDir(), "requests")
	o := devhost.Options{
		App: w.dir,
		Settings: map[string]string{
			actAsHandler: "1", recordFile: w.record,
			"AzureWebJobsStorage": w.storage, "QUEUE": w.queue, "CONTAINER": w.container,
			"EventHub": "Endpoint=sb://ns.servicebus.windows.net;SharedAccessKeyName=n;SharedAccessKey=k", "EVENT_HUB_NAME": "logs",
		},
		Log:   slog.New(slog.NewTextHandler(w.log, nil)),
		Scale: func(d time.Duration) time.Duration { return min(d/1000, 20*time.Millisecond) },
		Done:  func(r devhost.Result) { w.results <- r },
	}
	if change != nil {
		change(&o)
	}
	host, err := devhost.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v\n%s", err, w.log)
	}
	w.Host = host
	t.Cleanup(func() {
		_ = host.Close() // the error of a host that stopped is looked at by its test
		if t.Failed() {
			t.Logf("host log:\n%s", w.log)
		}
	})
	return w
}

func (w *world) result() devhost.Result {
	w.t.Helper()
	select {
	case r := <-w.results:
		return r
	case <-time.After(30 * time.Second):
		w.t.Fatalf("no invocation ended within 30 s\n%s", w.log)
		panic("unreachable")
	}
}

func (w *world) requests() []recorded { w.t.Helper(); return requests(w.t, w.record) }

func body(c command) invocation.Message {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // a test's own mistake
	}
	return invocation.Message{Body: text}
}

func TestDeliverPostsWhatTheHostPosts(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, func(o *devhost.Options) {
		o.Settings["MY_SETTING"] = "seen"
	})
	enqueued := time.Date(2026, 3, 4, 9, 15, 22, 123e6, time.UTC)
	err := w.Deliver(t.Context(), "7",
		invocation.Message{Body: []byte(`{"records":[{"a":"<tag> & \"quote\""}]}`), Sequence: 1042, Enqueued: enqueued},
		invocation.Message{Body: []byte("\xff not JSON")}, // takes the next number
	)
	if err != nil {
		t.Fatal(err)
	}
	all := w.requests()
	if len(all) != 1 {
		t.Fatalf("%d requests, want 1", len(all))
	}
	got := all[0]
	if got.Path != "/Detect" || !got.Chunked || got.Length != -1 {
		t.Errorf("path %q, chunked %t, length %d; want /Detect, true, -1", got.Path, got.Chunked, got.Length)
	}
	if ct := got.Header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("Content-Type = %q", ct)
	}
	if r := w.result(); got.Header.Get("X-Azure-Functions-Invocationid") != r.InvocationID {
		t.Errorf("invocation id %q, want %q", got.Header.Get("X-Azure-Functions-Invocationid"), r.InvocationID)
	}
	for _, want := range []string{"FUNCTIONS_CUSTOMHANDLER_PORT=", "FUNCTIONS_CUSTOMHANDLER_WORKER_ID=", "FUNCTIONS_APP_ROOT_PATH=" + w.dir, "MY_SETTING=seen"} {
		if !slices.ContainsFunc(got.Env, func(e string) bool { return strings.HasPrefix(e, want) }) {
			t.Errorf("the handler's environment lacks %q: %q", want, got.Env)
		}
	}
	// A JSON string that holds an array of strings that hold the messages.
	var messages []string
	if err := json.Unmarshal([]byte(unquote(t, got.Data["events"])), &messages); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"records":[{"a":"<tag> & \"quote\""}]}`, "\ufffd not JSON"}, messages); diff != "" {
		t.Errorf("Data.events (-want +got):\n%s", diff)
	}
	meta := texts(got.Metadata)
	for key, want := range map[string]string{
		"OffsetStringArray":    `"[\"1067008\",\"1068032\"]"`,
		"PartitionContext":     `{"IsCheckpointingAfterInvocation":true,"FullyQualifiedNamespace":"ns.servicebus.windows.net","EventHubName":"logs","ConsumerGroup":"$Default","PartitionId":"7"}`,
		"SequenceNumberArray":  `"[1042,1043]"`,
		"PartitionKeyArray":    `"[null,null]"`,
		"RetryContext":         `{"RetryCount":0,"MaxRetryCount":2,"Exception":null,"Instance":null,"State":{}}`,
		"PropertiesArray":      `"[{},{}]"`,
		"EnqueuedTimeUtcArray": "", // looked at below
	} {
		if want != "" && meta[key] != want {
			t.Errorf("Metadata.%s = %s, want %s", key, meta[key], want)
		}
	}
	if times := meta["EnqueuedTimeUtcArray"]; !strings.HasPrefix(times, `"[\"2026-03-04T09:15:22.123\",`) || strings.Contains(times, "Z") {
		t.Errorf("EnqueuedTimeUtcArray = %s: want times in UTC without Z", times)
	}
}

func texts(m map[string]json.RawMessage) map[string]string {
	out := map[string]string{}
	for key, value := range m {
		out[key] = string(value)
	}
	return out
}

func TestBatchesAreSizedAndOneAtATimePerPartition(t *testing.T) {
	var mu sync.Mutex
	running, most := map[string]int{}, 0
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, func(o *devhost.Options) {
		o.Step = func(_ context.Context, s devhost.Step) error {
			mu.Lock()
			defer mu.Unlock()
			switch s.Name {
			case devhost.StepPost:
				running[s.Function]++
				most = max(most, running[s.Function])
			case devhost.StepDone:
				running[s.Function]--
			}
			return nil
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := w.Deliver(t.Context(), "0", make([]invocation.Message, 7)...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d batches of one partition in flight, want 1", most)
	}
	sizes := map[int]int{}
	for _, r := range w.requests() {
		var numbers []int
		if err := json.Unmarshal([]byte(unquote(t, r.Metadata["SequenceNumberArray"])), &numbers); err != nil {
			t.Fatal(err)
		}
		sizes[len(numbers)]++
	}
	if diff := cmp.Diff(map[int]int{3: 8, 1: 4}, sizes); diff != "" {
		t.Errorf("batch sizes (-want +got):\n%s", diff)
	}
}

func unquote(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}

func TestRetryKeepsTheInvocationID(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, nil)
	if err := w.Deliver(t.Context(), "0", body(command{FailTry: 2})); err != nil {
		t.Fatal(err)
	}
	if r := w.result(); r.Tries != 3 || r.Err != nil {
		t.Errorf("result = %+v, want 3 tries and no error", r)
	}
	ids := map[string]int{}
	for _, r := range w.requests() {
		ids[r.Header.Get("X-Azure-Functions-Invocationid")]++
	}
	if len(ids) != 1 {
		t.Errorf("invocation ids %v, want one for all tries", ids)
	}
	if last := w.requests()[2]; !strings.Contains(string(last.Metadata["RetryContext"]), `"RetryCount":2`) {
		t.Errorf("RetryContext of the third try = %s", last.Metadata["RetryContext"])
	}
	if err := w.Deliver(t.Context(), "0", body(command{FailTry: 9})); err == nil {
		t.Error("a batch that fails every try has no error")
	}
	if r := w.result(); r.Tries != 3 {
		t.Errorf("%d tries, want 3: maxRetryCount is 2", r.Tries)
	}
}

func TestRepliesThatTheHostRefuses(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": strings.Replace(detectJSON, `"maxRetryCount": 2`, `"maxRetryCount": 0`, 1)}, nil)
	for name, tt := range map[string]struct {
		command command
		want    string // part of the error; empty: accepted
	}{
		"an object":                   {command{}, ""},
		"status 299":                  {command{Status: 299}, ""},
		"text/json":                   {command{Type: new("text/json; charset=utf-8")}, ""},
		"unknown members":             {command{Body: new(`{"Extra":1,"outputs":null,"LOGS":["x"]}`)}, ""},
		"status 500":                  {command{Status: 500}, "answered 500"},
		"status 404":                  {command{Status: 404}, "answered 404"},
		"nothing":                     {command{Body: new("")}, "never complete"},
		"null":                        {command{Body: new("null")}, "never complete"},
		"status 204":                  {command{Status: 204}, "never complete"},
		"text/plain":                  {command{Type: new("text/plain; charset=utf-8")}, "content type"},
		"no content type":             {command{Type: new("")}, "content type"},
		"not JSON":                    {command{Body: new("oops")}, "parse the answer"},
		"an array":                    {command{Body: new("[]")}, "parse the answer"},
		"deeper than the host's 256":  {command{Body: new(`{"Outputs":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "}")}, "deeper"},
		"a queue text of broken JSON": {command{Outputs: json.RawMessage(`{"undelivered":"{oops}"}`)}, "but is not"},
		"a number for a blob":         {command{Outputs: json.RawMessage(`{"unreadable":12}`)}, "binary form"},
		"a queue message over 64 KiB": {command{Outputs: json.RawMessage(`{"undelivered":["` + strings.Repeat("x", 49153) + `"]}`)}, "more than 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.Deliver(t.Context(), "0", body(tt.command))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("err = %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestOutputs(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, nil)
	outputs := `{
		"undelivered": ["{\"AlertId\":\"a\",\"t\":\"2026-03-04T09:15:22.100Z\"}", "plain", {"b":[1]}],
		"unreadable": "{\"Reason\":\"cut\"}",
		"unknown": "x"
	}`
	if err := w.Deliver(t.Context(), "3", body(command{Outputs: json.RawMessage(outputs)})); err != nil {
		t.Fatal(err)
	}
	// What a queue message may be, after the array: a text that is base64 is decoded.
	if err := w.Deliver(t.Context(), "3", body(command{Outputs: json.RawMessage(`{"undelivered":"aGVsbG8="}`)})); err != nil {
		t.Fatal(err)
	}
	want := []string{`{"AlertId":"a","t":"2026-03-04T09:15:22.100Z"}`, "plain", "{\n  \"b\": [\n    1\n  ]\n}", "hello"}
	if diff := cmp.Diff(want, peek(t, w.storage, w.queue)); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	names, contents := blobs(t, w.storage, w.container)
	if diff := cmp.Diff([]string{`{"Reason":"cut"}`}, contents); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^20\d\d/[0-9a-f-]{36}\.json$`).MatchString(names[0]) {
		t.Errorf("blob name %q", names[0])
	}
	if !strings.Contains(w.log.String(), "does not declare") {
		t.Error("an undeclared output was dropped without a word")
	}
}

// What the host makes of values that are no text, and of what remains when one output
// of a reply fails.
func TestOutputsAsTheHostWritesThem(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": strings.Replace(detectJSON, `"maxRetryCount": 2`, `"maxRetryCount": 1`, 1)}, nil)
	values := `["2025-03-04T09:15:20.1200000Z", null, true, "{\"t\":\"2025-03-04T09:15:20Z\"}"]`
	if err := w.Deliver(t.Context(), "0", body(command{Outputs: json.RawMessage(`{"undelivered":` + values + `}`)})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"03/04/2025 09:15:20", "", "True", `{"t":"2025-03-04T09:15:20Z"}`}, peek(t, w.storage, w.queue)); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	for i, outputs := range []string{
		`{"undelivered":["` + strings.Repeat("x", 49153) + `"],"unreadable":"{}"}`, // too large
		`{"unreadable":"2025-03-04T09:15:20Z"}`,                                    // no text for the host
	} {
		if err := w.Deliver(t.Context(), "0", body(command{Outputs: json.RawMessage(outputs)})); err == nil {
			t.Errorf("no error of the outputs %.50s", outputs)
		}
		if _, all := blobs(t, w.storage, w.container); len(all) != 2*(i+1) || strings.Join(all, "") != "" {
			t.Errorf("%.50s: two tries leave the blobs %q, want an empty one for each", outputs, all)
		}
	}
}

func TestQueueTriggerRetriesAndPoisons(t *testing.T) {
	w := start(t, map[string]string{"Redeliver/function.json": redeliverJSON}, nil)
	add(t, w.storage, w.queue, `{"status":500,"id":"mine"}`)
	for range 3 {
		if r := w.result(); r.Err == nil {
			t.Errorf("result = %+v, want an error", r)
		}
	}
	eventually(t, func() bool { return len(peek(t, w.storage, w.queue+"-poison")) == 1 })
	if diff := cmp.Diff([]string{`{"status":500,"id":"mine"}`}, peek(t, w.storage, w.queue+"-poison")); diff != "" {
		t.Errorf("poison queue (-want +got):\n%s", diff)
	}
	all := w.requests()
	for i, r := range all {
		if got, want := string(r.Metadata["DequeueCount"]), fmt.Sprintf(`"%d"`, i+1); got != want {
			t.Errorf("DequeueCount of try %d = %s, want %s", i, got, want)
		}
	}
	// The members of the message overwrite the host's own metadata.
	if got := string(all[0].Metadata["Id"]); got != `"\"mine\""` {
		t.Errorf("Metadata.Id = %s", got)
	}
	if got := string(all[0].Data["alert"]); got != `"\"{\\\"status\\\":500,\\\"id\\\":\\\"mine\\\"}\""` {
		t.Errorf("Data.alert = %s", got)
	}
	add(t, w.storage, w.queue, "fine")
	if r := w.result(); r.Err != nil {
		t.Errorf("result = %+v", r)
	}
	eventually(t, func() bool { return len(peek(t, w.storage, w.queue)) == 0 })
}

func TestQueueOutputWakesTheTrigger(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": detectJSON, "Redeliver/function.json": redeliverJSON}, func(o *devhost.Options) {
		o.Scale = func(time.Duration) time.Duration { return time.Hour } // no poll comes in time
	})
	if err := w.Deliver(t.Context(), "0", body(command{Outputs: json.RawMessage(`{"undelivered":["one"]}`)})); err != nil {
		t.Fatal(err)
	}
	if r := w.result(); r.Function != "Detect" {
		t.Errorf("first result = %+v", r)
	}
	if r := w.result(); r.Function != "Redeliver" || r.Err != nil {
		t.Errorf("second result = %+v", r)
	}
}

func TestTimer(t *testing.T) {
	w := start(t, map[string]string{"Heartbeat/function.json": heartbeatJSON}, func(o *devhost.Options) {
		o.Scale = func(d time.Duration) time.Duration { return d / 10000 } // five minutes are 30 ms
	})
	w.result()
	w.result()
	all := w.requests()
	var first, second struct {
		Schedule       struct{ AdjustForDST bool }
		ScheduleStatus struct{ Last, Next string }
		IsPastDue      *bool
	}
	for i, to := range []any{&first, &second} {
		if err := json.Unmarshal(all[i].Data["timer"], to); err != nil {
			t.Fatal(err)
		}
	}
	if first.IsPastDue == nil || *first.IsPastDue || !first.Schedule.AdjustForDST || !strings.HasPrefix(first.ScheduleStatus.Last, "0001") {
		t.Errorf("first = %s", all[0].Data["timer"])
	}
	if next, err := time.Parse(time.RFC3339Nano, second.ScheduleStatus.Next); err != nil || next.Minute()%5 != 0 || next.Second() != 0 {
		t.Errorf("second = %s", all[1].Data["timer"])
	}
}

func TestExitCodes(t *testing.T) {
	for name, tt := range map[string]struct {
		exit    int
		restart bool
	}{
		"0 is not noticed":         {0, false},
		"200 restarts for nothing": {200, true},
		"any other one restarts":   {7, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, map[string]string{"Detect/function.json": strings.Replace(detectJSON, `"maxRetryCount": 2`, `"maxRetryCount": 0`, 1)}, nil)
			if err := w.Deliver(t.Context(), "0", body(command{Exit: &tt.exit})); err == nil {
				t.Fatal("an invocation whose process ended has no error")
			}
			if tt.restart {
				eventually(t, func() bool { _, starts := w.Process(); return starts == 2 })
			} else {
				eventually(t, func() bool { return strings.Contains(w.log.String(), "does not restart") })
			}
			err := w.Deliver(t.Context(), "0", body(command{}))
			if (err == nil) != tt.restart {
				t.Errorf("the next invocation: err = %v", err)
			}
		})
	}
}

func TestThirdErrorStopsTheHost(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": strings.Replace(detectJSON, `"maxRetryCount": 2`, `"maxRetryCount": -1`, 1)}, nil)
	err := w.Deliver(t.Context(), "0", body(command{Exit: new(7), Say: "out of cheese"}))
	if !errors.Is(err, devhost.ErrStopped) {
		t.Errorf("err = %v, want ErrStopped: the batch is not checkpointed", err)
	}
	if err := w.Wait(); err == nil || !strings.Contains(err.Error(), "3 times") || !strings.Contains(err.Error(), "out of cheese") {
		t.Errorf("Wait = %v", err)
	}
	if err := w.Deliver(t.Context(), "0", body(command{})); !errors.Is(err, devhost.ErrStopped) {
		t.Errorf("Deliver after the end = %v", err)
	}
}

func TestKillAtEachStepIsSurvived(t *testing.T) {
	var w *world
	var mu sync.Mutex
	killAt := map[devhost.StepName]bool{}
	w = start(t, map[string]string{"Detect/function.json": detectJSON}, func(o *devhost.Options) {
		o.MaxErrors = -1
		o.Step = func(_ context.Context, s devhost.Step) error {
			mu.Lock()
			kill := killAt[s.Name]
			delete(killAt, s.Name)
			mu.Unlock()
			if kill {
				_, before := w.Process()
				w.Kill()
				eventually(t, func() bool { _, now := w.Process(); return now > before })
				return errors.New("the instance died")
			}
			return nil
		}
	})
	for _, step := range []devhost.StepName{devhost.StepPost, devhost.StepReply, devhost.StepOutput, devhost.StepDone} {
		mu.Lock()
		killAt[step] = true
		mu.Unlock()
		err := w.Deliver(t.Context(), "0", body(command{Outputs: json.RawMessage(`{"undelivered":["` + string(step) + `"]}`)}))
		if err != nil {
			t.Errorf("kill at %s: %v", step, err)
		}
		if r := w.result(); r.Tries != 2 {
			t.Errorf("kill at %s: %d tries, want 2", step, r.Tries)
		}
	}
	// Outputs applied before the end are applied again: at least once.
	if diff := cmp.Diff([]string{"post", "reply", "output", "done", "done"}, peek(t, w.storage, w.queue)); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
}

func TestStopWaitsForTheTryButNotForTheNext(t *testing.T) {
	answered, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, func(o *devhost.Options) {
		o.Scale = func(time.Duration) time.Duration { return time.Hour }
		o.Step = func(_ context.Context, s devhost.Step) error {
			if s.Name == devhost.StepReply {
				once.Do(func() { close(answered); <-proceed })
			}
			return nil
		}
	})
	delivered := make(chan error, 2)
	go func() { delivered <- w.Deliver(t.Context(), "0", body(command{})) }()
	<-answered
	go func() { delivered <- w.Deliver(t.Context(), "1", body(command{FailTry: 1})) }()
	eventually(t, func() bool { return strings.Contains(w.log.String(), "will be tried again") })

	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop() }()
	if r := w.result(); r.Tries != 1 || !errors.Is(r.Err, devhost.ErrStopped) {
		t.Errorf("the wait for the next try ends with %+v", r)
	}
	if err := w.Deliver(t.Context(), "2", body(command{})); !errors.Is(err, devhost.ErrStopped) {
		t.Errorf("a batch after Stop: %v", err)
	}
	close(proceed)
	if r := w.result(); r.Tries != 1 || r.Err != nil {
		t.Errorf("the try that was under way ends with %+v", r)
	}
	for range 2 {
		if err := <-delivered; !errors.Is(err, devhost.ErrStopped) {
			t.Errorf("Deliver = %v, want ErrStopped: nothing is checkpointed", err)
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop = %v", err)
	}
}

func TestFunctionTimeoutKillsTheHandler(t *testing.T) {
	var w *world
	var graces atomic.Int32
	w = start(t, map[string]string{
		"host.json":            strings.Replace(hostJSON, "00:00:05", "00:00:01", 1),
		"Detect/function.json": strings.Replace(detectJSON, `"maxRetryCount": 2`, `"maxRetryCount": 0`, 1),
	}, func(o *devhost.Options) {
		o.MaxErrors = 1 // the host's own kill is not counted
		o.Scale = func(d time.Duration) time.Duration {
			if d != 2*time.Second {
				return 0
			}
			switch graces.Add(1) { // the second and the third are those of two that time out together
			case 2:
				eventually(t, func() bool { return graces.Load() == 3 })
			case 3: // the other one has ended the process
				eventually(t, func() bool { _, starts := w.Process(); return starts == 3 })
			}
			return 0
		}
	})
	err := w.Deliver(t.Context(), "0", body(command{Hang: true}))
	if err == nil || !strings.Contains(err.Error(), "functionTimeout") {
		t.Errorf("err = %v", err)
	}
	eventually(t, func() bool { _, starts := w.Process(); return starts == 2 })
	if err := w.Deliver(t.Context(), "0", body(command{})); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	// Two that time out together end one process.
	var wg sync.WaitGroup
	for _, partition := range []string{"1", "2"} {
		wg.Go(func() { _ = w.Deliver(t.Context(), partition, body(command{Hang: true})) })
	}
	wg.Wait()
	if err := w.Deliver(t.Context(), "1", body(command{})); err != nil {
		t.Errorf("after the second restart: %v", err)
	}
	if _, starts := w.Process(); starts != 3 {
		t.Errorf("the handler was started %d times, want 3", starts)
	}
}

func TestStartSaysWhyTheHandlerDoesNotStart(t *testing.T) {
	dir := stage(t, map[string]string{"host.json": hostJSON, "Heartbeat/function.json": heartbeatJSON})
	_, err := devhost.Start(t.Context(), devhost.Options{
		App: dir, Log: slog.New(slog.DiscardHandler),
		Settings: map[string]string{actAsHandler: "1", "DEVHOST_TEST_BOOT": "fail", recordFile: filepath.Join(dir, "r")},
	})
	if err == nil || !strings.Contains(err.Error(), "cannot read the rules") {
		t.Errorf("err = %v, want the handler's last words", err)
	}
	if err := os.Remove(filepath.Join(dir, "handler")); err != nil {
		t.Fatal(err)
	}
	_, err = devhost.Start(t.Context(), devhost.Options{App: dir, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "start") {
		t.Errorf("without an executable: err = %v", err)
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	w := start(t, map[string]string{"Detect/function.json": detectJSON}, nil)
	pid, _ := w.Process()
	done := make(chan error, 1)
	go func() { done <- w.Deliver(t.Context(), "0", body(command{Hang: true})) }()
	eventually(t, func() bool { _, err := os.Stat(w.record); return err == nil && len(w.requests()) == 1 })
	if err := w.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-done; !errors.Is(err, devhost.ErrStopped) {
		t.Errorf("Deliver = %v, want ErrStopped", err)
	}
	if proc, err := os.FindProcess(pid); err == nil && proc.Signal(syscall.Signal(0)) == nil {
		t.Errorf("process %d is still there", pid)
	}
}

func TestAdmin(t *testing.T) {
	w := start(t, map[string]string{
		"Detect/function.json": detectJSON, "Redeliver/function.json": redeliverJSON, "Heartbeat/function.json": strings.Replace(heartbeatJSON, "true", "false", 1),
		"Broken/function.json": `{"bindings": []}`, "host/function.json": heartbeatJSON, "9bad/function.json": heartbeatJSON,
		"Deep/er/function.json": heartbeatJSON, "function.json": heartbeatJSON, "rules/a.toml": "",
	}, func(o *devhost.Options) { o.Admin = "127.0.0.1:0" })
	base := "http://" + w.Admin()
	post := func(path, contentType, text string) (int, string) {
		resp, err := http.Post(base+path, contentType, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	const asJSON = "application/json"
	for name, tt := range map[string]struct {
		path, contentType, body string
		want                    int
	}{
		"a message":                 {"/admin/functions/Detect", asJSON, `{"input":"{\"a\":1}"}`, 202},
		"case of the name is free":  {"/admin/functions/heartbeat", asJSON, `{}`, 202},
		"no input":                  {"/admin/functions/Redeliver", asJSON, `{"input":null}`, 202},
		"unknown function":          {"/admin/functions/Nope", asJSON, `{}`, 404},
		"a function too deep":       {"/admin/functions/Deep", asJSON, `{}`, 404},
		"a function named host":     {"/admin/functions/host", asJSON, `{}`, 404},
		"no body":                   {"/admin/functions/Detect", asJSON, "", 400},
		"null":                      {"/admin/functions/Detect", asJSON, "null", 400},
		"an object as input":        {"/admin/functions/Detect", asJSON, `{"input":{"a":1}}`, 400},
		"a form of another website": {"/admin/functions/Detect", "text/plain", `{"input":"x"}`, 415},
	} {
		t.Run(name, func(t *testing.T) {
			if got, text := post(tt.path, tt.contentType, tt.body); got != tt.want || got == 202 && text != "" {
				t.Errorf("status %d %q, want %d", got, text, tt.want)
			}
		})
	}
	for range 3 {
		w.result()
	}
	for _, r := range w.requests() {
		if r.Path != "/Detect" {
			continue
		}
		if got := string(r.Data["events"]); got != `"[\"{\\\"a\\\":1}\"]"` {
			t.Errorf("Data.events = %s", got)
		}
		if got := string(r.Metadata["events"]); got != `"\"{\\\"a\\\":1}\""` {
			t.Errorf("Metadata.events = %s", got)
		}
		if _, there := r.Metadata["PartitionContext"]; there || r.Metadata["SequenceNumberArray"] != nil || r.Metadata["SequenceNumber"] == nil {
			t.Errorf("an admin invocation has singular keys and no partition: %s", texts(r.Metadata))
		}
	}
	get := func(path, host string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if _, text := get("/admin/host/status", ""); !strings.Contains(text, `"state":"Running"`) || !strings.Contains(text, "9bad") {
		t.Errorf("host status: %s", text)
	}
	if status, _ := get("/admin/host/status", "evil.example"); status != http.StatusForbidden {
		t.Errorf("a request under another name: status %d, want 403", status)
	}
}

func TestAdminIsForLoopbackOnly(t *testing.T) {
	dir := stage(t, map[string]string{"host.json": hostJSON, "Heartbeat/function.json": heartbeatJSON})
	_, err := devhost.Start(t.Context(), devhost.Options{App: dir, Log: slog.New(slog.DiscardHandler), Admin: "0.0.0.0:0"})
	if err == nil || !strings.Contains(err.Error(), "not on loopback") {
		t.Errorf("err = %v", err)
	}
}

// eventually waits until ok holds; the limit is for a broken build only.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it did not come to pass within 30 s")
		}
	}
}

func queueClient(t *testing.T, connection, name string) *azqueue.QueueClient {
	t.Helper()
	service, err := azqueue.NewServiceClientFromConnectionString(connection, nil)
	if err != nil {
		t.Fatal(err)
	}
	return service.NewQueueClient(name)
}

func add(t *testing.T, connection, name, text string) {
	t.Helper()
	q := queueClient(t, connection, name)
	_, _ = q.Create(t.Context(), nil) // may be there already
	if _, err := q.EnqueueMessage(t.Context(), base64.StdEncoding.EncodeToString([]byte(text)), nil); err != nil {
		t.Fatal(err)
	}
}

// peek returns the decoded texts of the visible messages, none when there is no
// such queue.
func peek(t *testing.T, connection, name string) []string {
	t.Helper()
	n := int32(32)
	got, err := queueClient(t, connection, name).PeekMessages(t.Context(), &azqueue.PeekMessagesOptions{NumberOfMessages: &n})
	if err != nil {
		return nil
	}
	var all []string
	for _, m := range got.Messages {
		text, err := base64.StdEncoding.DecodeString(*m.MessageText)
		if err != nil {
			t.Fatalf("message %q is not base64", *m.MessageText)
		}
		all = append(all, string(text))
	}
	return all
}

func blobs(t *testing.T, connection, container string) (names, contents []string) {
	t.Helper()
	client, err := azblob.NewClientFromConnectionString(connection, nil)
	if err != nil {
		t.Fatal(err)
	}
	pages := client.NewListBlobsFlatPager(container, nil)
	for pages.More() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Segment.BlobItems {
			resp, err := client.DownloadStream(t.Context(), container, *b.Name, nil)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			names, contents = append(names, *b.Name), append(contents, string(content))
		}
	}
	return names, contents
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
