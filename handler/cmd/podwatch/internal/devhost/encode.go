package devhost

import (
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/google/uuid"

	"podwatch/handler/internal/invocation"
)

// context is what the handler learns about retries; nil without a policy.
func (t try) context() *invocation.Retry {
	if t.fn.Retry == nil {
		return nil
	}
	return &invocation.Retry{Count: t.n, Max: t.fn.Retry.Max}
}

func encodeEvents(t try, p invocation.Partition, batch []invocation.Message) []byte {
	return invocation.EncodeEvents(invocation.Messages{
		Function: t.fn.Name, Binding: t.fn.Trigger.Name,
		Messages: batch, Partition: p, Retry: t.context(), Now: time.Now(), GUID: uuid.NewString(),
	})
}

func encodeQueue(t try, text string, m *azqueue.DequeuedMessage) []byte {
	return invocation.EncodeQueue(invocation.QueueItem{
		Function: t.fn.Name, Binding: t.fn.Trigger.Name, Text: text,
		ID: *m.MessageID, PopReceipt: *m.PopReceipt, DequeueCount: int(*m.DequeueCount),
		Inserted: *m.InsertionTime, Expires: *m.ExpirationTime, NextVisible: *m.TimeNextVisible,
		Now: time.Now(), GUID: uuid.NewString(),
	})
}

func encodeTimer(t try, last, next time.Time) []byte {
	return invocation.EncodeTimer(t.fn.Name, t.fn.Trigger.Name, last, next, time.Now(), uuid.NewString())
}

// encodeAdmin encodes what an admin request asks for: an Event Hub function gets
// one message that was never in a hub, a queue function one that was in no queue.
func encodeAdmin(t try, input string) []byte {
	fn, now, id := t.fn, time.Now(), uuid.NewString()
	switch strings.ToLower(fn.Trigger.Type) {
	case "eventhubtrigger":
		return invocation.EncodeAdmin(fn.Name, fn.Trigger.Name, input, t.context(), now, id)
	case "queuetrigger":
		return invocation.EncodeQueue(invocation.QueueItem{
			Function: fn.Name, Binding: fn.Trigger.Name, Text: input, Inserted: now, Now: now, GUID: id,
		})
	}
	return encodeTimer(t, time.Time{}, time.Time{})
}
