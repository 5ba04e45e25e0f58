package lookup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"podwatch/handler/internal/lookup"
)

// secret stands wherever a token, a body or an address could leak from.
const secret = "s3cr3t-token-value"

type credential struct{ err error }

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: secret, ExpiresOn: time.Now().Add(time.Hour)}, c.err
}

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

func client(t *testing.T, endpoint string, o lookup.Options) *lookup.Client {
	t.Helper()
	o.Service = "Service"
	c, err := lookup.New(endpoint, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(c *lookup.Client, area string) error {
	var out map[string]any
	return c.Do(context.Background(), lookup.Request{Method: http.MethodGet, Path: "x", Area: area}, &out)
}

func TestFailures(t *testing.T) {
	clock := time.Now().Truncate(time.Second) // azcore reads dates by the real clock
	answer := func(status int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	tests := map[string]struct {
		handler   http.HandlerFunc
		want      string
		calls     int32         // for the first failing look-up
		remember  time.Duration // how long no call is made; 0: not remembered
		sameArea  bool          // remembered for the area only
		throttled bool          // Options.ThrottledByArea
	}{
		"forbidden": {
			handler: answer(403, `{"error":{"code":"Authorization_RequestDenied","message":"`+secret+`"}}`),
			want:    "Service refused the look-up (HTTP 403 Authorization_RequestDenied)", calls: 1, remember: 10 * time.Minute, sameArea: true,
		},
		"error code that is not one is not repeated": {
			handler: answer(403, `{"error":{"code":"[x](http://evil)"}}`),
			want:    "Service refused the look-up (HTTP 403)", calls: 1, remember: 10 * time.Minute, sameArea: true,
		},
		"not found is an answer": {handler: answer(404, `{}`), want: "Service does not know it (HTTP 404)", calls: 1},
		"throttled for long: no second try": {
			handler: answer(429, ``, "Retry-After", "30"),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, remember: 30 * time.Second,
		},
		"throttled until a date": {
			handler: answer(429, ``, "Retry-After", clock.Add(3*time.Minute).Format(http.TimeFormat)),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, remember: 3 * time.Minute,
		},
		"throttled for a year: an hour": {
			handler: answer(429, ``, "Retry-After", "31536000"),
			want:    "Service asked podwatch to wait (HTTP 429)", calls: 1, remember: time.Hour,
		},
		"throttled by area": {
			handler: answer(429, ``, "Retry-After", "30"), throttled: true,
			want: "Service asked podwatch to wait (HTTP 429)", calls: 1, remember: 30 * time.Second, sameArea: true,
		},
		"server error is tried twice": {handler: answer(502, secret), want: "Service had an error of its own (HTTP 502)", calls: 2, remember: time.Minute},
		"bad request":                 {handler: answer(400, ``), want: "Service rejected the look-up (HTTP 400)", calls: 1, remember: time.Minute, sameArea: true},
		"a redirect is not followed": {
			handler: answer(302, ``, "Location", "/elsewhere"),
			want:    "Service answered with a redirect, which is not followed (HTTP 302)", calls: 1, remember: time.Minute, sameArea: true,
		},
		"a redirect to another host is not followed": {
			handler: answer(307, ``, "Location", "http://localhost:1/"+secret),
			want:    "Service answered with a redirect, which is not followed (HTTP 307)", calls: 1, remember: time.Minute, sameArea: true,
		},
		"not JSON":              {handler: answer(200, `<html>`+secret), want: "Service gave an unreadable answer", calls: 1, remember: time.Minute, sameArea: true},
		"JSON of another shape": {handler: answer(200, `[]`), want: "Service gave an unreadable answer", calls: 1, remember: time.Minute, sameArea: true},
		"empty":                 {handler: answer(200, ``), want: "Service gave an unreadable answer", calls: 1, remember: time.Minute, sameArea: true},
		"connection cut": {
			handler: func(w http.ResponseWriter, _ *http.Request) { hangUp(w) },
			want:    "Service could not be reached", calls: 2, remember: time.Minute,
		},
		"answer cut in the middle": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				io.WriteString(w, `{"value":`)
			},
			want: "Service could not be reached", calls: 2, remember: time.Minute,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := clock
			var log bytes.Buffer
			s, calls := serve(t, tt.handler)
			c := client(t, s.URL, lookup.Options{
				Now: func() time.Time { return now }, ThrottledByArea: tt.throttled,
				Log: slog.New(slog.NewJSONHandler(&log, nil)),
			})
			err := get(c, "a")
			if err == nil || err.Error() != tt.want {
				t.Fatalf("error %q, want %q", err, tt.want)
			}
			if got := calls.Load(); got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}

			if tt.remember > 0 {
				now = clock.Add(tt.remember - time.Second)
				if err := get(c, "a"); err == nil || !strings.HasPrefix(err.Error(), tt.want+", no new attempt before ") {
					t.Errorf("remembered error %q, want %q and when it ends", err, tt.want)
				}
				if got := calls.Load(); got != tt.calls {
					t.Errorf("a remembered failure cost %d calls", got-tt.calls)
				}
				_ = get(c, "b")
				if made := calls.Load() > tt.calls; made != tt.sameArea {
					t.Errorf("call for another area made: %t, want %t", made, tt.sameArea)
				}
				if lines := strings.Count(log.String(), "look-ups paused"); lines < 1 {
					t.Error("nothing logged of the pause")
				}
			}
			before := calls.Load()
			now = clock.Add(tt.remember + 2*time.Second)
			_ = get(c, "a")
			if calls.Load() == before {
				t.Error("no call after the failure was over")
			}
			if all := err.Error() + log.String(); strings.Contains(all, secret) || strings.Contains(all, "http://") {
				t.Errorf("secret or address in %q", all)
			}
		})
	}
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
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
	if err := get(client(t, s.URL, lookup.Options{}), ""); err != nil || calls.Load() != 2 {
		t.Errorf("error %v after %d calls, want success by the second", err, calls.Load())
	}
}

