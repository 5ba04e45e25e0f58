package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/spf13/cobra"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

func newRequeueCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "requeue",
		Short: "Put alerts that were given up back into the queue",
		Long: `Requeue moves the dead letters, alerts that podwatch gave up, back to the queue of
undelivered alerts, from which the Redeliver function delivers them to the sinks
that lack them. Do this when the cause is mended: a webhook that was recreated, a
role that was assigned.

Each alert is printed on a line: its id, its time, its rule and why it was given
up. A dead letter that is no alert stays where it is. Killed half-way, requeue
loses nothing: an alert may then be in both places, and the ledger keeps a sink
from getting it twice.

The storage account is the one that the app settings AzureWebJobsStorage or
AzureWebJobsStorage__accountName in the environment name.`,
		Example: `  podwatch requeue --dry-run
  AzureWebJobsStorage__accountName=stpodwatch podwatch requeue`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			account, err := accountFromEnvironment()
			if err != nil {
				return err
			}
			return requeue(cmd, account, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the alerts and move nothing")
	return cmd
}

// accountFromEnvironment opens the host's storage account.
func accountFromEnvironment() (*storage.Account, error) {
	s := config.StorageFrom(os.Getenv)
	if !s.Configured() {
		return nil, usageError(errors.New("name the storage account: set AzureWebJobsStorage or AzureWebJobsStorage__accountName"))
	}
	var cred azcore.TokenCredential
	if s.ConnectionString == "" {
		var err error
		if cred, err = azidentity.NewDefaultAzureCredential(nil); err != nil {
			return nil, fmt.Errorf("make the credential: %w", err)
		}
	}
	return storage.Open(&s, cred)
}

// requeue moves the dead letters into the queue, each into the one place before it
// leaves the other.
func requeue(cmd *cobra.Command, account *storage.Account, dryRun bool) error {
	letters := state.NewDeadLetters(account.Documents(state.StateContainer), time.Now)
	queue := account.Queue(storage.UndeliveredQueue)
	moved, left := 0, 0
	for letter, err := range letters.All(cmd.Context()) {
		if err != nil {
			return err
		}
		a, err := alert.Parse(letter.Text)
		if err != nil {
			left++
			fmt.Fprintf(cmd.ErrOrStderr(), "podwatch: a dead letter of %s is no alert: %v\n", letter.Added.UTC().Format(time.RFC3339), err)
			continue
		}
		if !dryRun {
			if err = queue.Put(cmd.Context(), letter.Text); err == nil {
				err = letters.Remove(cmd.Context(), letter)
			}
			if err != nil {
				return fmt.Errorf("requeue alert %q: %w", a.AlertId, err)
			}
		}
		moved++
		// Quoted, so that a name cannot control the terminal.
		fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%q\t%q\n", a.AlertId, a.EventTime.UTC().Format(time.RFC3339), a.RuleName, letter.Reason)
	}
	switch {
	case moved+left == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing to requeue")
	case moved > 0 && !dryRun:
		fmt.Fprintf(cmd.ErrOrStderr(), "%d alerts put back into %s\n", moved, storage.UndeliveredQueue)
	}
	if left > 0 {
		return fmt.Errorf("%d dead letters are no alerts and were left where they are", left)
	}
	return nil
}
