package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/config"
)

// readmeRuns runs commands of README as they stand there, in a copy of the
// repository (see newWorkplace). Where README has a placeholder, or a port that
// may be taken, the run puts something in its place.
var readmeRuns = map[string]func(*testing.T, *workplace, command){
	"make build": func(t *testing.T, w *workplace, _ command) {
		for _, name := range []string{"handler", "podwatch"} { // newWorkplace has run it
			if info, err := os.Stat(filepath.Join(w.dir, "bin", name)); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("make build leaves no executable bin/%s: %v", name, err)
			}
		}
	},
	"make run":   runMakeRun,
	"make start": runMakeStart,
	"make fuzz":  runMakeFuzz,
	"make bench": func(t *testing.T, w *workplace, c command) {
		if got := w.goCalls(t, c.text); !slices.Contains(got, "test -run ^$ -bench . -benchmem ./handler/...") {
			t.Errorf("make bench calls go with %q", got)
		}
	},
	"cp infra/main.bicepparam infra/my.bicepparam": func(t *testing.T, w *workplace, c command) {
		w.bash(t, c.text)
		if text, err := os.ReadFile(filepath.Join(w.dir, "infra", "my.bicepparam")); err != nil || !strings.Contains(string(text), "using './main.bicep'") {
			t.Errorf("the copy does not use main.bicep beside it: %v", err)
		}
	},

	"bin/podwatch check [RULE...]":                                         prints("", "", "cases pass"),
	"bin/podwatch check handler/rules":                                     prints("", "", "2 rules, 2 running"),
	"bin/podwatch replay FILE...":                                          prints("FILE...", "handler/cmd/podwatch/samples/*.json", `"AlertId":"`),
	"bin/podwatch match --query QUERY":                                     prints("QUERY", `'a: b' <<<'{"a":"b"}'`, "true\n"),
	"bin/podwatch check --exceptions function_app/exceptions.example.yaml": prints("", "", "after-scaling (platform-team@example.com, until"),
	"bin/podwatch replay --exceptions function_app/exceptions.example.yaml --summary handler/cmd/podwatch/samples/*.json": prints("", "", `"Alerts":6`),
	`echo '{"event":{"outcome":"success"},"azure":{"activitylogs":{"operation_name":"X/DELETE"}}}' | ` +
		`bin/podwatch match --query 'event.outcome: success and azure.activitylogs.operation_name: *DELETE'`: prints("", "", "true\n"),

	standIn: runStandIn,
}

// prints runs a command with what stands for a placeholder and wants a text on
// standard output.
func prints(placeholder, instead, want string) func(*testing.T, *workplace, command) {
	return func(t *testing.T, w *workplace, c command) {
		text := strings.ReplaceAll(c.text, "["+strings.Trim(placeholder, "[]")+"]", instead)
		if placeholder != "" {
			text = strings.ReplaceAll(text, placeholder, instead)
		}
		text = regexp.MustCompile(` \[[A-Z.]+\]`).ReplaceAllString(text, "") // may be left out
		if out := w.bash(t, text); !strings.Contains(out, want) {
			t.Errorf("%s prints\n%s\nwithout %q", text, out, want)
		}
	}
}

func TestReadmeCommandsRun(t *testing.T) {
	w := newWorkplace(t)
	done := map[string]bool{}
	for _, c := range w.readme.commands {
		run := readmeRuns[c.text]
		if run == nil || done[c.text] {
			continue
		}
		done[c.text] = true
		t.Run(c.text, func(t *testing.T) { run(t, w, c) })
	}
	// The exception that README shows is one.
	t.Run("exception", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "exceptions.yaml")
		if err := os.WriteFile(name, []byte(w.other(t, "exceptions:")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := w.bash(t, "bin/podwatch check --exceptions "+name); !strings.Contains(out, "after-scaling (") {
			t.Errorf("check prints\n%s", out)
		}
	})
}

// A workplace is a folder that looks like the repository to the commands of
// README, with executables of its own.
type workplace struct {
	dir    string
	readme markdown
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	w := &workplace{dir: t.TempDir(), readme: readMarkdown(readReadme(t))}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"handler", "function_app"} {
		if err := os.Symlink(filepath.Join(repository, name), filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// Commands write into infra, so it is a copy.
	from, to := filepath.Join(repository, "infra"), filepath.Join(w.dir, "infra")
	err = filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case entry.Name() == "node_modules":
			if err := os.Symlink(path, filepath.Join(to, below)); err != nil || !entry.IsDir() {
				return err
			}
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), content, 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.make(t, "build")
	return w
}

// bareEnvironment is what a person's shell has before any setting of podwatch
// is exported. What a make that runs this test says to its children is not for
// others.
func bareEnvironment() []string {
	not := append(config.Settings(), "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "HANDLER_GOOS", "HANDLER_GOARCH", "CGO_ENABLED", "FUZZTIME", "AZURITE", "RUN_FLAGS")
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(not, name)
	})
}

