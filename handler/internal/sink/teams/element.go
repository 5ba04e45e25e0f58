package teams

// A message is what the webhook takes.
type message struct {
	Type        string       `json:"type"`
	Summary     string       `json:"summary"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string  `json:"contentType"`
	ContentURL  *string `json:"contentUrl"` // null, and there
	Content     card    `json:"content"`
}

const (
	contentType = "application/vnd.microsoft.card.adaptive"
	cardVersion = "1.5" // the first with tables, the last that Teams knows
)

type card struct {
	Schema       string    `json:"$schema"`
	Type         string    `json:"type"`
	Version      string    `json:"version"`
	FallbackText string    `json:"fallbackText"`
	MSTeams      width     `json:"msteams"`
	Body         []element `json:"body"`
	Actions      []element `json:"actions,omitempty"`
}

type width struct {
	Width string `json:"width"`
}

// An element is any part of a card; which members it has is up to its type.
type element struct {
	Type      string `json:"type,omitempty"` // only the columns of a table have none
	ID        string `json:"id,omitempty"`
	IsVisible *bool  `json:"isVisible,omitempty"`
	Style     string `json:"style,omitempty"`
	Bleed     bool   `json:"bleed,omitempty"`
	Spacing   string `json:"spacing,omitempty"`

	Text     string `json:"text,omitempty"`
	Size     string `json:"size,omitempty"`
	Weight   string `json:"weight,omitempty"`
	Color    string `json:"color,omitempty"`
	FontType string `json:"fontType,omitempty"`
	IsSubtle bool   `json:"isSubtle,omitempty"`
	Wrap     bool   `json:"wrap,omitempty"`

	Width int `json:"width,omitempty"`
	// The schema's name and the one that Microsoft's renderers read.
	FirstRowAsHeader  *bool `json:"firstRowAsHeader,omitempty"`
	FirstRowAsHeaders *bool `json:"firstRowAsHeaders,omitempty"`
	ShowGridLines     *bool `json:"showGridLines,omitempty"`

	Title          string   `json:"title,omitempty"`
	URL            string   `json:"url,omitempty"`
	TargetElements []string `json:"targetElements,omitempty"`

	Items   []element `json:"items,omitempty"`
	Inlines []element `json:"inlines,omitempty"`
	Columns []element `json:"columns,omitempty"`
	Rows    []element `json:"rows,omitempty"`
	Cells   []element `json:"cells,omitempty"`
	Actions []element `json:"actions,omitempty"`
}

// run is a piece of text that no client reads as Markdown: the only place for
// values of an alert.
func run(text string) element { return element{Type: "TextRun", Text: text} }

func bold(text string) element {
	r := run(text)
	r.Weight = "Bolder"
	return r
}

func subtle(text string) element {
	r := run(text)
	r.IsSubtle = true
	return r
}

func rich(runs ...element) element { return element{Type: "RichTextBlock", Inlines: runs} }

// markdown is a paragraph of our own text.
func markdown(text string) element { return element{Type: "TextBlock", Text: text, Wrap: true} }

// hidden is a container that a button shows.
func hidden(id string, items ...element) element {
	no := false
	return element{Type: "Container", ID: id, IsVisible: &no, Style: "emphasis", Items: items}
}

// table lays out labels and values.
func table(rows []element) element {
	no := false
	return element{
		Type: "Table", FirstRowAsHeader: &no, FirstRowAsHeaders: &no, ShowGridLines: &no,
		Columns: []element{{Width: 2}, {Width: 7}}, Rows: rows,
	}
}

// row is one label and its value, made of runs.
func row(label string, value ...element) element {
	cell := func(content element) element { return element{Type: "TableCell", Items: []element{content}} }
	return element{Type: "TableRow", Cells: []element{cell(rich(subtle(label))), cell(rich(value...))}}
}

// toggle is a button that shows or hides a container.
func toggle(title, id string) element {
	return element{Type: "Action.ToggleVisibility", Title: title, TargetElements: []string{id}}
}

// open is a button that leads to a page.
func open(title, url string) element {
	return element{Type: "Action.OpenUrl", Title: title, URL: url}
}
