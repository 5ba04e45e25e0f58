package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// explainRecord prints what came of a record, and why.
func (r *replay) explainRecord(where string, record detect.Record, v verdict, findings []alert.Finding, raised map[string]*alert.Alert) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", name, visible(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: %s\n", where, v)
	if record.Unread != "" {
		line("unread", "%s", record.Unread)
	}
	if record.Dataset == "" {
		line("log", "none that podwatch knows: %s", shapeOf(record.Text))
	} else {
		r.explainEvents(record, line)
	}
	if record.Repeats > 0 {
		line("repeat", "of a record before it")
	}
	for _, f := range findings {
		a := raised[f.ID]
		if a == nil {
			line("repeat", "of a record before it: alert %s", f.ID)
			continue
		}
		line("alert", "%s", f.ID)
		r.explainExceptions(f, a, line)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.clear()
	_, err := fmt.Fprint(r.out, b.String())
	return err
}

// explainEvents prints for each event of a record its log and why it meets each rule
// about that log or does not.
func (r *replay) explainEvents(record detect.Record, line func(name, format string, args ...any)) {
	var reader event.Reader
	for ev, err := range reader.Events(record.Text) {
		if err != nil {
			return // the record is unread, which is said
		}
		about := []string{ev.Dataset(), ev.Category(), ev.Operation()}
		if at := ev.Time(); !at.IsZero() {
			about = append(about, at.Format(time.RFC3339))
		}
		about = slices.DeleteFunc(about, func(text string) bool { return text == "" })
		line("log", "%s", strings.Join(about, ", "))
		explanations := r.app.Rules.Explain(ev)
		if len(explanations) == 0 {
			line("rules", "none is about this log")
		}
		for _, e := range explanations {
			line("rule", "%s", explained(e))
		}
	}
}

// explained is why an event meets a rule or does not.
func explained(e rule.Explanation) string {
	switch {
	case e.Meets == kql.False:
		return fmt.Sprintf("%s: no match: %s", e.Rule.Name, reasonText(e.Reason))
	case e.Meets == kql.Unknown:
		return fmt.Sprintf("%s: match, as far as is known: %s", e.Rule.Name, reasonText(e.Reason))
	case e.Routine:
		return fmt.Sprintf("%s: match, but routine: %s", e.Rule.Name, reasonText(e.Why))
	case e.Why.Wanted != "":
		return fmt.Sprintf("%s: match, and not routine: %s", e.Rule.Name, reasonText(e.Why))
	}
	return fmt.Sprintf("%s: match", e.Rule.Name)
}

// reasonText shortens what a query wants, which may be a long list.
func reasonText(r kql.Reason) string {
	const most = 300
	if len(r.Wanted) > most {
		r.Wanted = strings.ToValidUTF8(r.Wanted[:most], "") + "..."
	}
	return r.String()
}

// explainExceptions prints the exception that suppresses an alert, or the one that
// comes nearest.
func (r *replay) explainExceptions(f alert.Finding, a *alert.Alert, line func(name, format string, args ...any)) {
	ev, err := f.Event()
	if err != nil {
		return // the alert shows it
	}
	explanations := r.app.Exceptions.Explain(a, ev)
	switch {
	case len(explanations) == 0 && len(r.app.Exceptions.Exceptions()) > 0:
		line("exception", "none is for this rule")
	case len(explanations) == 0:
	case a.Suppressed:
		line("exception", "%s holds", a.SuppressedBy)
	default:
		line("exception", "%s comes nearest: %s", explanations[0].Exception.Name, strings.Join(explanations[0].Why, "; "))
	}
}
