package devhost

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"

	"podwatch/handler/internal/config"
)

// maxStored is the largest queue message as the service stores it.
const maxStored = 64 << 10

// storage is what the connections lead to that the bindings name.
type storage struct {
	settings map[string]string
	known    sync.Map // queues and containers that exist, by setting and name
}

// storageOptions keep a dead storage account from holding an invocation for a
// minute; the function's own retry policy comes on top.
var storageOptions = azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: time.Second}}

func (s *storage) connection(setting string) (string, error) {
	value := s.settings[setting]
	if value == "" {
		return "", fmt.Errorf("the app setting %s holds no connection string (identities do not work against a local storage service)", setting)
	}
	return config.ExpandConnection(value), nil
}

// queue returns the client of a queue, which it creates if need be.
func (s *storage) queue(ctx context.Context, setting, name string) (*azqueue.QueueClient, error) {
	connection, err := s.connection(setting)
	if err != nil {
		return nil, err
	}
	client, err := azqueue.NewQueueClientFromConnectionString(connection, name, &azqueue.ClientOptions{ClientOptions: storageOptions})
	if err != nil {
		return nil, fmt.Errorf("app setting %s: %w", setting, err)
	}
	key := "queue " + setting + " " + name
	if _, known := s.known.Load(key); !known {
		if _, err := client.Create(ctx, nil); err != nil && !queueerror.HasCode(err, queueerror.QueueAlreadyExists) {
			return nil, fmt.Errorf("create queue %q: %w", name, err)
		}
		s.known.Store(key, true)
	}
	return client, nil
}

// enqueue adds one message as the host's extension stores it.
func (s *storage) enqueue(ctx context.Context, setting, name string, message []byte) error {
	text := base64.StdEncoding.EncodeToString(message)
	if len(text) > maxStored {
		return fmt.Errorf("add to queue %q: %d bytes are %d as stored, more than %d", name, len(message), len(text), maxStored)
	}
	queue, err := s.queue(ctx, setting, name)
	if err != nil {
		return err
	}
	if _, err := queue.EnqueueMessage(ctx, text, nil); err != nil {
		return fmt.Errorf("add to queue %q: %w", name, err)
	}
	return nil
}

// upload writes the blob of an invocation, over an older one of the same name.
func (s *storage) upload(ctx context.Context, setting, container, name string, content []byte, invocation string) error {
	connection, err := s.connection(setting)
	if err != nil {
		return err
	}
	client, err := azblob.NewClientFromConnectionString(connection, &azblob.ClientOptions{ClientOptions: storageOptions})
	if err != nil {
		return fmt.Errorf("app setting %s: %w", setting, err)
	}
	key := "container " + setting + " " + container
	if _, known := s.known.Load(key); !known {
		if _, err := client.CreateContainer(ctx, container, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			return fmt.Errorf("create container %q: %w", container, err)
		}
		s.known.Store(key, true)
	}
	if _, err := client.UploadBuffer(ctx, container, name, content, &azblob.UploadBufferOptions{Metadata: map[string]*string{"AzureWebJobsParentId": &invocation}}); err != nil {
		return fmt.Errorf("write blob %q: %w", container+"/"+name, err)
	}
	return nil
}

// decodeMessage undoes the transport coding of a queue message.
func decodeMessage(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return "", errors.New("the message is not base64, which host.json says it is")
	}
	return string(data), nil
}
