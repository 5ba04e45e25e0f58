package teams

// A message is what the webhook accepts.
type message struct {
	Type        string       `json:"type"`
	Summary     string       `json:"summary"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string  `json:"contentType"`
	ContentURL  *string `json:"contentUrl"` // null, but required
	Content     card    `json:"content"`
}

const (
	contentType = "application/vnd.microsoft.card.adaptive"
	cardVersion = "1.2" // what Teams promises on every client, telephones included
)

type card struct {
	Schema       string    `json:"$schema"`
	Type         string    `json:"type"`
	Version      string    `json:"version"`
	FallbackText string    `json:"fallbackText"` // where a client cannot draw the card
	MSTeams      width     `json:"msteams"`
	Body         []element `json:"body"`
	Actions      []element `json:"actions,omitempty"`
}

type width struct {
	Width string `json:"width"`
}

// An element is any part of a card; which members it has depends on its type.
type element struct {
	Type      string `json:"type"`
	ID        string `json:"id,omitempty"`
	IsVisible *bool  `json:"isVisible,omitempty"`
	Style     string `json:"style,omitempty"`
	Bleed     bool   `json:"bleed,omitempty"`
	Spacing   string `json:"spacing,omitempty"`
	Width     string `json:"width,omitempty"`

	Text     string `json:"text,omitempty"`
	Size     string `json:"size,omitempty"`
	Weight   string `json:"weight,omitempty"`
	FontType string `json:"fontType,omitempty"`
	IsSubtle bool   `json:"isSubtle,omitempty"`
	Wrap     bool   `json:"wrap,omitempty"`

	Title          string   `json:"title,omitempty"`
	URL            string   `json:"url,omitempty"`
	TargetElements []string `json:"targetElements,omitempty"`

	Items   []element `json:"items,omitempty"`
	Inlines []element `json:"inlines,omitempty"`
	Columns []element `json:"columns,omitempty"`
	Actions []element `json:"actions,omitempty"`
}

// run is a piece of text. It is the only element that shows values of an alert:
// all others are Markdown on every client.
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

// tight is a line close to the one before.
func tight(runs ...element) element {
	line := rich(runs...)
	line.Spacing = "Small"
	return line
}

// markdown is a paragraph of our own text.
func markdown(text string) element { return element{Type: "TextBlock", Text: text, Wrap: true} }

func container(items ...element) element { return element{Type: "Container", Items: items} }

// row is a label and its value beside it.
func row(label string, value ...element) element {
	column := func(width string, items ...element) element {
		return element{Type: "Column", Width: width, Items: items}
	}
	return element{Type: "ColumnSet", Spacing: "Small", Columns: []element{
		column("60px", rich(subtle(label))), column("stretch", value...),
	}}
}

// toggle is a button that shows or hides a container.
func toggle(title, id string) element {
	return element{Type: "Action.ToggleVisibility", Title: title, TargetElements: []string{id}}
}

// open is a button that leads to a page.
func open(title, url string) element {
	return element{Type: "Action.OpenUrl", Title: title, URL: url}
}
