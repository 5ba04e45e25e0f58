// Package azurite starts Azurite, Microsoft's storage emulator, for tests.
//
// [Start] returns when blob, queue and table service answer on ports that the
// system chose, with an account of its own and nothing on disk. Azurite ends
// with the test, and also when the test's process dies without cleaning up, so
// runs can neither meet nor leave anything behind. It is taken from
// infra/local/node_modules; where that is missing the test fails, it is never
// skipped.
package azurite

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Account is the name of the storage account.
const Account = "podwatch"

// startTimeout is generous: a cold Node.js on a busy machine takes seconds.
const startTimeout = 90 * time.Second

// launcher runs Azurite in Node.js and ends it when standard input closes, which
// the system does however this process ends.
const launcher = `process.stdin.on("end", () => process.exit(0)); process.stdin.resume(); require(process.argv[1]);`

var listening = regexp.MustCompile(`Azurite (Blob|Queue|Table) service is successfully listening at (http://127\.0\.0\.1:\d+)`)

// Start runs Azurite until the test and its subtests end, and returns the
// connection string of its account. Each call starts another one, which takes a
// second or two: share it between subtests.
func Start(t testing.TB) string {
	t.Helper()
	script := find(t)
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("start azurite: %v: install Node.js and run `make deps`", err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	secret := base64.StdEncoding.EncodeToString(key)

	cmd := exec.Command(node, "-e", launcher, script,
		"--inMemoryPersistence", "--extentMemoryLimit", "256",
		"--skipApiVersionCheck", "--disableTelemetry", "--silent",
		"--blobHost", "127.0.0.1", "--queueHost", "127.0.0.1", "--tableHost", "127.0.0.1",
		"--blobPort", "0", "--queuePort", "0", "--tablePort", "0")
	cmd.Dir = t.TempDir() // it looks for its data in the working directory
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+Account+":"+secret)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("start azurite: %v", err)
	}
	output, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("start azurite: %v", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatalf("start azurite: %v", err)
	}
	w.Close()

	addresses := make(chan map[string]string, 1)
	said := make(chan string, 1)
	go func() { said <- listen(output, addresses) }()
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		<-said
		output.Close()
	})

	select {
	case at := <-addresses:
		return "DefaultEndpointsProtocol=http;AccountName=" + Account + ";AccountKey=" + secret +
			";BlobEndpoint=" + at["Blob"] + "/" + Account +
			";QueueEndpoint=" + at["Queue"] + "/" + Account +
			";TableEndpoint=" + at["Table"] + "/" + Account + ";"
	case text := <-said:
		said <- text // for the clean-up
		t.Fatalf("start azurite: it ended at once: %s", text)
	case <-time.After(startTimeout):
		t.Fatalf("start azurite: not ready after %s", startTimeout)
	}
	return ""
}

// listen reads Azurite's output to its end and reports the addresses once all
// three services have said theirs. It returns what was said before that.
func listen(output io.Reader, addresses chan<- map[string]string) string {
	at := map[string]string{}
	var said strings.Builder
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if len(at) == 3 {
			continue
		}
		fmt.Fprintln(&said, lines.Text())
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			at[m[1]] = m[2]
			if len(at) == 3 {
				addresses <- at
			}
		}
	}
	io.Copy(io.Discard, output) // after a line too long for the scanner
	return said.String()
}

// find returns the path of Azurite's script below the root of the repository.
func find(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find azurite: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("find azurite: no go.mod in this folder or above it")
		}
		dir = filepath.Dir(dir)
	}
	script := filepath.Join(dir, "infra", "local", "node_modules", "azurite", "dist", "src", "azurite.js")
	if _, err := os.Stat(script); err != nil {
		t.Fatalf("find azurite: %s is missing: run `make deps`", script)
	}
	return script
}
