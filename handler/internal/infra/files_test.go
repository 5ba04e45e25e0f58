package infra_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"podwatch/handler/internal/event"
)

func TestScriptsAreSoundAndExplainThemselves(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "infra", "*.sh"))
	if err != nil || len(scripts) < 4 {
		t.Fatalf("found %v, %v", scripts, err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
		out, err := exec.Command("bash", script).CombinedOutput()
		if err == nil || !strings.Contains(string(out), filepath.Base(script)) {
			t.Errorf("%s without arguments: %v, says %q; want how to use it", script, err, out)
		}
	}
}

// What the smoke test sends must be what the rule looks for.
func TestSmokeTestSendsADeletion(t *testing.T) {
	out, err := exec.Command("bash", filepath.Join(root, "infra", "smoke.sh"), "--print").Output()
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Records []json.RawMessage }
	if err := json.Unmarshal(out, &body); err != nil || len(body.Records) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	ev, err := event.Read(body.Records[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	if ev.Dataset() != "azure.activitylogs" || !strings.EqualFold(ev.Operation(), "microsoft.kubernetes/connectedclusters/pods/delete") ||
		!strings.EqualFold(ev.Outcome(), "success") || ev.Resource().ClusterName != "podwatch-smoke-test" || ev.Resource().Pod == "" || len(ev.CorrelationID()) != 36 {
		t.Errorf("the smoke test sends %s", out)
	}
}
