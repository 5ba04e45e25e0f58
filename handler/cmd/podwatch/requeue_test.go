package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/sink"
)

func TestRequeueMovesAlertsAndLeavesTheRest(t *testing.T) {
	connection := azurite.Start(t)
	t.Setenv("AzureWebJobsStorage", connection)
	storage := sink.Storage{ConnectionString: connection}
	for _, name := range []string{sink.PoisonQueue, sink.UndeliveredQueue} {
		queue, err := storage.Queue(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := queue.Create(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	poison, err := storage.Queue(sink.PoisonQueue)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // more than one page
		a := &alert.Alert{AlertId: strings.Repeat("a", i+1), RuleId: "r", RuleName: "evil\x1b[2J", Notes: []string{"not delivered: the flow is gone"}}
		if _, err := poison.EnqueueMessage(t.Context(), base64.StdEncoding.EncodeToString(a.JSON()), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := poison.EnqueueMessage(t.Context(), base64.StdEncoding.EncodeToString([]byte("hello")), nil); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (status int, out, errs string) {
		var stdout, stderr bytes.Buffer
		root := newRootCommand()
		root.SetArgs(args)
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		status = execute(t.Context(), root)
		return status, stdout.String(), stderr.String()
	}
	if status, out, _ := run("requeue", "--dry-run"); status != 0 || strings.Count(out, "the flow is gone") != 32 {
		t.Errorf("dry run: status %d, %d lines", status, strings.Count(out, "\n"))
	}
	status, out, errs := run("requeue")
	if status != 1 || strings.Count(out, "\n") != 40 || !strings.Contains(errs, "40 alerts put back") || !strings.Contains(errs, "1 messages") {
		t.Errorf("status %d, %d lines, stderr %s", status, strings.Count(out, "\n"), errs)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a rule's name reaches the terminal as it is")
	}
	for name, want := range map[string]int{sink.PoisonQueue: 1, sink.UndeliveredQueue: 40} {
		if n, err := storage.CountMessages(t.Context(), name); err != nil || n != want {
			t.Errorf("queue %s holds %d, %v; want %d", name, n, err, want)
		}
	}
}

func TestRequeueNeedsAnAccount(t *testing.T) {
	t.Setenv("AzureWebJobsStorage", "")
	t.Setenv("AzureWebJobsStorage__accountName", "")
	root := newRootCommand()
	root.SetArgs([]string{"requeue"})
	root.SetErr(new(bytes.Buffer))
	if status := execute(t.Context(), root); status != 2 {
		t.Errorf("status is %d, want 2", status)
	}
}
