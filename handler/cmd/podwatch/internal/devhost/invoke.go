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
	"sync"
	"time"

	"github.com/google/uuid"
)

// What the host calls itself in its requests.
const hostVersion = "4.1036.1.1"

// maxReply bounds an answer; the host's own limit is 2 GiB, far beyond any use.
const maxReply = 256 << 20

// An encoder makes the request body of one try.
type encoder func(t try) []byte

// A try is one attempt at an invocation.
type try struct {
	id    string
	n     int
	retry *RetryPolicy
}

// invoke runs an invocation to its end: it posts, applies the outputs and tries
// again as the function's retry policy says, under one invocation id.
func (h *Host) invoke(ctx context.Context, fn *Function, encode encoder) error {
	began := time.Now()
	t := try{id: uuid.NewString(), retry: fn.Retry}
	for ; ; t.n++ {
		err := h.attempt(ctx, fn, t, encode)
		if err == nil || ctx.Err() != nil || fn.Retry == nil || fn.Retry.Max >= 0 && t.n >= fn.Retry.Max {
			if err != nil && ctx.Err() != nil {
				err = errors.Join(ErrStopped, err)
			}
			h.finished(Result{Function: fn.Name, InvocationID: t.id, Tries: t.n + 1, Err: err, Duration: time.Since(began)})
			return err
		}

		delay := fn.Retry.delay(t.n)
		h.o.Log.Warn("invocation failed, will be tried again", "function", fn.Name, "invocation_id", t.id, "try", t.n, "delay", delay, "err", err)
		h.sleep(ctx, delay)
	}
}

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
func (h *Host) attempt(ctx context.Context, fn *Function, t try, encode encoder) error {
	step := Step{Function: fn.Name, InvocationID: t.id, Try: t.n}
	if err := h.worker.await(ctx); err != nil {
		return err
	}
	if err := h.step(ctx, step, StepPost, ""); err != nil {
		return err
	}
	body := encode(t)
	answer, err := h.post(ctx, fn, t.id, body)
	if err != nil {
		return err
	}
	if err := h.step(ctx, step, StepReply, ""); err != nil {
		return err
	}
	for _, line := range answer.Logs {
		h.o.Log.Info("invocation log", "function", fn.Name, "invocation_id", t.id, "line", line)
	}
	if err := h.applyOutputs(ctx, fn, step, answer, body); err != nil {
		return err
	}
	return h.step(ctx, step, StepDone, "")
}

func (h *Host) step(ctx context.Context, s Step, name StepName, binding string) error {
	if h.o.Step == nil {
		return nil
	}
	s.Name, s.Binding = name, binding
	return h.o.Step(ctx, s)
}

// post sends one request as the host's client does and reads the answer. At
// functionTimeout the host kills the one handler process, and with it whatever
// else is in flight there.
func (h *Host) post(ctx context.Context, fn *Function, id string, body []byte) (*reply, error) {
	var timedOut sync.Once
	if limit := h.app.functionTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within functionTimeout (%s)", limit))
		defer cancel()
	}
	fail := func(err error) error {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			timedOut.Do(func() { h.worker.kill(true) })
			err = context.Cause(ctx)
		}
		return err
	}
	// A body of unknown length goes out chunked, without Content-Length.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/"+fn.Name, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("X-Azure-Functions-InvocationId", id)
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

// applyOutputs hands the reply to the output bindings, all at a time. One that
// fails fails the invocation; what the others did stays done.
func (h *Host) applyOutputs(ctx context.Context, fn *Function, step Step, answer *reply, body []byte) error {
	for name := range answer.Outputs {
		if !declares(fn, name) {
			h.o.Log.Warn("the reply has an output that function.json does not declare; the host drops it", "function", fn.Name, "binding", name)
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(fn.Outputs))
	for i, b := range fn.Outputs {
		raw, given := answer.Outputs[b.Name]
		if !given || bytes.Equal(raw, []byte("null")) {
			continue
		}
		wg.Go(func() {
			err := h.step(ctx, step, StepOutput, b.Name)
			if err == nil {
				err = h.applyOutput(ctx, b, raw, body)
			}
			if err != nil {
				errs[i] = fmt.Errorf("output %q: %w", b.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func declares(fn *Function, name string) bool {
	for _, b := range fn.Outputs {
		if b.Name == name {
			return true
		}
	}
	return false
}

func (h *Host) applyOutput(ctx context.Context, b Binding, raw json.RawMessage, body []byte) error {
	if b.Type == "blob" {
		content, err := blobContent(b, raw)
		if err != nil {
			return err
		}
		container, name, err := blobPath(b.Path, time.Now(), metadataOf(body))
		if err != nil {
			return err
		}
		return h.storage.upload(ctx, b.Connection, container, name, content)
	}
	messages, err := queueMessages(b, raw)
	if err != nil {
		return err
	}
	for _, message := range messages {
		if err := h.storage.enqueue(ctx, b.Connection, b.QueueName, message); err != nil {
			return err
		}
		h.wakeQueue(b)
	}
	return nil
}

// metadataOf returns the member Metadata of an invocation's body.
func metadataOf(body []byte) map[string]any {
	var invocation struct{ Metadata map[string]any }
	if json.Unmarshal(body, &invocation) != nil {
		return nil
	}
	return invocation.Metadata
}
