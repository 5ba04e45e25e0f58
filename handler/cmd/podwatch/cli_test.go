package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
)

// runTool runs a command of the tool in this process.
func runTool(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runToolOn(t, nil, args...)
}

// runToolOn is runTool with standard input.
func runToolOn(t testing.TB, stdin io.Reader, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(&out)
	root.SetErr(&errs)
	status = execute(t.Context(), root)
	return status, out.String(), errs.String()
}

// withoutSettings takes away the app settings of the shell that runs the tests.
func withoutSettings(t *testing.T) {
	t.Helper()
	for _, name := range config.Settings() {
		t.Setenv(name, "")
	}
}

// A call is one run of the executable in an empty folder.
type call struct {
	status         int
	stdout, stderr string
}

func callTool(t *testing.T, tool, dir string, env []string, args ...string) call {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return call{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tool := buildTool(t)
	for name, c := range map[string]struct {
		args   []string
		status int
		stdout string // part of it
		stderr []string
	}{
		"an unknown command": {args: []string{"replya"}, status: 2,
			stderr: []string{`unknown command "replya"`, "Did you mean this?", "replay", `See "podwatch --help".`}},
		"help about an unknown command": {args: []string{"help", "chek"}, status: 2,
			stderr: []string{`unknown command "chek"`, "Did you mean this?", "check", `See "podwatch`}},
		"help about a command":  {args: []string{"help", "replay"}, stdout: "podwatch replay FILE..."},
		"no command":            {stdout: "Available Commands:"},
		"a misspelt flag":       {args: []string{"replay", "--sumary", "x"}, status: 2, stderr: []string{"unknown flag: --sumary", "Did you mean --summary?", `See "podwatch replay --help".`}},
		"an unknown flag":       {args: []string{"send", "--frobnicate", "x"}, status: 2, stderr: []string{"unknown flag: --frobnicate\n", `See "podwatch send --help".`}},
		"an unknown short flag": {args: []string{"run", "-x"}, status: 2, stderr: []string{"unknown shorthand flag", `See "podwatch run --help".`}},
		"a flag of the root":    {args: []string{"--summary"}, status: 2, stderr: []string{"unknown flag: --summary", `See "podwatch --help".`}},
		"a value of the wrong kind": {args: []string{"send", "--rate", "fast", "x"}, status: 2,
			stderr: []string{"--rate", `See "podwatch send --help".`}},
		"flags that exclude each other": {args: []string{"send", "--partition", "1", "--key", "a", "x"}, status: 2, stderr: []string{"partition", `See "podwatch send --help".`}},
		"an argument too many":          {args: []string{"requeue", "now"}, status: 2, stderr: []string{`See "podwatch requeue --help".`}},
		"no file to replay":             {args: []string{"replay"}, status: 2, stderr: []string{"name at least one file"}},
		"no file to send":               {args: []string{"send"}, status: 2, stderr: []string{"name a file"}},
		"no query":                      {args: []string{"match"}, status: 2, stderr: []string{"--query"}},
		"a flag about a hub":            {args: []string{"run", "--latest"}, status: 2, stderr: []string{"--event-hub"}},
		"doctor of nothing":             {args: []string{"doctor"}, status: 2, stderr: []string{"name the subscription: --subscription ID", `See "podwatch doctor --help".`}},
		"an empty subscription":         {args: []string{"destroy", "--subscription", ""}, status: 2, stderr: []string{"name the subscription"}},
		"a subscription by its name":    {args: []string{"destroy", "--subscription", "prod"}, status: 2, stderr: []string{`"prod" is not the id of a subscription`}},
		"publish of nothing":            {args: []string{"publish"}, status: 2, stderr: []string{"name one package, or --previous"}},
		"publish of too much":           {args: []string{"publish", "--previous", "dist.zip"}, status: 2, stderr: []string{"name one package, or --previous"}},
		"before without a file": {args: []string{"doctor", "--subscription", "11111111-2222-3333-4444-555555555555", "--before", "--location", "westeurope"}, status: 2,
			stderr: []string{"--before needs --location and --parameters"}},
		"before and send":    {args: []string{"doctor", "--before", "--send"}, status: 2, stderr: []string{"send"}},
		"no storage account": {args: []string{"requeue"}, status: 2, stderr: []string{"AzureWebJobsStorage"}},
		"an unknown shell":   {args: []string{"completion", "csh"}, status: 2, stderr: []string{`See "podwatch completion --help".`}},
		"a missing file":     {args: []string{"replay", "nowhere.json"}, status: 1, stderr: []string{"nowhere.json: no such file"}},
		"a file name that steers the terminal": {args: []string{"replay", "a\x1b[2J\npodwatch: all is well"}, status: 1,
			stderr: []string{"a<U+001B>[2J<U+000A>podwatch: all is well"}},
		"a file to send that steers the terminal": {args: []string{"send", "--event-hub", "h", "--connection-string",
			"Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true;", "b\x1b[2J"}, status: 1, stderr: []string{"b<U+001B>[2J"}},
		"bash":       {args: []string{"completion", "bash"}, stdout: "bash completion V2 for podwatch"},
		"zsh":        {args: []string{"completion", "zsh"}, stdout: "#compdef podwatch"},
		"fish":       {args: []string{"completion", "fish"}, stdout: "complete -c podwatch"},
		"powershell": {args: []string{"completion", "powershell"}, stdout: "Register-ArgumentCompleter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := callTool(t, tool, t.TempDir(), nil, c.args...)
			if got.status != c.status || !strings.Contains(got.stdout, c.stdout) {
				t.Errorf("status %d, want %d; standard output lacks %q:\n%.300s\n%s", got.status, c.status, c.stdout, got.stdout, got.stderr)
			}
			for _, want := range c.stderr {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("standard error lacks %q:\n%s", want, got.stderr)
				}
			}
			if c.status == 0 && got.stderr != "" {
				t.Errorf("standard error has %q", got.stderr)
			}
			if strings.Contains(got.stderr, "\x1b") {
				t.Errorf("standard error steers the terminal: %q", got.stderr)
			}
		})
	}
}

func TestRequeueWithoutAQueue(t *testing.T) {
	t.Parallel()
	tool, storage := buildTool(t), azurite.Start(t)
	for _, args := range [][]string{{"requeue"}, {"requeue", "--dry-run"}} {
		got := callTool(t, tool, t.TempDir(), []string{"AzureWebJobsStorage=" + storage}, args...)
		if got.status != 0 || got.stderr != "nothing to requeue\n" || got.stdout != "" {
			t.Errorf("%v = %+v", args, got)
		}
	}
}
