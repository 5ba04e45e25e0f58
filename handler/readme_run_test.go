package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/config"
)

// A proof is how a command is known to work. One that needs Azure is parsed, and
// the tests that exercise what it starts are named.
type proof struct {
	run   func(*testing.T, *workplace, command)
	runBy string   // another command, whose run includes this one
	seen  []string // beginnings of lines of tests and of CI
	azure bool
}

const (
	standIn     = "node infra/local/eventhub.mjs --port 5672 --hub podwatch-logs:4"
	requeueTest = "func TestRequeue"
	followTest  = "func TestNothingIsLostOrTwiceFromHubToInbox("
	deployTest  = "func TestFromBeforeToDestroy("
)

func seen(lines ...string) proof  { return proof{seen: lines} }
func azure(lines ...string) proof { return proof{seen: lines, azure: true} }

// proofs has every command of the documents. A command that is missing here fails
// TestDocumentation, and so does one that no document has.
var proofs = map[string]proof{
	"make run":          {run: runMakeRun},
	"make start":        {run: runMakeStart},
	"make fuzz":         {run: runMakeFuzz},
	"make build":        {run: runMakeBuild},
	"make bench":        {run: runMakeBench},
	"make bench-beside": seen("bench-beside: ", "func TestTableAndSoak("),
	"make soak":         seen("soak: ", "func TestTableAndSoak("),
	"make storm":        seen("storm: ", "func TestAStormOfDeletions"),
	"make faults":       seen("faults: ", "func TestNothingIsLost", "func TestHandlersOnOneStorage"),
	"make test":         seen("make test"),
	"make browser-test": seen("make browser-test"),
	"make race lint":    seen("make race", "make lint"),
	"make lint":         seen("make lint"),
	"make infra-check":  seen("make infra-check"),
	"make snapshots":    seen("snapshots: ", "func TestSnapshotsAreOfTheseSources("),
	"make vulncheck":    seen("if ! findings=$(make vulncheck 2>&1)"),
	"make package":      seen("func TestPackageRunsAsItIsUnpacked("),
	"func start":        {runBy: "make start"},

	"make start HUB_PORT=5673": {runBy: "make start"},

	"go run ./infra/pack -o dist.zip dist": seen("package: stage ", "func TestPackageRunsAsItIsUnpacked("),

	"bin/podwatch preflight":                seen("func TestPreflight("),
	"bin/podwatch run":                      {runBy: "make run"},
	"bin/podwatch replay FILE...":           {run: prints(`"AlertId":"`, "FILE...", "handler/cmd/podwatch/samples/*.json")},
	"bin/podwatch replay --explain FILE...": {run: prints("rule       Azure Kubernetes Pods Deleted: match", "FILE...", "handler/cmd/podwatch/samples/*.json")},
	"bin/podwatch completion":               {run: prints("autocompletion script")},
	"bin/podwatch feed":                     {runBy: "make run"},
	"bin/podwatch feed --times 30 --kind eviction --who system:serviceaccount:ci:runner": seen("func TestFeedTellsWhatCameOfIt("),
	"bin/podwatch check [RULE...]":     {run: prints("cases pass", " [RULE...]", "")},
	"bin/podwatch check handler/rules": {run: prints("6 rules, 6 running")},
	"bin/podwatch match --query QUERY": {run: prints("true\n", "QUERY", `'a: b' <<<'{"a":"b"}'`)},
	"bin/podwatch send FILE...":        {runBy: standIn},

	"bin/podwatch check --exceptions function_app/exceptions.example.yaml":                                                {run: prints("after-scaling (platform-team@example.com, until")},
	"bin/podwatch replay --exceptions function_app/exceptions.example.yaml --summary handler/cmd/podwatch/samples/*.json": {run: prints(`"Alerts":6`)},
	`echo '{"event":{"outcome":"success"},"azure":{"activitylogs":{"operation_name":"X/DELETE"}}}' | ` +
		`bin/podwatch match --query 'event.outcome: success and azure.activitylogs.operation_name: *DELETE'`: {run: prints("true\n")},

	standIn: {run: runStandIn},
	"export EventHub='Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true'": {runBy: standIn},
	"export EVENT_HUB_NAME=podwatch-logs":       {runBy: standIn},
	"bin/podwatch send --lines export.jsonl":    {runBy: standIn},
	"bin/podwatch replay --event-hub --summary": {runBy: standIn},
	"bin/podwatch run --event-hub":              seen(followTest),

	"FAULT_RUNS=1000 go test -v -timeout 0 -run TestNothingIsLost ./handler/...":      {run: namesTests},
	"HOSTILE_SECONDS=60 go test -v -timeout 0 -run TestHostileRequests ./handler/...": {run: namesTests},
	"go test -run '^$' -bench ScanBeside -benchtime 40x ./handler/...":                {run: namesTests},
	"go test -run '^$' -bench 'Start|PeakMemory' -benchtime 20x ./handler/...":        {run: namesTests},
	"go test -run '^$' -bench BenchmarkMatch ./handler/...":                           {run: namesTests},
	"go test -run '^$' -bench Replay -benchtime 3x ./handler/...":                     {run: namesTests},

	"az login": azure(),
	"az functionapp list-flexconsumption-locations":            azure(),
	"az functionapp deployment source config-zip":              azure(),
	"(cd dist && func azure functionapp publish APP --custom)": azure(),
	"azd auth login": azure(),
	"azd env new podwatch --subscription SUBSCRIPTION --location LOCATION": azure(),
	"azd env get-values": azure(),
	"azd up":             azure(),
	"azd down":           azure(),
	"azd deploy":         azure(),
	"make package build": azure("func TestPackageRunsAsItIsUnpacked("),
	"make release":       seen("func TestRelease("),

	"az ad app create --display-name podwatch-deploy":                                                                                  azure(),
	"az ad sp create --id APP_ID":                                                                                                      azure(),
	"az ad app federated-credential create --id APP_ID --parameters federation.json":                                                   azure(),
	"az role assignment create --assignee APP_ID --scope /subscriptions/SUBSCRIPTION --role Contributor":                               azure(),
	"az role assignment create --assignee APP_ID --scope /subscriptions/SUBSCRIPTION --role 'Role Based Access Control Administrator'": azure(),

	"bin/podwatch doctor --subscription SUBSCRIPTION --before --location LOCATION --parameters infra/my.bicepparam --package dist.zip": azure(deployTest, "func TestBefore("),
	"bin/podwatch doctor --subscription SUBSCRIPTION":             azure("func TestDoctorSees("),
	"bin/podwatch doctor --subscription SUBSCRIPTION --json":      azure(deployTest),
	"bin/podwatch doctor --subscription SUBSCRIPTION --send":      azure(deployTest, "func TestDoctorSends("),
	"bin/podwatch publish --subscription SUBSCRIPTION dist.zip":   azure(deployTest, "func TestPublish("),
	"bin/podwatch publish --subscription SUBSCRIPTION --previous": azure("func TestPreviousPackage("),
	"bin/podwatch destroy --subscription SUBSCRIPTION --dry-run":  azure(deployTest),

	"cp infra/main.bicepparam infra/my.bicepparam":                                    {run: runCopy, azure: true},
	"export TEAMS_WEBHOOK_URL='https://...'":                                          azure(deployTest),
	"make deploy SUBSCRIPTION=... LOCATION=westeurope PARAMETERS=infra/my.bicepparam": azure(deployTest),
	"make destroy SUBSCRIPTION=... CLUSTERS='RESOURCE_ID ...'":                        azure(deployTest, "func TestDestroy("),
	"bin/podwatch destroy":                                                            azure(deployTest),
	"bin/podwatch doctor":                                                             azure("func TestDoctorSees("),
	"bin/podwatch publish PACKAGE":                                                    azure(deployTest),
	"infra/grant-graph.sh TENANT PRINCIPAL_ID":                                        azure("func TestGrantGraph("),
	"az deployment sub create --subscription SUBSCRIPTION --name podwatch-LOCATION --location LOCATION --template-file infra/main.bicep --parameters infra/my.bicepparam": azure("func TestTemplates(", "func TestSnapshotsAreOfTheseSources("),
	"az deployment sub create --subscription SUBSCRIPTION --location LOCATION --template-file infra/permissions.bicep --parameters principalId=PRINCIPAL_ID":              azure("func TestPermissions("),

	`az rest --method post --url "APP_ID/config/configreferences/appsettings/refresh?api-version=2022-03-01"`: azure("func TestAnUnresolvedReferenceStopsOnlyItsSink("),
	`az rest --method get --url "APP_ID/config/configreferences/appsettings?api-version=2022-03-01"`:          azure("func TestAnUnresolvedReferenceStopsOnlyItsSink("),

	"bin/podwatch requeue":           azure(requeueTest),
	"bin/podwatch requeue --dry-run": azure(requeueTest),
	"bin/podwatch run --event-hub podwatch-logs --namespace NS.servicebus.windows.net --latest":                                  azure(followTest),
	"bin/podwatch replay --event-hub podwatch-logs --namespace NS.servicebus.windows.net --from 24h --exceptions FILE --summary": azure("func TestReplayEvaluatesWhatAHubRetains("),
	"bin/podwatch send --namespace NS.servicebus.windows.net --event-hub podwatch-logs FILE":                                     azure("func TestSend("),
}

