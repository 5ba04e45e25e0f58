package hub

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2/checkpoints"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// NewBlobCheckpoints keeps checkpoints and partition ownership in a blob
// container, which is created when it does not exist. Its layout is the SDK's;
// the Functions host keeps its own checkpoints in another one, so the two never
// share progress and need different consumer groups.
func NewBlobCheckpoints(ctx context.Context, client *container.Client) (azeventhubs.CheckpointStore, error) {
	if _, err := client.Create(ctx, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil, fmt.Errorf("create checkpoint container: %w", err)
	}
	store, err := checkpoints.NewBlobStore(client, nil)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint container: %w", err)
	}
	return store, nil
}

// MemoryCheckpoints is a checkpoint store for one process: after a restart
// everything begins at the start position again. Safe for concurrent use.
type MemoryCheckpoints struct {
	mu          sync.Mutex
	checkpoints map[string]azeventhubs.Checkpoint
	ownerships  map[string]azeventhubs.Ownership
	version     int
}

// NewMemoryCheckpoints returns an empty store.
func NewMemoryCheckpoints() *MemoryCheckpoints {
	return &MemoryCheckpoints{
		checkpoints: map[string]azeventhubs.Checkpoint{},
		ownerships:  map[string]azeventhubs.Ownership{},
	}
}

func partitionName(namespace, hub, group, id string) string {
	return strings.ToLower(strings.Join([]string{namespace, hub, group, id}, "/"))
}

// ClaimOwnership gives a partition to whoever names its latest version.
func (m *MemoryCheckpoints) ClaimOwnership(_ context.Context, wanted []azeventhubs.Ownership, _ *azeventhubs.ClaimOwnershipOptions) ([]azeventhubs.Ownership, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var claimed []azeventhubs.Ownership
	for _, o := range wanted {
		name := partitionName(o.FullyQualifiedNamespace, o.EventHubName, o.ConsumerGroup, o.PartitionID)
		current, exists := m.ownerships[name]
		if exists && (o.ETag == nil || *o.ETag != *current.ETag) {
			continue
		}
		m.version++
		etag := azcore.ETag(fmt.Sprint(m.version))
		o.ETag, o.LastModifiedTime = &etag, time.Now()
		m.ownerships[name] = o
		claimed = append(claimed, o)
	}
	return claimed, nil
}

// ListOwnership lists who owns the partitions of a hub.
func (m *MemoryCheckpoints) ListOwnership(_ context.Context, namespace, hub, group string, _ *azeventhubs.ListOwnershipOptions) ([]azeventhubs.Ownership, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []azeventhubs.Ownership
	for name, o := range m.ownerships {
		if name == partitionName(namespace, hub, group, o.PartitionID) {
			list = append(list, o)
		}
	}
	return list, nil
}

// ListCheckpoints lists the checkpoints of a hub.
func (m *MemoryCheckpoints) ListCheckpoints(_ context.Context, namespace, hub, group string, _ *azeventhubs.ListCheckpointsOptions) ([]azeventhubs.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []azeventhubs.Checkpoint
	for name, cp := range m.checkpoints {
		if name == partitionName(namespace, hub, group, cp.PartitionID) {
			list = append(list, cp)
		}
	}
	return list, nil
}

// SetCheckpoint moves a checkpoint.
func (m *MemoryCheckpoints) SetCheckpoint(_ context.Context, cp azeventhubs.Checkpoint, _ *azeventhubs.SetCheckpointOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints[partitionName(cp.FullyQualifiedNamespace, cp.EventHubName, cp.ConsumerGroup, cp.PartitionID)] = cp
	return nil
}
