package teams

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A kind of element: the members that it must and may have, and what may stand
// where it holds others.
type kind struct{ must, may string }

// kinds are the elements that cards are made of: all of them are drawn by Teams
// on every client, which is not so for the whole of Adaptive Cards.
var kinds = map[string]kind{
	"Container":               {"items", "id isVisible style bleed spacing"},
	"RichTextBlock":           {"inlines", "spacing"},
	"TextRun":                 {"text", "size weight fontType isSubtle"},
	"TextBlock":               {"text wrap", "weight spacing isSubtle"},
	"Table":                   {"columns rows firstRowAsHeader firstRowAsHeaders showGridLines", ""},
	"TableRow":                {"cells", ""},
	"TableCell":               {"items", ""},
	"ActionSet":               {"actions", ""},
	"Action.ToggleVisibility": {"title targetElements", ""},
	"Action.OpenUrl":          {"title url", ""},
}

// holds says which elements may stand in a member.
var holds = map[string][]string{
	"body":    {"Container", "RichTextBlock", "TextBlock", "Table", "ActionSet"},
	"items":   {"Container", "RichTextBlock", "TextBlock", "Table"},
	"inlines": {"TextRun"},
	"rows":    {"TableRow"},
	"cells":   {"TableCell"},
	"actions": {"Action.ToggleVisibility", "Action.OpenUrl"},
}

// localTime is the one thing in double braces that our own text has.
var localTime = regexp.MustCompile(`\{\{(DATE|TIME)\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(, SHORT)?\)\}\}`)

// validate reports what Teams would not draw, or not as meant. The webhook would
// accept it all the same, and nobody would be told.
func validate(text []byte, portals []string) error {
	if len(text) > MaxCard {
		return fmt.Errorf("it has %d bytes, more than %d", len(text), MaxCard)
	}
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
	switch {
	case m.Type != "message":
		return fmt.Errorf("the message's type is %q", m.Type)
	case m.Summary == "" || strings.Contains(m.Summary, "{{"):
		return errors.New("the summary is missing, or has braces that Teams would evaluate")
	case len(m.Attachments) != 1:
		return fmt.Errorf("the message has %d attachments, not one", len(m.Attachments))
	case m.Attachments[0].ContentType != contentType:
		return fmt.Errorf("the content type is %q", m.Attachments[0].ContentType)
	case string(m.Attachments[0].ContentURL) != "null":
		return errors.New("contentUrl is not null")
	}
	content := m.Attachments[0].Content
	if content["type"] != "AdaptiveCard" || content["version"] != cardVersion {
		return fmt.Errorf("the content is %v of version %v", content["type"], content["version"])
	}
	v := validator{portals: portals, ids: map[string]bool{}}
	v.list("body", content["body"])
	if actions, ok := content["actions"]; ok {
		v.list("actions", actions)
	}
	for _, target := range v.targets {
		if !v.ids[target] {
			v.fault("a button shows %q, which is not there", target)
		}
	}
	return errors.Join(v.faults...)
}

// A validator walks a card and gathers its faults.
type validator struct {
	portals []string
	ids     map[string]bool
	targets []string
	faults  []error
}

func (v *validator) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, args...))
}

// list checks the elements of a member.
func (v *validator) list(member string, value any) []any {
	elements, ok := value.([]any)
	if !ok || len(elements) == 0 {
		v.fault("%s is no list, or empty", member)
	}
	if member == "actions" && len(elements) > 6 {
		v.fault("%d buttons in a row: Teams shows six", len(elements))
	}
	for _, e := range elements {
		object, _ := e.(map[string]any)
		kind, _ := object["type"].(string)
		if !slices.Contains(holds[member], kind) {
			v.fault("%q stands in %s", kind, member)
			continue
		}
		v.element(kind, object)
	}
	return elements
}

func (v *validator) element(name string, e map[string]any) {
	must, may := strings.Fields(kinds[name].must), strings.Fields(kinds[name].may)
	for _, member := range must {
		if _, ok := e[member]; !ok {
			v.fault("%s lacks %s", name, member)
		}
	}
	for member, value := range e {
		switch {
		case member == "type":
		case !slices.Contains(must, member) && !slices.Contains(may, member):
			v.fault("%s has %s", name, member)
		case holds[member] != nil:
			v.list(member, value)
		default:
			v.member(name, member, value)
		}
	}
	if name == "Table" {
		v.table(e)
	}
}

// member checks a value that is not a list of elements.
func (v *validator) member(name, member string, value any) {
	text, _ := value.(string)
	switch member {
	case "text", "title":
		if name == "TextBlock" {
			text = localTime.ReplaceAllString(text, "x")
		}
		if text == "" || strings.Contains(text, "{{") {
			v.fault("the %s of a %s is empty, or has braces that Teams would evaluate", member, name)
		}
	case "id":
		if text == "" || v.ids[text] {
			v.fault("the id %q is empty, or there twice", text)
		}
		v.ids[text] = true
	case "url":
		if !portalURL(text, v.portals) {
			v.fault("a button leads to a place that is not the portal")
		}
	case "wrap":
		if value != true {
			v.fault("a TextBlock does not wrap: telephones show one line of it")
		}
	case "targetElements":
		targets, _ := value.([]any)
		if len(targets) == 0 {
			v.fault("a button shows nothing")
		}
		for _, target := range targets {
			id, _ := target.(string)
			v.targets = append(v.targets, id)
		}
	}
}

// table checks that each row has a cell for each column.
func (v *validator) table(e map[string]any) {
	columns, _ := e["columns"].([]any)
	rows, _ := e["rows"].([]any)
	for _, r := range rows {
		object, _ := r.(map[string]any)
		if cells, _ := object["cells"].([]any); len(cells) != len(columns) {
			v.fault("a row has %d cells for %d columns", len(cells), len(columns))
		}
	}
}
