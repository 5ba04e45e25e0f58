// Package outboundtest makes clients of services that tests serve themselves.
package outboundtest

import (
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
