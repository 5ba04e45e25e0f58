// Package faulttest holds podwatch's promises against the executable that runs
// in Azure: nothing is lost, nothing is said twice, no one is let in.
//
// It builds the handler, stages it with the repository's own host.json and
// functions, and drives one or several of it through package devhost with Azurite
// for storage and package inbox for Teams and Log Analytics. Every request that
// crosses a border of a process passes through the test, which may fail it, cut it,
// or kill the process around it; see [world], [node] and [point].
//
// FAULT_RUNS, FAULT_SEED and HOSTILE_SECONDS make the runs longer or repeat one.
// The package contains only tests.
package faulttest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"podwatch/handler/internal/emulator"
)

// shared is what all tests of a run have in common.
var shared = &common{}

// common builds and starts each thing once, when it is first asked for.
type common struct {
	app, calm string // staged: the handler in a hurry, and the one that Azure runs
	build     sync.Once
	err       error

	mu      sync.Mutex
	running []*emulator.Azurite
	free    []string // connection strings of accounts that nobody has used
	issued  int
}

func TestMain(m *testing.M) {
	go watchForStalls()
	code := m.Run()
	shared.close()
	os.Exit(code)
}

// staged returns the folder with host.json, the functions and the executable. A
// handler that is calm has the times of Azure; the other one is in a hurry, a
// hundred times, where instances wait for each other (see the tag hurried in
// package state).
func staged(t testing.TB, calm bool) string {
	t.Helper()
	shared.build.Do(func() {
		if shared.app, shared.err = stage("hurried"); shared.err == nil {
			shared.calm, shared.err = stage("")
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if calm {
		return shared.calm
	}
	return shared.app
}

func stage(tags string) (app string, err error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	if app, err = os.MkdirTemp("", "podwatch-fault-"); err != nil {
		return "", err
	}
	if err := os.CopyFS(app, os.DirFS(filepath.Join(root, "function_app"))); err != nil {
		return app, err
	}
	host, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		return app, err
	}
	if err := os.WriteFile(filepath.Join(app, "host.json"), host, 0o600); err != nil {
		return app, err
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-o", filepath.Join(app, "handler"), "./handler")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return app, fmt.Errorf("build the handler: %w\n%s", err, said)
	}
	return app, nil
}

func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod in this folder or above it")
		}
		dir = filepath.Dir(dir)
	}
}

// accountsEach is how many accounts an Azurite has. Each world gets one of its own,
// since names of queues and containers are fixed.
const accountsEach = 1000

// storageAccount returns the connection string of an account that nobody has used.
func storageAccount(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if len(shared.free) == 0 {
		if err := shared.startAzurite(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	account := shared.free[0]
	shared.free = shared.free[1:]
	return account
}

var endpoint = regexp.MustCompile(`(Blob|Queue|Table)Endpoint=(http://127\.0\.0\.1:\d+)/`)

func (c *common) startAzurite(ctx context.Context) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	local, err := emulator.FindLocal(dir)
	if err != nil {
		return err
	}
	var accounts strings.Builder
	var names, keys []string
	for range accountsEach {
		c.issued++
		name := fmt.Sprintf("world%d", c.issued)
		key := base64.StdEncoding.EncodeToString([]byte("key of " + name))
		names, keys = append(names, name), append(keys, key)
		fmt.Fprintf(&accounts, "%s:%s;", name, key)
	}
	a, err := emulator.Start(ctx, emulator.Options{Dir: local, Accounts: accounts.String()})
	if err != nil {
		return err
	}
	c.running = append(c.running, a)
	at := map[string]string{}
	for _, m := range endpoint.FindAllStringSubmatch(a.ConnectionString, -1) {
		at[m[1]] = m[2]
	}
	for i, name := range names {
		c.free = append(c.free, connection(name, keys[i], at["Blob"], at["Queue"]))
	}
	return nil
}

func connection(account, key, blob, queue string) string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%[1]s;AccountKey=%[2]s;BlobEndpoint=%[3]s/%[1]s;QueueEndpoint=%[4]s/%[1]s;", account, key, blob, queue)
}

// parts takes a connection string apart.
func parts(connection string) map[string]string {
	found := map[string]string{}
	for pair := range strings.SplitSeq(connection, ";") {
		name, value, _ := strings.Cut(pair, "=")
		found[name] = value
	}
	return found
}

func (c *common) close() {
	for _, a := range c.running {
		a.Close()
	}
	for _, folder := range []string{c.app, c.calm} {
		if folder != "" {
			_ = os.RemoveAll(folder) // a temporary folder
		}
	}
}