// prints runs a command, with values instead of its placeholders, and checks that
// standard output contains a text, ignoring case.
func prints(want string, oldnew ...string) func(*testing.T, *workplace, command) {
	return func(t *testing.T, w *workplace, c command) {
		text := strings.NewReplacer(oldnew...).Replace(c.text)
		if out := w.bash(t, text); !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
			t.Errorf("%s prints\n%s\nwithout %q", text, out, want)
		}
	}
}

func TestDocumentationCommandsRun(t *testing.T) {
	w := newWorkplace(t)
	done := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.documents)) {
		for _, c := range w.documents[name].commands {
			p := proofs[c.text]
			if done[c.text] || p.run == nil && !p.azure {
				continue
			}
			done[c.text] = true
			t.Run(c.text, func(t *testing.T) {
				if p.run != nil {
					p.run(t, w, c)
				} else if err := w.parse(t, c.text); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("the steps of azure.yaml and of the workflows", func(t *testing.T) { checkSteps(t, w) })
	t.Run("the example of an exception", func(t *testing.T) {
		w.write(t, "example.yaml", w.block(t, "docs/exceptions.md", "yaml"))
		prints("after-scaling (")(t, w, command{text: "bin/podwatch check --exceptions example.yaml"})
	})
	t.Run("the example of a rule", func(t *testing.T) {
		w.write(t, "example.toml", w.block(t, "docs/rules.md", "toml"))
		prints("1 rule, 1 running")(t, w, command{text: "bin/podwatch check example.toml"})
	})
	t.Run("mistakes in what is only parsed", func(t *testing.T) {
		for text, want := range map[string]string{
			"bin/podwatch replay --event-hub x --exemptions FILE": "unknown flag: --exemptions",
			"bin/podwatch push FILE":                              `unknown command "push"`,
			"make deploy SUBSCRIPTION=... REGION=westeurope":      "make does not use REGION=westeurope",
			"make employ SUBSCRIPTION=...":                        "No rule to make target",
			"infra/grant-names.sh PRINCIPAL_ID":                   "infra/grant-names.sh does not exist",
			"infra/main.bicep SUBSCRIPTION":                       "infra/main.bicep is not executable",
			"az deployment sub create --template-file infra/permissions.bicep --parameters principal=": "infra/permissions.bicep has no parameter principal",
		} {
			if err := w.parse(t, text); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("parse %s: got error %v, want %q", text, err, want)
			}
		}
	})
	t.Run("the columns of an alert", func(t *testing.T) {
		first, _, _ := strings.Cut(w.bash(t, "bin/podwatch replay handler/cmd/podwatch/samples/*.json"), "\n")
		var columns map[string]any
		if err := json.Unmarshal([]byte(first), &columns); err != nil {
			t.Fatal(err)
		}
		for name := range columns {
			if !regexp.MustCompile(`(?m)^\|[\w, ]*\b` + name + `\b[\w, ]*\|`).MatchString(w.documents["docs/fields.md"].text) {
				t.Errorf("docs/fields.md does not have the column %s", name)
			}
		}
	})
}

var (
	ourPath      = regexp.MustCompile(`(?:infra|handler|function_app)/[\w./-]+`)
	makeVariable = regexp.MustCompile(`[A-Z_]+=('[^']*'|\S+)`)
	bicepRun     = regexp.MustCompile(`--template-file (\S+) .*--parameters (\w+)=`)
)

// parse checks a command without running it: subcommand and flags of podwatch,
// target and variables of make, files, parameters of a template.
func (w *workplace) parse(t *testing.T, text string) error {
	t.Helper()
	if strings.HasPrefix(text, "bin/podwatch ") {
		_, err := w.try(t, text+" --help")
		return err
	}
	if strings.HasPrefix(text, "make ") {
		out, err := w.try(t, w.makeCommand(text)+" -n")
		for _, given := range makeVariable.FindAllStringSubmatch(text, -1) {
			unused := func(word string) bool { return !strings.Contains(out, word) }
			if err == nil && slices.ContainsFunc(strings.Fields(strings.Trim(given[1], "'")), unused) {
				err = errors.New("make does not use " + given[0])
			}
		}
		return err
	}
	for _, path := range ourPath.FindAllString(text, -1) {
		if path == "infra/my.bicepparam" { // the copy, see runCopy
			continue
		}
		info, err := os.Stat(filepath.Join("..", path))
		if err != nil {
			return errors.New(path + " does not exist")
		}
		if strings.HasPrefix(text, path) && info.Mode()&0o111 == 0 {
			return errors.New(path + " is not executable")
		}
	}
	if at := bicepRun.FindStringSubmatch(text); at != nil {
		template, err := os.ReadFile(filepath.Join("..", at[1]))
		if err != nil || !strings.Contains(string(template), "\nparam "+at[2]+" ") {
			return errors.New(at[1] + " has no parameter " + at[2])
		}
	}
	return nil
}

// checkSteps parses the commands of azd's hooks and of the steps of workflows.
func checkSteps(t *testing.T, w *workplace) {
	workflows, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(workflows) == 0 {
		t.Fatal("no workflows", err)
	}
	found := map[string]bool{}
	for _, name := range append(workflows, "../azure.yaml") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Hooks map[string]struct{ Shell, Run string }
			Jobs  map[string]struct{ Steps []struct{ Uses, Run string } }
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var scripts []string
		for hook, h := range file.Hooks {
			if !slices.Contains([]string{"preprovision", "postprovision", "predown"}, hook) || h.Shell != "sh" || !strings.HasPrefix(h.Run, "set -eu\n") {
				t.Errorf("%s: the hook %s is none of azd's, or goes on after an error", name, hook)
			}
			scripts = append(scripts, h.Run)
		}
		for job, j := range file.Jobs {
			for _, step := range j.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s: %s uses %s, want a commit", name, job, step.Uses)
				}
				scripts = append(scripts, step.Run)
			}
		}
		for line := range strings.Lines(strings.Join(scripts, "\n")) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " || ")
			line = variable.ReplaceAllString(line, "$1")
			if strings.HasPrefix(line, "make ") || strings.HasPrefix(line, "bin/podwatch ") {
				found[strings.Fields(line)[1]] = true
				if _, ok := proofs[line]; ok {
					continue // it is parsed, or run, for the documents
				}
				if err := w.parse(t, line); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	for _, command := range []string{"test", "deploy", "publish", "doctor", "destroy"} {
		if !found[command] {
			t.Errorf("no step is %s", command)
		}
	}
}

