package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
	"podwatch/handler/internal/alert"
)

// deletion is a record of one pod deletion by its own caller on a cluster of its
// own, so that no two are one card or one storm.
func deletion(n int) string {
	entity := fmt.Sprintf("/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg-edge/providers/Microsoft.Kubernetes/connectedClusters/arc-%d/namespaces/shop/pods/%s", n, podOf(n))
	return fmt.Sprintf(`{"time":%[1]q,"resourceId":%[2]q,"operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",`+
		`"category":"Delete","resultType":"Success","callerIpAddress":"203.0.113.24","correlationId":"d7b0c5a2-61f4-4e8b-9a3d-%012[3]x",`+
		`"identity":{"claims":{"idtyp":"user","http://schemas.microsoft.com/identity/claims/objectidentifier":"c0a2d6f4-15be-4b39-9d57-%012[3]x",`+
		`"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"caller%[3]d@example.com"}},"properties":{"entity":%[4]q}}`,
		time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC).Add(time.Duration(n)*time.Second).Format(time.RFC3339), strings.ToUpper(entity), n, entity)
}

func podOf(n int) string { return fmt.Sprintf("cart-%04d", n) }

// unrelated is a record that no rule wants.
const unrelated = `{"time":"2026-11-09T08:00:00Z","resourceId":"/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703","operationName":"MICROSOFT.RESOURCES/TAGS/WRITE","category":"Write","resultType":"Success"}`

// message is a message body as diagnostic settings write it.
func message(records ...string) string { return `{"records":[` + strings.Join(records, ",") + `]}` }

// fill puts messages into a partition.
func fill(t testing.TB, h *hubtest.Hub, partition string, bodies ...string) {
	t.Helper()
	s, err := hub.NewSender(hub.Connection{ConnectionString: h.ConnectionString, Hub: "podwatch"}, hub.SendOptions{Partition: partition})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	for _, body := range bodies {
		if err := s.Add(t.Context(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// runReplay runs the command with the hub in its settings.
func runReplay(ctx context.Context, t testing.TB, h *hubtest.Hub, stdout func([]byte) (int, error), args ...string) (stderr string, err error) {
	t.Helper()
	t.Setenv("EventHub", h.ConnectionString)
	t.Setenv("EVENT_HUB_NAME", "podwatch")
	cmd := newReplayCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var errs bytes.Buffer
	cmd.SetOut(writerFunc(stdout))
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return errs.String(), err
}

// pods collects the pods of printed alerts.
func pods(t *testing.T, printed string) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(printed) {
		a, err := alert.Parse([]byte(line))
		if err != nil {
			t.Fatalf("%q is no alert: %v", line, err)
		}
		found = append(found, a.Pod)
	}
	slices.Sort(found)
	return found
}

func podsFrom(first, end int) []string {
	var all []string
	for n := first; n < end; n++ {
		all = append(all, podOf(n))
	}
	return all
}

func TestReplayEvaluatesWhatAHubRetains(t *testing.T) {
	start := time.Date(2026, 11, 9, 12, 0, 0, 0, time.UTC)
	h := hubtest.Start(t, hubtest.Options{Clock: start, Step: time.Minute})
	fill(t, h, "0", message(deletion(0), unrelated), message(deletion(1))) // 12:00, 12:01
	fill(t, h, "1", message(deletion(2), deletion(3)), message(deletion(0)), message(deletion(4)))
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"everything":          {nil, podsFrom(0, 5)},
		"from a time":         {[]string{"--from", "2026-11-09T12:01:00Z"}, podsFrom(0, 5)},
		"from a time in zone": {[]string{"--from", "2026-11-09T13:02:00+01:00"}, []string{podOf(0), podOf(2), podOf(3), podOf(4)}},
		"to a time":           {[]string{"--to", "2026-11-09T12:02:00Z"}, podsFrom(0, 2)},
		"between":             {[]string{"--from", "2026-11-09T12:01:00Z", "--to", "2026-11-09T12:03:00Z"}, podsFrom(1, 4)},
		"a day":               {[]string{"--from", "2026-11-09", "--to", "2026-11-10"}, podsFrom(0, 5)},
		"another day":         {[]string{"--from", "2026-11-08", "--to", "2026-11-09"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			stderr, err := runReplay(t.Context(), t, h, out.Write, append([]string{"--event-hub"}, tt.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, pods(t, out.String())); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if !strings.Contains(stderr, "from 2 partitions of "+h.Addr+"/podwatch in ") || strings.Contains(stderr, "SAS_KEY") {
				t.Errorf("standard error: %s", stderr)
			}
		})
	}
}

func TestReplayFindsTheHubByEitherForm(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	fill(t, h, "1", message(deletion(1)))
	for _, args := range [][]string{{"--event-hub"}, {"--event-hub=podwatch"}, {"--event-hub", "podwatch"}, {"podwatch", "--event-hub"}} {
		var out bytes.Buffer
		if _, err := runReplay(t.Context(), t, h, out.Write, append(args, "--summary")...); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		var counts map[string]int
		if err := json.Unmarshal(out.Bytes(), &counts); err != nil || counts["bytes"] != len(message(deletion(1))) || counts["alerts"] != 1 || counts["delivered"] != 0 {
			t.Errorf("%v printed %s (%v), want the bytes of one message, one alert, nothing delivered", args, out.String(), err)
		}
	}
}

func TestReplayGoesOnWhereItWasInterrupted(t *testing.T) {
	const each = 300
	room := strings.Repeat(" ", 30_000) // for several batches in each partition
	h := hubtest.Start(t, hubtest.Options{})
	for p := range 2 {
		var bodies []string
		for n := range each {
			bodies = append(bodies, message(deletion(p*each+n))+room)
		}
		fill(t, h, fmt.Sprint(p), bodies...)
	}
	position := filepath.Join(t.TempDir(), "position.json")
	var out bytes.Buffer
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	_, err := runReplay(ctx, t, h, func(p []byte) (int, error) {
		interrupt()
		return out.Write(p)
	}, "--event-hub", "--position-file", position)
	if err == nil || !strings.Contains(err.Error(), "the same command goes on from "+position) {
		t.Errorf("error %v, want one that says how to go on", err)
	}
	first := strings.Count(out.String(), "\n")
	if first == 0 || first == 2*each {
		t.Fatalf("%d alerts before the interruption, want some", first)
	}
	for want := range 2 { // and then there is nothing more
		if _, err := runReplay(t.Context(), t, h, out.Write, "--event-hub", "--position-file", position); err != nil {
			t.Fatal(want, err)
		}
		if diff := cmp.Diff(podsFrom(0, 2*each), pods(t, out.String())); diff != "" {
			t.Errorf("pods of all runs (-want +got):\n%s", diff)
		}
	}
}

// TestReplayFinishesTheBatchesUnderWay interrupts a replay while one partition
// prints an alert and another one, which has the same, waits for that. Both are to
// count as done: a batch that was given up would print its alerts again when the
// replay goes on.
func TestReplayFinishesTheBatchesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		printing, release := make(chan struct{}), make(chan struct{})
		cmd := newReplayCommand()
		cmd.SetErr(io.Discard)
		cmd.SetOut(writerFunc(func(p []byte) (int, error) {
			if out.Len() == 0 {
				close(printing)
				<-release
			}
			return out.Write(p)
		}))
		r, err := newReplay(cmd, replayOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		results := make(chan error, 2)
		evaluate := func(partition string) {
			results <- r.evaluateHub(ctx, hub.Partition{ID: partition}, []hub.Message{{Body: []byte(message(deletion(0)))}})
		}
		go evaluate("0")
		<-printing
		go evaluate("1")
		synctest.Wait() // partition 1 waits for what partition 0 prints
		interrupt()
		synctest.Wait()
		close(release)
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("a batch that was under way is not done: %v", err)
			}
		}
		if diff := cmp.Diff(podsFrom(0, 1), pods(t, out.String())); diff != "" {
			t.Errorf("pods (-want +got):\n%s", diff)
		}
		if want := 2 * len(message(deletion(0))); r.counts.Bytes != want {
			t.Errorf("%d bytes counted, want %d of both batches", r.counts.Bytes, want)
		}
	})
}

