package surroundings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/arm"
)

const maxEntries = 10 // of one timeline

// Why an entry is in a timeline.
const (
	relationCaller  = "caller"
	relationCluster = "cluster"
	relationBoth    = "both"

	// Neither, but it may be about every cluster of the subscription.
	relationSubscription = "subscription"
)

// related is an operation with its place in a timeline: the stages of one operation,
// or several like it.
type related struct {
	*Operation                   // the first record of it
	relation                     string
	time                         time.Time
	outcome, caller, targetShown string
	times                        int             // how often it was done in the same way
	targets                      map[string]bool // to what, in lower case; nil for one
}

// pick chooses the operations that belong to q's caller or cluster, whatever their
// time. It is apart from relate because the alerts of a batch mostly share both.
func pick(q Question, lists ...[]Operation) (found []related) {
	callers := map[string]bool{}
	for _, c := range q.Callers {
		if c = strings.ToLower(strings.TrimSpace(c)); c != "" {
			callers[c] = true
		}
	}
	scope, subscription := scopeOf(q.Cluster), "/subscriptions/"+strings.ToLower(q.Subscription)+"/"
	for _, operations := range lists {
		for i := range operations {
			e := &operations[i]
			relation := ""
			if slices.ContainsFunc(e.Identities, func(id string) bool { return callers[id] }) {
				relation = relationCaller
			}
			if scope.holds(e.resource, e.what.explains) {
				relation = join(relation, relationCluster)
			}
			if relation == "" && q.Subscription != "" && e.wide() && strings.HasPrefix(e.resource, subscription) {
				relation = relationSubscription
			}
			if relation != "" {
				found = append(found, related{
					Operation: e, relation: relation, time: e.Time, outcome: e.Outcome, caller: e.Caller, targetShown: e.Target, times: 1,
				})
			}
		}
	}
	return found
}

// relate places what was picked in q's timeline: what is within LookBack and not the
// deletion itself. The stages of one operation become one, and so do repetitions.
func relate(q Question, picked []related) []related {
	stages := make(map[string]int, len(picked))
	found := make([]related, 0, len(picked))
	for _, c := range picked {
		if c.Time.After(q.Time) || c.Time.Before(q.Time.Add(-LookBack)) || itself(q, c.Operation) {
			continue
		}
		if i, ok := stages[c.stageKey]; ok && c.CorrelationID != "" {
			found[i].mergeStage(c)
			continue
		}
		stages[c.stageKey] = len(found)
		found = append(found, c)
	}
	return collapse(found)
}

// wide reports whether an operation may act on clusters in other resource groups
// than its own.
func (o *Operation) wide() bool {
	return strings.HasPrefix(o.operationKey, "microsoft.chaos/experiments/") || strings.HasPrefix(o.operationKey, "microsoft.containerservice/fleets/updateruns/")
}

func join(a, b string) string {
	switch {
	case a == "" || a == relationSubscription:
		return b
	case a == b || b == relationSubscription:
		return a
	}
	return relationBoth
}

// itself reports whether e is the event that the alert is about. Without a
// correlation id it is known by its moment and operation.
func itself(q Question, e *Operation) bool {
	if q.CorrelationID == "" && e.CorrelationID == "" {
		return e.Time.Equal(q.Time) && strings.EqualFold(e.OperationName, q.Operation)
	}
	return strings.EqualFold(e.CorrelationID, q.CorrelationID) &&
		(q.Operation == "" || strings.EqualFold(e.OperationName, q.Operation) || e.Time.Equal(q.Time))
}

// mergeStage takes in another record of the same operation: when it began, and
// how it ended.
func (r *related) mergeStage(c related) {
	r.relation = join(r.relation, c.relation)
	if final[c.Outcome] > final[r.outcome] {
		r.outcome = c.Outcome
	}
	if c.Time.Before(r.time) {
		r.time = c.Time
	}
	r.caller = cmp.Or(r.caller, c.Caller)
}

// final orders outcomes by how late in an operation they are.
var final = map[string]int{"started": 1, "accepted": 2, "succeeded": 3, "failed": 3}

