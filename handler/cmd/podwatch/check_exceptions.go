package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/console"
	"podwatch/handler/rules"
)

// exceptionsFile is the file that the flag names, or that a handler in this
// folder would load; "" for none.
func exceptionsFile(flag string) string {
	if flag != "" {
		return flag
	}
	if file := os.Getenv("EXCEPTIONS_FILE"); file != "" {
		return file
	}
	executable, err := os.Executable()
	if err != nil {
		return ""
	}
	file := filepath.Join(filepath.Dir(executable), "exceptions.yaml")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// A checkedException is one line of the JSON output, and what the text shows.
type checkedException struct {
	Exception string   `json:"exception"`
	Owner     string   `json:"owner"`
	Expires   string   `json:"expires,omitempty"`
	Fits      int      `json:"fits"`    // sample alerts that its match fits
	Samples   int      `json:"samples"` // of so many
	Warnings  []string `json:"warnings,omitempty"`
}

// exceptions checks an exceptions file; file "" is none.
func (c *check) exceptions(file string) error {
	if file == "" {
		return nil
	}
	set, err := exception.Load(file)
	if err != nil {
		c.failures = append(c.failures, err.Error())
		return nil
	}
	samples, err := sampleAlerts()
	if err != nil {
		return err
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if !c.json {
		fmt.Fprintf(&b, "\n%s\n", plain(file))
	}
	for _, e := range set.Exceptions() {
		checked := checkException(e, samples)
		if !c.json {
			checked.write(&b)
			continue
		}
		if err := enc.Encode(checked); err != nil {
			return err
		}
	}
	_, err = fmt.Fprint(c.out, b.String())
	return err
}

func checkException(e *exception.Exception, samples []sampleAlert) checkedException {
	checked := checkedException{Exception: e.Name, Owner: e.Owner, Samples: len(samples), Warnings: e.Lint(time.Now())}
	if !e.Expires.IsZero() {
		checked.Expires = e.Expires.UTC().Format(time.DateOnly)
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

func (e checkedException) write(b *strings.Builder) {
	until := "never expires"
	if e.Expires != "" {
		until = "until " + e.Expires
	}
	fmt.Fprintf(b, "  %s (%s, %s): fits %d of %d sample alerts\n", plain(e.Exception), plain(e.Owner), until, e.Fits, e.Samples)
	for _, w := range e.Warnings {
		fmt.Fprintf(b, "    warning: %s\n", plain(w))
	}
}

// A sampleAlert is an alert and its event.
type sampleAlert struct {
	alert *alert.Alert
	event kql.Document
}

// collector takes every alert on its way past the exceptions.
type collector struct {
	pipeline.None
	alerts []sampleAlert
}

func (c *collector) Suppress(a *alert.Alert, event func() kql.Document) string {
	c.alerts = append(c.alerts, sampleAlert{a, event()})
	return ""
}

// sampleAlerts are the alerts of the sample export and of the built-in rules'
// own cases: deletions of every kind, by every kind of caller.
func sampleAlerts() ([]sampleAlert, error) {
	set, _, err := app.Rules("")
	if err != nil {
		return nil, err
	}
	var c collector
	p := pipeline.New(pipeline.Options{
		Rules: set, Directory: pipeline.None{}, Surroundings: pipeline.None{}, Exceptions: &c, Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{},
		Routes: []pipeline.Route{{Sink: console.New(new(bytes.Buffer))}}, Ledger: sink.NewMemoryLedger(),
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
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
			p.Detect(context.Background(), &invocation.Events{Messages: []invocation.Message{{Body: body, Sequence: -1}}})
		}
	}
	return c.alerts, nil
}