func TestAnswerIsBounded(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"a":"%0100d"}`, 1) })
	if err := get(client(t, s.URL, lookup.Options{MaxBody: 64}), ""); !lookup.Is(err, lookup.TooLarge) {
		t.Errorf("error %v, want too large", err)
	}
	if err := get(client(t, s.URL, lookup.Options{MaxBody: 4096}), ""); err != nil {
		t.Errorf("error %v within the bound", err)
	}
}

// transport answers without a network, so that time can be simulated.
type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(r *http.Request) (*http.Response, error) { return f(r) }

// hang answers only when the request is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestSlowServiceCostsTheBudgetOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://127.0.0.1", lookup.Options{Transport: transport(hang)})
		for i, want := range []time.Duration{2 * time.Second, 0} {
			start := time.Now()
			ctx, cancel := lookup.WithBudget(t.Context(), 2*time.Second)
			err := c.Do(ctx, lookup.Request{Method: http.MethodGet, Path: "x"}, nil)
			cancel()
			if !lookup.Is(err, lookup.Slow) {
				t.Errorf("look-up %d: error %v, want slow", i, err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("look-up %d took %v, want %v", i, took, want)
			}
		}
	})
}

func TestEndOfInvocationIsNotTheServicesFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://127.0.0.1", lookup.Options{Transport: transport(hang)})
		parent, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		ctx, cancel := lookup.WithBudget(parent, 2*time.Second)
		defer cancel()
		if err := c.Do(ctx, lookup.Request{Method: http.MethodGet, Path: "x"}, nil); !lookup.Is(err, lookup.Canceled) {
			t.Errorf("error %v, want canceled", err)
		}
		start := time.Now()
		ctx, cancel = lookup.WithBudget(t.Context(), 2*time.Second)
		defer cancel()
		_ = c.Do(ctx, lookup.Request{Method: http.MethodGet, Path: "x"}, nil)
		if time.Since(start) == 0 {
			t.Error("the end of another invocation was remembered against the service")
		}
	})
}

func TestSpentBudgetIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://127.0.0.1", lookup.Options{Transport: transport(hang)})
		ctx, cancel := lookup.WithBudget(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.Do(ctx, lookup.Request{Method: http.MethodGet, Path: "x"}, nil); !lookup.Is(err, lookup.Slow) {
			t.Errorf("error %v, want slow", err)
		}
		var f *lookup.Failure
		ctx, cancel = lookup.WithBudget(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.Do(ctx, lookup.Request{Method: http.MethodGet, Path: "x"}, nil); !errors.As(err, &f) || f.Remembered {
			t.Errorf("error %v, want a new attempt", err)
		}
	})
}

func TestToken(t *testing.T) {
	var header, scheme string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("Authorization")
		io.WriteString(w, `{}`)
	}))
	defer s.Close()
	do := func(cred azcore.TokenCredential) error {
		c, err := lookup.New(s.URL, cred, lookup.Options{Service: "Service", Transport: s.Client()})
		if err != nil {
			t.Fatal(err)
		}
		return get(c, "")
	}
	if err := do(credential{}); err != nil || header != "Bearer "+secret {
		t.Errorf("error %v, Authorization %q", err, header)
	}

	err := do(credential{err: errors.New("POST https://login.example/?x=" + secret + "\nAADSTS7000215: " + secret)})
	if want := "Service was not asked: podwatch's identity got no token (AADSTS7000215)"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}

	// Plain http on loopback: no token, even where there is one.
	plain, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		scheme = r.Header.Get("Authorization")
		io.WriteString(w, `{}`)
	})
	c, err := lookup.New(plain.URL, credential{}, lookup.Options{Service: "Service"})
	if err != nil {
		t.Fatal(err)
	}
	if err := get(c, ""); err != nil || scheme != "" {
		t.Errorf("error %v, Authorization %q over plain http", err, scheme)
	}
}

func TestLinksStayOnTheHost(t *testing.T) {
	s, calls := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
	c := client(t, s.URL, lookup.Options{})
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
		err := c.Do(t.Context(), lookup.Request{Method: http.MethodGet, Link: link}, &out)
		if follow != (err == nil) || follow != (calls.Load() > before) {
			t.Errorf("link %q: error %v, called %t, want followed %t", link, err, calls.Load() > before, follow)
		}
	}
}

func TestQueryEscapesSpaces(t *testing.T) {
	var got string
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.RawQuery
		io.WriteString(w, `{}`)
	})
	var out map[string]any
	err := client(t, s.URL, lookup.Options{}).Do(t.Context(), lookup.Request{
		Method: http.MethodGet, Path: "x", Query: map[string][]string{"$filter": {"a ge '1+2'"}},
	}, &out)
	if want := "%24filter=a%20ge%20%271%2B2%27"; err != nil || got != want {
		t.Errorf("query %q, error %v, want %q", got, err, want)
	}
}

func TestNewRefusesEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://graph.microsoft.com":     "plain http outside a loopback address",
		"http://127.0.0.1.evil.example":  "plain http outside a loopback address",
		"ftp://127.0.0.1":                "neither https nor http",
		"graph.microsoft.com":            "not a URL with a host",
		"https://u:" + secret + "@x.com": "more than scheme, host and path",
		"https://x.com?sig=" + secret:    "more than scheme, host and path",
		"https://x.com":                  "https without a credential",
		"http://[::1%25" + secret:        "not a URL",
	} {
		_, err := lookup.New(endpoint, nil, lookup.Options{Service: "Service"})
		if err == nil || err.Error() != "use endpoint of Service: "+want {
			t.Errorf("New(%q) gives %v, want %q", endpoint, err, want)
		}
	}
	for _, endpoint := range []string{"http://localhost:1", "http://[::1]:1/base", "http://127.8.9.1"} {
		if _, err := lookup.New(endpoint, nil, lookup.Options{}); err != nil {
			t.Errorf("New(%q): %v", endpoint, err)
		}
	}
}