func TestReplayDeliversOnlyWhenAsked(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	fill(t, h, "0", message(deletion(0), deletion(1)))
	var gone atomic.Bool
	box := inbox.New(inbox.Options{Answer: func(r inbox.Request) *inbox.Answer {
		if gone.Load() && r.Sink == inbox.Teams {
			return &inbox.Answer{Status: http.StatusNotFound}
		}
		return nil
	}})
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	t.Setenv("AzureWebJobsStorage", "")
	for name, value := range inbox.Settings(server.URL) {
		t.Setenv(name, value)
	}
	position := filepath.Join(t.TempDir(), "position.json")
	var out bytes.Buffer
	if _, err := runReplay(t.Context(), t, h, out.Write, "--event-hub"); err != nil {
		t.Fatal(err)
	}
	if c := box.Counts(); c != (inbox.Counts{}) || len(pods(t, out.String())) != 2 {
		t.Errorf("%+v delivered without --deliver", c)
	}

	gone.Store(true)
	_, err := runReplay(t.Context(), t, h, out.Write, "--event-hub", "--deliver", "--position-file", position)
	if err == nil || !strings.Contains(err.Error(), "2 alerts could not be delivered") {
		t.Errorf("error %v, want one about the undelivered alerts", err)
	}
	if box.Counts().Cards != 0 {
		t.Errorf("%+v", box.Counts())
	}

	gone.Store(false)
	out.Reset()
	if _, err := runReplay(t.Context(), t, h, out.Write, "--event-hub", "--deliver", "--summary", "--position-file", position); err != nil {
		t.Fatalf("again, with a sink that takes them: %v", err)
	}
	if c := box.Counts(); c.Cards != 2 || c.Rows < 2 {
		t.Errorf("%+v, want two cards: what failed must not count as read", c)
	}
	if !strings.Contains(out.String(), `"delivered":4`) {
		t.Errorf("summary %s, want four deliveries", out.String())
	}
}