// bash runs a line, or several, and returns its standard output.
func (w *workplace) bash(t *testing.T, text string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = w.dir, append(bareEnvironment(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", text, err, out, stderr.String())
	}
	return string(out)
}

// installed is what make would install anew when it looks out of date, under
// the feet of other tests.
const installed = "infra/local/node_modules/.package-lock.json"

// makeCommand is a command of README that begins with make, as it stands there,
// with the repository's Makefile, writing only into the workplace.
func (w *workplace) makeCommand(text string, variables ...string) string {
	arguments := strings.TrimPrefix(text, "make ")
	repository, _ := filepath.Abs("..") // newWorkplace has asked
	text = "make --no-print-directory -o " + installed + " -C '" + repository + "' " + arguments + " BIN='" + filepath.Join(w.dir, "bin") + "' DIST='" + filepath.Join(w.dir, "dist") + "'"
	for _, v := range variables {
		text += " '" + v + "'"
	}
	return text
}

func (w *workplace) make(t *testing.T, arguments string, variables ...string) string {
	t.Helper()
	return w.bash(t, w.makeCommand(arguments, variables...))
}

// script writes an executable into a new folder and returns its path.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/usr/bin/env bash\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// goCalls runs a command of make with a stand-in for go and returns how that is
// called. What it stands in for takes minutes.
func (w *workplace) goCalls(t *testing.T, text string) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	w.make(t, text, "GO="+script(t, "go", `echo "$*" >>"`+log+`"`))
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(calls)), "\n")
}

// other is the block of README that begins so.
func (w *workplace) other(t *testing.T, beginning string) string {
	t.Helper()
	for _, block := range w.readme.others {
		if strings.HasPrefix(block, beginning) {
			return block
		}
	}
	t.Fatalf("README has no block that begins with %q", beginning)
	return ""
}

var clock = regexp.MustCompile(`(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d`)

