package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/console"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	rules, exceptions string
	summary, routine  bool
	deliver           bool
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Evaluate exported logs and print the alerts they raise",
		Long: `Replay evaluates message bodies as the deployed handler would and prints each
alert as one line of JSON. A file holds one message body in any form that the
export produces: {"records": [...]}, a bare record, an array, or records line by
line. "-" reads standard input.

Nothing is delivered and nothing is looked up, so this is the place to try a rule
or an exception on yesterday's data before it is deployed: a suppressed alert is
printed with Suppressed and the name of the exception.

Repeats of the same deletion are one alert, as in Azure. Pieces that cannot be
read are reported on standard error and make the exit status 1.`,
		Example: `  podwatch replay yesterday.json | jq -r '[.EventTime, .CallerName, .Namespace, .Pod] | @tsv'
  podwatch replay --exceptions exceptions.yaml --summary exports/*.json
  az storage blob download ... -f - | podwatch replay -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(errors.New("name at least one file to replay, or - for standard input"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := newReplay(cmd, o)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := r.file(cmd.Context(), name, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			return r.finish()
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *replayOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.rules, "rules", "", "folder or file of further rules")
	cmd.Flags().StringVar(&o.exceptions, "exceptions", "", "exceptions file to try")
	cmd.Flags().BoolVar(&o.summary, "summary", false, "print counts instead of alerts")
	cmd.Flags().BoolVar(&o.routine, "routine", false, "print routine deletions as well, marked Routine")
	cmd.Flags().BoolVar(&o.deliver, "deliver", false, "deliver the alerts as well, to the sinks that the app settings in the environment name")
}

// A replay evaluates messages one after another.
type replay struct {
	pipeline *pipeline.Pipeline
	out, err io.Writer
	summary  bool

	counts pipeline.Counts
}

// newReplay wires a pipeline that prints, or one that delivers as well.
func newReplay(cmd *cobra.Command, o replayOptions) (*replay, error) {
	out := cmd.OutOrStdout()
	if o.summary {
		out = io.Discard
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := pipeline.Options{
		Directory: pipeline.None{}, Surroundings: pipeline.None{}, Exceptions: pipeline.None{}, Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{},
		Ledger: sink.NewMemoryLedger(), Now: time.Now, Log: log,
	}
	if o.deliver {
		cfg, err := config.Load(settings, ".")
		if err != nil {
			return nil, fmt.Errorf("deliver: the app settings are wrong:\n%w", err)
		}
		full, err := app.New(cfg, log, io.Discard)
		if err != nil {
			return nil, fmt.Errorf("deliver: %w", err)
		}
		options = full.Options
	}
	set, _, err := app.Rules(o.rules)
	if err != nil {
		return nil, err
	}
	options.Rules = set
	options.RecordRoutine = o.routine
	if o.exceptions != "" {
		exceptions, err := exception.Load(o.exceptions)
		if err != nil {
			return nil, err
		}
		options.Exceptions = exceptions
	}
	options.Routes = append(options.Routes, pipeline.Route{Sink: console.New(out)})
	return &replay{pipeline: pipeline.New(options), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), summary: o.summary}, nil
}

// settings reads app settings from the environment. The port is the one that
// only the host gives.
func settings(name string) string {
	if name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
		return "0"
	}
	return os.Getenv(name)
}

// maxFile bounds a file that is one message body: the hub itself takes 1 MiB.
const maxFile = 256 << 20

func (r *replay) file(ctx context.Context, name string, stdin io.Reader) error {
	in, label := stdin, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		defer f.Close()
		in, label = f, name
	}
	body, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return fmt.Errorf("replay %s: %w", label, err)
	}
	if len(body) > maxFile {
		return fmt.Errorf("replay %s: more than %d MiB in one message body", label, maxFile>>20)
	}
	r.messages(ctx, &invocation.Events{Messages: []invocation.Message{{Body: body, Sequence: -1}}}, label)
	return ctx.Err()
}

// messages evaluates a batch and reports what could not be read.
func (r *replay) messages(ctx context.Context, in *invocation.Events, label string) {
	batch := r.pipeline.Detect(ctx, in)
	r.counts.Add(batch.Counts)
	for _, piece := range batch.Unreadable {
		fmt.Fprintf(r.err, "podwatch: %s: byte %d: %s\n", label, piece.Position, piece.Reason)
	}
}

// finish prints the summary and says whether everything could be read.
func (r *replay) finish() error {
	if r.summary {
		text, err := json.Marshal(r.counts)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.out, "%s\n", text)
	}
	if r.counts.Unreadable > 0 {
		return fmt.Errorf("%d pieces could not be read", r.counts.Unreadable)
	}
	if r.counts.Undelivered > 0 {
		return fmt.Errorf("%d alerts could not be delivered", r.counts.Undelivered)
	}
	return nil
}
