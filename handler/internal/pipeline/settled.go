package pipeline

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
)

// settled is what the ledger answered about one batch: which of its alerts need
// no delivery to which sink. The ledger is asked once, before the look-ups, and
// again only for what another invocation delivered meanwhile. The caller closes
// it.
type settled struct {
	pipeline *Pipeline
	landings *landings

	mu    sync.Mutex
	known map[flight]bool
}

// asksAtOnce bounds the questions to the ledger about one batch.
const asksAtOnce = 64

// ask asks the ledger about each alert, for each of the sinks that may want it.
func (p *Pipeline) ask(ctx context.Context, routes []Route, alerts []*alert.Alert) *settled {
	s := &settled{pipeline: p, landings: p.flights.watch(), known: map[flight]bool{}}
	var questions []flight
	for _, a := range alerts {
		for _, route := range routes {
			if p.mayWant(route, a) {
				questions = append(questions, flight{route.Name(), a.AlertId})
			}
		}
	}
	s.ask(ctx, questions)
	return s
}

func (s *settled) close() { s.pipeline.flights.unwatch(s.landings) }

// ask enters the ledger's answers. Without an answer an alert counts as not
// delivered: twice is better than never.
func (s *settled) ask(ctx context.Context, questions []flight) {
	var failures []error
	var asking errgroup.Group
	asking.SetLimit(asksAtOnce)
	for _, q := range questions {
		asking.Go(func() error {
			done := false
			err := s.pipeline.guard("ask the ledger", func() (err error) {
				done, err = s.pipeline.Ledger.Delivered(ctx, q.sink, q.alertID)
				return err
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			s.known[q] = done && err == nil
			if err != nil {
				failures = append(failures, err)
			}
			return nil
		})
	}
	_ = asking.Wait() // always nil
	if len(failures) > 0 {
		s.pipeline.Log.Warn("the ledger cannot be read; alerts may be delivered twice", "questions", len(questions),
			"failed", len(failures), "err", failures[0])
	}
}

// has reports whether the sink needs no delivery of the alert.
func (s *settled) has(sink, alertID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[flight{sink, alertID}]
}

// lacking returns the alerts that the sink does not have. No other invocation of
// this process may be delivering them.
func (s *settled) lacking(ctx context.Context, route Route, alerts []*alert.Alert) []*alert.Alert {
	var outdated []flight
	for _, a := range alerts {
		if f := (flight{route.Name(), a.AlertId}); s.pipeline.flights.landed(s.landings, f) {
			outdated = append(outdated, f)
		}
	}
	s.ask(ctx, outdated)
	return slices.DeleteFunc(slices.Clone(alerts), func(a *alert.Alert) bool { return s.has(route.Name(), a.AlertId) })
}

// everywhere reports whether every sink that may want the alert has it.
func (p *Pipeline) everywhere(settled *settled, a *alert.Alert) bool {
	wanted := false
	for _, route := range p.Routes {
		if !p.mayWant(route, a) {
			continue
		}
		wanted = true
		if !settled.has(route.Name(), a.AlertId) {
			return false
		}
	}
	return wanted
}
