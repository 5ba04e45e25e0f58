package packagetest

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeRelease runs `make release` with the tool for this machine alone, and returns
// its files.
func makeRelease(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	release := filepath.Join(folder, "release")
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "release", "RELEASE="+release,
		"DIST="+filepath.Join(folder, "dist"), "PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
	cmd.Env = withoutMake(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	entries, err := os.ReadDir(release)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(release, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestRelease(t *testing.T) {
	first := t.TempDir()
	files := makeRelease(t, first)
	tool := "podwatch-" + runtime.GOOS + "-" + runtime.GOARCH

	t.Run("again", func(t *testing.T) {
		t.Setenv("GOFLAGS", "-buildvcs=auto")
		again := makeRelease(t, filepath.Join(t.TempDir(), "another place"))
		if diff := cmp.Diff(string(files["SHA256SUMS"]), string(again["SHA256SUMS"])); diff != "" {
			t.Errorf("the same sources make other files (-first +second):\n%s", diff)
		}
	})

	t.Run("checksums", func(t *testing.T) {
		var want []string
		for _, name := range []string{"podwatch-app.cdx.json", "podwatch-app.zip", tool, tool + ".cdx.json"} {
			if len(files[name]) == 0 {
				t.Errorf("%s is missing or empty", name)
			}
			want = append(want, fmt.Sprintf("%x  %s\n", sha256.Sum256(files[name]), name))
		}
		got := slices.Collect(strings.Lines(string(files["SHA256SUMS"])))
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || len(files) != 5 {
			t.Errorf("SHA256SUMS of %d files (-want +got):\n%s", len(files)-1, diff)
		}
	})

	t.Run("components", func(t *testing.T) {
		info, err := buildinfo.ReadFile(filepath.Join(first, "release", tool))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"pkg:golang/std@" + info.GoVersion}
		for _, module := range info.Deps {
			want = append(want, "pkg:golang/"+module.Path+"@"+module.Version)
		}
		var sbom struct {
			BOMFormat string
			Metadata  struct {
				Component struct{ Name, Version string }
			}
			Components []struct{ PURL string }
		}
		if err := json.Unmarshal(files[tool+".cdx.json"], &sbom); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range sbom.Components {
			got = append(got, c.PURL)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || sbom.BOMFormat != "CycloneDX" || sbom.Metadata.Component.Name != "podwatch" {
			t.Errorf("%s of %+v (-executable +SBOM):\n%s", sbom.BOMFormat, sbom.Metadata.Component, diff)
		}
	})

	t.Run("platforms", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-n", "-C", root, "release")
		cmd.Env = withoutMake(os.Environ())
		out, err := cmd.Output()
		if want := "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64"; err != nil || !strings.Contains(string(out), want) {
			t.Errorf("make release builds for others than %s: %v\n%s", want, err, out)
		}
	})
}
