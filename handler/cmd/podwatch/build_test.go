package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// builtIn holds the executables of all tests of this package, each built once.
var builtIn string

func TestMain(m *testing.M) {
	var err error
	if builtIn, err = os.MkdirTemp("", "podwatch-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(builtIn)
	os.Exit(status)
}

var (
	tool       = buildOnce("podwatch", ".")
	handler    = buildOnce("handler", "podwatch/handler")
	runHandler = buildOnce("runhandler", "./testdata/runhandler")
)

// buildOnce returns what builds an executable as make does, at its first call.
func buildOnce(name, pkg string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		file := filepath.Join(builtIn, name)
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", file, pkg).CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
		return file, nil
	})
}

// built is the path of an executable.
func built(t testing.TB, build func() (string, error)) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// buildTool returns the path of the tool.
func buildTool(t *testing.T) string {
	t.Helper()
	return built(t, tool)
}
