package event_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/records/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, r := range records(f, filepath.Base(file)) {
			f.Add([]byte(r))
		}
	}
	for _, s := range []string{
		`{`, `{}`, `[]`, `null`, `{"properties":"{\"log\":\"{"}`, `{"category":"SignInLogs","properties":{"Status":1,"status":[]}}`,
		`{"category":"AuditLogs","properties":{"targetResources":[1,{"modifiedProperties":[2]}],"initiatedBy":"["}}`,
		`{"category":"UserRiskEvents","properties":{"aDateTime":1,"additionalInfo":"{}"}}`,
		`{"category":"kube-audit","properties":{"log":"{\"verb\":\"del"}}`, `{"":{"":[]},"operationName":{"value":"a.b/c/delete"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		ev, err := event.Parse(record)
		if err != nil {
			if ev != nil {
				t.Fatal("an event and an error")
			}
			return
		}
		if !json.Valid(record) {
			t.Fatal("accepted what is no JSON")
		}
		if ev.Fields == nil || ev.Record == nil {
			t.Fatal("no fields or no record")
		}
		if _, err := json.Marshal(ev.Fields); err != nil {
			t.Fatalf("fields are no JSON: %v", err)
		}
		if !ev.Time.IsZero() {
			// A time comes from text of the record, never from the clock.
			said := ev.Audit != nil && ev.Audit.Received.Equal(ev.Time)
			for _, name := range []string{"time", "Time", "EventTimeString"} {
				_, isText := ev.Record[name].(string)
				said = said || isText
			}
			if !said {
				t.Fatalf("time %v is invented", ev.Time)
			}
		}
		if d := depthOf(ev.Fields); d > 200 {
			t.Fatalf("fields are %d levels deep", d)
		}
		leaves("", ev.Fields, func(_ string, v any) {
			switch v.(type) {
			case string, json.Number, bool:
			default:
				t.Fatalf("leaf of type %T", v)
			}
		})
		rawTextHolds(t, ev)
		again, err := event.Parse(record)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ev, again); diff != "" {
			t.Fatalf("a second reading differs:\n%s", diff)
		}
	})
}
