package files

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// Walk calls file for a file, or for each regular file in a folder and the folders
// below it, in the order of their names; names that begin with a dot are hidden.
// What is not read is told to leftOut with the reason, a folder that cannot be
// listed too. The error is that of file, or about name itself.
func Walk(name string, file func(path string) error, leftOut func(path, why string)) error {
	return filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == name:
			return err
		case err != nil:
			leftOut(path, err.Error())
			return nil
		}
		if why := Ignored(entry); why != "" && path != name { // what is named is read
			leftOut(path, why)
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		return file(path)
	})
}

// Ignored returns why an entry of a folder is not read, "" for one that is.
func Ignored(entry fs.DirEntry) string {
	switch {
	case strings.HasPrefix(entry.Name(), "."):
		return "hidden"
	case entry.IsDir() || entry.Type().IsRegular():
		return ""
	case entry.Type()&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "neither a file nor a folder"
}
