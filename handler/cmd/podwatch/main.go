// Command podwatch is the operator's tool: it runs the handler locally, sends
// and replays exported logs, tries queries, checks rules and exceptions, and
// publishes, examines and removes what runs in Azure.
//
// Results go to standard output, one JSON object or word a line, so that they
// pipe; everything a person should read goes to standard error. Exit status: 0
// done, 1 it could not be done or a check failed, 2 the command line or a query
// is wrong; doctor has two more.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"podwatch/handler/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(execute(ctx, newRootCommand()))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "podwatch",
		Short: "Tells who deleted Kubernetes pods in Azure",
		Long: `podwatch tells who deleted Kubernetes pods in an Azure estate.

The detection itself runs in Azure as a Functions custom handler (bin/handler).
This tool is for the person in front of it: it runs the handler on this machine,
feeds it exported logs, tries rules and exceptions before they are deployed, and
publishes, examines and removes the deployment.`,
		Version:       version.Long(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("podwatch {{.Version}}\n")
	root.SetFlagErrorFunc(suggestFlag)
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(newRunCommand(), newPreflightCommand(), newFeedCommand(), newSendCommand(), newReplayCommand(), newMatchCommand(), newCheckCommand(), newRequeueCommand(),
		newPublishCommand(), newDoctorCommand(), newDestroyCommand())
	for _, cmd := range root.Commands() {
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return workError(run(cmd, args)) }
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		// cobra looks at the arguments of a command only when it can be run.
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

// newHelpCommand replaces cobra's, which reports an unknown command as success.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(help *cobra.Command, args []string) error {
			cmd, rest, err := help.Root().Find(args)
			switch {
			case err != nil:
				return err
			case len(rest) > 0:
				return fmt.Errorf("unknown command %q for %q", rest[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
}

// An exitError ends the tool with its status. Every other error is about the
// command line: cobra found it before a command ran.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError marks what a command itself found wrong with its command line.
func usageError(err error) error { return &exitError{status: statusUsage, err: err} }

// workError marks an error of a command that ran.
func workError(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{status: 1, err: err}
}

const statusUsage = 2

func exitStatus(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.status
	}
	return statusUsage
}

// execute runs the command line and returns the exit status of the process.
func execute(ctx context.Context, root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	status := exitStatus(err)
	fmt.Fprintln(root.ErrOrStderr(), "podwatch:", visibleLines(strings.TrimSpace(err.Error())))
	if status == statusUsage {
		fmt.Fprintf(root.ErrOrStderr(), "See %q.\n", cmp.Or(cmd, root).CommandPath()+" --help")
	}
	return status
}

// suggestFlag adds the flags that an unknown one may have been meant for.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	// cobra compares the names of commands only.
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	for _, name := range names.SuggestionsFor(unknown.GetSpecifiedName()) {
		err = fmt.Errorf("%w\nDid you mean --%s?", err, name)
	}
	return err
}
