package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink/sinktest"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// A table is a sink that records the ids that it accepts, in order.
type table struct {
	ids    []string
	latest *alert.Alert
	refuse func(id string) error
}

func (s *table) Name() string { return "table" }

func (s *table) Post(_ context.Context, g alert.Group) (int, error) {
	a := g.Alerts[0]
	if s.refuse != nil {
		if err := s.refuse(a.AlertId); err != nil {
			return 1, err
		}
	}
	s.ids, s.latest = append(s.ids, a.AlertId), a
	return 1, nil
}

// open returns an app on a storage, or on none, whose alerts go to the sink.
func open(t *testing.T, connection string, s deliver.Sink) (*App, *bytes.Buffer) {
	t.Helper()
	a, log := openWith(t, map[string]string{"AzureWebJobsStorage": connection})
	documents := state.NewMemory()
	if a.account != nil {
		documents = a.account.Documents(state.StateContainer)
	} else {
		a.dead = state.NewDeadLetters(documents, a.now)
	}
	a.Dispatcher = deliver.New([]deliver.Route{{Sink: s}}, state.NewLedger(state.NewMemory(), a.log), state.NewStorms(documents, a.now), a.dead, a.log)
	return a, log
}

// request is what the host posts for one input binding.
func request(t *testing.T, name string, data any) io.Reader {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Data": map[string]any{name: data}, "Metadata": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(text)
}

// deletions is a batch of one message.
func deletions(t *testing.T, n int) string {
	t.Helper()
	var records []string
	for i := range n {
		records = append(records, fmt.Sprintf(`{"time":"2026-11-09T08:00:00Z","category":"Delete","resultType":"Success","correlationId":"c%d",`+
			`"operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",`+
			`"resourceId":"/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg/providers/Microsoft.Kubernetes/connectedClusters/c/namespaces/n/pods/pod-%d"}`, i, i))
	}
	messages, err := json.Marshal([]string{`{"records":[` + strings.Join(records, ",") + `]}`})
	if err != nil {
		t.Fatal(err)
	}
	return string(messages)
}

// TestTooManyFailuresFailTheBatch: the reply has no room for more than 1,000 alerts.
// The host sends the batch again, and of that only what failed is delivered.
func TestTooManyFailuresFailTheBatch(t *testing.T) {
	t.Parallel()
	const accepted, all = 100, 1200
	sink := &table{}
	sink.refuse = func(string) error {
		if len(sink.ids) >= accepted {
			return &outbound.Error{Kind: outbound.Forbidden, Status: 403, Err: errors.New("cause")}
		}
		return nil
	}
	a, _ := open(t, "", sink)
	_, attrs, err := a.Detect(t.Context(), request(t, "events", deletions(t, all)))
	if err == nil || !strings.Contains(err.Error(), "1000 alerts") {
		t.Errorf("error %v, %v; want a failed batch", err, attrs)
	}
	sink.refuse = nil
	reply, attrs, err := a.Detect(t.Context(), request(t, "events", deletions(t, all)))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	slices.Sort(sink.ids)
	if n := len(slices.Compact(slices.Clone(sink.ids))); n != all || len(sink.ids) != all {
		t.Errorf("%d of %d alerts were posted, %d of them twice; %v", n, all, len(sink.ids)-n, attrs)
	}
	if !strings.Contains(fmt.Sprint(attrs), fmt.Sprintf("%d", accepted)) {
		t.Errorf("the counts have no repeats: %v", attrs)
	}
}

