package deployment

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/cmd/podwatch/internal/azure"
)

const (
	packageContainer = "deployments"
	historyBlob      = "podwatch-published.json"
	historyLength    = 20
)

// packages are the packages that were published, podwatch-VERSION.zip, and their
// history, in the app's storage account. The Premium plan runs from them; the Flex
// plan has a copy of its own and they are kept to go back to.
type packages struct{ container *container.Client }

// A published package, in the order of publication.
type published struct {
	Version string
	Time    time.Time
	ID      string `json:",omitempty"` // of the SCM site's deployment
}

func (d *Deployment) packages(ctx context.Context) (*packages, error) {
	account, err := d.Account(ctx)
	if err != nil {
		return nil, err
	}
	return &packages{account.Container(packageContainer)}, nil
}

// patiently replaces the limits of the account's client, which are for small documents
// that alerts wait for.
func patiently(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{})
}

func blobName(version string) string { return "podwatch-" + version + ".zip" }

// keep stores a package under its version and returns its address. It waits for a role
// that is new.
func (d *Deployment) keep(ctx context.Context, s *packages, p *Package) (address string, err error) {
	b := s.container.NewBlockBlobClient(blobName(p.Version))
	err = d.c.Until(ctx, azure.Wait{Where: azure.Uploading, Every: 15 * time.Second, Limit: loadWithin}, func(ctx context.Context) (string, error) {
		_, err := b.UploadBuffer(patiently(ctx), p.data, &blockblob.UploadBufferOptions{})
		return "", azure.Wrap(err)
	})
	if err != nil {
		return "", fmt.Errorf("store the package: %w", err)
	}
	address, _, _ = strings.Cut(b.URL(), "?")
	return address, nil
}

func (s *packages) fetch(ctx context.Context, name string) ([]byte, error) {
	answer, err := s.container.NewBlobClient(name).DownloadStream(patiently(ctx), nil)
	if err != nil {
		return nil, azure.Wrap(err)
	}
	defer answer.Body.Close()
	return io.ReadAll(io.LimitReader(answer.Body, maxPackage))
}

// history returns what was published, the latest last.
func (s *packages) history(ctx context.Context) ([]published, error) {
	text, err := s.fetch(ctx, historyBlob)
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ContainerNotFound) {
		return nil, nil
	}
	var list []published
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of packages: %w", err)
	}
	return list, nil
}

// add appends to the history. Two operators who publish at a time are refused by the
// SCM site, so the last writer may win.
func (s *packages) add(ctx context.Context, p published) error {
	list, err := s.history(ctx)
	if err != nil {
		return err
	}
	list = append(list, p)
	text, err := json.Marshal(list[max(0, len(list)-historyLength):])
	if err != nil {
		return err
	}
	_, err = s.container.NewBlockBlobClient(historyBlob).UploadStream(patiently(ctx), bytes.NewReader(text), &blockblob.UploadStreamOptions{
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: new("application/json")},
	})
	return azure.Wrap(err)
}

// Previous returns the package that was published before the present one.
func (d *Deployment) Previous(ctx context.Context) (*Package, error) {
	s, err := d.packages(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.history(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 2; i >= 0; i-- {
		if list[i].Version == list[len(list)-1].Version {
			continue
		}
		data, err := s.fetch(ctx, blobName(list[i].Version))
		if err != nil {
			return nil, fmt.Errorf("fetch the package before, %s: %w", list[i].Version, err)
		}
		return readPackage(data)
	}
	return nil, errors.New("no package before the present one is kept: publish it from its file")
}

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
