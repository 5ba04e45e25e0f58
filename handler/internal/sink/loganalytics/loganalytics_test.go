package loganalytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/sinktest"
)

const (
	ruleID = "dcr-0123456789abcdef0123456789abcdef"
	stream = "Custom-PodwatchAlerts"
	secret = "t0ken-PLANTED"
)

func TestSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, sinktest.Subject{
		New: func(t testing.TB, transport http.RoundTripper, log *slog.Logger) sinktest.Sink {
			// The credential is there, and not used over plain http.
			return open(t, "http://127.0.0.1", planted, sink.Options{Transport: transport, Logger: log})
		},
		Secrets:  []string{secret},
		Accepted: http.StatusNoContent,
	})
}

func open(t testing.TB, endpoint string, token outbound.Token, o sink.Options) *Sink {
	t.Helper()
	e, err := outbound.ParseService(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(e, token, ruleID, stream, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// planted is the token of every request over TLS.
func planted(context.Context) (string, error) { return secret, nil }

// A service is the ingestion endpoint: it keeps the rows that it accepts.
type service struct {
	mu     sync.Mutex
	bodies [][]byte
	ids    []string
	status func(n int, rows []json.RawMessage) int // of the nth request; nil: 204
	t      testing.TB
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := "/dataCollectionRules/" + ruleID + "/streams/" + stream + "?api-version=2023-01-01"; r.Method != http.MethodPost || r.URL.RequestURI() != want {
		s.t.Errorf("request %s %s, want POST %s", r.Method, r.URL.RequestURI(), want)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "gzip" {
		s.t.Errorf("content encoding %q, want gzip", encoding)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		s.t.Error(err)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil {
		s.t.Error(err)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(body, &rows); err != nil {
		s.t.Errorf("the body is not a JSON array: %v", err)
	}
	s.bodies = append(s.bodies, body)
	s.ids = append(s.ids, r.Header.Get("x-ms-client-request-id"))
	status := http.StatusNoContent
	if s.status != nil {
		status = s.status(len(s.bodies)-1, rows)
	}
	w.WriteHeader(status)
}

// rows returns the alert ids of a body.
func rows(t testing.TB, body []byte) []string {
	t.Helper()
	var got []struct{ AlertId string }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(got))
	for i, row := range got {
		ids[i] = row.AlertId
	}
	return ids
}

// TestChunks: every row arrives once and in order, no body exceeds the limit
// before compression, and no two neighbours would have fitted together.
func TestChunks(t *testing.T) {
	one := len(sinktest.Alert(0).JSON())
	for _, limit := range []int{one + 2, one + 3, 2*one + 3, 2*one + 2, 10 * one, maxChunk} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			srv := &service{t: t}
			server := httptest.NewServer(srv)
			defer server.Close()
			s := open(t, server.URL, nil, sink.Options{})
			s.maxChunk = limit
			alerts := sinktest.Alerts(7)
			if failures := s.Deliver(t.Context(), alerts); failures != nil {
				t.Fatal(failures)
			}
			var got []string
			for i, body := range srv.bodies {
				if len(body) > limit {
					t.Errorf("body %d has %d bytes, more than %d", i, len(body), limit)
				}
				if i > 0 && len(srv.bodies[i-1])+1+one <= limit {
					t.Errorf("body %d could have taken another row", i-1)
				}
				got = append(got, rows(t, body)...)
			}
			if len(got) != len(alerts) {
				t.Fatalf("%d rows arrived, want %d", len(got), len(alerts))
			}
			for i, a := range alerts {
				if got[i] != a.AlertId {
					t.Errorf("row %d is %s, want %s", i, got[i], a.AlertId)
				}
			}
		})
	}
}

// TestChunkOutcome: what becomes of a chunk becomes of its alerts, and of no
// other.
func TestChunkOutcome(t *testing.T) {
	const refused, down, tooLarge = http.StatusBadRequest, http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge
	one := len(sinktest.Alert(0).JSON())
	for name, c := range map[string]struct {
		status    func(n int, rows []json.RawMessage) int
		perChunk  int
		want      string // per alert: . accepted, x refused, r retryable
		delivered int
	}{
		"the second of three is refused": {
			func(n int, _ []json.RawMessage) int { return []int{204, refused, 204}[n] }, 2, "..xx..", 3},
		"the service goes down after the first": {
			func(n int, _ []json.RawMessage) int {
				if n == 0 {
					return 204
				}
				return down
			}, 2, "..rrrr", 1 + 8},
		"a limit lower than documented": {
			func(_ int, rows []json.RawMessage) int {
				if len(rows) > 2 {
					return tooLarge
				}
				return 204
			}, 6, "......", 1 + 2*(1+2)},
		"one row that is too large": {
			func(_ int, rows []json.RawMessage) int {
				for _, row := range rows {
					if bytes.Contains(row, []byte(`00003"`)) {
						return tooLarge
					}
				}
				return 204
			}, 6, "...x..", 1 + 1 + 1 + 1 + 1 + 1 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &service{t: t, status: c.status}
				s := open(t, "http://127.0.0.1", nil, sink.Options{Transport: sinktest.Serve(t, srv.ServeHTTP)})
				s.maxChunk = c.perChunk*(one+1) + 1
				failures := s.Deliver(t.Context(), sinktest.Alerts(6))
				if failures == nil {
					failures = make([]error, 6)
				}
				var got strings.Builder
				for _, err := range failures {
					var e *sink.Error
					switch {
					case err == nil:
						got.WriteByte('.')
					case errors.As(err, &e) && e.Retryable:
						got.WriteByte('r')
					default:
						got.WriteByte('x')
					}
				}
				if got.String() != c.want {
					t.Errorf("outcome %s, want %s: %v", got.String(), c.want, failures)
				}
				if len(srv.bodies) > c.delivered {
					t.Errorf("%d requests, want at most %d", len(srv.bodies), c.delivered)
				}
			})
		})
	}
}

