package detect

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
)

// Bounds of what is read around the findings of a batch.
const (
	maxAround  = 50        // events; a timeline shows ten
	reach      = 128 << 10 // bytes before and after a finding
	maxReached = 256 << 10 // bytes in all
)

// Around returns events that happened beside the findings that are looked up, in
// the order of their time: of the same callers, or of the same clusters. They have
// memory of their own. Only records near a finding are looked at, the nearest first.
// Nothing is looked for on account of routine.
func (d *Detector) Around(b Batch, findings []alert.Finding) []*event.Event {
	signals := alert.Signals{}
	findings = slices.DeleteFunc(slices.Clone(findings), func(f alert.Finding) bool { return f.Routine || !signals.Within(f.Rule) })
	related := relatedTo(findings)
	if related == nil {
		return nil
	}
	n := &neighbours{Detector: d, text: b.Text(), related: related}
	for _, f := range findings {
		n.look(f)
	}
	return n.events()
}

// relatedTo returns the search for the names of callers and clusters, and for what
// acts on the clusters of a whole subscription; nil without a name.
func relatedTo(findings []alert.Finding) *prefilter.Filter {
	var again rereader
	names := map[string]bool{}
	for _, f := range findings {
		again.reread(f.Record, f.Nth, func(ev *event.Event) {
			who := caller.From(ev)
			for _, name := range append(who.Names(), groupOf(ev.Resource().ClusterID)) {
				names[strings.TrimSpace(name)] = true
			}
		})
	}
	delete(names, "")
	if len(names) == 0 {
		return nil
	}
	literals := []prefilter.Literal{{Text: "Microsoft.Chaos"}, {Text: "updateRuns"}} // act on clusters of other resource groups
	for name := range names {
		literals = append(literals, prefilter.Literal{Text: name})
	}
	return prefilter.New(literals)
}

// groupOf returns the resource group of a cluster, which is also part of the name
// of its nodes' group. An id without one stands for itself.
func groupOf(clusterID string) string {
	if id, ok := arm.Parse(clusterID); ok && id.Group != "" {
		return id.Group
	}
	return clusterID
}

// neighbours are the records near findings.
type neighbours struct {
	*Detector
	text    jsontext.Text
	related *prefilter.Filter

	reached int // all before this position was looked at
	bytes   int // looked at
	found   []neighbour
}

type neighbour struct {
	jsontext.Text
	distance int
}

// look walks over the records near a finding and keeps those that are related.
func (n *neighbours) look(f alert.Finding) {
	from, to := max(f.At-reach, n.reached), min(f.At+len(f.Record.Raw)+reach, len(n.text.Raw))
	for pos := from; pos < to && n.bytes < maxReached; {
		start, end, ok := next(n.text, pos)
		if !ok {
			break
		}
		n.bytes += end - pos
		pos, n.reached = end, end
		record := n.text.Cut(start, end)
		if n.related.Contains(record.Raw) && n.telling.contains(record.Raw) {
			n.found = append(n.found, neighbour{record, max(start-f.At, f.At-start)})
		}
	}
}

// events reads the nearest.
func (n *neighbours) events() []*event.Event {
	slices.SortStableFunc(n.found, func(a, b neighbour) int { return cmp.Compare(a.distance, b.distance) })
	var events []*event.Event
	var plain []byte
	for _, near := range n.found {
		if len(events) == maxAround {
			break
		}
		var err error
		if plain, err = near.Plain(plain[:0]); err != nil {
			continue
		}
		// What cannot be read is reported where a rule may match it.
		if ev, err := event.Read(plain, 0); err == nil && (ev.Dataset() == event.ActivityLogs || ev.Audit() != nil) {
			events = append(events, ev)
		}
	}
	slices.SortFunc(events, func(a, b *event.Event) int {
		return cmp.Or(a.Time().Compare(b.Time()), bytes.Compare(a.Raw(), b.Raw()))
	})
	return events
}

// telling finds records that may have a place in a timeline. Of a cluster's audit
// log those are a change, or what looks like an intrusion, of something that is
// about pods; most of the log is neither.
type telling struct{ audit, verbs, resources *prefilter.Filter }

func newTelling() telling {
	return telling{
		audit: prefilter.New([]prefilter.Literal{{Text: "kube-audit"}}),
		verbs: words("create", "update", "patch", "delete", "deletecollection", "exec", "attach", "secrets"),
		resources: words("deployments", "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs",
			"nodes", "namespaces", "pods", "rolebindings", "clusterrolebindings", "secrets", "events"),
	}
}

func (t telling) contains(raw []byte) bool {
	return !t.audit.Contains(raw) || t.verbs.Contains(raw) && t.resources.Contains(raw)
}

// words finds complete strings; "system:nodes" is not "nodes".
func words(texts ...string) *prefilter.Filter {
	var literals []prefilter.Literal
	for _, text := range texts {
		literals = append(literals, prefilter.Literal{Text: text, Whole: true})
	}
	return prefilter.New(literals)
}
