package sink_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/sinktest"
)

const (
	secretURL = "http://127.0.0.1/workflows/0f1e2d3c4b5a69788796a5b4/paths/invoke?sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=s3cr3t%2Bs1gn4tur3%3D%3D"
	secretSig = "s3cr3t%2Bs1gn4tur3%3D%3D"
)

// A plain sink posts to a URL that is a secret, and nothing else.
type plain struct{ *sink.Client }

func newPlain(t testing.TB, transport http.RoundTripper, log *slog.Logger) sinktest.Sink {
	return plain{newClient(t, sink.Options{Transport: transport, Logger: log})}
}

func newClient(t testing.TB, o sink.Options) *sink.Client {
	t.Helper()
	e, err := outbound.ParseEndpoint(secretURL)
	if err != nil {
		t.Fatal(err)
	}
	return sink.NewClient("plain", "Plain", e, nil, o)
}

func (plain) Name() string { return "plain" }

func (p plain) Deliver(ctx context.Context, alerts []*alert.Alert) []error {
	if len(alerts) == 0 {
		return nil
	}
	err := p.Do(ctx, post)
	if err == nil {
		return nil
	}
	failures := make([]error, len(alerts))
	for i := range failures {
		failures[i] = err
	}
	return failures
}

func TestClientKeepsTheContract(t *testing.T) {
	sinktest.Run(t, sinktest.Subject{
		New:      newPlain,
		Secrets:  []string{secretSig, "s3cr3t+s1gn4tur3==", "s1gn4tur3", "0f1e2d3c4b5a69788796a5b4", "triggers%2Fmanual"},
		Accepted: http.StatusAccepted,
	})
}

func TestWaitsDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		client := newClient(t, sink.Options{Transport: failing(func() { at = append(at, time.Now()) }), Tries: 7})
		err := client.Do(t.Context(), post)
		if err == nil || len(at) != 7 {
			t.Fatalf("Do = %v after %d tries, want an error after 7", err, len(at))
		}
		for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second} {
			if got := at[i+1].Sub(at[i]); got < want*8/10 || got > want*12/10 {
				t.Errorf("wait %d took %s, want %s give or take a fifth", i+1, got, want)
			}
		}
	})
}

// TestNoTimeForAnother: the time that is left is worth more to the caller than a
// wait that cannot be finished.
func TestNoTimeForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start, n := time.Now(), 0
		client := newClient(t, sink.Options{Transport: failing(func() { n++ })})
		err := client.Do(ctx, post)
		if took := time.Since(start); err == nil || n != 1 || took != 0 {
			t.Errorf("Do = %v after %d tries and %s, want an error after one try, at once", err, n, took)
		}
	})
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  sink.Error
		want string
	}{
		{sink.Error{Sink: "teams", Err: errors.New("no")}, "deliver to teams: no"},
		{sink.Error{Sink: "teams", Err: errors.New("no"), RetryAfter: 90 * time.Second}, "deliver to teams: no (asked to wait 1m30s)"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestErrorNamesStatusCodeAndTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := sinktest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":{"code":"Busy","message":"come\nback \u001b[31m later"}}`)
		})
		client := newClient(t, sink.Options{Transport: transport, Tries: 3})
		err := client.Do(t.Context(), post)
		const want = "deliver to plain: Plain had an error of its own (HTTP 503 Busy) (3 tries)"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

// TestNoTokenIsNotTriedAgain: a credential has tries of its own.
func TestNoTokenIsNotTriedAgain(t *testing.T) {
	e, err := outbound.ParseEndpoint("https://x.example.com")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	client := sink.NewClient("plain", "Plain", e, func(context.Context) (string, error) {
		n++
		return "", errors.New("AADSTS700016")
	}, sink.Options{})
	var failure *sink.Error
	if err := client.Do(t.Context(), func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodPost, e.URL("", nil), http.NoBody)
	}); !errors.As(err, &failure) || !failure.Retryable || n != 1 {
		t.Errorf("got %v after %d tries, want a retryable error after one", err, n)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failing is a network that is down.
func failing(tried func()) http.RoundTripper {
	return roundTrip(func(*http.Request) (*http.Response, error) {
		tried()
		return nil, errors.New("no route to host")
	})
}

func post(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, secretURL, strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}
