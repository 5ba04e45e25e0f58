// Package azurite starts Azurite, Microsoft's storage emulator, for tests.
//
// Instances neither meet nor leave anything behind: see package emulator. Where
// Azurite is not installed the test fails, it is never skipped.
package azurite

import (
	"testing"

	"podwatch/handler/internal/emulator"
)

// Start runs Azurite until the test and its subtests end, and returns the
// connection string of its account. Each call starts another one, which takes a
// second or two: share it between subtests.
func Start(t testing.TB) string {
	t.Helper()
	local, err := emulator.FindLocal(".")
	if err != nil {
		t.Fatal(err)
	}
	a, err := emulator.Start(t.Context(), emulator.Options{Dir: local})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a.ConnectionString
}
