package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// LedgerContainer holds one empty blob for each alert that is settled at a sink,
// accepted by it or kept from it by an exception, named sink/alert id. A
// lifecycle rule of the storage account removes old ones.
const LedgerContainer = "podwatch-ledger"

// A BlobLedger remembers deliveries for all instances. It is safe for concurrent
// use. An error means that nothing is known; no error carries a secret.
type BlobLedger struct {
	storage   Storage
	container *container.Client
	redact    *redactor
}

// NewBlobLedger returns the ledger in the given storage account. It does no I/O:
// the container is created by the first Mark that misses it.
func NewBlobLedger(s Storage) (*BlobLedger, error) {
	c, err := s.Container(LedgerContainer)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &BlobLedger{storage: s, container: c, redact: newRedactor(s.secrets())}, nil
}

// Delivered reports whether the sink's acceptance of the alert was marked, by
// any instance.
func (l *BlobLedger) Delivered(ctx context.Context, sink, alertID string) (bool, error) {
	_, err := l.container.NewBlobClient(entry(sink, alertID)).GetProperties(ctx, nil)
	switch {
	case err == nil:
		return true, nil
	case statusOf(err) == http.StatusNotFound:
		return false, nil
	}
	return false, l.fail("look up", sink, alertID, err)
}

// Mark remembers that the sink accepted the alert. Marking twice, also by two
// instances at once, does no harm: the first mark stays.
func (l *BlobLedger) Mark(ctx context.Context, sink, alertID string) error {
	err := l.create(ctx, entry(sink, alertID))
	if bloberror.HasCode(err, bloberror.ContainerNotFound) {
		if _, err = l.container.Create(ctx, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			return l.fail("create the container to mark", sink, alertID, err)
		}
		err = l.create(ctx, entry(sink, alertID))
	}
	if err != nil {
		return l.fail("mark", sink, alertID, err)
	}
	return nil
}

// create makes an empty blob; one that exists already is as good.
func (l *BlobLedger) create(ctx context.Context, name string) error {
	_, err := l.container.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(nil)), &blockblob.UploadOptions{
		AccessConditions: &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)},
		},
	})
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return nil
	}
	return err
}

func (l *BlobLedger) fail(verb, sink, alertID string, err error) error {
	return fmt.Errorf("%s delivery of alert %q to %s in container %q: %w", verb, alertID, sink, LedgerContainer, storageError(err, l.redact))
}

func statusOf(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// storageError says status and code of an answer instead of the SDK's page of
// text, which has the URL in it, and with it a shared access signature.
func storageError(err error, r *redactor) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		text := fmt.Sprintf("storage answered %d %s", answer.StatusCode, oneLine(answer.ErrorCode, 80))
		if answer.StatusCode == http.StatusForbidden {
			text += " (blob data role missing, key outdated, or network rules)"
		}
		return errors.New(text)
	}
	return r.err(err)
}
