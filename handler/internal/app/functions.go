package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/state"
)

// workFor bounds the work of one invocation, from when its body was read. It is
// well below functionTimeout in host.json, at which the host would kill the
// process and every other invocation with it.
const workFor = 90 * time.Second

// Detect evaluates one batch of messages. It fails only where nothing safe could
// be done with the batch: the host then sends it again.
func (a *App) Detect(ctx context.Context, body io.Reader) (reply *invocation.Reply, attrs []slog.Attr, err error) {
	batch, err := a.reader.Read(ctx, body, a.Detector.Filter())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if reply == nil {
			batch.Close() // also after a panic
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, workFor)
	defer cancel()
	if err := batch.Err(); err != nil {
		a.log.Error("the host's request is no batch of messages; it goes to the unreadable output", "err", err)
		return batch.Reply(), []slog.Attr{slog.Any("counts", Counts{Bytes: batch.Size(), Unreadable: 1})}, nil
	}

	sample := a.feed.SampleDue()
	found := a.Detector.Detect(batch, sample)
	pending := a.Dispatcher.Pending(ctx, found.Findings)
	around := a.Detector.Around(batch, pending)
	result := a.Dispatcher.Deliver(ctx, a.Enricher.Enrich(ctx, pending, around))
	a.feed.Note(ctx, state.Sample{Due: sample, Sources: found.Heard, Audits: found.Audits, Unread: found.Unread})

	counts := CountsOf(found, len(pending), result)
	counts.Bytes = batch.Size()
	attrs = append(where(batch, counts), slog.Any("counts", counts))
	if !result.Complete {
		return nil, attrs, fmt.Errorf("deliver the batch: more than %d alerts lack a sink; the batch comes again and finds the others settled", len(result.Failed))
	}
	return replyTo(batch, found, result), attrs, nil
}

// replyTo puts what must not be lost with the process into the outputs.
func replyTo(batch *invocation.Batch, found detect.Result, result deliver.Result) *invocation.Reply {
	reply := batch.Reply()
	for _, f := range result.Failed {
		reply.Undelivered(f.Alert)
	}
	for _, u := range found.Unreadable {
		reply.Unreadable(u.Message, u.Offset, u.Reason, u.Text)
	}
	return reply
}

// where logs which partition a batch is from, if there is a reason to ask.
func where(batch *invocation.Batch, c Counts) []slog.Attr {
	if c.Opened == 0 && c.Unreadable == 0 {
		return nil
	}
	attrs := []slog.Attr{slog.String("partition", batch.Partition())}
	if n := batch.Retry(); n > 0 {
		attrs = append(attrs, slog.Int("retry", n))
	}
	return attrs
}

// Redeliver tries once more to deliver an alert from the queue to the sinks that
// lack it. An error leaves it in the queue. What no further try can deliver
// becomes a dead letter.
func (a *App) Redeliver(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	text, err := invocation.ReadQueue(body)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, workFor)
	defer cancel()
	undelivered, err := alert.Parse(text)
	if err != nil {
		return a.giveUp(ctx, text, nil, fmt.Errorf("the queue holds a message that is no alert: %w", err))
	}
	result := a.Dispatcher.Deliver(ctx, slices.Values([][]*alert.Alert{{undelivered}}))
	attrs := []slog.Attr{slog.String("alert_id", undelivered.AlertId), slog.Any("counts", CountsOf(detect.Result{}, 0, result))}
	switch {
	case len(result.Failed) == 0:
		return new(invocation.Reply), attrs, nil
	case result.Failed[0].Final:
		return a.giveUp(ctx, text, attrs, result.Failed[0].Err)
	}
	return nil, attrs, result.Failed[0].Err
}

// giveUp keeps an alert that no try will deliver for a person.
func (a *App) giveUp(ctx context.Context, text []byte, attrs []slog.Attr, reason error) (*invocation.Reply, []slog.Attr, error) {
	if err := a.dead.Add(ctx, text, reason.Error()); err != nil {
		return nil, attrs, errors.Join(reason, fmt.Errorf("keep it as a dead letter: %w", err))
	}
	a.log.Error("an alert was given up; it is kept as a dead letter (podwatch requeue puts it back)", "err", reason)
	return new(invocation.Reply), attrs, nil
}

// Counts are what became of a batch. They are in the log line of each invocation,
// and in the tool's summary.
type Counts struct {
	Bytes      int `json:"bytes"`      // of the request
	Opened     int `json:"opened"`     // records that were read; all others cannot match
	Matches    int `json:"matches"`    // rule and event
	Routine    int `json:"routine"`    // matches that are Kubernetes' own work
	Repeats    int `json:"repeats"`    // matches of what this batch, or every sink, has already
	Alerts     int `json:"alerts"`     // raised
	Suppressed int `json:"suppressed"` // of those, by an exception
	Held       int `json:"held"`       // of those, kept for the summary of a storm
	Delivered  int `json:"delivered"`  // alert and sink
	Failed     int `json:"failed"`     // alerts that go to the queue
	Unreadable int `json:"unreadable"` // pieces that go to the blob
}

// CountsOf adds up what the stages report; pending is the number of findings that
// some sink lacked.
func CountsOf(found detect.Result, pending int, delivered deliver.Result) Counts {
	return Counts{
		Opened: found.Opened, Matches: found.Matches, Routine: found.Routine,
		Repeats: found.Repeats + len(found.Findings) - pending,
		Alerts:  delivered.Alerts, Suppressed: delivered.Suppressed, Held: delivered.Held,
		Delivered: delivered.Delivered, Failed: len(delivered.Failed), Unreadable: len(found.Unreadable),
	}
}

// Add adds the counts of another batch.
func (c *Counts) Add(o Counts) {
	c.Bytes += o.Bytes
	c.Opened += o.Opened
	c.Matches += o.Matches
	c.Routine += o.Routine
	c.Repeats += o.Repeats
	c.Alerts += o.Alerts
	c.Suppressed += o.Suppressed
	c.Held += o.Held
	c.Delivered += o.Delivered
	c.Failed += o.Failed
	c.Unreadable += o.Unreadable
}
