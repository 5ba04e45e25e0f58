package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
	"podwatch/handler/internal/version"
)

// checkFor bounds the check of the feed, which must be on time whatever else a
// heartbeat has to do.
const checkFor = 30 * time.Second

// Heartbeat does what must happen when nothing arrives: it checks the feed, saves
// what the host gave up, posts the summaries of storms, and logs which sinks are down. What fails is due
// again at the next heartbeat.
func (a *App) Heartbeat(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	late, err := invocation.ReadTimer(body)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, workFor)
	defer cancel()
	for _, s := range a.down {
		a.Dispatcher.Refused(s.name, "err", s.cause)
	}
	err = errors.Join(a.checkFeed(ctx), a.savePoison(ctx))
	summaries := a.Dispatcher.Summarize(ctx)
	for _, f := range summaries.Failed {
		err = errors.Join(err, f.Err)
	}
	// podwatch doctor reads from the version and the rules what runs now.
	attrs := []slog.Attr{slog.Bool("past_due", late), slog.String("version", version.String()), slog.Int("rules", len(a.Rules.Rules())),
		slog.Any("counts", CountsOf(detect.Result{}, 0, summaries))}
	if err != nil {
		return nil, attrs, err
	}
	return new(invocation.Reply), attrs, nil
}

// checkFeed delivers what people must know about the feed.
func (a *App) checkFeed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	counts, failed := a.gauges.counts(ctx)
	notices, err := a.feed.Check(ctx, counts)
	failed = errors.Join(failed, err)
	for _, n := range notices {
		own := alert.NewOwn(a.gauges.fact(ctx, n), a.now())
		result := a.Dispatcher.Deliver(ctx, slices.Values([][]*alert.Alert{{own}}))
		if len(result.Failed) > 0 {
			f := result.Failed[0]
			if !f.Final {
				failed = errors.Join(failed, f.Err)
				continue
			}
			// As a dead letter it would be the reason for the next notice.
			a.log.Error("an alert about podwatch itself was rejected for good; it is dropped", "alert", own.RuleName, "err", f.Err)
		}
		failed = errors.Join(failed, a.feed.Told(ctx, n))
	}
	return failed
}

// savePoison moves what the host put into its poison queue, where it would be
// deleted after seven days, to the dead letters.
func (a *App) savePoison(ctx context.Context) error {
	if a.account == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	queue := a.account.Queue(storage.PoisonQueue)
	saved, oldest := 0, a.now()
	defer func() {
		if saved > 0 {
			a.log.Error("alerts were given up by the host; they are kept as dead letters (podwatch requeue puts them back)",
				"alerts", saved, "oldest", oldest.UTC())
		}
	}()
	for m, err := range queue.Take(ctx) {
		if err == nil {
			err = a.dead.Add(ctx, m.Text, "the host gave it up after its last try")
		}
		if err == nil {
			err = queue.Remove(ctx, m)
		}
		if err != nil {
			return fmt.Errorf("save the poison queue: %w", err)
		}
		saved++
		if m.Added.Before(oldest) {
			oldest = m.Added
		}
	}
	return nil
}

// gauges are the counts that should not grow, by what they count.
type gauges []gauge

type gauge struct {
	what   string // plural
	where  string
	count  func(context.Context) (int, error)
	oldest func(context.Context) (time.Time, error) // nil: not known
}

func (g gauges) counts(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	var failed error
	for _, gauge := range g {
		n, err := gauge.count(ctx)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("count %s: %w", gauge.what, err))
			continue
		}
		counts[gauge.what] = n
	}
	return counts, failed
}

// fact is what a notice is to a reader.
func (g gauges) fact(ctx context.Context, n state.Notice) alert.OwnFact {
	since := n.Since.UTC().Format(time.RFC1123)
	switch n.Kind {
	case state.Silent:
		return alert.OwnFact{
			Key: n.ID, Severity: "medium", Since: n.Since, What: "No records from " + n.Source,
			Note: fmt.Sprintf("Nothing was received from %s since %s: deletions there would go unseen. Look at its diagnostic settings (a deleted setting is itself suspicious), at the Event Hub's metrics, and at the Detect function.", n.Source, since),
		}
	case state.Heard:
		return alert.OwnFact{
			Key: n.ID, Severity: "low", What: "Records again from " + n.Source,
			Note: fmt.Sprintf("Records from %s arrive again. Nothing was received between %s and now; what was exported meanwhile may still come.", n.Source, since),
		}
	case state.Blind:
		return alert.OwnFact{
			Key: n.ID, Severity: "medium", Since: n.Since, What: fmt.Sprintf("%d of %d records and messages of an hour cannot be read", n.Count, n.Of),
			Note: fmt.Sprintf("Records still arrive, but deletions in what podwatch cannot read go unseen, since %s. Look in the blob container %s: a client may have made audit records too long for Azure, or the export has a shape that podwatch does not know.", since, storage.UnreadableContainer),
		}
	}
	var note string
	for _, gauge := range g {
		if gauge.what == n.Source {
			note = fmt.Sprintf("Look in %s.%s", gauge.where, gauge.age(ctx))
		}
	}
	return alert.OwnFact{
		Key: n.ID, Severity: "medium", What: fmt.Sprintf("%d %s, %d more than before", n.Count, n.Source, n.Count-n.Before),
		Note: note + " docs/operate.md describes what to do with them.",
	}
}

// ageFor bounds how long the oldest is looked for: the notice does not wait for it.
const ageFor = 5 * time.Second

// age is a sentence about the oldest of what a gauge counts, if that is known.
func (g gauge) age(ctx context.Context) string {
	if g.oldest == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, ageFor)
	defer cancel()
	oldest, err := g.oldest(ctx)
	if err != nil || oldest.IsZero() {
		return ""
	}
	return " The oldest is from " + oldest.UTC().Format(time.RFC1123) + "."
}
