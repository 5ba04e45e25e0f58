package pipeline

import (
	"context"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/surroundings"
)

// surround completes alerts in place: timeline, tags, and notes. Routine alerts
// are left alone. batch holds the events that arrived with them.
func (p *Pipeline) surround(ctx context.Context, alerts []*alert.Alert, batch []*event.Event) {
	var operations []surroundings.Operation
	for _, ev := range batch {
		if o, ok := surroundings.FromEvent(ev); ok {
			operations = append(operations, o)
		}
	}
	var questions []surroundings.Question
	var asked []*alert.Alert
	for _, a := range alerts {
		if a.Routine {
			continue
		}
		who := caller.Caller{Kind: a.CallerKind, Name: a.CallerName, ID: a.CallerId, AppID: a.CallerAppId}
		questions = append(questions, surroundings.Question{
			Subscription: a.SubscriptionId, Cluster: a.ClusterId, Callers: who.Names(),
			Time: a.EventTime, CorrelationID: a.CorrelationId, Operation: a.Operation,
		})
		asked = append(asked, a)
	}
	for i, answer := range p.Surroundings.Look(ctx, questions, operations) {
		a := asked[i]
		a.ResourceTags, a.Timeline = answer.Tags, nil
		for _, e := range answer.Timeline {
			a.Timeline = append(a.Timeline, alert.TimelineEntry(e))
		}
		if answer.Explanation != "" {
			a.Note(answer.Explanation)
		}
		for _, n := range answer.Notes {
			a.Note(n)
		}
	}
}
