package teams

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/arm"
)

// MaxCard is the most bytes of a message. Teams refuses 28 KB after the workflow
// has answered that all is well, and counts what the workflow adds.
const MaxCard = 24 << 10

const (
	maxValue = 512     // characters of one value, before anything must be shortened
	maxURL   = 4 << 10 // bytes of a button's address
)

// A shape is how much of the alerts a card shows.
type shape struct {
	value    int  // characters of one value
	list     int  // alerts of a group that are named
	timeline int  // operations
	notes    int  // notes of an alert
	details  bool // everything that is not on the face
	guide    bool // what to do
}

// shapes are tried until the card fits: values are shortened first, then what
// can be found elsewhere is left out. The last fits whatever the alerts hold.
var shapes = [...]shape{
	{value: maxValue, list: 25, timeline: 15, notes: 12, details: true, guide: true},
	{value: 256, list: 25, timeline: 15, notes: 12, details: true, guide: true},
	{value: 128, list: 25, timeline: 15, notes: 12, details: true, guide: true},
	{value: 128, list: 25, timeline: 15, notes: 12, details: true},
	{value: 96, list: 15, timeline: 5, notes: 4, details: true},
	{value: 96, list: 10, notes: 2},
	{value: 32, list: 5},
}

// portals are the hosts that buttons may lead to.
var portals = []string{"portal.azure.com", "portal.azure.us", "portal.azure.cn"}

// cards makes messages of alerts. It is immutable.
type cards struct {
	guides map[string]string // by rule id
}

// message returns the message for alerts that belong on one card, at least one.
// An error is a mistake of this package: the message is not one that Teams is
// known to draw.
func (c cards) message(g alert.Group) ([]byte, error) {
	group := slices.Clone(g.Alerts)
	slices.SortStableFunc(group, func(a, b *alert.Alert) int { return a.EventTime.Compare(b.EventTime) })
	d := drawing{cards: c, alerts: group, first: group[0], entries: timeline(group), sayings: notes(group)}
	var text []byte
	for _, d.shape = range shapes {
		var err error
		if text, err = encode(d.message()); err != nil {
			return nil, fmt.Errorf("encode card: %w", err)
		}
		if len(text) <= MaxCard {
			break
		}
	}
	return text, nil
}

func encode(m message) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // it would triple the size of markup
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// A drawing is one try at a card.
type drawing struct {
	shape
	cards  cards
	alerts []*alert.Alert // by time
	first  *alert.Alert

	entries []alert.TimelineEntry // of all alerts, oldest first
	sayings []string              // the different notes of all alerts
}

