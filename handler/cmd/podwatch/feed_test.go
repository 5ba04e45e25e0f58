package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/logtest"
)

// What feed makes raises an alert that names what the flags say.
func TestFeedMakesDeletions(t *testing.T) {
	t.Parallel()
	const id = "71e3b9a8-4c60-4f12-8e9d-2d5c6b7a8f90"
	for _, tt := range []struct {
		feedOptions
		caller, callerKind, deletion string
	}{
		{feedOptions{kind: "arc", who: "a.b@example.com"}, "a.b@example.com", "user", "delete"},
		{feedOptions{kind: "arc", who: id}, id, "servicePrincipal", "delete"},
		{feedOptions{kind: "delete", who: "a.b@example.com"}, "a.b@example.com", "user", "delete"},
		{feedOptions{kind: "eviction", who: "system:serviceaccount:ci:runner"}, "system:serviceaccount:ci:runner", "kubernetes", "eviction"},
		{feedOptions{kind: "deletecollection", who: "a.b@example.com", cluster: "blue"}, "a.b@example.com", "user", "deletecollection"},
	} {
		tt.pod, tt.namespace = "web", "front"
		message := append(tt.record(time.Now().UTC(), 0), '\n')
		message = append(message, tt.record(time.Now().UTC(), 1)...)
		status, out, errs := replayed(t, string(message), "-")
		lines := strings.SplitAfter(out, "\n")
		if status != 0 || len(lines) != 3 {
			t.Errorf("%+v: status %d, %s%s", tt, status, out, errs)
			continue
		}
		a, err := alert.Parse([]byte(lines[0]))
		if err != nil {
			t.Fatal(err)
		}
		pod := "web"
		if tt.deletion == "deletecollection" {
			pod = ""
		}
		name := a.CallerName
		if name == "" {
			name = a.CallerId
		}
		if !strings.EqualFold(name, tt.caller) || a.CallerKind != tt.callerKind || a.DeletionKind != tt.deletion || !strings.EqualFold(a.Namespace, "front") || !strings.EqualFold(a.Pod, pod) {
			t.Errorf("%+v: the alert has caller %q (%s), %s of %q in %q", tt, name, a.CallerKind, a.DeletionKind, a.Pod, a.Namespace)
		}
		if tt.cluster != "" && !strings.EqualFold(a.ClusterName, tt.cluster) {
			t.Errorf("cluster %q", a.ClusterName)
		}
	}
}

func TestFeedSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--kind", "scale"}, 2, `--kind "scale" is none of arc, delete, deletecollection, eviction`},
		{[]string{"--times", "0"}, 2, "--times 0 is not between"},
		{[]string{"--pod", "x", "file"}, 2, "leave out the files"},
		{[]string{"--page-port", "0"}, 2, "--page-port 0 is no port"},
		{[]string{"--page-port", port}, 1, "no podwatch run answers on 127.0.0.1:" + port},
		{[]string{"--page-port", port, "nowhere\x1b.json"}, 1, "nowhere<U+001B>.json: no such file"},
	} {
		status, _, errs := runTool(t, append([]string{"feed"}, tt.args...)...)
		if status != tt.status || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: status %d, %s\nwant %d with %q", tt.args, status, errs, tt.status, tt.want)
		}
	}
}

// A run with the real handler tells what came of what it is fed, by the command and by
// the drop folder.
func TestFeedTellsWhatCameOfIt(t *testing.T) {
	withoutSettings(t)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	app := stage(t, handler)
	writeFile(t, filepath.Join(app, "exceptions.yaml"), "exceptions:\n  - {name: known, reason: r, owner: o, match: 'caller.name: known@example.com'}\n")
	drop := t.TempDir()
	r := startRun(t, func(*running) runOptions { return runOptions{app: app, drop: drop, noSamples: true, asJSON: true} })
	port := fmt.Sprint(r.run.page.Addr().(*net.TCPAddr).Port)
	feed := func(stdin string, args ...string) string {
		t.Helper()
		_, out, errs := runToolOn(t, strings.NewReader(stdin), append([]string{"feed", "--page-port", port}, args...)...)
		return out + errs
	}
	if out, want := feed(""), "read 1 record: 1 alerted (1 card)\n"; out != want {
		t.Errorf("feed printed %s, want %s", out, want)
	}
	if out, want := feed("", "--who", "known@example.com"), "read 1 record: 1 suppressed\n"; out != want {
		t.Errorf("what an exception expects: %s, want %s", out, want)
	}
	log := deletion(1) + "\n" + unrelated
	for _, want := range []string{"1 alerted (1 card), 1 no match", "1 repeat, 1 no match"} {
		if out := feed(log, "-"); out != "standard input: read 2 records: "+want+"\n" {
			t.Errorf("a log: %s, want %s", out, want)
		}
	}
	if out := feed("oops", "-"); !strings.HasPrefix(out, "standard input: read 1 record: 1 unreadable (byte 0: text that is no JSON)\n") {
		t.Errorf("text: %s", out)
	}
	if out := feed("", "-"); out != "standard input: empty: no record\n" {
		t.Errorf("nothing: %s", out)
	}
	var groups []string
	for n := range 30 {
		groups = append(groups, deletion(100+n))
	}
	if out := feed(strings.Join(groups, "\n"), "-"); !strings.Contains(out, " alerted (") {
		t.Errorf("a storm: %s", out)
	}
	if out := feed(deletion(500), "-"); !strings.Contains(out, "1 held until ") {
		t.Errorf("an alert in a storm: %s, want it held", out)
	}
	packed := filepath.Join(drop, "log.json.gz")
	writeFile(t, packed, logtest.Gzip(log))
	r.stderr.await(t, packed+" is fed: read 2 records: 1 repeat, 1 no match\n", r.ended)
	capture, err := os.ReadFile("testdata/files/cap.avro")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(drop, "cap.avro"), string(capture))
	r.stderr.await(t, "cap.avro is fed: read 25 records: ", r.ended)
	writeFile(t, filepath.Join(drop, "cut.gz"), logtest.Gzip(log)[:40])
	r.stderr.await(t, "cut.gz is not fed to its end: unpack gzip: unexpected EOF", r.ended)
	r.end()
	if err := <-r.done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v", err)
	}
}
