// Package outboundtest makes clients of services that tests serve themselves.
package outboundtest

import (
	"net/http"
	"testing"

	"podwatch/handler/internal/outbound"
)

// Client returns a client of the service at a loopback address.
func Client(t testing.TB, service, address string) *outbound.Client {
	t.Helper()
	e, err := outbound.ParseService(address)
	if err != nil {
		t.Fatal(err)
	}
	return &outbound.Client{Service: service, Endpoint: e}
}

// Hanging is the transport of a service that never answers.
type Hanging struct{}

// RoundTrip implements [http.RoundTripper]. It returns when the request's context
// ends.
func (Hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
