package hub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
	"podwatch/handler/internal/azurite"
)

// quick claims partitions without the pauses that spare a real storage account.
func quick() hub.ConsumeOptions {
	return hub.ConsumeOptions{Log: slog.New(slog.DiscardHandler), UpdateEvery: 500 * time.Millisecond}
}

// consumeUntil consumes until handle has seen n messages in all, and returns
// Consume's error.
func consumeUntil(t *testing.T, n int, c hub.Connection, store azeventhubs.CheckpointStore, o hub.ConsumeOptions, handle func(context.Context, hub.Partition, []hub.Message) error) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var mu sync.Mutex
	seen := 0
	err := hub.Consume(ctx, c, store, o, func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
		if err := handle(ctx, p, batch); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if seen += len(batch); seen >= n {
			stop()
		}
		return nil
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("consumed %d of %d messages within a minute; %v", seen, n, err)
	}
	return err
}

// TestConsume runs all tests of [hub.Consume] on one Azurite, each with a container
// of its own; open opens it, as a process does at its start.
func TestConsume(t *testing.T) {
	storage := azurite.Start(t)
	for i, c := range []struct {
		name string
		test func(t *testing.T, open func() azeventhubs.CheckpointStore)
	}{
		{"restarts lose and repeat nothing", testRestarts},
		{"the batch that failed comes again", testFailure},
		{"two consumers share a hub", testSharing},
		{"a hub that was created anew is read from its start", testNewHub},
		{"a partition without a checkpoint can start at its end", testLatest},
		{"a missing hub is an error", testMissingHub},
		{"a cut connection is made again", testCutConnection},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, err := container.NewClientFromConnectionString(storage, fmt.Sprintf("checkpoints-%d", i), nil)
			if err != nil {
				t.Fatal(err)
			}
			c.test(t, func() azeventhubs.CheckpointStore {
				store, err := hub.NewBlobCheckpoints(t.Context(), client)
				if err != nil {
					t.Fatal(err)
				}
				return store
			})
		})
	}
}

func testRestarts(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{})
	var want []string
	var got ledger
	for round, batch := range [][]string{numbered("first", 300), numbered("second", 300), numbered("third", 30)} {
		send(t, connect(h), hub.SendOptions{Partition: "0"}, batch[:len(batch)/2]...)
		send(t, connect(h), hub.SendOptions{Partition: "1"}, batch[len(batch)/2:]...)
		want = append(want, batch...)
		// The first two rounds stop in the middle and leave the rest to the
		// next consumer.
		goal := len(want) - got.count()
		if round < 2 {
			goal /= 2
		}
		o := quick()
		o.MaxBatch = 7
		if err := consumeUntil(t, goal, connect(h), open(), o, got.add); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got.bodies()); diff != "" {
		t.Errorf("after two restarts (-want +got):\n%s", diff)
	}
	for id, messages := range got.messages {
		for i, m := range messages {
			if m.Sequence != int64(i) {
				t.Fatalf("partition %s: place %d has message %d", id, i, m.Sequence)
			}
		}
	}
}

func testFailure(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	send(t, connect(h), hub.SendOptions{}, numbered("m", 20)...)
	store := open()
	o := quick()
	o.MaxBatch = 5
	broken := errors.New("the handler answers 500")

	var got ledger
	err := consumeUntil(t, 20, connect(h), store, o, func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
		if p.Hub != "podwatch" || p.ID != "0" || p.ConsumerGroup != "$Default" || p.Namespace == "" {
			t.Errorf("partition = %+v", p)
		}
		if got.count() >= 10 {
			return broken
		}
		return got.add(ctx, p, batch)
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "partition 0") {
		t.Fatalf("Consume: %v, want the callback's error with the partition", err)
	}
	left := 20 - got.count()
	if err := consumeUntil(t, left, connect(h), store, o, got.add); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbered("m", 20), got.bodies()); diff != "" {
		t.Errorf("after the failure (-want +got):\n%s", diff)
	}
}

