package teams

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/arm"
)

// list names the alerts of a group: each by time, or the workloads if there are
// more than the card has lines for.
func (d drawing) list() []element {
	if d.Total < 2 {
		return nil
	}
	var lines []element
	if d.Groups > 1 {
		lines = append(lines, tight(bold(fmt.Sprintf("%s of %s: different rules, callers or clusters.", count(d.Total, "alert"), count(d.Groups, "group")))))
	}
	if d.partial() {
		lines = append(lines, tight(bold(fmt.Sprintf("The first %d of %d alerts:", len(d.Alerts), d.Total))))
	}
	if len(d.Alerts) <= d.shape.list {
		return []element{container(append(lines, d.each()...)...)}
	}
	return []element{container(append(lines, d.workloads()...)...)}
}

// each is a line for each alert.
func (d drawing) each() []element {
	layout := time.TimeOnly
	if d.first.EventTime.UTC().Format(time.DateOnly) != d.Alerts[len(d.Alerts)-1].EventTime.UTC().Format(time.DateOnly) {
		layout = dateTime
	}
	var lines []element
	for _, a := range d.Alerts {
		runs := []element{subtle(a.EventTime.UTC().Format(layout) + "  "), run(d.object(a))}
		if a.DeletionKind == alert.DeletionEviction {
			runs = append(runs, subtle(" evicted"))
		}
		lines = append(lines, tight(runs...))
	}
	return lines
}

// object names what an alert is about, within its cluster.
func (d drawing) object(a *alert.Alert) string {
	switch {
	case a.Pod != "" && a.Namespace != "":
		return d.show(a.Namespace + "/" + a.Pod)
	case a.DeletionKind == alert.DeletionCollection && a.Namespace != "":
		return "pods of namespace " + d.show(a.Namespace)
	}
	return d.show(cmp.Or(a.Pod, a.Namespace, a.ResourceId))
}

// workloads counts by workload, the fewest first: a single deletion among
// hundreds is what a reader must not miss. Then it counts by namespace.
func (d drawing) workloads() []element {
	tallies := tally(d.Alerts, func(a *alert.Alert) string { return a.Namespace + "/" + workload(a) })
	shown := tallies[:min(len(tallies), d.shape.list)]
	var lines []element
	for _, t := range shown {
		lines = append(lines, tight(run(d.show(strings.TrimPrefix(t.name, "/"))), subtle("  "+t.String())))
	}
	if rest := tallies[len(shown):]; len(rest) > 0 {
		more := 0
		for _, t := range rest {
			more += len(t.alerts)
		}
		lines = append(lines, tight(bold(fmt.Sprintf("and %s with %s", count(len(rest), "more workload"), count(more, "alert")))))
	}
	var spaces []string
	for _, t := range tally(d.Alerts, func(a *alert.Alert) string { return a.Namespace }) {
		spaces = append(spaces, d.plain(cmp.Or(t.name, "none"))+" ("+t.String()+")")
	}
	return append(lines, tight(subtle("By namespace: "), run(someOf(spaces, d.shape.list))))
}

// A tallied is the alerts that have one name in common.
type tallied struct {
	name   string
	alerts []*alert.Alert
}

// tally sorts alerts by a name, those with the fewest alerts first.
func tally(alerts []*alert.Alert, name func(*alert.Alert) string) []tallied {
	byName := map[string][]*alert.Alert{}
	for _, a := range alerts {
		byName[name(a)] = append(byName[name(a)], a)
	}
	var all []tallied
	for name, alerts := range byName {
		all = append(all, tallied{name, alerts})
	}
	slices.SortFunc(all, func(a, b tallied) int {
		return cmp.Or(cmp.Compare(len(a.alerts), len(b.alerts)), cmp.Compare(a.name, b.name))
	})
	return all
}

// String counts different pods, and deletions if they are more.
func (t tallied) String() string {
	switch pods, all := different(t.alerts), len(t.alerts); {
	case t.alerts[0].Pod == "":
		return count(all, "alert")
	case pods < all:
		return fmt.Sprintf("%s, deleted %s", count(pods, "pod"), times(all))
	default:
		return count(pods, "pod")
	}
}

// different counts the pods of alerts. Those that name none count as one each.
func different(alerts []*alert.Alert) int {
	pods := map[[3]string]bool{}
	n := 0
	for _, a := range alerts {
		if pod := [3]string{a.ClusterId, a.Namespace, a.Pod}; a.Pod == "" || !pods[pod] {
			pods[pod] = true
			n++
		}
	}
	return n
}

// workload guesses the controller of an alert's pod: the name without the
// suffixes that a ReplicaSet, DaemonSet, Job or StatefulSet appends.
func workload(a *alert.Alert) string {
	if a.Pod == "" {
		return arm.Name(a.ResourceId)
	}
	const digits = "0123456789"
	parts := strings.Split(a.Pod, "-")
	if n := len(parts) - 1; n > 0 && (strings.Trim(parts[n], digits) == "" || len(parts[n]) == 5 && !strings.ContainsAny(parts[n], "aeiou")) {
		parts = parts[:n]
		if n--; n > 0 && len(parts[n]) >= 6 && len(parts[n]) <= 10 && strings.ContainsAny(parts[n], digits) {
			parts = parts[:n]
		}
	}
	return strings.Join(parts, "-")
}

// notes gathers the notes of the alerts of a card, each once.
func notes(alerts []*alert.Alert) []string {
	const most = 100
	var all []string
	for _, a := range alerts {
		for _, n := range a.Notes {
			if len(all) < most && !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// cautions are the notes that the card has room for. They are never behind a
// button: who reads an alert needs to know what is uncertain about it.
func (d drawing) cautions() []element {
	shown := d.remarks[:min(len(d.remarks), d.shape.notes)]
	var lines []element
	for _, n := range shown {
		if n = d.plain(n); n != "" {
			lines = append(lines, tight(bold("Note: "), run(n)))
		}
	}
	if more := len(d.remarks) - len(shown); more > 0 {
		lines = append(lines, tight(run("and "+count(more, "more note"))))
	}
	if len(lines) == 0 {
		return nil
	}
	return []element{container(lines...)}
}
