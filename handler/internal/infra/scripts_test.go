package infra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeAz stands in for the Azure CLI: it notes its arguments, one call a line,
// and answers what a deployed podwatch would. FAKE_PLAN, FAKE_WEBHOOK and
// FAKE_GRANTED change the answers.
const fakeAz = `#!/usr/bin/env bash
all="$*"
echo "$all" >>"$FAKE_LOG"
case "$all" in
*outputs.plan.value*) echo "$FAKE_PLAN" ;;
*properties.outputs.*) name=${all#*properties.outputs.}; echo "the-${name%%.value*}" ;;
*"signed-in-user"*) echo operator-id ;;
*"appsettings list"*) echo "$FAKE_WEBHOOK" ;;
*"log-analytics query"*) echo an-alert-id ;;
*"role assignment list"*) echo assignment-1; echo assignment-2 ;;
*appRoles*) echo role-id ;;
*"--query id"*) echo graph-id ;;
*endpoints.microsoftGraphResourceId*) echo https://graph.example/ ;;
*"--method get"*) echo "$FAKE_GRANTED" ;;
esac
`

// runScript runs a script of infra with the stand-in and returns the calls of
// az, and "send ..." for those of podwatch.
func runScript(t *testing.T, env map[string]string, script string, args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for name, text := range map[string]string{
		"az":       fakeAz,
		"podwatch": "#!/usr/bin/env bash\necho \"$*\" >>\"$FAKE_LOG\"; cat >/dev/null\n",
		"dist.zip": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path, err := filepath.Abs(filepath.Join(root, "infra", script))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", append([]string{path}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FAKE_LOG="+log, "FAKE_PLAN=flex", "FAKE_WEBHOOK=", "FAKE_GRANTED=",
		"TEAMS_WEBHOOK_URL=", "PODWATCH="+filepath.Join(dir, "podwatch"), "PACKAGE="+filepath.Join(dir, "dist.zip"))
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(calls)), "\n")
}

// index is the place of the first call with all words, or -1.
func index(calls []string, words ...string) int {
	return slices.IndexFunc(calls, func(call string) bool {
		for _, w := range words {
			if !strings.Contains(call, w) {
				return false
			}
		}
		return true
	})
}

func TestDeployScript(t *testing.T) {
	const secret = "https://example.com/workflows?sig=secret"
	for name, c := range map[string]struct {
		env       map[string]string
		publishes string
		keeps     bool // passes useTeams=true
	}{
		"first deployment with Teams":    {map[string]string{"TEAMS_WEBHOOK_URL": secret}, "config-zip", false},
		"first deployment without Teams": {nil, "config-zip", false},
		"again, the vault has the address": {
			map[string]string{"FAKE_WEBHOOK": "@Microsoft.KeyVault(SecretUri=https://kv/secrets/teams-webhook-url)"}, "config-zip", true,
		},
		"premium": {map[string]string{"FAKE_PLAN": "premium"}, "storage blob upload", false},
	} {
		t.Run(name, func(t *testing.T) {
			calls := runScript(t, c.env, "deploy.sh", "a-subscription", "westeurope")
			all := strings.Join(calls, "\n")
			create := index(calls, "deployment sub create", "--location westeurope", "infra/main.bicepparam", "operatorPrincipalId=operator-id")
			publish := index(calls, c.publishes)
			send := index(calls, "send --namespace the-eventHubNamespace --event-hub the-eventHubName -")
			row := index(calls, "log-analytics query", "the-workspaceCustomerId", "PodwatchAlerts_CL")
			if create < 0 || publish < create || send < publish || row < send {
				t.Errorf("created at %d, published at %d, sent at %d, row at %d:\n%s", create, publish, send, row, all)
			}
			if got := strings.Contains(all, "useTeams=true"); got != c.keeps {
				t.Errorf("useTeams=true is passed: %t, want %t", got, c.keeps)
			}
			if strings.Contains(all, secret) {
				t.Errorf("the webhook stands on a command line:\n%s", all)
			}
		})
	}
}

func TestDestroyScript(t *testing.T) {
	calls := runScript(t, nil, "destroy.sh", "a-subscription", "/cluster/one", "/cluster/two")
	group := index(calls, "group delete --name the-resourceGroupName")
	for _, before := range [][]string{
		{"diagnostic-settings subscription delete", "the-diagnosticSettingName"},
		{"diagnostic-settings delete", "/cluster/one"},
		{"diagnostic-settings delete", "/cluster/two"},
		{"role assignment delete", "assignment-1"},
		{"role assignment delete", "assignment-2"},
	} {
		if at := index(calls, before...); at < 0 || at > group {
			t.Errorf("%v is call %d, the group goes with call %d:\n%s", before, at, group, strings.Join(calls, "\n"))
		}
	}
}

func TestGrantGraphScript(t *testing.T) {
	calls := runScript(t, nil, "grant-graph.sh", "principal-id")
	if index(calls, "--method post", "https://graph.example/v1.0/servicePrincipals/principal-id/appRoleAssignments",
		`"principalId":"principal-id"`, `"resourceId":"graph-id"`, `"appRoleId":"role-id"`) < 0 || index(calls, "Directory.Read.All") < 0 {
		t.Errorf("calls:\n%s", strings.Join(calls, "\n"))
	}
	calls = runScript(t, map[string]string{"FAKE_GRANTED": "assignment"}, "grant-graph.sh", "principal-id", "User.Read.All")
	if index(calls, "--method post") >= 0 || index(calls, "User.Read.All") < 0 {
		t.Errorf("what is granted is granted again:\n%s", strings.Join(calls, "\n"))
	}
}
