// Package hubtest starts the local Event Hub stand-in of infra/local for a
// test, on a free port of the loopback address and with nothing on disk.
//
// [Start] returns when the stand-in says that it listens; the process ends with
// the test, also when the test binary dies. A missing Node.js or a missing
// node_modules folder fails the test with the command that repairs it.
package hubtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say what the stand-in offers. The zero value is one hub, "podwatch",
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

	cmd := exec.Command(node, o.args(local)...)
	stderr := &lockedBuffer{}
	cmd.Stderr = stderr
	// The pipe stays open for as long as this process lives.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the Event Hub stand-in: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		if text := stderr.String(); t.Failed() && text != "" {
			t.Logf("standard error of the Event Hub stand-in:\n%s", text)
		}
	})

	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		cmd.Wait()
		t.Fatalf("the Event Hub stand-in did not start: printed %q, then: %s", line, stderr.String())
	}
	return &Hub{Addr: addr, ConnectionString: ConnectionString(addr)}
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
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		local := filepath.Join(dir, "infra", "local")
		if _, err := os.Stat(filepath.Join(local, "eventhub.mjs")); err == nil {
			return local
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("found no infra/local/eventhub.mjs above the working directory")
		}
	}
}

// lockedBuffer is written by the process's pipe and read by the test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
