package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
)

// WindowLength is how long a storm is held back after its first card.
const WindowLength = 5 * time.Minute

// abandonedAfter is when a window whose summary is overdue is taken for
// abandoned: the heartbeat does not run, so nothing more may be held.
const abandonedAfter = 3 * WindowLength

// maxHeld bounds the held groups that one Summaries call reads. The rest follow
// with the next heartbeat.
const maxHeld = 2000

// Windows hold back storms of alerts of one rule, caller and cluster. It is safe
// for concurrent use, also by several instances.
//
//	windows/<group>         the open window: until when, and which alert opened it
//	held/<group>/<alerts>   alerts that arrived while it was open
//	unreadable/<document>   one of these whose content is not podwatch's
type Windows struct {
	store
	now func() time.Time
	log *slog.Logger
}

// NewWindows returns the windows kept in a container. It does no I/O.
func NewWindows(c *container.Client, now func() time.Time, log *slog.Logger) *Windows {
	return &Windows{store: store{c}, now: now, log: log}
}

// A window is one open window as it is stored.
type window struct {
	Until time.Time
	First string // id of the first alert of those that opened it
}

// Admit reports whether the alerts, which are of one group, are to be posted
// now. The call that opens the window is admitted, and so is its repeat, known by
// the first alert: a process that was killed between opening and posting must not
// hold back its own alerts. When they come one by one instead, because Teams was
// down and they went through the queue, one card is posted and one summary.
func (w *Windows) Admit(ctx context.Context, alerts []*alert.Alert) (bool, error) {
	name := "windows/" + hash(alerts[0].GroupKey())
	opening := window{Until: w.now().Add(WindowLength), First: alerts[0].AlertId}
	if created, err := w.create(ctx, name, opening); created || err != nil {
		return created, err
	}
	var open window
	read, err := w.read(ctx, name, &open)
	if errors.Is(err, errAbsent) {
		return w.create(ctx, name, opening) // closed a moment ago
	}
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(alerts, func(a *alert.Alert) bool { return a.AlertId == open.First }) {
		return true, nil
	}
	if w.now().After(open.Until.Add(abandonedAfter)) {
		return w.replace(ctx, name, opening, read)
	}
	return false, nil
}

// Hold keeps alerts of one group for the summary.
func (w *Windows) Hold(ctx context.Context, alerts []*alert.Alert) error {
	held := make([]json.RawMessage, 0, len(alerts))
	ids := make([]string, 0, len(alerts))
	for _, a := range alerts {
		held = append(held, a.JSON())
		ids = append(ids, a.AlertId)
	}
	slices.Sort(ids)
	return w.put(ctx, "held/"+hash(alerts[0].GroupKey())+"/"+hash(strings.Join(ids, ",")), held)
}

// Summaries hands the alerts of each ended window to post, once per window, and
// forgets them when post returns nil. Alerts of a group whose window is gone are
// due as well.
func (w *Windows) Summaries(ctx context.Context, post func(context.Context, []*alert.Alert) error) error {
	groups, err := w.heldGroups(ctx)
	failures := []error{err}
	ended, err := w.endedWindows(ctx)
	failures = append(failures, err)
	for group, names := range groups {
		if over, open := ended[group]; open && !over {
			continue
		}
		if err := w.summarise(ctx, names, post); err != nil {
			failures = append(failures, err)
			ended[group] = false // it stays, with what is held
		}
	}
	for group, over := range ended {
		if over {
			failures = append(failures, w.remove(ctx, "windows/"+group))
		}
	}
	return errors.Join(failures...)
}

// heldGroups returns the names of what is held, by group.
func (w *Windows) heldGroups(ctx context.Context) (map[string][]string, error) {
	names, err := w.list(ctx, "held/", maxHeld)
	groups := map[string][]string{}
	for _, name := range names {
		group := path.Base(path.Dir(name))
		groups[group] = append(groups[group], name)
	}
	return groups, err
}

// endedWindows returns for each window whether it has ended. One whose document is
// unreadable is set aside and not among them, so that what it held is due. One that
// storage does not return stays open.
func (w *Windows) endedWindows(ctx context.Context) (map[string]bool, error) {
	ended := map[string]bool{}
	names, err := w.list(ctx, "windows/", maxListed)
	if err != nil {
		return ended, err
	}
	var failures []error
	for _, name := range names {
		var open window
		_, err := w.read(ctx, name, &open)
		switch {
		case errors.Is(err, errAbsent):
		case errors.Is(err, errUnreadable):
			failures = append(failures, w.setAside(ctx, name))
		default:
			ended[path.Base(name)] = err == nil && !w.now().Before(open.Until)
			failures = append(failures, err)
		}
	}
	return ended, errors.Join(failures...)
}

// setAside keeps an unreadable document for a person and logs where.
func (w *Windows) setAside(ctx context.Context, name string) error {
	err := w.store.setAside(ctx, name)
	if err == nil {
		w.log.Error("a document of a storm is unreadable and was moved; its content is not in a summary",
			"container", Container, "document", unreadable+name)
	}
	return err
}

// summarise posts what the named documents hold and then removes them. Unreadable
// ones are set aside.
func (w *Windows) summarise(ctx context.Context, names []string, post func(context.Context, []*alert.Alert) error) error {
	documents := make([][]*alert.Alert, len(names))
	reading, readCtx := errgroup.WithContext(ctx)
	reading.SetLimit(8)
	for i, name := range names {
		reading.Go(func() error {
			_, err := w.read(readCtx, name, &documents[i])
			switch {
			case errors.Is(err, errAbsent):
				return nil // another instance was faster
			case errors.Is(err, errUnreadable):
				documents[i] = nil // what was decoded before the mistake
				return w.setAside(readCtx, name)
			}
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return fmt.Errorf("summarise a storm: %w", err)
	}
	if alerts := distinct(slices.Concat(documents...)); len(alerts) > 0 {
		if err := post(ctx, alerts); err != nil {
			return err
		}
	}
	var failures []error
	for _, name := range names {
		failures = append(failures, w.remove(ctx, name))
	}
	return errors.Join(failures...)
}

// distinct drops repeats, oldest event first.
func distinct(alerts []*alert.Alert) []*alert.Alert {
	seen := map[string]bool{}
	kept := alerts[:0]
	for _, a := range alerts {
		if !seen[a.AlertId] {
			seen[a.AlertId] = true
			kept = append(kept, a)
		}
	}
	slices.SortStableFunc(kept, func(a, b *alert.Alert) int { return a.EventTime.Compare(b.EventTime) })
	return kept
}
