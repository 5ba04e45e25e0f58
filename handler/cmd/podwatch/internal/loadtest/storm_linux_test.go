package loadtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// TestAStormOfDeletions: 1,500 in six batches are 1,500 rows, few cards, and
// summaries that count what no card has.
func TestAStormOfDeletions(t *testing.T) {
	const total, batch, cards = 1500, 250, 20
	for _, callers := range []int{1, 500} {
		t.Run(fmt.Sprintf("callers=%d", callers), func(t *testing.T) {
			account := azurite.Start(t)
			h := start(t, nil, "AzureWebJobsStorage="+account)
			for from := 0; from < total; from += batch {
				status, undelivered := h.post("Detect", bytes.NewReader(deletions(from, batch, callers)))
				if status != http.StatusOK {
					t.Fatalf("Detect answered %d", status)
				}
				h.redeliver(undelivered) // where storage is too slow for 15 s
			}
			rows := map[string]bool{}
			for _, row := range h.inbox.Rows() {
				a, err := alert.Parse(row.Data)
				if err != nil {
					t.Fatal(err)
				}
				rows[a.AlertId] = true
			}
			if len(rows) != total || len(h.inbox.Rows()) != total {
				t.Errorf("%d rows of %d alerts, want each of %d once", len(h.inbox.Rows()), len(rows), total)
			}
			// A run may take longer than a minute and so admit 20 groups more.
			before := len(h.inbox.Cards())
			if before == 0 || before > 3*cards {
				t.Errorf("%d cards while the storm lasts", before)
			}
			var sum int
			for _, l := range h.log() {
				sum += l.Counts.Held
			}

			endWindow(t, account)
			if took := h.heartbeat(); took > 30*time.Second {
				t.Errorf("Heartbeat took %v", took)
			}
			summaries := h.inbox.Cards()[before:]
			if len(summaries) == 0 || len(summaries) > cards {
				t.Fatalf("%d summaries, want 1 to %d; Heartbeat: %+v", len(summaries), cards, last(h, "Heartbeat"))
			}
			if told := last(h, "Heartbeat").Counts.Alerts; told != sum || sum == 0 {
				t.Errorf("the summaries count %d alerts, %d were held", told, sum)
			}
			if callers == 1 {
				if text := fmt.Sprint(sum, " times"); !bytes.Contains(summaries[0].Data, []byte(text)) {
					t.Errorf("the summary does not count %q: %s", text, summaries[0].Data)
				}
			}
			if h.heartbeat(); len(h.inbox.Cards()) != before+len(summaries) {
				t.Errorf("the next Heartbeat posts more")
			}
			if n := len(h.log()) - redelivered(h); n > 100 {
				t.Errorf("%d lines of log", n)
			}
		})
	}
}

// redelivered counts the log lines of Redeliver.
func redelivered(h *handler) (n int) {
	for _, l := range h.log() {
		if l.Function == "Redeliver" {
			n++
		}
	}
	return n
}

// last returns the last log line of a function, which follows its answer.
func last(h *handler, function string) (l line) {
	for end := time.Now().Add(10 * time.Second); l.Function == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, other := range h.log() {
			if other.Function == function {
				l = other
			}
		}
	}
	return l
}

// endWindow moves the end of the storm window into the past.
func endWindow(t *testing.T, connection string) {
	t.Helper()
	account, err := storage.Open(&config.Storage{ConnectionString: config.Secret(connection)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	documents := account.Documents(state.StateContainer)
	d, err := documents.Fetch(t.Context(), "storms/teams/window")
	if err != nil {
		t.Fatal(err)
	}
	var window map[string]any
	if err := json.Unmarshal(d.Data, &window); err != nil {
		t.Fatal(err)
	}
	window["until"] = time.Now().Add(-time.Second)
	text, err := json.Marshal(window)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := documents.Replace(t.Context(), d, text); err != nil {
		t.Fatal(err)
	}
}
