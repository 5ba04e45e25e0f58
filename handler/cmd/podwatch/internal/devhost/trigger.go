package devhost

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"podwatch/handler/internal/invocation"
)

// Deliver hands messages of one partition to each function with an Event Hub
// trigger, in batches as host.json sizes them and one at a time per partition,
// and returns when all are checkpointed. Like the host it checkpoints a batch
// that failed for good, too; the error then describes what happened. An error that
// is [ErrStopped] means not checkpointed: the batch is to be delivered again.
//
// A message without Sequence and Offset takes the next number of its partition,
// one without Enqueued was enqueued now. To hand a batch over twice, give the
// numbers.
func (h *Host) Deliver(ctx context.Context, partition string, messages ...invocation.Message) error {
	if !h.begin() {
		return ErrStopped
	}
	defer h.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(h.ctx, cancel)
	defer stop()
	messages = h.number(partition, messages)
	var errs []error
	for _, fn := range h.app.Functions {
		if strings.EqualFold(fn.Trigger.Type, "eventHubTrigger") && !fn.Disabled {
			errs = append(errs, h.deliver(ctx, fn, partition, messages))
		}
	}
	if len(errs) == 0 {
		return errors.New("the app has no function with an Event Hub trigger")
	}
	return errors.Join(errs...)
}

func (h *Host) deliver(ctx context.Context, fn *Function, partition string, messages []invocation.Message) error {
	slot, _ := h.partitions.LoadOrStore(fn.Name+"/"+partition, make(chan struct{}, 1))
	taken := slot.(chan struct{})
	select {
	case taken <- struct{}{}:
		defer func() { <-taken }()
	case <-ctx.Done():
		return ErrStopped
	}
	var errs []error
	for len(messages) > 0 {
		batch := messages[:min(h.app.batchSize, len(messages))]
		messages = messages[len(batch):]
		err := h.invoke(ctx, fn, func(t try) []byte {
			return encodeEvents(t, invocation.Partition{
				Namespace: h.app.namespace(fn.Trigger.Connection), Hub: fn.Trigger.EventHubName,
				ConsumerGroup: fn.Trigger.ConsumerGroup, ID: partition,
			}, batch)
		})
		if err == nil && h.serving.Err() != nil {
			err = ErrStopped // done, and not checkpointed
		}
		errs = append(errs, err)
		if errors.Is(err, ErrStopped) {
			break // later batches must not overtake this one
		}
	}
	return errors.Join(errs...)
}

// number gives sequence numbers and times to messages that have none.
func (h *Host) number(partition string, messages []invocation.Message) []invocation.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	numbered := make([]invocation.Message, len(messages))
	for i, m := range messages {
		if m.Sequence == 0 && m.Offset == "" { // a hub's first message has number 0 and an offset
			m.Sequence = h.sequence[partition] + 1
		}
		h.sequence[partition] = max(h.sequence[partition], m.Sequence)
		m.Offset = cmp.Or(m.Offset, strconv.FormatInt(m.Sequence<<10, 10))
		if m.Enqueued.IsZero() {
			m.Enqueued = time.Now().UTC()
		}
		numbered[i] = m
	}
	return numbered
}

// namespace is the host name of a connection's Event Hubs namespace.
func (a *FunctionApp) namespace(connection string) string {
	for part := range strings.SplitSeq(a.settings[connection], ";") {
		if name, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(strings.TrimSpace(name), "Endpoint") {
			_, host, _ := strings.Cut(value, "://")
			return strings.Trim(host, "/")
		}
	}
	return a.settings[connection+"__fullyQualifiedNamespace"]
}

const (
	poisonSuffix  = "-poison"
	firstPoll     = 100 * time.Millisecond // doubled while the queue is empty
	holdMessage   = 10 * time.Minute       // a message in work is hidden for this long
	releaseWithin = 2 * time.Second        // how long the end of the host may wait for the queue
)

func queueKey(b Binding) string { return b.Connection + " " + b.QueueName }

// enqueue adds a message to a queue and tells the queue's trigger in this app not to wait
// for its poll.
func (h *Host) enqueue(ctx context.Context, b Binding, message []byte) error {
	if err := h.storage.enqueue(ctx, b.Connection, b.QueueName, message); err != nil {
		return err
	}
	select {
	case h.wake[queueKey(b)] <- struct{}{}:
	default: // no trigger on it, or told already
	}
	return nil
}

