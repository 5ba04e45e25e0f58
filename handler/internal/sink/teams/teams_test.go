package teams

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/sinktest"
)

const query = "?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=pl4nted-S3cret_%2Bx%3D"

func TestSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, sinktest.Subject{
		New: func(t testing.TB, transport http.RoundTripper, log *slog.Logger) sinktest.Sink {
			return newSink(t, "http://127.0.0.1/workflows/0123456789abcdef0123"+query, sink.Options{Transport: transport, Logger: log})
		},
		Secrets:  []string{"pl4nted-S3cret", "0123456789abcdef0123", "%2Ftriggers"},
		Accepted: http.StatusAccepted,
	})
}

func newSink(t testing.TB, webhook string, o sink.Options) *Sink {
	t.Helper()
	s, err := New(webhook, Options{Delivery: o, Advice: testAdvice})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRequest: the query goes out byte for byte, and no header gives another
// authorization than the signature.
func TestRequest(t *testing.T) {
	const path = "/powerautomate/automations/direct/workflows/ab%2Fc/triggers/manual/paths/invoke"
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	webhook := server.URL + path + "?b=2&a=1&a=%2f;x&sig=A%2bb%2Fc%3d&empty=&z"
	if failures := newSink(t, " "+webhook+"\n", sink.Options{}).Deliver(t.Context(), sinktest.Alerts(1)); failures != nil {
		t.Fatal(failures)
	}
	if want := strings.TrimPrefix(webhook, server.URL); got.RequestURI != want {
		t.Errorf("requested %s, want %s", got.RequestURI, want)
	}
	if _, ok := got.Header["Authorization"]; ok {
		t.Error("there is an Authorization header")
	}
	if got.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("the content type is %q", got.Header.Get("Content-Type"))
	}
}

func TestWebhookURL(t *testing.T) {
	const sig = "?api-version=1&sig=PLANTED"
	for name, c := range map[string]struct {
		url   string
		allow []string
		want  string // part of the error; empty: none
	}{
		"newer":              {"https://default0123.45.environment.api.powerplatform.com:443/powerautomate/x" + sig, nil, ""},
		"older":              {"https://prod-12.westeurope.logic.azure.com:443/workflows/x" + sig, nil, ""},
		"government":         {"https://x.environment.api.gov.powerplatform.microsoft.us/x" + sig, nil, ""},
		"department":         {"https://x.environment.api.appsplatform.us/x" + sig, nil, ""},
		"allowed by setting": {"https://hooks.example.com/x" + sig, []string{"example.com"}, ""},
		"loopback":           {"http://127.0.0.1:8080/x" + sig, nil, ""},
		"another host":       {"https://example.com/PLANTED" + sig, nil, `"example.com"`},
		"a look-alike":       {"https://logic.azure.com.example.com/" + sig, nil, "TEAMS_WEBHOOK_HOSTS"},
		"another look-alike": {"https://notlogic.azure.com.evil/" + sig, nil, "TEAMS_WEBHOOK_HOSTS"},
		"no sig":             {"https://prod-1.westeurope.logic.azure.com/x?api-version=1&sv=PLANTED", nil, "Anyone"},
		"an empty sig":       {"https://prod-1.westeurope.logic.azure.com/x?sig=&sv=PLANTED", nil, "Anyone"},
		"a sig in the path":  {"https://prod-1.westeurope.logic.azure.com/sig=PLANTED", nil, "Anyone"},
		"no sig on loopback": {"http://127.0.0.1/x", nil, "sig"},
		"plain http":         {"http://prod-1.westeurope.logic.azure.com/x" + sig, nil, "plain http"},
		"a connector":        {"https://contoso.webhook.office.com/webhookb2/PLANTED", nil, "switched off"},
		"a user":             {"https://PLANTED@prod-1.westeurope.logic.azure.com/x" + sig, nil, "user name"},
		"not a URL":          {"PLANTED\x00", nil, "not a URL"},
		"nothing":            {"", nil, "https://"},
	} {
		_, err := New(c.url, Options{AllowedHosts: c.allow})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "PLANTED") {
			t.Errorf("%s: the URL is told: %v", name, err)
		}
	}
}

func TestPrintingASinkTellsNothing(t *testing.T) {
	s := newSink(t, "https://prod-1.westeurope.logic.azure.com/workflows/x"+query, sink.Options{})
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("sink", "sink", s)
	text := fmt.Sprintf("%v %+v %#v %s ", s, s, s, s) + log.String()
	if strings.Contains(text, "pl4nted") {
		t.Errorf("the URL is told: %s", text)
	}
}

// TestOneCardPerGroup: what becomes of a card becomes of its alerts; a card that
// is refused costs no other, a server that is down ends the delivery.
func TestOneCardPerGroup(t *testing.T) {
	for name, c := range map[string]struct {
		statuses []int
		want     string // per alert: . accepted, x refused, r retryable
		requests int
	}{
		"all accepted":    {[]int{202, 202, 202}, "......", 3},
		"one is refused":  {[]int{202, 400, 202}, ".x.x..", 3},
		"down from start": {[]int{429}, "rrrrrr", 1},
		"down after one":  {[]int{202, 429}, ".r.r.r", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				transport := sinktest.Serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "3600")
					w.WriteHeader(c.statuses[min(requests, len(c.statuses)-1)])
					requests++
				})
				alerts := sinktest.Alerts(6)
				alerts[1].CallerId = "another caller"
				alerts[3].CallerId = "another caller"
				alerts[5].ClusterId += "-2"
				failures := newSink(t, "http://127.0.0.1/"+query, sink.Options{Transport: transport}).Deliver(t.Context(), alerts)
				if got := outcome(failures, len(alerts)); got != c.want || requests != c.requests {
					t.Errorf("outcome %s after %d requests, want %s after %d: %v", got, requests, c.want, c.requests, failures)
				}
			})
		})
	}
}

func outcome(failures []error, n int) string {
	if failures == nil {
		failures = make([]error, n)
	}
	var out strings.Builder
	for _, err := range failures {
		var e *sink.Error
		switch {
		case err == nil:
			out.WriteByte('.')
		case errors.As(err, &e) && e.Retryable:
			out.WriteByte('r')
		default:
			out.WriteByte('x')
		}
	}
	return out.String()
}
