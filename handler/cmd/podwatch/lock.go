package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// lockName is a file that watching the drop folder skips.
const lockName = ".podwatch.lock"

// lockFolder makes the folder and takes it for this process; flag chooses another one.
// A lock of a process that has ended is taken over.
func lockFolder(dir, flag string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", flag, err)
	}
	name := filepath.Join(dir, lockName)
	for range 2 {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, os.Getpid())
			return func() { os.Remove(name) }, errors.Join(err, f.Close())
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock the folder of %s: %w", flag, err)
		}
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock the folder of %s: %w", flag, err)
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && alive(pid) {
			return nil, fmt.Errorf("the folder %q is used by process %d, another podwatch run: end that, or choose another folder with %s", dir, pid, flag)
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lock the folder of %s: %w", flag, err)
		}
	}
	return nil, fmt.Errorf("lock the folder of %s: another podwatch run has just taken %q", flag, dir)
}

// alive reports whether there is a process with that id.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	if runtime.GOOS == "windows" { // there FindProcess fails when there is none
		return true
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, syscall.EPERM)
}
