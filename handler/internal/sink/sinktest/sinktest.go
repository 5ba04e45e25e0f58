// Package sinktest is the test suite that every HTTP sink must pass.
//
// [Run] holds a sink against the delivery contract: what it must try again, what
// it must not, that it keeps to its deadline, honours Retry-After, answers for
// each alert, follows no redirect and tells no secret. Each case has a real HTTP
// server in virtual time, so waiting costs nothing and is checked exactly.
package sinktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/sink"
)

// A Sink is what the suite tests; package pipeline has the contract.
type Sink interface {
	Name() string
	Deliver(ctx context.Context, alerts []*alert.Alert) []error
}

// A Subject is a sink under test.
type Subject struct {
	// New returns the sink with default times, for an http address on 127.0.0.1,
	// with this transport and logger.
	New func(t testing.TB, transport http.RoundTripper, log *slog.Logger) Sink
	// Secrets must never be told.
	Secrets []string
	// Accepted is the status with which the real service accepts.
	Accepted int
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	for _, c := range cases(s.Accepted) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { s.run(t, c) })
		})
	}
}

// A testCase is one delivery. The nth request is answered by the nth answer, all
// further ones by the last.
type testCase struct {
	name     string
	answers  []http.HandlerFunc
	alerts   int           // 0: one; -1: none
	deadline time.Duration // 0: one minute
	cancel   time.Duration // cancel the context after that; -1: before

	accepted   bool
	retryable  bool          // if not accepted
	status     int           // of the error
	retryAfter time.Duration // of the error
	is         error         // the error is this one, too
	requests   [2]int        // at least and at most
	took       [2]time.Duration
}

