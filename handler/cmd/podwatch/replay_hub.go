package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
)

// hubReplayOptions are the flags of a replay from a hub.
type hubReplayOptions struct {
	hubFlags
	from, to string
	position string

	read hub.ReadOptions
}

func (o *hubReplayOptions) flags(cmd *cobra.Command) {
	o.hubFlags.flags(cmd, "read this hub instead of files; without a name, the one that EVENT_HUB_NAME names",
		"consumer group to read with; every hub has $Default")
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "first time, or how long ago (default: the oldest message that is retained)")
	f.StringVar(&o.to, "to", "", "time to stop before, or how long ago (default: what is there now)")
	f.StringVar(&o.position, "position-file", "", "remember here what is done, and go on there next time")
}

// prepare reads the flags. It does no I/O.
func (o *hubReplayOptions) prepare(args []string, now time.Time) error {
	if err := o.resolve(args); err != nil {
		return err
	}
	from, err := parseMoment(o.from, now)
	if err != nil {
		return fmt.Errorf("--from %w", err)
	}
	to, err := parseMoment(o.to, now)
	if err != nil {
		return fmt.Errorf("--to %w", err)
	}
	switch {
	case from.After(now):
		return fmt.Errorf("--from %s lies in the future: nothing is there yet", from.Format(time.RFC3339))
	case !to.IsZero() && !from.Before(to):
		return fmt.Errorf("--from %s is not before --to %s", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	o.read = hub.ReadOptions{ConsumerGroup: o.group, From: from, To: to, PositionFile: o.position}
	return nil
}

// parseMoment reads a time, a date, or how long ago; empty is the zero time.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	ago, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		ago = time.Duration(n * 24 * float64(time.Hour))
	}
	if err != nil || ago < 0 || ago > 10*365*24*time.Hour {
		return time.Time{}, fmt.Errorf("%q is neither a time such as 2026-11-09T08:00:00Z, a date such as 2026-11-09, nor how long ago, such as 90m, 24h or 7d", text)
	}
	return now.Add(-ago).UTC(), nil
}

// hub evaluates what a hub retains; nothing if no hub is wanted.
func (r *replay) hub(ctx context.Context, o hubReplayOptions) error {
	if !o.wanted() {
		return nil
	}
	o.read.Progress = func(p hub.Progress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.status.show(func() string { return r.progress(p) })
	}
	// Reading goes on in all partitions, evaluating in as many as there are
	// processors: the events of a batch are its memory.
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	done, err := hub.Read(ctx, o.connection, o.read, func(ctx context.Context, from hub.Partition, messages []hub.Message) error {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return r.evaluateHub(ctx, from, messages)
	})
	r.say("read %d messages, %s, from %d partitions of %s in %s (%.0f a second)",
		done.Messages, byteCount(done.Bytes), done.Partitions, o.connection, done.Elapsed.Round(time.Millisecond), rate(done.Messages, done.Elapsed))
	if done.Expired > 0 {
		r.say("podwatch: %d messages left the hub before they were read", done.Expired)
	}
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil && o.position != "":
		return fmt.Errorf("interrupted; the same command goes on from %s", o.position)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return errors.New("interrupted; with --position-file it could go on from here")
	}
	return err
}

// progress reports how far it is; the caller holds mu.
func (r *replay) progress(p hub.Progress) string {
	text := fmt.Sprintf("read %d messages, %s, %.0f a second, %d alerts", p.Messages, byteCount(p.Bytes), rate(p.Messages, p.Elapsed), r.counts.Alerts)
	if p.Left > 0 {
		text += fmt.Sprintf("; up to %d messages left", p.Left)
	}
	return text
}

func rate(n int64, in time.Duration) float64 { return float64(n) / max(in.Seconds(), 1e-3) }

// evaluateHub evaluates one batch of a partition. One that was begun is finished
// when nothing is delivered, so that an interrupted replay prints nothing twice.
func (r *replay) evaluateHub(ctx context.Context, from hub.Partition, messages []hub.Message) error {
	if !r.deliver {
		ctx = context.WithoutCancel(ctx)
	}
	for _, m := range messages {
		err := r.evaluate(ctx, m.Body, hubTeller{r, from, m})
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
	}
	return nil
}

// A hubTeller tells of the records of one message.
type hubTeller struct {
	*replay
	from    hub.Partition
	message hub.Message
}

func (t hubTeller) where(offset int) string {
	return fmt.Sprintf("partition %s, message %d, byte %d", t.from.ID, t.message.Sequence, offset)
}

func (t hubTeller) told(record detect.Record, _ verdict, _ []*alert.Alert) {
	if record.Unread != "" {
		t.say("podwatch: %s: %s", t.where(record.Offset), visible(record.Unread))
	}
}
