// Package version reports which build of podwatch runs.
//
// make computes the version once (see infra/pack/version.sh) and passes it to the
// linker, because what the Go tool would stamp by itself depends on the state of
// git and fails in a checkout of another user. A build without make is "devel".
package version

import (
	"cmp"
	"fmt"
	"runtime"
)

// Set by the linker.
var (
	version string
	commit  string
)

// String returns the version, such as "v1.2.0", "v1.2.0-3-g6be2f1c" or, of sources
// that are in no commit, "v1.2.0-3-g6be2f1c-dirty.0a1b2c3d4e5f".
func String() string { return cmp.Or(version, "devel") }

// Commit returns the full name of the commit, or "unknown".
func Commit() string { return cmp.Or(commit, "unknown") }

// Long returns one line with the version, the commit, the version of Go and the
// platform.
func Long() string {
	return fmt.Sprintf("%s (commit %s, %s, %s/%s)", String(), Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
