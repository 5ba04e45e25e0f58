package deployment

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/emulator"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// One Azurite serves all tests; each has an account of its own.
const accounts = 1000 // also for tests that are repeated

var (
	azurite string // connection string of the account test0
	account atomic.Int32
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		names := make([]string, accounts)
		for i := range names {
			names[i] = fmt.Sprintf("test%d:%s", i, config.EmulatorKey)
		}
		local, err := emulator.FindLocal(".")
		if err == nil {
			var a *emulator.Azurite
			if a, err = emulator.Start(context.Background(), emulator.Options{Dir: local, Accounts: strings.Join(names, ";")}); err == nil {
				defer a.Close()
				azurite = strings.ReplaceAll(a.ConnectionString, config.EmulatorAccount, "test0")
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// A world is an Azure with a clock that runs only while somebody sleeps.
type world struct {
	*azuretest.Azure
	c       *azure.Client
	storage *storage.Account
	mu      sync.Mutex
	now     time.Time
	said    []string
}

// newWorld returns an Azure into which nothing is deployed.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Azure: azuretest.Start(t), now: time.Now().Truncate(time.Second)}
	w.Now = w.time
	endpoint, err := outbound.ParseService(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.c = azure.New(azure.Options{Endpoint: endpoint, Retry: policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: time.Millisecond},
		Say: func(text string) { w.said = append(w.said, text) }})
	w.c.Now = w.time
	w.c.Sleep = func(ctx context.Context, d time.Duration) error {
		w.pass(d)
		return ctx.Err()
	}
	connection := strings.ReplaceAll(azurite, "test0", fmt.Sprintf("test%d", account.Add(1)))
	w.Azure.Settings = map[string]string{"AzureWebJobsStorage": connection}
	if w.storage, err = storage.Open(&config.Storage{ConnectionString: config.Secret(connection)}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.storage.Documents(packageContainer).Create(t.Context(), "made-by-the-template", nil); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) find(t *testing.T) *Deployment {
	t.Helper()
	d, err := Find(t.Context(), w.c, Target{Subscription: azuretest.Subscription})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// deployed returns an Azure in which podwatch v1 has run for a day, and everything is
// as it should be.
func deployed(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.Teams = true
	w.Deploy(t)
	w.published(t, "v1")
	w.pass(24 * time.Hour)
	feed := state.NewFeed(w.storage.Documents(state.StateContainer), time.Hour, w.time)
	feed.Note(t.Context(), state.Sample{Due: true, Sources: []string{azuretest.Cluster, "/subscriptions/" + azuretest.Subscription}})
	w.Do(func() { w.Beat = w.now.Add(-2 * time.Minute) })
	return w
}

// published makes what Publish of a package leaves, without the package itself.
func (w *world) published(t *testing.T, version string) {
	t.Helper()
	text, err := json.Marshal([]published{{Version: version, Time: w.time(), ID: w.Runs(version)}})
	if err == nil {
		_, err = w.storage.Documents(packageContainer).Create(t.Context(), historyBlob, text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// doctor examines it; send may be nil.
func (w *world) doctor(t *testing.T, o Options, send func(ctx context.Context, c hub.Connection, body []byte) error) *Page {
	t.Helper()
	page, err := examine(t.Context(), w.c, Target{Subscription: azuretest.Subscription}, &visit{
		Options: o, send: send, latest: func(context.Context, hub.Connection) (time.Time, error) { return w.time().Add(-time.Minute), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// text is the page as people read it.
func (w *world) text(p *Page) string {
	var b bytes.Buffer
	p.Write(&b, w.time(), func(s string) string { return s })
	return b.String()
}

// packageFile writes a package.
func packageFile(t *testing.T, version string, without ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"handler", "#!", 0o755}, {"host.json", `{"customHandler":{"description":{"defaultExecutablePath":"handler"}}}`, 0o644}, {VersionFile, version + "\n", 0o644},
	} {
		header := &zip.FileHeader{Name: f.name}
		header.SetMode(f.mode)
		for _, name := range without {
			if name == f.name {
				header.SetMode(0o644)
				header.Name = "other"
			}
		}
		entry, err := z.CreateHeader(header)
		if err == nil {
			_, err = entry.Write([]byte(f.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "dist.zip")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func testPackage(t *testing.T, version string) *Package {
	t.Helper()
	p, err := OpenPackage(packageFile(t, version))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
