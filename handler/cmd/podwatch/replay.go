package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/rule"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	rules, exceptions string
	summary, routine  bool
	explain, deliver  bool
	hub               hubReplayOptions
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE... | --event-hub [NAME]",
		Short: "Evaluate exported logs and print the alerts they raise",
		Long: `Replay evaluates message bodies as the deployed handler would and prints each
alert as one line of JSON. They come from files or from an event hub.

A FILE holds what Azure, or a tool that reads it, has written: messages of the
export, also saved with their properties or by Event Hubs Capture (Avro); the
PT1H.json of a storage account; what "az monitor activity-log list" and the REST
API print; rows of Log Analytics as JSON or CSV; the audit.log of an API server.
It may be packed by gzip or in UTF-16, and of any size: it is read as a stream. A
FOLDER stands for all files in it and below. "-" reads standard input.

With --event-hub it reads what the hub still retains, all partitions at once, and
ends at what was the newest message when it started. --from and --to bound the
time at which the hub took a message, which is minutes after the deletion. Both
take a time (2026-11-09T08:00:00Z, or a date for its midnight in UTC) or how long
ago (90m, 24h, 7d). Nothing is taken out of the hub and no checkpoint is moved;
read with a consumer group that nobody else uses, such as the podwatch-tool that
the deployment makes. With --position-file a replay that was interrupted goes on
where it was when it is started again. The hub comes from the flags or from the
app settings EventHub or EventHub__fullyQualifiedNamespace, and EVENT_HUB_NAME;
with a namespace, azidentity signs in, and it needs the role Azure Event Hubs
Data Receiver.

Nothing is delivered and nothing is looked up, so this is the place to try a rule
or an exception on yesterday's data before it is deployed: a suppressed alert is
printed with Suppressed and the name of the exception. With --deliver the alerts
also go to the sinks that the app settings in the environment name, each alert
once where AzureWebJobsStorage names the storage with the app's ledger. An alert
that a sink does not take ends the replay with an error.

Repeats of the same deletion are one alert, as in Azure. With --explain each record
is printed instead, with what came of it: alerted, suppressed, repeat, routine,
unreadable, no match or no rule's log; which log it is of; for each rule about that
log the condition that decided, with the value that was wanted and the one that was
found; and for an alert the exception that came nearest.

The last line on standard error counts the records. What cannot be read is reported
there too, of each file five pieces one by one, and makes the exit status 1. So does
a file with records of which none is of a known log. A file may be empty.`,
		Example: `  podwatch replay yesterday.json | jq -r '[.EventTime, .CallerName, .Namespace, .Pod] | @tsv'
  podwatch replay --exceptions exceptions.yaml --summary exports
  az monitor activity-log list --offset 1d | podwatch replay --explain -
  az storage blob download ... -f - | podwatch replay -
  podwatch replay --event-hub podwatch-logs --namespace NAME.servicebus.windows.net --from 24h --summary
  podwatch replay --event-hub --from 2026-11-09 --to 2026-11-10 --position-file day.json >>day.jsonl`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.hub.wanted() {
				if err := o.hub.prepare(args, time.Now()); err != nil {
					return usageError(err)
				}
				args = nil
			}
			r, err := newReplay(cmd, o)
			if err != nil {
				return err
			}
			if err = r.hub(cmd.Context(), o.hub); err == nil {
				err = r.files(cmd.Context(), args, cmd.InOrStdin())
			}
			return r.finish(err)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *replayOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.rules, "rules", "", "folder or file of further rules")
	cmd.Flags().StringVar(&o.exceptions, "exceptions", "", "exceptions file to try")
	cmd.Flags().BoolVar(&o.summary, "summary", false, "print counts instead of alerts")
	cmd.Flags().BoolVar(&o.explain, "explain", false, "print each record and what decided about it, instead of alerts")
	cmd.MarkFlagsMutuallyExclusive("summary", "explain")
	cmd.Flags().BoolVar(&o.routine, "routine", false, "print routine deletions as well, marked Routine")
	cmd.Flags().BoolVar(&o.deliver, "deliver", false, "deliver the alerts as well, to the sinks that the app settings in the environment name")
	o.hub.flags(cmd)
}