// runMakeRun does what README's first paragraphs promise: the samples, the alert
// that is shown there, the line for curl, and an end that leaves nothing.
func runMakeRun(t *testing.T, w *workplace, c command) {
	text := w.makeCommand(c.text, "RUN_FLAGS=--port 0 --page-port 0 --drop "+filepath.Join(w.dir, "drop"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+text)
	cmd.Dir, cmd.Env = w.dir, bareEnvironment()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // make passes it on
	cmd.WaitDelay = time.Minute
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	alerts, said := &transcript{r: bufio.NewReader(stdout)}, &transcript{r: bufio.NewReader(stderr)}
	await := func(in *transcript, want string) {
		t.Helper()
		if err := in.await(want); err != nil {
			_ = cmd.Cancel() // it may have ended
			t.Fatalf("%v while waiting for %q: %v\n%s%s", err, want, errors.Join(alerts.rest(), said.rest(), cmd.Wait()), &said.text, &alerts.text)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = cmd.Cancel() // it may have ended
			t.Logf("make run: %v\n%s%s", errors.Join(alerts.rest(), said.rest(), cmd.Wait()), &said.text, &alerts.text)
		}
	})
	await(said, "The sample export is fed: 7 messages, 5 cards in Teams, 6 rows in Log Analytics.")

	feed := regexp.MustCompile(`(?m)^ *Feed it +(curl .*)$`).FindStringSubmatch(said.text.String())
	if feed == nil {
		t.Fatalf("make run prints no line for curl:\n%s", &said.text)
	}
	w.bash(t, feed[1])
	await(alerts, "robin.vale@example.com")
	drop := filepath.Join(w.dir, "drop", "one.json")
	if err := os.WriteFile(drop, []byte(`{"records":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	await(said, drop+" is fed: ")

	address := regexp.MustCompile(`Alerts +http://(\S+)/`).FindStringSubmatch(said.text.String())
	if err := cmd.Cancel(); err != nil {
		t.Fatal(err)
	}
	// Both end when nobody holds them any more.
	if err := errors.Join(alerts.rest(), said.rest()); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // make tells the signal
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address[1]); err == nil {
		conn.Close()
		t.Errorf("something still listens on %s", address[1])
	}
	printed := clock.ReplaceAllString(alerts.text.String(), "TIME")
	for line := range strings.Lines(clock.ReplaceAllString(w.other(t, "MEDIUM "), "TIME")) {
		if !strings.Contains(printed, strings.TrimSpace(line)) {
			t.Errorf("README shows an alert with the line %q, and make run prints none:\n%s", line, printed)
		}
	}
}

// A transcript is an output that is read as far as a test wants it.
type transcript struct {
	r    *bufio.Reader
	text strings.Builder
}

// await reads until want was said, which may have been earlier.
func (o *transcript) await(want string) error {
	for !strings.Contains(o.text.String(), want) {
		line, err := o.r.ReadString('\n')
		o.text.WriteString(line)
		if err != nil {
			return err
		}
	}
	return nil
}

// rest reads to the end.
func (o *transcript) rest() error {
	_, err := o.r.WriteTo(&o.text)
	return err
}

// runMakeStart has a stand-in for Core Tools look at what `func start` would
// find, and one for Azurite, which would take its well-known ports.
func runMakeStart(t *testing.T, w *workplace, c command) {
	dir := t.TempDir()
	log, ready, told := filepath.Join(dir, "log"), filepath.Join(dir, "ready"), filepath.Join(dir, "told")
	w.bash(t, "mkfifo '"+ready+"'")
	tools := script(t, "func", `read -r <"`+ready+`"; echo "func $*" >"`+log+`"; pwd >>"`+log+`"`)
	azurite := script(t, "azurite", `trap 'echo to end >"`+told+`"; kill $!; exit' TERM; sleep 60 & echo >"`+ready+`"; wait`)
	w.bash(t, w.makeCommand(c.text, "AZURITE="+azurite), "PATH="+filepath.Dir(tools)+string(os.PathListSeparator)+os.Getenv("PATH"))

	dist, err := filepath.EvalSymlinks(filepath.Join(w.dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("func start\n"+dist+"\n", string(text)); diff != "" {
		t.Errorf("Core Tools are called otherwise (-want +got):\n%s", diff)
	}
	for _, name := range []string{"host.json", "handler", "Detect/function.json"} {
		if _, err := os.Stat(filepath.Join(dist, name)); err != nil {
			t.Error(err)
		}
	}
	var local struct{ Values map[string]string }
	settings, err := os.ReadFile(filepath.Join(dist, "local.settings.json"))
	if err == nil {
		err = json.Unmarshal(settings, &local)
	}
	if err != nil || local.Values["FUNCTIONS_WORKER_RUNTIME"] != "custom" {
		t.Errorf("local.settings.json has %v, %v", local.Values, err)
	}

	// bash has returned, so nobody holds its output any more: it ended, and this
	// is why.
	if text, err := os.ReadFile(told); err != nil || string(text) != "to end\n" {
		t.Errorf("Azurite was told %q, %v", text, err)
	}
}

// runMakeFuzz wants each fuzz target that the code has to be fuzzed, once.
func runMakeFuzz(t *testing.T, w *workplace, c command) {
	var want []string
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, at := range target.FindAllStringSubmatch(string(text), -1) {
			want = append(want, "./handler/"+filepath.ToSlash(filepath.Dir(path))+" "+at[1])
		}
		return err
	})
	if err != nil || len(want) == 0 {
		t.Fatalf("fuzz targets: %q, %v", want, err)
	}
	var got []string
	call := regexp.MustCompile(`^test (\S+) -run \^\$ -fuzz \^(\w+)\$ -fuzztime 20s `)
	for _, line := range w.goCalls(t, c.text) {
		if at := call.FindStringSubmatch(line + " "); at != nil {
			got = append(got, at[1]+" "+at[2])
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fuzz targets (-code +make):\n%s", diff)
	}
}

// runStandIn runs a block of README: start the stand-in on a free port, and send
// to it.
func runStandIn(t *testing.T, w *workplace, c command) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	atPort := func(text string) string { return strings.ReplaceAll(text, "5672", port) }

	hub := exec.CommandContext(t.Context(), "bash", "-c", "exec "+atPort(c.text)+" --exit-with-stdin")
	hub.Dir, hub.Env = w.dir, bareEnvironment()
	alive, err := hub.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := hub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		alive.Close()
		_ = hub.Wait() // it ends with its input, however
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready 127.0.0.1:"+port+"\n" {
		t.Fatalf("the stand-in says %q, %v", line, err)
	}

	w.bash(t, "cat handler/cmd/podwatch/samples/*.json | tr -d '\\n' >message.json; (cat message.json; echo; cat message.json; echo) >export.jsonl")
	var lines []string
	for _, other := range w.readme.commands {
		if other.block == c.block && other.text != c.text {
			lines = append(lines, atPort(other.text))
		}
	}
	lines = append(lines,
		"bin/podwatch send message.json",
		"bin/podwatch replay --event-hub --summary")
	if out := w.bash(t, strings.Join(lines, "\n")); !strings.Contains(out, `"Messages":3`) {
		t.Errorf("two lines and a file are sent, and the hub has\n%s", out)
	}
}

// helpTexts are the help of every subcommand, as the tool prints it.
func helpTexts(t *testing.T) map[string]string {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "podwatch")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", tool, "./cmd/podwatch").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	help := map[string]string{}
	for _, name := range []string{"run", "send", "replay", "match", "check", "requeue"} {
		out, err := exec.CommandContext(t.Context(), tool, name, "--help").Output()
		if err != nil {
			t.Fatalf("podwatch %s --help: %v", name, err)
		}
		help[name] = string(out)
	}
	return help
}

// sourceText is all Go code below handler but the tests of README.
func sourceText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, "readme") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
