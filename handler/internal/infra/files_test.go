package infra_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestScriptsAreSoundAndExplainThemselves(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "infra", "*.sh"))
	if err != nil || len(scripts) < 2 {
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