// listenQueue polls the queue of a trigger and runs what it finds, up to
// batchSize + newBatchThreshold at a time, until ctx ends. It waits for what runs.
func (h *Host) listenQueue(ctx context.Context, fn *Function) {
	q := h.app.queues
	slots := make(chan struct{}, q.batchSize+q.newBatchThreshold)
	var running sync.WaitGroup
	defer running.Wait()
	wait := firstPoll
	for ctx.Err() == nil {
		messages, err := h.dequeue(ctx, fn, min(q.batchSize, cap(slots)-len(slots)))
		if err != nil && ctx.Err() == nil {
			h.o.Log.Warn("poll queue", "queue", fn.Trigger.QueueName, "err", err)
		}
		for _, m := range messages {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				h.runMessage(h.ctx, fn, m)
			})
		}
		if len(messages) > 0 {
			wait = firstPoll
			if len(slots) < cap(slots) {
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.o.Scale(wait)):
			wait = min(2*wait, q.maxPolling)
		case <-h.wake[queueKey(fn.Trigger)]:
			wait = firstPoll
		}
	}
}

func (h *Host) dequeue(ctx context.Context, fn *Function, n int) ([]*azqueue.DequeuedMessage, error) {
	if n == 0 {
		return nil, nil
	}
	queue, err := h.storage.queue(ctx, fn.Trigger.Connection, fn.Trigger.QueueName)
	if err != nil {
		return nil, err
	}
	got, err := queue.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{NumberOfMessages: new(int32(n)), VisibilityTimeout: seconds(holdMessage)})
	return got.Messages, err
}

func seconds(d time.Duration) *int32 { return new(int32(d / time.Second)) }

// runMessage runs one queue message to its end: deleted, visible again after the
// visibility timeout, or moved to the poison queue.
func (h *Host) runMessage(ctx context.Context, fn *Function, m *azqueue.DequeuedMessage) {
	queue, err := h.storage.queue(ctx, fn.Trigger.Connection, fn.Trigger.QueueName)
	if err != nil {
		return // it becomes visible again by itself
	}
	text, err := decodeMessage(*m.MessageText)
	poison := err != nil
	if poison {
		text = *m.MessageText // as it is
	} else {
		err = h.invoke(ctx, fn, func(t try) []byte { return encodeQueue(t, text, m) })
		poison = err != nil && int(*m.DequeueCount) >= h.app.queues.maxDequeue
	}
	if ctx.Err() != nil {
		// The real host leaves the message hidden for up to ten minutes, which
		// the next start on this machine would have to wait out.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
		defer cancel()
		_, _ = queue.UpdateMessage(ctx, *m.MessageID, *m.PopReceipt, *m.MessageText, &azqueue.UpdateMessageOptions{VisibilityTimeout: seconds(0)})
		return
	}
	log := h.o.Log.With("queue", fn.Trigger.QueueName, "message_id", *m.MessageID, "dequeue_count", *m.DequeueCount)
	switch {
	case err == nil:
		_, err = queue.DeleteMessage(ctx, *m.MessageID, *m.PopReceipt, nil)
	case poison && !strings.HasSuffix(fn.Trigger.QueueName, poisonSuffix):
		log.Error("message goes to the poison queue", "err", err)
		to := fn.Trigger
		to.QueueName += poisonSuffix
		if err = h.enqueue(ctx, to, []byte(text)); err == nil {
			_, err = queue.DeleteMessage(ctx, *m.MessageID, *m.PopReceipt, nil)
		}
	default:
		hidden := &azqueue.UpdateMessageOptions{VisibilityTimeout: seconds(h.o.Scale(h.app.queues.visibility))}
		_, err = queue.UpdateMessage(ctx, *m.MessageID, *m.PopReceipt, *m.MessageText, hidden)
	}
	if err != nil {
		log.Warn("settle queue message", "err", err)
	}
}

// listenTimer runs a timer function at the times of its schedule, in UTC. A run
// that takes longer than its interval makes the next one wait, not pile up.
func (h *Host) listenTimer(ctx context.Context, fn *Function) {
	last := time.Time{}
	for due := fn.Trigger.RunOnStartup; ; due = true {
		next := fn.schedule.Next(time.Now().UTC())
		if due {
			h.runTimer(h.ctx, fn, last, next)
			last = time.Now().UTC()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(h.o.Scale(time.Until(fn.schedule.Next(time.Now().UTC())))):
		}
	}
}

func (h *Host) runTimer(ctx context.Context, fn *Function, last, next time.Time) {
	if fn.schedule.Next(next).Sub(next) < time.Minute {
		last, next = time.Time{}, time.Time{} // the host keeps no status of it
	}
	// The outcome is logged by invoke; a timer has no other caller.
	_ = h.invoke(ctx, fn, func(t try) []byte { return encodeTimer(t, last, next) })
}
