package hubtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
)

func consumer(t *testing.T, h *hubtest.Hub) *azeventhubs.ConsumerClient {
	t.Helper()
	c, err := azeventhubs.NewConsumerClientFromConnectionString(h.ConnectionString, "podwatch", azeventhubs.DefaultConsumerGroup, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// fill sends messages "0" to n-1, which then have these sequence numbers.
func fill(t *testing.T, h *hubtest.Hub, n int) {
	t.Helper()
	p, err := azeventhubs.NewProducerClientFromConnectionString(h.ConnectionString, "podwatch", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	batch, err := p.NewEventDataBatch(t.Context(), &azeventhubs.EventDataBatchOptions{PartitionID: new("0")})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		ev := &azeventhubs.EventData{Body: fmt.Append(nil, i), ContentType: new("text/plain"), Properties: map[string]any{"number": int64(i)}}
		if err := batch.AddEventData(ev, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.SendEventDataBatch(t.Context(), batch, nil); err != nil {
		t.Fatal(err)
	}
}

// The Functions host reads with Microsoft's .NET client.
func TestFramesOfTheDotNetClient(t *testing.T) {
	t.Parallel()
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 2}, Groups: []string{"mine"}})
	cmd := exec.CommandContext(t.Context(), "node", "--test", filepath.Join(hubtest.Local(t), "eventhub.test.mjs"))
	cmd.Env = append(os.Environ(), "EVENT_HUB="+h.Addr)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The Functions host keeps checkpoints in a storage service that outlives the hub.
func TestOffsetsGoOnBehindThoseOfAnEarlierInstance(t *testing.T) {
	t.Parallel()
	first := func(h *hubtest.Hub, position azeventhubs.StartPosition) *azeventhubs.ReceivedEventData {
		t.Helper()
		fill(t, h, 1)
		pc, err := consumer(t, h).NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: position})
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		events, err := pc.ReceiveEvents(ctx, 1, nil)
		if err != nil {
			t.Fatalf("read from %+v: %v", position, err)
		}
		return events[0]
	}
	start := func() *hubtest.Hub {
		return hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}, ByHand: true})
	}
	checkpoint := first(start(), azeventhubs.StartPosition{Earliest: new(true)})
	h := start()
	first(h, azeventhubs.StartPosition{Offset: &checkpoint.Offset})
	first(h, azeventhubs.StartPosition{SequenceNumber: &checkpoint.SequenceNumber})
	props, err := consumer(t, h).GetPartitionProperties(t.Context(), "0", nil)
	if err != nil || props.LastEnqueuedSequenceNumber-props.BeginningSequenceNumber != 1 {
		t.Errorf("two messages are %+v, %v", props, err)
	}
}

func TestStartPositions(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}, Clock: start, Step: time.Second})
	fill(t, h, 10)
	c := consumer(t, h)

	read := func(t *testing.T, position azeventhubs.StartPosition) *azeventhubs.ReceivedEventData {
		t.Helper()
		pc, err := c.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: position})
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close(t.Context())
		events, err := pc.ReceiveEvents(t.Context(), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return events[0]
	}
	seventh := read(t, azeventhubs.StartPosition{SequenceNumber: new(int64(6))})
	if string(seventh.Body) != "7" || *seventh.ContentType != "text/plain" || seventh.Properties["number"] != int64(7) || !seventh.EnqueuedTime.Equal(start.Add(7*time.Second)) {
		t.Errorf("message 7 comes back as %+v", seventh)
	}
	for name, test := range map[string]struct {
		position azeventhubs.StartPosition
		want     int64
	}{
		"earliest":          {azeventhubs.StartPosition{Earliest: new(true)}, 0},
		"behind a number":   {azeventhubs.StartPosition{SequenceNumber: new(int64(3))}, 4},
		"at a number":       {azeventhubs.StartPosition{SequenceNumber: new(int64(3)), Inclusive: true}, 3},
		"behind an offset":  {azeventhubs.StartPosition{Offset: &seventh.Offset}, 8},
		"at an offset":      {azeventhubs.StartPosition{Offset: &seventh.Offset, Inclusive: true}, 7},
		"behind a time":     {azeventhubs.StartPosition{EnqueuedTime: new(start.Add(2 * time.Second))}, 3},
		"at a time":         {azeventhubs.StartPosition{EnqueuedTime: new(start.Add(2 * time.Second)), Inclusive: true}, 2},
		"between two times": {azeventhubs.StartPosition{EnqueuedTime: new(start.Add(2500 * time.Millisecond)), Inclusive: true}, 3},
		"at the latest":     {azeventhubs.StartPosition{Latest: new(true), Inclusive: true}, 9},
		"before the first":  {azeventhubs.StartPosition{EnqueuedTime: new(start.Add(-time.Hour))}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := read(t, test.position).SequenceNumber; got != test.want {
				t.Errorf("starts at %d, want %d", got, test.want)
			}
		})
	}

	props, err := c.GetPartitionProperties(t.Context(), "0", nil)
	if err != nil || props.BeginningSequenceNumber != 0 || props.LastEnqueuedSequenceNumber != 9 || props.IsEmpty || !props.LastEnqueuedOn.Equal(start.Add(9*time.Second)) {
		t.Errorf("partition properties %+v, %v", props, err)
	}
}

func TestOwnerLevels(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	fill(t, h, 2)
	open := func(level *int64) *azeventhubs.PartitionClient {
		t.Helper()
		pc, err := consumer(t, h).NewPartitionClient("0", &azeventhubs.PartitionClientOptions{
			OwnerLevel: level, StartPosition: azeventhubs.StartPosition{Earliest: new(true)},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close(context.Background()) })
		return pc
	}
	mustRead := func(who string, pc *azeventhubs.PartitionClient) {
		t.Helper()
		if _, err := pc.ReceiveEvents(t.Context(), 1, nil); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
	mustLose := func(who string, pc *azeventhubs.PartitionClient) {
		t.Helper()
		_, err := pc.ReceiveEvents(t.Context(), 10, nil) // more than there is: waits until it is put out
		var lost *azeventhubs.Error
		if !errors.As(err, &lost) || lost.Code != azeventhubs.ErrorCodeOwnershipLost {
			t.Errorf("%s: %v, want ownership lost", who, err)
		}
	}
	anybody := open(nil)
	mustRead("a reader without a level", anybody)
	first := open(new(int64(0)))
	mustRead("the first owner", first)
	mustLose("a reader beside an owner", anybody)
	second := open(new(int64(0)))
	mustRead("a newer owner of the same level", second)
	mustLose("the older owner", first)
	third := open(new(int64(5)))
	mustRead("an owner of a higher level", third)
	mustLose("the owner of the lower level", second)
	mustLose("a newcomer of a lower level", open(new(int64(1))))
	mustLose("a newcomer without a level", open(nil))
}
