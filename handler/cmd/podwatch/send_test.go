package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
)

// runSend runs the command with no settings but those given.
func runSend(t *testing.T, settings map[string]string, stdin string, args ...string) (stderr string, err error) {
	t.Helper()
	withoutSettings(t)
	for name, value := range settings {
		t.Setenv(name, value)
	}
	cmd := newSendCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	if out.Len() > 0 {
		t.Errorf("standard output got %q", out.String())
	}
	return errs.String(), err
}

// retained lists the message bodies of a hub by partition.
func retained(t *testing.T, h *hubtest.Hub) map[string][]string {
	t.Helper()
	var mu sync.Mutex
	bodies := map[string][]string{}
	_, err := hub.Read(t.Context(), hub.Connection{ConnectionString: h.ConnectionString, Hub: "podwatch"}, hub.ReadOptions{},
		func(_ context.Context, p hub.Partition, batch []hub.Message) error {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range batch {
				bodies[p.ID] = append(bodies[p.ID], string(m.Body))
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return bodies
}

func TestSend(t *testing.T) {
	const two = "{\"records\":[]}\n{\"a\":1}\r\n\n"
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  []string
	}{
		"a file is one message":     {[]string{tempFile(t, "body.json", two)}, "", []string{two}},
		"two files are two":         {[]string{tempFile(t, "body.json", "a"), tempFile(t, "body.json", "b")}, "", []string{"a", "b"}},
		"a line is one message":     {[]string{"--lines", tempFile(t, "body.json", two)}, "", []string{`{"a":1}`, `{"records":[]}`}},
		"standard input":            {[]string{"-"}, two, []string{two}},
		"lines of standard input":   {[]string{"--lines", "-", tempFile(t, "body.json", "z")}, two, []string{"z", `{"a":1}`, `{"records":[]}`}},
		"no line break at the end":  {[]string{"--lines", "-"}, "a\nb", []string{"a", "b"}},
		"at a rate":                 {[]string{"--lines", "--rate", "100", "-"}, "a\nb\nc", []string{"a", "b", "c"}},
		"a line of half a megabyte": {[]string{"--lines", "-"}, strings.Repeat("x", 500_000), []string{strings.Repeat("x", 500_000)}},
	} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.Start(t, hubtest.Options{})
			stderr, err := runSend(t, nil, c.stdin, append([]string{"--connection-string", h.ConnectionString, "--event-hub", "podwatch"}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Concat(retained(t, h)["0"], retained(t, h)["1"])
			slices.Sort(got)
			if diff := cmp.Diff(slices.Sorted(slices.Values(c.want)), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if !strings.Contains(stderr, "messages, ") || !strings.Contains(stderr, h.Addr+"/podwatch") || strings.Contains(stderr, "SAS_KEY") {
				t.Errorf("standard error: %s", stderr)
			}
		})
	}
}

func TestSendTargetsAPartition(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 3}})
	settings := map[string]string{"EventHub": h.ConnectionString, "EVENT_HUB_NAME": "podwatch"}
	if _, err := runSend(t, settings, "a\nb\nc\nd", "--lines", "--partition", "2", "-"); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"e", "f", "g"} {
		if _, err := runSend(t, settings, line, "--key", "cluster", "-"); err != nil {
			t.Fatal(err)
		}
	}
	bodies := retained(t, h)
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, bodies["2"][:4]); diff != "" {
		t.Errorf("partition 2 (-want +got):\n%s", diff)
	}
	keyed := 0
	for _, b := range bodies {
		if slices.Contains(b, "e") {
			keyed++
			if !slices.Contains(b, "f") || !slices.Contains(b, "g") {
				t.Errorf("messages of one key are apart: %v", bodies)
			}
		}
	}
	if keyed != 1 {
		t.Errorf("partitions with the key: %d, want 1", keyed)
	}
}

func TestSendLeavesOutWhatIsTooLarge(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	settings := map[string]string{"EventHub": h.ConnectionString, "EVENT_HUB_NAME": "podwatch"}
	stderr, err := runSend(t, settings, "a\n"+strings.Repeat("x", 2<<20)+"\nb\n", "--lines", "-")
	if err == nil || !strings.Contains(err.Error(), "1 messages were too large") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(stderr, "standard input:2: a message of 2097152 bytes") || !strings.Contains(stderr, "sent 2 messages") {
		t.Errorf("standard error: %s", stderr)
	}
}

func TestSendRefuses(t *testing.T) {
	const secret = "c2VjcmV0LWtleQ=="
	const full = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=" + secret
	for name, c := range map[string]struct {
		settings map[string]string
		args     []string
		want     string
		usage    bool
	}{
		"no file":                               {nil, nil, "name a file", true},
		"no hub at all":                         {nil, []string{"-"}, "neither", true},
		"no name":                               {map[string]string{"EventHub": full}, []string{"-"}, "no hub", true},
		"two ways in":                           {nil, []string{"--connection-string", full, "--namespace", "ns.servicebus.windows.net", "--event-hub", "h", "-"}, "connection-string namespace", false},
		"partition and key":                     {nil, []string{"--partition", "1", "--key", "a", "-"}, "partition", false},
		"a negative rate":                       {map[string]string{"EventHub": full, "EVENT_HUB_NAME": "h"}, []string{"--rate", "-1", "-"}, "negative", true},
		"a connection string in the wrong flag": {nil, []string{"--namespace", full, "--event-hub", "h", "-"}, "host name", true},
		"a file that is not there":              {map[string]string{"EventHub": full, "EVENT_HUB_NAME": "h"}, []string{"nowhere.json"}, "nowhere.json", false},
	} {
		t.Run(name, func(t *testing.T) {
			stderr, err := runSend(t, c.settings, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || (c.usage && exitStatus(err) != statusUsage) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error()+stderr, secret) {
				t.Errorf("the key is shown: %v\n%s", err, stderr)
			}
		})
	}
}

func TestWithSettings(t *testing.T) {
	env := map[string]string{"EventHub": "of-the-environment", "EVENT_HUB_NAME": "named"}
	getenv := func(name string) string { return env[name] }
	got := withSettings(hub.Connection{Namespace: "ns.servicebus.windows.net"}, getenv)
	if got.ConnectionString != "" || got.Namespace == "" || got.Hub != "named" {
		t.Errorf("a namespace on the command line must replace the setting EventHub; got hub %q", got.Hub)
	}
	got = withSettings(hub.Connection{Hub: "other"}, getenv)
	if got.ConnectionString != "of-the-environment" || got.Hub != "other" {
		t.Errorf("got hub %q", got.Hub)
	}
}
