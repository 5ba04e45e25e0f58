package teams

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// render prints what a person sees of a message: bold text in asterisks, subtle
// text in tildes, what a button opens below the button's title.
func render(t testing.TB, text []byte) string {
	t.Helper()
	m := parse(t, text)
	c := m.Attachments[0].Content
	r := renderer{titles: map[string]string{}}
	r.printf("toast: %s", m.Summary)
	r.printf("instead of the card: %s", c.FallbackText)
	r.printf("size: %d KiB", (messageSize(text)+1023)>>10)
	for _, e := range c.Body {
		r.block(e)
	}
	r.buttons(c.Actions)
	return r.out.String()
}

func parse(t testing.TB, text []byte) (m message) {
	t.Helper()
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

type renderer struct {
	out    strings.Builder
	indent string
	titles map[string]string // of the buttons that open a container
}

func (r *renderer) printf(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\r", "\n"+r.indent)
	r.out.WriteString(strings.TrimRight(r.indent+line, " ") + "\n")
}

func (r *renderer) block(e element) {
	switch e.Type {
	case "TextBlock":
		r.printf("%s", decorated(e))
	case "RichTextBlock":
		r.printf("%s", runs(e))
	case "ColumnSet":
		label := runs(e.Columns[0].Items[0])
		for _, item := range e.Columns[1].Items {
			value := decorated(item)
			if item.Type == "RichTextBlock" {
				value = runs(item)
			}
			r.printf("%-10s %s", label, value)
			label = ""
		}
	case "ActionSet":
		r.buttons(e.Actions)
	case "Container":
		title := r.titles[e.ID]
		if title == "" {
			title = e.Style
		}
		r.printf("-- %s", title)
		r.indent += "   "
		for _, item := range e.Items {
			r.block(item)
		}
		r.indent = r.indent[3:]
	}
}

func (r *renderer) buttons(actions []element) {
	var titles []string
	for _, a := range actions {
		title := "[" + a.Title + "]"
		if a.URL != "" {
			title += " " + shorten([]rune(a.URL), 60)
		}
		titles = append(titles, title)
		for _, id := range a.TargetElements {
			r.titles[id] = a.Title
		}
	}
	r.printf("%s", strings.Join(titles, " "))
}

func runs(e element) string {
	var out strings.Builder
	for _, run := range e.Inlines {
		out.WriteString(decorated(run))
	}
	return out.String()
}

func decorated(e element) string {
	text := strings.ReplaceAll(e.Text, string(gap), "·")
	switch {
	case e.Weight == "Bolder":
		return "*" + text + "*"
	case e.IsSubtle:
		return "~" + text + "~"
	case e.FontType == "Monospace":
		return "$ " + text
	}
	return text
}
