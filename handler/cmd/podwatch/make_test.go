package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A makeTree is a checkout as far as make needs one to install, stage and run, with
// programs that stand in for Go and npm: go builds nothing but the tool, npm installs as
// INSTALL says.
type makeTree struct {
	t        *testing.T
	dir, env string
}

func newMakeTree(t *testing.T) *makeTree {
	t.Helper()
	m := &makeTree{t: t, dir: t.TempDir()}
	for _, name := range []string{"Makefile", "go.mod", "go.sum", "host.json", "infra/pack/tools.sh", "infra/pack/version.sh", "infra/local/package.json", "infra/local/package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(repository, name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(m.path(name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(m.path(name), text, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	programs, err := filepath.Abs(filepath.Join("testdata", "make"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"handler", "function_app", "dist"} {
		if err := os.Mkdir(m.path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.env = "PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH")
	return m
}

func (m *makeTree) path(name string) string { return filepath.Join(m.dir, filepath.FromSlash(name)) }

// make runs make and returns its output.
func (m *makeTree) make(install string, args ...string) (string, error) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "make", append([]string{"--no-print-directory"}, args...)...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), m.env, "INSTALL="+install, "TOOL="+buildTool(m.t), "MAKEFLAGS=", "MAKELEVEL=", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// npm writes its own record of an installation before the packages are there.
func TestAnInstallationThatWasCutShortIsDoneAgain(t *testing.T) {
	t.Parallel()
	m := newMakeTree(t)
	for _, step := range []struct {
		install string
		ok      bool
		npm     bool // runs
	}{{"part", false, true}, {"all", true, true}, {"all", true, false}} {
		out, err := m.make(step.install, "deps")
		if (err == nil) != step.ok || strings.Contains(out, "npm ci runs") != step.npm {
			t.Errorf("%+v: %v\n%s", step, err, out)
		}
	}
	if err := os.RemoveAll(m.path("infra/local/node_modules/azurite")); err != nil {
		t.Fatal(err)
	}
	if out, err := m.make("all", "deps"); err != nil || !strings.Contains(out, "npm ci runs") {
		t.Errorf("without Azurite: %v\n%s", err, out)
	}
}

func TestMakeRunTouchesNothingWhenItCannotRun(t *testing.T) {
	t.Parallel()
	m := newMakeTree(t)
	writeFile(t, m.path("dist/handler"), "of the run that is going on")
	port := taken(t)
	out, err := m.make("all", "run", "RUN_FLAGS=--port 0 --page-port "+port)
	if err == nil || !strings.Contains(out, "port "+port+" is taken") || strings.Contains(out, "npm ci runs") {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(m.path("dist/handler"))
	if err != nil || string(text) != "of the run that is going on" {
		t.Errorf("the staged app was touched: %q, %v", text, err)
	}
}

// A failure leaves the last staged app, and nothing beside it.
func TestStagingIsAllOrNothing(t *testing.T) {
	t.Parallel()
	m := newMakeTree(t)
	writeFile(t, m.path("dist/handler"), "staged before")
	if out, err := m.make("all", "stage", "HANDLER_GOOS=broken"); err == nil {
		t.Errorf("staged what does not build:\n%s", out)
	}
	if text, err := os.ReadFile(m.path("dist/handler")); err != nil || string(text) != "staged before" {
		t.Errorf("the staged app was touched: %q, %v", text, err)
	}
	if out, err := m.make("all", "stage"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(m.path("dist/host.json")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(m.path("dist.*")); err != nil || len(left) != 0 {
		t.Errorf("left beside it: %v, %v", left, err)
	}
}
