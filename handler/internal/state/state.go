// Package state keeps what podwatch must remember between invocations and share
// between instances: storm windows and the health of the feed.
//
// It lives in one blob container of the host's storage account. Every change is
// a create-if-absent, a whole small blob or a delete, so instances need no lock
// and a process that is killed at any point leaves nothing half written. What
// people are to be told is forgotten only after it was delivered: a crash in
// between costs a repeat, which the ledger catches, and never a loss.
package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Container is the name of the blob container.
const Container = "podwatch-state"

// maxBlob bounds what is read of one blob in bytes.
const maxBlob = 16 << 20

// A store is small JSON documents in a container. It is safe for concurrent use.
type store struct {
	container *container.Client
}

// maxListed bounds one listing.
const maxListed = 10_000

var (
	errAbsent     = errors.New("absent")                        // there is no such blob
	errUnreadable = errors.New("its content is not podwatch's") // trying again does not help
)

// unreadable is the prefix of documents that were set aside.
const unreadable = "unreadable/"

// create writes a document unless one is there already, and reports whether it
// did.
func (s store) create(ctx context.Context, name string, document any) (bool, error) {
	err := s.write(ctx, name, document, to.Ptr(azcore.ETagAny), nil)
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return false, nil
	}
	return err == nil, describe("create", name, err)
}

// replace writes a document over the version that was read, and reports whether
// that was still the newest.
func (s store) replace(ctx context.Context, name string, document any, read azcore.ETag) (bool, error) {
	err := s.write(ctx, name, document, nil, &read)
	if bloberror.HasCode(err, bloberror.ConditionNotMet, bloberror.BlobNotFound) {
		return false, nil
	}
	return err == nil, describe("replace", name, err)
}

// put writes a document whether or not one is there.
func (s store) put(ctx context.Context, name string, document any) error {
	return describe("write", name, s.write(ctx, name, document, nil, nil))
}

func (s store) write(ctx context.Context, name string, document any, unless, only *azcore.ETag) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	options := &blockblob.UploadOptions{AccessConditions: &blob.AccessConditions{
		ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: unless, IfMatch: only},
	}}
	upload := func() error {
		_, err := s.container.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(text)), options)
		return err
	}
	err = upload()
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		if _, err = s.container.Create(ctx, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			return err
		}
		err = upload()
	}
	return err
}

// read decodes a document. It returns errAbsent or errUnreadable, or the failure of
// storage.
func (s store) read(ctx context.Context, name string, document any) (azcore.ETag, error) {
	answer, err := s.container.NewBlobClient(name).DownloadStream(ctx, nil)
	if err != nil {
		if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ContainerNotFound) {
			return "", errAbsent
		}
		return "", describe("read", name, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBlob))
	if err != nil {
		return "", describe("read", name, err)
	}
	if json.Unmarshal(text, document) != nil {
		return "", describe("read", name, errUnreadable)
	}
	return *answer.ETag, nil
}

// list returns the names below a prefix, most at most.
func (s store) list(ctx context.Context, prefix string, most int) ([]string, error) {
	var names []string
	pages := s.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if bloberror.HasCode(err, bloberror.ContainerNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, describe("list", prefix, err)
		}
		for _, item := range page.Segment.BlobItems {
			if names = append(names, *item.Name); len(names) == most {
				return names, nil
			}
		}
	}
	return names, nil
}

// remove deletes a document; one that is gone already is as good.
func (s store) remove(ctx context.Context, name string) error {
	_, err := s.container.NewBlobClient(name).Delete(ctx, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ContainerNotFound) {
		return nil
	}
	return describe("delete", name, err)
}

// setAside moves a document below the prefix unreadable, for a person to look at. A
// newer version, written meanwhile by another instance, stays where it is.
func (s store) setAside(ctx context.Context, name string) error {
	answer, err := s.container.NewBlobClient(name).DownloadStream(ctx, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil // another instance was faster
	}
	if err != nil {
		return describe("read", name, err)
	}
	defer answer.Body.Close()
	if _, err := s.container.NewBlockBlobClient(unreadable+name).UploadStream(ctx, answer.Body, nil); err != nil {
		return describe("write", unreadable+name, err)
	}
	_, err = s.container.NewBlobClient(name).Delete(ctx, &blob.DeleteOptions{AccessConditions: &blob.AccessConditions{
		ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: answer.ETag},
	}})
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ConditionNotMet) {
		return nil
	}
	return describe("delete", name, err)
}

// describe says what was attempted, and of the SDK's error only the status and
// code: its text has the URL in it, which may carry a signature.
func describe(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		hint := ""
		if answer.StatusCode == http.StatusForbidden {
			hint = " (blob data role missing, key outdated, or network rules)"
		}
		return fmt.Errorf("%s state %q: storage answered %d %s%s", verb, name, answer.StatusCode, answer.ErrorCode, hint)
	}
	return fmt.Errorf("%s state %q: %w", verb, name, plain(err))
}

// plain keeps the kind of a network error without the address it was for.
func plain(err error) error {
	for _, kind := range []error{errUnreadable, context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return errors.New("storage cannot be reached")
}

// hash names a document after text that may hold anything.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