// check finds what does not go together on the command line.
func (o *replayOptions) check(args []string) error {
	switch needless := o.hub.needless("from", "to", "position-file"); {
	case o.hub.wanted() && len(args) > 1:
		return errors.New("--event-hub takes one hub and no files: replay files in a run of their own")
	case !o.hub.wanted() && needless != nil:
		return needless
	case !o.hub.wanted() && len(args) == 0:
		return errors.New("name at least one file to replay, - for standard input, or --event-hub")
	}
	return nil
}

// A replay evaluates messages. evaluate is safe for concurrent use.
type replay struct {
	app     *app.App
	console *app.Console
	out     io.Writer
	summary bool
	explain bool
	deliver bool

	mu       sync.Mutex // guards what follows
	err      io.Writer
	status   *statusLine
	counts   app.Counts
	records  int
	ofRules  int                    // of those, in logs that rules read
	verdicts [len(verdictNames)]int // on records
	seen     map[[16]byte]struct{}  // ids of alerts
}

// newReplay wires the stages: those that detect, and with --deliver also those
// that look up and deliver.
func newReplay(cmd *cobra.Command, o replayOptions) (*replay, error) {
	out := cmd.OutOrStdout()
	r := &replay{
		out: out, console: app.NewConsole(out), err: cmd.ErrOrStderr(), summary: o.summary, explain: o.explain, deliver: o.deliver,
		status: newStatusLine(cmd.ErrOrStderr()), seen: map[[16]byte]struct{}{},
	}
	log := slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg, err := config.Files(settings, config.ExecutableDir())
	if o.deliver {
		cfg, err = config.Load(settings, config.ExecutableDir())
	}
	if err != nil {
		return nil, fmt.Errorf("the app settings are wrong:\n%w", err)
	}
	if o.deliver && cfg.TeamsWebhook.IsZero() && cfg.LogAnalyticsEndpoint.IsZero() && cfg.TeamsDown == nil && cfg.LogAnalyticsDown == nil {
		return nil, usageError(errors.New("deliver: no sink is set: TEAMS_WEBHOOK_URL, or LOG_ANALYTICS_ENDPOINT and LOG_ANALYTICS_RULE_ID"))
	}
	cfg.RulesDir = cmp.Or(o.rules, cfg.RulesDir)
	cfg.ExceptionsFile = cmp.Or(o.exceptions, cfg.ExceptionsFile)
	cfg.RecordRoutine = cfg.RecordRoutine || o.routine
	if o.deliver {
		r.app, err = app.New(cfg, log, io.Discard)
	} else {
		r.app, err = app.Offline(cfg, log)
	}
	if err != nil {
		return nil, err
	}
	idle := 0
	for _, e := range r.app.Report.Entries {
		if e.Verdict != rule.Runs && e.Verdict != rule.Replaced {
			idle++
		}
	}
	if idle > 0 {
		r.say("podwatch: %d of %s do not run: podwatch check says why", idle, count(len(r.app.Report.Entries), "rule", "rules"))
	}
	return r, nil
}

// settings reads app settings from the environment. The port is the one that
// only the host gives, and the tool signs in as a developer does wherever it runs.
func settings(name string) string {
	switch name {
	case "FUNCTIONS_CUSTOMHANDLER_PORT":
		return "0"
	case "IDENTITY_ENDPOINT":
		return ""
	}
	return os.Getenv(name)
}

// A teller is told of each record of one source, as it is evaluated.
type teller interface {
	where(offset int) string                                     // in the message that is evaluated
	told(record detect.Record, v verdict, raised []*alert.Alert) // raised by the record
}