func cases(acceptedStatus int) []testCase {
	ok := answer(acceptedStatus, nil)
	cs := []testCase{
		{name: "an alert is accepted", answers: list(ok), accepted: true, requests: exactly(1)},
		{name: "three alerts are accepted", alerts: 3, answers: list(ok), accepted: true, requests: [2]int{1, 3}},
		{name: "any 2xx is acceptance", answers: list(answer(299, nil)), accepted: true, requests: exactly(1)},
		{name: "no alerts, no request", alerts: -1, answers: list(ok), accepted: true},

		{name: "429 with seconds is waited for", answers: list(answer(429, header("Retry-After", "7")), ok), accepted: true,
			requests: exactly(2), took: [2]time.Duration{7 * time.Second, 8 * time.Second}},
		{name: "429 with a date is waited for", answers: list(inAMinute(429, 9*time.Second), ok), accepted: true,
			requests: exactly(2), took: [2]time.Duration{8 * time.Second, 10 * time.Second}},
		{name: "503 with Retry-After is waited for", answers: list(answer(503, header("Retry-After", "3")), ok), accepted: true,
			requests: exactly(2), took: [2]time.Duration{3 * time.Second, 4 * time.Second}},
		{name: "a wait beyond the deadline is not begun", answers: list(answer(429, header("Retry-After", "300"))), alerts: 3,
			retryable: true, status: 429, retryAfter: 5 * time.Minute, requests: exactly(1), took: [2]time.Duration{0, time.Second}},
		{name: "an absurd wait is not begun", answers: list(answer(429, header("Retry-After", "99999999999999999999"))), deadline: 1000 * time.Hour,
			retryable: true, status: 429, retryAfter: 24 * time.Hour, requests: exactly(1), took: [2]time.Duration{0, time.Second}},
		{name: "a Retry-After that is none is ignored", answers: list(answer(429, header("Retry-After", "soon")), answer(429, header("Retry-After", "-5")), ok),
			accepted: true, requests: exactly(3), took: [2]time.Duration{0, 3 * time.Second}},

		{name: "server errors are tried again", answers: list(answer(500, nil), answer(502, nil), answer(503, nil), answer(504, nil), ok), accepted: true,
			requests: exactly(5)},
		{name: "408 is tried again", answers: list(answer(408, nil), ok), accepted: true, requests: exactly(2)},
		{name: "a server that stays broken", answers: list(answer(503, nil)), alerts: 3, deadline: 30 * time.Second,
			retryable: true, status: 503, requests: [2]int{3, 8}, took: [2]time.Duration{0, 30 * time.Second}},
		{name: "tries are bounded without a deadline near", answers: list(answer(500, nil)), deadline: 1000 * time.Hour,
			retryable: true, status: 500, requests: [2]int{3, 10}, took: [2]time.Duration{0, 5 * time.Minute}},

		{name: "a slow server costs the deadline and no more", answers: list(silent), alerts: 3, deadline: 25 * time.Second,
			retryable: true, is: context.DeadlineExceeded, requests: [2]int{2, 3}, took: [2]time.Duration{20 * time.Second, 25 * time.Second}},
		{name: "a server that is slow once", answers: list(silent, ok), accepted: true, requests: exactly(2)},
		{name: "an answer without an end", answers: list(endless(500), ok), accepted: true, requests: exactly(2)},
		{name: "an acceptance without an end", answers: list(endless(acceptedStatus)), accepted: true, requests: exactly(1)},
		{name: "an answer that never goes on", answers: list(stalled(acceptedStatus)), accepted: true, requests: exactly(1)},

		{name: "a cut connection is tried again", answers: list(cut, cut, ok), accepted: true, requests: [2]int{3, 5}},
		{name: "a connection that is always cut", answers: list(cut), deadline: 20 * time.Second, retryable: true, requests: [2]int{3, 20},
			took: [2]time.Duration{0, 20 * time.Second}},

		{name: "a context that is cancelled before", answers: list(ok), cancel: -1, alerts: 3, retryable: true, is: context.Canceled},
		{name: "a context that is cancelled during a try", answers: list(silent), cancel: 3 * time.Second, retryable: true, is: context.Canceled,
			requests: exactly(1), took: [2]time.Duration{3 * time.Second, 3 * time.Second}},
		{name: "a context that is cancelled between tries", answers: list(answer(429, header("Retry-After", "20"))), cancel: 3 * time.Second,
			retryable: true, status: 429, is: context.Canceled, requests: exactly(1), took: [2]time.Duration{3 * time.Second, 3 * time.Second}},

		{name: "a redirect is not followed", answers: list(answer(307, header("Location", "/elsewhere")), answer(302, header("Location", "https://example.com/"))),
			retryable: true, status: 302, requests: exactly(2)},
		{name: "an unknown status is tried twice", answers: list(answer(600, nil)), retryable: true, status: 600, requests: exactly(2)},
	}
	for _, status := range []int{400, 401, 403, 404, 410, 413, 415, 422} {
		cs = append(cs, testCase{name: fmt.Sprintf("%d is refused for good", status), answers: list(answer(status, header("Retry-After", "5"))),
			status: status, requests: exactly(1), took: [2]time.Duration{0, time.Second}})
	}
	return cs
}

func (s Subject) run(t *testing.T, c testCase) {
	var mu sync.Mutex
	var problems []string
	requests := 0
	transport := Serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		if problem := unfit(r, body, err); problem != "" {
			problems = append(problems, problem)
		}
		n := min(requests, len(c.answers)-1)
		requests++
		mu.Unlock()
		c.answers[n](w, r)
	})
	var logged bytes.Buffer
	subject := s.New(t, transport, slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))

	deadline := c.deadline
	if deadline == 0 {
		deadline = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	switch {
	case c.cancel < 0:
		cancel()
	case c.cancel > 0:
		time.AfterFunc(c.cancel, cancel)
	}

	alerts := Alerts(max(c.alerts, 1))
	if c.alerts < 0 {
		alerts = nil
	}
	start := time.Now()
	failures := subject.Deliver(ctx, alerts)
	took := time.Since(start)

	mu.Lock()
	defer mu.Unlock()
	for _, problem := range problems {
		t.Error(problem)
	}
	if requests < c.requests[0] || requests > c.requests[1] {
		t.Errorf("the server got %d requests, want %d to %d", requests, c.requests[0], c.requests[1])
	}
	if c.took[1] > 0 && (took < c.took[0] || took > c.took[1]) {
		t.Errorf("Deliver took %s, want %s to %s", took, c.took[0], c.took[1])
	}
	s.noSecret(t, "the log", logged.String())
	if c.accepted {
		if failures != nil {
			t.Errorf("Deliver = %v, want nil", failures)
		}
		return
	}
	if len(failures) != len(alerts) {
		t.Fatalf("Deliver returned %d errors for %d alerts", len(failures), len(alerts))
	}
	for _, err := range failures {
		s.check(t, c, subject.Name(), err)
	}
}

