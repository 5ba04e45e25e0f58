package devhost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/google/uuid"

	"podwatch/handler/internal/invocation"
)

// What the host calls itself in its requests.
const hostVersion = "4.1036.1.1"

// timeoutGrace is what the host leaves a handler behind functionTimeout.
const timeoutGrace = 2 * time.Second

// maxReply bounds an answer; the host's own limit is 2 GiB, far beyond any use.
const maxReply = 256 << 20

// An encoder makes the request body of one try.
type encoder func(t try) []byte

// A try is one attempt at an invocation of a function.
type try struct {
	fn *Function
	id string
	n  int // from 0
}

// invoke runs an invocation to its end: it posts, applies the outputs and tries
// again as the function's retry policy says, under one invocation id.
func (h *Host) invoke(ctx context.Context, fn *Function, encode encoder) error {
	began := time.Now()
	for t := (try{fn: fn, id: uuid.NewString()}); ; t.n++ {
		err := h.attempt(ctx, t, encode)
		if err != nil && fn.Retry != nil && (fn.Retry.Max < 0 || t.n < fn.Retry.Max) && !h.ends(ctx) {
			delay := fn.Retry.delay(t.n)
			h.o.Log.Warn("invocation failed, will be tried again", "function", fn.Name, "invocation_id", t.id, "try", t.n, "delay", delay, "err", err)
			h.sleep(ctx, delay)
			if !h.ends(ctx) {
				continue
			}
		}
		if err != nil && h.ends(ctx) {
			err = errors.Join(ErrStopped, err)
		}
		h.finished(Result{Function: fn.Name, InvocationID: t.id, Tries: t.n + 1, Err: err, Duration: time.Since(began)})
		return err
	}
}

// ends reports whether nothing new may begin.
func (h *Host) ends(ctx context.Context) bool { return ctx.Err() != nil || h.serving.Err() != nil }

func (h *Host) finished(r Result) {
	level, text := h.o.Log.Info, "invocation succeeded"
	switch {
	case errors.Is(r.Err, ErrStopped):
		text = "invocation dropped, the host stops"
	case r.Err != nil:
		level, text = h.o.Log.Error, "invocation failed"
	}
	level(text, "function", r.Function, "invocation_id", r.InvocationID, "tries", r.Tries, "duration_ms", r.Duration.Milliseconds(), "err", r.Err)
	if h.o.Done != nil {
		h.o.Done(r)
	}
}

// delay is the wait after try n (from 0), randomised by a fifth, as the host does it.
func (p *RetryPolicy) delay(n int) time.Duration {
	d := p.Min
	for range n {
		if d *= 2; d >= p.Cap {
			return p.Cap
		}
	}
	jitter := time.Duration(float64(d) * 0.2 * (2*rand.Float64() - 1))
	return max(p.Min, min(p.Cap, d+jitter))
}

// attempt is one try from the request to the last output.
func (h *Host) attempt(ctx context.Context, t try, encode encoder) error {
	if err := h.worker.await(ctx); err != nil {
		return err
	}
	if err := h.step(ctx, t, StepPost, ""); err != nil {
		return err
	}
	answer, err := h.post(ctx, t, encode(t))
	if err != nil {
		return err
	}
	if err := h.step(ctx, t, StepReply, ""); err != nil {
		return err
	}
	for _, line := range answer.Logs {
		h.o.Log.Info("invocation log", "function", t.fn.Name, "invocation_id", t.id, "line", line)
	}
	if err := h.applyOutputs(ctx, t, answer); err != nil {
		return err
	}
	return h.step(ctx, t, StepDone, "")
}

func (h *Host) step(ctx context.Context, t try, name StepName, binding string) error {
	if h.o.Step == nil {
		return nil
	}
	return h.o.Step(ctx, Step{Name: name, Function: t.fn.Name, InvocationID: t.id, Try: t.n, Binding: binding})
}

// post sends one request as the host's client does and reads the answer. Behind
// functionTimeout and a grace period the host kills the one handler process, and with
// it whatever else is in flight there.
func (h *Host) post(ctx context.Context, t try, body []byte) (*reply, error) {
	_, start := h.worker.state()
	life := ctx
	if limit := h.app.functionTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within functionTimeout (%s)", limit))
		defer cancel()
	}
	fail := func(err error) error {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = context.Cause(ctx)
			h.sleep(life, timeoutGrace)
			h.worker.kill(start)
		}
		return err
	}
	// A body of unknown length goes out chunked, without Content-Length.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/"+t.fn.Name, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("X-Azure-Functions-InvocationId", t.id)
	req.Header.Set("X-Azure-Functions-HostVersion", hostVersion)
	req.Header.Set("User-Agent", "Azure-Functions-Host/"+hostVersion)
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, fail(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, fail(err)
	}
	return parseReply(resp.StatusCode, resp.Header.Get("Content-Type"), answer)
}

// applyOutputs hands the reply to the output bindings. One that fails fails the
// invocation; messages that others have added stay. The host opens a blob before it
// adds messages and writes its text behind them: when another output fails, an empty
// blob remains.
func (h *Host) applyOutputs(ctx context.Context, t try, answer *reply) error {
	for name := range answer.Outputs {
		if !slices.ContainsFunc(t.fn.Outputs, func(b Binding) bool { return b.Name == name }) {
			h.o.Log.Warn("the reply has an output that function.json does not declare; the host drops it", "function", t.fn.Name, "binding", name)
		}
	}
	var failed error
	for _, blobs := range []bool{false, true} {
		for _, b := range t.fn.Outputs {
			raw, given := answer.Outputs[b.Name]
			if !given || bytes.Equal(raw, []byte("null")) || blobs != (b.Type == "blob") {
				continue
			}
			err := h.step(ctx, t, StepOutput, b.Name)
			if err == nil && blobs {
				err = h.writeBlob(ctx, b, raw, t.id, failed != nil)
			} else if err == nil {
				err = h.addMessages(ctx, b, raw)
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("output %q: %w", b.Name, err))
			}
		}
	}
	return failed
}

// writeBlob writes an output to its blob, which remains empty when the output is none
// or another one has failed.
func (h *Host) writeBlob(ctx context.Context, b Binding, raw json.RawMessage, id string, empty bool) error {
	container, name, err := blobPath(b.Path, time.Now())
	if err != nil {
		return err
	}
	content, wrong := blobContent(b, raw)
	if empty || wrong != nil {
		content = nil
	}
	return errors.Join(wrong, h.storage.upload(ctx, b.Connection, container, name, content, id))
}

func (h *Host) addMessages(ctx context.Context, b Binding, raw json.RawMessage) error {
	messages, err := queueMessages(b, raw)
	if err != nil {
		return err
	}
	for _, message := range messages {
		if err := h.enqueue(ctx, b, message); err != nil {
			return err
		}
	}
	return nil
}

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
