package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/cmd/podwatch/internal/hub"
)

const (
	checkpointContainer = "podwatch-run" // in the local storage
	storageFolder       = ".podwatch/storage"
	followEvery         = 10 * time.Second // how often progress is said
)

// hubRunOptions are the flags of a run that follows a hub.
type hubRunOptions struct {
	hubFlags
	latest  bool
	storage string // folder; empty keeps all in memory
}

func (o *hubRunOptions) flags(cmd *cobra.Command) {
	o.hubFlags.flags(cmd, "follow this hub instead of feeding samples; without a name, the one that EVENT_HUB_NAME names",
		"consumer group to follow with, never the app's own")
	f := cmd.Flags()
	f.BoolVar(&o.latest, "latest", false, "begin a hub with what comes next instead of its oldest message")
	f.StringVar(&o.storage, "storage", storageFolder, "folder that keeps checkpoints and ledger when a hub is followed")
}

// check finds what does not go together on the command line.
func (o *hubRunOptions) check(args []string) error {
	if o.wanted() {
		if len(args) > 1 {
			return fmt.Errorf("run takes nothing but the name of a hub, not %q", args)
		}
		return nil
	}
	if len(args) > 0 {
		return fmt.Errorf("run takes no argument %q: drop files into its folder, or name a hub with --event-hub", args[0])
	}
	return o.needless("latest", "storage")
}

// prepare reads the flags. It does no I/O.
func (o *hubRunOptions) prepare(args []string) error {
	if !o.wanted() {
		o.storage = ""
		return nil
	}
	if o.storage == "" {
		return errors.New("--storage needs a folder")
	}
	return o.resolve(args)
}

// settings give the app the hub's name, without any key: it is fed by this
// process.
func (o *hubRunOptions) settings() map[string]string {
	if !o.wanted() {
		return nil
	}
	namespace, name, _ := strings.Cut(o.connection.String(), "/")
	return map[string]string{
		"EventHub":                 "Endpoint=sb://" + namespace + ";SharedAccessKeyName=none;SharedAccessKey=none",
		"EVENT_HUB_NAME":           name,
		"EVENT_HUB_CONSUMER_GROUP": o.group,
	}
}

// greeting is the line about the hub.
func (o *hubRunOptions) greeting() string {
	if !o.wanted() {
		return ""
	}
	return fmt.Sprintf("  Event hub   %s, consumer group %s\n", o.connection, o.group)
}

// dropPartition is where dropped files go: none of the hub's own partitions, so
// that they have numbers of their own.
func (o *hubRunOptions) dropPartition() string {
	if o.wanted() {
		return "drop"
	}
	return localPartition
}

// follow hands the messages of the hub to the app until ctx ends; without a hub
// it returns at once. When it returns after the end of ctx, the batches that were
// under way are done and checkpointed.
func (r *localRun) follow(ctx context.Context) error {
	if !r.o.hub.wanted() {
		return nil
	}
	client, err := container.NewClientFromConnectionString(r.storage.ConnectionString, checkpointContainer, nil)
	if err != nil {
		return fmt.Errorf("open checkpoint container: %w", err)
	}
	store, err := hub.NewBlobCheckpoints(ctx, client)
	if err != nil {
		return err
	}
	o := hub.ConsumeOptions{ConsumerGroup: r.o.hub.group, FromLatest: r.o.hub.latest, Log: r.log}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.sayProgress(ctx) })
	group.Go(func() error {
		err := hub.Consume(ctx, r.o.hub.connection, store, o, func(ctx context.Context, from hub.Partition, messages []hub.Message) error {
			if err := r.host.Deliver(ctx, from.ID, messages...); err != nil {
				return err
			}
			r.taken.Add(int64(len(messages)))
			return nil
		})
		if err == nil {
			err = ctx.Err()
		}
		return err
	})
	err = group.Wait()
	r.say("%d messages of %s were evaluated; the next run goes on behind them", r.taken.Load(), r.o.hub.connection)
	return err
}

// sayProgress reports from time to time how many messages came, if any did.
func (r *localRun) sayProgress(ctx context.Context) error {
	tick := time.Tick(followEvery)
	said := int64(0)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		if n := r.taken.Load(); n != said {
			said = n
			r.say("%d messages evaluated, %d rows", n, r.inbox.Counts().Rows)
		}
	}
}
