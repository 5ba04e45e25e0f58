// Package app builds the parts of podwatch from its settings.
//
// The handler serves what [New] returns, and the tool's replay evaluates with
// it, so both detect the same. New finds every mistake in rules and exceptions;
// it does no I/O to Azure, and a part that is switched off is [pipeline.None],
// never nil.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/sink/console"
	"podwatch/handler/internal/sink/loganalytics"
	"podwatch/handler/internal/sink/teams"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/surroundings"
)

// New builds the pipeline that the settings ask for. Alerts of the console sink
// go to stdout.
func New(cfg *config.Config, log *slog.Logger, stdout io.Writer) (*pipeline.Pipeline, error) {
	b := &builder{cfg: cfg, log: log, stdout: stdout, Options: pipeline.Options{
		Directory: pipeline.None{}, Surroundings: surroundings.BatchOnly(), Exceptions: pipeline.None{},
		Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{}, Ledger: sink.NewMemoryLedger(),
		Portal:        alert.Portal{Base: cfg.Cloud.Portal, Workspace: cfg.LogAnalyticsWorkspace},
		RecordRoutine: cfg.RecordRoutine, Now: time.Now, Log: log,
	}}
	for _, build := range []func() error{b.rules, b.exceptions, b.lookups, b.sinks, b.storage} {
		if err := build(); err != nil {
			b.mistakes = append(b.mistakes, err)
		}
	}
	if err := errors.Join(b.mistakes...); err != nil {
		return nil, err
	}
	return pipeline.New(b.Options), nil
}

// A builder collects the parts.
type builder struct {
	pipeline.Options
	cfg      *config.Config
	log      *slog.Logger
	stdout   io.Writer
	cred     azcore.TokenCredential // see credential
	mistakes []error
}

// credential returns the one credential that all clients share, since each
// instance keeps tokens of its own. Making it does no I/O.
func (b *builder) credential() (azcore.TokenCredential, error) {
	if b.cred != nil {
		return b.cred, nil
	}
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Cloud: b.cfg.Cloud.Azure},
	})
	if err != nil {
		return nil, fmt.Errorf("make the credential: %w", err)
	}
	b.cred = cred
	return cred, nil
}

// rules loads the built-in rules and those of the operator. A rule that waits
// for a log or is of a kind that podwatch does not run is said once, at start.
func (b *builder) rules() error {
	set, report, err := Rules(b.cfg.RulesDir)
	if err != nil {
		return fmt.Errorf("the rules are wrong:\n%w", err)
	}
	for _, entry := range report.Entries {
		if entry.Verdict != rule.Runs && entry.Verdict != rule.Replaced {
			b.log.Info("a rule does not run", "rule_id", entry.Rule.ID, "rule", entry.Rule.Name, "verdict", string(entry.Verdict), "reason", entry.Reason)
		}
	}
	b.Rules = set
	return nil
}

// Rules loads the built-in rules and, unless dir is empty, those of a folder.
func Rules(dir string) (*rule.Set, *rule.Report, error) {
	sources := []rule.Source{rule.BuiltIn()}
	if dir != "" {
		sources = append(sources, rule.Path(dir))
	}
	return rule.Load(sources...)
}

func (b *builder) exceptions() error {
	if b.cfg.ExceptionsFile == "" {
		return nil
	}
	set, err := exception.Load(b.cfg.ExceptionsFile)
	if err != nil {
		return fmt.Errorf("the exceptions are wrong:\n%w", err)
	}
	b.Exceptions = set
	return nil
}

// lookups switches on what was granted.
func (b *builder) lookups() error {
	if !b.cfg.GraphLookups && !b.cfg.ActivityLookups {
		return nil
	}
	cred, err := b.credential()
	if err != nil {
		return err
	}
	if b.cfg.GraphLookups {
		directory, err := caller.NewDirectory(b.cfg.GraphEndpoint, cred, caller.DirectoryOptions{Log: b.log})
		if err != nil {
			return fmt.Errorf("GRAPH_ENDPOINT: %w", err)
		}
		b.Directory = directory
	}
	if b.cfg.ActivityLookups {
		around, err := surroundings.New(b.cfg.ARMEndpoint, cred, surroundings.Options{Log: b.log})
		if err != nil {
			return fmt.Errorf("ARM_ENDPOINT: %w", err)
		}
		b.Surroundings = around
	}
	return nil
}

