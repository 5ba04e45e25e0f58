package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/outbound"
)

// secret is planted wherever a token, a body or an address could leak from.
const secret = "s3cr3t-token-value"

// serve answers with h and counts the calls.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &calls
}

func client(t testing.TB, endpoint string) *outbound.Client {
	t.Helper()
	e, err := outbound.ParseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return &outbound.Client{Service: "Service", Endpoint: e}
}

func lookup(c *outbound.Client) *outbound.Lookup {
	return outbound.NewLookup(c, time.Now, slog.New(slog.DiscardHandler))
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// TestFailures holds what each failure means for the next question: the same one,
// another of the same area, of another area, and of another service (a subscription,
// say). A dot is a question that is asked, an x one that is not.
func TestFailures(t *testing.T) {
	clock := time.Now().Truncate(time.Second) // dates are read by the real clock
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"value":`)
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		link    bool
		want    string
		calls   int32
		lasts   time.Duration
		next    string // same question, same area, other area, other service
	}{
		"forbidden": {
			handler: answer(403, `{"error":{"code":"Authorization_RequestDenied","message":"`+secret+`"}}`),
			want:    "Service refused the request (HTTP 403 Authorization_RequestDenied)", calls: 1, lasts: 10 * time.Minute, next: "xx..",
		},
		"error code that is not one is not repeated": {
			handler: answer(403, `{"error":{"code":"[x](http://evil)"}}`),
			want:    "Service refused the request (HTTP 403)", calls: 1, lasts: 10 * time.Minute, next: "xx..",
		},
		"not found is an answer": {handler: answer(404, `{}`), want: "Service does not know it (HTTP 404)", calls: 1, next: "...."},
		"throttled for long: no second try": {
			handler: answer(429, ``, "Retry-After", "30"),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, lasts: 30 * time.Second, next: "xxx.",
		},
		"throttled until a date": {
			handler: answer(429, ``, "Retry-After", clock.Add(3*time.Minute).Format(http.TimeFormat), "Date", clock.Format(http.TimeFormat)),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, lasts: 3 * time.Minute, next: "xxx.",
		},
		"throttled for a year: an hour": {
			handler: answer(429, ``, "Retry-After", "31536000"),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, lasts: time.Hour, next: "xxx.",
		},
		"server error is tried twice": {handler: answer(502, secret), want: "Service had an error of its own (HTTP 502)", calls: 2, lasts: time.Minute, next: "xxx."},
		"redirect is not followed":    {handler: answer(302, secret, "Location", "/x"), want: "Service answered with a redirect, which is not followed (HTTP 302)", calls: 2, lasts: time.Minute, next: "xxx."},
		"connection cut":              {handler: hangUp, want: "Service did not answer: the connection was closed", calls: 2, lasts: time.Minute, next: "xxx."},
		"answer cut in the middle":    {handler: cut, want: "Service did not answer: the connection was closed", calls: 2, lasts: time.Minute, next: "xxx."},

		"bad request":           {handler: answer(400, secret), want: "Service rejected the request (HTTP 400)", calls: 1, lasts: time.Minute, next: "x..."},
		"gone":                  {handler: answer(410, secret), want: "Service refused the request (HTTP 410)", calls: 1, lasts: time.Minute, next: "x..."},
		"not JSON":              {handler: answer(200, `<html>`+secret), want: "Service gave an unreadable answer: not the expected JSON", calls: 1, lasts: time.Minute, next: "x..."},
		"JSON of another shape": {handler: answer(200, `[]`), want: "Service gave an unreadable answer: not the expected JSON", calls: 1, lasts: time.Minute, next: "x..."},
		"empty":                 {handler: answer(200, ``), want: "Service gave an unreadable answer: not the expected JSON", calls: 1, lasts: time.Minute, next: "x..."},
		"too large":             {handler: answer(200, strings.Repeat(" ", 4<<20)+"{}"), want: "Service gave an unreadable answer: too large", calls: 1, lasts: time.Minute, next: "x..."},

		"link that breaks":       {link: true, handler: answer(502, secret), want: "Service had an error of its own (HTTP 502)", calls: 2, lasts: time.Minute, next: "x..."},
		"link that is forbidden": {link: true, handler: answer(403, secret), want: "Service refused the request (HTTP 403)", calls: 1, lasts: time.Minute, next: "x..."},
		"link that is cut":       {link: true, handler: hangUp, want: "Service did not answer: the connection was closed", calls: 2, lasts: time.Minute, next: "x..."},
		"link that is throttled": {
			link: true, handler: answer(429, ``, "Retry-After", "30"),
			want: "Service asked podwatch to wait (HTTP 429)", calls: 1, lasts: 30 * time.Second, next: "xxx.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := clock
			var log bytes.Buffer
			s, calls := serve(t, tt.handler)
			l := outbound.NewLookup(client(t, s.URL), func() time.Time { return now }, slog.New(slog.NewJSONHandler(&log, nil)))
			ask := func(service, area, path string) error {
				var out map[string]any
				return l.Ask(t.Context(), outbound.Question{URL: l.URL(path, nil), Link: tt.link, Service: service, Area: area}, &out)
			}
			err := ask("s", "a", "1")
			if err == nil || err.Error() != tt.want {
				t.Fatalf("error %q, want %q", err, tt.want)
			}
			if got := calls.Load(); got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}
			next := ""
			now = clock.Add(max(tt.lasts-time.Second, 0))
			for _, q := range [][3]string{{"s", "a", "1"}, {"s", "a", "2"}, {"s", "b", "3"}, {"t", "c", "4"}} {
				before := calls.Load()
				err := ask(q[0], q[1], q[2])
				if calls.Load() > before {
					next += "."
					// What this question pauses in its turn is no part of the case.
					l = outbound.NewLookup(client(t, s.URL), func() time.Time { return now }, slog.New(slog.DiscardHandler))
					now = clock
					_ = ask("s", "a", "1")
					now = clock.Add(max(tt.lasts-time.Second, 0))
					continue
				}
				next += "x"
				if !strings.HasPrefix(err.Error(), tt.want+", no new attempt before ") {
					t.Errorf("remembered error %q, want %q and when it ends", err, tt.want)
				}
			}
			if next != tt.next {
				t.Errorf("next questions %s, want %s", next, tt.next)
			}
			before := calls.Load()
			now = clock.Add(tt.lasts + 2*time.Second)
			_ = ask("s", "a", "1")
			if calls.Load() == before {
				t.Error("no call after the failure was over")
			}
			if tt.lasts > 0 && !strings.Contains(log.String(), "look-ups paused") {
				t.Error("nothing logged of the pause")
			}
			if all := err.Error() + log.String(); strings.Contains(all, secret) || strings.Contains(all, "http://") {
				t.Errorf("secret or address in %q", all)
			}
		})
	}
}

func TestShortWaitIsWaited(t *testing.T) {
	var first atomic.Bool
	s, calls := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if first.CompareAndSwap(false, true) {
			w.Header().Set("retry-after-ms", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		io.WriteString(w, `{}`)
	})
	var out map[string]any
	l := lookup(client(t, s.URL))
	if err := l.Ask(t.Context(), outbound.Question{URL: l.URL("x", nil)}, &out); err != nil || calls.Load() != 2 {
		t.Errorf("error %v after %d calls, want success by the second", err, calls.Load())
	}
}

// hanging answers only when the request is given up.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestTime holds who pays for a service that hangs: the budget once, and the end of
// an invocation or of a budget that others had spent is not the service's fault.
func TestTime(t *testing.T) {
	for name, tt := range map[string]struct {
		limit time.Duration // of the invocation
		spent time.Duration // of the budget before the question
		want  string
		took  time.Duration
		again time.Duration // what a question costs afterwards
	}{
		"a slow service costs the budget once":       {time.Minute, 0, "Service could not be reached: timed out", 2 * time.Second, 0},
		"the end of the invocation is not its fault": {time.Second, 0, "Service could not be reached: timed out", time.Second, 2 * time.Second},
		"a spent budget is not its fault":            {time.Minute, 1900 * time.Millisecond, "Service could not be reached: timed out", 100 * time.Millisecond, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := client(t, "http://127.0.0.1")
				c.Transport = hanging{}
				l := lookup(c)
				ask := func(ctx context.Context, spent time.Duration) (time.Duration, error) {
					ctx, cancel := outbound.WithBudget(ctx)
					defer cancel()
					time.Sleep(spent)
					start := time.Now()
					err := l.Ask(ctx, outbound.Question{URL: l.URL("x", nil)}, nil)
					return time.Since(start), err
				}
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				if took, err := ask(ctx, tt.spent); err == nil || err.Error() != tt.want || took != tt.took {
					t.Errorf("took %v, error %v; want %v, %s", took, err, tt.took, tt.want)
				}
				if took, _ := ask(t.Context(), 0); took != tt.again {
					t.Errorf("the next question took %v, want %v", took, tt.again)
				}
			})
		})
	}
}

func TestLinksStayOnTheHost(t *testing.T) {
	s, calls := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
	l := lookup(client(t, s.URL))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	for link, follow := range map[string]bool{
		s.URL + "/next?page=2":                               true,
		"http://localhost:" + port + "/next":                 false, // same machine, another name
		strings.Replace(s.URL, "http", "https", 1) + "/next": false,
		strings.Replace(s.URL, "//", "//a@", 1) + "/next":    false,
		"/next": false,
		"::":    false,
	} {
		before := calls.Load()
		var out map[string]any
		err := l.Ask(t.Context(), outbound.Question{URL: link, Link: true}, &out)
		if follow != (err == nil) || follow != (calls.Load() > before) {
			t.Errorf("link %q: error %v, called %t, want followed %t", link, err, calls.Load() > before, follow)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "Service gave an unreadable answer: the address is not below the service's endpoint") {
			t.Errorf("link %q: error %v", link, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestPortIsTheSchemesOwn: Azure Resource Manager writes its links with a port.
func TestPortIsTheSchemesOwn(t *testing.T) {
	for _, tt := range []struct {
		endpoint, link string
		follow         bool
	}{
		{"https://management.azure.com", "https://management.azure.com:443/subscriptions?$skiptoken=x", true},
		{"https://management.azure.com:443", "https://MANAGEMENT.azure.com/subscriptions", true},
		{"https://management.azure.com", "https://management.azure.com:8443/subscriptions", false},
		{"http://127.0.0.1", "http://127.0.0.1:80/x", true},
	} {
		c := client(t, tt.endpoint)
		asked := false
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { asked = true; return nil, errors.New("no") })
		_ = lookup(c).Ask(t.Context(), outbound.Question{URL: tt.link, Link: true}, nil)
		if asked != tt.follow {
			t.Errorf("link %s of %s: followed %t, want %t", tt.link, tt.endpoint, asked, tt.follow)
		}
	}
}
