package teams

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/arm"
)

// face is what one look at the card shows: the rule, how severe, expected or
// not, and who did what where.
func (d drawing) face() element {
	title := bold(d.show(d.first.RuleName))
	title.Size = "Large"
	level := []element{run(strings.ToUpper(d.severity()) + " severity")}
	if d.first.RiskScore > 0 {
		level = append(level, run(fmt.Sprintf(", risk %d", d.first.RiskScore)))
	}
	face := container(rich(title))
	if d.own() {
		face.Items = append(face.Items, rich(level...))
	} else {
		face.Items = append(face.Items, rich(append(level, run(" · "), bold(d.expectation()))...), rich(d.sentence()...))
	}
	face.Style, face.Bleed = d.style(), true
	return face
}

// styles are the colours of the face, by severity.
var styles = map[string]string{"low": "accent", "medium": "warning", "high": "attention", "critical": "attention"}

// severity is one of those that there are, whatever an alert from the queue names.
func (d drawing) severity() string {
	if s := strings.ToLower(d.first.Severity); styles[s] != "" {
		return s
	}
	return "unknown"
}

// style is the colour of the face.
func (d drawing) style() string {
	if d.first.Suppressed || d.first.Routine {
		return "good"
	}
	return cmp.Or(styles[d.severity()], "accent")
}

func (d drawing) expectation() string {
	switch {
	case d.first.Suppressed:
		return "Expected: covered by the exception " + d.show(d.first.SuppressedBy)
	case d.first.Routine:
		return "Routine: Kubernetes' own work"
	}
	return "Not expected: no exception covers it"
}

// who is the best name of an alert's caller, or empty.
func (d drawing) who(a *alert.Alert) string {
	for _, name := range []string{a.CallerName, a.CallerAppName, a.CallerId, a.CallerAppId} {
		if strings.TrimSpace(name) != "" {
			return name
		}
	}
	return ""
}

// sentence is who did what where.
func (d drawing) sentence() []element {
	s := []element{bold(cmp.Or(someOf(d.distinct(d.who), 2), "An unknown caller"))}
	if d.first.DeletionKind == "" {
		s = append(s, run(": "+cmp.Or(d.plain(d.first.Operation), "an unknown operation")))
		if d.Total > 1 {
			s = append(s, run(", "+times(d.Total)))
		}
		if d.first.Pod != "" {
			return append(s, run(" on pod "), bold(d.object(d.first)), run(" of cluster "), bold(d.show(d.first.ClusterName)))
		}
		if name := d.plain(arm.Name(d.first.ResourceId)); name != "" {
			s = append(s, run(" on "), bold(name))
		}
		return s
	}
	s = append(append(s, run(" "+d.verb()+" ")), d.pods()...)
	switch spaces := d.namespaces(); {
	case len(spaces) == 0:
	case d.partial():
		s = append(s, run(" in "+someOf(spaces, 2)+" and perhaps other namespaces"))
	case len(spaces) == 1:
		s = append(s, run(" in namespace "), bold(spaces[0]))
	default:
		s = append(s, run(fmt.Sprintf(" in %d namespaces", len(spaces))))
	}
	if names := d.distinct(func(a *alert.Alert) string { return a.ClusterName }); len(names) > 0 {
		s = append(s, run(" of cluster "), bold(someOf(names, 2)))
	}
	return s
}

// verb is what was done to the pods.
func (d drawing) verb() string {
	switch d.number(func(a *alert.Alert) bool { return a.DeletionKind == alert.DeletionEviction }) {
	case 0:
		return "deleted"
	case len(d.Alerts):
		return "evicted"
	}
	return "deleted or evicted"
}

// number counts the alerts of which something holds.
func (d drawing) number(holds func(*alert.Alert) bool) (n int) {
	for _, a := range d.Alerts {
		if holds(a) {
			n++
		}
	}
	return n
}

// pods names a single pod and counts several: a pod of a StatefulSet keeps its
// name, so that it can be deleted again. A deletion of a collection names no
// pod, and means any number of them.
func (d drawing) pods() []element {
	n := different(d.Alerts)
	collection := d.number(func(a *alert.Alert) bool { return a.DeletionKind == alert.DeletionCollection }) > 0
	switch {
	case (collection || d.partial()) && d.Total > 1:
		return []element{bold("pods"), run(", " + times(d.Total) + d.byForce(","))}
	case collection:
		return []element{bold("pods")}
	case n > 1 && n < d.Total:
		return []element{bold(count(n, "pod")), run(", " + times(d.Total) + " in all" + d.byForce(","))}
	case n > 1:
		return []element{bold(count(n, "pod"))}
	case d.first.Pod == "":
		return []element{run("a pod")}
	case d.Total > 1:
		return []element{run("pod "), bold(d.show(d.first.Pod)), run(" " + times(d.Total) + d.byForce(""))}
	}
	return []element{run("pod "), bold(d.show(d.first.Pod))}
}

