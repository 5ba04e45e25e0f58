package hub

import (
	"context"
	"errors"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// Credit is how many messages the hub may send in advance. It counts messages,
// memory counts bytes, and a message has anything up to 1 MiB.
const (
	firstCredit = 8   // until sizes are known
	maxCredit   = 300 // the client's own default; more is not faster
)

// An intake receives one partition in batches while the hub keeps sending: with
// credit by the batch the link would idle for a round trip after each one. When
// the sizes of messages change, it opens the partition with another credit,
// behind what it has handed out. Not safe for concurrent use.
type intake struct {
	hub         *azeventhubs.ConsumerClient
	partition   string
	from        azeventhubs.StartPosition
	most, bytes int // of a batch: messages, and what their bodies come to
	ahead       int // bytes that the hub may send in advance
	patience    time.Duration

	client *azeventhubs.PartitionClient // nil: to be opened at from
	credit int                          // of client
	size   int                          // of a message, by what came so far; 0 when nothing did
}

// next returns up to limit messages, and fewer, or none, when nothing came for
// too long.
func (in *intake) next(ctx context.Context, limit int64) ([]Message, error) {
	var batch []Message
	bytes := 0
	for limit = min(limit, int64(in.most)); len(batch) < int(limit) && bytes < in.bytes*7/8; {
		if err := in.open(ctx); err != nil {
			return nil, err
		}
		// No more at once than has credit: larger ones may follow small ones.
		count := in.credit
		if in.size > 0 {
			count = min(count, max(1, (in.bytes-bytes)/in.size))
		}
		messages, err := in.receive(ctx, min(count, int(limit)-len(batch)))
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			break
		}
		bytes += in.learn(messages)
		batch = append(batch, messages...)
	}
	return batch, nil
}

// receive returns count messages, or after patience what has come by then.
func (in *intake) receive(ctx context.Context, count int) ([]Message, error) {
	wait, cancel := context.WithTimeout(ctx, in.patience)
	defer cancel()
	events, err := in.client.ReceiveEvents(wait, count, nil)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return newMessages(events), nil
}

// open opens the partition, anew when the credit is far from what it should be.
func (in *intake) open(ctx context.Context) error {
	want := firstCredit
	if in.size > 0 {
		want = min(max(2, in.ahead/in.size), maxCredit)
	}
	if in.client != nil && want <= 2*in.credit && in.credit <= 2*want {
		return nil
	}
	in.close(ctx)
	client, err := in.hub.NewPartitionClient(in.partition, &azeventhubs.PartitionClientOptions{StartPosition: in.from, Prefetch: int32(want)})
	if err != nil {
		return err
	}
	in.client, in.credit = client, want
	return nil
}

// learn follows growing sizes at once and shrinking ones slowly: too little
// credit costs time, too much costs memory. It returns the bytes of messages.
func (in *intake) learn(messages []Message) int {
	bytes := 0
	for _, m := range messages {
		bytes += len(m.Body)
	}
	in.size = max(1, bytes/len(messages), in.size*7/8)
	last := messages[len(messages)-1].Sequence
	in.from = azeventhubs.StartPosition{SequenceNumber: &last}
	return bytes
}

func (in *intake) close(ctx context.Context) {
	if in.client != nil {
		closeClient(ctx, in.client.Close)
		in.client = nil
	}
}
