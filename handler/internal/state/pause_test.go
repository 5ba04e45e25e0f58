package state_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"podwatch/handler/internal/state"
)

// storage accepts every write, or hangs until the request is given up.
type storage struct {
	hangs  bool
	writes atomic.Int32
}

func (s *storage) Do(r *http.Request) (*http.Response, error) {
	if s.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	s.writes.Add(1)
	return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// feedIn returns a feed in simulated storage and time.
func feedIn(t *testing.T, s *storage) *state.Feed {
	t.Helper()
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: s}}
	c, err := container.NewClientWithNoCredential("https://account.example/podwatch-state", options)
	if err != nil {
		t.Fatal(err)
	}
	return state.NewFeed(c, time.Hour, nil, time.Now)
}

func TestAFeedThatCannotBeWrittenCostsASecondAndThenPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &storage{hangs: true}
		f := feedIn(t, s)
		// attempt notes a batch, which must fail, and checks how long it took.
		attempt := func() {
			t.Helper()
			began := time.Now()
			if !f.Wants() {
				t.Error("the feed does not want to note a batch")
			}
			if err := f.Seen(t.Context(), []string{"a", "b"}); err == nil {
				t.Error("no error although storage hangs")
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("the attempt took %v, want 1 s", took)
			}
		}
		// paused checks that nothing is attempted for the given time.
		paused := func(want time.Duration) {
			t.Helper()
			time.Sleep(want - time.Nanosecond)
			began := time.Now()
			if f.Wants() {
				t.Errorf("the feed wants to note a batch before %v", want)
			}
			if err := f.Seen(t.Context(), []string{"a", "c"}); err != nil || time.Since(began) != 0 {
				t.Errorf("a batch during the pause costs %v: %v", time.Since(began), err)
			}
			time.Sleep(time.Nanosecond)
		}
		for _, pause := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			attempt()
			paused(pause * time.Second)
		}

		s.hangs = false
		if err := f.Seen(t.Context(), []string{"a", "b"}); err != nil || s.writes.Load() != 3 {
			t.Errorf("after the pause %d sources are written: %v", s.writes.Load(), err)
		}
		time.Sleep(time.Minute)
		s.hangs = true
		attempt()
		paused(10 * time.Second)
	})
}

func TestBatchesThatFailTogetherExtendThePauseOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feedIn(t, &storage{hangs: true})
		for _, source := range []string{"a", "b", "c", "d"} {
			go func() { _ = f.Seen(t.Context(), []string{source}) }()
		}
		time.Sleep(2 * time.Second) // all have failed after one
		synctest.Wait()
		time.Sleep(9 * time.Second)
		if !f.Wants() {
			t.Error("four failures at the same time pause the feed for more than 10 s")
		}
	})
}
