package kql

import "strings"

// String prints one condition as canonical KQL, and the outline of anything else.
func (n *Node) String() string {
	var p printer
	switch n.kind {
	case is:
		p.condition(n, false)
	case nested:
		p.field(n.field)
		p.WriteString(":{...}")
	case all:
		p.WriteString("*:*")
	default:
		p.WriteString("(...)")
	}
	return p.String()
}

type printer struct{ strings.Builder }

// condition prints a condition, bare without its field.
func (p *printer) condition(n *Node, bare bool) {
	named := n.field != nil && !bare
	if named {
		p.field(n.field)
	}
	switch {
	case n.op != "" && n.op != Exists:
		p.WriteString(" " + string(n.op) + " ")
	case named:
		p.WriteByte(':')
	}
	if n.op == Exists {
		p.WriteByte('*')
	} else {
		p.value(n.value)
	}
}

// field prints a field name: unquoted where that is possible.
func (p *printer) field(name pattern) {
	if text := name.text(); !name.wildcard() && (text == "" || text == "null" || trim(text) != text) {
		p.quoted(text)
		return
	}
	p.unquoted(name)
}

func (p *printer) value(l literal) {
	text := l.text()
	switch {
	case l.null:
		p.WriteString("null")
	case l.wildcard():
		p.unquoted(l.pattern)
	case l.quoted, text == "null", trim(text) != text:
		p.quoted(text)
	case text == "":
		p.WriteString(`\u0020`) // trimmed away when parsed: the only unquoted way
	default:
		p.unquoted(l.pattern)
	}
}

var (
	quotedText   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`)
	unquotedText = strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`, `:`, `\:`, `<`, `\<`, `>`, `\>`, `"`, `\"`, `*`, `\*`,
		`{`, `\{`, `}`, `\}`, "\t", `\t`, "\r", `\r`, "\n", `\n`, nbsp, `\u00a0`)
)

func (p *printer) quoted(s string) { p.WriteString(`"` + quotedText.Replace(s) + `"`) }

// unquoted writes parts so that they end nowhere early whatever follows it: words
// that would be operators are escaped. "not" is spelled with a Unicode escape,
// because \n is a line feed.
func (p *printer) unquoted(parts pattern) {
	for i, s := range parts {
		if i > 0 {
			p.WriteByte('*')
		}
		start := 0
		for j := range len(s) {
			begins := j == 0 && i == 0 || j > 0 && s[j-1] == ' '
			switch ends := func(n int) bool { return j+n == len(s) && i == len(parts)-1 || j+n < len(s) && s[j+n] == ' ' }; {
			case word(s[j:], "not") && ends(3), word(s[j:], "and") && begins && ends(3), word(s[j:], "or") && begins && ends(2):
				p.WriteString(unquotedText.Replace(s[start:j]))
				start = j
				if s[j] == 'n' {
					p.WriteString(`\u006e`)
					start++
				} else {
					p.WriteByte('\\')
				}
			}
		}
		p.WriteString(unquotedText.Replace(s[start:]))
	}
}
