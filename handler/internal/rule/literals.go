package rule

import (
	"cmp"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/prefilter"
)

// Literals returns text of which every record that some rule can match holds at
// least one piece, behind whatever escapes: a record with none of it need not be
// parsed. With all, some rule can match without any text that could be looked for,
// and everything must be parsed.
func (s *Set) Literals() (lits []prefilter.Literal, all bool) {
	for _, c := range s.rules {
		cover := kql.Cover(c.node, func(t kql.Term) int { return worth(c.pieces(t)) })
		if cover == nil {
			return nil, true
		}
		for _, t := range cover {
			for _, p := range c.pieces(t) {
				lits = append(lits, p.Literal)
			}
		}
	}
	slices.SortFunc(lits, func(a, b prefilter.Literal) int {
		switch c := cmp.Compare(a.Text, b.Text); {
		case c != 0 || a.Whole == b.Whole:
			return c
		case a.Whole:
			return 1
		}
		return -1
	})
	return withoutImplied(slices.Compact(lits)), false
}

// withoutImplied drops every literal whose presence means that another one is
// present too.
func withoutImplied(lits []prefilter.Literal) []prefilter.Literal {
	var kept []prefilter.Literal
	for i, l := range lits {
		implied := false
		for j, other := range lits {
			implied = implied || i != j && !other.Whole && strings.Contains(strings.ToLower(l.Text), strings.ToLower(other.Text)) &&
				(len(other.Text) < len(l.Text) || l.Whole || j < i)
		}
		if !implied {
			kept = append(kept, l)
		}
	}
	return kept
}

// A piece is a literal and what it is worth to a scan: the fewer records hold
// it, the more.
type piece struct {
	prefilter.Literal
	worth int
}

// pieces is piecesOf a condition of the rule. Of a rule about cut events it is only
// text that precedes the cut, where the object of a request is part of its URI.
func (c *compiled) pieces(t kql.Term) []piece {
	if c.rule.Cut && !event.PrecedesCut(t.Field) {
		return nil
	}
	pieces := piecesOf(t)
	if c.rule.Cut && strings.HasPrefix(t.Field, "azure.platformlogs.properties.log.objectRef.") {
		for _, p := range pieces {
			p.Text, p.Whole = "/"+p.Text, false
			pieces = append(pieces, p)
		}
	}
	return pieces
}

// piecesOf returns text of which every record that meets a condition holds at
// least one piece: its value, or of a pattern the best text between two stars.
// Ranges, existence and free text do not fix the spelling of a value.
func piecesOf(t kql.Term) []piece {
	if t.Many || t.Op != "" {
		return nil
	}
	field := t.Field
	shared := sharedByMost(field, strings.Join(t.Value, "*"))
	var best []piece
	for _, part := range t.Value {
		alternatives, ok := event.RawText(field, part)
		if !ok || slices.Contains(alternatives, "") {
			continue
		}
		var own []piece
		if verbatim(field) && len(alternatives) == 1 {
			alternatives = []string{around(part, alternatives[0])}
		}
		for _, text := range alternatives {
			p := piece{Literal: prefilter.Literal{Text: text}, worth: 2 * len(text)}
			if len(t.Value) == 1 && text == part && keptWhole(field) && isWord(text) {
				p.Whole = true
				p.worth += 16
			}
			if shared {
				p.worth = 1
			}
			own = append(own, p)
		}
		if worth(own) > worth(best) {
			best = own
		}
	}
	return best
}

// verbatim reports whether a value of field is a string of the record, or of JSON
// text in it, from its first to its last character.
func verbatim(field string) bool {
	return field == "event.action" || strings.HasSuffix(field, ".operation_name") || keptWhole(field)
}

// around returns piece with what surrounds it in value and can be compared.
func around(value, piece string) string {
	usual := func(c byte) bool { return c >= ' ' && c < 0x7f && c != '\\' && c != '"' }
	start := strings.Index(value, piece)
	if start < 0 {
		return piece
	}
	end := start + len(piece)
	for start > 0 && usual(value[start-1]) {
		start--
	}
	for end < len(value) && usual(value[end]) {
		end++
	}
	return value[start:end]
}

// keptWhole reports whether values of field are complete strings of the record.
// Elsewhere a value may be a part of one, as a resource group is of an id.
func keptWhole(field string) bool { return strings.HasPrefix(field, "azure.platformlogs.properties.") }

// isWord reports whether text can only be a string in JSON: numbers, true and
// false stand there without quotes.
func isWord(text string) bool {
	first := text[0] | 0x20
	return 'a' <= first && first <= 'z' && text != "true" && text != "false"
}

// sharedByMost reports whether most records of a log have the value in the
// field, so that looking for it finds nothing out.
func sharedByMost(field, value string) bool {
	switch field[strings.LastIndexByte(field, '.')+1:] {
	case "username":
		// Of the audit log: nearly all requests are those of the cluster's own accounts.
		return strings.HasPrefix(value, "system:") || value == "aksService"
	case "dataset", "category", "stage", "apiVersion", "kind", "level", "code", "result_type", "provider", "tenant_id", "subscription_id":
		return true
	}
	// The operation of all that a cluster logs, from kube-audit to the scheduler.
	return strings.Contains(strings.ToLower(value), "/diagnosticlogs/")
}

// worth is that of the weakest piece, because one is enough to have a record
// parsed; 0 when there is none.
func worth(pieces []piece) int {
	if len(pieces) == 0 {
		return 0
	}
	return slices.MinFunc(pieces, func(a, b piece) int { return a.worth - b.worth }).worth
}
