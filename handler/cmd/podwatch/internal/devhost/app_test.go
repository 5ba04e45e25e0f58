package devhost_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/devhost"
)

var storageAndHub = map[string]string{"EventHub": "Endpoint=sb://ns", "EVENT_HUB_NAME": "logs", "EVENT_HUB_CONSUMER_GROUP": "podwatch"}

// The files that go to Azure must be such as the stand-in, and so the host, loads.
func TestLoadAppReadsTheProjectsOwnFiles(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..", "..")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "function_app"))); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.json"), src, 0o600); err != nil {
		t.Fatal(err)
	}
	app, err := devhost.LoadApp(dir, storageAndHub)
	if err != nil {
		t.Fatal(err)
	}
	if len(app.Broken) > 0 {
		t.Errorf("broken functions: %v", app.Broken)
	}
	got := map[string]string{}
	for _, fn := range app.Functions {
		got[fn.Name] = fn.Trigger.Type + " " + fn.Trigger.Name
		for _, b := range fn.Outputs {
			got[fn.Name+"."+b.Name] = b.QueueName + b.Path
		}
	}
	want := map[string]string{
		"Detect":             "eventHubTrigger events",
		"Detect.undelivered": "undelivered-alerts",
		"Detect.unreadable":  "unreadable-messages/{DateTime:yyyy}/{DateTime:MM}/{DateTime:dd}/{rand-guid}.json",
		"Redeliver":          "queueTrigger alert",
		"Heartbeat":          "timerTrigger timer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	if r := app.Functions[0].Retry; r == nil || r.Max != -1 || r.Min != 5*time.Second || r.Cap != 5*time.Minute {
		t.Errorf("Detect's retry policy = %+v: a batch must not be given up", r)
	}
}

func TestLoadAppFindsMistakes(t *testing.T) {
	const (
		handler = `"customHandler": {"description": {"defaultExecutablePath": "handler"}}`
		hub     = `{"type": "eventHubTrigger", "direction": "in", "name": "e", "connection": "EventHub", "eventHubName": "%EVENT_HUB_NAME%", "cardinality": "many", "dataType": "string"}`
		queue   = `{"type": "queue", "direction": "out", "name": "q", "queueName": "x"}`
	)
	for name, tt := range map[string]struct {
		host, function string
		want           string // part of the error or of the function's error; empty: loads
	}{
		"a good app":             {`"version":"2.0",` + handler, `{"bindings":[` + hub + `]}`, ""},
		"no version":             {handler, "", "version"},
		"no executable":          {`"version":"2.0"`, "", "names no executable"},
		"a bad time span":        {`"version":"2.0","functionTimeout":"5m",` + handler, "", "functionTimeout"},
		"an hour of 61 minutes":  {`"version":"2.0","functionTimeout":"00:61:00",` + handler, "", "time span"},
		"a batch of none":        {`"version":"2.0","extensions":{"eventHubs":{"maxEventBatchSize":0}},` + handler, "", "maxEventBatchSize"},
		"an unknown encoding":    {`"version":"2.0","extensions":{"queues":{"messageEncoding":"utf8"}},` + handler, "", "messageEncoding"},
		"not JSON":               {`"version":"2.0",` + handler, `{`, "parse function.json"},
		"no trigger":             {`"version":"2.0",` + handler, `{"bindings":[` + queue + `]}`, "exactly one"},
		"two triggers":           {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,` + strings.Replace(hub, `"e"`, `"f"`, 1) + `]}`, "exactly one"},
		"a name used twice":      {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,` + strings.Replace(queue, `"q"`, `"E"`, 1) + `]}`, "used twice"},
		"an unset setting":       {`"version":"2.0",` + handler, `{"bindings":[` + strings.Replace(hub, "%EVENT_HUB_NAME%", "%NOPE%", 1) + `]}`, "NOPE is not set"},
		"an unset connection":    {`"version":"2.0",` + handler, `{"bindings":[` + strings.Replace(hub, `"EventHub"`, `"Nope"`, 1) + `]}`, "Nope__fullyQualifiedNamespace"},
		"an unknown binding":     {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,{"type":"table","direction":"out","name":"t"}]}`, `type "table"`},
		"five fields of cron":    {`"version":"2.0",` + handler, `{"bindings":[{"type":"timerTrigger","name":"t","schedule":"*/5 * * * *"}]}`, "six fields"},
		"a path without a name":  {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,{"type":"blob","direction":"out","name":"b","path":"c"}]}`, "container/name"},
		"an unknown date format": {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,{"type":"blob","direction":"out","name":"b","path":"c/{DateTime:ddd}"}]}`, "date format"},
		"a value of metadata":    {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,{"type":"blob","direction":"out","name":"b","path":"c/{PartitionContext.PartitionId}"}]}`, "{rand-guid} and {DateTime:FORMAT} only"},
		"a brace alone":          {`"version":"2.0",` + handler, `{"bindings":[` + hub + `,{"type":"blob","direction":"out","name":"b","path":"c/{rand-guid}}"}]}`, "braces"},
		"a retry without count":  {`"version":"2.0",` + handler, `{"bindings":[` + hub + `],"retry":{"strategy":"exponentialBackoff"}}`, "maxRetryCount"},
		"an unknown strategy":    {`"version":"2.0",` + handler, `{"bindings":[` + hub + `],"retry":{"strategy":"linear","maxRetryCount":1}}`, "strategy"},
		"messages as bytes":      {`"version":"2.0",` + handler, `{"bindings":[` + strings.Replace(hub, `"string"`, `"binary"`, 1) + `]}`, `dataType "string"`},
		"arguments":              {`"version":"2.0",` + strings.Replace(handler, `"handler"`, `"handler","arguments":["x"]`, 1), "", "but defaultExecutablePath"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stage(t, map[string]string{"host.json": "{" + tt.host + "}", "Fn/function.json": tt.function})
			app, err := devhost.LoadApp(dir, storageAndHub)
			got := ""
			if err != nil {
				got = err.Error()
			} else if tt.function != "" {
				got = app.Broken["Fn"]
			}
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("mistake = %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestLocalSettings(t *testing.T) {
	dir := t.TempDir()
	if got, err := devhost.LocalSettings(dir); err != nil || len(got) != 0 {
		t.Errorf("without the file: %v, %v", got, err)
	}
	for content, want := range map[string]string{
		`{"Values":{"A":"1"}}`: "", `{"IsEncrypted":true}`: "encrypted", `{"Values":{"A":1}}`: "parse",
	} {
		if err := os.WriteFile(filepath.Join(dir, "local.settings.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := devhost.LocalSettings(dir)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want %q", content, err, want)
		}
	}
}
