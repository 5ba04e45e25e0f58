package teams

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// members lists the elements that cards are made of, all of version 1.2, and
// which members they may have besides the required ones, which come first.
var members = map[string][2]string{
	"Container":               {"items", "id isVisible style bleed spacing"},
	"ColumnSet":               {"columns", "spacing"},
	"Column":                  {"items width", ""},
	"RichTextBlock":           {"inlines", "spacing"},
	"TextRun":                 {"text", "size weight fontType isSubtle"},
	"TextBlock":               {"text wrap", "weight spacing isSubtle"},
	"ActionSet":               {"actions", ""},
	"Action.ToggleVisibility": {"title targetElements", ""},
	"Action.OpenUrl":          {"title url", ""},
}

// holds lists the elements that a member may have.
var holds = map[string][]string{
	"body":    {"Container", "RichTextBlock", "TextBlock", "ColumnSet", "ActionSet"},
	"items":   {"Container", "RichTextBlock", "TextBlock", "ColumnSet"},
	"columns": {"Column"},
	"inlines": {"TextRun"},
	"actions": {"Action.ToggleVisibility", "Action.OpenUrl"},
}

// localTime is the only evaluated text of a card.
var localTime = regexp.MustCompile(`\{\{(DATE|TIME)\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(, SHORT)?\)\}\}`)

// validate returns what Teams would not draw, or not as meant. The webhook would
// accept all of it.
func validate(text []byte) error {
	var m struct {
		Type        string
		Summary     string
		Attachments []struct {
			ContentType string
			ContentURL  json.RawMessage
			Content     map[string]any
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	v := validator{ids: map[string]bool{}}
	if size := messageSize(text); size > MaxMessage {
		v.fault("%d bytes, more than %d", size, MaxMessage)
	}
	if m.Type != "message" || m.Summary == "" || strings.Contains(m.Summary, "{{") || len(m.Attachments) != 1 {
		v.fault("type %q, summary %q, %d attachments", m.Type, m.Summary, len(m.Attachments))
		return errors.Join(v.faults...)
	}
	a := m.Attachments[0]
	if a.ContentType != contentType || string(a.ContentURL) != "null" || a.Content["type"] != "AdaptiveCard" || a.Content["version"] != cardVersion || a.Content["fallbackText"] == "" {
		v.fault("content type %q, address %s, %v of version %v, fallback text %q", a.ContentType, a.ContentURL, a.Content["type"], a.Content["version"], a.Content["fallbackText"])
	}
	v.list("body", a.Content["body"])
	if actions, ok := a.Content["actions"]; ok {
		v.list("actions", actions)
	}
	for _, target := range v.targets {
		if !v.ids[target] {
			v.fault("a button opens %q, which is missing", target)
		}
	}
	return errors.Join(v.faults...)
}

type validator struct {
	ids     map[string]bool
	targets []string
	faults  []error
}

func (v *validator) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, args...))
}

func (v *validator) list(member string, value any) {
	elements, _ := value.([]any)
	if len(elements) == 0 || member == "actions" && len(elements) > 6 { // Teams draws six buttons
		v.fault("%s has %d elements", member, len(elements))
	}
	for _, e := range elements {
		object, _ := e.(map[string]any)
		kind, _ := object["type"].(string)
		if !slices.Contains(holds[member], kind) {
			v.fault("%q is in %s", kind, member)
			continue
		}
		v.element(kind, object)
	}
}

func (v *validator) element(kind string, e map[string]any) {
	required, optional := strings.Fields(members[kind][0]), strings.Fields(members[kind][1])
	for _, member := range required {
		if _, ok := e[member]; !ok {
			v.fault("%s lacks %s", kind, member)
		}
	}
	for member, value := range e {
		switch {
		case member == "type":
		case !slices.Contains(required, member) && !slices.Contains(optional, member):
			v.fault("%s has %s", kind, member)
		case holds[member] != nil:
			v.list(member, value)
		default:
			v.value(kind, member, value)
		}
	}
}

func (v *validator) value(kind, member string, value any) {
	text, _ := value.(string)
	switch member {
	case "text", "title":
		if kind == "TextBlock" {
			text = localTime.ReplaceAllString(text, "x")
		}
		if text == "" || strings.Contains(text, "{{") {
			v.fault("%s of %s is empty or would be evaluated: %q", member, kind, text)
		}
	case "id":
		if text == "" || v.ids[text] {
			v.fault("id %q is empty or used twice", text)
		}
		v.ids[text] = true
	case "url":
		if !portalURL(text) {
			v.fault("a button does not lead to the portal")
		}
	case "wrap":
		if value != true {
			v.fault("a TextBlock does not wrap: phones show one line of it")
		}
	case "targetElements":
		for _, target := range value.([]any) {
			v.targets = append(v.targets, fmt.Sprint(target))
		}
	}
}
