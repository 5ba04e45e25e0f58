package pipeline_test

import (
	"context"
	"testing"

	"podwatch/handler/internal/pipeline"
)

// lastFeed notes how many alerts a sink has when the feed is written.
type lastFeed struct {
	pipeline.None
	rows      *fakeSink
	delivered int
}

func (f *lastFeed) Seen(context.Context, []string) error {
	f.delivered = len(f.rows.taken())
	return nil
}

func TestTheFeedIsWrittenAfterTheAlerts(t *testing.T) {
	w := newWorld(t)
	feed := &lastFeed{rows: w.rows}
	w.Feed = feed
	w.detect(t, record(t, "act-match-user"))
	if feed.delivered != 1 {
		t.Errorf("%d alerts are delivered when the feed is written, want 1", feed.delivered)
	}
}