// check holds one alert's error against the case.
func (s Subject) check(t *testing.T, c testCase, name string, err error) {
	t.Helper()
	var e *sink.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %#v, want a *sink.Error", err)
	}
	if e.Err == nil {
		t.Fatal("the error has no cause")
	}
	got := sink.Error{Sink: e.Sink, Status: e.Status, Retryable: e.Retryable, RetryAfter: e.RetryAfter}
	want := sink.Error{Sink: name, Status: c.status, Retryable: c.retryable, RetryAfter: c.retryAfter}
	if c.is != nil {
		want.Status, want.RetryAfter = got.Status, got.RetryAfter // of the last try, if any
		if !errors.Is(err, c.is) {
			t.Errorf("the error is not %v: %v", c.is, err)
		}
	}
	if got != want {
		t.Errorf("got %+v, want %+v: %v", got, want, err)
	}
	for cause := error(e); cause != nil; cause = errors.Unwrap(cause) {
		for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
			s.noSecret(t, "the error", fmt.Sprintf(format, cause))
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 1500 {
		t.Errorf("the error is not a short line: %q", err)
	}
}

func (s Subject) noSecret(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range s.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s tells the secret %q: %s", where, secret, text)
		}
	}
}

// unfit returns what is wrong with a request, or "".
func unfit(r *http.Request, body []byte, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("the request body cannot be read: %v", err)
	case r.Method != http.MethodPost:
		return fmt.Sprintf("the method is %s, want POST", r.Method)
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return fmt.Sprintf("the content type is %q, want application/json", r.Header.Get("Content-Type"))
	case r.Header.Get("Authorization") != "":
		return "a request over plain http has an Authorization header"
	case r.URL.Path == "/elsewhere":
		return "the redirect was followed"
	case len(body) == 0:
		return "the body is empty"
	}
	return ""
}

func list(answers ...http.HandlerFunc) []http.HandlerFunc { return answers }

func exactly(n int) [2]int { return [2]int{n, n} }

func header(name, value string) http.Header {
	return http.Header{http.CanonicalHeaderKey(name): {value}}
}

// answer answers as Azure does, and as indiscreetly as a server can: a refusal
// repeats the whole request, URL and headers included.
func answer(status int, h http.Header) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for name, values := range h {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		if status < 300 {
			return
		}
		text := "no " + r.URL.RequestURI() + " " + r.URL.RawQuery + "\r\n" + r.URL.String() + fmt.Sprint(r.Header, r.URL.Query())
		if status%2 == 0 {
			io.WriteString(w, text)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": "Refused", "message": text}})
	}
}

// inAMinute asks to wait until a date.
func inAMinute(status int, d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(status, header("Retry-After", time.Now().Add(d).UTC().Format(http.TimeFormat)))(w, r)
	}
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// cut closes the connection without an answer.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// endless never stops answering.
func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(bodyStatus(status))
		chunk := bytes.Repeat([]byte(r.URL.RawQuery+"x"), 100)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

// stalled begins an answer and never ends it.
func stalled(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(bodyStatus(status))
		io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// bodyStatus replaces the one status of success that cannot have a body.
func bodyStatus(status int) int {
	if status == http.StatusNoContent {
		return http.StatusOK
	}
	return status
}
