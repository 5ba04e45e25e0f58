// Package server answers the Functions host: one route per function.
//
// The host fails an invocation on any answer but 2xx, hangs on an empty body
// and refuses any content type but JSON, so every answer here is JSON and never
// empty. A failed invocation is retried by the host with the same batch; that is
// right when trying again may help, and wrong for input that nobody can read:
// such input leaves through an output and the answer is 200.
//
// Each invocation writes one log line with its counts. A panic becomes a failed
// invocation; the process lives on.
package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/scan"
)

// Pipeline is the work behind the routes.
type Pipeline interface {
	// Begin searches an invocation for what Detect needs, while it arrives.
	Begin() scan.Search
	// Curious reports whether Detect wants to see a batch without any.
	Curious() bool
	// Wants reports whether Detect needs a message.
	Wants(text []byte) bool
	// DetectAmong gets the messages that it wants; the others only on demand.
	DetectAmong(ctx context.Context, in pipeline.Input) *pipeline.Batch
	Redeliver(ctx context.Context, a *alert.Alert) (pipeline.Counts, error)
	Heartbeat(ctx context.Context) (pipeline.Counts, error)
}

// Options are the parts and limits of the server.
type Options struct {
	Pipeline  Pipeline
	BodyLimit int64         // bytes of one request
	Deadline  time.Duration // of the work on a body that was read; below the host's functionTimeout
	Log       *slog.Logger
}

// Output bindings, as function.json names them.
const (
	bindingUndelivered = "undelivered"
	bindingUnreadable  = "unreadable"
	bindingPoison      = "poison"
)

// New returns the handler for the host's requests.
func New(o Options) http.Handler {
	s := &server{Options: o, buffers: buffers{limit: o.BodyLimit}}
	r := chi.NewRouter()
	r.Use(s.recoverPanics)
	r.Get("/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []byte(`{"status":"ready"}`))
	})
	r.Post("/Detect", s.function("Detect", s.readAndDetect))
	r.Post("/Redeliver", s.function("Redeliver", s.read(s.redeliver)))
	r.Post("/Heartbeat", s.function("Heartbeat", s.read(s.heartbeat)))
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, fmt.Errorf("no function %q: podwatch has Detect, Redeliver and Heartbeat", r.URL.Path))
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s: functions are invoked by POST", r.Method))
	})
	return r
}

type server struct {
	Options
	buffers  buffers
	decoders sync.Pool // of *invocation.Decoder
}

// A function does the work of one invocation. It returns the reply and what to
// log; an error fails the invocation with the status that statusOf finds.
type function func(ctx context.Context, w http.ResponseWriter, r *http.Request) (result, error)

// A result is the reply to an invocation and what is logged of it.
type result struct {
	reply *invocation.Reply
	attrs []slog.Attr
	size  int // of the body
}

// function wraps the work with what all invocations have in common: the content
// type, the answer and the log line.
func (s *server) function(name string, work function) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start, ctx := time.Now(), r.Context()
		res, err := result{}, checkType(r)
		if err == nil {
			res, err = work(ctx, w, r)
		}
		attrs := append([]slog.Attr{
			slog.String("function", name),
			slog.String("invocation_id", r.Header.Get(invocation.IDHeader)),
			slog.Int("bytes", res.size),
			slog.Int64("duration_ms", time.Since(start).Milliseconds()),
		}, res.attrs...)
		if err != nil {
			s.Log.LogAttrs(ctx, slog.LevelError, "invocation failed", append(attrs, slog.Any("err", err))...)
			writeError(w, statusOf(err), err)
			return
		}
		s.Log.LogAttrs(ctx, slog.LevelInfo, "invocation", attrs...)
		writeJSON(w, http.StatusOK, res.reply.JSON())
	}
}

