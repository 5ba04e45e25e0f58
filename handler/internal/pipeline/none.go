package pipeline

import (
	"context"
	"errors"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// None stands for every part that is switched off: it looks nothing up,
// suppresses nothing, holds nothing back and keeps nothing.
type None struct{}

// Resolve leaves the callers as the records tell them.
func (None) Resolve(context.Context, []*caller.Caller) {}

// Surround adds nothing.
func (None) Surround(context.Context, []*alert.Alert, []*event.Event) {}

// Suppress finds no exception.
func (None) Suppress(*alert.Alert, func() kql.Document) string { return "" }

// Admit posts everything at once.
func (None) Admit(context.Context, []*alert.Alert) (bool, error) { return true, nil }

// Hold is never called, since Admit admits.
func (None) Hold(context.Context, []*alert.Alert) error { return nil }

// Summaries has nothing held.
func (None) Summaries(context.Context, func(context.Context, []*alert.Alert) error) error { return nil }

// Wants asks for no sources.
func (None) Wants() bool { return false }

// Seen keeps nothing.
func (None) Seen(context.Context, []string) error { return nil }

// Check knows of nothing to report.
func (None) Check(context.Context, func(context.Context, *alert.Alert) error) error { return nil }

// Bury refuses, so that whoever has an alert keeps it.
func (None) Bury(context.Context, *alert.Alert) error {
	return errors.New("there is no poison queue without storage")
}
