package storage

import (
	"bytes"
	"context"
	"io"
	"iter"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/internal/state"
)

// maxDocument bounds what is read of one document in bytes. It is far above what
// package state writes.
const maxDocument = 8 << 20

// documents are the blobs of one container.
type documents struct {
	container *container.Client
}

var _ state.Documents = documents{}

// Documents returns the blobs of a container as documents. The age of a document
// is the difference of two times of the service.
func (a *Account) Documents(container string) state.Documents {
	return documents{a.Container(container)}
}

func (d documents) Fetch(ctx context.Context, name string) (state.Document, error) {
	answer, err := d.container.NewBlobClient(name).DownloadStream(ctx, nil)
	switch {
	case absent(err):
		return state.Document{}, state.ErrAbsent
	case err != nil:
		return state.Document{}, failed("fetch document", name, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument))
	if err != nil {
		return state.Document{}, failed("fetch document", name, err)
	}
	read := state.Document{Name: name, Data: data, Version: version(answer.ETag)}
	if answer.Date != nil && answer.LastModified != nil {
		read.Age = answer.Date.Sub(*answer.LastModified)
	}
	return read, nil
}

func (d documents) Create(ctx context.Context, name string, data []byte) (state.Document, error) {
	return d.write(ctx, "create document", state.Document{Name: name}, data, state.ErrExists)
}

func (d documents) Replace(ctx context.Context, old state.Document, data []byte) (state.Document, error) {
	return d.write(ctx, "replace document", old, data, state.ErrChanged)
}

// write writes a blob if old is the newest version of it, and otherwise fails with
// conflict. It creates the container if that does not exist.
func (d documents) write(ctx context.Context, attempt string, old state.Document, data []byte, conflict error) (state.Document, error) {
	only := &blob.ModifiedAccessConditions{IfNoneMatch: new(azcore.ETagAny)}
	if old.Version != "" {
		only = &blob.ModifiedAccessConditions{IfMatch: new(azcore.ETag(old.Version))}
	}
	put := func() (blockblob.UploadResponse, error) {
		return d.container.NewBlockBlobClient(old.Name).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)),
			&blockblob.UploadOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: only}})
	}
	answer, err := put()
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		if _, err = d.container.Create(ctx, nil); err == nil || bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			answer, err = put()
		}
	}
	switch {
	case bloberror.HasCode(err, bloberror.ConditionNotMet, bloberror.BlobAlreadyExists, bloberror.BlobNotFound):
		return state.Document{}, conflict
	case err != nil:
		return state.Document{}, failed(attempt, old.Name, err)
	}
	return state.Document{Name: old.Name, Data: data, Version: version(answer.ETag)}, nil
}

func (d documents) Delete(ctx context.Context, old state.Document) error {
	var only *blob.AccessConditions
	if old.Version != "" {
		only = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: new(azcore.ETag(old.Version))}}
	}
	_, err := d.container.NewBlobClient(old.Name).Delete(ctx, &blob.DeleteOptions{AccessConditions: only})
	switch {
	case err == nil || absent(err):
		return nil
	case bloberror.HasCode(err, bloberror.ConditionNotMet):
		return state.ErrChanged
	}
	return failed("delete document", old.Name, err)
}

func (d documents) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for item, err := range list(ctx, d.container, prefix) {
			if err != nil {
				yield("", failed("list documents", prefix, err))
				return
			}
			if !yield(*item.Name, nil) {
				return
			}
		}
	}
}

// list yields the blobs of a container, none if that does not exist. An error ends it.
func list(ctx context.Context, client *container.Client, prefix string) iter.Seq2[*container.BlobItem, error] {
	return func(yield func(*container.BlobItem, error) bool) {
		for pages := client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix}); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				if !absent(err) {
					yield(nil, err)
				}
				return
			}
			for _, item := range page.Segment.BlobItems {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// maxCounted is as far as Count counts.
const maxCounted = 20_000

// Count returns how many blobs with content a container has, 20,000 at most.
func (a *Account) Count(ctx context.Context, name string) (int, error) {
	n := 0
	for item, err := range list(ctx, a.Container(name), "") {
		if err != nil {
			return 0, failed("count blobs of container", name, err)
		}
		if length := item.Properties.ContentLength; length != nil && *length > 0 {
			n++
		}
		if n == maxCounted {
			break
		}
	}
	return n, nil
}

func version(tag *azcore.ETag) string {
	if tag == nil {
		return ""
	}
	return string(*tag)
}