func checkType(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || !strings.HasSuffix(kind, "json") {
		return &statusError{http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: the host sends application/json", r.Header.Get("Content-Type"))}
	}
	return nil
}

// read makes a function of work on a body that was read.
func (s *server) read(work func(ctx context.Context, body []byte) (*invocation.Reply, []slog.Attr, error)) function {
	return func(ctx context.Context, w http.ResponseWriter, r *http.Request) (result, error) {
		body, err := s.buffers.readBody(w, r, nil)
		defer body.release()
		res := result{size: len(body.bytes)}
		if err != nil {
			return res, err
		}
		ctx, cancel := context.WithTimeout(ctx, s.Deadline)
		defer cancel()
		res.reply, res.attrs, err = work(ctx, body.bytes)
		return res, err
	}
}

// usual is how a batch begins whose first message is an object.
var usual = []byte(`{"Data":{"events":"[\"{`)

// readAndDetect searches the body while it arrives: one without a hit is answered
// without being decoded.
func (s *server) readAndDetect(ctx context.Context, w http.ResponseWriter, r *http.Request) (result, error) {
	search, hit := s.Pipeline.Begin(), false
	body, err := s.buffers.readBody(w, r, func(sofar []byte, last bool) { hit = search.More(sofar, last) })
	defer body.release()
	res := result{size: len(body.bytes)}
	if err != nil {
		return res, err
	}
	curious := s.Pipeline.Curious()
	if !hit && !curious && bytes.HasPrefix(body.bytes, usual) {
		if in, ok := invocation.Skim(body.bytes); ok {
			res.reply = new(invocation.Reply)
			res.attrs = detected(in, pipeline.Counts{Messages: in.Passed, Passed: in.Passed})
			return res, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Deadline)
	defer cancel()
	res.reply, res.attrs = s.detect(ctx, body.bytes, curious)
	return res, nil
}

// detect decodes the messages that are wanted and has them evaluated. Of a batch
// that is looked at out of curiosity, more are.
func (s *server) detect(ctx context.Context, body []byte, curious bool) (*invocation.Reply, []slog.Attr) {
	decoder := s.decoder()
	defer s.putDecoder(decoder)
	// A part of a huge batch tells its sources as well, and takes less memory.
	spent, budget := 0, 0
	if curious {
		budget = max(1<<20, len(body)/4)
	}
	decoder.Lazy = true
	decoder.Want = func(text []byte) bool {
		wanted := spent < budget || s.Pipeline.Wants(text)
		if wanted {
			spent += len(text)
		}
		return wanted
	}
	reply := new(invocation.Reply)
	in, err := decoder.Events(body)
	if err != nil {
		// The host would send the same bytes for ever: they leave as unreadable.
		s.Log.Error("the host's message cannot be read; it goes to the unreadable output", "err", err)
		piece := pipeline.Unreadable{Sequence: -1, Reason: err.Error(), Bytes: body}
		reply.Blob(bindingUnreadable, unreadableText([]pipeline.Unreadable{piece}))
		return reply, []slog.Attr{slog.Any("counts", pipeline.Counts{Unreadable: 1})}
	}
	batch := s.Pipeline.DetectAmong(ctx, inputOf(decoder, in))
	for _, a := range batch.Undelivered {
		reply.Queue(bindingUndelivered, string(a.JSON()))
	}
	if len(batch.Unreadable) > 0 {
		reply.Blob(bindingUnreadable, unreadableText(batch.Unreadable))
	}
	return reply, detected(in, batch.Counts)
}

// detected is what is logged of a batch.
func detected(in *invocation.Events, counts pipeline.Counts) []slog.Attr {
	attrs := []slog.Attr{slog.String("partition", in.Partition.ID), slog.Any("counts", counts)}
	if in.Retry != nil && in.Retry.Count > 0 {
		attrs = append(attrs, slog.Int("retry", in.Retry.Count))
	}
	return attrs
}

func (s *server) decoder() *invocation.Decoder {
	if d, ok := s.decoders.Get().(*invocation.Decoder); ok {
		return d
	}
	return new(invocation.Decoder)
}

func (s *server) putDecoder(d *invocation.Decoder) {
	d.Want = nil
	d.Forget()
	if d.Retained() <= pooledMost {
		s.decoders.Put(d)
	}
}

// unreadableText is the blob's content: a JSON object a line, in an array.
func unreadableText(pieces []pipeline.Unreadable) string {
	size := 0
	for _, piece := range pieces {
		size += piece.Size()
	}
	var b strings.Builder
	b.Grow(size)
	for i, piece := range pieces {
		b.WriteString([]string{"[\n", ",\n"}[min(i, 1)])
		piece.WriteTo(&b)
	}
	b.WriteString("\n]\n")
	return b.String()
}

func (s *server) redeliver(ctx context.Context, body []byte) (*invocation.Reply, []slog.Attr, error) {
	reply := new(invocation.Reply)
	message, err := invocation.ParseQueue(body)
	if err != nil {
		return nil, nil, &statusError{http.StatusBadRequest, err}
	}
	a, err := alert.Parse([]byte(message.Text))
	if err != nil {
		s.Log.Error("the queue holds a message that is no alert; it goes to the poison queue", "err", err)
		reply.Queue(bindingPoison, message.Text)
		return reply, nil, nil
	}
	counts, err := s.Pipeline.Redeliver(ctx, a)
	attrs := []slog.Attr{slog.String("alert_id", a.AlertId), slog.Int("dequeue_count", message.DequeueCount), slog.Any("counts", counts)}
	if errors.Is(err, pipeline.ErrRejected) {
		a.Note("not delivered: " + err.Error())
		reply.Queue(bindingPoison, string(a.JSON()))
		return reply, attrs, nil
	}
	return reply, attrs, err
}

func (s *server) heartbeat(ctx context.Context, body []byte) (*invocation.Reply, []slog.Attr, error) {
	timer, err := invocation.ParseTimer(body)
	if err != nil {
		return nil, nil, &statusError{http.StatusBadRequest, err}
	}
	counts, err := s.Pipeline.Heartbeat(ctx)
	return new(invocation.Reply), []slog.Attr{slog.Bool("past_due", timer.IsPastDue), slog.Any("counts", counts)}, err
}

// recoverPanics turns a panic into a failed invocation. The stack goes to the
// log, never into the answer.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			s.Log.Error("podwatch broke; this is a bug", "path", r.URL.Path, "invocation_id", r.Header.Get(invocation.IDHeader),
				"err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			writeError(w, http.StatusInternalServerError, errors.New("internal error; see the log"))
		}()
		next.ServeHTTP(w, r)
	})
}

// A statusError is an error that the host is told by a particular status.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return http.StatusInternalServerError
}

func writeError(w http.ResponseWriter, status int, err error) {
	text, _ := json.Marshal(map[string]string{"error": err.Error()})
	writeJSON(w, status, text)
}

// writeJSON answers with a length, so that the host never waits for more.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the host went away: it will send the batch again
}
