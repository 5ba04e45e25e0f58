package devhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The account that Azurite and every Azure SDK know; both are public.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azuritePort is the blob service's port behind UseDevelopmentStorage=true; queue
// and table services have the next two.
const azuritePort = 10000

// ExpandStorage returns the long form of UseDevelopmentStorage=true, which the Go SDK
// does not know, and every other connection string as it is.
func ExpandStorage(connection string) string {
	for part := range strings.SplitSeq(connection, ";") {
		if strings.EqualFold(strings.TrimSpace(part), "UseDevelopmentStorage=true") {
			return connectionString([3]int{azuritePort, azuritePort + 1, azuritePort + 2})
		}
	}
	return connection
}

func connectionString(ports [3]int) string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%[1]s;AccountKey=%[2]s;"+
		"BlobEndpoint=http://127.0.0.1:%[3]d/%[1]s;QueueEndpoint=http://127.0.0.1:%[4]d/%[1]s;TableEndpoint=http://127.0.0.1:%[5]d/%[1]s;",
		azuriteAccount, azuriteKey, ports[0], ports[1], ports[2])
}

// AzuriteOptions say where things are.
type AzuriteOptions struct {
	// Dir holds node_modules; see FindLocal.
	Dir string

	// Data is a folder that keeps everything for the next instance; empty keeps
	// it in memory. No two instances may use one folder at a time.
	Data string

	// DefaultPorts prefers ports 10000 to 10002, so that
	// UseDevelopmentStorage=true reaches this instance. Taken ports are no
	// error: others are used then.
	DefaultPorts bool
}

// An Azurite is a running instance of Microsoft's local stand-in for Azure
// Storage, from the packages that `make deps` installs. Without a Data folder an
// instance knows nothing of an earlier one and leaves nothing behind. It listens
// on loopback only and ends with [Azurite.Close], or with podwatch when podwatch
// is killed.
type Azurite struct {
	ConnectionString string
	Default          bool // UseDevelopmentStorage=true means this instance

	proc *process
	keep bool // it writes its last changes when it is asked to end
}

// saveWithin is how long Azurite may take to write what it keeps. It writes
// every five seconds anyway.
const saveWithin = 20 * time.Second

// azuriteTimeout is generous: node alone needs two seconds on a busy machine.
const azuriteTimeout = 60 * time.Second

// StartAzurite starts Azurite and returns when it answers.
func StartAzurite(ctx context.Context, o AzuriteOptions) (*Azurite, error) {
	script, err := filepath.Abs(filepath.Join(o.Dir, "node_modules", "azurite", "dist", "src", "azurite.js"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(script); err != nil {
		return nil, fmt.Errorf("azurite is not installed (%s is missing): run `make deps`", script)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("azurite needs Node.js: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, azuriteTimeout)
	defer cancel()
	if o.DefaultPorts {
		ports := [3]int{azuritePort, azuritePort + 1, azuritePort + 2}
		if free(ports) {
			if s, err := startAzurite(ctx, node, script, o.Data, ports); err == nil {
				s.Default = true
				return s, nil
			} else if ctx.Err() != nil {
				return nil, err
			}
		}
	}
	for {
		ports, err := freePorts()
		if err != nil {
			return nil, err
		}
		s, err := startAzurite(ctx, node, script, o.Data, ports)
		if errors.Is(err, errPortTaken) && ctx.Err() == nil {
			continue // somebody was faster
		}
		return s, err
	}
}

// errPortTaken reports that another program took a port between the look and
// the start.
var errPortTaken = errors.New("port is taken")

func startAzurite(ctx context.Context, node, script, data string, ports [3]int) (*Azurite, error) {
	said := lastWords{up: make(chan struct{})}
	where := []string{"--inMemoryPersistence"}
	if data != "" {
		folder, err := filepath.Abs(data)
		if err == nil {
			err = os.MkdirAll(folder, 0o700)
		}
		if err != nil {
			return nil, fmt.Errorf("start azurite: %w", err)
		}
		where = []string{"--location", folder}
	}
	proc, err := startProcess(command{
		path: node,
		args: append([]string{
			script, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--loose",
			"--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(ports[0]),
			"--queueHost", "127.0.0.1", "--queuePort", strconv.Itoa(ports[1]),
			"--tableHost", "127.0.0.1", "--tablePort", strconv.Itoa(ports[2]),
		}, where...),
		dir: os.TempDir(), env: os.Environ(), line: said.add,
	})
	if err != nil {
		return nil, err
	}
	s := &Azurite{ConnectionString: connectionString(ports), proc: proc, keep: data != ""}
	if err := s.await(ctx, &said); err != nil {
		if strings.Contains(said.String(), "EADDRINUSE") {
			err = errPortTaken
		} else {
			err = fmt.Errorf("start azurite: %w: %s", err, said.String())
		}
		s.Close()
		return nil, err
	}
	return s, nil
}

// await waits until this instance says that all its services listen. That a port
// answers would say nothing: it may be that of another instance, which was faster.
func (s *Azurite) await(ctx context.Context, said *lastWords) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.proc.done:
		return errors.New("it ended at once")
	case <-said.up:
		return nil
	}
}

// Close ends Azurite and everything that it held in memory.
func (s *Azurite) Close() {
	if s.keep {
		s.proc.terminate(saveWithin)
	}
	s.proc.kill()
	s.proc.wait()
}

// Done is closed when Azurite has ended.
func (s *Azurite) Done() <-chan struct{} { return s.proc.done }

func free(ports [3]int) bool {
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func freePorts() (ports [3]int, err error) {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		listeners = append(listeners, l)
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
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

// lastWords keeps the last of what Azurite said, for an error, and tells when it is
// up.
type lastWords struct {
	up chan struct{} // closed when the blob, queue and table services listen

	mu        sync.Mutex
	listening int
	lines     []string
}

func (o *lastWords) add(_, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if strings.Contains(line, "service is successfully listening at") {
		if o.listening++; o.listening == 3 {
			close(o.up)
		}
	}
	o.lines = append(o.lines, line)
	o.lines = o.lines[max(0, len(o.lines)-5):]
}

func (o *lastWords) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}
