package event_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/event"
)

func TestEveryAuditEventInTheTextIsRead(t *testing.T) {
	t.Parallel()
	one := strings.TrimSpace(auditLog(t, "kube-delete-202.json"))
	two := strings.Replace(one, `"verb":"delete"`, `"verb":"deletecollection"`, 1)
	quoted := func(s string) string { text, _ := json.Marshal(s); return string(text) }
	tests := map[string]struct {
		log   string
		verbs []string
		rest  string // text in no event
	}{
		"one object":                        {one + "\n", []string{"delete"}, ""},
		"a byte order mark":                 {"\ufeff" + one, []string{"delete"}, ""},
		"NUL bytes":                         {"\x00\x00" + one + "\x00", []string{"delete"}, ""},
		"the prefix of a container runtime": {"2026-11-09T08:14:30.441Z stdout F " + one, []string{"delete"}, "2026-11-09T08:14:30.441Z stdout F"},
		"JSON text in a string":             {quoted(one), []string{"delete"}, ""},
		"the same twice":                    {quoted(quoted(one)), []string{"delete"}, ""},
		"an array":                          {"[" + one + "," + two + "]", []string{"delete", "deletecollection"}, "[,]"},
		"a list of events":                  {`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + one + "," + two + "]}", []string{"delete", "deletecollection"}, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[,]}`},
		"two lines":                         {one + "\n" + two + "\n", []string{"delete", "deletecollection"}, ""},
		"the line of a container's log":     {`{"log":` + quoted(one+"\n") + `,"stream":"stdout"}`, []string{"delete"}, ""},
		"lines of such logs":                {`{"log":` + quoted(one) + `}` + "\n" + `{"log":` + quoted(quoted(two)) + `}`, []string{"delete", "deletecollection"}, ""},
		"such a line behind a part of one":  {`{"log":` + quoted(one[200:]+"\n"+two) + `}`, []string{"deletecollection"}, one[200:]},
		"very many lines":                   {strings.Repeat(one+"\n", 100) + two, append(slices.Repeat([]string{"delete"}, 100), "deletecollection"), ""},
		"a line of text first":              {"I1109 started {}\n" + one, []string{"delete"}, "I1109 started {}"},
		"a line that is cut first":          {one[:300] + "\n" + two, []string{"delete", "deletecollection"}, ""},
		"the end of a line behind an event": {one + "\n" + one[200:], []string{"delete"}, one[200:]},
		"the end of a line alone":           {one[200:], nil, one[200:]},
		"single quotes":                     {strings.ReplaceAll(one, `"`, "'"), []string{"delete"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := []byte(auditRecord(t, tt.log))
			var verbs []string
			var rest string
			for ev, err := range new(event.Reader).Events(record) {
				if err != nil {
					t.Fatal(err)
				}
				if again, err := event.Read(record, len(verbs)); err != nil || verbOf(again) != verbOf(ev) {
					t.Errorf("event %d, read again: %v, %v", len(verbs), again, err)
				}
				if verb := verbOf(ev); verb != "" {
					verbs = append(verbs, verb)
				}
				rest += string(ev.Unread())
			}
			if !slices.Equal(verbs, tt.verbs) || rest != tt.rest {
				t.Errorf("read %q and the rest %q, want %q and %q", verbs, rest, tt.verbs, tt.rest)
			}
		})
	}
}

func verbOf(ev *event.Event) string {
	if ev == nil || ev.Audit() == nil {
		return ""
	}
	return ev.Audit().Verb
}
