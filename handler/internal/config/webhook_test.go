package config_test

import (
	"strings"
	"testing"
)

func TestWebhookURL(t *testing.T) {
	const sig = "?api-version=1&sig=PLANTED"
	for name, c := range map[string]struct {
		url   string
		allow []string
		want  string // part of the error; empty: none
	}{
		"newer":              {"https://default0123.45.environment.api.powerplatform.com:443/powerautomate/x" + sig, nil, ""},
		"older":              {"https://prod-12.westeurope.logic.azure.com:443/workflows/x" + sig, nil, ""},
		"power automate":     {"https://prod-1.powerautomate.com/x" + sig, nil, ""},
		"flow":               {"https://prod-1.flow.microsoft.com/x" + sig, nil, ""},
		"government":         {"https://x.environment.api.gov.powerplatform.microsoft.us/x" + sig, nil, ""},
		"department":         {"https://x.environment.api.appsplatform.us/x" + sig, nil, ""},
		"allowed by setting": {"https://hooks.example.com/x" + sig, []string{"example.com"}, ""},
		"loopback":           {"http://127.0.0.1:8080/x" + sig, nil, ""},
		"another host":       {"https://example.com/PLANTED" + sig, nil, `"example.com" is none of Power Automate's; if it is yours, add it to TEAMS_WEBHOOK_HOSTS`},
		"a look-alike":       {"https://logic.azure.com.example.com/" + sig, nil, "TEAMS_WEBHOOK_HOSTS"},
		"another look-alike": {"https://notlogic.azure.com.evil/" + sig, nil, "TEAMS_WEBHOOK_HOSTS"},
		"no sig":             {"https://prod-1.westeurope.logic.azure.com/x?api-version=1&sv=PLANTED", nil, "Anyone"},
		"an empty sig":       {"https://prod-1.westeurope.logic.azure.com/x?sig=&sv=PLANTED", nil, "Anyone"},
		"a sig in the path":  {"https://prod-1.westeurope.logic.azure.com/sig=PLANTED", nil, "Anyone"},
		"no sig on loopback": {"http://127.0.0.1/x", nil, "sig"},
		"plain http":         {"http://prod-1.westeurope.logic.azure.com/x" + sig, nil, "plain http"},
		"a connector":        {"https://contoso.webhook.office.com/webhookb2/PLANTED", nil, "switched off"},
		"a user":             {"https://PLANTED@prod-1.westeurope.logic.azure.com/x" + sig, nil, "user name"},
		"not a URL":          {"PLANTED\x00x", nil, "not a URL"},
	} {
		_, err := load(t, map[string]string{"TEAMS_WEBHOOK_URL": c.url, "TEAMS_WEBHOOK_HOSTS": strings.Join(c.allow, ",")})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "PLANTED") {
			t.Errorf("%s: the URL is told: %v", name, err)
		}
	}
}
