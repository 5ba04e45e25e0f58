package surroundings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
)

const (
	lookback   = 25 * time.Minute // how far a timeline reaches, as the rule does
	maxEntries = 10               // of one timeline
)

// Why an entry is in a timeline.
const (
	relationCaller  = "caller"
	relationCluster = "cluster"
	relationBoth    = "both"
)

// related is an Entry with its place in one request's timeline.
type related struct {
	Entry
	relation string
	times    int      // how often it was done in the same way
	targets  []string // to what, each once
}

// relate picks the entries that belong to r: by its caller or on its cluster,
// within lookback, and not the deletion itself. The stages of one operation
// become one entry, and so do repetitions.
func relate(r Request, entries []Entry) []related {
	callers := map[string]bool{}
	for _, c := range r.Callers {
		if c = strings.ToLower(strings.TrimSpace(c)); c != "" {
			callers[c] = true
		}
	}
	scope := scopeOf(r)
	stages := map[string]int{}
	var found []related
	for _, e := range entries {
		if e.Time.After(r.Time) || e.Time.Before(r.Time.Add(-lookback)) || itself(r, e) {
			continue
		}
		relation := ""
		if slices.ContainsFunc(e.Identities, func(id string) bool { return callers[id] }) {
			relation = relationCaller
		}
		if scope.holds(e.resource, e.what.explains) {
			relation = join(relation, relationCluster)
		}
		if relation == "" {
			continue
		}
		key := strings.ToLower(e.CorrelationID + "\x00" + e.OperationName + "\x00" + e.ResourceID)
		if i, ok := stages[key]; ok && e.CorrelationID != "" {
			found[i].mergeStage(e)
			found[i].relation = join(found[i].relation, relation)
			continue
		}
		stages[key] = len(found)
		found = append(found, related{Entry: e, relation: relation, times: 1, targets: []string{e.Target}})
	}
	return collapse(found)
}

func join(a, b string) string {
	if a == "" || a == b {
		return b
	}
	return relationBoth
}

// itself reports whether e is the event that the alert is about.
func itself(r Request, e Entry) bool {
	return r.CorrelationID != "" && strings.EqualFold(e.CorrelationID, r.CorrelationID) &&
		(r.Operation == "" || strings.EqualFold(e.OperationName, r.Operation) || e.Time.Equal(r.Time))
}

// mergeStage takes in another record of the same operation: when it began, and
// how it ended.
func (r *related) mergeStage(e Entry) {
	if final(e.Outcome) > final(r.Outcome) {
		r.Outcome = e.Outcome
	}
	if e.Time.Before(r.Time) {
		r.Time = e.Time
	}
	if r.Caller == "" {
		r.Caller, r.Identities = e.Caller, e.Identities
	}
}

func final(outcome string) int {
	switch outcome {
	case "succeeded", "failed":
		return 3
	case "accepted":
		return 2
	case "started":
		return 1
	}
	return 0
}

// collapse makes one entry, at the latest time, of what the same caller did in
// the same way several times.
func collapse(all []related) []related {
	place := map[string]int{}
	var out []related
	for _, e := range all {
		key := strings.ToLower(strings.Join([]string{e.OperationName, e.Caller, e.Outcome, e.relation}, "\x00"))
		i, ok := place[key]
		if !ok {
			place[key] = len(out)
			out = append(out, e)
			continue
		}
		o := &out[i]
		o.times += e.times
		if !slices.ContainsFunc(o.targets, func(t string) bool { return strings.EqualFold(t, e.Target) }) {
			o.targets = append(o.targets, e.Target)
		}
		if e.Time.After(o.Time) {
			o.Time, o.Target = e.Time, e.Target
		}
	}
	return out
}

// timeline shows the most telling entries, oldest first.
func timeline(all []related) []alert.TimelineEntry {
	telling := func(e related) int {
		w := e.what.weight
		if e.relation == relationBoth {
			w += 3
		}
		return w
	}
	ranked := slices.Clone(all)
	slices.SortStableFunc(ranked, func(a, b related) int {
		return cmp.Or(cmp.Compare(telling(b), telling(a)), b.Time.Compare(a.Time))
	})
	ranked = ranked[:min(len(ranked), maxEntries)]
	slices.SortStableFunc(ranked, func(a, b related) int { return a.Time.Compare(b.Time) })

	out := make([]alert.TimelineEntry, 0, len(ranked))
	for _, e := range ranked {
		words := e.what.words
		if e.times > 1 {
			words += fmt.Sprintf(" (%d times)", e.times)
		}
		on := e.Target
		if n := len(e.targets) - 1; n > 0 {
			on += fmt.Sprintf(" and %d more", n)
		}
		out = append(out, alert.TimelineEntry{
			Time: e.Time, Operation: words, OperationName: e.OperationName, Target: on,
			Outcome: e.Outcome, Caller: e.Caller, Relation: e.relation,
		})
	}
	return out
}

// explain says in one sentence that a deployment or a scale operation on the
// cluster may be the reason, or nothing. A failed one explains nothing. The
// latest wins: it is nearest to the deletion.
func explain(r Request, all []related) string {
	var best *related
	for i, e := range all {
		if !e.what.explains || e.relation == relationCaller || e.Outcome == "failed" {
			continue
		}
		if best == nil || e.Time.After(best.Time) {
			best = &all[i]
		}
	}
	if best == nil {
		return ""
	}
	who := cmp.Or(best.Caller, "somebody")
	if best.relation == relationBoth {
		who = "the same caller"
	}
	on := ""
	if best.Target != "" {
		on = " (" + best.Target + ")"
	}
	return fmt.Sprintf("May be explained by what happened %s before: %s %s%s", ago(r.Time.Sub(best.Time)), who, best.what.words, on)
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

// A clusterScope tells what belongs to a cluster by resource id.
type clusterScope struct {
	id        string // of the cluster, lower case
	group     string // of its resource group
	nodeGroup string // prefix of the resource group that AKS keeps its nodes in
}

func scopeOf(r Request) clusterScope {
	id := strings.ToLower(strings.TrimRight(r.Cluster, "/"))
	s := clusterScope{id: id}
	parts := strings.Split(strings.Trim(id, "/"), "/")
	if len(parts) < 8 || parts[0] != "subscriptions" || parts[2] != "resourcegroups" {
		return s
	}
	s.group = "/" + strings.Join(parts[:4], "/")
	if parts[5] == "microsoft.containerservice" {
		// The default name; one chosen by hand is not known from here.
		s.nodeGroup = "/subscriptions/" + parts[1] + "/resourcegroups/mc_" + parts[3] + "_" + parts[7] + "_"
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