// TestWhatNoTryCanDeliverBecomesADeadLetter holds when Redeliver keeps a message,
// and when it leaves it in the queue.
func TestWhatNoTryCanDeliverBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	good := string(sinktest.Alert(0).JSON())
	for name, test := range map[string]struct {
		message string
		refuse  error
		failed  bool   // stays in the queue
		reason  string // of the dead letter
	}{
		"an alert that is accepted":           {message: good},
		"an alert that is refused for now":    {message: good, refuse: &outbound.Error{Kind: outbound.Forbidden, Status: 403, Err: errors.New("cause")}, failed: true},
		"an alert that is rejected for good":  {message: good, refuse: &outbound.Error{Service: "Table", Kind: outbound.Rejected, Status: 400}, reason: "rejected the request (HTTP 400)"},
		"a message that is no alert":          {message: "hello", reason: "no alert"},
		"a message that is no alert but JSON": {message: `{"a":1}`, reason: "no alert"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := open(t, "", &table{refuse: func(string) error { return test.refuse }})
			reply, _, err := a.Redeliver(t.Context(), request(t, "alert", test.message))
			if (err != nil) != test.failed {
				t.Errorf("error %v, want one: %t", err, test.failed)
			}
			if reply != nil {
				reply.Close()
			}
			var letters []state.DeadLetter
			for letter, err := range a.dead.All(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				letters = append(letters, letter)
			}
			switch {
			case test.reason == "" && len(letters) > 0:
				t.Errorf("dead letters %v, want none", letters)
			case test.reason != "" && (len(letters) != 1 || string(letters[0].Text) != test.message || !strings.Contains(letters[0].Reason, test.reason)):
				t.Errorf("dead letters %v, want the message with the reason %q", letters, test.reason)
			}
		})
	}
}

// TestHeartbeat runs on real storage: the feed is checked before anything else, what
// the host gave up is saved, and the summary of a storm is posted.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	sink := &table{}
	a, log := open(t, azurite.Start(t), sink)
	now := time.Now()
	clock := func() time.Time { return now }
	documents := a.account.Documents(state.StateContainer)
	a.feed = state.NewFeed(documents, time.Hour, clock)
	a.Dispatcher = deliver.New([]deliver.Route{{Sink: sink, People: true}}, state.NewLedger(state.NewMemory(), a.log), state.NewStorms(documents, clock), a.dead, a.log)
	beat := func() {
		t.Helper()
		reply, _, err := a.Heartbeat(t.Context(), request(t, "timer", map[string]any{"IsPastDue": false}))
		if err != nil {
			t.Fatal(err)
		}
		reply.Close()
	}
	beat() // from now on the feed is watched
	for i := range 2 {
		if r := a.Dispatcher.Deliver(t.Context(), slices.Values([][]*alert.Alert{{sinktest.Alert(i)}})); len(r.Failed) > 0 || r.Held != i {
			t.Fatalf("alert %d: %+v", i, r)
		}
	}
	if err := a.account.Queue(storage.PoisonQueue).Put(t.Context(), sinktest.Alert(2).JSON()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	beat()
	beat() // tells of the dead letter
	beat() // nothing is due twice
	if len(sink.ids) != 4 || sink.ids[0] != sinktest.Alert(0).AlertId || sink.ids[2] != sinktest.Alert(1).AlertId {
		t.Fatalf("posted %q, want the alert, the silence of the feed, the summary of what was held, and the dead letter", sink.ids)
	}
	if notice := sink.latest; notice.RuleName != "1 dead letters, 1 more than before" || !strings.Contains(notice.Notes[0], " The oldest is from ") {
		t.Errorf("the notice of the dead letter is %q with notes %q", notice.RuleName, notice.Notes)
	}
	if !strings.Contains(log.String(), "alerts=1 oldest=2") {
		t.Errorf("no line has the count and the oldest of what was saved: %s", log)
	}
	if n, err := a.account.Queue(storage.PoisonQueue).Len(t.Context()); n != 0 || err != nil {
		t.Errorf("%d messages in the poison queue, %v", n, err)
	}
	for letter, err := range a.dead.All(t.Context()) {
		if err != nil || string(letter.Text) != string(sinktest.Alert(2).JSON()) {
			t.Errorf("dead letter %s, %v", letter.Text, err)
		}
	}
	if n, err := a.dead.Count(t.Context()); n != 1 || err != nil {
		t.Errorf("%d dead letters, %v; want one", n, err)
	}
}
