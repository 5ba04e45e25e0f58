package alert

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

const (
	// maxValue bounds one text of an alert, in bytes of JSON: a control character
	// takes six. Names in Azure and Kubernetes are far shorter; what is longer was
	// made to be long.
	maxValue = 1024
	// leastRecord is how much of the original record is worth more than the
	// timeline, in bytes of JSON.
	leastRecord = 8 << 10
	// maxNotes and maxTactics are how many remain where an alert is too large.
	maxNotes   = 8
	maxTactics = 8
)

// shrinks make an alert smaller, the least important part first. After the last
// one it fits: some 30 texts of 1 KiB remain.
var shrinks = []func(*Alert){omitTimeline, omitTags, omitNotes, shrinkRule}

func omitTimeline(a *Alert) {
	if n := len(a.Timeline); n > 0 {
		a.Timeline = nil
		a.Note(fmt.Sprintf("the timeline of %d operations was omitted for size", n))
	}
}

func omitTags(a *Alert) {
	if n := len(a.ResourceTags); n > 0 {
		a.ResourceTags = nil
		a.Note(fmt.Sprintf("%d resource tags were omitted for size", n))
	}
}

func omitNotes(a *Alert) {
	if n := len(a.Notes); n > maxNotes {
		a.Notes = append([]string{fmt.Sprintf("%d notes were omitted for size", n-maxNotes)}, a.Notes[n-maxNotes:]...)
	}
	a.capValues()
}

// shrinkRule truncates what rule and exception files have.
func shrinkRule(a *Alert) {
	for _, list := range []*[]string{&a.Tactics, &a.Techniques} {
		*list = slices.Clone((*list)[:min(len(*list), maxTactics)])
		for i, text := range *list {
			(*list)[i] = truncated(text, maxValue/4)
		}
	}
	for _, text := range []*string{&a.RuleId, &a.RuleName, &a.Severity, &a.SuppressedBy} {
		*text = truncated(*text, maxValue)
	}
	a.Note("texts of the rule were truncated for size")
}

// withRecord encodes the alert with as much of the record as has room, nil if
// that is less than least. It replaces the record by the beginning of its text.
func withRecord(a *Alert, least int) []byte {
	c := *a
	record := string(a.Event)
	c.Event = quote("")
	c.Notes = append(slices.Clone(a.Notes), truncatedRecord(len(record), len(record)))
	room := MaxSize - len(encode(&c))
	if least > 0 && room < min(least, len(record)) {
		return nil
	}
	keep := fitting(record, max(room, 0))
	c.Event = quote(record[:keep])
	c.Notes[len(c.Notes)-1] = truncatedRecord(len(record), keep)
	return encode(&c)
}

func truncatedRecord(from, to int) string {
	return fmt.Sprintf("the original record was cut from %d to %d bytes", from, to)
}

// capValues truncates overlong texts and notes which.
func (a *Alert) capValues() {
	for _, v := range []struct {
		name string
		text *string
	}{
		{"Operation", &a.Operation}, {"ResourceId", &a.ResourceId}, {"ClusterId", &a.ClusterId}, {"ClusterName", &a.ClusterName},
		{"SubscriptionId", &a.SubscriptionId}, {"ResourceGroup", &a.ResourceGroup}, {"Outcome", &a.Outcome},
		{"Namespace", &a.Namespace}, {"Pod", &a.Pod},
		{"WorkloadKind", &a.WorkloadKind}, {"WorkloadName", &a.WorkloadName}, {"Node", &a.Node}, {"CallerName", &a.CallerName}, {"CallerId", &a.CallerId},
		{"CallerAppId", &a.CallerAppId}, {"CallerAppName", &a.CallerAppName}, {"CallerIp", &a.CallerIp}, {"CallerRole", &a.CallerRole},
		{"CallerOwnerResource", &a.CallerOwnerResource}, {"CallerActedAs", &a.CallerActedAs}, {"UserAgent", &a.UserAgent}, {"CorrelationId", &a.CorrelationId},
	} {
		if short := truncated(*v.text, maxValue); short != *v.text {
			a.Note(fmt.Sprintf("%s was cut from %d to %d bytes", v.name, len(*v.text), len(short)))
			*v.text = short
		}
	}
	for i, n := range a.Notes {
		a.Notes[i] = truncated(n, maxValue)
	}
}

// truncated shortens text to at most size bytes of JSON, at a character's end,
// marked by an ellipsis.
func truncated(text string, size int) string {
	const mark, most = "…", len(`\u0000`)
	if most*len(text) <= size || fitting(text, size) == len(text) {
		return text
	}
	return text[:fitting(text, size-len(mark))] + mark
}

// fitting returns how much of text takes at most size bytes in a JSON string.
func fitting(text string, size int) int {
	for i, r := range text {
		if size -= encodedLen(text[i:], r); size < 0 {
			return i
		}
	}
	return len(text)
}

// encodedLen is how many bytes the JSON encoder writes for r, the first character
// of text.
func encodedLen(text string, r rune) int {
	const escape = len(`\u0000`)
	switch {
	case r == '"', r == '\\', r == '\b', r == '\f', r == '\n', r == '\r', r == '\t':
		return 2
	case r < ' ', r == '\u2028', r == '\u2029':
		return escape
	case r == utf8.RuneError:
		if _, n := utf8.DecodeRuneInString(text); n == 1 {
			return escape
		}
	}
	return utf8.RuneLen(r)
}