func TestReplaySaysWhatItCannotRead(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	fill(t, h, "1", message(deletion(0)), "\x1b[2J no JSON", message(deletion(1)))
	var out bytes.Buffer
	stderr, err := runReplay(t.Context(), t, h, out.Write, "--event-hub")
	if err == nil || !strings.Contains(err.Error(), "1 pieces could not be read") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(stderr, "podwatch: partition 1, message 1, byte ") || strings.Contains(stderr, "\x1b") {
		t.Errorf("standard error %q", stderr)
	}
	if diff := cmp.Diff(podsFrom(0, 2), pods(t, out.String())); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

func TestReplayStopsWhenItCannotPrint(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	fill(t, h, "0", message(deletion(0)))
	_, err := runReplay(t.Context(), t, h, func([]byte) (int, error) { return 0, os.ErrClosed }, "--event-hub")
	if err == nil || !strings.Contains(err.Error(), "write alert") {
		t.Errorf("error %v", err)
	}
}

func TestReplayRefuses(t *testing.T) {
	const full = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=read;SharedAccessKey=c2VjcmV0LWtleQ=="
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing":                 {nil, "name at least one file"},
		"a hub and files":         {[]string{"--event-hub", "a", "b.json"}, "no files"},
		"a file and a time":       {[]string{"--from", "1h", "b.json"}, "--from is about a hub: add --event-hub"},
		"a namespace and no hub":  {[]string{"--namespace", "ns.servicebus.windows.net", "b.json"}, "--namespace is about a hub"},
		"two names":               {[]string{"--event-hub=a", "b"}, `two names for the hub: "a" and "b"`},
		"no connection":           {[]string{"--event-hub", "a"}, "neither a connection string nor a namespace"},
		"no such time":            {[]string{"--event-hub", "a", "--connection-string", full, "--from", "yesterday"}, `--from "yesterday" is neither`},
		"no such time to stop at": {[]string{"--event-hub", "a", "--connection-string", full, "--to", "-1h"}, `--to "-1h" is neither`},
		"the wrong way round":     {[]string{"--event-hub", "a", "--connection-string", full, "--from", "1h", "--to", "2h"}, "is not before --to"},
		"the future":              {[]string{"--event-hub", "a", "--connection-string", full, "--from", "2999-01-01"}, "lies in the future"},
		"no sink":                 {[]string{"--deliver", "b.json"}, "no sink is set"},
	} {
		t.Run(name, func(t *testing.T) {
			withoutSettings(t)
			status, stdout, stderr := runTool(t, append([]string{"replay"}, tt.args...)...)
			if status != statusUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, want 2 and %q: %s", status, tt.want, stderr)
			}
			if strings.Contains(stdout+stderr, "c2VjcmV0") {
				t.Errorf("the key is shown: %s%s", stdout, stderr)
			}
		})
	}
}

// TestTheDeploymentMakesTheToolsConsumerGroup reads the Bicep: the tool's default
// must be a group that exists there, and another one than the app's.
func TestTheDeploymentMakesTheToolsConsumerGroup(t *testing.T) {
	find := func(file, pattern string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(repository, "infra", file))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has nothing that matches %s", file, pattern)
		}
		return string(found[1])
	}
	apps := find("main.bicep", `var consumerGroup = '([^']+)'`)
	tools := find(filepath.Join("modules", "eventhub.bicep"), `(?s)resource toolGroup .*?/consumergroups@.*?name: '([^']+)'`)
	if got := strings.ReplaceAll(tools, "${consumerGroup}", apps); got != toolGroup || got == apps {
		t.Errorf("the deployment makes the consumer group %q for the tool, which takes %q; the app has %q", got, toolGroup, apps)
	}
}

func TestReplayNamesAConsumerGroupThatIsNotThere(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Groups: []string{"other"}})
	fill(t, h, "0", message(deletion(0)))
	var out bytes.Buffer
	_, err := runReplay(t.Context(), t, h, out.Write, "--event-hub")
	if err == nil || !strings.Contains(err.Error(), "podwatch-tool") {
		t.Errorf("error %v, want the group in it", err)
	}
	if _, err := runReplay(t.Context(), t, h, out.Write, "--event-hub", "--consumer-group", "$Default"); err != nil {
		t.Error(err)
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 9, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		"2026-11-09T08:00:00Z":      "2026-11-09T08:00:00Z",
		"2026-11-09T08:00:00+02:00": "2026-11-09T06:00:00Z",
		"2026-11-09":                "2026-11-09T00:00:00Z",
		"90m":                       "2026-11-09T10:30:00Z",
		"1h30m":                     "2026-11-09T10:30:00Z",
		"7d":                        "2026-11-02T12:00:00Z",
		"0.5d":                      "2026-11-09T00:00:00Z",
		"0s":                        "2026-11-09T12:00:00Z",
	} {
		if got, err := parseMoment(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("parseMoment(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "24", "-1h", "-1d", "1w", "d", "NaNd", "Infd", "1e9d", "2026-13-01", "08:00"} {
		if got, err := parseMoment(text, now); err == nil {
			t.Errorf("parseMoment(%q) = %v, want an error", text, got)
		}
	}
}

// A writerFunc is a function as a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
