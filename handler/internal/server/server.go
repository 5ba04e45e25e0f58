// Package server answers the Functions host: one route per function.
//
// The host fails an invocation on any answer but 2xx, never completes it on an
// empty body and refuses any content type but JSON, so every answer here is JSON
// and never empty. A failed invocation is retried by the host with the same
// batch.
//
// Each invocation writes one log line. A panic becomes a failed invocation; the
// process goes on.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"podwatch/handler/internal/invocation"
)

// Functions is the work behind the routes. Each method reads the body to its end
// or fails, and returns the reply and what to log of the invocation, also beside
// an error. The server closes a reply after it was written.
type Functions interface {
	Detect(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error)
	Redeliver(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error)
	Heartbeat(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error)
}

// New returns the handler for the host's requests.
func New(f Functions, log *slog.Logger) http.Handler {
	s := &server{log: log}
	r := chi.NewRouter()
	r.Use(s.recoverPanics)
	r.Get("/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []byte(`{"status":"ready"}`))
	})
	r.Post("/Detect", s.function("Detect", f.Detect))
	r.Post("/Redeliver", s.function("Redeliver", f.Redeliver))
	r.Post("/Heartbeat", s.function("Heartbeat", f.Heartbeat))
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, fmt.Errorf("no function %q: podwatch has Detect, Redeliver and Heartbeat", r.URL.Path))
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s: functions are invoked by POST", r.Method))
	})
	return r
}

type server struct{ log *slog.Logger }

type function = func(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error)

// function wraps the work with what all invocations have in common: the body,
// the answer and the log line.
func (s *server) function(name string, work function) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		var reply *invocation.Reply
		var attrs []slog.Attr
		err := checkType(r)
		if err == nil {
			reply, attrs, err = work(r.Context(), &body{Reader: r.Body, size: r.ContentLength, control: http.NewResponseController(w)})
		}
		attrs = append([]slog.Attr{
			slog.String("function", name),
			slog.String("invocation_id", r.Header.Get(invocation.IDHeader)),
			slog.Int64("duration_ms", time.Since(start).Milliseconds()),
		}, attrs...)
		if err != nil {
			s.log.LogAttrs(r.Context(), slog.LevelError, "invocation failed", append(attrs, slog.Any("err", err))...)
			writeError(w, statusOf(err), err)
			return
		}
		defer reply.Close()
		s.log.LogAttrs(r.Context(), slog.LevelInfo, "invocation", attrs...)
		begin(w, http.StatusOK, reply.Size())
		_, _ = reply.WriteTo(w) // the host closed the connection: it sends the batch again
	}
}

var errType = errors.New("unsupported content type")

func checkType(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || !strings.HasSuffix(kind, "json") {
		return fmt.Errorf("%w %q: the host sends application/json", errType, r.Header.Get("Content-Type"))
	}
	return nil
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
			s.log.Error("panic in an invocation; this is a bug in podwatch", "path", r.URL.Path, "invocation_id", r.Header.Get(invocation.IDHeader),
				"err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			writeError(w, http.StatusInternalServerError, errors.New("internal error; see the log"))
		}()
		next.ServeHTTP(w, r)
	})
}

// statusOf is the status that an error fails the invocation with. The host
// retries after any of them.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errType):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, invocation.ErrBroken):
		return http.StatusBadRequest
	case errors.Is(err, invocation.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, invocation.ErrBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func writeError(w http.ResponseWriter, status int, err error) {
	text, _ := json.Marshal(map[string]string{"error": err.Error()})
	writeJSON(w, status, text)
}

func writeJSON(w http.ResponseWriter, status int, text []byte) {
	begin(w, status, int64(len(text)))
	_, _ = w.Write(text) // the host closed the connection: it sends the batch again
}

// begin announces the length, so that the host never waits for more.
func begin(w http.ResponseWriter, status int, length int64) {
	w.Header().Set("Content-Type", invocation.ContentType)
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
}
