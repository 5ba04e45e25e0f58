package teams

import (
	"regexp"
	"strings"
	"unicode"
)

// Advice is what a rule's file contains for those who read its alerts.
type Advice struct {
	Guide          string   // how to investigate, in Markdown
	FalsePositives []string // what can be harmless
	References     []string // https addresses
	Highlighted    []string // fields of the record to look at first
}

const (
	maxGuide = 6 << 10 // bytes of Markdown
	maxItems = 5       // of each list
)

// elements is the section "What to do" of a card.
func (a Advice) elements() []element {
	elements := guide(a.Guide)
	list := func(title string, items []string) {
		if len(items) > 0 {
			elements = append(elements, guide("## "+title+"\n\n- "+strings.Join(items, "\n- "))...)
		}
	}
	list("Known to be harmless", oneLine(a.FalsePositives))
	var links []string
	for _, address := range oneLine(a.References) {
		links = append(links, "["+strings.TrimPrefix(address, "https://")+"]("+address+")")
	}
	list("References", links)
	if fields := plain(someOf(a.Highlighted, 10), maxValue); fields != "" {
		elements = append(elements, rich(bold("Look first at: "), run(fields)))
	}
	return elements
}

// oneLine returns the first items, each without line breaks and not too long.
func oneLine(items []string) []string {
	var lines []string
	for _, item := range items[:min(len(items), maxItems)] {
		if item = shorten([]rune(strings.Join(strings.Fields(item), " ")), 300); item != "" {
			lines = append(lines, item)
		}
	}
	return lines
}

var (
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	item    = regexp.MustCompile(`^\s*([-*+]|\d{1,3}[.)])\s+(.*)$`)
	link    = regexp.MustCompile(`!?\[([^\]]*)\]\(([^)\s]*)[^)]*\)`)
)

// guide turns a rule's Markdown into the little that Teams can draw:
// paragraphs, lists, bold, italic and links. Headings become bold paragraphs,
// wrapped lines are joined, and code loses its marks. A guide that is too long
// ends after a paragraph, with a sentence about it.
func guide(text string) []element {
	var g guideWriter
	var fenced bool
	for line := range strings.SplitSeq(visible(text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			g.end()
			continue
		}
		if fenced {
			if strings.TrimSpace(line) != "" {
				code := run(noBraces(strings.TrimRight(line, " ")))
				code.FontType = "Monospace"
				g.add(rich(code), len(line))
			}
			continue
		}
		g.line(line)
	}
	g.end()
	if g.cut {
		g.elements = append(g.elements, markdown("_The rest of these steps is in the rule's file._"))
	}
	return g.elements
}

// A guideWriter joins lines to paragraphs and lists.
type guideWriter struct {
	elements []element
	lines    []string // of the paragraph or list that is open
	list     bool
	size     int
	cut      bool
}

func (g *guideWriter) line(line string) {
	if m := heading.FindStringSubmatch(line); m != nil {
		g.end()
		if text := inline(m[1]); text != "" {
			title := markdown(text)
			title.Weight, title.Spacing = "Bolder", "Medium"
			g.add(title, len(line))
		}
		return
	}
	if m := item.FindStringSubmatch(line); m != nil {
		mark := "- "
		if m[1][0] >= '0' && m[1][0] <= '9' {
			mark = m[1][:len(m[1])-1] + ". "
		}
		if !g.list {
			g.end()
			g.list = true
		}
		g.lines = append(g.lines, mark+inline(m[2]))
		return
	}
	text := strings.TrimSpace(line)
	switch {
	case text == "":
		g.end()
	case g.list && strings.HasPrefix(line, " "): // the item goes on
		g.lines[len(g.lines)-1] += " " + inline(text)
	default:
		if g.list {
			g.end()
		}
		g.lines = append(g.lines, inline(text))
	}
}

// end closes the paragraph or list.
func (g *guideWriter) end() {
	if len(g.lines) == 0 {
		g.list = false
		return
	}
	text := strings.Join(g.lines, " ")
	if g.list {
		text = strings.Join(g.lines, "\r") // separates items in Teams
	}
	g.lines, g.list = nil, false
	if strings.TrimSpace(text) != "" {
		g.add(markdown(text), len(text))
	}
}

func (g *guideWriter) add(e element, size int) {
	if g.size += size; g.cut || g.size > maxGuide {
		g.cut = true
		return
	}
	g.elements = append(g.elements, e)
}

// inline keeps links that are https, drops the marks of code, which Teams would
// show, and keeps braces apart, which Teams would evaluate.
func inline(text string) string {
	text = link.ReplaceAllStringFunc(text, func(found string) string {
		m := link.FindStringSubmatch(found)
		if strings.HasPrefix(found, "!") || !strings.HasPrefix(m[2], "https://") {
			return m[1]
		}
		return "[" + m[1] + "](" + m[2] + ")"
	})
	return noBraces(strings.ReplaceAll(text, "`", ""))
}

// visible drops invisible characters of our own text, or that of a user who
// brought the rule.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || invisible(r)) {
			return -1
		}
		return r
	}, strings.NewReplacer("\r\n", "\n", "\t", " ").Replace(text))
}

// noBraces keeps braces apart.
func noBraces(text string) string {
	for strings.Contains(text, "{{") {
		text = strings.ReplaceAll(text, "{{", "{ {")
	}
	return text
}
