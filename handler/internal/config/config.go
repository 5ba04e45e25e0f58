// Package config reads podwatch's app settings.
//
// [Load] reports every mistake at once, each with the name of its setting, so
// that one failed start shows all there is to mend. A [Config] that Load
// returns is complete: the parts that are built from it check nothing again.
// Secrets are of type [Secret], which never prints.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/outbound"
)

// A Config holds podwatch's settings after validation.
type Config struct {
	Port int // FUNCTIONS_CUSTOMHANDLER_PORT: where the host expects the handler on loopback

	TeamsWebhook outbound.Endpoint // zero: no cards
	TeamsDown    error             // why cards are wanted and cannot be posted: an unresolved setting; TeamsWebhook is zero then

	LogAnalyticsEndpoint  outbound.Endpoint // zero: no rows
	LogAnalyticsRuleID    string            // immutable id of the data collection rule
	LogAnalyticsStream    string
	LogAnalyticsDown      error  // like TeamsDown
	LogAnalyticsWorkspace arm.ID // only for the card's query button

	Storage Storage // the zero value: none, state lives in memory

	RulesDir       string   // empty: built-in rules only
	ExceptionsFile string   // empty: no exceptions
	Overlooked     []string // beside the executable, not read, and named almost like what is

	GraphLookups    bool
	ActivityLookups bool
	GraphEndpoint   outbound.Endpoint
	ARMEndpoint     outbound.Endpoint
	Cloud           Cloud
	ClientID        string // AZURE_CLIENT_ID: the user-assigned identity to act as
	ManagedIdentity bool   // IDENTITY_ENDPOINT is set: the platform signs podwatch in

	FeedSilenceAfter time.Duration
	RecordRoutine    bool
	BodyLimit        int64 // largest invocation body in bytes
	LogLevel         slog.Level
}

// Storage names the host's storage account, in which podwatch keeps its ledger.
type Storage struct {
	ConnectionString Secret
	AccountName      string
	BlobServiceURI   string
	QueueServiceURI  string
}

// StorageFrom reads the settings of the host's storage account.
func StorageFrom(getenv func(string) string) Storage {
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }
	return Storage{
		ConnectionString: Secret(value("AzureWebJobsStorage")), AccountName: value("AzureWebJobsStorage__accountName"),
		BlobServiceURI: value("AzureWebJobsStorage__blobServiceUri"), QueueServiceURI: value("AzureWebJobsStorage__queueServiceUri"),
	}
}

// Configured reports whether a storage account is named at all.
func (s Storage) Configured() bool {
	return s.ConnectionString != "" || s.AccountName != "" || s.BlobServiceURI != ""
}

// A Secret is a setting that must not be shown. It prints as a placeholder
// with every verb of fmt, in JSON and in logs.
type Secret string

// String returns the placeholder, never the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// GoString returns the placeholder for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText returns the placeholder for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the placeholder for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Settings are the names of all settings that podwatch or the host's bindings
// read, in the order in which they are read. local.settings.json.example and the
// Bicep template are held against this list.
func Settings() []string {
	names := make([]string, 0, len(settings))
	for _, s := range settings {
		names = append(names, s.name)
	}
	return names
}

// DefaultStream is the stream that infra/ declares in the data collection rule.
const DefaultStream = "Custom-PodwatchAlerts"

// defaultBodyLimit is enough for what host.json lets the host send in one
// invocation: 16 messages of at most 1 MiB, and quoting a message twice makes
// it four times as long at worst.
const defaultBodyLimit = 96 << 20

// A setting is one row of the table that drives Load.
type setting struct {
	name string
	read func(l *loader, value string) error // nil: nothing to check

	// down is where the Config notes that this place of a sink is unresolved. Where it
	// is nil, an unresolved setting is a mistake.
	down func(l *loader) *error
}

func teamsDown(l *loader) *error        { return &l.TeamsDown }
func logAnalyticsDown(l *loader) *error { return &l.LogAnalyticsDown }

// A loader collects the Config while the table is read.
type loader struct {
	Config
	dir          string   // where the executable is: default place of rules and exceptions
	webhookHosts []string // allowed besides Power Automate's
}

