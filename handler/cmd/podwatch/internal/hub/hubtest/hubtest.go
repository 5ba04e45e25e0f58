// Package hubtest starts the local Event Hub stand-in of infra/local for a
// test, on a free port of the loopback address and with nothing on disk.
//
// [Start] returns when the stand-in reports that it listens; the process ends with
// the test, also when the test binary dies. A missing Node.js or a missing
// node_modules folder fails the test with the command that repairs it.
package hubtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/child"
	"podwatch/handler/internal/emulator"
)

// Options are what the stand-in offers. The zero value is one hub, "podwatch",
// with two partitions.
type Options struct {
	Hubs        map[string]int // name to number of partitions
	Groups      []string       // when set, other consumer groups than these and $Default are refused
	RetainBytes int64          // per partition, the oldest messages go first; 0 means 4 GiB

	// Clock and Step replace the machine's clock: the first message is
	// enqueued at Clock, each later one Step after the one before.
	Clock time.Time
	Step  time.Duration

	Unauthorized bool // refuse every claim

	// ByHand starts the stand-in as a developer does: sequence numbers and offsets
	// begin behind those of earlier instances. Otherwise they begin at 0.
	ByHand bool
}

// A Hub is a running stand-in.
type Hub struct {
	Addr             string // 127.0.0.1:port
	ConnectionString string // without an EntityPath
}

// Start runs a stand-in until the test ends.
func Start(t testing.TB, o Options) *Hub {
	t.Helper()
	local := Local(t)
	if _, err := os.Stat(filepath.Join(local, "node_modules", "rhea")); err != nil {
		t.Fatal("the Event Hub stand-in needs its node packages: run `make deps`")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("the Event Hub stand-in needs Node.js 20 or later in PATH")
	}

	ready := make(chan string, 1)
	proc, err := child.Start(child.Command{Path: node, Args: o.args(local), Env: os.Environ(), Line: func(_, line string) {
		if addr, ok := strings.CutPrefix(line, "ready "); ok {
			ready <- addr
		} else {
			t.Logf("the Event Hub stand-in: %s", line) // Wait returns after the last line
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proc.Kill()
		proc.Wait()
	})
	select {
	case addr := <-ready:
		return &Hub{Addr: addr, ConnectionString: ConnectionString(addr)}
	case <-proc.Done():
		t.Fatal("the Event Hub stand-in did not start")
	}
	return nil
}

// ConnectionString names a stand-in, or Microsoft's emulator, at addr
// (host:port). Neither checks the key.
func ConnectionString(addr string) string {
	return fmt.Sprintf("Endpoint=sb://%s;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;", addr)
}

func (o Options) args(local string) []string {
	args := []string{filepath.Join(local, "eventhub.mjs"), "--port", "0", "--exit-with-stdin"}
	for name, partitions := range o.Hubs {
		args = append(args, "--hub", fmt.Sprintf("%s:%d", name, partitions))
	}
	for _, g := range o.Groups {
		args = append(args, "--group", g)
	}
	if o.RetainBytes > 0 {
		args = append(args, "--retain-bytes", fmt.Sprint(o.RetainBytes))
	}
	if !o.Clock.IsZero() {
		args = append(args, "--clock", o.Clock.UTC().Format(time.RFC3339Nano), "--step", fmt.Sprint(o.Step.Milliseconds()))
	}
	if o.Unauthorized {
		args = append(args, "--unauthorized")
	}
	if !o.ByHand {
		args = append(args, "--first", "0")
	}
	return args
}

// Local finds infra/local above the working directory, which is the folder of the
// test.
func Local(t testing.TB) string {
	t.Helper()
	local, err := emulator.FindLocal(".")
	if err != nil {
		t.Fatal(err)
	}
	return local
}
