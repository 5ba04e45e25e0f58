package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLockFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "drop")
	release, err := lockFolder(dir, "--drop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFolder(dir, "--drop"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("used by process %d", os.Getpid())) || !strings.Contains(err.Error(), "--drop") {
		t.Errorf("a second lock: %v", err)
	}
	release()

	for name, text := range map[string]string{"of a process that has ended": fmt.Sprint(os.Getpid()), "that was cut": ""} { // the id is in use again
		writeFile(t, filepath.Join(dir, lockName), text)
		release, err := lockFolder(dir, "--drop")
		if err != nil {
			t.Errorf("a lock %s: %v", name, err)
			continue
		}
		release()
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
