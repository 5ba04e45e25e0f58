// Package emulator runs Azurite, Microsoft's storage emulator, from the packages that
// `make deps` installs.
//
// [Start] returns when blob, queue and table service of this instance answer, on
// loopback only. Without a Data folder an instance knows nothing of an earlier one and
// leaves nothing behind. It ends with [Azurite.Close], or with the process that started
// it. No AZURITE_* variable of that process reaches it.
package emulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"podwatch/handler/internal/child"
	"podwatch/handler/internal/config"
)

// services in the order of their ports.
var services = []string{"Blob", "Queue", "Table"}

// Options are the locations of what is started.
type Options struct {
	// Dir holds azurite.cjs and node_modules; see FindLocal.
	Dir string

	// Data is a folder that keeps everything for the next instance; empty keeps it
	// in memory. No two instances may use one folder at a time.
	Data string

	// DefaultPorts prefers the ports of UseDevelopmentStorage=true. Where one of
	// them is taken, all are chosen by the system.
	DefaultPorts bool

	// Accounts replaces the account, as Azurite reads it: NAME:KEY;NAME:KEY.
	Accounts string
}

// An Azurite is a running instance.
type Azurite struct {
	ConnectionString string
	Default          bool // UseDevelopmentStorage=true means this instance

	proc *child.Process
	keep bool
}

const (
	startWithin = 3 * time.Minute  // Node.js alone takes minutes on a crowded machine
	saveWithin  = 20 * time.Second // to write the last changes of a Data folder
)

// Start starts Azurite and returns when it answers.
func Start(ctx context.Context, o Options) (*Azurite, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	installed := filepath.Join(dir, "node_modules", "azurite", "dist", "src", "azurite.js")
	if _, err := os.Stat(installed); err != nil {
		return nil, fmt.Errorf("azurite is not installed (%s is missing): run `make deps`", installed)
	}
	script := filepath.Join(dir, "azurite.cjs") // which ends with standard input
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("azurite needs Node.js: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if o.DefaultPorts && free() {
		a, err := start(ctx, node, script, o, config.EmulatorPort)
		if err == nil || ctx.Err() != nil {
			return a, err
		}
		// Another program was faster.
	}
	return start(ctx, node, script, o, 0)
}

// start runs one instance on three ports from first on; 0 lets the system choose.
func start(ctx context.Context, node, script string, o Options, first int) (*Azurite, error) {
	args := []string{script, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--loose"}
	for i, name := range services {
		port := first
		if first != 0 {
			port += i
		}
		flag := "--" + strings.ToLower(name)
		args = append(args, flag+"Host", "127.0.0.1", flag+"Port", strconv.Itoa(port))
	}
	if o.Data == "" {
		args = append(args, "--inMemoryPersistence", "--extentMemoryLimit", "256")
	} else {
		folder, err := filepath.Abs(o.Data)
		if err == nil {
			err = os.MkdirAll(folder, 0o700)
		}
		if err != nil {
			return nil, fmt.Errorf("start azurite: %w", err)
		}
		args = append(args, "--location", folder)
	}
	out := &output{address: map[string]string{}, up: make(chan struct{})}
	proc, err := child.Start(child.Command{Path: node, Args: args, Dir: os.TempDir(), Env: environment(o.Accounts), Line: out.add})
	if err != nil {
		return nil, err
	}
	a := &Azurite{proc: proc, keep: o.Data != "", Default: first == config.EmulatorPort}
	select {
	case <-out.up:
		a.ConnectionString = config.EmulatorConnection(out.address[services[0]], out.address[services[1]], out.address[services[2]])
		return a, nil
	case <-proc.Done():
		err = errors.New("it ended at once")
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.Close()
	return nil, fmt.Errorf("start azurite: %w: %s", err, out)
}

// environment is that of this process, without what would configure Azurite.
func environment(accounts string) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(strings.ToUpper(entry), "AZURITE_") })
	return append(env, "AZURITE_ACCOUNTS="+cmp.Or(accounts, config.EmulatorAccount+":"+config.EmulatorKey))
}

// Close ends Azurite and everything that it holds in memory.
func (a *Azurite) Close() {
	if a.keep {
		a.proc.Stop(saveWithin)
	}
	a.proc.Kill()
	a.proc.Wait()
}

// Done is closed when Azurite has ended.
func (a *Azurite) Done() <-chan struct{} { return a.proc.Done() }

// free reports whether the default ports are free.
func free() bool {
	for i := range services {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", config.EmulatorPort+i))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// FindLocal returns the folder infra/local of the project that holds from, which
// may be any folder inside it.
func FindLocal(from string) (string, error) {
	from, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	for dir := from; ; dir = filepath.Dir(dir) {
		local := filepath.Join(dir, "infra", "local")
		if _, err := os.Stat(filepath.Join(local, "package.json")); err == nil {
			return local, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no infra/local/package.json in %s or above it", from)
		}
	}
}

var listening = regexp.MustCompile(`Azurite (Blob|Queue|Table) service is successfully listening at (http://127\.0\.0\.1:\d+)`)

// output reads from Azurite's lines where it listens, and keeps the last ones for an
// error.
type output struct {
	up chan struct{} // closed when all addresses are known; they do not change then

	mu      sync.Mutex
	address map[string]string
	lines   []string
}

func (o *output) add(_, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m := listening.FindStringSubmatch(line); m != nil && len(o.address) < len(services) {
		o.address[m[1]] = m[2]
		if len(o.address) == len(services) {
			close(o.up)
		}
	}
	o.lines = append(o.lines, line)
	o.lines = o.lines[max(0, len(o.lines)-5):]
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}
