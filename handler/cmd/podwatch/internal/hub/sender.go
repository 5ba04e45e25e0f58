package hub

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// SendOptions steer a [Sender]. Partition and Key exclude each other; without
// either the hub spreads batches over its partitions.
type SendOptions struct {
	Partition string
	Key       string
	Rate      float64    // messages a second; 0 sends as fast as the hub takes them
	Progress  func(Sent) // called after each batch, from the goroutine that sends; may be nil
}

// Sent counts what a hub has accepted.
type Sent struct {
	Messages, Batches int64
	Bytes             int64 // of message bodies
}

// A TooLargeError is returned for a single message that exceeds what the hub accepts. It
// was not sent; the sender can go on with the next one.
type TooLargeError struct {
	Size int // bytes of the body
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a message of %d bytes is larger than the hub accepts", e.Size)
}

// A Sender collects messages into batches and sends them in order. It is not
// safe for concurrent use.
type Sender struct {
	connection Connection
	client     *azeventhubs.ProducerClient
	target     resolved
	options    SendOptions
	batch      *azeventhubs.EventDataBatch
	bytes      int64     // of bodies in batch
	began      time.Time // when the first batch was full or due
	sent       Sent
}

// NewSender prepares a sender; it connects at the first message. Close it.
func NewSender(c Connection, o SendOptions) (*Sender, error) {
	switch {
	case o.Partition != "" && o.Key != "":
		return nil, errors.New("send to event hub: a partition and a key exclude each other")
	case o.Rate < 0:
		return nil, fmt.Errorf("send to event hub: rate %g is negative", o.Rate)
	}
	client, target, err := c.producer()
	if err != nil {
		return nil, err
	}
	return &Sender{connection: c, client: client, target: target, options: o}, nil
}

// Add puts one message into the current batch and sends the batch when it is
// full or due. body is copied. The error is a *TooLargeError when only this
// message is to blame; after any other error the batch is lost to the sender,
// and whether the hub has it is not known.
func (s *Sender) Add(ctx context.Context, body []byte) error {
	for {
		if s.batch == nil {
			if err := s.open(ctx); err != nil {
				return err
			}
		}
		err := s.batch.AddEventData(&azeventhubs.EventData{Body: body}, nil)
		if errors.Is(err, azeventhubs.ErrEventDataTooLarge) {
			if s.batch.NumEvents() == 0 {
				return &TooLargeError{Size: len(body)}
			}
			if err := s.Flush(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("send to event hub %q: %w", s.target.hub, err)
		}
		s.bytes += int64(len(body))
		if int(s.batch.NumEvents()) >= s.most() {
			return s.Flush(ctx)
		}
		return nil
	}
}

func (s *Sender) open(ctx context.Context) error {
	if s.sent.Messages == 0 {
		if err := s.connection.Reach(ctx); err != nil {
			return err
		}
	}
	var o azeventhubs.EventDataBatchOptions
	if s.options.Partition != "" {
		o.PartitionID = &s.options.Partition
	}
	if s.options.Key != "" {
		o.PartitionKey = &s.options.Key
	}
	batch, err := s.client.NewEventDataBatch(ctx, &o)
	if err != nil {
		return fmt.Errorf("send to event hub %q: %w", s.target.hub, explain(err))
	}
	s.batch, s.bytes = batch, 0
	return nil
}

// Flush sends what has been collected, after waiting for its turn when a rate
// is set. The client retries, so a batch may arrive twice.
func (s *Sender) Flush(ctx context.Context) error {
	if s.batch == nil || s.batch.NumEvents() == 0 {
		return nil
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	batch, bytes := s.batch, s.bytes
	s.batch = nil
	if err := s.client.SendEventDataBatch(ctx, batch, nil); err != nil {
		return fmt.Errorf("send to event hub %q: %w", s.target.hub, explain(err))
	}
	s.sent.Messages += int64(batch.NumEvents())
	s.sent.Bytes += bytes
	s.sent.Batches++
	if s.options.Progress != nil {
		s.options.Progress(s.sent)
	}
	return nil
}

// Sent reports what the hub has accepted so far.
func (s *Sender) Sent() Sent { return s.sent }

// Close ends the connection. It does not flush.
func (s *Sender) Close(ctx context.Context) error { return s.client.Close(ctx) }

// most is how many messages a batch may have: a tenth of a second's at a rate.
func (s *Sender) most() int {
	if s.options.Rate == 0 {
		return math.MaxInt
	}
	return max(1, int(s.options.Rate/10))
}

// wait returns when the next batch may go out, so that no tenth of a second carries more
// than a tenth of the rate.
func (s *Sender) wait(ctx context.Context) error {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	var left time.Duration
	if s.options.Rate > 0 {
		left = time.Duration(float64(s.sent.Messages)/s.options.Rate*float64(time.Second)) - time.Since(s.began)
	}
	if left <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(left):
		return nil
	}
}
