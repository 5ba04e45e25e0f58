// Command pack zips a staged app for Azure so that equal folders make equal
// files, byte for byte, on any machine with the same version of Go.
//
//	go run ./infra/pack -o dist.zip dist
//
// Entries are sorted, their time is fixed, and their mode is one of two: files
// that anybody may execute get 0755, all others 0644. The handler's execute bit
// is the point: the Functions host starts the file as it is. Local settings are
// left out, because they hold connection strings of a developer's machine.
package main

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// leftOut are files that a package never carries.
var leftOut = map[string]bool{"local.settings.json": true}

// modified is the time of every entry, the first that the format can write.
var modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	out := flag.String("o", "dist.zip", "file to write")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: pack -o FILE FOLDER")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// run writes the package beside its name and moves it there when it is whole.
func run(out, folder string) error {
	temp, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails once it has been moved
	err = errors.Join(pack(temp, os.DirFS(folder)), temp.Chmod(0o644), temp.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	return os.Rename(temp.Name(), out)
}

// pack writes the regular files of folder to w. A package without host.json at
// its root, or without anything to execute, would be accepted by Azure and
// never run, so it is refused here.
func pack(w io.Writer, folder fs.FS) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	hasHost, executables := false, 0
	// WalkDir goes in lexical order.
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() || leftOut[path.Base(name)]:
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", name)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
			executables++
		}
		hasHost = hasHost || name == "host.json"
		header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: modified}
		header.SetMode(mode)
		return add(z, header, folder, name)
	})
	switch {
	case err != nil:
		return err
	case !hasHost:
		return errors.New("no host.json: not a staged app")
	case executables == 0:
		return errors.New("nothing is executable: the host could not start the handler")
	}
	return z.Close()
}

func add(z *zip.Writer, header *zip.FileHeader, folder fs.FS, name string) error {
	in, err := folder.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
