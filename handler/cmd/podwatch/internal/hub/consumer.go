package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"golang.org/x/sync/errgroup"
)

// maxWait is how long a started batch waits for more messages.
const maxWait = 50 * time.Millisecond

// ConsumeOptions steer [Consume]. The zero value follows $Default from its
// oldest message on, in batches of up to 100.
type ConsumeOptions struct {
	ConsumerGroup string // $Default when empty; not one that the Functions host consumes
	FromLatest    bool   // where a partition without a checkpoint starts: at its end instead of its beginning

	MaxBatch int // messages of one callback; 0 means 100, as in the host

	// UpdateEvery is how often partitions are claimed; 0 means 5 s. A dead
	// consumer keeps its own for four times as long.
	UpdateEvery time.Duration

	Log *slog.Logger // required
}

// Consume hands the messages of a hub to handle until ctx ends or something
// fails for good. Several consumers of one group share the partitions.
//
// handle is called by one goroutine per partition, in order within it, with a
// batch that is never empty. After it returned nil the checkpoint moves behind
// the batch; an error ends Consume, and the batch comes again next time. When
// ctx ends, Consume waits for the callbacks that are under way and stores their
// checkpoints before it gives up the partitions and returns nil, so a stop and
// a restart repeat nothing. handle's context outlives ctx for that reason.
func Consume(ctx context.Context, c Connection, store azeventhubs.CheckpointStore, o ConsumeOptions, handle func(context.Context, Partition, []Message) error) error {
	o.ConsumerGroup = cmp.Or(o.ConsumerGroup, azeventhubs.DefaultConsumerGroup)
	o.MaxBatch = cmp.Or(o.MaxBatch, 100)
	o.UpdateEvery = cmp.Or(o.UpdateEvery, 5*time.Second)
	client, target, err := c.consumer(o.ConsumerGroup)
	if err != nil {
		return err
	}
	defer closeClient(ctx, client.Close)

	start := azeventhubs.StartPosition{Earliest: new(true)}
	if o.FromLatest {
		start = azeventhubs.StartPosition{Latest: new(true)}
	}
	processor, err := azeventhubs.NewProcessor(client, &presentCheckpoints{CheckpointStore: store, client: client, log: o.Log}, &azeventhubs.ProcessorOptions{
		LoadBalancingStrategy:       azeventhubs.ProcessorStrategyGreedy, // claims a whole hub at once instead of a partition every interval
		UpdateInterval:              o.UpdateEvery,
		PartitionExpirationDuration: 4 * o.UpdateEvery,
		StartPositions:              azeventhubs.StartPositions{Default: start},
		Prefetch:                    int32(max(o.MaxBatch, 32)),
	})
	if err != nil {
		return fmt.Errorf("consume event hub %q: %w", target.hub, err)
	}

	k := &consumer{
		processor: processor,
		o:         o,
		handle:    handle,
		source:    Partition{Namespace: target.namespace, Hub: target.hub, ConsumerGroup: o.ConsumerGroup},
	}
	if err := k.run(ctx); err != nil {
		return fmt.Errorf("consume event hub %q: %w", target.hub, explain(err))
	}
	return nil
}

type consumer struct {
	processor *azeventhubs.Processor
	o         ConsumeOptions
	handle    func(context.Context, Partition, []Message) error
	source    Partition
}

// run keeps an order at the end: first receiving ends, then running
// callbacks finish and are checkpointed, and only then the processor gives its
// partitions to others, who would start from an older checkpoint otherwise.
func (k *consumer) run(ctx context.Context) error {
	claims, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	work, stop := context.WithCancel(ctx)
	defer stop()

	processed := make(chan error, 1)
	go func() {
		err := k.processor.Run(claims)
		stop() // without claims there is nothing to receive
		processed <- err
	}()

	g, work := errgroup.WithContext(work)
	g.Go(func() error {
		for {
			client := k.processor.NextPartitionClient(work)
			if client == nil {
				return nil
			}
			g.Go(func() error { return k.follow(work, client) })
		}
	})
	err := g.Wait()
	giveUp()
	return errors.Join(err, <-processed)
}

// follow consumes one partition until ctx ends, the partition goes to another
// consumer, or handle fails.
func (k *consumer) follow(ctx context.Context, client *azeventhubs.ProcessorPartitionClient) error {
	defer closeClient(ctx, client.Close)
	source := k.source
	source.ID = client.PartitionID()
	lasting := context.WithoutCancel(ctx)
	for {
		events, err := k.receive(ctx, client)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// The processor opens the partition again at its next turn, from
			// the checkpoint, if it is still ours.
			k.o.Log.Warn("partition interrupted", "partition", source.ID, "err", explain(err))
			return nil
		}
		if err := k.handle(lasting, source, newMessages(events)); err != nil {
			return fmt.Errorf("partition %s: %w", source.ID, err)
		}
		if err := client.UpdateCheckpoint(lasting, events[len(events)-1], nil); err != nil {
			return fmt.Errorf("partition %s: store checkpoint: %w", source.ID, err)
		}
	}
}

// receive waits for one message and then takes along what comes within maxWait.
// A single call for the whole batch would hold back the first message until the
// batch is full.
func (k *consumer) receive(ctx context.Context, client *azeventhubs.ProcessorPartitionClient) ([]*azeventhubs.ReceivedEventData, error) {
	events, err := client.ReceiveEvents(ctx, 1, nil)
	if err != nil || k.o.MaxBatch == 1 {
		return events, err
	}
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	more, err := client.ReceiveEvents(wait, k.o.MaxBatch-1, nil)
	if err != nil {
		return events, nil // nothing came, or the next call meets the same trouble
	}
	return append(events, more...), nil
}
