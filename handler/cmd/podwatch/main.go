// Command podwatch is the operator's tool: it runs the handler locally, sends
// and replays exported logs, tries queries and checks rules and exceptions.
//
// Results go to standard output, one JSON object or word a line, so that they
// pipe; everything a person should read goes to standard error. Exit status: 0
// done, 1 it could not be done or a check failed, 2 the command line or a query
// is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/version"
)

// An exitError ends the tool with a status other than 1.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError marks err as a mistake of the command line: exit status 2.
func usageError(err error) error { return &exitError{status: 2, err: err} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, newRootCommand()))
}

// execute runs the command and returns the exit status of the process.
func execute(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(root.ErrOrStderr(), "podwatch:", err)
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.status
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "podwatch",
		Short: "Tells who deleted Kubernetes pods in Azure",
		Long: `podwatch tells who deleted Kubernetes pods in an Azure estate.

The detection itself runs in Azure as a Functions custom handler (bin/handler).
This tool is for the person in front of it: it runs the handler on this machine,
feeds it exported logs, and tries rules and exceptions before they are deployed.`,
		Version:       version.Long(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("podwatch {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	root.AddCommand(newRunCommand(), newSendCommand(), newReplayCommand(), newMatchCommand(), newCheckCommand(), newRequeueCommand())
	return root
}
