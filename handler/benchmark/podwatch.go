package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/surroundings"
)

// accepting is a sink that accepts at once.
type accepting struct{}

func (accepting) Name() string { return "accepting" }

func (accepting) Post(_ context.Context, g alert.Group) (int, error) { return len(g.Alerts), nil }

// stages are those of the app, with a sink that accepts and without look-ups. Its
// ledger is new for each batch, so that the same batch is delivered again.
type stages struct {
	reader   *invocation.Reader
	detector *detect.Detector
	enricher *enrich.Enricher
	log      *slog.Logger
	matches  *atomic.Int64
}

func (s *stages) Detect(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	batch, err := s.reader.Read(ctx, body, s.detector.Filter())
	if err != nil {
		return nil, nil, err
	}
	dispatcher := deliver.New([]deliver.Route{{Sink: accepting{}}}, state.NewLedger(state.NewMemory(), s.log), new(state.Storms), new(state.DeadLetters), s.log)
	found := s.detector.Detect(batch, false)
	pending := dispatcher.Pending(ctx, found.Findings)
	around := s.detector.Around(batch, pending)
	result := dispatcher.Deliver(ctx, s.enricher.Enrich(ctx, pending, around))
	if result.Delivered != len(found.Findings) || batch.Err() != nil {
		return nil, nil, fmt.Errorf("%d of %d alerts delivered, %v", result.Delivered, len(found.Findings), batch.Err())
	}
	s.matches.Store(int64(found.Matches))
	return batch.Reply(), []slog.Attr{slog.Int("matches", found.Matches)}, nil
}

func (*stages) Redeliver(context.Context, io.Reader) (*invocation.Reply, []slog.Attr, error) {
	return nil, nil, errors.New("the benchmark has Detect alone")
}

func (*stages) Heartbeat(context.Context, io.Reader) (*invocation.Reply, []slog.Attr, error) {
	return nil, nil, errors.New("the benchmark has Detect alone")
}

// newPodwatch serves an invocation as the handler does; sinks are not counted.
func newPodwatch() (contestant, error) {
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		return contestant{}, err
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	s := &stages{
		reader: invocation.NewReader(96<<20, 192<<20), detector: detect.New(set, false), log: log, matches: new(atomic.Int64),
		enricher: enrich.New(enrich.Parts{
			Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: new(exception.Set),
			Now: time.Now, Log: log,
		}),
	}
	return contestant{Handler: server.New(s, log), matches: s.matches}, nil
}

// newHandler serves all that the handler does with the settings of the environment;
// without sinks its alerts are written to the console, which is dropped.
func newHandler() (contestant, error) {
	cfg, err := config.Load(os.Getenv, os.TempDir())
	if err != nil {
		return contestant{}, err
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	a, err := app.New(cfg, log, io.Discard)
	if err != nil {
		return contestant{}, err
	}
	return contestant{Handler: server.New(a, log), matches: new(atomic.Int64)}, nil
}
