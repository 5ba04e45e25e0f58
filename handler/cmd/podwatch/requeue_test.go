package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

func TestRequeueMovesAlertsAndLeavesTheRest(t *testing.T) {
	connection := azurite.Start(t)
	t.Setenv("AzureWebJobsStorage", connection)
	account, err := storage.Open(&config.Storage{ConnectionString: config.Secret(connection)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	letters := state.NewDeadLetters(account.Documents(state.StateContainer), time.Now)
	for i := range 3 {
		a := &alert.Alert{AlertId: fmt.Sprintf("a%d", i), RuleId: "r", RuleName: "evil\x1b[2J"}
		if err := letters.Add(t.Context(), a.JSON(), "the flow\x1b[2J is gone"); err != nil {
			t.Fatal(err)
		}
	}
	if err := letters.Add(t.Context(), []byte("hello"), "it is no alert"); err != nil {
		t.Fatal(err)
	}
	check := func(wantLetters, wantQueued int) {
		t.Helper()
		if n, err := letters.Count(t.Context()); err != nil || n != wantLetters {
			t.Errorf("%d dead letters, %v; want %d", n, err, wantLetters)
		}
		if n, err := account.Queue(storage.UndeliveredQueue).Len(t.Context()); err != nil || n != wantQueued {
			t.Errorf("the queue has %d messages, %v; want %d", n, err, wantQueued)
		}
	}
	if status, out, _ := runTool(t, "requeue", "--dry-run"); status != 1 || strings.Count(out, "is gone") != 3 {
		t.Errorf("dry run: status %d, output %s", status, out)
	}
	check(4, 0)
	status, out, errs := runTool(t, "requeue")
	if status != 1 || strings.Count(out, "\n") != 3 || !strings.Contains(errs, "1 dead letters are no alerts") || !strings.Contains(errs, "3 alerts put back") {
		t.Errorf("status %d, output %s, stderr %s", status, out, errs)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a rule's name or a reason reaches the terminal as it is")
	}
	check(1, 3)
	for m, err := range account.Queue(storage.UndeliveredQueue).Take(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if a, err := alert.Parse(m.Text); err != nil || !strings.HasPrefix(a.AlertId, "a") {
			t.Errorf("the queue has %q: %v", m.Text, err)
		}
	}
}

func TestRequeueNeedsAnAccount(t *testing.T) {
	withoutSettings(t)
	if status, _, _ := runTool(t, "requeue"); status != 2 {
		t.Errorf("status is %d, want 2", status)
	}
}
