// Package packagetest runs what `make package` makes, as Azure unpacks it, in the
// stand-in for the Functions host. It contains only tests.
package packagetest

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/deployment"
	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/emulator"
	"podwatch/handler/internal/invocation"
)

const root = "../../../../.."

// makePackage runs `make package` for this machine, beside whatever the
// developer has staged, and returns the zip's path.
func makePackage(t *testing.T, folder string) string {
	t.Helper()
	dist := filepath.Join(folder, "dist")
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "package",
		"DIST="+dist, "HANDLER_GOOS="+runtime.GOOS, "HANDLER_GOARCH="+runtime.GOARCH)
	cmd.Env = withoutMake(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make package: %v\n%s", err, out)
	}
	return dist + ".zip"
}

// withoutMake leaves out what a make that runs this test tells its children.
func withoutMake(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}, name)
	})
}

// unpack writes the files of a zip below a new folder with the modes that the
// zip has for them, as the host does, and nothing else.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	folder := t.TempDir()
	for _, f := range entries(t, archive) {
		name := filepath.Join(folder, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content(t, f), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, f.Mode()); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	return folder
}

func entries(t *testing.T, archive []byte) []*zip.File {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if !fs.ValidPath(f.Name) || !f.Mode().IsRegular() {
			t.Fatalf("the package has an entry %q with mode %s", f.Name, f.Mode())
		}
	}
	return z.File
}

func content(t *testing.T, f *zip.File) []byte {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPackageRunsAsItIsUnpacked(t *testing.T) {
	local, err := emulator.FindLocal(root)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(makePackage(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("again", func(t *testing.T) {
		// Elsewhere, later, and by somebody whose settings ask for C and for
		// the state of the repository.
		t.Setenv("CGO_ENABLED", "1")
		t.Setenv("GOFLAGS", "-buildvcs=auto")
		second, err := os.ReadFile(makePackage(t, filepath.Join(t.TempDir(), "another place")))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("packing twice makes two packages: %s", difference(t, first, second))
		}
	})

	t.Run("for Azure", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-n", "-C", root, "package")
		cmd.Env = slices.DeleteFunc(withoutMake(os.Environ()), func(entry string) bool { return strings.HasPrefix(entry, "HANDLER_") })
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "GOOS=linux GOARCH=amd64") {
			t.Errorf("make package builds for another machine than Azure's (%v):\n%s", err, out)
		}
	})

	t.Run("holds", func(t *testing.T) {
		want := map[string]fs.FileMode{"handler": 0o755, "host.json": 0o644, deployment.VersionFile: 0o644}
		functions := os.DirFS(filepath.Join(root, "function_app"))
		if err := fs.WalkDir(functions, ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && path.Base(name) != "local.settings.json" {
				want[name] = 0o644
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		got := map[string]fs.FileMode{}
		for _, f := range entries(t, first) {
			got[f.Name] = f.Mode()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files and modes (-want +got):\n%s", diff)
		}
	})

	t.Run("starts and alerts", func(t *testing.T) {
		app := unpack(t, first)
		checkExecutable(t, filepath.Join(app, "handler"))
		storage, err := emulator.Start(t.Context(), emulator.Options{Dir: local})
		if err != nil {
			t.Fatal(err)
		}
		defer storage.Close()
		box, base := startInbox(t, local)
		host, err := startApp(t, app, storage.ConnectionString, base)
		if err != nil {
			t.Fatalf("start the unpacked package: %v", err)
		}
		defer host.Close()

		sent := deployment.NewDeletion()
		if err := host.Deliver(t.Context(), "0", invocation.Message{Body: sent.Body(time.Now())}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inbox.Counts{Cards: 1, Rows: 1}, box.Counts()); diff != "" {
			t.Fatalf("one deletion became (-want +got):\n%s\nrefused: %+v", diff, box.Refused())
		}
		card := string(box.Cards()[0].Data)
		for _, want := range []string{sent.Cluster, "test-pod", "podwatch-doctor@example.com"} {
			if !strings.Contains(card, want) {
				t.Errorf("the card lacks %q:\n%s", want, card)
			}
		}
		type row struct{ RuleName, ClusterName, ClusterKind, Namespace, Pod, CallerName, CallerIp string }
		var got row
		if err := json.Unmarshal(box.Rows()[0].Data, &got); err != nil {
			t.Fatal(err)
		}
		want := row{"Azure Kubernetes Pods Deleted", sent.Cluster, "arc", "doctor", "test-pod", "podwatch-doctor@example.com", "192.0.2.1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
	})

	// What the test above would miss if unpacking made files executable.
	t.Run("not without the execute bit", func(t *testing.T) {
		app := unpack(t, withoutExecuteBits(t, first))
		host, err := startApp(t, app, "UseDevelopmentStorage=true", "http://127.0.0.1:9")
		if err == nil {
			host.Close()
			t.Fatal("a handler that is not executable was started")
		}
		if !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("start = %v, which does not tell that the handler is not executable", err)
		}
	})
}

// checkExecutable wants a file that a bare Linux can start.
func checkExecutable(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&0o111 == 0 {
		t.Fatalf("the package has its handler with mode %s: nobody may execute it, and the host could not start it", info.Mode())
	}
	build, err := buildinfo.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range build.Settings {
		if strings.HasPrefix(setting.Key, "vcs") {
			t.Errorf("the handler holds %s=%s: the same sources in another repository make another package", setting.Key, setting.Value)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the handler needs the libraries %v (%v), want a static executable", libraries, err)
	}
}

func startInbox(t *testing.T, local string) (box *inbox.Inbox, base string) {
	t.Helper()
	page, err := devhost.ListenLocal("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box = inbox.New(inbox.Options{Modules: filepath.Join(local, "node_modules")})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- devhost.Serve(ctx, page, box, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve the inbox: %v", err)
		}
	})
	return box, "http://" + page.Addr().String()
}

