package sink

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"

	"podwatch/handler/internal/alert"
)

// Queues of the handler, as function.json names them. The host makes the poison
// queue's name from the other's.
const (
	UndeliveredQueue = "undelivered-alerts"
	PoisonQueue      = "undelivered-alerts-poison"
)

// Queue returns a client of one queue. Like [Storage.Container] it does no I/O.
func (s Storage) Queue(name string) (*azqueue.QueueClient, error) {
	options := &azqueue.ClientOptions{ClientOptions: azcore.ClientOptions{
		Telemetry: policy.TelemetryOptions{ApplicationID: "podwatch"},
		Transport: s.Transport,
		Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 2 * time.Second, TryTimeout: 5 * time.Second},
	}}
	if s.ConnectionString != "" {
		client, err := azqueue.NewServiceClientFromConnectionString(s.connectionString(), options)
		if err != nil {
			return nil, fmt.Errorf("the storage connection string cannot be used: %w", newRedactor(s.secrets()).err(err))
		}
		return client.NewQueueClient(name), nil
	}
	uri := s.QueueServiceURI
	switch {
	case uri == "" && s.AccountName == "":
		return nil, errors.New("no storage account is named")
	case s.Credential == nil:
		return nil, errors.New("storage is named without connection string, and there is no credential")
	case uri == "":
		uri = "https://" + s.AccountName + ".queue.core.windows.net"
	}
	client, err := azqueue.NewServiceClient(strings.TrimRight(uri, "/")+"/", s.Credential, options)
	if err != nil {
		return nil, fmt.Errorf("open the queue service: %w", err)
	}
	return client.NewQueueClient(name), nil
}

// A Poison is the queue of alerts that were given up. It is safe for concurrent
// use; no error carries a secret.
type Poison struct {
	storage Storage
	queue   *azqueue.QueueClient
}

// NewPoison returns the poison queue of a storage account. It does no I/O: the
// queue is created by the first Bury that misses it.
func NewPoison(s Storage) (*Poison, error) {
	queue, err := s.Queue(PoisonQueue)
	if err != nil {
		return nil, fmt.Errorf("open poison queue: %w", err)
	}
	return &Poison{storage: s, queue: queue}, nil
}

// Bury adds an alert, coded as the host codes messages. It stays for as long as
// it takes.
func (p *Poison) Bury(ctx context.Context, a *alert.Alert) error {
	text, forever := base64.StdEncoding.EncodeToString(a.JSON()), int32(-1)
	add := func() error {
		_, err := p.queue.EnqueueMessage(ctx, text, &azqueue.EnqueueMessageOptions{TimeToLive: &forever})
		return err
	}
	err := add()
	if queueerror.HasCode(err, queueerror.QueueNotFound) {
		if _, err = p.queue.Create(ctx, nil); err == nil || queueerror.HasCode(err, queueerror.QueueAlreadyExists) {
			err = add()
		}
	}
	if err != nil {
		return fmt.Errorf("add to queue %q: %w", PoisonQueue, storageError(err, newRedactor(p.storage.secrets())))
	}
	return nil
}

// CountMessages returns about how many messages a queue holds; one that does not
// exist holds none.
func (s Storage) CountMessages(ctx context.Context, queue string) (int, error) {
	client, err := s.Queue(queue)
	if err != nil {
		return 0, err
	}
	properties, err := client.GetProperties(ctx, nil)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("count messages of queue %q: %w", queue, storageError(err, newRedactor(s.secrets())))
	case properties.ApproximateMessagesCount == nil:
		return 0, nil
	}
	return int(*properties.ApproximateMessagesCount), nil
}

// maxCounted is as far as CountBlobs counts.
const maxCounted = 20_000

// CountBlobs returns how many blobs a container holds, 20,000 at most; one that
// does not exist holds none.
func (s Storage) CountBlobs(ctx context.Context, name string) (int, error) {
	client, err := s.Container(name)
	if err != nil {
		return 0, err
	}
	n := 0
	for pages := client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{}); pages.More() && n < maxCounted; {
		page, err := pages.NextPage(ctx)
		if statusOf(err) == http.StatusNotFound {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("count blobs of container %q: %w", name, storageError(err, newRedactor(s.secrets())))
		}
		n += len(page.Segment.BlobItems)
	}
	return min(n, maxCounted), nil
}

// StorageError says status and code of an answer of the storage service. The
// SDK's own text has the URL in it, and with it a shared access signature.
func StorageError(err error) error { return storageError(err, newRedactor(nil)) }
