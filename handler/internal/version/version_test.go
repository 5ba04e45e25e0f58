package version_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

const root = "../../.."

// TestExecutablesPrintTheirVersion builds both with the flags of the Makefile.
func TestExecutablesPrintTheirVersion(t *testing.T) {
	t.Parallel()
	flags := "-X podwatch/handler/internal/version.version=v1.2.3-4-gabc -X podwatch/handler/internal/version.commit=abcdef"
	for name, pkg := range map[string]string{"handler": "./handler", "podwatch": "./handler/cmd/podwatch"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), name)
			build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", flags, "-o", file, pkg)
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got, err := exec.CommandContext(t.Context(), file, "--version").CombinedOutput()
			want := fmt.Sprintf("%s v1.2.3-4-gabc (commit abcdef, %s, %s/%s)\n", name, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if err != nil || string(got) != want {
				t.Errorf("%s --version printed %q (%v), want %q", name, got, err, want)
			}
		})
	}
}

// A tree is a folder with the script and the sources that it hashes.
type tree struct {
	t   *testing.T
	dir string
	env []string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	f := &tree{t: t, dir: t.TempDir()}
	// Neither the settings of this user nor a repository that runs this test.
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "GIT_") {
			f.env = append(f.env, entry)
		}
	}
	f.env = append(f.env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	script, err := os.ReadFile(filepath.Join(root, "infra", "pack", "version.sh"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("infra/pack/version.sh", string(script))
	f.write("handler/main.go", "package main\n")
	f.write("go.mod", "module podwatch\n")
	f.write("go.sum", "")
	return f
}

func (f *tree) write(name, text string) {
	f.t.Helper()
	name = filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f *tree) run(name string, args ...string) string {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), name, args...)
	cmd.Dir, cmd.Env = f.dir, f.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *tree) commit() {
	f.t.Helper()
	f.run("git", "init", "--quiet")
	f.run("git", "add", ".")
	f.run("git", "commit", "--quiet", "--message", "first")
	f.run("git", "tag", "v1.0.0")
}

func (f *tree) version() string { return f.run("bash", "infra/pack/version.sh") }

func TestVersionOfSources(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *tree)
		want   string
	}{
		"a tag":          {(*tree).commit, `v1\.0\.0 [0-9a-f]{40}`},
		"behind a tag":   {func(f *tree) { f.commit(); f.run("git", "commit", "--quiet", "--allow-empty", "-m", "x") }, `v1\.0\.0-1-g[0-9a-f]{7,} [0-9a-f]{40}`},
		"without a tag":  {func(f *tree) { f.commit(); f.run("git", "tag", "-d", "v1.0.0") }, `[0-9a-f]{7,} [0-9a-f]{40}`},
		"a changed file": {func(f *tree) { f.commit(); f.write("handler/main.go", "package x\n") }, `v1\.0\.0-dirty\.[0-9a-f]{12} [0-9a-f]{40}`},
		"a new file":     {func(f *tree) { f.commit(); f.write("handler/new.go", "package main\n") }, `v1\.0\.0-dirty\.[0-9a-f]{12} [0-9a-f]{40}`},
		"a tar ball":     {func(*tree) {}, `source\.[0-9a-f]{12}`},
		"a tar ball below another repository": {func(f *tree) {
			f.commit()
			outer := f.dir
			f.dir = filepath.Join(outer, "unpacked")
			if err := os.CopyFS(f.dir, os.DirFS(filepath.Join(outer, "infra"))); err != nil {
				f.t.Fatal(err)
			}
			f.write("infra/pack/version.sh", f.run("cat", "pack/version.sh"))
			f.write("handler/main.go", "package main\n")
			f.write("go.mod", "")
			f.write("go.sum", "")
		}, `source\.[0-9a-f]{12}`},
		"git that refuses": {func(f *tree) {
			f.commit()
			f.write("bin/git", "#!/bin/sh\necho 'fatal: detected dubious ownership in repository' >&2\nexit 128\n")
			f.env = append(f.env, "PATH="+filepath.Join(f.dir, "bin")+":"+os.Getenv("PATH"))
		}, `source\.[0-9a-f]{12}`},
		"a tag with odd characters": {func(f *tree) { f.commit(); f.run("git", "tag", "-d", "v1.0.0"); f.run("git", "tag", "v1'$(id)") }, `v1___id_ [0-9a-f]{40}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTree(t)
			c.change(f)
			if got := f.version(); !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
				t.Errorf("version %q, want %s", got, c.want)
			}
		})
	}
}

func TestHashFollowsTheSourcesAlone(t *testing.T) {
	t.Parallel()
	f := newTree(t)
	before := f.version()
	f.write("handler/main_test.go", "package main\n")
	f.write("README.md", "")
	if got := f.version(); got != before {
		t.Errorf("a test changed the version from %s to %s", before, got)
	}
	f.write("handler/main.go", "package main // changed\n")
	if got := f.version(); got == before {
		t.Errorf("a changed source left the version at %s", got)
	}
}

// TestCheckoutOfAnotherUser is the refusal of the real git.
func TestCheckoutOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder to another user")
	}
	f := newTree(t)
	f.commit()
	f.run("chown", "-R", "12345", ".")
	if got := f.version(); !strings.HasPrefix(got, "source.") {
		t.Errorf("version %q, want a hash of the sources", got)
	}
}
