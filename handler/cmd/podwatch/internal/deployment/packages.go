package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/internal/config"
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
	s, err := d.storageSettings(ctx)
	if err != nil {
		return nil, err
	}
	var c *container.Client
	switch {
	case s.ConnectionString != "":
		c, err = container.NewClientFromConnectionString(config.ExpandConnection(string(s.ConnectionString)), packageContainer, nil)
	case s.BlobServiceURI != "":
		c, err = container.NewClient(strings.TrimRight(s.BlobServiceURI, "/")+"/"+packageContainer, d.c.Credential, nil)
	case s.AccountName != "":
		c, err = container.NewClient("https://"+s.AccountName+".blob.core.windows.net/"+packageContainer, d.c.Credential, nil)
	default:
		err = errors.New("its settings name no storage account")
	}
	if err != nil {
		return nil, errors.New("open the app's storage account: its settings name none that can be used") // the cause may hold a key
	}
	return &packages{c}, nil
}

func blobName(version string) string { return "podwatch-" + version + ".zip" }

// keep stores a package under its version and returns its address. It waits for a role
// that is new.
func (d *Deployment) keep(ctx context.Context, s *packages, p *Package) (address string, err error) {
	b := s.container.NewBlockBlobClient(blobName(p.Version))
	err = d.c.Until(ctx, azure.Wait{Where: azure.Uploading, Every: 15 * time.Second, Limit: loadWithin}, func(ctx context.Context) (string, error) {
		_, err := b.UploadBuffer(ctx, p.data, &blockblob.UploadBufferOptions{})
		return "", azure.Wrap(err)
	})
	if err != nil {
		return "", fmt.Errorf("store the package: %w", err)
	}
	address, _, _ = strings.Cut(b.URL(), "?")
	return address, nil
}

func (s *packages) fetch(ctx context.Context, name string) ([]byte, error) {
	answer, err := s.container.NewBlobClient(name).DownloadStream(ctx, nil)
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
	_, err = s.container.NewBlockBlobClient(historyBlob).UploadStream(ctx, bytes.NewReader(text), &blockblob.UploadStreamOptions{
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