// timeline gathers the operations around the alerts of a card, each once.
func timeline(alerts []*alert.Alert) []alert.TimelineEntry {
	const most = 50 // alerts; of one caller and cluster, they tell much the same
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

func (d drawing) message() message {
	body := []element{d.face()}
	if facts := d.facts(); len(facts) > 0 {
		body = append(body, table(facts))
	}
	body = append(body, d.list()...)
	// What is about podwatch itself has nothing else to show.
	notes := d.noteLines()
	if d.ownAlert() {
		body = append(body, notes...)
		notes = nil
	} else if n := len(notes); n > 0 && d.details {
		body = append(body, rich(subtle("Read with caution: "+count(n, "note")+" under Details.")))
	}
	var buttons, sections []element
	add := func(title, id string, items []element) {
		if len(items) > 0 {
			buttons = append(buttons, toggle(title, id))
			sections = append(sections, hidden(id, items...))
		}
	}
	if d.details {
		add("Details", "details", d.detailItems(notes))
	}
	timeline := d.timelineItems()
	add("Timeline ("+fmt.Sprint(len(timeline))+")", "timeline", timeline)
	if d.shape.guide {
		add("What to do", "guide", guide(d.cards.guides[d.first.RuleId]))
	}
	body = append(body, d.shortened()...)
	if len(buttons) > 0 {
		body = append(body, element{Type: "ActionSet", Actions: buttons})
	}
	return message{
		Type:    "message",
		Summary: d.summary(),
		Attachments: []attachment{{
			ContentType: contentType,
			Content: card{
				Schema:       "http://adaptivecards.io/schemas/adaptive-card.json",
				Type:         "AdaptiveCard",
				Version:      cardVersion,
				FallbackText: "podwatch raised an alert. This version of Teams cannot show it.",
				MSTeams:      width{"Full"},
				Body:         append(body, sections...),
				Actions:      d.links(),
			},
		}},
	}
}

// ownAlert reports an alert about podwatch itself, such as a silent feed: it is
// about no caller, cluster or resource.
func (d drawing) ownAlert() bool {
	a := d.first
	return a.DeletionKind == "" && a.ClusterId == "" && a.ClusterName == "" && a.ResourceId == "" && d.who(a) == ""
}

// show makes a value fit for a run; what is empty becomes "unknown".
func (d drawing) show(value string) string {
	return cmp.Or(plain(value, d.value), "unknown")
}

// face is what one look at the card tells: the rule, how bad, expected or not,
// and who did what where.
func (d drawing) face() element {
	title := bold(d.show(d.first.RuleName))
	title.Size = "Large"
	level := []element{run(strings.ToUpper(d.severity()) + " severity")}
	if d.first.RiskScore > 0 {
		level = append(level, run(fmt.Sprintf(", risk %d", d.first.RiskScore)))
	}
	items := []element{rich(title)}
	if d.ownAlert() {
		items = append(items, rich(level...))
	} else {
		items = append(items, rich(append(level, run(" · "), bold(d.expectation()))...), rich(d.sentence()...))
	}
	return element{Type: "Container", Style: d.style(), Bleed: true, Items: items}
}

// severity keeps an alert from the queue from naming its own.
func (d drawing) severity() string {
	switch s := strings.ToLower(d.first.Severity); s {
	case "low", "medium", "high", "critical":
		return s
	}
	return "unknown"
}

// style is the colour of the face.
func (d drawing) style() string {
	if d.first.Suppressed || d.first.Routine {
		return "good"
	}
	switch d.severity() {
	case "critical", "high":
		return "attention"
	case "medium":
		return "warning"
	}
	return "accent"
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

// who names the caller of an alert, or is empty.
func (d drawing) who(a *alert.Alert) string {
	for _, name := range []string{a.CallerName, a.CallerAppName, a.CallerId, a.CallerAppId} {
		if name = plain(name, d.value); name != "" {
			return name
		}
	}
	return ""
}

// sentence says who did what where, for the face and for the toast.
func (d drawing) sentence() []element {
	a := d.first
	s := []element{bold(cmp.Or(d.who(a), "An unknown caller"))}
	switch {
	case a.DeletionKind == "":
		s = append(s, run(": "+d.show(a.Operation)))
		if len(d.alerts) > 1 {
			s = append(s, run(fmt.Sprintf(", %d times", len(d.alerts))))
		}
		if name := plain(arm.Name(a.ResourceId), d.value); name != "" {
			s = append(s, run(" on "), bold(name))
		}
		return s
	case len(d.alerts) > 1:
		s = append(s, run(" "+d.verb()+" "), bold(d.pods()))
	case a.Pod == "" && a.DeletionKind == alert.DeletionCollection:
		s = append(s, run(" "+d.verb()+" pods"))
	case a.Pod == "":
		s = append(s, run(" "+d.verb()+" a pod"))
	default:
		s = append(s, run(" "+d.verb()+" pod "), bold(d.show(a.Pod)))
	}
	if spaces := d.namespaces(); len(spaces) == 1 {
		s = append(s, run(" in namespace "), bold(spaces[0]))
	} else if len(spaces) > 1 {
		s = append(s, run(fmt.Sprintf(" in %d namespaces", len(spaces))))
	}
	if name := plain(a.ClusterName, d.value); name != "" {
		s = append(s, run(" of cluster "), bold(name))
	}
	return s
}

// verb says what was done to the pods.
func (d drawing) verb() string {
	evicted := 0
	for _, a := range d.alerts {
		if a.DeletionKind == alert.DeletionEviction {
			evicted++
		}
	}
	switch evicted {
	case 0:
		return "deleted"
	case len(d.alerts):
		return "evicted"
	}
	return "deleted or evicted"
}

// pods counts. A deletion of a collection names no pod, and stands for any
// number of them.
func (d drawing) pods() string {
	for _, a := range d.alerts {
		if a.DeletionKind == alert.DeletionCollection {
			return fmt.Sprintf("pods, %d times,", len(d.alerts))
		}
	}
	return count(len(d.alerts), "pod")
}

// namespaces returns the different namespaces, by name.
func (d drawing) namespaces() []string {
	return d.distinct(func(a *alert.Alert) string { return a.Namespace })
}

// distinct returns the different values of a member over all alerts, sorted.
func (d drawing) distinct(member func(*alert.Alert) string) []string {
	var values []string
	last := ""
	for _, a := range d.alerts {
		v := member(a)
		if v == last { // nearly always
			continue
		}
		last = v
		if shown := plain(v, d.value); shown != "" {
			values = append(values, shown)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// someOf lists values, and counts those beyond most.
func someOf(values []string, most int) string {
	shown := values[:min(len(values), most)]
	text := strings.Join(shown, ", ")
	if more := len(values) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// summary is the text of the toast.
func (d drawing) summary() string {
	text := plain(d.first.RuleName, 100)
	if !d.ownAlert() {
		text += ": "
		for _, r := range d.sentence() {
			text += r.Text
		}
	}
	return cmp.Or(plain(text, 300), "podwatch alert")
}

// facts are the rows of the face: who, from where, where, when, and what was
// before.
func (d drawing) facts() []element {
	if d.ownAlert() {
		return []element{d.when()}
	}
	a := d.first
	rows := []element{row("Who", d.caller(a)...)}
	if from := d.from(a); len(from) > 0 {
		rows = append(rows, row("From", from...))
	}
	if where := d.where(a); len(where) > 0 {
		rows = append(rows, row("Where", where...))
	}
	if what := d.what(a); len(what) > 0 {
		rows = append(rows, row("What", what...))
	}
	rows = append(rows, d.when())
	if before := d.before(); len(before) > 0 {
		rows = append(rows, row("Before", before...))
	}
	return rows
}

func (d drawing) caller(a *alert.Alert) []element {
	who := d.who(a)
	runs := []element{bold(cmp.Or(who, "unknown"))}
	if kind := kindInWords(a.CallerKind); kind != "" {
		runs = append(runs, run(", "+kind))
	}
	if id := plain(a.CallerId, d.value); id != "" && id != who {
		runs = append(runs, subtle(" "+id))
	}
	return runs
}

// kindInWords says a caller's kind; what is no kind is not said.
func kindInWords(kind string) string {
	switch kind {
	case "user":
		return "a person"
	case "servicePrincipal":
		return "a service principal"
	case "managedIdentity":
		return "a managed identity"
	case "microsoftApplication":
		return "an application of Microsoft"
	case "kubernetes":
		return "an account of the cluster"
	}
	return ""
}

func (d drawing) from(a *alert.Alert) []element {
	var runs []element
	if ips := d.distinct(func(a *alert.Alert) string { return a.CallerIp }); len(ips) > 0 {
		runs = append(runs, run(someOf(ips, 3)))
	}
	client := plain(a.CallerAppName, d.value)
	if client == "" {
		client = plain(a.UserAgent, min(d.value, 80))
	}
	if client != "" && client != d.who(a) {
		if len(runs) > 0 {
			client = " with " + client
		}
		runs = append(runs, run(client))
	}
	return runs
}

func (d drawing) where(a *alert.Alert) []element {
	var runs []element
	if name := plain(a.ClusterName, d.value); name != "" {
		runs = append(runs, bold(name))
		switch a.ClusterKind {
		case "aks":
			runs = append(runs, run(", AKS cluster"))
		case "arc":
			runs = append(runs, run(", Arc-enabled cluster"))
		}
	} else if id := plain(a.ResourceId, d.value); id != "" {
		runs = append(runs, run(id))
	}
	if group := plain(a.ResourceGroup, d.value); group != "" {
		runs = append(runs, subtle(" in resource group "+group))
	}
	return runs
}

// what names the pod, or the namespaces where there are several.
func (d drawing) what(a *alert.Alert) []element {
	spaces := d.namespaces()
	var runs []element
	if pod := plain(a.Pod, d.value); pod != "" && len(d.alerts) == 1 {
		runs = append(runs, run("pod "), bold(pod))
	}
	if len(spaces) == 0 {
		return runs
	}
	text := "namespace "
	if len(runs) > 0 {
		text = ", namespace "
	}
	if len(spaces) > 1 {
		text = "namespaces "
	}
	return append(runs, run(text+someOf(spaces, 5)))
}

const dateTime = "2006-01-02 15:04:05"

// when gives the time in UTC, and in the reader's own zone, which only the
// client knows.
func (d drawing) when() element {
	first, last := d.first.EventTime.UTC(), d.alerts[len(d.alerts)-1].EventTime.UTC()
	text := first.Format(dateTime)
	switch {
	case last.Format(dateTime) == text:
	case last.Format(time.DateOnly) == first.Format(time.DateOnly):
		text += " to " + last.Format(time.TimeOnly)
	default:
		text += " to " + last.Format(dateTime)
	}
	when := row("When", bold(text), run(" UTC"))
	if first.Year() >= 1 && first.Year() <= 9999 {
		stamp := first.Format("2006-01-02T15:04:05Z")
		local := markdown("{{DATE(" + stamp + ", SHORT)}} {{TIME(" + stamp + ")}} in your time zone")
		local.IsSubtle, local.Spacing = true, "None"
		value := &when.Cells[1]
		value.Items = append(value.Items, local)
	}
	return when
}

// before says what happened last before the deletion.
func (d drawing) before() []element {
	entries := d.timelineEntries()
	if len(entries) == 0 {
		return nil
	}
	last := entries[len(entries)-1]
	runs := []element{run(d.show(last.Operation))}
	if target := plain(last.Target, d.value); target != "" {
		runs = append(runs, run(" on "+target))
	}
	if gap := d.first.EventTime.Sub(last.Time); gap >= 0 && !last.Time.IsZero() {
		runs = append(runs, run(", "+inWords(gap)+" earlier"))
	}
	if more := len(entries) - 1; more > 0 {
		runs = append(runs, subtle(fmt.Sprintf(" and %d more: see Timeline", more)))
	}
	return runs
}

// inWords gives a time roughly.
func inWords(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Hour), "hour")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list names the alerts of a group.
func (d drawing) list() []element {
	if len(d.alerts) < 2 {
		return nil
	}
	layout := time.TimeOnly
	if d.first.EventTime.UTC().Format(time.DateOnly) != d.alerts[len(d.alerts)-1].EventTime.UTC().Format(time.DateOnly) {
		layout = dateTime
	}
	var lines []element
	for _, a := range d.alerts[:min(len(d.alerts), d.shape.list)] {
		runs := []element{subtle(a.EventTime.UTC().Format(layout) + "  "), run(d.object(a))}
		if a.DeletionKind == alert.DeletionEviction {
			runs = append(runs, subtle(" evicted"))
		}
		line := rich(runs...)
		line.Spacing = "None"
		lines = append(lines, line)
	}
	if more := len(d.alerts) - len(lines); more > 0 {
		lines = append(lines, rich(bold(fmt.Sprintf("and %d more", more))))
	}
	return []element{{Type: "Container", Items: lines}}
}

// object names what an alert is about, within its cluster.
func (d drawing) object(a *alert.Alert) string {
	switch {
	case a.Pod != "" && a.Namespace != "":
		return d.show(a.Namespace + "/" + a.Pod)
	case a.Pod != "":
		return d.show(a.Pod)
	case a.DeletionKind == alert.DeletionCollection && a.Namespace != "":
		return "pods of namespace " + d.show(a.Namespace)
	}
	return d.show(cmp.Or(a.Namespace, a.ResourceId))
}

// detailItems are all that is known beyond the face, then the notes.
func (d drawing) detailItems(notes []element) []element {
	a := d.first
	var rows []element
	add := func(label string, values ...string) {
		var text []string
		for _, v := range values {
			if v = plain(v, d.value); v != "" {
				text = append(text, v)
			}
		}
		if len(text) > 0 {
			rows = append(rows, row(label, run(strings.Join(text, ", "))))
		}
	}
	add("Operation", a.Operation)
	add("Outcome", a.Outcome)
	add("Resource", a.ResourceId)
	add("Subscription", a.SubscriptionId)
	add("Caller id", a.CallerId)
	add("Application", a.CallerAppName, a.CallerAppId)
	add("Address", a.CallerIp)
	add("User agent", a.UserAgent)
	add("Role", a.CallerRole)
	add("Belongs to", a.CallerOwnerResource)
	add("Cluster tags", d.tags(a)...)
	add("Tactic", a.Tactics[:min(len(a.Tactics), 5)]...)
	add("Technique", a.Techniques[:min(len(a.Techniques), 5)]...)
	add("Correlation", a.CorrelationId)
	add("Rule", a.RuleId)
	add("Alert", a.AlertId)
	var items []element
	if len(d.alerts) > 1 {
		items = append(items, rich(subtle("Of the first of them:")))
	}
	if len(rows) > 0 {
		items = append(items, table(rows))
	}
	return append(items, notes...)
}

// tags returns the cluster's tags, by name.
func (d drawing) tags(a *alert.Alert) []string {
	const most = 15
	var tags []string
	for name, value := range a.ResourceTags {
		tags = append(tags, plain(name, d.value/2)+"="+plain(value, d.value/2))
	}
	slices.Sort(tags)
	if more := len(tags) - most; more > 0 {
		tags = append(tags[:most], fmt.Sprintf("and %d more", more))
	}
	return tags
}

// noteLines are the notes that the card has room for.
func (d drawing) noteLines() []element {
	shown := d.sayings[:min(len(d.sayings), d.shape.notes)]
	var lines []element
	for _, n := range shown {
		if n = plain(n, d.value); n != "" {
			lines = append(lines, rich(bold("Note: "), run(n)))
		}
	}
	if more := len(d.sayings) - len(shown); more > 0 && len(lines) > 0 {
		lines = append(lines, rich(run("and "+count(more, "more note"))))
	}
	return lines
}

// timelineEntries are the latest operations that the card has room for.
func (d drawing) timelineEntries() []alert.TimelineEntry {
	return d.entries[max(len(d.entries)-d.shape.timeline, 0):]
}

func (d drawing) timelineItems() []element {
	var lines []element
	for _, e := range d.timelineEntries() {
		runs := []element{subtle(e.Time.Format(time.TimeOnly) + "  "), bold(d.show(e.Operation))}
		if target := plain(e.Target, d.value); target != "" {
			runs = append(runs, run(" on "+target))
		}
		if outcome := plain(e.Outcome, min(d.value, 40)); outcome != "" {
			runs = append(runs, run(", "+outcome))
		}
		if caller := plain(e.Caller, d.value); caller != "" {
			runs = append(runs, subtle(", by "+caller))
		}
		line := rich(runs...)
		line.Spacing = "Small"
		lines = append(lines, line)
	}
	return lines
}

// shortened says what the card had to leave out.
func (d drawing) shortened() []element {
	var missing []string
	if !d.details {
		missing = append(missing, "details")
	}
	if d.shape.timeline == 0 {
		missing = append(missing, "timeline")
	}
	if !d.shape.guide {
		missing = append(missing, "what to do")
	}
	if len(missing) == 0 {
		return nil
	}
	return []element{rich(
		bold("Shortened to fit into Teams."),
		run(" Left out: "+strings.Join(missing, ", ")+". The whole alert is on record under "+d.show(d.first.AlertId)+"."),
	)}
}

// links are the buttons to the portal. What is not an https address of the
// portal makes none.
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
