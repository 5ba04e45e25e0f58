package teams

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
)

// maxURL is the most bytes of a button's address.
const maxURL = 4 << 10

// detailItems are what is known of the first alert beyond the face.
func (d drawing) detailItems() []element {
	if !d.details {
		return nil
	}
	a := d.first
	var lines []element
	if d.Total > 1 {
		lines = append(lines, rich(subtle("Of the first of them:")))
	}
	add := func(label string, values ...string) {
		var text []string
		for _, v := range values {
			if v = d.plain(v); v != "" {
				text = append(text, v)
			}
		}
		if len(text) > 0 {
			lines = append(lines, tight(subtle(label+"  "), run(strings.Join(text, ", "))))
		}
	}
	add("Operation", a.Operation)
	add("Outcome", a.Outcome)
	if a.ResourceId != d.cluster() {
		add("Resource", a.ResourceId)
	}
	add("Application", a.CallerAppName, a.CallerAppId)
	add("User agent", a.UserAgent)
	add("Role", a.CallerRole)
	add("Belongs to", a.CallerOwnerResource)
	add("Cluster tags", tags(a)...)
	add("Tactic", a.Tactics[:min(len(a.Tactics), 5)]...)
	add("Technique", a.Techniques[:min(len(a.Techniques), 5)]...)
	add("Correlation", a.CorrelationId)
	add("Rule", a.RuleId)
	add("Alert", a.AlertId)
	return lines
}

// tags returns the cluster's tags, by name.
func tags(a *alert.Alert) []string {
	const most = 15
	names := slices.Sorted(maps.Keys(a.ResourceTags))
	var tags []string
	for _, name := range names[:min(len(names), most)] {
		tags = append(tags, name+"="+a.ResourceTags[name])
	}
	if more := len(names) - most; more > 0 {
		tags = append(tags, fmt.Sprintf("and %d more", more))
	}
	return tags
}

// timeline gathers the operations around the alerts of a card, each once.
func timeline(alerts []*alert.Alert) []alert.TimelineEntry {
	const most = 50 // alerts; those of one caller and cluster have much the same
	var entries []alert.TimelineEntry
	seen := map[alert.TimelineEntry]bool{}
	for _, a := range alerts[:min(len(alerts), most)] {
		for _, e := range a.Timeline {
			e.Time = e.Time.UTC()
			if !seen[e] {
				seen[e] = true
				entries = append(entries, e)
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b alert.TimelineEntry) int { return a.Time.Compare(b.Time) })
	return entries
}

// timelineEntries are the latest operations that the card has room for.
func (d drawing) timelineEntries() []alert.TimelineEntry {
	return d.entries[max(len(d.entries)-d.shape.timeline, 0):]
}

func (d drawing) timelineItems() []element {
	var lines []element
	for _, e := range d.timelineEntries() {
		runs := []element{subtle(e.Time.Format(time.TimeOnly) + "  "), bold(d.show(e.Operation))}
		if target := d.plain(e.Target); target != "" {
			runs = append(runs, run(" on "+target))
		}
		if outcome := plain(e.Outcome, min(d.value, 40)); outcome != "" {
			runs = append(runs, run(", "+outcome))
		}
		if caller := d.plain(e.Caller); caller != "" {
			runs = append(runs, subtle(", by "+caller))
		}
		lines = append(lines, tight(runs...))
	}
	return lines
}

// links are the buttons to the portal.
func (d drawing) links() []element {
	var buttons []element
	for _, l := range []struct{ title, address string }{
		{"Open cluster", d.first.Links.Cluster},
		{"Activity log", d.first.Links.ActivityLog},
		{"Query", d.first.Links.Query},
	} {
		if portalURL(l.address) {
			buttons = append(buttons, open(l.title, l.address))
		}
	}
	return buttons
}

// portals are the hosts that buttons may lead to.
var portals = []string{"portal.azure.com", "portal.azure.us", "portal.azure.cn"}

// portalURL reports an address that a button may have.
func portalURL(address string) bool {
	if len(address) > maxURL || strings.Contains(address, "{{") {
		return false
	}
	for i := range len(address) {
		if address[i] <= ' ' || address[i] >= 0x7f {
			return false
		}
	}
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.User == nil && slices.Contains(portals, u.Host)
}
