package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/version"
)

// A precondition is one thing that has to hold before run can work here.
type precondition struct {
	name  string
	check func(context.Context) (found string, err error) // the error has the cure
}

// A program that make or run starts, and its oldest version that works: the same as in
// go.mod and infra/local/package.json.
type program struct {
	name, command string
	args          []string // print the version
	oldest, cure  string
}

var programs = []program{
	{"Go", "go", []string{"env", "GOVERSION"}, "1.26", "install Go 1.26 or newer (https://go.dev/dl)"},
	{"npm", "npm", []string{"--version"}, "9", "install npm 9 or newer, which comes with Node.js (https://nodejs.org)"},
	nodejs,
}

var nodejs = program{"Node.js", "node", []string{"--version"}, "20", "install Node.js 20 or newer (https://nodejs.org)"}

func newPreflightCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "preflight [flags of run]",
		Short: "Check that make run and podwatch run can work on this machine",
		Long: `preflight checks what make run and podwatch run need: Go, npm and Node.js in a
version that works, a temporary folder, free ports, folders that can be written and
that no other run uses, and, with --event-hub on this machine, that the hub answers.
It takes the flags of run. What fails is said with its cure; nothing is left behind.`,
		Args: func(_ *cobra.Command, args []string) error { return o.hub.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.hub.prepare(args); err != nil {
				return usageError(err)
			}
			return preflight(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.flags(cmd)
	return cmd
}

// preflight prints what holds to stdout and what does not to stderr.
func preflight(ctx context.Context, o runOptions, stdout, stderr io.Writer) error {
	var failed int
	var all []precondition
	for _, p := range programs {
		all = append(all, p.precondition())
	}
	all = append(all, temporaryFolder, precondition{"ports", func(ctx context.Context) (string, error) {
		r := &localRun{o: o}
		if err := r.openPorts(ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s and %s are free", r.admin, r.page.Addr()), r.page.Close()
	}})
	for _, f := range o.folders() {
		all = append(all, precondition{"folder of " + f.flag, func(context.Context) (string, error) {
			release, err := lockFolder(f.path, f.flag)
			if err != nil {
				return "", err
			}
			release()
			return f.path, nil
		}})
	}
	if address, local := o.hub.connection.Local(); local {
		all = append(all, precondition{"event hub", func(ctx context.Context) (string, error) {
			return address, o.hub.connection.Reach(ctx)
		}})
	}
	for _, c := range all {
		found, err := c.check(ctx)
		if err != nil {
			failed++
			fmt.Fprintln(stderr, visible(err.Error()))
			continue
		}
		fmt.Fprintf(stdout, "ok  %-18s %s\n", c.name, visible(found))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed: podwatch run cannot work here", failed, len(all))
	}
	return nil
}

func (p program) precondition() precondition {
	return precondition{p.name, func(ctx context.Context) (string, error) {
		path, err := exec.LookPath(p.command)
		if err != nil {
			return "", fmt.Errorf("%s is not installed: %s", p.name, p.cure)
		}
		out, err := exec.CommandContext(ctx, path, p.args...).CombinedOutput()
		found := strings.TrimPrefix(strings.TrimSpace(string(out)), "go")
		switch {
		case err != nil:
			return "", fmt.Errorf("%s does not run (%s): %s", p.name, cmp.Or(found, err.Error()), p.cure)
		case version.Older(found, p.oldest):
			return "", fmt.Errorf("%s %s is too old: %s", p.name, found, p.cure)
		}
		return found, nil
	}}
}

var temporaryFolder = precondition{"temporary folder", func(context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "podwatch-")
	if err != nil {
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err
		}
		return "", fmt.Errorf("the temporary folder %q cannot be used (%w): make it, or name another one with TMPDIR", os.TempDir(), err)
	}
	return filepath.Dir(dir), os.Remove(dir)
}}
