package app

import (
	"context"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/outbound"
)

// A down is a sink that is wanted and cannot be asked until somebody mends a setting.
// Its alerts wait in the queue, as those of a sink that refuses podwatch do.
type down struct {
	name, service string
	cause         error
}

// Name returns the name of the sink that is down.
func (d down) Name() string { return d.name }

// Post fails for all alerts of the group.
func (d down) Post(_ context.Context, g alert.Group) (int, error) {
	return len(g.Alerts), &outbound.Error{Service: d.service, Kind: outbound.Forbidden, Err: d.cause}
}

// sinkDown adds a sink that is down; a nil cause is none.
func (b *builder) sinkDown(name, service string, cause error, people bool) {
	if cause == nil {
		return
	}
	s := down{name, service, cause}
	b.down = append(b.down, s)
	b.routes = append(b.routes, deliver.Route{Sink: s, People: people})
}
