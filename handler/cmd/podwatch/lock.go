package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// lockName is a file that watching the drop folder skips.
const lockName = ".podwatch.lock"

// lockFolder makes the folder and takes it for this process; flag chooses another one.
// The operating system releases the lock however the process ends. The lock file names
// the process for the message; what else is in it does not matter.
func lockFolder(dir, flag string) (release func(), err error) {
	unusable := func(err error) error {
		return fmt.Errorf("use the folder of %s: %w: give it to this user, or choose another folder with %s", flag, err, flag)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(err)
	}
	name := filepath.Join(dir, lockName)
	for range 3 {
		lock := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
		taken, err := lock.TryLock()
		switch {
		case errors.Is(err, errors.ErrUnsupported): // by the file system
			return func() {}, nil
		case err != nil:
			return nil, unusable(err)
		case !taken:
			text, _ := os.ReadFile(name) // on Windows no other process can read it
			return nil, fmt.Errorf("the folder %q is used by process %s, another podwatch run: end that, or choose another folder with %s",
				dir, cmp.Or(strings.TrimSpace(string(text)), "?"), flag)
		}
		if sameFile(lock, name) {
			_ = os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())), 0o600) // nor write it
			return func() { os.Remove(name); lock.Close() }, nil
		}
		lock.Close() // of a run that ended meanwhile and removed its file
	}
	return nil, fmt.Errorf("use the folder of %s: other podwatch runs begin and end in %q", flag, dir)
}

func sameFile(lock *flock.Flock, name string) bool {
	locked, err := lock.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(name)
	return err == nil && os.SameFile(locked, now)
}
