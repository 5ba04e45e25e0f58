package storage

import (
	"context"
	"encoding/base64"
	"iter"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"
)

// Queues and a container of blobs of the handler, as function.json names them. The host
// makes the name of the poison queue from the other's.
const (
	UndeliveredQueue    = "undelivered-alerts"
	PoisonQueue         = "undelivered-alerts-poison"
	UnreadableContainer = "unreadable-messages"
)

const (
	page   = 32              // messages that the service returns at most at once
	hidden = 5 * time.Minute // how long a taken message is in no other answer
)

// A Queue is one queue of the account. It is safe for concurrent use.
type Queue struct {
	client *azqueue.QueueClient
	name   string
}

// A Message is a taken message. Unless it is removed it is back after five minutes.
type Message struct {
	ID    string
	Text  []byte
	Added time.Time // when it was put into the queue

	receipt string
}

// Queue returns a queue of the account.
func (a *Account) Queue(name string) *Queue {
	return &Queue{a.queues.NewQueueClient(name), name}
}

// Put adds a message, in the encoding of the Functions host. It does not expire.
func (q *Queue) Put(ctx context.Context, text []byte) error {
	put := func() error {
		_, err := q.client.EnqueueMessage(ctx, base64.StdEncoding.EncodeToString(text), &azqueue.EnqueueMessageOptions{TimeToLive: new(int32(-1))})
		return err
	}
	err := put()
	if queueerror.HasCode(err, queueerror.QueueNotFound) {
		if _, err = q.client.Create(ctx, nil); err == nil || queueerror.HasCode(err, queueerror.QueueAlreadyExists) {
			err = put()
		}
	}
	if err != nil {
		return failed("put message into queue", q.name, err)
	}
	return nil
}

// Take yields the messages of the queue. It ends when no visible one is left, or
// with an error.
func (q *Queue) Take(ctx context.Context) iter.Seq2[Message, error] {
	options := &azqueue.DequeueMessagesOptions{NumberOfMessages: new(int32(page)), VisibilityTimeout: new(int32(hidden.Seconds()))}
	return func(yield func(Message, error) bool) {
		for {
			answer, err := q.client.DequeueMessages(ctx, options)
			switch {
			case absent(err):
				return
			case err != nil:
				yield(Message{}, failed("take messages from queue", q.name, err))
				return
			case len(answer.Messages) == 0:
				return
			}
			for _, m := range answer.Messages {
				if !yield(Message{*m.MessageID, decode(*m.MessageText), *m.InsertionTime, *m.PopReceipt}, nil) {
					return
				}
			}
		}
	}
}

// decode returns a message's text. The host encodes messages in base64; others
// may not.
func decode(text string) []byte {
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		return plain
	}
	return []byte(text)
}

// Remove deletes a taken message. One that does not exist is no error.
func (q *Queue) Remove(ctx context.Context, m Message) error {
	_, err := q.client.DeleteMessage(ctx, m.ID, m.receipt, nil)
	if err != nil && !absent(err) {
		return failed("remove message from queue", q.name, err)
	}
	return nil
}

// Len returns about how many messages the queue has.
func (q *Queue) Len(ctx context.Context) (int, error) {
	properties, err := q.client.GetProperties(ctx, nil)
	switch {
	case absent(err):
		return 0, nil
	case err != nil:
		return 0, failed("count messages of queue", q.name, err)
	case properties.ApproximateMessagesCount == nil:
		return 0, nil
	}
	return int(*properties.ApproximateMessagesCount), nil
}