// sinks makes the sinks that are configured, or the console where none is.
func (b *builder) sinks() error {
	var mistakes []error
	if b.cfg.TeamsWebhookURL != "" {
		mistakes = append(mistakes, b.teams())
	}
	if b.cfg.LogAnalyticsEndpoint != "" {
		mistakes = append(mistakes, b.logAnalytics())
	}
	if len(b.Routes) == 0 {
		b.Routes = []pipeline.Route{{Sink: console.New(b.stdout)}}
	}
	return errors.Join(mistakes...)
}

func (b *builder) teams() error {
	s, err := teams.New(string(b.cfg.TeamsWebhookURL), teams.Options{
		AllowedHosts: b.cfg.TeamsWebhookHosts,
		Advice:       b.advice,
		Delivery:     b.delivery(),
	})
	if err != nil {
		return fmt.Errorf("TEAMS_WEBHOOK_URL: %w", err)
	}
	b.Routes = append(b.Routes, pipeline.Route{Sink: s, ForPeople: true})
	return nil
}

// delivery bounds a delivery of one batch. A sink that is down is not waited for
// any longer than this: the partition stands still meanwhile, and the queue is
// there for longer outages.
func (b *builder) delivery() sink.Options {
	return sink.Options{Logger: b.log, Tries: 4}
}

// advice is what a rule's file contains for the card.
func (b *builder) advice(ruleID string) teams.Advice {
	r := b.Rules.Rule(ruleID)
	if r == nil {
		return teams.Advice{}
	}
	return teams.Advice{Guide: r.Note, FalsePositives: r.FalsePositives, References: r.References, Highlighted: r.Highlighted}
}

func (b *builder) logAnalytics() error {
	cred, err := b.credential()
	if err != nil {
		return err
	}
	s, err := loganalytics.New(b.cfg.LogAnalyticsEndpoint, b.cfg.LogAnalyticsRuleID, b.cfg.LogAnalyticsStream, cred, loganalytics.Options{
		Scope:    b.cfg.Cloud.MonitorScope,
		Delivery: b.delivery(),
	})
	if err != nil {
		return fmt.Errorf("LOG_ANALYTICS_ENDPOINT: %w", err)
	}
	b.Routes = append(b.Routes, pipeline.Route{Sink: s})
	return nil
}

// storage keeps ledger, storm windows and the feed's state in the host's storage
// account. Without one they live in memory, or not at all.
func (b *builder) storage() error {
	if !b.cfg.Storage.Configured() {
		b.log.Warn("no storage is configured: what was delivered is remembered by this process only, storms are not held back and the feed's silence is not noticed",
			"setting", "AzureWebJobsStorage")
		return nil
	}
	account, err := b.account()
	if err != nil {
		return err
	}
	ledger, err := sink.NewBlobLedger(account)
	if err != nil {
		return fmt.Errorf("AzureWebJobsStorage: %w", err)
	}
	container, err := account.Container(state.Container)
	if err != nil {
		return fmt.Errorf("AzureWebJobsStorage: %w", err)
	}
	poison, err := sink.NewPoison(account)
	if err != nil {
		return fmt.Errorf("AzureWebJobsStorage: %w", err)
	}
	b.Poison = poison
	b.Ledger = sink.Both(sink.NewMemoryLedger(), ledger)
	b.Windows = state.NewWindows(container, time.Now)
	b.Feed = state.NewFeed(container, b.cfg.FeedSilenceAfter, b.gauges(account), time.Now)
	return nil
}

func (b *builder) account() (sink.Storage, error) {
	s := b.cfg.Storage
	account := sink.Storage{ConnectionString: string(s.ConnectionString), AccountName: s.AccountName, BlobServiceURI: s.BlobServiceURI, QueueServiceURI: s.QueueServiceURI}
	if account.ConnectionString != "" {
		return account, nil
	}
	cred, err := b.credential()
	account.Credential = cred
	return account, err
}

// gauges are the places that should stay empty.
func (b *builder) gauges(account sink.Storage) []state.Gauge {
	const unreadable = "unreadable-messages"
	return []state.Gauge{
		{Name: "unreadable messages", Where: "the blob container " + unreadable, Count: func(ctx context.Context) (int, error) {
			return account.CountBlobs(ctx, unreadable)
		}},
		{Name: "messages in the poison queue", Where: "the queue " + sink.PoisonQueue, Count: func(ctx context.Context) (int, error) {
			return account.CountMessages(ctx, sink.PoisonQueue)
		}},
	}
}