var settings = []setting{
	{name: "TEAMS_WEBHOOK_HOSTS", read: func(l *loader, v string) error {
		l.webhookHosts = strings.Split(v, ",")
		return nil
	}},
	{name: "TEAMS_WEBHOOK_URL", down: teamsDown, read: func(l *loader, v string) (err error) {
		if v != "" {
			l.TeamsWebhook, err = parseWebhook(v, l.webhookHosts)
		}
		return err
	}},
	{name: "LOG_ANALYTICS_ENDPOINT", down: logAnalyticsDown, read: func(l *loader, v string) error { return readService(v, &l.LogAnalyticsEndpoint) }},
	{name: "LOG_ANALYTICS_RULE_ID", down: logAnalyticsDown, read: func(l *loader, v string) error {
		l.LogAnalyticsRuleID = v
		if v != "" && !ruleID.MatchString(v) {
			return fmt.Errorf("%q is not an immutable id of a data collection rule (dcr- and 32 hexadecimal digits); the rule's resource id does not work here", v)
		}
		return nil
	}},
	{name: "LOG_ANALYTICS_STREAM", down: logAnalyticsDown, read: func(l *loader, v string) error {
		l.LogAnalyticsStream = cmp.Or(v, DefaultStream)
		if !strings.HasPrefix(l.LogAnalyticsStream, "Custom-") {
			return fmt.Errorf("%q is not a custom stream: its name begins with Custom-", v)
		}
		return nil
	}},
	{name: "LOG_ANALYTICS_WORKSPACE_ID", read: func(l *loader, v string) error {
		id, ok := arm.Parse(v)
		if v != "" && (!ok || id.Group == "" || !id.Is("Microsoft.OperationalInsights", "workspaces")) {
			return fmt.Errorf("%q is not the resource id of a workspace (/subscriptions/.../Microsoft.OperationalInsights/workspaces/NAME)", v)
		}
		l.LogAnalyticsWorkspace = id
		return nil
	}},
	{name: "EventHub"},
	{name: "EventHub__fullyQualifiedNamespace"},
	{name: "EVENT_HUB_NAME"},
	{name: "EVENT_HUB_CONSUMER_GROUP"},
	{name: "AzureWebJobsStorage"},
	{name: "AzureWebJobsStorage__accountName", read: func(_ *loader, v string) error {
		if v != "" && !accountName.MatchString(v) {
			return fmt.Errorf("%q is not a storage account name: 3 to 24 lower-case letters and digits", v)
		}
		return nil
	}},
	{name: "AzureWebJobsStorage__blobServiceUri", read: checkURI},
	{name: "AzureWebJobsStorage__queueServiceUri", read: checkURI},
	{name: "RULES_DIR", read: func(l *loader, v string) (err error) {
		l.RulesDir, err = l.besideExecutable(v, "rules")
		return err
	}},
	{name: "EXCEPTIONS_FILE", read: func(l *loader, v string) (err error) {
		l.ExceptionsFile, err = l.besideExecutable(v, "exceptions.yaml")
		return err
	}},
	{name: "GRAPH_LOOKUPS", read: func(l *loader, v string) error { return readSwitch(v, &l.GraphLookups) }},
	{name: "ACTIVITY_LOOKUPS", read: func(l *loader, v string) error { return readSwitch(v, &l.ActivityLookups) }},
	{name: "GRAPH_ENDPOINT", read: func(l *loader, v string) error {
		return readService(strings.TrimSuffix(strings.TrimRight(cmp.Or(v, l.Cloud.Graph), "/"), "/v1.0"), &l.GraphEndpoint)
	}},
	{name: "ARM_ENDPOINT", read: func(l *loader, v string) error {
		return readService(cmp.Or(v, l.Cloud.ARM), &l.ARMEndpoint)
	}},
	{name: "FEED_SILENCE_AFTER", read: func(l *loader, v string) error {
		d, err := time.ParseDuration(cmp.Or(v, "60m"))
		l.FeedSilenceAfter = d
		if err != nil || d < 10*time.Minute {
			return fmt.Errorf("%q is not a duration of at least 10m (write 60m or 2h)", v)
		}
		return nil
	}},
	{name: "RECORD_ROUTINE", read: func(l *loader, v string) error { return readSwitch(v, &l.RecordRoutine) }},
	{name: "BODY_LIMIT_MIB", read: func(l *loader, v string) error {
		n, err := strconv.ParseInt(cmp.Or(v, strconv.Itoa(defaultBodyLimit>>20)), 10, 64)
		l.BodyLimit = n << 20
		if err != nil || n < 1 || n > 2048 {
			return fmt.Errorf("%q is not a number of MiB from 1 to 2048", v)
		}
		return nil
	}},
	{name: "LOG_LEVEL", read: func(l *loader, v string) error {
		if err := l.LogLevel.UnmarshalText([]byte(cmp.Or(v, "info"))); err != nil {
			return fmt.Errorf("%q is not one of debug, info, warn, error", v)
		}
		return nil
	}},
}

