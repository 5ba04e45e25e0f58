package enrich

import (
	"context"
	"iter"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/surroundings"
)

// lookAround adds to alerts what else their callers did, and what else happened to
// their clusters. Nothing is asked on account of routine.
func (e *Enricher) lookAround(ctx context.Context, drafts []*draft, around iter.Seq[*event.Event]) {
	var questions []surroundings.Question
	var asked []*draft
	for _, d := range drafts {
		if !d.Routine {
			asked = append(asked, d)
			questions = append(questions, surroundings.Question{
				Subscription: d.SubscriptionId, Cluster: d.ClusterId, Callers: d.who.Names(),
				Time: d.EventTime, CorrelationID: d.CorrelationId, Operation: d.Operation,
			})
		}
	}
	for i, answer := range e.Surroundings.Look(ctx, questions, surroundings.FromEvents(around)) {
		d := asked[i]
		d.ResourceTags, d.Timeline = answer.Tags, answer.Timeline
		if answer.Explanation != "" {
			d.Note(answer.Explanation)
		}
		for _, n := range answer.Notes {
			d.Note(n)
		}
	}
}
