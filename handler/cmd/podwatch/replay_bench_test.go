package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
)

// A traffic is what a hub of two partitions is filled with: messages of 50
// records of the sample export's noise, one of which is about deleting something
// and has to be parsed, and now and then a pod deletion.
type traffic struct {
	messages int
	every    int // one in so many messages has a deletion; messages is a multiple of twice this
}

const recordsEach = 50

func (tr traffic) records() int   { return tr.messages * recordsEach }
func (tr traffic) deletions() int { return tr.messages / tr.every }

// fill sends the traffic and returns how many bytes it is.
func (tr traffic) fill(tb testing.TB, h *hubtest.Hub) (total int64) {
	tb.Helper()
	quiet, busy := noise(tb)
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(tb.Context())
	for partition := range 2 {
		group.Go(func() error {
			s, err := hub.NewSender(hub.Connection{ConnectionString: h.ConnectionString, Hub: "podwatch"}, hub.SendOptions{Partition: fmt.Sprint(partition)})
			if err != nil {
				return err
			}
			defer s.Close(ctx)
			for n := range tr.messages / 2 {
				records := [][]byte{busy[n%len(busy)]}
				if n%tr.every == 0 {
					records = append(records, []byte(deletion(n/tr.every*2+partition)))
				}
				for i := 0; len(records) < recordsEach; i++ {
					records = append(records, quiet[(n+i)%len(quiet)])
				}
				body := slices.Concat([]byte(`{"records":[`), bytes.Join(records, []byte(",")), []byte(`]}`))
				if err := s.Add(ctx, body); err != nil {
					return err
				}
			}
			err = s.Flush(ctx)
			sent.Add(s.Sent().Bytes)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		tb.Fatal(err)
	}
	return sent.Load()
}

// noise are the records of the sample export that raise no alert: those that
// cannot be told from a deletion without a look inside are busy.
func noise(tb testing.TB) (quiet, busy [][]byte) {
	tb.Helper()
	data, err := samples.ReadFile("samples/00-noise.json")
	if err != nil {
		tb.Fatal(err)
	}
	var export struct{ Records []json.RawMessage }
	if err := json.Unmarshal(data, &export); err != nil {
		tb.Fatal(err)
	}
	for _, record := range export.Records {
		var b bytes.Buffer
		if err := json.Compact(&b, record); err != nil {
			tb.Fatal(err)
		}
		if bytes.Contains(bytes.ToLower(b.Bytes()), []byte("delete")) {
			busy = append(busy, b.Bytes())
		} else {
			quiet = append(quiet, b.Bytes())
		}
	}
	return quiet, busy
}

// liveHeap is what the process holds on to, in MiB.
func liveHeap() float64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64()) / (1 << 20)
}

// replayed replays all of the traffic and returns how long that took and the heap
// at each quarter of the alerts, in the midst of the work.
func (tr traffic) replayed(tb testing.TB, h *hubtest.Hub) (took time.Duration, heap []float64) {
	tb.Helper()
	alerts := 0
	start := time.Now()
	stderr, err := runReplay(tb.Context(), tb, h, func(p []byte) (int, error) {
		before := alerts * 4 / tr.deletions()
		alerts += bytes.Count(p, []byte("\n"))
		if alerts*4/tr.deletions() > before {
			heap = append(heap, liveHeap())
		}
		return len(p), nil
	}, "--event-hub")
	took = time.Since(start)
	if err != nil || alerts != tr.deletions() || len(heap) != 4 {
		tb.Fatalf("%d alerts, want %d; heap %.1f; error %v\n%s", alerts, tr.deletions(), heap, err, stderr)
	}
	return took, heap
}

// received receives all of the traffic with the client alone, from both
// partitions at once, and returns how long that took.
func (tr traffic) received(tb testing.TB, h *hubtest.Hub) time.Duration {
	tb.Helper()
	start := time.Now()
	client, err := azeventhubs.NewConsumerClientFromConnectionString(h.ConnectionString, "podwatch", azeventhubs.DefaultConsumerGroup, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close(context.WithoutCancel(tb.Context()))
	group, ctx := errgroup.WithContext(tb.Context())
	for partition := range 2 {
		group.Go(func() error {
			earliest := true
			p, err := client.NewPartitionClient(fmt.Sprint(partition), &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: &earliest}})
			if err != nil {
				return err
			}
			defer p.Close(ctx)
			for left := tr.messages / 2; left > 0; {
				events, err := p.ReceiveEvents(ctx, min(100, left), nil)
				if err != nil {
					return err
				}
				left -= len(events)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		tb.Fatal(err)
	}
	return time.Since(start)
}

// TestReplayHoldsNoMoreInTheEnd replays 120 MB. In the end there is nothing that
// the hub has sent ahead, only what is being evaluated.
func TestReplayHoldsNoMoreInTheEnd(t *testing.T) {
	const allowance = 16
	tr := traffic{messages: 2000, every: 50}
	h := hubtest.Start(t, hubtest.Options{})
	tr.fill(t, h)
	_, heap := tr.replayed(t, h)
	t.Logf("live heap at each quarter: %.1f MiB", heap)
	if heap[3] > heap[0]+allowance {
		t.Errorf("live heap at each quarter: %.1f MiB, want no more than %d more in the end than at the first", heap, allowance)
	}
}

// BenchmarkReplayOfAMillionRecords sets a replay beside a loop that receives the
// same messages and drops them. Both share the machine with the stand-in, which
// is the slower half of the loop.
func BenchmarkReplayOfAMillionRecords(b *testing.B) {
	tr := traffic{messages: 20_000, every: 200}
	h := hubtest.Start(b, hubtest.Options{})
	size := float64(tr.fill(b, h)) / 1e6
	var bare, replay time.Duration
	var heap []float64
	for b.Loop() {
		bare += tr.received(b, h)
		took, now := tr.replayed(b, h)
		replay += took
		heap = now
	}
	n := float64(b.N)
	rate := func(what float64, in time.Duration) float64 { return what * n / in.Seconds() }
	records := float64(tr.records())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(records, replay), "records/s")
	b.ReportMetric(rate(records, bare), "bare-records/s")
	b.ReportMetric(bare.Seconds()/replay.Seconds(), "of-bare")
	b.Logf("%d records in %d messages, %.0f MB, from 2 partitions, %d alerts", tr.records(), tr.messages, size, tr.deletions())
	b.Logf("replay:            %.0f records/s, %.0f MB/s", rate(records, replay), rate(size, replay))
	b.Logf("bare receive loop: %.0f records/s, %.0f MB/s; replay reaches %.0f %% of it", rate(records, bare), rate(size, bare), 100*bare.Seconds()/replay.Seconds())
	b.Logf("live heap at 25, 50, 75, 100 %% of the replay: %.1f MiB", heap)
}
