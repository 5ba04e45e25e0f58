package deployment

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// VersionFile is the entry of a package that holds its version: what the handler's
// --version prints first. make package writes it.
const VersionFile = "version.txt"

// maxPackage bounds a package in bytes.
const maxPackage = 512 << 20

// A Package is the app as make package packs it.
type Package struct {
	Version string
	data    []byte
}

// OpenPackage reads a package and refuses one that Azure would accept and never run.
func OpenPackage(name string) (*Package, error) {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist: run make package", name)
	}
	if err == nil && info.Size() > maxPackage {
		err = errors.New("it is too large")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the package %s: %w", name, err)
	}
	p, err := readPackage(data)
	if err != nil {
		return nil, fmt.Errorf("the package %s: %w: build it again with make package", name, err)
	}
	return p, nil
}

func readPackage(data []byte) (*Package, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, errors.New("it is no zip file")
	}
	host, err := entry(z, "host.json")
	if err != nil {
		return nil, err
	}
	var h struct {
		CustomHandler struct {
			Description struct{ DefaultExecutablePath string }
		}
	}
	if err := json.Unmarshal(host, &h); err != nil {
		return nil, errors.New("its host.json is not JSON")
	}
	if !executable(z, h.CustomHandler.Description.DefaultExecutablePath) {
		return nil, errors.New("the host could not start its handler, which is missing or not executable")
	}
	version, err := entry(z, VersionFile)
	if err != nil {
		return nil, err
	}
	return &Package{Version: strings.TrimSpace(string(version)), data: data}, nil
}

func entry(z *zip.Reader, name string) ([]byte, error) {
	f, err := z.Open(name)
	if err != nil {
		return nil, fmt.Errorf("it has no %s", name)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

func executable(z *zip.Reader, name string) bool {
	return name != "" && slices.ContainsFunc(z.File, func(f *zip.File) bool { return f.Name == name && f.Mode()&0o100 != 0 })
}