func testSharing(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 4}})
	store := open()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()

	// Each partition gets messages until both consumers have had some.
	var mu sync.Mutex
	consumers := map[string]map[string]bool{"a": {}, "b": {}}
	var workers sync.WaitGroup
	for name, partitions := range consumers {
		workers.Go(func() {
			err := hub.Consume(ctx, connect(h), store, quick(), func(_ context.Context, p hub.Partition, _ []hub.Message) error {
				mu.Lock()
				defer mu.Unlock()
				partitions[p.ID] = true
				if len(consumers["a"]) > 0 && len(consumers["b"]) > 0 {
					stop()
				}
				return nil
			})
			if err != nil {
				t.Errorf("consumer %s: %v", name, err)
			}
		})
	}
	s, err := hub.NewSender(connect(h), hub.SendOptions{Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	for ctx.Err() == nil {
		if err := s.Add(ctx, []byte("x")); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	workers.Wait()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("after a minute one consumer had everything: %v", consumers)
	}
}

// A hub that was created anew starts at zero, and old checkpoints would keep
// its consumer waiting for ever.
func testNewHub(t *testing.T, open func() azeventhubs.CheckpointStore) {
	store := open()
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	send(t, connect(h), hub.SendOptions{}, "only")
	props := hub.Partition{}
	if err := consumeUntil(t, 1, connect(h), store, quick(), func(_ context.Context, p hub.Partition, _ []hub.Message) error {
		props = p
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ahead, offset := int64(5000), "320000"
	if err := store.SetCheckpoint(t.Context(), azeventhubs.Checkpoint{
		FullyQualifiedNamespace: props.Namespace, EventHubName: props.Hub, ConsumerGroup: props.ConsumerGroup, PartitionID: "0",
		SequenceNumber: &ahead, Offset: &offset,
	}, nil); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	o := quick()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	var got ledger
	if err := consumeUntil(t, 1, connect(h), store, o, got.add); err != nil {
		t.Fatal(err)
	}
	if got.bodies()[0] != "only" || !strings.Contains(log.String(), "created anew") {
		t.Errorf("got %v, log %s", got.bodies(), log.String())
	}
}

func testLatest(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	send(t, connect(h), hub.SendOptions{}, "old")
	o := quick()
	o.FromLatest = true
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	s, err := hub.NewSender(connect(h), hub.SendOptions{Rate: 50})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	var sender sync.WaitGroup
	sender.Go(func() {
		for ctx.Err() == nil {
			s.Add(ctx, []byte("new")) // fails when ctx ends
		}
	})
	var got ledger
	if err := hub.Consume(ctx, connect(h), open(), o, func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
		stop()
		return got.add(ctx, p, batch)
	}); err != nil {
		t.Fatal(err)
	}
	sender.Wait()
	if bodies := got.bodies(); len(bodies) == 0 || slices.Contains(bodies, "old") {
		t.Errorf("got %v, want new messages only", bodies)
	}
}

func testMissingHub(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{})
	c := connect(h)
	c.Hub, c.Retry = "nowhere", azeventhubs.RetryOptions{MaxRetries: -1}
	err := hub.Consume(t.Context(), c, open(), quick(), (&ledger{}).add)
	checkError(t, err, "nowhere", "SAS_KEY_VALUE")
}

// A cutter passes bytes between a client and the stand-in and cuts all
// connections on demand, as a network does.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l}
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			pipe := func(to, from net.Conn) {
				io.Copy(to, from)
				to.Close()
				from.Close()
			}
			c.wg.Go(func() { pipe(in, out) })
			c.wg.Go(func() { pipe(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func testCutConnection(t *testing.T, open func() azeventhubs.CheckpointStore) {
	h := hubtest.Start(t, hubtest.Options{})
	want := numbered("m", 600)
	send(t, connect(h), hub.SendOptions{Partition: "0"}, want[:300]...)
	send(t, connect(h), hub.SendOptions{Partition: "1"}, want[300:]...)
	line := newCutter(t, h.Addr)
	c := hub.Connection{
		ConnectionString: hubtest.ConnectionString(line.Addr().String()),
		Hub:              "podwatch",
		Retry:            azeventhubs.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 10 * time.Millisecond, MaxRetries: 10},
	}
	// The line is cut after the first batch and twice more.
	cutting := func(l *ledger) func(context.Context, hub.Partition, []hub.Message) error {
		var mu sync.Mutex
		batches := 0
		return func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if batches++; batches%10 == 1 && batches < 30 {
				line.cut()
			}
			return l.add(ctx, p, batch)
		}
	}

	t.Run("read", func(t *testing.T) {
		var got ledger
		if _, err := hub.Read(t.Context(), c, hub.ReadOptions{MaxBatch: 10, Stalled: 2 * time.Second}, cutting(&got)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.bodies()); diff != "" {
			t.Errorf("bodies (-want +got):\n%s", diff)
		}
	})
	t.Run("consume", func(t *testing.T) {
		var got ledger
		o := quick()
		o.MaxBatch = 10
		if err := consumeUntil(t, len(want), c, open(), o, cutting(&got)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.bodies()); diff != "" {
			t.Errorf("bodies (-want +got):\n%s", diff)
		}
	})
}