// evaluate evaluates one message and passes its records to t. The error is about
// alerts that were not accepted.
func (r *replay) evaluate(ctx context.Context, body []byte, t teller) error {
	batch := detect.Plain(body)
	found := r.app.Detector.Detect(batch, false)
	fresh := r.fresh(found.Findings)
	around := r.app.Detector.Around(batch, fresh)
	raised := map[string]*alert.Alert{} // by id
	var unprinted error
	// Alerts are printed on their way to the sinks.
	result := r.app.Dispatcher.Deliver(ctx, func(yield func([]*alert.Alert) bool) {
		for piece := range r.app.Enricher.Enrich(ctx, fresh, around) {
			for _, a := range piece {
				raised[a.AlertId] = a
			}
			if !r.summary && !r.explain {
				_, unprinted = r.console.Post(context.Background(), alert.Group{Alerts: piece})
			}
			if unprinted != nil || !yield(piece) {
				return
			}
		}
	})
	first := 0
	for _, record := range found.Records {
		findings := found.Findings[first:record.Findings]
		first = record.Findings
		verdict, alerts := r.judge(record, findings, raised)
		t.told(record, verdict, alerts)
		r.note(record, verdict)
		if r.explain && unprinted == nil {
			unprinted = r.explainRecord(t.where(record.Offset), record, verdict, findings, raised)
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	counts := app.CountsOf(found, len(fresh), result)
	counts.Bytes = len(body)
	r.counts.Add(counts)
	switch n := len(result.Failed); {
	case unprinted != nil:
		return unprinted
	case n > 0:
		return fmt.Errorf("%d alerts could not be delivered; what was delivered stays delivered: %w", n, result.Failed[0].Err)
	}
	return nil
}

// note counts what came of a record.
func (r *replay) note(record detect.Record, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records++
	r.verdicts[v]++
	if r.app.Rules.Reads(record.Dataset) {
		r.ofRules++
	}
}

// fresh returns the findings that were not met before.
func (r *replay) fresh(findings []alert.Finding) []alert.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(findings), func(f alert.Finding) bool {
		var id [16]byte // an id is its hexadecimal form
		if _, err := hex.Decode(id[:], []byte(f.ID)); err != nil {
			return false
		}
		_, met := r.seen[id]
		r.seen[id] = struct{}{}
		return met
	})
}

// say writes a line to standard error.
func (r *replay) say(format string, args ...any) {
	fmt.Fprintf(r, format+"\n", args...) // there is no place to report an error
}

// Write writes to standard error, and keeps the status line and other text apart.
func (r *replay) Write(text []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.clear()
	return r.err.Write(text)
}

// finish prints the counts, also of a replay that ended early because of err, and
// returns whether everything could be read.
func (r *replay) finish(err error) error {
	if r.counts.Held > 0 {
		r.say("%d alerts are held for the summary of a storm, which the app's Heartbeat posts", r.counts.Held)
	}
	if r.summary {
		if err := r.summarize(); err != nil {
			return err
		}
	}
	// For scripts too: the words do not change with the numbers.
	r.say("read %d records, %d of logs that rules read, %d alerts, %d unread", r.records, r.ofRules, r.counts.Alerts, r.counts.Unreadable)
	if err == nil && r.counts.Unreadable > 0 {
		err = fmt.Errorf("%d pieces could not be read", r.counts.Unreadable)
	}
	return err
}

// summarize prints the counts as JSON: those of the handler's log line, and records by
// what came of them.
func (r *replay) summarize() error {
	text, err := json.Marshal(struct {
		app.Counts
		Records    int `json:"records"`
		Alerted    int `json:"recordsAlerted"`
		Suppressed int `json:"recordsSuppressed"`
		Repeated   int `json:"recordsRepeat"`
		Routine    int `json:"recordsRoutine"`
		Unreadable int `json:"recordsUnreadable"`
		NoMatch    int `json:"recordsNoMatch"`
		NoRule     int `json:"recordsNoRule"`
	}{
		r.counts, r.records, r.verdicts[alerted], r.verdicts[suppressed], r.verdicts[repeated],
		r.verdicts[routine], r.verdicts[unreadable], r.verdicts[noMatch], r.verdicts[noRule],
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "%s\n", text)
	return err
}
