package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readmeCommands says of every command in README.md how it is known to work.
// One that is not listed here fails TestReadme, and so does one that README no
// longer has. Commands that are run for real are in readmeRuns.
var readmeCommands = map[string]coverage{
	"make run":          {run: true},
	"make build":        {run: true},
	"make start":        {run: true},
	"make fuzz":         {run: true},
	"make bench":        {run: true},
	"make test":         {seen: []place{{".ci/run", "make test"}}},
	"make browser-test": {seen: []place{{".ci/run", "make browser-test"}}},
	"make race lint":    {seen: []place{{".ci/run", "make race"}, {".ci/run", "make lint"}}},
	"make vulncheck":    {seen: []place{{".ci/run", "if ! findings=$(make vulncheck 2>&1)"}}},
	"make package":      {seen: []place{{"handler/cmd/podwatch/internal/packagetest/package_test.go", "func TestPackageRunsAsItIsUnpacked("}}},
	"func start":        {runBy: "make start"},
	"curl":              {runBy: "make run"},
	"cp infra/main.bicepparam infra/my.bicepparam": {run: true, azure: true},

	"go run ./infra/pack -o dist.zip dist": {seen: []place{
		{"Makefile", `	$(GO) run -buildvcs=false ./infra/pack -o "$(DIST).zip" "$(DIST)"`},
		{"handler/cmd/podwatch/internal/packagetest/package_test.go", "func TestPackageRunsAsItIsUnpacked("},
	}},
	"go test -v ./handler/cmd/podwatch/internal/faulttest": {seen: []place{
		{"Makefile", "	$(GO) test -v ./handler/cmd/podwatch/internal/faulttest"}, {".ci/run", "make test"},
	}},

	"bin/podwatch run":                 {runBy: "make run"},
	"bin/podwatch replay FILE...":      {run: true},
	"bin/podwatch check [RULE...]":     {run: true},
	"bin/podwatch check handler/rules": {run: true},
	"bin/podwatch match --query QUERY": {run: true},
	"bin/podwatch send FILE...":        {runBy: standIn},
	"bin/podwatch requeue":             {seen: requeueTest},
	"podwatch requeue":                 {seen: requeueTest},

	"bin/podwatch check --exceptions function_app/exceptions.example.yaml":                                                {run: true},
	"bin/podwatch replay --exceptions function_app/exceptions.example.yaml --summary handler/cmd/podwatch/samples/*.json": {run: true},
	`echo '{"event":{"outcome":"success"},"azure":{"activitylogs":{"operation_name":"X/DELETE"}}}' | ` +
		`bin/podwatch match --query 'event.outcome: success and azure.activitylogs.operation_name: *DELETE'`: {run: true},

	standIn: {run: true},
	"export EventHub='Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true'": {runBy: standIn},
	"export EVENT_HUB_NAME=podwatch-logs":                                                       {runBy: standIn},
	"bin/podwatch send --lines export.jsonl":                                                    {runBy: standIn},
	"bin/podwatch replay --event-hub --summary":                                                 {runBy: standIn},
	"bin/podwatch run --event-hub":                                                              {seen: followTest},
	"bin/podwatch run --event-hub podwatch-logs --namespace NS.servicebus.windows.net --latest": {azure: true, seen: followTest},

	"go test -run '^$' -bench Beside -benchtime 40x ./handler/internal/server": {seen: []place{
		{"handler/internal/server/bench_test.go", "func BenchmarkBeside("}, {"handler/internal/server/bench_test.go", "func BenchmarkScanBeside("},
	}},
	"go test -run '^$' -bench 'Start|PeakMemory' -benchtime 20x ./handler": {seen: []place{
		{"handler/bench_test.go", "func BenchmarkStart("}, {"handler/bench_test.go", "func BenchmarkPeakMemory("},
	}},
	"go test -run '^$' -bench Match ./handler/internal/rule": {seen: []place{
		{"handler/internal/rule/bench_test.go", "func BenchmarkMatch("},
	}},
	"go test -run '^$' -bench Replay -benchtime 3x ./handler/cmd/podwatch": {seen: []place{
		{"handler/cmd/podwatch/replay_bench_test.go", "func BenchmarkReplayOfAMillionRecords("},
	}},

	// What only Azure can answer. The scripts are tested against a stand-in for
	// the Azure CLI, the tool against the stand-in for the hub.
	"az login": {azure: true},
	"az functionapp list-flexconsumption-locations": {azure: true},
	"export TEAMS_WEBHOOK_URL='https://...'":        {azure: true, seen: deployTest},
	"make deploy":                                   {azure: true, seen: deployTest},
	"make deploy SUBSCRIPTION=... LOCATION=westeurope PARAMETERS=infra/my.bicepparam": {azure: true, seen: deployTest},
	"make destroy SUBSCRIPTION=... CLUSTERS='RESOURCE_ID ...'": {azure: true, seen: []place{
		{"handler/internal/infra/scripts_test.go", "func TestDestroyScript("},
	}},
	"az deployment sub create --name podwatch --location westeurope --template-file infra/main.bicep --parameters infra/my.bicepparam": {azure: true, seen: []place{
		{"handler/internal/infra/infra_test.go", "func TestTemplates("},
		{"handler/internal/infra/files_test.go", "func TestParameterExampleFits("},
	}},
	"az deployment sub create --subscription SUBSCRIPTION --location LOCATION --template-file infra/permissions.bicep --parameters principalId=PRINCIPAL_ID": {azure: true, seen: []place{
		{"handler/internal/infra/infra_test.go", "func TestTemplates("},
	}},
	"az functionapp deployment source config-zip --resource-group GROUP --name APP --src dist.zip": {azure: true},
	"(cd dist && func azure functionapp publish APP)":                                              {azure: true},
	"infra/smoke.sh SUBSCRIPTION": {azure: true, seen: []place{
		deployTest[0], {"handler/internal/infra/files_test.go", "func TestSmokeTestSendsADeletion("},
	}},
	"infra/grant-graph.sh PRINCIPAL_ID": {azure: true, seen: []place{
		{"handler/internal/infra/scripts_test.go", "func TestGrantGraphScript("},
	}},
	"bin/podwatch requeue --dry-run": {azure: true, seen: requeueTest},
	"bin/podwatch replay --event-hub podwatch-logs --namespace NS.servicebus.windows.net --from 24h --exceptions FILE --summary": {azure: true, seen: []place{
		{"handler/cmd/podwatch/replay_hub_test.go", "func TestReplayEvaluatesWhatAHubRetains("},
	}},
	"bin/podwatch send --namespace NS.servicebus.windows.net --event-hub podwatch-logs FILE": {azure: true, seen: []place{
		{"handler/cmd/podwatch/send_test.go", "func TestSend("},
	}},
}

