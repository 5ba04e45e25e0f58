package sink_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/sink"
)

// deaf is a storage account that takes requests and never answers.
type deaf struct{}

func (deaf) Do(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestAStorageThatDoesNotAnswerDoesNotUseUpTheInvocation: a hundred alerts wait
// for one look-up, not for a hundred.
func TestAStorageThatDoesNotAnswerDoesNotUseUpTheInvocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blobs, err := sink.NewBlobLedger(sink.Storage{ConnectionString: "AccountName=acct;AccountKey=" + accountKey, Transport: deaf{}})
		if err != nil {
			t.Fatal(err)
		}
		l := sink.Both(sink.NewMemoryLedger(), blobs)
		begun := time.Now()
		for i := range 100 {
			if done, err := l.Delivered(t.Context(), "teams", fmt.Sprint(i)); done || err == nil {
				t.Fatalf("Delivered = %t, %v; want an error", done, err)
			}
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("a hundred look-ups took %s", took)
		}
	})
}

// TestAStorageThatIsBackIsAskedAgain after a few seconds.
func TestAStorageThatIsBackIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{status: 503, code: "ServerBusy"}
		blobs, err := sink.NewBlobLedger(sink.Storage{ConnectionString: "AccountName=acct;AccountKey=" + accountKey, Transport: a})
		if err != nil {
			t.Fatal(err)
		}
		l := sink.Both(sink.NewMemoryLedger(), blobs)
		if _, err := l.Delivered(t.Context(), "teams", "1"); err == nil {
			t.Fatal("no error")
		}
		a.status, a.code = 200, ""
		if _, err := l.Delivered(t.Context(), "teams", "1"); err == nil {
			t.Error("storage was asked again at once")
		}
		time.Sleep(5 * time.Second)
		mustBe(t, l, "teams", "1", true)
	})
}

// TestACallerThatGivesUpDoesNotCloseTheLedgerForOthers: its failure says nothing
// about storage, and a mark that the others do not see is a repeat.
func TestACallerThatGivesUpDoesNotCloseTheLedgerForOthers(t *testing.T) {
	blobs, err := sink.NewBlobLedger(sink.Storage{ConnectionString: "AccountName=acct;AccountKey=" + accountKey, Transport: &answers{status: 200}})
	if err != nil {
		t.Fatal(err)
	}
	l := sink.Both(sink.NewMemoryLedger(), blobs)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Delivered(gone, "teams", "1"); err == nil {
		t.Fatal("no error for a caller that gave up")
	}
	mustBe(t, l, "teams", "2", true)
}
