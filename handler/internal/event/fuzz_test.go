package event_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/event"
)

func FuzzRead(f *testing.F) {
	for _, name := range samples(f) {
		for _, r := range records(f, name) {
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
		ev, err := event.Read(record, 0)
		if err != nil {
			if ev != nil {
				t.Fatal("an event and an error")
			}
			return
		}
		if ev.Record() == nil {
			t.Fatal("no record")
		}
		if _, err := json.Marshal(fields(ev)); err != nil {
			t.Fatalf("fields are no JSON: %v", err)
		}
		if !ev.Time().IsZero() {
			// A time comes from text of the record, never from the clock.
			said := ev.Audit() != nil && ev.Audit().Received.Equal(ev.Time())
			for _, name := range []string{"time", "Time", "EventTimeString"} {
				_, isText := ev.Record()[name].(string)
				said = said || isText
			}
			if !said {
				t.Fatalf("time %v is invented", ev.Time())
			}
		}
		if d := depthOf(fields(ev)); d > 200 {
			t.Fatalf("fields are %d levels deep", d)
		}
		leaves("", fields(ev), func(_ string, v any) {
			switch v.(type) {
			case string, json.Number, bool:
			default:
				t.Fatalf("leaf of type %T", v)
			}
		})
		rawTextHolds(t, ev)
		lookupAgreesWithAll(t, ev)
		again, err := event.Read(record, 0)
		if err != nil {
			t.Fatal(err)
		}
		again.Notes()
		again.Audit()
		if diff := cmp.Diff(viewOf(ev), viewOf(again)); diff != "" {
			t.Fatalf("a second reading in another order differs:\n%s", diff)
		}
	})
}
