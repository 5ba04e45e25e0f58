// Package app builds the stages of podwatch from the settings and puts them in a
// row: [App.Detect], [App.Redeliver] and [App.Heartbeat] are the three functions
// that the host invokes. The tool uses the same stages.
//
// [New] finds every mistake in rules and exceptions, and does no I/O but on files.
// A part that is switched off is a zero value that works.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/sink/loganalytics"
	"podwatch/handler/internal/sink/teams"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
	"podwatch/handler/internal/surroundings"
)

// An App is the stages and what the functions share. It is safe for concurrent use.
type App struct {
	Rules      *rule.Set
	Report     *rule.Report
	Exceptions *exception.Set

	Detector   *detect.Detector
	Enricher   *enrich.Enricher
	Dispatcher *deliver.Dispatcher

	reader  *invocation.Reader
	feed    *state.Feed
	dead    *state.DeadLetters
	account *storage.Account // nil: none
	gauges  gauges
	down    []down
	now     func() time.Time
	log     *slog.Logger
}

// New builds the stages that the settings ask for. Alerts of the console sink go
// to stdout.
func New(cfg *config.Config, log *slog.Logger, stdout io.Writer) (*App, error) {
	b := &builder{App: &App{now: time.Now, log: log, Exceptions: new(exception.Set)}, cfg: cfg, stdout: stdout}
	if err := errors.Join(b.rulesAndExceptions(), b.storage(), b.sinks(), b.stages()); err != nil {
		return nil, err
	}
	return b.App, nil
}

// Offline builds the stages that need nothing but the settings' rules and
// exceptions: Detector and Enricher, which looks nothing up. The Dispatcher has no
// sinks.
func Offline(cfg *config.Config, log *slog.Logger) (*App, error) {
	b := &builder{App: &App{now: time.Now, log: log, Exceptions: new(exception.Set)}, cfg: cfg}
	if err := b.rulesAndExceptions(); err != nil {
		return nil, err
	}
	b.Detector = detect.New(b.Rules, cfg.RecordRoutine)
	b.Enricher = enrich.New(b.parts())
	b.Dispatcher = new(deliver.Dispatcher)
	return b.App, nil
}

// A builder collects the parts.
type builder struct {
	*App
	cfg    *config.Config
	stdout io.Writer
	cred   azcore.TokenCredential // see credential
	routes []deliver.Route
	ledger *state.Ledger
	storms *state.Storms
}

// storage keeps what must be remembered in the host's storage account. Without
// one this process remembers deliveries, and nothing else is remembered.
func (b *builder) storage() error {
	b.ledger, b.storms = state.NewLedger(state.NewMemory(), b.log), new(state.Storms)
	b.feed, b.dead = new(state.Feed), new(state.DeadLetters)
	if !b.cfg.Storage.Configured() {
		b.log.Warn("no storage is configured: what was delivered is remembered by this process only, storms are not held and a silent feed is not noticed",
			"setting", "AzureWebJobsStorage")
		return nil
	}
	var cred azcore.TokenCredential
	var err error
	if b.cfg.Storage.ConnectionString == "" {
		if cred, err = b.credential(); err != nil {
			return err
		}
	}
	if b.account, err = storage.Open(&b.cfg.Storage, cred); err != nil {
		return fmt.Errorf("AzureWebJobsStorage: %w", err)
	}
	documents := b.account.Documents(state.StateContainer)
	b.ledger = state.NewLedger(b.account.Documents(state.LedgerContainer), b.log)
	b.storms = state.NewStorms(documents, b.now)
	b.feed = state.NewFeed(documents, b.cfg.FeedSilenceAfter, b.now)
	b.dead = state.NewDeadLetters(documents, b.now)
	b.gauges = gauges{
		{what: "unreadable messages", where: "the blob container " + storage.UnreadableContainer, count: func(ctx context.Context) (int, error) {
			return b.account.Count(ctx, storage.UnreadableContainer)
		}},
		{what: "dead letters", where: "the dead letters (podwatch requeue lists them and puts them back)", count: b.dead.Count, oldest: b.dead.Oldest},
		{what: "alerts that count as accepted without an answer", where: `the sink for the alerts that the log names (warn, "did not answer twice")`, count: b.ledger.CountUnanswered},
	}
	return nil
}