// startApp starts an app with the settings of `podwatch run`; what it says is
// logged when the test has failed.
func startApp(t *testing.T, app, storage, base string) (*devhost.Host, error) {
	said := &console{}
	t.Cleanup(func() {
		if text := said.String(); t.Failed() && text != "" {
			t.Logf("the handler said:\n%s", text)
		}
	})
	settings := map[string]string{
		"FUNCTIONS_WORKER_RUNTIME": "custom",
		"AzureWebJobsStorage":      storage,
		"EventHub":                 "Endpoint=sb://podwatch.local;SharedAccessKeyName=none;SharedAccessKey=none",
		"EVENT_HUB_NAME":           "podwatch-logs",
		"EVENT_HUB_CONSUMER_GROUP": "$Default",
	}
	maps.Copy(settings, inbox.Settings(base))
	return devhost.Start(t.Context(), devhost.Options{
		App: app, Settings: settings, Log: slog.New(slog.DiscardHandler), Console: said.line,
	})
}

// A console keeps the handler's lines.
type console struct {
	mu sync.Mutex
	b  strings.Builder
}

func (c *console) line(stream, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(&c.b, "%s: %s\n", stream, line)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// difference names the first entry in which two packages differ.
func difference(t *testing.T, a, b []byte) string {
	t.Helper()
	left, right := entries(t, a), entries(t, b)
	for i := range min(len(left), len(right)) {
		l, r := left[i], right[i]
		switch {
		case l.Name != r.Name:
			return fmt.Sprintf("%s stands where %s does", r.Name, l.Name)
		case !bytes.Equal(content(t, l), content(t, r)):
			return l.Name + " has other contents"
		case l.Mode() != r.Mode() || !l.Modified.Equal(r.Modified):
			return fmt.Sprintf("%s is %s of %s, then %s of %s", l.Name, l.Mode(), l.Modified, r.Mode(), r.Modified)
		}
	}
	return fmt.Sprintf("%d and %d files, %d and %d bytes", len(left), len(right), len(a), len(b))
}

// withoutExecuteBits is the same package with mode 0644 throughout.
func withoutExecuteBits(t *testing.T, archive []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range entries(t, archive) {
		header := &zip.FileHeader{Name: f.Name, Method: zip.Store}
		header.SetMode(0o644)
		entry, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write(content(t, f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