// standIn is the command that starts the Event Hub stand-in by hand.
const standIn = "node infra/local/eventhub.mjs --port 5672 --hub podwatch-logs:4"

var (
	requeueTest = []place{{"handler/cmd/podwatch/requeue_test.go", "func TestRequeueMovesAlertsAndLeavesTheRest("}}
	followTest  = []place{{"handler/cmd/podwatch/hub_test.go", "func TestNothingIsLostOrTwiceFromHubToInbox("}}
	deployTest  = []place{{"handler/internal/infra/scripts_test.go", "func TestDeployScript("}}
)

// A coverage is how a command is known to work; one of its members is set, or
// more.
type coverage struct {
	run   bool    // by readmeRuns
	runBy string  // by the run of another command
	seen  []place // by tests and CI steps that are elsewhere
	azure bool    // it needs Azure, and README says so where the command stands
}

// A place is a line of a file, by how the line begins.
type place struct{ file, line string }

// A command of README.
type command struct {
	text  string // without comments, continued lines joined
	line  int    // from 1
	near  string // the headings above it and its paragraph; of a block, all of it and the paragraph before
	block int    // number of its block, 0 in running text
}

// A markdown is README taken apart.
type markdown struct {
	commands []command
	others   []string // indented and fenced blocks that are no shell lines
}

// notShell are the beginnings of blocks that show something else than commands:
// an alert, an exception, the order of the packages. Every other block is taken
// for shell lines, each of which has to be listed.
var notShell = []string{"MEDIUM ", "exceptions:", "invocation -> "}

// programs begin a command in running text.
var programs = regexp.MustCompile(`^(?:(?:make|bin/podwatch|podwatch|az|func|go|node|npm|npx|git|kubectl|docker|bicep|cp|export|bash|sh) .*|curl.*|infra/[\w-]+\.sh.*)$`)

var (
	heading  = regexp.MustCompile(`^(#+) (.*)`)
	codeSpan = regexp.MustCompile("`([^`]+)`")
)

