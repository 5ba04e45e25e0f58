package main

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// staged is an app as make stages it, with times and modes of some machine.
func staged(at time.Time, handlerMode fs.FileMode) fstest.MapFS {
	return fstest.MapFS{
		"host.json":               {Data: []byte(`{"version":"2.0"}`), Mode: 0o600, ModTime: at},
		"handler":                 {Data: bytes.Repeat([]byte("\x7fELF"), 5000), Mode: handlerMode, ModTime: at},
		"Detect/function.json":    {Data: []byte(`{}`), Mode: 0o664, ModTime: at},
		"rules/a-b/rule.toml":     {Data: []byte("x"), Mode: 0o444, ModTime: at},
		"local.settings.json":     {Data: []byte("AccountKey=secret"), Mode: 0o644, ModTime: at},
		"Heartbeat/function.json": {Data: []byte(`{}`), Mode: 0o644, ModTime: at},
	}
}

func packed(t *testing.T, folder fs.FS) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := pack(&out, folder); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPackIsReproducible(t *testing.T) {
	first := packed(t, staged(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), 0o755))
	second := packed(t, staged(time.Date(1999, 1, 2, 3, 4, 5, 6, time.FixedZone("far", 12*3600)), 0o711))
	if !bytes.Equal(first, second) {
		t.Error("the same contents with other times and modes make another package")
	}
}

func TestPackKeepsTheExecuteBitAndTheContents(t *testing.T) {
	folder := staged(time.Now(), 0o755)
	data := packed(t, folder)
	if bytes.Contains(data, []byte("local.settings")) {
		t.Error("local settings are in the package")
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	for _, f := range z.File {
		got[f.Name] = f.Mode()
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(content, folder[f.Name].Data) {
			t.Errorf("%s comes out as %.20q, %v", f.Name, content, err)
		}
	}
	want := map[string]fs.FileMode{
		"host.json": 0o644, "handler": 0o755, "Detect/function.json": 0o644, "Heartbeat/function.json": 0o644, "rules/a-b/rule.toml": 0o644,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestPackRefusesWhatWouldNotRun(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(fstest.MapFS)
		want  string
	}{
		"no host.json":               {func(m fstest.MapFS) { delete(m, "host.json") }, "host.json"},
		"host.json in a folder only": {func(m fstest.MapFS) { m["app/host.json"] = m["host.json"]; delete(m, "host.json") }, "host.json"},
		"no execute bit":             {func(m fstest.MapFS) { m["handler"].Mode = 0o644 }, "executable"},
		"a symbolic link":            {func(m fstest.MapFS) { m["link"] = &fstest.MapFile{Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink} }, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			m := staged(time.Now(), 0o755)
			c.spoil(m)
			if err := pack(io.Discard, m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("pack: %v, want %q", err, c.want)
			}
		})
	}
}

func TestRunLeavesNoHalfPackage(t *testing.T) {
	dir := t.TempDir()
	app := filepath.Join(dir, "dist")
	if err := os.Mkdir(app, 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "dist.zip")
	if err := run(out, app); err == nil {
		t.Fatal("an empty folder was packed")
	}
	if err := os.WriteFile(filepath.Join(app, "host.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(app, "handler"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(out, app); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
