package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/config"
)

// load reads settings given as a map, with the port that the host always sets.
func load(t *testing.T, values map[string]string) (*config.Config, error) {
	t.Helper()
	getenv := func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		if name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
			return "7072"
		}
		return ""
	}
	return config.Load(getenv, t.TempDir())
}

func TestLoadGivesDefaults(t *testing.T) {
	c, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 7072 || c.LogAnalyticsStream != "Custom-PodwatchAlerts" || c.FeedSilenceAfter != time.Hour ||
		c.LogLevel != slog.LevelInfo || c.BodyLimit != 96<<20 || c.GraphLookups || c.ActivityLookups || c.RecordRoutine {
		t.Errorf("defaults are %+v", c)
	}
	if c.GraphEndpoint.String() != "https://graph.microsoft.com" || c.ARMEndpoint.String() != "https://management.azure.com" {
		t.Errorf("endpoints of the public cloud are %q and %q", c.GraphEndpoint, c.ARMEndpoint)
	}
	if c.Storage.Configured() || c.RulesDir != "" || c.ExceptionsFile != "" {
		t.Errorf("something is configured without a setting: %+v", c)
	}
}

func TestLoadRefuses(t *testing.T) {
	const url = "https://x.logic.azure.com/workflows/1?sig=s3cr3t"
	tests := map[string]struct {
		values map[string]string
		want   string
	}{
		"a switch that is neither on nor off":      {map[string]string{"GRAPH_LOOKUPS": "yes"}, `GRAPH_LOOKUPS: "yes" is neither on nor off`},
		"plain http to another machine":            {map[string]string{"LOG_ANALYTICS_ENDPOINT": "http://192.0.2.1", "LOG_ANALYTICS_RULE_ID": "dcr-0123456789abcdef0123456789abcdef"}, "on a loopback address only"},
		"an unresolved reference to the storage":   {map[string]string{"AzureWebJobsStorage": reference}, "AzureWebJobsStorage: the Key Vault reference was not resolved"},
		"an unresolved reference to the hub":       {map[string]string{"EventHub": reference}, "EventHub: the Key Vault reference was not resolved"},
		"a mistake beside an unresolved reference": {map[string]string{"LOG_ANALYTICS_ENDPOINT": reference, "LOG_ANALYTICS_RULE_ID": "dcr"}, "LOG_ANALYTICS_RULE_ID"},
		"an unresolved reference without its rule": {map[string]string{"LOG_ANALYTICS_ENDPOINT": reference}, "set both or neither"},
		"an endpoint without a rule":               {map[string]string{"LOG_ANALYTICS_ENDPOINT": "https://x.ingest.monitor.azure.com"}, "set both or neither"},
		"a resource id where an immutable id goes": {map[string]string{"LOG_ANALYTICS_ENDPOINT": "https://x", "LOG_ANALYTICS_RULE_ID": "/subscriptions/x"}, "immutable id"},
		"a stream that is not custom":              {map[string]string{"LOG_ANALYTICS_STREAM": "Microsoft-Event"}, "begins with Custom-"},
		"a silence too short to mean anything":     {map[string]string{"FEED_SILENCE_AFTER": "10s"}, "at least 10m"},
		"a folder of rules that is not there":      {map[string]string{"RULES_DIR": "/no/such/folder"}, "RULES_DIR: stat /no/such/folder"},
		"a log level of another library":           {map[string]string{"LOG_LEVEL": "trace"}, "one of debug"},
		"no port":                                  {map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": ""}, "podwatch run"},
		"a body limit of nothing":                  {map[string]string{"BODY_LIMIT_MIB": "0"}, "from 1 to 2048"},
		"an account name with capitals":            {map[string]string{"AzureWebJobsStorage__accountName": "Account"}, "lower-case"},
		"a webhook by plain http, unseen":          {map[string]string{"TEAMS_WEBHOOK_URL": strings.Replace(url, "https", "http", 1)}, "plain http is allowed on a loopback address only"},
		"an authority nobody knows":                {map[string]string{"AZURE_AUTHORITY_HOST": "https://login.example.com"}, "AZURE_AUTHORITY_HOST"},
		"a workspace given by name":                {map[string]string{"LOG_ANALYTICS_WORKSPACE_ID": "log-podwatch"}, "resource id of a workspace"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.values)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

const reference = "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/s)"

// TestAnUnresolvedReferenceStopsOnlyItsSink: the settings load, and the sink is wanted
// and down. What is empty is not wanted.
func TestAnUnresolvedReferenceStopsOnlyItsSink(t *testing.T) {
	const webhook, endpoint, rule = "https://x.logic.azure.com/?sig=x", "https://x.ingest.monitor.azure.com", "dcr-0123456789abcdef0123456789abcdef"
	for name, test := range map[string]struct {
		webhook, endpoint, rule, stream string
		teams, rows                     string // up, down or off
	}{
		"nothing is wanted":         {"", "", "", "", "off", "off"},
		"all is resolved":           {webhook, endpoint, rule, "", "up", "up"},
		"the webhook is not":        {reference, endpoint, rule, "", "down", "up"},
		"in the platform's own way": {" @microsoft.keyvault(VaultName=v;SecretName=s)", "", "", "", "down", "off"},
		"the endpoint is not":       {webhook, reference, rule, "", "up", "down"},
		"the rule is not":           {webhook, endpoint, reference, "", "up", "down"},
		"the stream is not":         {webhook, endpoint, rule, reference, "up", "down"},
		"a stream alone is no sink": {"", "", "", reference, "off", "off"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, map[string]string{"TEAMS_WEBHOOK_URL": test.webhook, "LOG_ANALYTICS_ENDPOINT": test.endpoint,
				"LOG_ANALYTICS_RULE_ID": test.rule, "LOG_ANALYTICS_STREAM": test.stream})
			if err != nil {
				t.Fatal(err)
			}
			is := func(down error, up bool) string {
				switch {
				case down != nil && !up && strings.Contains(down.Error(), "refresh the app's references"):
					return "down"
				case down == nil && up:
					return "up"
				case down == nil:
					return "off"
				}
				return fmt.Sprint(up, down)
			}
			if got := is(c.TeamsDown, !c.TeamsWebhook.IsZero()); got != test.teams {
				t.Errorf("Teams is %s, want %s", got, test.teams)
			}
			if got := is(c.LogAnalyticsDown, !c.LogAnalyticsEndpoint.IsZero()); got != test.rows {
				t.Errorf("Log Analytics is %s, want %s", got, test.rows)
			}
		})
	}
}

func TestLoadReportsEveryMistakeAtOnce(t *testing.T) {
	_, err := load(t, map[string]string{"GRAPH_LOOKUPS": "1", "RECORD_ROUTINE": "maybe", "LOG_LEVEL": "loud"})
	for _, name := range []string{"GRAPH_LOOKUPS", "RECORD_ROUTINE", "LOG_LEVEL"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error does not name %s: %v", name, err)
		}
	}
}

