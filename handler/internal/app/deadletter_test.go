package app

import (
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/sink/sinktest"
	"podwatch/handler/internal/storage"
)

// TestNothingIsGoneWithoutADecision: what both sinks reject, what the host gave up,
// what is no alert in the queue, and what is no alert in the poison queue are kept
// with a reason, each decision is an error line, and heartbeats do not remove them.
// Only requeue does, see its own tests.
func TestNothingIsGoneWithoutADecision(t *testing.T) {
	t.Parallel()
	s := startSinks(t, 400)
	a, log := openOn(t, s, azurite.Start(t))
	rejected, exhausted := detectOne(t, a), string(sinktest.Alert(2).JSON())
	for _, message := range []string{rejected, "not an alert"} {
		reply, _, err := a.Redeliver(t.Context(), request(t, "alert", message))
		if err != nil {
			t.Fatal(err)
		}
		reply.Close()
	}
	for _, message := range []string{exhausted, "another one"} {
		if err := a.account.Queue(storage.PoisonQueue).Put(t.Context(), []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		reply, _, err := a.Heartbeat(t.Context(), request(t, "timer", map[string]any{"IsPastDue": false}))
		if err != nil {
			t.Fatal(err)
		}
		reply.Close()
	}
	want := map[string]string{
		rejected: "rejected the request (HTTP 400)", "not an alert": "no alert",
		exhausted: "the host gave it up after its last try", "another one": "the host gave it up after its last try",
	}
	for letter, err := range a.dead.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		reason, ok := want[string(letter.Text)]
		if !ok || !strings.Contains(letter.Reason, reason) {
			t.Errorf("dead letter %q with the reason %q", letter.Text, letter.Reason)
		}
		delete(want, string(letter.Text))
	}
	if len(want) > 0 {
		t.Errorf("gone: %q", want)
	}
	if n, err := a.account.Queue(storage.PoisonQueue).Len(t.Context()); n != 0 || err != nil {
		t.Errorf("%d messages in the poison queue, %v", n, err)
	}
	if !strings.Contains(log.String(), "alert about podwatch itself was rejected for good") {
		t.Error("the notice of the dead letters, which both sinks reject too, is dropped without a line")
	}
	var decisions []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "given up") && strings.Contains(line, "level=ERROR") {
			decisions = append(decisions, line)
		}
	}
	if len(decisions) != 3 || !slices.ContainsFunc(decisions, func(l string) bool { return strings.Contains(l, "alerts=2 oldest=") }) {
		t.Errorf("error lines %q, want one for each message of the queue and one for both of the poison queue", decisions)
	}
}
