package rule_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/rule"
)

// controllers returns the controllers that a query names by their accounts, sorted.
func controllers(query string) []string {
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`"system:serviceaccount:kube-system:([a-z-]+)"`).FindAllStringSubmatch(query, -1) {
		names[m[1]] = true
	}
	delete(names, "keda-operator") // a workload: its token is bound to its pod
	return slices.Sorted(maps.Keys(names))
}

// An account whose deletions are routine must be watched for theft, in each way.
func TestTheRulesAgreeOnTheControllers(t *testing.T) {
	t.Parallel()
	set, _ := load(t, rule.BuiltIn())
	routine := ""
	for _, r := range set.Rules() {
		routine += r.Routine
	}
	var requested []string
	_, list, _ := strings.Cut(set.Rule(tokenRule).Query, "objectRef.name: (")
	list, _, _ = strings.Cut(list, ")")
	for _, m := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(list, -1) {
		requested = append(requested, m[1])
	}
	if diff := cmp.Diff(controllers(routine), requested); diff != "" {
		t.Errorf("routine and the rule about tokens (-routine +tokens):\n%s", diff)
	}
	if diff := cmp.Diff(controllers(set.Rule(aksRule).Routine), controllers(set.Rule(publicRule).Query)); diff != "" {
		t.Errorf("routine deletions of pods and the rule about addresses (-routine +addresses):\n%s", diff)
	}
}

func TestRulesAboutOtherThingsThanPodsHaveTheirOwnWeight(t *testing.T) {
	t.Parallel()
	set, _ := load(t, rule.BuiltIn())
	for id, severity := range map[string]string{workloadRule: "medium", scaleRule: "low", tokenRule: "high", publicRule: "medium"} {
		r := set.Rule(id)
		if r == nil || r.Severity != severity {
			t.Errorf("%s: %+v, want severity %s", id, r, severity)
			continue
		}
		for _, heading := range []string{"## What happened", "## Investigate", "## False positives", "## Respond"} {
			if !strings.Contains(r.Note, heading) {
				t.Errorf("%s: the note lacks %q", r.Name, heading)
			}
		}
	}
}
