package outbound_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/outbound"
)

func do(c *outbound.Client) ([]byte, *outbound.Error) {
	r, err := http.NewRequest(http.MethodPost, c.Endpoint.URL("", nil), strings.NewReader("hello"))
	if err != nil {
		panic(err)
	}
	body, err := c.Do(r)
	var e *outbound.Error
	errors.As(err, &e)
	return body, e
}

func TestKinds(t *testing.T) {
	for status, want := range map[int]outbound.Kind{
		400: outbound.Rejected, 413: outbound.Rejected,
		401: outbound.Forbidden, 403: outbound.Forbidden, 404: outbound.Forbidden, 405: outbound.Forbidden, 410: outbound.Forbidden, 422: outbound.Forbidden,
		408: outbound.Busy, 429: outbound.Busy, 500: outbound.Busy, 503: outbound.Busy, 307: outbound.Busy, 600: outbound.Busy,
	} {
		s, calls := serve(t, answer(status, `{"error":{"code":"Code","message":"`+secret+`"}}`, "Location", "/", "Retry-After", "7"))
		_, e := do(client(t, s.URL))
		if e == nil || e.Kind != want || e.Status != status || e.Code != "Code" || calls.Load() != 1 {
			t.Errorf("%d: error %#v after %d calls, want kind %d", status, e, calls.Load(), want)
		}
		if (e.RetryAfter == 7*time.Second) != (want == outbound.Busy) {
			t.Errorf("%d: asked to wait %v", status, e.RetryAfter)
		}
	}
}

// TestWhatWasSent tells apart whether the service may have acted on a request.
func TestWhatWasSent(t *testing.T) {
	silent := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	s, _ := serve(t, silent)
	c := client(t, s.URL)
	c.Attempt = time.Second // enough for a busy machine to send the request
	if _, e := do(c); e.Kind != outbound.Unanswered || e.Error() != "Service did not answer: timed out" || !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("a server that does not answer: %v, kind %d", e, e.Kind)
	}
	down := httptest.NewServer(nil)
	down.Close()
	if _, e := do(client(t, down.URL)); e.Kind != outbound.Unreachable || e.Error() != "Service could not be reached: connection refused" {
		t.Errorf("a server that is down: %v, kind %d", e, e.Kind)
	}
	stalled, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "so far")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c = client(t, stalled.URL)
	c.Attempt = time.Second // enough for a busy machine to send the request
	if body, e := do(c); string(body) != "so far" || e.Kind != outbound.Unanswered || e.Status != 200 {
		t.Errorf("an answer that stalls: %q, %#v", body, e)
	}
}

func TestToken(t *testing.T) {
	var header string
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { header = r.Header.Get("Authorization") }))
	defer s.Close()
	c := client(t, s.URL)
	c.Transport = s.Client().Transport
	c.Token = func(context.Context) (string, error) { return secret, nil }
	if _, e := do(c); e != nil || header != "Bearer "+secret {
		t.Errorf("error %v, Authorization %q", e, header)
	}
	c.Token = func(context.Context) (string, error) { return "", errors.New("AADSTS7000215") }
	if _, e := do(c); e == nil || e.Kind != outbound.NoToken || e.Error() != "Service was not asked: podwatch's identity got no token: AADSTS7000215" {
		t.Errorf("error %v", e)
	}

	// Plain http on loopback: no token, even where there is one.
	plain, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { header = r.Header.Get("Authorization") })
	c = client(t, plain.URL)
	c.Token = func(context.Context) (string, error) { return secret, nil }
	if _, e := do(c); e != nil || header != "" {
		t.Errorf("error %v, Authorization %q over plain http", e, header)
	}
}

func TestRequestIsNotChanged(t *testing.T) {
	s, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	r, _ := http.NewRequest(http.MethodGet, s.URL, nil)
	if _, err := client(t, s.URL).Do(r); err != nil || len(r.Header) != 0 {
		t.Errorf("error %v, headers %v", err, r.Header)
	}
}

// TestErrorsHoldNothingFromElsewhere plants a secret in the address, in every
// kind of error below and in the answer, and searches what comes out.
func TestErrorsHoldNothingFromElsewhere(t *testing.T) {
	const address = "https://user.example.com/workflows/" + secret + "?sig=" + secret
	for _, planted := range []error{
		errors.New("dial " + address + ": refused"),
		fmt.Errorf("proxy said %s: %w", address, context.Canceled),
		errors.Join(errors.New("one"), fmt.Errorf("two %w", errors.New(secret))),
		&tls.CertificateVerificationError{Err: errors.New(secret)},
	} {
		c := client(t, address)
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { return nil, planted })
		_, e := do(c)
		for err := error(e); err != nil; err = errors.Unwrap(err) {
			for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
				if text := fmt.Sprintf(format, err); strings.Contains(text, secret) || strings.Contains(text, "example.com") {
					t.Errorf("%q of %v is told in %s", format, planted, text)
				}
			}
		}
	}
}

// TestCertificatesAreChecked: with the transport of production, a server with a
// certificate of its own making gets nothing.
func TestCertificatesAreChecked(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request arrived") }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	if _, e := do(client(t, s.URL)); e == nil || e.Kind != outbound.Unreachable || !strings.Contains(e.Error(), "certificate") {
		t.Errorf("error %v, want one about the certificate", e)
	}
}

// TestTimeLimit holds the limit of an attempt, in virtual time.
func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://127.0.0.1")
		c.Transport = hanging{}
		start := time.Now()
		if _, e := do(c); e == nil || time.Since(start) != 10*time.Second {
			t.Errorf("error %v after %v, want one after 10s", e, time.Since(start))
		}
	})
}
