package rule_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
	"podwatch/handler/rules"
)

// FuzzLoad holds that loading never panics, gives the same answer twice, puts
// every mistake inside the file and accounts for every rule: it runs and is in
// the set, or there is a reason; and that what was loaded can be evaluated.
func FuzzLoad(f *testing.F) {
	for _, folder := range []string{"azure-kubernetes-pods-deleted", "aks-pods-deleted"} {
		src, err := fs.ReadFile(rules.FS, folder+"/rule.toml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src), uint8(0))
	}
	for _, content := range corpus(f) {
		f.Add(content, uint8(0))
	}
	f.Add(head(idA)+"type = 'query'\nquery = \"\"\"\\\n  a:\\u0062 and (\\\n\"\"\"\n[podwatch]\nroutine = 'a:('", uint8(0))
	f.Add(`{"rule_id":"`+idA+`","name":"A","description":"d","type":"query","query":"a:\"b\" and c:d \ud83d\ude00:f","severity":"high","risk_score":73}`+"\n[{}]", uint8(1))
	f.Add(`[{"list_id":1,"entries":[]},{"exported_count":1},{"type":"threshold","threshold":{"field":"a","value":1}}]`, uint8(2))
	record, err := os.ReadFile(filepath.Join("..", "..", "testdata", "records", "kube-delete-force.json"))
	if err != nil {
		f.Fatal(err)
	}
	ev, err := event.Read(record, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string, kind uint8) {
		name := []string{"a.toml", "a.ndjson", "a.json"}[kind%3]
		set, report, err := rule.Load(rule.FS("", files{name: src}))
		_, _, again := rule.Load(rule.FS("", files{name: src}))
		if diff := cmp.Diff(message(err), message(again)); diff != "" {
			t.Errorf("two loads differ: %s", diff)
		}
		lines := strings.Split(src, "\n")
		running := 0
		for _, e := range report.Entries {
			for _, m := range e.Mistakes {
				var at *rule.FileError
				if !errors.As(m, &at) || at.Line > len(lines) || at.Line > 0 && at.Column > len(lines[at.Line-1])+1 || at.Line > 0 && at.Column < 1 {
					t.Errorf("a mistake outside the file: %v", m)
				}
			}
			for _, w := range e.Lint() {
				if w.Line > len(lines) || w.Line > 0 && w.Column > len(lines[w.Line-1])+1 {
					t.Errorf("a warning outside the file: %v", w)
				}
			}
			switch e.Verdict {
			case rule.Runs:
				running++
				if e.Reason != "" || set.Rule(e.Rule.ID) != e.Rule {
					t.Errorf("rule %q runs for the reason %q", e.Rule.ID, e.Reason)
				}
			case rule.Broken:
				if err == nil || len(e.Mistakes) == 0 {
					t.Errorf("rule %q is broken without a mistake", e.Rule.ID)
				}
			default:
				if e.Reason == "" {
					t.Errorf("rule %q is %s without a reason", e.Rule.ID, e.Verdict)
				}
			}
		}
		if running != len(set.Rules()) {
			t.Errorf("%d rules run, the set has %d", running, len(set.Rules()))
		}
		lits, all := set.Literals()
		if len(set.Match(nil, ev)) > 0 && !all && !holds(ev.Raw(), lits) {
			t.Errorf("%v matches without a literal of %v", set.Rules(), lits)
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
