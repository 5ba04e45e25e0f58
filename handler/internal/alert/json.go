package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// tick is the resolution of a datetime column, whose text has at most seven
// fraction digits. Go's clock has nine.
const tick = 100 * time.Nanosecond

// JSON returns the alert as one line of at most [MaxSize] bytes. To fit, it
// truncates the original record; where that would leave too little of it, what is
// in shrinks comes first. Notes has what was truncated or omitted.
func (a *Alert) JSON() []byte {
	text := encode(a)
	if len(text) <= MaxSize {
		return text
	}
	c := *a
	c.Notes = slices.Clone(a.Notes)
	for _, shrink := range shrinks {
		if text = withRecord(&c, leastRecord); text != nil {
			return text
		}
		shrink(&c)
		if text = encode(&c); len(text) <= MaxSize {
			return text
		}
	}
	return withRecord(&c, 0)
}

// Parse reads an alert that [Alert.JSON] wrote.
func Parse(text []byte) (*Alert, error) {
	a := new(Alert)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("parse alert: %w", err)
	}
	if a.AlertId == "" || a.RuleId == "" {
		return nil, fmt.Errorf("parse alert: AlertId or RuleId is missing: %d bytes that podwatch did not write", len(text))
	}
	return a, nil
}

// MarshalJSON writes lists and objects that are empty as such, never as null:
// a dynamic column that is null and one that is empty read differently. It cuts
// times to the resolution of a datetime column.
func (a *Alert) MarshalJSON() ([]byte, error) {
	type plain Alert
	p := plain(*a)
	p.TimeGenerated, p.EventTime = p.TimeGenerated.Truncate(tick), p.EventTime.Truncate(tick)
	p.Timeline = slices.Clone(p.Timeline)
	for i := range p.Timeline {
		p.Timeline[i].Time = p.Timeline[i].Time.Truncate(tick)
	}
	for _, list := range []*[]string{&p.Tactics, &p.Techniques, &p.Notes} {
		if *list == nil {
			*list = []string{}
		}
	}
	if p.ResourceTags == nil {
		p.ResourceTags = map[string]string{}
	}
	if p.Timeline == nil {
		p.Timeline = []TimelineEntry{}
	}
	if !json.Valid(p.Event) {
		p.Event = quote(string(p.Event))
	}
	return marshal((*plain)(&p))
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}

// encode cannot fail: every member is text, a number, a time of four-digit year
// or JSON that MarshalJSON has checked.
func encode(a *Alert) []byte {
	text, _ := a.MarshalJSON()
	return text
}

func quote(text string) json.RawMessage {
	quoted, _ := marshal(text) // of a text it does not fail
	return quoted
}
