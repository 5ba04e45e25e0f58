package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// tick is the resolution of a datetime column, whose text has at most seven
// fraction digits. Go's clock has nine.
const tick = 100 * time.Nanosecond

// JSON returns the alert as one line of at most [MaxSize] bytes. To fit, it cuts
// the original record first, then the timeline, then tags and notes; what it cut
// stands in Notes.
func (a *Alert) JSON() []byte {
	text := encode(a)
	if len(text) <= MaxSize {
		return text
	}
	c := *a
	c.Notes = append([]string(nil), a.Notes...)
	for _, shrink := range []func(*Alert, int){shrinkEvent, shrinkTimeline, shrinkTags, shrinkNotes} {
		shrink(&c, len(text)-MaxSize)
		if text = encode(&c); len(text) <= MaxSize {
			return text
		}
	}
	return text
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
	if p.Tactics == nil {
		p.Tactics = []string{}
	}
	if p.Techniques == nil {
		p.Techniques = []string{}
	}
	if p.ResourceTags == nil {
		p.ResourceTags = map[string]string{}
	}
	if p.Timeline == nil {
		p.Timeline = []TimelineEntry{}
	}
	if p.Notes == nil {
		p.Notes = []string{}
	}
	if !json.Valid(p.Event) {
		p.Event = quote(string(p.Event))
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode((*plain)(&p)); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// encode cannot fail: every member is text, a number, a time of four-digit year
// or JSON that MarshalJSON has checked.
func encode(a *Alert) []byte {
	text, err := a.MarshalJSON()
	if err != nil {
		c := *a
		c.Event = nil
		c.note("the original record could not be encoded: " + err.Error())
		text, _ = c.MarshalJSON()
	}
	var line bytes.Buffer
	if json.Compact(&line, text) != nil {
		return text
	}
	return line.Bytes()
}

// shrinkEvent replaces the record by the beginning of its text.
func shrinkEvent(a *Alert, excess int) {
	const note = "the original record was cut from %d to %d bytes"
	record := string(a.Event)
	// Quoted, a byte of the record may take six: half of what remains is tried
	// until it fits.
	keep := max(len(record)-excess-len(note)-64, 0)
	for {
		keep = min(keep, len(record))
		for keep > 0 && keep < len(record) && !utf8.RuneStart(record[keep]) {
			keep--
		}
		quoted := quote(record[:keep])
		if keep == 0 || len(quoted) <= len(a.Event)-excess-len(note)-64 {
			a.Event = quoted
			break
		}
		keep = keep * 3 / 4
	}
	a.note(fmt.Sprintf(note, len(record), keep))
}

func shrinkTimeline(a *Alert, _ int) {
	if n := len(a.Timeline); n > 0 {
		a.Timeline = nil
		a.note(fmt.Sprintf("the timeline of %d operations was left out for size", n))
	}
}

func shrinkTags(a *Alert, _ int) {
	if n := len(a.ResourceTags); n > 0 {
		a.ResourceTags = nil
		a.note(fmt.Sprintf("%d resource tags were left out for size", n))
	}
}

func shrinkNotes(a *Alert, _ int) {
	const most = 8
	if n := len(a.Notes); n > most {
		a.Notes = append([]string{fmt.Sprintf("%d notes were left out for size", n-most)}, a.Notes[n-most:]...)
	}
}

func quote(text string) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return json.RawMessage(`""`)
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}
