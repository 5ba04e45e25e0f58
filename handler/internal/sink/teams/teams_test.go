package teams

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink/sinktest"
)

func newSink(t testing.TB, webhook string) *Sink {
	t.Helper()
	e, err := outbound.ParseEndpoint(webhook)
	if err != nil {
		t.Fatal(err)
	}
	return New(&outbound.Client{Service: "Teams", Endpoint: e}, nil)
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
	if n, err := newSink(t, " "+webhook+"\n").Post(t.Context(), all(sinktest.Alerts(2)...)); n != 2 || err != nil {
		t.Fatal(n, err)
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

// TestARefusalIsAboutAllAlertsOfTheCard, and its error has no part of the address.
func TestARefusalIsAboutAllAlertsOfTheCard(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer server.Close()
	n, err := newSink(t, server.URL+"/workflows/pl4nted?sig=pl4nted").Post(t.Context(), all(sinktest.Alerts(3)...))
	var e *outbound.Error
	if n != 3 || !errors.As(err, &e) || e.Kind != outbound.Rejected || strings.Contains(err.Error(), "pl4nted") {
		t.Errorf("%d alerts, error %v", n, err)
	}
}

// TestARefusalNamesItsCure: a person must be able to act on the error line.
func TestARefusalNamesItsCure(t *testing.T) {
	for status, want := range map[int]string{401: "rotated", 403: "rotated", 404: "make a new one"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := newSink(t, server.URL+"/workflows/pl4nted?sig=pl4nted").Post(t.Context(), all(sinktest.Alert(0)))
		server.Close()
		var e *outbound.Error
		if !errors.As(err, &e) || e.Kind != outbound.Forbidden || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "TEAMS_WEBHOOK_URL") || strings.Contains(err.Error(), "pl4nted") {
			t.Errorf("status %d: error %v, want one that names the cure %q", status, err, want)
		}
	}
}