func readMarkdown(text string) markdown {
	var (
		m         markdown
		headings  = map[int]string{}
		paragraph []string
		before    string // the paragraph before
		block     []string
		began     int
		blocks    int
		fence     bool
		shell     bool // the fence holds shell lines
	)
	under := func() string {
		var all []string
		for level := 1; level <= 6; level++ {
			all = append(all, headings[level])
		}
		return strings.Join(all, "\n")
	}
	endParagraph := func(line int) {
		if paragraph == nil {
			return
		}
		joined := strings.Join(paragraph, "\n")
		for _, at := range codeSpan.FindAllStringSubmatchIndex(joined, -1) {
			span := strings.Join(strings.Fields(joined[at[2]:at[3]]), " ")
			if programs.MatchString(span) {
				first := line - len(paragraph)
				m.commands = append(m.commands, command{text: span, near: under() + "\n" + joined, line: first + strings.Count(joined[:at[0]], "\n")})
			}
		}
		before, paragraph = joined, nil
	}
	endBlock := func(isShell bool) {
		for len(block) > 0 && strings.TrimSpace(block[len(block)-1]) == "" {
			block = block[:len(block)-1]
		}
		if len(block) == 0 {
			block = nil
			return
		}
		joined := strings.Join(block, "\n")
		if !isShell || slices.ContainsFunc(notShell, func(beginning string) bool { return strings.HasPrefix(joined, beginning) }) {
			m.others = append(m.others, joined)
		} else {
			blocks++
			near := under() + "\n" + before + "\n" + joined
			for i := 0; i < len(block); i++ {
				c := command{line: began + i, near: near, block: blocks, text: withoutComment(block[i])}
				for i+1 < len(block) && (strings.HasSuffix(c.text, `\`) || strings.HasSuffix(c.text, "|")) {
					i++
					c.text = strings.TrimRight(strings.TrimSuffix(c.text, `\`), " ") + " " + withoutComment(block[i])
				}
				if c.text != "" {
					m.commands = append(m.commands, c)
				}
			}
		}
		block = nil
	}
	lines := strings.Split(text, "\n")
	for i, line := range append(lines, "") {
		number := i + 1
		switch {
		case strings.HasPrefix(line, "```") && fence:
			endBlock(shell)
			fence = false
		case fence:
			block = append(block, line)
		case strings.HasPrefix(line, "```"):
			endParagraph(number)
			fence, began = true, number+1
			shell = slices.Contains([]string{"", "sh", "bash", "shell", "console"}, strings.TrimSpace(line[3:]))
		case paragraph == nil && strings.HasPrefix(line, "    "):
			if block == nil {
				began = number
			}
			block = append(block, line[4:])
		case block != nil && strings.TrimSpace(line) == "":
			block = append(block, "")
		default:
			endBlock(true)
			if at := heading.FindStringSubmatch(line); at != nil {
				endParagraph(number)
				level := len(at[1])
				headings[level], before = at[2], ""
				for deeper := level + 1; deeper <= 6; deeper++ {
					delete(headings, deeper)
				}
				continue
			}
			if line == "" || strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "|") {
				endParagraph(number)
			}
			if line != "" {
				paragraph = append(paragraph, line)
			}
		}
	}
	endBlock(true)
	return m
}

// withoutComment takes off a comment and the space around a shell line.
func withoutComment(line string) string {
	quote := rune(0)
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' '):
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// A readmeCheck tells what is wrong with the commands of README. Those that ask
// make and the tool are expensive, so the answers are kept.
type readmeCheck struct {
	help map[string]string // of each subcommand of podwatch
	make func(arguments string) (out string, err error)
}

func newReadmeCheck(t *testing.T) *readmeCheck {
	t.Helper()
	answers := map[string]func() (string, error){}
	return &readmeCheck{
		help: helpTexts(t),
		make: func(arguments string) (string, error) {
			if answers[arguments] == nil {
				cmd := exec.CommandContext(t.Context(), "bash", "-c", "make -n --no-print-directory "+arguments)
				cmd.Dir, cmd.Env = "..", bareEnvironment()
				out, err := cmd.CombinedOutput()
				answers[arguments] = func() (string, error) { return string(out), err }
			}
			return answers[arguments]()
		},
	}
}

func (r *readmeCheck) complaints(readme string) []string {
	m := readMarkdown(readme)
	found := slices.Concat(listed(m), evident(), marked(m), pathsExist(m), parametersExist(m))
	return slices.Concat(found, r.flagsExist(m), r.targetsExist(m))
}

// listed wants README and readmeCommands to have the same commands.
func listed(m markdown) (complaints []string) {
	has := map[string]bool{}
	for _, c := range m.commands {
		has[c.text] = true
		if _, ok := readmeCommands[c.text]; !ok {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: nothing says how this command is tested: %s", c.line, c.text))
		}
	}
	for text := range readmeCommands {
		if !has[text] {
			complaints = append(complaints, fmt.Sprintf("README.md no longer has the command %s", text))
		}
	}
	return complaints
}

// evident wants what readmeCommands refers to to be there.
func evident() (complaints []string) {
	for text, how := range readmeCommands {
		_, runs := readmeRuns[text]
		switch {
		case how.run != runs:
			complaints = append(complaints, fmt.Sprintf("%s: is listed as run: %t, has a run: %t", text, how.run, runs))
		case how.runBy != "" && readmeRuns[how.runBy] == nil:
			complaints = append(complaints, fmt.Sprintf("%s: %s is not run", text, how.runBy))
		case !how.run && how.runBy == "" && how.seen == nil && !how.azure:
			complaints = append(complaints, fmt.Sprintf("%s: nothing runs it", text))
		}
		for _, p := range how.seen {
			content, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(p.file)))
			if err != nil || !strings.Contains("\n"+string(content), "\n"+p.line) {
				complaints = append(complaints, fmt.Sprintf("%s: no line of %s begins with %q", text, p.file, p.line))
			}
		}
	}
	return complaints
}