// collapse makes one entry, at the latest time, of what the same caller did in
// the same way several times.
func collapse(all []related) []related {
	type repeat struct{ operation, caller, outcome, relation string }
	place := make(map[repeat]int, len(all))
	out := all[:0]
	for _, e := range all {
		k := repeat{e.operationKey, e.caller, e.outcome, e.relation}
		i, ok := place[k]
		if !ok {
			place[k] = len(out)
			out = append(out, e)
			continue
		}
		o := &out[i]
		o.times++
		if o.targets == nil {
			o.targets = map[string]bool{o.targetKey: true}
		}
		o.targets[e.targetKey] = true
		if e.time.After(o.time) {
			o.time, o.targetShown = e.time, e.targetShown
		}
	}
	return out
}

// timeline shows the most telling entries, oldest first.
func timeline(all []related) []alert.TimelineEntry {
	telling := func(e *related) int {
		w := e.what.weight
		switch e.relation {
		case relationBoth:
			w += 3
		case relationSubscription:
			w = 0
		}
		return w
	}
	ranked := make([]*related, len(all))
	for i := range all {
		ranked[i] = &all[i]
	}
	slices.SortStableFunc(ranked, func(a, b *related) int {
		return cmp.Or(cmp.Compare(telling(b), telling(a)), b.time.Compare(a.time))
	})
	ranked = ranked[:min(len(ranked), maxEntries)]
	slices.SortStableFunc(ranked, func(a, b *related) int { return a.time.Compare(b.time) })

	out := make([]alert.TimelineEntry, 0, len(ranked))
	for _, e := range ranked {
		words := e.what.words
		if e.times > 1 {
			words += fmt.Sprintf(" (%d times)", e.times)
		}
		on := e.targetShown
		if n := len(e.targets) - 1; n > 0 {
			on += fmt.Sprintf(" and %d more", n)
		}
		out = append(out, alert.TimelineEntry{
			Time: e.time, Operation: words, OperationName: e.OperationName, Target: on,
			Outcome: e.outcome, Caller: e.caller, Relation: e.relation,
		})
	}
	return out
}

// explain returns one sentence when a deployment or a scale operation on the
// cluster may be the reason, or nothing. A failed one explains nothing. The
// latest wins: it is nearest to the deletion.
func explain(q Question, all []related) string {
	var best *related
	for i, e := range all {
		if !e.what.explains || e.relation == relationCaller || e.relation == relationSubscription || e.outcome == "failed" {
			continue
		}
		if best == nil || e.time.After(best.time) {
			best = &all[i]
		}
	}
	if best == nil {
		return ""
	}
	who := cmp.Or(best.caller, "somebody")
	if best.relation == relationBoth {
		who = "the same caller"
	}
	on := ""
	if best.targetShown != "" {
		on = " (" + best.targetShown + ")"
	}
	return fmt.Sprintf("May be explained by what happened %s before: %s %s%s", ago(q.Time.Sub(best.time)), who, best.what.words, on)
}

func ago(d time.Duration) string {
	switch m := int(d.Round(time.Minute).Minutes()); {
	case d < time.Minute:
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	case m == 1:
		return "1 minute"
	default:
		return fmt.Sprintf("%d minutes", m)
	}
}

// A clusterScope decides by resource id what belongs to a cluster.
type clusterScope struct {
	id        string // of the cluster, lower case
	group     string // of its resource group
	nodeGroup string // prefix of the resource group that AKS keeps its nodes in
}

func scopeOf(cluster string) clusterScope {
	s := clusterScope{id: strings.ToLower(strings.TrimRight(cluster, "/"))}
	id, ok := arm.Parse(s.id)
	if !ok || id.Group == "" || id.Type == "" {
		return s
	}
	s.group = id.Ancestor(2)
	if id.Provider == "microsoft.containerservice" {
		// The default name; one chosen by hand is not known from here.
		s.nodeGroup = "/subscriptions/" + id.Subscription + "/resourcegroups/mc_" + id.Group + "_" + id.Name + "_"
	}
	return s
}

// holds reports whether the resource is the cluster, lies below it, or is one
// of its nodes. A deployment or another change that explains deletions also
// counts on the whole resource group. id is in lower case.
func (s clusterScope) holds(id string, explains bool) bool {
	switch {
	case s.id == "":
		return false
	case id == s.id, strings.HasPrefix(id, s.id+"/"):
		return true
	case s.nodeGroup != "" && strings.HasPrefix(id, s.nodeGroup):
		return true
	case explains && s.group != "":
		return id == s.group || strings.HasPrefix(id, s.group+"/providers/microsoft.resources/deployments/")
	}
	return false
}
