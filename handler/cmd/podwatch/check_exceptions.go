package main

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/rule"
	"podwatch/handler/rules"
)

// A checkedException is one line of the JSON output, and what the text shows.
type checkedException struct {
	Exception string   `json:"exception"`
	Owner     string   `json:"owner"`
	Expires   string   `json:"expires,omitempty"` // the first moment at which it does not hold
	Windows   []string `json:"windows,omitempty"` // the next ones, in their zone and in UTC
	Share     float64  `json:"share"`             // of the time, by its schedule
	Fits      int      `json:"fits"`              // sample alerts that its match fits
	Samples   int      `json:"samples"`           // of so many
	Warnings  []string `json:"warnings,omitempty"`
}

// exceptions checks an exceptions file; file "" is none. set has the rules that
// exceptions can name; nil: any.
func (c *check) exceptions(file string, set *rule.Set) error {
	if file == "" {
		return nil
	}
	exceptions, err := exception.Load(file, set)
	if err != nil {
		c.failures = append(c.failures, err.Error())
		return nil
	}
	samples, err := sampleAlerts()
	if err != nil {
		return err
	}
	lookups := !strings.EqualFold(os.Getenv("ACTIVITY_LOOKUPS"), "off") // unset here, it may be set where the handler runs
	var b strings.Builder
	if c.json == nil {
		fmt.Fprintf(&b, "\n%s\n", visible(file))
	}
	for _, e := range exceptions.Exceptions() {
		checked := checkException(e, samples, lookups)
		if c.json == nil {
			checked.write(&b)
		} else if err := c.json.Encode(checked); err != nil {
			return err
		}
	}
	_, err = io.WriteString(c.out, b.String())
	return err
}

func checkException(e *exception.Exception, samples []sampleAlert, lookups bool) checkedException {
	now := time.Now()
	checked := checkedException{Exception: e.Name, Owner: e.Owner, Samples: len(samples), Share: e.Share(now)}
	for _, w := range e.Lint(now, lookups) {
		checked.Warnings = append(checked.Warnings, w.Error())
	}
	if !e.Expires.IsZero() {
		checked.Expires = inZone(e.Expires)
	}
	for _, w := range e.Windows(now, 3) {
		window := w.Start.Format(minutes) + " to " + inZone(w.End)
		if w.End.Location().String() != "UTC" {
			window += fmt.Sprintf(" (%s to %s)", w.Start.UTC().Format(minutes), inZone(w.End.UTC()))
		}
		checked.Windows = append(checked.Windows, window)
	}
	for _, s := range samples {
		if e.Fits(s.alert, s.event) {
			checked.Fits++
		}
	}
	if 2*checked.Fits > checked.Samples {
		checked.Warnings = append(checked.Warnings, fmt.Sprintf("it is wide: its match fits %d of %d sample deletions of all kinds; name the caller and the cluster", checked.Fits, checked.Samples))
	}
	return checked
}

const minutes = "Mon 2006-01-02 15:04"

func inZone(t time.Time) string { return t.Format(minutes) + " " + t.Location().String() }

func (e checkedException) write(b *strings.Builder) {
	until := "never expires"
	if e.Expires != "" {
		until = "until " + e.Expires
	}
	fmt.Fprintf(b, "  %s (%s, %s): fits %d of %d sample alerts\n", visible(e.Exception), visible(e.Owner), until, e.Fits, e.Samples)
	if len(e.Windows) > 0 {
		fmt.Fprintf(b, "    holds %.3g %% of the time, next:\n", 100*e.Share)
	}
	for _, w := range e.Windows {
		fmt.Fprintf(b, "      %s\n", visible(w))
	}
	for _, w := range e.Warnings {
		fmt.Fprintf(b, "    warning: %s\n", visible(w))
	}
}

// A sampleAlert is an alert and its event.
type sampleAlert struct {
	alert *alert.Alert
	event *event.Event
}

// sampleAlerts are the alerts of the sample export and of the built-in rules'
// own cases: deletions of every kind, by every kind of caller.
func sampleAlerts() ([]sampleAlert, error) {
	offline, err := app.Offline(new(config.Config), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	var alerts []sampleAlert
	for _, source := range []struct {
		fsys    fs.FS
		pattern string
	}{{samples, "samples/*.json"}, {rules.FS, "*/match.jsonl"}} {
		names, err := fs.Glob(source.fsys, source.pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			body, err := fs.ReadFile(source.fsys, name)
			if err != nil {
				return nil, err
			}
			for _, f := range offline.Detector.Detect(detect.Plain(body), false).Findings {
				ev, err := f.Event()
				if err != nil {
					return nil, err
				}
				alerts = append(alerts, sampleAlert{alert.New(f, ev, caller.From(ev), time.Now()), ev})
			}
		}
	}
	return alerts, nil
}