// marked wants README to say what needs Azure.
func marked(m markdown) (complaints []string) {
	for _, c := range m.commands {
		if readmeCommands[c.text].azure && !strings.Contains(c.near, "needs Azure") {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: neither the section nor the paragraph says that this needs Azure: %s", c.line, c.text))
		}
	}
	return complaints
}

var (
	ourPath  = regexp.MustCompile(`(?:infra|handler|function_app)/[\w./*-]+`)
	bicepRun = regexp.MustCompile(`--template-file (\S+) .*--parameters (\w+)=`)
)

// pathsExist wants the files that commands name, but those that an earlier
// command makes.
func pathsExist(m markdown) (complaints []string) {
	made := map[string]bool{}
	for _, c := range m.commands {
		words := strings.Fields(c.text)
		if words[0] == "cp" {
			made[words[len(words)-1]] = true
		}
		for _, path := range ourPath.FindAllString(c.text, -1) {
			found, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(path)))
			if (err != nil || found == nil) && !made[path] {
				complaints = append(complaints, fmt.Sprintf("README.md:%d: there is no %s", c.line, path))
			}
		}
		if strings.HasPrefix(c.text, "infra/") {
			if info, err := os.Stat(filepath.Join("..", words[0])); err != nil || info.Mode()&0o111 == 0 {
				complaints = append(complaints, fmt.Sprintf("README.md:%d: %s cannot be executed", c.line, words[0]))
			}
		}
	}
	return complaints
}

// parametersExist wants the parameters that are given to a template.
func parametersExist(m markdown) (complaints []string) {
	for _, c := range m.commands {
		at := bicepRun.FindStringSubmatch(c.text)
		if at == nil {
			continue
		}
		template, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(at[1])))
		if err != nil || !strings.Contains(string(template), "\nparam "+at[2]+" ") {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: %s has no parameter %s", c.line, at[1], at[2]))
		}
	}
	return complaints
}

var (
	toolCall = regexp.MustCompile(`\bpodwatch ([a-z]+)(.*)`)
	longFlag = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*)`)
)

func (r *readmeCheck) flagsExist(m markdown) (complaints []string) {
	for _, c := range m.commands {
		if !strings.Contains(c.text, "bin/podwatch ") && !strings.HasPrefix(c.text, "podwatch ") {
			continue
		}
		call := toolCall.FindStringSubmatch(c.text)
		if call == nil || r.help[call[1]] == "" {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: podwatch has no such subcommand: %s", c.line, c.text))
			continue
		}
		for _, f := range longFlag.FindAllStringSubmatch(call[2], -1) {
			if !regexp.MustCompile(`(?m)^ +(?:-\w, )?` + f[1] + `\b`).MatchString(r.help[call[1]]) {
				complaints = append(complaints, fmt.Sprintf("README.md:%d: podwatch %s has no flag %s", c.line, call[1], f[1]))
			}
		}
	}
	return complaints
}

var makeVariable = regexp.MustCompile(`[A-Z_]+=('[^']*'|\S+)`)

