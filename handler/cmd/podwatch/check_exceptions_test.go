package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// checkExceptions runs check on an exceptions file with the given text.
func checkExceptions(t *testing.T, text string, args ...string) (status int, out, errs string) {
	t.Helper()
	return runTool(t, append([]string{"check", "--exceptions", tempFile(t, "exceptions.yaml", text)}, args...)...)
}

func TestCheckExceptions(t *testing.T) {
	const head = "exceptions:\n  - name: test\n    reason: r\n    owner: me\n"
	for name, test := range map[string]struct {
		text   string
		status int
		want   string
	}{
		"a narrow one":     {head + "    expires: 2099-01-01\n    match: 'caller.name: nobody'\n", 0, "test (me, until Fri 2099-01-02 00:00 UTC): fits 0 of "},
		"an expired one":   {head + "    expires: 2020-01-01\n    match: 'caller.name: nobody'\n", 0, "it expired on 2020-01-01"},
		"a wide one":       {head + "    expires: 2099-01-01\n    match: 'kubernetes.deletion_kind: *'\n", 0, "warning: it is wide"},
		"one not owned":    {"exceptions:\n  - {name: test, reason: r, match: 'a: b'}\n", 1, "owner is missing"},
		"one for no cause": {"exceptions:\n  - {name: test, owner: o, match: 'a: b'}\n", 1, "reason is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := checkExceptions(t, test.text)
			if status != test.status || !strings.Contains(out+errs, test.want) {
				t.Errorf("status %d\n%s%s\nwant %d with %q", status, out, errs, test.status, test.want)
			}
			if narrow := name == "a narrow one"; narrow && strings.Contains(out, "warning: it") {
				t.Errorf("a narrow exception is warned of:\n%s", out)
			}
		})
	}
}

func TestCheckExceptionsAsJSON(t *testing.T) {
	_, out, _ := checkExceptions(t, "exceptions:\n  - {name: test, reason: r, owner: me, match: 'cluster.kind: arc'}\n", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last checkedException
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Exception != "test" || last.Fits == 0 || last.Fits == last.Samples || len(last.Warnings) == 0 {
		t.Errorf("the last line is %+v", last)
	}
}

func TestReplay(t *testing.T) {
	run := func(args ...string) (status int, out, errs string) {
		return replayed(t, "no JSON", args...)
	}
	user, service := "samples/01-user.json", "samples/02-service-principal.json"
	if status, out, errs := run(user, service, user); status != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, `"CallerName":"dana.ortiz@example.com"`) {
		t.Errorf("status %d, out %s, errors %s", status, out, errs)
	}
	if status, out, _ := run("--summary", user, service, user); status != 0 || !strings.Contains(out, `"alerts":2`) || !strings.Contains(out, `"repeats":1`) {
		t.Errorf("status %d, summary %s", status, out)
	}
	if status, out, errs := run(user, "-"); status != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(errs, "standard input: byte 0") {
		t.Errorf("unreadable input: status %d, out %s, errors %s", status, out, errs)
	}
	if status, _, errs := run(); status != 2 || !strings.Contains(errs, "at least one file") {
		t.Errorf("no file: status %d, errors %s", status, errs)
	}
	if status, _, errs := run("no-such-file"); status != 1 || !strings.Contains(errs, "no-such-file") {
		t.Errorf("a missing file: status %d, errors %s", status, errs)
	}
	exceptions := tempFile(t, "exceptions.yaml", "exceptions:\n  - {name: known, reason: r, owner: o, match: 'caller.kind: user'}\n")
	if _, out, _ := run("--exceptions", exceptions, user, service); strings.Count(out, `"SuppressedBy":"known"`) != 1 {
		t.Errorf("the exception suppresses otherwise than one of two: %s", out)
	}
}