// sinks makes the sinks that are configured, or the console where none is.
func (b *builder) sinks() error {
	b.sinkDown(teams.Name, "Teams", b.cfg.TeamsDown, true)
	b.sinkDown(loganalytics.Name, "Log Analytics", b.cfg.LogAnalyticsDown, false)
	if !b.cfg.TeamsWebhook.IsZero() {
		client := &outbound.Client{Service: "Teams", Endpoint: b.cfg.TeamsWebhook, Attempt: state.PostTime}
		b.routes = append(b.routes, deliver.Route{Sink: teams.New(client, b.advice()), People: true})
	}
	if !b.cfg.LogAnalyticsEndpoint.IsZero() {
		client, err := b.client("Log Analytics", b.cfg.LogAnalyticsEndpoint, b.cfg.Cloud.MonitorScope, state.PostTime)
		if err != nil {
			return err
		}
		b.routes = append(b.routes, deliver.Route{Sink: loganalytics.New(client, b.cfg.LogAnalyticsRuleID, b.cfg.LogAnalyticsStream)})
	}
	if len(b.routes) == 0 {
		b.routes = []deliver.Route{{Sink: NewConsole(b.stdout)}}
	}
	return nil
}

// advice is what the rules' files contain for the card, by rule id.
func (b *builder) advice() map[string]teams.Advice {
	advice := map[string]teams.Advice{alert.Unreadable.ID: {Guide: alert.Unreadable.Note}}
	for _, r := range b.Rules.Rules() {
		advice[r.ID] = teams.Advice{Guide: r.Note, FalsePositives: r.FalsePositives, References: r.References, Highlighted: r.Highlighted}
	}
	return advice
}

// parts are those of an Enricher that looks nothing up.
func (b *builder) parts() enrich.Parts {
	return enrich.Parts{
		Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: b.Exceptions,
		Portal: alert.Portal{Base: b.cfg.Cloud.Portal, Workspace: b.cfg.LogAnalyticsWorkspace.String()},
		Now:    b.now, Log: b.log,
	}
}

// stages makes the stages, with the look-ups that were granted.
func (b *builder) stages() error {
	parts := b.parts()
	if b.cfg.GraphLookups {
		client, err := b.client("Microsoft Graph", b.cfg.GraphEndpoint, ownScope(b.cfg.GraphEndpoint), 0)
		if err != nil {
			return err
		}
		parts.Directory = directory.New(client, b.now, b.log)
	}
	if b.cfg.ActivityLookups {
		client, err := b.client("Azure Resource Manager", b.cfg.ARMEndpoint, ownScope(b.cfg.ARMEndpoint), 0)
		if err != nil {
			return err
		}
		parts.Surroundings = surroundings.New(client, b.now, b.log)
	}
	b.Detector = detect.New(b.Rules, b.cfg.RecordRoutine)
	b.Enricher = enrich.New(parts)
	b.Dispatcher = deliver.New(b.routes, b.ledger, b.storms, b.dead, b.log)
	b.reader = invocation.NewReader(b.cfg.BodyLimit, 2*b.cfg.BodyLimit)
	return nil
}

// client returns a client with a token of the given scope, which it does not use
// over plain http. attempt bounds one request with its answer; 0 is the default.
func (b *builder) client(service string, e outbound.Endpoint, scope string, attempt time.Duration) (*outbound.Client, error) {
	cred, err := b.credential()
	if err != nil {
		return nil, err
	}
	return &outbound.Client{Service: service, Endpoint: e, Token: tokens(cred, scope), Attempt: attempt}, nil
}

// ownScope is the scope of a service whose audience is its own address.
func ownScope(e outbound.Endpoint) string { return "https://" + e.Host() + "/.default" }
