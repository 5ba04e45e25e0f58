package teams

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/internal/alert"
)

// MaxMessage is the largest message in bytes as Teams counts them, see
// [messageSize]. Teams refuses a larger one after the workflow has accepted it.
const MaxMessage = 28 << 10

// messageSize is what Teams counts of a message: its JSON quoted once more as a
// JSON string, and what the workflow adds.
func messageSize(text []byte) int {
	const workflow = 1 << 10
	return len(text) + bytes.Count(text, []byte(`"`)) + bytes.Count(text, []byte(`\`)) + len(`""`) + workflow
}

// maxValue is how many characters of a value a card shows at most.
const maxValue = 512

// A shape is how much of the alerts a card shows.
type shape struct {
	value    int  // characters of a value
	list     int  // lines that name alerts of a group
	timeline int  // operations
	notes    int  // notes
	details  bool // details that are not on the face
	advice   bool // what to do
}

// shapes are tried until the card fits: first values are shortened, then what
// can be found elsewhere is left out. The last fits whatever the alerts contain.
var shapes = [...]shape{
	{value: maxValue, list: 25, timeline: 15, notes: 8, details: true, advice: true},
	{value: 256, list: 25, timeline: 15, notes: 8, details: true, advice: true},
	{value: 128, list: 15, timeline: 10, notes: 8, details: true, advice: true},
	{value: 128, list: 15, timeline: 10, notes: 6, details: true},
	{value: 96, list: 10, timeline: 5, notes: 4, details: true},
	{value: 96, list: 10, notes: 3},
	{value: 32, list: 5, notes: 2},
}

// cards makes messages of alerts. It is immutable.
type cards struct {
	advice func(ruleID string) Advice
}

// message returns the message for a group.
func (c cards) message(g alert.Group) []byte {
	g.Alerts = slices.SortedStableFunc(slices.Values(g.Alerts), func(a, b *alert.Alert) int { return a.EventTime.Compare(b.EventTime) })
	d := drawing{cards: c, Group: g, first: g.Alerts[0], entries: timeline(g.Alerts), remarks: notes(g.Alerts)}
	var text []byte
	for _, d.shape = range shapes {
		if text = encode(d.message()); messageSize(text) <= MaxMessage {
			break
		}
	}
	return text
}

func encode(m message) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // it would triple the size of markup
	_ = e.Encode(m)        // cannot fail: a message is text, numbers and lists of them
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// A drawing is one try at a card.
type drawing struct {
	shape
	cards       cards
	alert.Group // Alerts are in the order of time
	first       *alert.Alert

	entries []alert.TimelineEntry // of all alerts, oldest first
	remarks []string              // the different notes of all alerts
}

func (d drawing) message() message {
	return message{
		Type:    "message",
		Summary: shorten([]rune(d.show(d.first.RuleName)+d.inWords()), 300),
		Attachments: []attachment{{ContentType: contentType, Content: card{
			Schema:       "http://adaptivecards.io/schemas/adaptive-card.json",
			Type:         "AdaptiveCard",
			Version:      cardVersion,
			FallbackText: d.show(d.first.RuleName) + d.inWords() + ". This version of Teams cannot show the card.",
			MSTeams:      width{"Full"},
			Body:         d.body(),
			Actions:      d.links(),
		}}},
	}
}

// inWords is the sentence of the face, for places without elements.
func (d drawing) inWords() string {
	if d.own() {
		return ""
	}
	var text strings.Builder
	text.WriteString(": ")
	for _, r := range d.sentence() {
		text.WriteString(r.Text)
	}
	return text.String()
}

func (d drawing) body() []element {
	body := slices.Concat([]element{d.face()}, d.facts(), d.list(), d.cautions(), d.shortened())
	var buttons, sections []element
	section := func(title, id string, items []element) {
		if len(items) == 0 {
			return
		}
		no := false
		box := container(items...)
		box.ID, box.IsVisible, box.Style = id, &no, "emphasis"
		buttons, sections = append(buttons, toggle(title, id)), append(sections, box)
	}
	section("Details", "details", d.detailItems())
	section(fmt.Sprintf("Timeline (%d)", len(d.timelineEntries())), "timeline", d.timelineItems())
	if d.shape.advice {
		section("What to do", "advice", d.cards.advice(d.first.RuleId).elements())
	}
	if len(buttons) > 0 {
		body = append(body, element{Type: "ActionSet", Actions: buttons})
	}
	body = append(body, sections...)
	// Beside the portal button, because Teams for iOS changes "#" in its address.
	if id := d.plain(d.cluster()); id != "" {
		body = append(body, rich(subtle("Resource id  "), run(id)))
	}
	return body
}

// shortened names what the card had to leave out.
func (d drawing) shortened() []element {
	var missing []string
	if !d.details {
		missing = append(missing, "details")
	}
	if d.shape.timeline == 0 {
		missing = append(missing, "timeline")
	}
	if !d.shape.advice {
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

// own reports an alert about podwatch itself, such as a silent feed: it is about
// no caller, cluster or resource.
func (d drawing) own() bool {
	return d.first.DeletionKind == "" && d.cluster() == "" && d.first.ClusterName == "" && d.who(d.first) == ""
}

// cluster is the resource that the portal knows.
func (d drawing) cluster() string { return cmp.Or(d.first.ClusterId, d.first.ResourceId) }

func (d drawing) plain(value string) string { return plain(value, d.value) }

// show is plain for a value that must not be empty.
func (d drawing) show(value string) string { return cmp.Or(d.plain(value), "unknown") }

// distinct returns the different values of a member over all alerts, sorted and
// safe to show.
func (d drawing) distinct(member func(*alert.Alert) string) []string {
	var values []string
	last := ""
	for _, a := range d.Alerts {
		v := member(a)
		if v == last { // nearly always
			continue
		}
		last = v
		if shown := d.plain(v); shown != "" {
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

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