var (
	pinned   = regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40}$`)
	variable = regexp.MustCompile(`"\$(\w+)"`)
)

// namesTests checks that the tests or benchmarks which a long run of go test names
// exist.
func namesTests(t *testing.T, w *workplace, c command) {
	all := evidence(t)
	for _, at := range regexp.MustCompile(`-(run|bench) '?([\w^$|]+)`).FindAllStringSubmatch(c.text, -1) {
		for _, name := range strings.Split(at[2], "|") {
			kind := map[string]string{"run": "Test", "bench": "Benchmark"}[at[1]]
			name = strings.TrimPrefix(name, kind)
			if name != "^$" && !regexp.MustCompile(`\nfunc `+kind+`\w*`+name).MatchString(all) {
				t.Errorf("%s: there is no %s that matches %s", c.text, strings.ToLower(kind), at[2])
			}
		}
	}
}

func runMakeBuild(t *testing.T, w *workplace, _ command) {
	for _, name := range []string{"handler", "podwatch"} { // newWorkplace has run it
		if info, err := os.Stat(filepath.Join(w.dir, "bin", name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("make build leaves no executable bin/%s: %v", name, err)
		}
	}
}

func runMakeBench(t *testing.T, w *workplace, c command) {
	if got := w.goCalls(t, c.text); !slices.Contains(got, "test -run ^$ -bench . -benchmem ./handler/...") {
		t.Errorf("make bench calls go with %q", got)
	}
}

func runCopy(t *testing.T, w *workplace, c command) {
	w.bash(t, c.text)
	if text, err := os.ReadFile(filepath.Join(w.dir, "infra", "my.bicepparam")); err != nil || !strings.Contains(string(text), "using './main.bicep'") {
		t.Errorf("the copy does not use main.bicep beside it: %v", err)
	}
}

// A workplace is a folder that looks like the repository to the commands of the
// documents, with executables of its own.
type workplace struct {
	dir       string
	documents map[string]document
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	w := &workplace{dir: t.TempDir(), documents: documentation(t)}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// Commands write into infra, so it is a folder of its own.
	w.bash(t, "ln -s '"+repository+"'/{handler,function_app} . && mkdir infra && ln -s '"+repository+"'/infra/* infra/")
	w.make(t, "build")
	return w
}

// bareEnvironment is the environment without podwatch's settings, and without the
// variables that a make which runs this test exports.
func bareEnvironment() []string {
	not := append(config.Settings(), "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "HANDLER_GOOS", "HANDLER_GOARCH", "CGO_ENABLED", "FUZZTIME", "RUN_FLAGS", "HUB_PORT")
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(not, name)
	})
}