// TestRequestID: a GUID that stays the same when the request is repeated, and
// that the error names.
func TestRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &service{t: t, status: func(n int, _ []json.RawMessage) int { return []int{503, 400}[n] }}
		s := open(t, "http://127.0.0.1", nil, sink.Options{Transport: sinktest.Serve(t, srv.ServeHTTP)})
		failures := s.Deliver(t.Context(), sinktest.Alerts(1))
		if len(srv.ids) != 2 || srv.ids[0] != srv.ids[1] || uuid.Validate(srv.ids[0]) != nil {
			t.Fatalf("request ids %q, want the same GUID twice", srv.ids)
		}
		if len(failures) != 1 || !strings.Contains(failures[0].Error(), srv.ids[0]) {
			t.Errorf("the error does not name the request: %v", failures)
		}
	})
}

func TestRowsThatWouldBeCut(t *testing.T) {
	srv := &service{t: t}
	server := httptest.NewServer(srv)
	defer server.Close()
	s := open(t, server.URL, nil, sink.Options{})
	alerts := sinktest.Alerts(3)
	// Alert.JSON bounds what a record can fill; this stands for a mistake there.
	alerts[1].RuleName = strings.Repeat("x", maxField+1)
	failures := s.Deliver(t.Context(), alerts)
	var e *sink.Error
	if len(failures) != 3 || failures[0] != nil || failures[2] != nil || !errors.As(failures[1], &e) || e.Retryable || !strings.Contains(e.Error(), "RuleName") {
		t.Fatalf("got %v, want the second refused for good because of RuleName", failures)
	}
	if len(srv.bodies) != 1 || len(rows(t, srv.bodies[0])) != 2 {
		t.Errorf("the other two rows did not go out together")
	}
}

// TestToken: over TLS the request carries the token, and no error has it.
func TestToken(t *testing.T) {
	for name, c := range map[string]struct {
		status    int
		token     outbound.Token
		retryable bool
		text      string
	}{
		"accepted": {status: 204, token: planted},
		"refused":  {status: 403, token: planted, text: "HTTP 403"},
		"the credential fails": {
			token:     func(context.Context) (string, error) { return "", errors.New("AADSTS700016") },
			retryable: true, text: "got no token: AADSTS700016",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer "+secret {
					t.Errorf("Authorization is %q", got)
				}
				w.WriteHeader(c.status)
				if c.status > 299 {
					fmt.Fprint(w, r.Header)
				}
			}))
			defer server.Close()
			failures := open(t, server.URL, c.token, sink.Options{Transport: server.Client().Transport}).Deliver(t.Context(), sinktest.Alerts(1))
			if c.text == "" {
				if failures != nil {
					t.Error(failures)
				}
				return
			}
			var e *sink.Error
			if len(failures) != 1 || !errors.As(failures[0], &e) || e.Retryable != c.retryable || !strings.Contains(e.Error(), c.text) {
				t.Errorf("got %v, want retryable=%t with %q", failures, c.retryable, c.text)
			}
		})
	}
}

// TestEchoedTokenIsNotTold: a server that repeats the request's headers must not
// get the token into the error.
func TestEchoedTokenIsNotTold(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprint(w, r.Header)
	}))
	defer server.Close()
	s := open(t, server.URL, planted, sink.Options{Transport: server.Client().Transport})
	failures := s.Deliver(t.Context(), sinktest.Alerts(1))
	if len(failures) != 1 || strings.Contains(failures[0].Error(), secret) {
		t.Errorf("the token is told: %v", failures)
	}
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct{ ruleID, stream, want string }{
		"good":          {"dcr-local", stream, ""},
		"a resource id": {"/subscriptions/x", stream, "rule id"},
		"no stream":     {ruleID, "", "stream"},
	} {
		_, err := New(outbound.Endpoint{}, nil, c.ruleID, c.stream, sink.Options{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	s := open(b, "http://127.0.0.1", nil, sink.Options{})
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("alerts=%d", n), func(b *testing.B) {
			alerts := sinktest.Alerts(n)
			outcome := make([]error, n)
			b.ReportAllocs()
			for b.Loop() {
				for _, c := range s.chunks(alerts, outcome) {
					if _, err := c.compressed(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

var _ interface {
	Deliver(context.Context, []*alert.Alert) []error
} = (*Sink)(nil)