var (
	ruleID      = regexp.MustCompile(`^dcr-[0-9a-f]{32}$`)
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

// Load reads the settings through getenv (os.Getenv in production). dir is the
// folder of the executable, where rules and exceptions.yaml are looked for when
// no setting names them. The error joins one line per mistake.
func Load(getenv func(string) string, dir string) (*Config, error) {
	cloud, cloudErr := CloudOf(getenv("AZURE_AUTHORITY_HOST"))
	l := &loader{dir: dir, Config: Config{
		Cloud: cloud, Storage: StorageFrom(getenv), ClientID: getenv("AZURE_CLIENT_ID"), ManagedIdentity: getenv("IDENTITY_ENDPOINT") != "",
	}}
	mistakes := []error{cloudErr}
	for _, s := range settings {
		value := strings.TrimSpace(getenv(s.name))
		err := l.set(s, value)
		if s.down != nil && errors.Is(err, errUnresolved) {
			*s.down(l) = errors.Join(*s.down(l), fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	mistakes = append(mistakes, l.readPort(getenv), l.crossCheck(getenv))
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return &l.Config, nil
}

// errUnresolved names the cure.
var errUnresolved = errors.New("the Key Vault reference was not resolved: the platform hands over the reference itself when the vault, " +
	"the secret or the identity (keyVaultReferenceIdentity, role Key Vault Secrets User) is wrong or the vault is closed to the app's network; " +
	"correct that and refresh the app's references, because a failed look-up is remembered for up to a day")

// unresolved is the text of a Key Vault reference, in any case as the platform reads it.
var unresolved = regexp.MustCompile(`(?i)^@Microsoft\.KeyVault\(`)

// set reads one setting. An error of a host's setting is about the reference only.
func (l *loader) set(s setting, value string) error {
	switch {
	case unresolved.MatchString(value):
		return errUnresolved
	case s.read == nil:
		return nil
	}
	return s.read(l, value)
}

func (l *loader) readPort(getenv func(string) string) error {
	value := getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	port, err := strconv.Atoi(value)
	if err != nil || port < 0 || port > 65535 {
		return fmt.Errorf("FUNCTIONS_CUSTOMHANDLER_PORT: %q is not a port: the Functions host sets it when it starts the handler; to run on this machine use podwatch run", value)
	}
	l.Port = port
	return nil
}

// crossCheck finds settings that only make sense together. A stream alone is no sink.
func (l *loader) crossCheck(getenv func(string) string) error {
	endpoint, rule := strings.TrimSpace(getenv("LOG_ANALYTICS_ENDPOINT")), strings.TrimSpace(getenv("LOG_ANALYTICS_RULE_ID"))
	switch {
	case (endpoint == "") != (rule == ""):
		return errors.New("LOG_ANALYTICS_ENDPOINT and LOG_ANALYTICS_RULE_ID: set both or neither")
	case endpoint == "":
		l.LogAnalyticsDown = nil
	case l.LogAnalyticsDown != nil:
		l.LogAnalyticsEndpoint, l.LogAnalyticsRuleID = outbound.Endpoint{}, ""
	}
	return nil
}

// readService reads the address of a service; an empty one is none.
func readService(value string, to *outbound.Endpoint) (err error) {
	if value == "" {
		return nil
	}
	if *to, err = outbound.ParseService(value); err != nil {
		return fmt.Errorf("%q: %w", value, err)
	}
	return nil
}

// checkURI checks the address of a storage service, which may have a path.
func checkURI(_ *loader, value string) error {
	if _, err := outbound.ParseEndpoint(value); value != "" && err != nil {
		return fmt.Errorf("%q: %w", value, err)
	}
	return nil
}

func readSwitch(value string, on *bool) error {
	switch strings.ToLower(value) {
	case "", "off":
		*on = false
	case "on":
		*on = true
	default:
		return fmt.Errorf("%q is neither on nor off", value)
	}
	return nil
}
