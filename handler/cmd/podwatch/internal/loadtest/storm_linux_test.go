package loadtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// A storm comes in batches. Of each minute and of each window of five minutes a
// person gets at most 20 cards.
const (
	stormBatch = 500
	mostCards  = 20
)

// TestAStormOfDeletions by one caller and by 5,000: each is a row, few cards are
// posted, and summaries count what no card has. The Heartbeat that posts them first
// tells what happened to podwatch itself. STORM is the number of deletions.
func TestAStormOfDeletions(t *testing.T) {
	total := 5000
	if text := os.Getenv("STORM"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, callers := range []int{1, 5000} {
		t.Run(fmt.Sprintf("callers=%d", callers), func(t *testing.T) {
			t.Parallel()
			connection := azurite.Start(t)
			s := &storm{handler: start(t, nil, "AzureWebJobsStorage="+connection), account: open(t, connection)}
			s.rage(total, callers)
			s.wantRows(total)
			during, carded := len(s.inbox.Cards())-s.summaries, s.sum("Detect", "Redeliver").Delivered-total
			s.sumUp()
			told := s.sum("Heartbeat").Alerts
			t.Logf("%d deletions in %v: %d alerts on %d cards, %d in %d summaries, %d redelivered; Heartbeat took at most %v, the process %d MiB, %d lines of log",
				total, s.took.Round(time.Second), carded, during, told, s.summaries, s.redelivered, s.longest.Round(time.Millisecond), peakMemory(t, s.pid), len(s.log()))
			if most := mostCards * (1 + int(s.took/time.Minute)); during == 0 || during > most {
				t.Errorf("%d cards while the storm lasts, want 1 to %d", during, most)
			}
			if most := mostCards * s.windows; s.summaries == 0 || s.summaries > most {
				t.Errorf("%d summaries of %d windows, want 1 to %d", s.summaries, s.windows, most)
			}
			// What comes back from the queue may be held by Detect and posted by Redeliver.
			if told < total-carded || told > total-carded && s.redelivered == 0 {
				t.Errorf("the summaries count %d alerts, %d of %d are on cards", told, carded, total)
			}
			if s.longest > 100*time.Second {
				t.Errorf("Heartbeat took %v", s.longest)
			}
			if peak := peakMemory(t, s.pid); peak > 3*bodyLimit {
				t.Errorf("the handler used %d MiB, more than 3 x %d", peak, bodyLimit)
			}
			if n, most := len(s.log())-2*s.redelivered, 100+2*total/stormBatch; n > most {
				t.Errorf("%d lines of log without those of Redeliver, want at most %d", n, most)
			}
		})
	}
}

// A storm is what happens to a handler.
type storm struct {
	*handler
	account     *storage.Account
	took        time.Duration
	longest     time.Duration // Heartbeat
	windows     int
	summaries   int // cards of Heartbeat
	redelivered int
}

// rage delivers the deletions, with a Heartbeat each five minutes as in Azure.
func (s *storm) rage(total, callers int) {
	began, beat := time.Now(), time.Now()
	s.windows = 1
	for from := 0; from < total; from += stormBatch {
		status, undelivered := s.post("Detect", bytes.NewReader(deletions(from, min(stormBatch, total-from), callers)))
		if status != http.StatusOK {
			s.t.Fatalf("Detect answered %d", status)
		}
		s.redelivered += s.redeliver(undelivered) // where storage is too slow for 15 s
		if time.Since(beat) > 5*time.Minute {
			beat = time.Now()
			s.windows++
			s.beat() // what fails is due again
		}
	}
	s.took = time.Since(began)
}

// beat returns the cards that a Heartbeat posts, and whether it succeeded.
func (s *storm) beat() (cards []inbox.Entry, ok bool) {
	before := len(s.inbox.Cards())
	took, ok := s.heartbeat()
	s.longest = max(s.longest, took)
	cards = s.inbox.Cards()[before:]
	s.summaries += len(cards)
	return cards, ok
}

// sumUp ends the window and posts its summaries, behind a notice that a message could
// not be read.
func (s *storm) sumUp() {
	insist(s.t, func() error {
		_, err := s.account.Documents("unreadable-messages").Create(s.t.Context(), "one", []byte("x"))
		if errors.Is(err, state.ErrExists) {
			err = nil
		}
		return err
	})
	s.endWindow()
	began := time.Now()
	cards, done := s.beat()
	s.summaries--
	if len(cards) == 0 || !strings.Contains(string(cards[0].Data), "1 unreadable messages") {
		s.t.Fatalf("the first of %d cards is not the notice about podwatch; Heartbeat: %+v", len(cards), s.of("Heartbeat"))
	}
	if late := cards[0].Received.Sub(began); late > 30*time.Second {
		s.t.Errorf("the notice came after %v", late)
	}
	// Where storage is slow the next one does the rest.
	for range 10 {
		more, ok := s.beat()
		if len(more) == 0 && ok && done {
			return
		}
		done = ok
	}
	s.t.Errorf("Heartbeat does not come to an end: %+v", s.of("Heartbeat"))
}

// wantRows checks that each deletion is one row.
func (s *storm) wantRows(total int) {
	rows := map[string]bool{}
	for _, row := range s.inbox.Rows() {
		a, err := alert.Parse(row.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		rows[a.AlertId] = true
	}
	if len(rows) != total || len(s.inbox.Rows()) != total {
		s.t.Errorf("%d rows of %d alerts, want each of %d once", len(s.inbox.Rows()), len(rows), total)
	}
}

// sum adds up the counts of functions.
func (s *storm) sum(functions ...string) (sum app.Counts) {
	for _, function := range functions {
		for _, l := range s.of(function) {
			sum.Add(l.Counts)
		}
	}
	return sum
}

func open(t *testing.T, connection string) *storage.Account {
	t.Helper()
	account, err := storage.Open(&config.Storage{ConnectionString: config.Secret(connection)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// insist tries again what fails on a busy machine.
func insist(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for range 10 {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// endWindow moves the end of the storm window into the past.
func (s *storm) endWindow() {
	documents := s.account.Documents(state.StateContainer)
	insist(s.t, func() error {
		d, err := documents.Fetch(s.t.Context(), "storms/teams/window")
		if err != nil {
			return err
		}
		var window map[string]any
		if err := json.Unmarshal(d.Data, &window); err != nil {
			return err
		}
		window["until"] = time.Now().Add(-time.Second)
		text, err := json.Marshal(window)
		if err != nil {
			return err
		}
		_, err = documents.Replace(s.t.Context(), d, text)
		return err
	})
}