// try runs a line, or several, and returns its standard output. Its error has what
// was written to standard error.
func (w *workplace) try(t *testing.T, text string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = w.dir, append(bareEnvironment(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", text, err, out, stderr.String())
	}
	return string(out), err
}

// bash is try for what must not fail.
func (w *workplace) bash(t *testing.T, text string, env ...string) string {
	t.Helper()
	out, err := w.try(t, text, env...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *workplace) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// installed is what make would install again, while other tests use it, when it is
// older than package.json.
const installed = "infra/local/node_modules/.installed"

// makeCommand is a make command of the documents, with the repository's Makefile. It
// writes only into the workplace.
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

// block is a document's first block in a language.
func (w *workplace) block(t *testing.T, name, language string) string {
	t.Helper()
	for _, b := range w.documents[name].blocks {
		if b.language == language {
			return b.text
		}
	}
	t.Fatalf("%s has no %s block", name, language)
	return ""
}

var clock = regexp.MustCompile(`(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d`)

// runMakeRun does what docs/local.md promises: the samples, the alert
// that is shown there, the line that feeds it, and an end that leaves nothing.
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

	feed := regexp.MustCompile(`(?m)^ *Feed it +(.*podwatch feed.*)$`).FindStringSubmatch(said.text.String())
	if feed == nil {
		t.Fatalf("make run prints no line that feeds it:\n%s", &said.text)
	}
	if out := w.bash(t, feed[1]); !strings.HasPrefix(out, "read 1 record: 1 ") {
		t.Errorf("%s prints %s", feed[1], out)
	}
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
	for line := range strings.Lines(clock.ReplaceAllString(w.block(t, "docs/local.md", "text"), "TIME")) {
		if !strings.Contains(printed, strings.TrimSpace(line)) {
			t.Errorf("docs/local.md has an alert with the line %q, and make run prints none:\n%s", line, printed)
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

// runMakeStart has a stand-in for Core Tools use what `func start` would find: the
// staged app, storage, and the hub that it feeds and reads as docs/local.md has it.
func runMakeStart(t *testing.T, w *workplace, c command) {
	log := filepath.Join(t.TempDir(), "log")
	tools := script(t, "func", `exec >"`+log+`"
echo "func $*"; pwd
echo "$AzureWebJobsStorage"
export EVENT_HUB_NAME=podwatch-logs
cd "`+w.dir+`"
bin/podwatch send handler/cmd/podwatch/samples/*.json
bin/podwatch replay --event-hub --consumer-group '$Default' --summary 2>&1
echo "$EventHub"
exit 3`)
	_, err := w.try(t, w.makeCommand(c.text+" HUB_PORT="+freePort(t)), "PATH="+filepath.Dir(tools)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err == nil || !strings.Contains(err.Error(), "Error 3") {
		t.Errorf("make start ends with %v, want the exit code of func", err)
	}

	dist, err := filepath.EvalSymlinks(filepath.Join(w.dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "func start\n"+dist+"\n") || !strings.Contains(string(text), "read 7 messages") {
		t.Errorf("func runs elsewhere, or without a hub:\n%s", text)
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

	services := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(string(text), -1)
	if len(services) < 4 {
		t.Errorf("func is given the services %q, want blob, queue, table and hub", services)
	}
	for _, address := range services {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			conn.Close()
			t.Errorf("something still listens on %s", address)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
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

// runStandIn runs a block of the documents: start the stand-in on a free port, and send
// to it.
func runStandIn(t *testing.T, w *workplace, c command) {
	port := freePort(t)
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
	for _, other := range w.documents["docs/local.md"].commands {
		if other.block == c.block && other.text != c.text {
			lines = append(lines, atPort(other.text))
		}
	}
	lines = append(lines,
		"bin/podwatch send message.json",
		"bin/podwatch replay --event-hub --summary 2>&1")
	if out := w.bash(t, strings.Join(lines, "\n")); !strings.Contains(out, "read 3 messages") {
		t.Errorf("two lines and a file are sent, and the hub has\n%s", out)
	}
}
