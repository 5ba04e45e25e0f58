package kql

import (
	"fmt"
	"slices"
	"strings"
)

// remarkOperator checks how an operator at an offset is written.
func (p *parser) remarkOperator(at int, op string) {
	if p.note == nil {
		return
	}
	end := at + len(op)
	if p.src[at:end] != op {
		p.note(at, "portable-case", "lib/kql wants operators in lower case")
	}
	before, after := p.src[:at], p.src[end:]
	if strings.HasSuffix(strings.TrimRight(before, " \t\r"), "\n") && strings.HasPrefix(strings.TrimLeft(after, " \t\r"), "\n") {
		p.note(at, "portable-own-line", "lib/kql refuses an operator on a line of its own")
	}
}

// remarkField checks how a field name between two offsets is written.
func (p *parser) remarkField(at, end int) {
	if p.note == nil || p.src[at] == '"' {
		return
	}
	raw := trim(p.src[at:end])
	for _, op := range []string{"and", "or", "not"} {
		if word(raw, op) && len(raw) > len(op) && blankLen(raw[len(op):]) > 0 {
			p.note(at, "operator-in-field", fmt.Sprintf("%q is the name of a field here; is the operator one too many?", raw))
		}
	}
	switch {
	case strings.HasSuffix(raw, "="), strings.HasSuffix(raw, "!"):
		p.note(at, "equals", fmt.Sprintf("%q is the name of a field here; comparisons are written : < <= > >= and not field:value", raw))
	case strings.HasPrefix(raw, "!"), strings.HasPrefix(raw, "-"), strings.HasPrefix(raw, "+"):
		p.note(at, "lucene", fmt.Sprintf("%q is the name of a field here; write not in front of a condition to negate it", raw))
	}
}

// remarkValue checks how a value between two offsets is written.
func (p *parser) remarkValue(at, end int, value literal) {
	if p.note == nil {
		return
	}
	raw := trim(p.src[at:end])
	if value.quoted {
		if strings.Contains(raw, "\n") {
			p.note(at, "portable-newline", "lib/kql refuses a line break in quotes; write \\n")
		}
		if strings.Contains(raw, "*") {
			p.note(at, "quoted-star", "a star in quotes is plain text; leave out the quotes and escape what needs it to make it a wildcard")
		}
		return
	}
	fields := strings.Fields(raw)
	has := func(words ...string) bool {
		return slices.ContainsFunc(fields, func(f string) bool { return slices.Contains(words, f) })
	}
	lower := strings.ToLower(raw)
	quote := strings.HasPrefix(raw, "'") && strings.HasSuffix(raw, "'") && len(raw) > 1
	switch {
	case quote:
		p.note(at, "single-quotes", "single quotes are part of the value; use double quotes")
	case has("=", "==", "!=", "<>"):
		p.note(at, "equals", fmt.Sprintf("%q is text to search for; comparisons are written : < <= > >= and not field:value", raw))
	case has("&&", "||"), strings.HasPrefix(raw, "[") && strings.HasSuffix(raw, "]") && has("TO"),
		len(raw) > 2 && raw[0] == '/' && strings.HasSuffix(raw, "/") && strings.ContainsAny(raw, "[]^$+|"), strings.HasPrefix(raw, "/.*"):
		p.note(at, "lucene", fmt.Sprintf("%q is plain text: KQL has no regular expressions, bracketed ranges, && or ||", raw))
	case has("#", "//"):
		p.note(at, "comment", fmt.Sprintf("KQL has no comments: %q is the value", raw))
	case strings.Contains(raw, ", "):
		p.note(at, "comma", fmt.Sprintf("%q is one value; write or between values", raw))
	case lower == "and", lower == "or", lower == "not", has("and", "or", "AND", "OR"):
		p.note(at, "dangling-operator", fmt.Sprintf("%q is the value: an operator needs blanks on both sides and something after them", raw))
	}
	switch {
	case value.wildcard() && strings.Contains(strings.ReplaceAll(raw, `\\`, ""), `\*`):
		p.note(at, "portable-star", "lib/kql takes the escaped star for a wildcard, because there is another star in the value")
	case len(fields) > 1 && !value.wildcard():
		p.note(at, "portable-blank", fmt.Sprintf("lib/kql refuses a value with blanks that is not quoted; write %q", raw))
	case strings.HasPrefix(lower, "not") && len(raw) > len("not"):
		p.note(at, "portable-not", fmt.Sprintf("lib/kql reads %q as not %s; quote it", raw, raw[len("not"):]))
	case len(fields) > 1 && strings.Contains(raw, "'"):
		p.note(at, "portable-quote", "lib/kql refuses a single quote in a value with blanks")
	}
	if strings.Contains(raw, "?") {
		p.note(at, "portable-question", "a question mark is plain text, not a wildcard for one character")
	}
	if pythonNumber(raw) {
		p.note(at, "portable-number", fmt.Sprintf("lib/kql reads %q as a number and forgets how it was written; quote it", raw))
	}
}

// pythonNumber reports whether Python takes s for a number and prints it
// differently.
func pythonNumber(s string) bool {
	t := strings.ToLower(strings.TrimLeft(s, "+-"))
	switch t {
	case "inf", "infinity", "nan":
		return true
	}
	_, ok := parseNumber(strings.ReplaceAll(t, "_", ""))
	if !ok || strings.HasPrefix(t, "_") || strings.HasSuffix(t, "_") {
		return false
	}
	return strings.ContainsAny(s, "_+eE") || len(t) > 1 && t[0] == '0' && t[1] != '.' || strings.HasPrefix(t, ".") || strings.HasSuffix(t, ".")
}
