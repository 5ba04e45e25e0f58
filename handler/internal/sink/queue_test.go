package sink_test

import (
	"strings"
	"testing"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/sink"
)

func TestCounts(t *testing.T) {
	storage := sink.Storage{ConnectionString: azurite.Start(t)}
	count := func(want int) {
		t.Helper()
		if n, err := storage.CountMessages(t.Context(), sink.PoisonQueue); err != nil || n != want {
			t.Errorf("%d messages, %v; want %d", n, err, want)
		}
		if n, err := storage.CountBlobs(t.Context(), sink.LedgerContainer); err != nil || n != want {
			t.Errorf("%d blobs, %v; want %d", n, err, want)
		}
	}
	count(0) // neither exists
	queue, err := storage.Queue(sink.PoisonQueue)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := queue.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ledger, err := sink.NewBlobLedger(storage)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := queue.EnqueueMessage(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Mark(t.Context(), "teams", id); err != nil {
			t.Fatal(err)
		}
	}
	count(2)
}

func TestQueueNeedsAnAccount(t *testing.T) {
	for _, storage := range []sink.Storage{{}, {AccountName: "account"}, {ConnectionString: "AccountKey=planted"}} {
		_, err := storage.Queue("q")
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("error of %T is %v", storage, err)
		}
	}
}

func TestBothLedgersRememberWhenStorageIsDown(t *testing.T) {
	down, err := sink.NewBlobLedger(sink.Storage{ConnectionString: "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a"})
	if err != nil {
		t.Fatal(err)
	}
	both := sink.Both(sink.NewMemoryLedger(), down)
	if err := both.Mark(t.Context(), "teams", "a"); err == nil {
		t.Error("a mark that storage did not take is no error")
	}
	if done, err := both.Delivered(t.Context(), "teams", "a"); !done || err != nil {
		t.Errorf("its own delivery is %t, %v", done, err)
	}
	if _, err := both.Delivered(t.Context(), "teams", "b"); err == nil {
		t.Error("storage is down and nobody is told")
	}
}