// targetsExist wants make to know the targets, and to use the variables that it
// is given.
func (r *readmeCheck) targetsExist(m markdown) (complaints []string) {
	for _, c := range m.commands {
		arguments, ok := strings.CutPrefix(c.text, "make ")
		if !ok {
			continue
		}
		out, err := r.make(arguments)
		if err != nil {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: %s: %v: %s", c.line, c.text, err, out))
		}
		for _, given := range makeVariable.FindAllStringSubmatch(arguments, -1) {
			if value := strings.Trim(given[1], "'"); !strings.Contains(out, value) {
				complaints = append(complaints, fmt.Sprintf("README.md:%d: make does nothing with %s", c.line, given[0]))
			}
		}
	}
	return complaints
}

// setting is a setting in running text, `FAULT_RUNS=1000`.
var setting = regexp.MustCompile(`^([A-Z][A-Z0-9_]+=\S+ ?)+$`)

// settingsExist wants the settings that README shows with a value to be read
// somewhere.
func settingsExist(t *testing.T, readme string) (complaints []string) {
	t.Helper()
	code := sourceText(t)
	for _, span := range codeSpan.FindAllStringSubmatch(readme, -1) {
		if !setting.MatchString(span[1]) {
			continue
		}
		for _, assignment := range strings.Fields(span[1]) {
			if name, _, _ := strings.Cut(assignment, "="); !strings.Contains(code, `"`+name+`"`) {
				complaints = append(complaints, fmt.Sprintf("README.md: nothing reads %s", name))
			}
		}
	}
	return complaints
}

func readReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadme(t *testing.T) {
	readme := readReadme(t)
	for _, complaint := range append(newReadmeCheck(t).complaints(readme), settingsExist(t, readme)...) {
		t.Error(complaint)
	}
}

// Each mistake is made once, in a copy of README, and has to be noticed.
func TestReadmeChecksNotice(t *testing.T) {
	sound, check := readReadme(t), newReadmeCheck(t)
	for _, c := range []struct{ name, old, new, want string }{
		{"a new command in a block", "    make bench ", "    make install\n    make bench ", "nothing says how this command is tested: make install"},
		{"a new command in the text", "## Storms\n", "## Storms\n\nSee `az storms list`.\n", "is tested: az storms list"},
		{"a new command in a fence", "## Storms\n", "## Storms\n\n```sh\nterraform apply\n```\n", "is tested: terraform apply"},
		{"a command that goes", "    bin/podwatch requeue ", "    # ", "no longer has the command bin/podwatch requeue"},
		{"a mark that goes from a heading", "## Operate (needs Azure)", "## Operate", "needs Azure: bin/podwatch send --namespace"},
		{"a mark that goes from a paragraph", "steps of their own (needs Azure):", "steps of their own:", "needs Azure: infra/grant-graph.sh"},
		{"a flag that is not there", "replay --exceptions function_app", "replay --exemptions function_app", "replay has no flag --exemptions"},
		{"a subcommand that is not there", "    bin/podwatch send FILE", "    bin/podwatch push FILE", "no such subcommand: bin/podwatch push FILE"},
		{"a target that is not there", "    make fuzz ", "    make fuss ", "make fuss"},
		{"a variable that make does not know", "LOCATION=westeurope", "REGION=westeurope", "make does nothing with REGION=westeurope"},
		{"a file that is not there", "infra/grant-graph.sh PRINCIPAL_ID", "infra/grant-names.sh PRINCIPAL_ID", "there is no infra/grant-names.sh"},
		{"a parameter that is not there", "--parameters principalId=", "--parameters principal=", "has no parameter principal"},
		{"a parameter file that nobody makes", "    cp infra/main.bicepparam infra/my.bicepparam", "    cp infra/main.bicepparam infra/ours.bicepparam", "there is no infra/my.bicepparam"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(sound, c.old) {
				t.Fatalf("README.md does not contain %q", c.old)
			}
			complaints := check.complaints(strings.Replace(sound, c.old, c.new, 1))
			if !slices.ContainsFunc(complaints, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("nobody says %q; complaints: %q", c.want, complaints)
			}
		})
	}
	if got := settingsExist(t, "`FAULT_RUNS=1 FAULT_ROUNDS=2`"); len(got) != 1 || !strings.Contains(got[0], "FAULT_ROUNDS") {
		t.Errorf("of a setting that nothing reads: %q", got)
	}
}
