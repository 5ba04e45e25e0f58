package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"
	"github.com/spf13/cobra"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink"
)

func newRequeueCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "requeue",
		Short: "Put alerts from the poison queue back into the queue",
		Long: `Requeue moves the alerts that podwatch gave up on from the poison queue back to
the queue of undelivered alerts, from which the Redeliver function delivers them
to the sinks that lack them. Do this when the cause is mended: a webhook that was
recreated, a role that was assigned. The last note of an alert says the cause.

Each alert is printed on a line: its id, rule, time and why it was given up. A
message that is no alert stays where it is. Killed half-way, requeue loses
nothing: an alert may then be in both queues, and the ledger keeps a sink from
getting it twice.

The storage account is the one that the app settings AzureWebJobsStorage or
AzureWebJobsStorage__accountName in the environment name.`,
		Example: `  podwatch requeue --dry-run
  AzureWebJobsStorage__accountName=stpodwatch podwatch requeue`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			storage, err := storageFromEnvironment()
			if err != nil {
				return err
			}
			r := requeue{storage: storage, dryRun: dryRun, cmd: cmd}
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the alerts and move nothing (shows 32 at most)")
	return cmd
}

// storageFromEnvironment reads the host's storage settings.
func storageFromEnvironment() (sink.Storage, error) {
	s := sink.Storage{
		ConnectionString: settings("AzureWebJobsStorage"), AccountName: settings("AzureWebJobsStorage__accountName"),
		BlobServiceURI: settings("AzureWebJobsStorage__blobServiceUri"), QueueServiceURI: settings("AzureWebJobsStorage__queueServiceUri"),
	}
	if s.ConnectionString != "" {
		return s, nil
	}
	if s.AccountName == "" && s.QueueServiceURI == "" {
		return s, usageError(errors.New("name the storage account: set AzureWebJobsStorage or AzureWebJobsStorage__accountName"))
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return s, fmt.Errorf("make the credential: %w", err)
	}
	s.Credential = cred
	return s, nil
}

// A requeue moves alerts from the poison queue.
type requeue struct {
	storage sink.Storage
	dryRun  bool
	cmd     *cobra.Command

	moved, left int
}

// page is the most messages that the queue service hands out at once.
const page = 32

// hidden is how long a message that is being moved stays out of sight. One that
// stays in the queue is not met twice in that time.
const hidden = 5 * time.Minute

func (r *requeue) run(ctx context.Context) error {
	from, err := r.storage.Queue(sink.PoisonQueue)
	if err != nil {
		return err
	}
	to, err := r.storage.Queue(sink.UndeliveredQueue)
	if err != nil {
		return err
	}
	if r.dryRun {
		return r.show(ctx, from)
	}
	for {
		got, err := from.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{NumberOfMessages: ptr(int32(page)), VisibilityTimeout: ptr(int32(hidden.Seconds()))})
		if err != nil && !missing(err) {
			return fmt.Errorf("read queue %q: %w", sink.PoisonQueue, sink.StorageError(err))
		}
		if len(got.Messages) == 0 {
			break
		}
		for _, m := range got.Messages {
			if err := r.move(ctx, from, to, m); err != nil {
				return err
			}
		}
	}
	if r.moved == 0 && r.left == 0 {
		fmt.Fprintln(r.cmd.ErrOrStderr(), nothing)
		return nil
	}
	fmt.Fprintf(r.cmd.ErrOrStderr(), "%d alerts put back into %s\n", r.moved, sink.UndeliveredQueue)
	if r.left > 0 {
		return fmt.Errorf("%d messages of %s are no alerts and were left there", r.left, sink.PoisonQueue)
	}
	return nil
}

func (r *requeue) show(ctx context.Context, from *azqueue.QueueClient) error {
	got, err := from.PeekMessages(ctx, &azqueue.PeekMessagesOptions{NumberOfMessages: ptr(int32(page))})
	if err != nil && !missing(err) {
		return fmt.Errorf("look into queue %q: %w", sink.PoisonQueue, sink.StorageError(err))
	}
	if len(got.Messages) == 0 {
		fmt.Fprintln(r.cmd.ErrOrStderr(), nothing)
	}
	for _, m := range got.Messages {
		if a, err := decode(*m.MessageText); err == nil {
			r.print(a)
		} else {
			fmt.Fprintf(r.cmd.ErrOrStderr(), "podwatch: message %s: %v\n", *m.MessageID, err)
		}
	}
	return nil
}

const nothing = "nothing to requeue"

// missing reports that there is no poison queue: the host makes it when it has the
// first alert to put there.
func missing(err error) bool { return queueerror.HasCode(err, queueerror.QueueNotFound) }

// move adds to the one queue before it takes from the other.
func (r *requeue) move(ctx context.Context, from, to *azqueue.QueueClient, m *azqueue.DequeuedMessage) error {
	a, err := decode(*m.MessageText)
	if err != nil {
		r.left++
		fmt.Fprintf(r.cmd.ErrOrStderr(), "podwatch: message %s: %v\n", *m.MessageID, err)
		return nil
	}
	if _, err := to.EnqueueMessage(ctx, *m.MessageText, nil); err != nil {
		return fmt.Errorf("put alert %q into queue %q: %w", a.AlertId, sink.UndeliveredQueue, sink.StorageError(err))
	}
	if _, err := from.DeleteMessage(ctx, *m.MessageID, *m.PopReceipt, nil); err != nil {
		return fmt.Errorf("take alert %q from queue %q: %w", a.AlertId, sink.PoisonQueue, sink.StorageError(err))
	}
	r.moved++
	r.print(a)
	return nil
}

// decode reads a queued alert. The host codes messages in base64.
func decode(text string) (*alert.Alert, error) {
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		plain = []byte(text)
	}
	return alert.Parse(plain)
}

func (r *requeue) print(a *alert.Alert) {
	why := ""
	if n := len(a.Notes); n > 0 {
		why = a.Notes[n-1]
	}
	// Quoted, so that a name cannot steer the terminal.
	fmt.Fprintf(r.cmd.OutOrStdout(), "%s\t%s\t%q\t%q\n", a.AlertId, a.EventTime.UTC().Format(time.RFC3339), a.RuleName, why)
}

func ptr[T any](v T) *T { return &v }
