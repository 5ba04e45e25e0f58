package deliver_test

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/state"
)

// counted is storage that takes 10 ms for each request.
type counted struct {
	state.Documents
	requests atomic.Int32
}

func (c *counted) request() {
	c.requests.Add(1)
	time.Sleep(10 * time.Millisecond)
}

func (c *counted) Fetch(ctx context.Context, name string) (state.Document, error) {
	c.request()
	return c.Documents.Fetch(ctx, name)
}

func (c *counted) Create(ctx context.Context, name string, data []byte) (state.Document, error) {
	c.request()
	return c.Documents.Create(ctx, name, data)
}

func (c *counted) Replace(ctx context.Context, d state.Document, data []byte) (state.Document, error) {
	c.request()
	return c.Documents.Replace(ctx, d, data)
}

func (c *counted) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	c.request()
	return c.Documents.List(ctx, prefix)
}

// TestWhatClaimsCost holds the table of docs/reliability.md: requests to storage and
// the time that a batch waits for them where each takes 10 ms. The sinks take none.
func TestWhatClaimsCost(t *testing.T) {
	for _, c := range []struct {
		alerts, callers int
		again           bool // the batch comes once more, to another instance
		requests        int32
		takes           time.Duration
	}{
		{alerts: 0},
		{alerts: 1, callers: 1, requests: 7, takes: 50 * time.Millisecond},
		{alerts: 100, callers: 1, requests: 502, takes: 80 * time.Millisecond},
		{alerts: 1000, callers: 1, requests: 5002, takes: 500 * time.Millisecond},
		{alerts: 1000, callers: 1000, requests: 3043, takes: 590 * time.Millisecond},
		{alerts: 1, callers: 1, again: true, requests: 2, takes: 20 * time.Millisecond},
		{alerts: 1000, callers: 1, again: true, requests: 2000, takes: 320 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("alerts=%d callers=%d again=%t", c.alerts, c.callers, c.again), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ledger, documents := &counted{Documents: state.NewMemory()}, &counted{Documents: state.NewMemory()}
				w := &world{ledger: ledger, documents: documents}
				var batch []*alert.Alert
				var findings []alert.Finding
				for i := range c.alerts {
					a := newAlert(fmt.Sprint(i))
					a.CallerId = fmt.Sprint("user", i%c.callers)
					batch, findings = append(batch, a), append(findings, findingOf(a))
				}
				once := func() {
					d := w.dispatcher(people(&recorder{name: "cards"}), rows(&recorder{name: "table"}))
					if pending := d.Pending(t.Context(), findings); len(pending) > 0 {
						deliverAll(t, d, batch...)
					}
				}
				if c.again {
					once()
					ledger.requests.Store(0)
					documents.requests.Store(0)
				}
				begun := time.Now()
				once()
				requests, took := ledger.requests.Load()+documents.requests.Load(), time.Since(begun)
				if requests != c.requests || took != c.takes {
					t.Errorf("%d requests in %v, want %d in %v", requests, took, c.requests, c.takes)
				}
			})
		})
	}
}