// byForce is how many of the deletions left the pods no time, if not all did alike.
// none is what it is otherwise.
func (d drawing) byForce(none string) string {
	forced := d.number((*alert.Alert).Forced)
	if forced == 0 || forced == len(d.Alerts) {
		return none
	}
	return ", " + times(forced) + " by force,"
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// partial reports a group of which some alerts are not known.
func (d drawing) partial() bool { return d.Total > len(d.Alerts) }

func (d drawing) namespaces() []string {
	return d.distinct(func(a *alert.Alert) string { return a.Namespace })
}

// facts are the rows below the face.
func (d drawing) facts() []element {
	if d.own() {
		return []element{d.when()}
	}
	var rows []element
	add := func(label string, value []element) {
		if len(value) > 0 {
			rows = append(rows, row(label, rich(value...)))
		}
	}
	add("Who", d.caller(d.first))
	add("From", d.from(d.first))
	add("Where", d.where(d.first))
	rows = append(rows, d.when())
	add("Before", d.before())
	return rows
}

func (d drawing) caller(a *alert.Alert) []element {
	if callers := d.distinct(d.who); len(callers) > 1 {
		return []element{bold(someOf(callers, 5))}
	}
	who := d.who(a)
	runs := []element{bold(d.show(who))}
	if kind := kinds[a.CallerKind]; kind != "" {
		runs = append(runs, run(", "+kind))
	}
	if as := d.plain(a.CallerActedAs); as != "" {
		runs = append(runs, run(", acting as "), bold(as))
	}
	if id := d.plain(a.CallerId); id != "" && a.CallerId != who {
		runs = append(runs, subtle(" "+id))
	}
	return runs
}

// kinds are a caller's kinds in words.
var kinds = map[string]string{
	"user":                 "a person",
	"servicePrincipal":     "a service principal",
	"managedIdentity":      "a managed identity",
	"microsoftApplication": "an application of Microsoft",
	"kubernetes":           "an account of the cluster",
	"externalIdentity":     "an identity of another issuer",
}

func (d drawing) from(a *alert.Alert) []element {
	var runs []element
	if ips := d.distinct(func(a *alert.Alert) string { return a.CallerIp }); len(ips) > 0 {
		runs = append(runs, run(someOf(ips, 3)))
	}
	client := cmp.Or(d.plain(a.CallerAppName), plain(a.UserAgent, min(d.value, 80)))
	if client != "" && client != d.plain(d.who(a)) {
		if len(runs) > 0 {
			client = " with " + client
		}
		runs = append(runs, run(client))
	}
	return runs
}

func (d drawing) where(a *alert.Alert) []element {
	var runs []element
	if name := d.plain(a.ClusterName); name != "" {
		runs = append(runs, bold(name))
		switch a.ClusterKind {
		case "aks":
			runs = append(runs, run(", AKS cluster"))
		case "arc":
			runs = append(runs, run(", Arc-enabled cluster"))
		case "fleet":
			runs = append(runs, run(", hub cluster of a fleet"))
		}
	} else if name := d.plain(arm.Name(a.ResourceId)); name != "" {
		runs = append(runs, bold(name))
	}
	if group := d.plain(a.ResourceGroup); group != "" {
		runs = append(runs, subtle(" in resource group "+group))
	}
	return runs
}

const dateTime = "2006-01-02 15:04:05"

// when is the time in UTC, and in the reader's own zone, which only the client
// knows.
func (d drawing) when() element {
	first, last := d.first.EventTime.UTC(), d.Alerts[len(d.Alerts)-1].EventTime.UTC()
	text := first.Format(dateTime)
	switch {
	case last.Format(dateTime) == text:
	case last.Format(time.DateOnly) == first.Format(time.DateOnly):
		text += " to " + last.Format(time.TimeOnly)
	default:
		text += " to " + last.Format(dateTime)
	}
	value := []element{rich(bold(text), run(" UTC"))}
	if first.Year() >= 1 && first.Year() <= 9999 {
		stamp := first.Format("2006-01-02T15:04:05Z")
		local := markdown("{{DATE(" + stamp + ", SHORT)}} {{TIME(" + stamp + ")}} in your time zone")
		local.IsSubtle, local.Spacing = true, "None"
		value = append(value, local)
	}
	return row("When", value...)
}

// before is what happened last before the deletion.
func (d drawing) before() []element {
	entries := d.timelineEntries()
	if len(entries) == 0 {
		return nil
	}
	last := entries[len(entries)-1]
	runs := []element{run(d.show(last.Operation))}
	if target := d.plain(last.Target); target != "" {
		runs = append(runs, run(" on "+target))
	}
	if gap := d.first.EventTime.Sub(last.Time); gap >= 0 && !last.Time.IsZero() {
		runs = append(runs, run(", "+roughly(gap)+" earlier"))
	}
	if more := len(entries) - 1; more > 0 {
		runs = append(runs, subtle(fmt.Sprintf(" and %d more: see Timeline", more)))
	}
	return runs
}

func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Hour), "hour")
}
