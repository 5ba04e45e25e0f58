package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
)

// fill puts messages of one size into partition 0.
func fill(b *testing.B, h *hubtest.Hub, messages, size int) {
	b.Helper()
	s, err := hub.NewSender(connect(h), hub.SendOptions{Partition: "0"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	body := bytes.Repeat([]byte("x"), size)
	for range messages {
		if err := s.Add(b.Context(), body); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRead sets Read beside the client's bare receive loop: what costs
// time is the client and the stand-in, and must stay so.
func BenchmarkRead(b *testing.B) {
	for _, c := range []struct{ messages, size int }{{20_000, 1 << 10}, {1_000, 128 << 10}} {
		h := hubtest.Start(b, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
		fill(b, h, c.messages, c.size)
		name := fmt.Sprintf("messages=%d/size=%d", c.messages, c.size)

		b.Run(name+"/read", func(b *testing.B) {
			for b.Loop() {
				done, err := hub.Read(b.Context(), connect(h), hub.ReadOptions{}, func(context.Context, hub.Partition, []hub.Message) error { return nil })
				if err != nil || done.Messages != int64(c.messages) {
					b.Fatal(done, err)
				}
			}
			b.ReportMetric(float64(c.messages*b.N)/b.Elapsed().Seconds(), "messages/s")
		})
		b.Run(name+"/bare", func(b *testing.B) {
			for b.Loop() {
				bareLoop(b, h, c.messages)
			}
			b.ReportMetric(float64(c.messages*b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func bareLoop(b *testing.B, h *hubtest.Hub, messages int) {
	client, err := azeventhubs.NewConsumerClientFromConnectionString(h.ConnectionString, "podwatch", azeventhubs.DefaultConsumerGroup, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close(b.Context())
	earliest := true
	partition, err := client.NewPartitionClient("0", &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: &earliest}})
	if err != nil {
		b.Fatal(err)
	}
	defer partition.Close(b.Context())
	for got := 0; got < messages; {
		events, err := partition.ReceiveEvents(b.Context(), min(1000, messages-got), nil)
		if err != nil {
			b.Fatal(err)
		}
		got += len(events)
	}
}
