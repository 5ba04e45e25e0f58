package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"podwatch/handler/internal/alert"
)

// A printer writes alerts to the terminal, for a person or for a program.
type printer struct {
	w      io.Writer
	asJSON bool
	colour bool
}

func newPrinter(w io.Writer, asJSON bool) *printer {
	return &printer{w: w, asJSON: asJSON, colour: isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// alert prints one row of the table.
func (p *printer) alert(row []byte) error {
	if p.asJSON {
		_, err := fmt.Fprintf(p.w, "%s\n", row)
		return err
	}
	var a alert.Alert
	if err := json.Unmarshal(row, &a); err != nil {
		_, err := fmt.Fprintf(p.w, "%s\n", visible(string(row)))
		return err
	}
	_, err := io.WriteString(p.w, p.text(&a))
	return err
}

// Escape sequences of the terminal.
const (
	styleBold   = "\x1b[1m"
	styleRed    = "\x1b[1;31m"
	styleYellow = "\x1b[1;33m"
	styleDim    = "\x1b[2m"
	styleEnd    = "\x1b[0m"
)

func (p *printer) text(a *alert.Alert) string {
	var b strings.Builder
	style := func(code, text string) string {
		if !p.colour {
			return text
		}
		return code + text + styleEnd
	}
	label := strings.ToUpper(a.Severity)
	colour := styleYellow
	switch {
	case a.Suppressed:
		label, colour = "SUPPRESSED", styleDim
	case a.Routine:
		label, colour = "ROUTINE", styleDim
	case a.Severity == "high" || a.Severity == "critical":
		colour = styleRed
	}
	fmt.Fprintf(&b, "\n%s  %s  %s\n", style(colour, label), style(styleBold, visible(a.RuleName)), a.EventTime.UTC().Format("2006-01-02 15:04:05 UTC"))
	line := func(name string, parts ...string) {
		var shown []string
		for _, part := range parts {
			if part != "" {
				shown = append(shown, visible(part))
			}
		}
		if len(shown) > 0 {
			fmt.Fprintf(&b, "  %s %s\n", style(styleDim, fmt.Sprintf("%-8s", name)), strings.Join(shown, ", "))
		}
	}
	line("who", cmp.Or(a.CallerName, a.CallerId, "somebody unknown"), a.CallerKind, different(a.CallerOwnerResource, a.CallerName))
	line("from", a.CallerIp, a.CallerAppName, a.UserAgent)
	line("role", a.CallerRole)
	line("what", strings.TrimSpace(a.DeletionKind+" "+podName(a)), different(a.Operation, a.DeletionKind))
	line("cluster", a.ClusterName, a.ClusterKind, a.ResourceGroup, a.SubscriptionId)
	line("because", a.SuppressedBy)
	for i, e := range a.Timeline {
		name := ""
		if i == 0 {
			name = "before"
		}
		line(name, e.Time.UTC().Format("15:04:05")+" "+e.Operation, e.Target, e.Outcome, e.Caller)
	}
	for _, note := range a.Notes {
		line("note", note)
	}
	line("id", a.AlertId)
	return b.String()
}

func podName(a *alert.Alert) string {
	switch {
	case a.Namespace != "" && a.Pod != "":
		return a.Namespace + "/" + a.Pod
	case a.Namespace != "":
		return "in " + a.Namespace
	}
	return a.Pod
}

func different(text, from string) string {
	if strings.EqualFold(text, from) {
		return ""
	}
	return text
}
