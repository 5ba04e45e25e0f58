package hub

import (
	"context"
	"fmt"
	"log/slog"

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

// presentCheckpoints hides checkpoints that lie behind the end of their
// partition. A hub that was created anew starts at zero again, and a consumer
// that waits for sequence number 5,000 would seem dead.
type presentCheckpoints struct {
	azeventhubs.CheckpointStore
	client *azeventhubs.ConsumerClient
	log    *slog.Logger
}

func (s *presentCheckpoints) ListCheckpoints(ctx context.Context, namespace, hub, group string, o *azeventhubs.ListCheckpointsOptions) ([]azeventhubs.Checkpoint, error) {
	all, err := s.CheckpointStore.ListCheckpoints(ctx, namespace, hub, group, o)
	if err != nil {
		return nil, err
	}
	var present []azeventhubs.Checkpoint
	for _, cp := range all {
		props, err := s.client.GetPartitionProperties(ctx, cp.PartitionID, nil)
		if err != nil {
			return nil, err
		}
		if cp.SequenceNumber != nil && *cp.SequenceNumber > props.LastEnqueuedSequenceNumber {
			s.log.Warn("checkpoint lies beyond the end of the hub, which was created anew; starting over",
				"partition", cp.PartitionID, "checkpoint", *cp.SequenceNumber, "end", props.LastEnqueuedSequenceNumber)
			continue
		}
		present = append(present, cp)
	}
	return present, nil
}
