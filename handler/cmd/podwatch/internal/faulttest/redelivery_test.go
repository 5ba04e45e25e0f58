package faulttest

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/storage"
)

// TestTheSameBatchTwiceWithARestartBetweenIsOneCard: the ledger is in storage,
// so another process on another host knows.
func TestTheSameBatchTwiceWithARestartBetweenIsOneCard(t *testing.T) {
	t.Parallel()
	w := start(t, nil, nil)
	d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
	w.expect(d)
	batch := messages(body(d.records[0]))
	batch[0].Sequence = 42
	w.deliver("0", batch...)
	w.restart()
	w.deliver("0", batch...)
	w.drain()
	w.settle([]deletion{d})
	if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards != 1 || rows != 1 {
		t.Errorf("%d cards and %d rows, want one each", cards, rows)
	}
}

// TestAWebhookThatIsNotResolved: the handler starts and writes rows while Azure hands
// over the text of the Key Vault reference, and the card comes once it is resolved.
func TestAWebhookThatIsNotResolved(t *testing.T) {
	t.Parallel()
	w := start(t, nil, map[string]string{"TEAMS_WEBHOOK_URL": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/teams-webhook-url)"})
	d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
	w.expect(d)
	w.deliver("0", messages(body(d.records[0]))...)
	w.until("the row and the error line", func() bool {
		return len(w.rows()[d.alertID]) == 1 && strings.Contains(w.log(), "TEAMS_WEBHOOK_URL: the Key Vault reference was not resolved")
	})
	if cards := w.cards()[d.pod]; cards != 0 {
		t.Errorf("%d cards without a webhook", cards)
	}
	w.settings["TEAMS_WEBHOOK_URL"] = inbox.WebhookURL(w.serve(w.sinks))
	w.restart()
	w.drain()
	w.settle([]deletion{d})
	if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards != 1 || rows != 1 {
		t.Errorf("%d cards and %d rows, want one each", cards, rows)
	}
}

// TestTeamsAnswering500ForTheWholeInvocation: the invocation succeeds all the
// same, with the row written and the alert in the queue, and the card comes when
// Teams is back. The time that the handler tries before it gives up is in the time
// of this test.
func TestTeamsAnswering500ForTheWholeInvocation(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	down.Store(true)
	var reply atomic.Bool // Detect was answered well
	w := start(t, func(_ int, p point) act {
		switch {
		case p.what == "teams" && down.Load():
			return refuse
		case p.kind == "host" && p.what == "Redeliver post " && down.Load():
			return refuse // the queue is read later
		case p.what == "Detect reply ":
			reply.Store(true)
		}
		return pass
	}, nil)
	d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
	w.expect(d)
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.deliver("0", messages(body(d.records[0]))...)
	}()
	w.until("the row", func() bool { return len(w.rows()[d.alertID]) == 1 })
	rowAfter := time.Since(begun)
	<-done
	if !reply.Load() {
		t.Error("the reply was not 200")
	}
	if rowAfter > 15*time.Second {
		t.Errorf("the row came after %s: it waited for Teams", rowAfter)
	}
	queued := w.peek(storage.UndeliveredQueue)
	if n := w.queued(storage.UndeliveredQueue); n != 1 {
		t.Errorf("%d messages in the queue, want one", n)
	}
	for _, text := range queued { // none while the host holds it
		if a, err := alert.Parse([]byte(text)); err != nil || a.AlertId != d.alertID {
			t.Errorf("the queue holds %q (%v)", text, err)
		}
	}
	if n := w.cards()[d.pod]; n != 0 {
		t.Errorf("%d cards although Teams is down", n)
	}
	down.Store(false)
	w.drain()
	w.settle([]deletion{d})
	if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards != 1 || rows != 1 {
		t.Errorf("%d cards and %d rows, want one each", cards, rows)
	}
	t.Logf("row after %s, Detect gave up on Teams after %s", rowAfter.Round(time.Millisecond), time.Since(begun).Round(time.Second))
}

