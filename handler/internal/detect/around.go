package detect

import (
	"cmp"
	"iter"
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
	reach      = 128 << 10 // bytes before and after a finding
	maxReached = 256 << 10 // bytes in all
)

// Around yields events that happened beside the findings that are looked up, the
// nearest first: of the same callers, or of the same clusters. An event is valid until
// the next. Only records near a finding are looked at, and nothing is looked for on
// account of routine.
func (d *Detector) Around(b Batch, findings []alert.Finding) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		signals := alert.Signals{}
		looked := slices.DeleteFunc(slices.Clone(findings), func(f alert.Finding) bool { return f.Routine || !signals.Within(f.Rule) })
		n := &neighbours{Detector: d, text: b.Text()}
		if n.related = n.relatedTo(looked); n.related == nil {
			return
		}
		for _, f := range looked {
			n.look(f)
		}
		n.events(yield)
	}
}

// relatedTo returns the search for the names of callers and clusters, and for what
// acts on the clusters of a whole subscription; nil without a name.
func (n *neighbours) relatedTo(findings []alert.Finding) *prefilter.Filter {
	names := map[string]bool{}
	for _, f := range findings {
		n.reread(f.Record, f.Nth, func(ev *event.Event) {
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
	rereader
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

// events reads the nearest first. What cannot be read is reported where a rule may
// match it.
func (n *neighbours) events(yield func(*event.Event) bool) {
	slices.SortStableFunc(n.found, func(a, b neighbour) int { return cmp.Compare(a.distance, b.distance) })
	for _, near := range n.found {
		more := true
		n.reread(near.Text, 0, func(ev *event.Event) {
			if ev.Dataset() == event.ActivityLogs || ev.HasAudit() {
				more = yield(ev)
			}
		})
		if !more {
			return
		}
	}
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
