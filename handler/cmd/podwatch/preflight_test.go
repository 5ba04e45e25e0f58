package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost"
)

// fakePrograms is a folder with a go, npm and node that print a version each; an empty
// version leaves one out. They are links, because what was just written by a process
// that starts others may be busy.
func fakePrograms(t *testing.T, versions map[string]string) string {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "version"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, version := range versions {
		if version == "" {
			continue
		}
		writeFile(t, filepath.Join(dir, name+".version"), version+"\n")
		if err := os.Symlink(script, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var goodPrograms = map[string]string{"go": "go1.26.1", "npm": "11.1.0", "node": "v20.3.1"}

// withPrograms is goodPrograms with another version of one.
func withPrograms(name, version string) map[string]string {
	all := map[string]string{}
	for n, v := range goodPrograms {
		all[n] = v
	}
	all[name] = version
	return all
}

// taken is a port that something listens on.
func taken(t *testing.T) string {
	t.Helper()
	l, err := devhost.ListenLocal("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// absentHub returns an address of this machine at which nothing listens.
func absentHub(t *testing.T) string {
	t.Helper()
	l, err := devhost.ListenLocal("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	tool := buildTool(t)
	absent := absentHub(t)
	locked := t.TempDir()
	release, err := lockFolder(locked, "--drop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	hub := []string{"--event-hub", "h", "--connection-string",
		"Endpoint=sb://" + absent + ";SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"}
	for name, c := range map[string]struct {
		programs map[string]string
		env      []string
		args     []string
		want     string // the one sentence; empty: all is well
	}{
		"all is well":   {},
		"no Go":         {programs: withPrograms("go", ""), want: "Go is not installed: install Go 1.26 or newer (https://go.dev/dl)"},
		"an old Go":     {programs: withPrograms("go", "go1.25.9"), want: "Go 1.25.9 is too old: install Go 1.26 or newer (https://go.dev/dl)"},
		"no npm":        {programs: withPrograms("npm", ""), want: "npm is not installed: install npm 9 or newer"},
		"an old npm":    {programs: withPrograms("npm", "8.19.4"), want: "npm 8.19.4 is too old: install npm 9 or newer"},
		"no Node.js":    {programs: withPrograms("node", ""), want: "Node.js is not installed: install Node.js 20 or newer"},
		"an old Node":   {programs: withPrograms("node", "v18.20.0"), want: "Node.js v18.20.0 is too old: install Node.js 20 or newer"},
		"no temporary":  {env: []string{"TMPDIR=/nowhere/tmp"}, want: `the temporary folder "/nowhere/tmp" cannot be used (no such file or directory): make it, or name another one with TMPDIR`},
		"equal ports":   {args: []string{"--port", "7300", "--page-port", "7300"}, want: "--port and --page-port are both 7300: choose two ports"},
		"a taken port":  {args: []string{"--page-port", taken(t)}, want: "is taken by another program: end that, or choose another port with --page-port"},
		"no folder":     {args: []string{"--drop", "/proc/nowhere"}, want: "or choose another folder with --drop"},
		"a locked one":  {args: []string{"--drop", locked}, want: fmt.Sprintf("is used by process %d, another podwatch run", os.Getpid())},
		"an absent hub": {args: hub, want: "nothing answers at " + absent + " on this machine: start the hub there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			programs := c.programs
			if programs == nil {
				programs = goodPrograms
			}
			args := append([]string{"preflight", "--port", "0", "--page-port", "0"}, c.args...)
			got := callTool(t, tool, t.TempDir(), append(c.env, "PATH="+fakePrograms(t, programs)), args...)
			if c.want == "" {
				if got.status != 0 || got.stderr != "" || strings.Count(got.stdout, "ok ") != 6 || !strings.Contains(got.stdout, "20.3.1") {
					t.Errorf("%+v", got)
				}
				return
			}
			said := strings.Split(strings.TrimSpace(got.stderr), "\n")
			if got.status != 1 || len(said) != 2 || !strings.Contains(said[0], c.want) || !strings.Contains(said[1], "podwatch: 1 of ") {
				t.Errorf("status %d, standard error %q, want one sentence with %q and a count", got.status, got.stderr, c.want)
			}
		})
	}
}

// What make says before it can build the tool is what the tool says.
func TestToolsOfMake(t *testing.T) {
	t.Parallel()
	const system = ":/usr/bin:/bin"
	for name, c := range map[string]struct {
		programs map[string]string
		env      []string
		want     string
	}{
		"all is well":  {programs: goodPrograms},
		"an old Go":    {programs: withPrograms("go", "go1.21.3"), want: "Go 1.21.3 is too old: install Go 1.26 or newer (https://go.dev/dl)"},
		"an old npm":   {programs: withPrograms("npm", "8.19.4"), want: "npm 8.19.4 is too old: install npm 9 or newer"},
		"an old Node":  {programs: withPrograms("node", "v18.20.0"), want: "Node.js v18.20.0 is too old: install Node.js 20 or newer"},
		"no Go":        {programs: goodPrograms, env: []string{"GO=/nowhere/go"}, want: "Go is not installed: install Go 1.26 or newer"},
		"no temporary": {programs: goodPrograms, env: []string{"TMPDIR=/nowhere"}, want: "the temporary folder /nowhere is missing or cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(repository, "infra", "pack", "tools.sh"), "go", "node", "npm")
			cmd.Env = append([]string{"PATH=" + fakePrograms(t, c.programs) + system}, c.env...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") > 1 {
				t.Errorf("%v, %q; want one line with %q", err, out, c.want)
			}
		})
	}
}

// The oldest versions are those that the sources demand.
func TestOldestVersions(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(repository, "infra", "local", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct{ Engines map[string]string }
	if err := json.Unmarshal(text, &pkg); err != nil {
		t.Fatal(err)
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	for _, p := range programs {
		want := strings.TrimPrefix(pkg.Engines[p.command], ">=")
		if p.command == "go" {
			want = string(language[1])
		}
		if p.oldest != want || !strings.Contains(p.cure, p.name+" "+want+" or newer") {
			t.Errorf("%s: %q, %q; the sources demand %q", p.name, p.oldest, p.cure, want)
		}
	}
}

// Nothing is waited for, and no storage is started, when the hub is absent.
func TestAnAbsentHubIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	tool := buildTool(t)
	absent := absentHub(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "message.json"), "{}")
	writeFile(t, filepath.Join(dir, "host.json"), "{}")
	hub := []string{"--event-hub", "h", "--connection-string",
		"Endpoint=sb://" + absent + ";SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"}
	for name, args := range map[string][]string{
		"run":    {"--app", dir, "--local", dir, "--port", "0", "--page-port", "0"},
		"send":   {"message.json"},
		"replay": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			got := callTool(t, tool, dir, nil, append(append([]string{name}, hub...), args...)...)
			if got.status != 1 || !strings.Contains(got.stderr, "nothing answers at "+absent) {
				t.Errorf("%+v", got)
			}
			t.Logf("after %s: %s", time.Since(began), got.stderr)
		})
	}
}