// TestTeamsThatAcceptsLate, 12 seconds after it was asked (or a hundredth of that, for a
// handler in a hurry), shows a deletion once, however often its record comes. Where this
// machine made the answer later than that, it is tried again.
func TestTeamsThatAcceptsLate(t *testing.T) {
	t.Parallel()
	for range 5 {
		w := timed(func(_ int, p point) act {
			if p.what == "teams" {
				return slow
			}
			return pass
		})
		w.delay = w.scaled(12 * time.Second)
		startWorld(t, w, nil, 0)
		d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
		w.expect(d)
		for _, record := range []string{d.records[0], d.records[0], d.records[1]} {
			w.deliver("0", messages(body(record))...)
		}
		w.drain()
		w.settle([]deletion{d})
		if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards == 1 && rows == 1 {
			return
		}
	}
	t.Error("the deletion is shown more than once each time")
}

// TestTeamsThatNeverAnswers takes each card and answers none: a deletion is shown twice,
// however often its record comes, and an alert of Heartbeat counts it.
func TestTeamsThatNeverAnswers(t *testing.T) {
	t.Parallel()
	w := start(t, func(_ int, p point) act {
		if p.what == "teams" {
			return lose
		}
		return pass
	}, nil)
	d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
	w.expect(d)
	for _, record := range []string{d.records[0], d.records[0], d.records[1]} {
		w.deliver("0", messages(body(record))...)
	}
	w.drain()
	for range 3 {
		_ = w.beat() // of a notice without an answer the first attempt fails
	}
	w.settle([]deletion{d})
	if cards, rows := w.cards()[d.pod], len(w.rows()[d.alertID]); cards != 2 || rows != 1 {
		t.Errorf("%d cards and %d rows, want two and one", cards, rows)
	}
	if n := strings.Count(w.log(), `"alert_id":"`+d.alertID+`","err":"Teams`); n == 0 || !strings.Contains(w.log(), "did not answer twice") {
		t.Error("no line of the log names the alert")
	}
	notices := 0
	for _, row := range w.inbox.Rows() {
		if strings.Contains(string(row.Data), "1 alerts that count as accepted without an answer") {
			notices++
		}
	}
	if notices != 1 {
		t.Errorf("%d notices count it, want one", notices)
	}
}

// TestARejectionForGoodBecomesADeadLetter: with the reason, with the other sink
// served, with one error in the log; and it can be put back.
func TestARejectionForGoodBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	var rejects atomic.Bool
	rejects.Store(true)
	w := start(t, func(_ int, p point) act {
		if p.what == "teams" && rejects.Load() {
			return reject
		}
		return pass
	}, nil)
	d := kubeDeletion(t, podName(1), "dana@example.com", "AKS-1", 1)
	w.expect(d)
	w.deliver("0", messages(body(d.records[0]))...)
	w.until("a dead letter", func() bool { letters, _ := w.dead(); return len(letters) == 1 })
	if letters, _ := w.dead(); !strings.Contains(letters[0].Reason, "Teams rejected the request (HTTP 400") {
		t.Errorf("the reason is %q", letters[0].Reason)
	}
	if rows := len(w.rows()[d.alertID]); rows != 1 {
		t.Errorf("%d rows, want one", rows)
	}
	if n := w.logged("an alert was given up; it is kept as a dead letter (podwatch requeue puts it back)"); n != 1 {
		t.Errorf("the rejection is an error in the log %d times, want once", n)
	}
	rejects.Store(false)
	w.until("the queue to be empty", func() bool { return w.queued(storage.UndeliveredQueue) == 0 })
	if n := w.requeue(); n != 1 {
		t.Errorf("%d alerts were put back, want one", n)
	}
	w.drain()
	w.settle([]deletion{d})
	if cards := w.cards()[d.pod]; cards != 1 {
		t.Errorf("%d cards, want one", cards)
	}
}