func TestLoadAcceptsLoopbackAndFindsFilesBesideTheExecutable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT": "0",
		"TEAMS_WEBHOOK_URL":            "http://127.0.0.1:9000/teams?sig=local",
		"GRAPH_ENDPOINT":               "http://[::1]:9001/",
		"AZURE_AUTHORITY_HOST":         "https://login.microsoftonline.us/",
	}
	c, err := config.Load(func(name string) string { return values[name] }, dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.RulesDir != filepath.Join(dir, "rules") || c.ExceptionsFile != "" {
		t.Errorf("rules are looked for in %q, exceptions in %q", c.RulesDir, c.ExceptionsFile)
	}
	if c.GraphEndpoint.String() != "http://[::1]:9001" || c.ARMEndpoint.String() != "https://management.usgovcloudapi.net" {
		t.Errorf("endpoints are %q and %q", c.GraphEndpoint, c.ARMEndpoint)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	c, err := load(t, map[string]string{"TEAMS_WEBHOOK_URL": "https://x.logic.azure.com/?sig=planted", "AzureWebJobsStorage": "AccountKey=planted"})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "config", c, "url", c.TeamsWebhook)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%s|%q", c.TeamsWebhook, c.TeamsWebhook), log.String(), string(text)} {
		if strings.Contains(shown, "planted") {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
	if c.TeamsWebhook.URL("", nil) != "https://x.logic.azure.com/?sig=planted" {
		t.Error("the secret itself was lost")
	}
}

// Settings that belong to the host alone.
var hostOnly = []string{"FUNCTIONS_WORKER_RUNTIME"}

func TestExampleSettingsNameEverySettingAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../../local.settings.json.example")
	if err != nil {
		t.Fatal(err)
	}
	var example struct{ Values map[string]string }
	if err := json.Unmarshal(text, &example); err != nil {
		t.Fatal(err)
	}
	for _, name := range config.Settings() {
		if _, ok := example.Values[name]; !ok {
			t.Errorf("the example lacks %s", name)
		}
	}
	for name := range example.Values {
		if !slices.Contains(config.Settings(), name) && !slices.Contains(hostOnly, name) {
			t.Errorf("the example has %s, which nothing reads", name)
		}
	}
	if _, err := load(t, example.Values); err != nil {
		t.Errorf("the example does not load: %v", err)
	}
}

func TestExpandConnection(t *testing.T) {
	t.Parallel()
	if got := config.ExpandConnection("AccountName=a;AccountKey=b"); got != "AccountName=a;AccountKey=b" {
		t.Errorf("a full connection string became %q", got)
	}
	if got := config.ExpandConnection("UseDevelopmentStorage=true"); !strings.Contains(got, "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;") {
		t.Errorf("the short form became %q", got)
	}
}
