package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
)

// sinks is Teams and Log Analytics, which refuse until they are mended.
type sinks struct {
	url         string
	refusal     int // status
	mended      atomic.Bool
	cards, rows atomic.Int32 // accepted
}

// startSinks serves sinks that close each connection, so that none outlives a bubble
// of synctest. Call it outside of the bubble.
func startSinks(t *testing.T, refusal int) *sinks {
	t.Helper()
	s := &sinks{refusal: refusal}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case !s.mended.Load():
			w.WriteHeader(s.refusal)
		case r.URL.Path == "/workflow":
			s.cards.Add(1)
			w.WriteHeader(http.StatusAccepted)
		default:
			s.rows.Add(1)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	server.Config.SetKeepAlivesEnabled(false)
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// hostQueues are the host's settings of its queue triggers.
func hostQueues(t *testing.T) (between time.Duration, tries int) {
	t.Helper()
	text, err := os.ReadFile("../../../host.json")
	if err != nil {
		t.Fatal(err)
	}
	var host struct {
		Extensions struct {
			Queues struct {
				VisibilityTimeout string
				MaxDequeueCount   int
			}
		}
	}
	if err := json.Unmarshal(text, &host); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.TimeOnly, host.Extensions.Queues.VisibilityTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return at.Sub(at.Truncate(24 * time.Hour)), host.Extensions.Queues.MaxDequeueCount
}

// openOn returns an app with the sinks on a storage.
func openOn(t *testing.T, s *sinks, connection string) (*App, *bytes.Buffer) {
	t.Helper()
	return openWith(t, map[string]string{
		"TEAMS_WEBHOOK_URL":      s.url + "/workflow?sig=planted",
		"LOG_ANALYTICS_ENDPOINT": s.url, "LOG_ANALYTICS_RULE_ID": "dcr-0123456789abcdef0123456789abcdef",
		"AzureWebJobsStorage": connection,
	})
}

// openWith returns an app with the settings, with dead letters in memory where they
// name no storage, and its log.
func openWith(t *testing.T, settings map[string]string) (*App, *bytes.Buffer) {
	t.Helper()
	settings["FUNCTIONS_CUSTOMHANDLER_PORT"] = "0"
	cfg, err := config.Load(func(name string) string { return settings[name] }, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	a, err := New(cfg, slog.New(slog.NewTextHandler(log, nil)), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if settings["AzureWebJobsStorage"] == "" {
		a.dead = state.NewDeadLetters(state.NewMemory(), a.now)
	}
	return a, log
}

// detectOne detects one deletion and returns the alert that the reply puts into the
// queue.
func detectOne(t *testing.T, a *App) string {
	t.Helper()
	reply, attrs, err := a.Detect(t.Context(), request(t, "events", deletions(t, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	var text bytes.Buffer
	if _, err := reply.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	var outputs struct {
		Outputs struct{ Undelivered []string }
	}
	if err := json.Unmarshal(text.Bytes(), &outputs); err != nil {
		t.Fatal(err)
	}
	if len(outputs.Outputs.Undelivered) != 1 {
		t.Fatalf("the reply %s has no alert for the queue; %v", text.Bytes(), attrs)
	}
	return outputs.Outputs.Undelivered[0]
}

// TestARefusalIsNotFinal: sinks refuse podwatch for 30 minutes, until somebody
// assigned the role or stored the new address. The host hands the alert over again on
// its schedule; then it is delivered, and no dead letter is left. Meanwhile a sink
// has one error line in 15 minutes, which names the cure.
func TestARefusalIsNotFinal(t *testing.T) {
	const outage = 30 * time.Minute
	between, tries := hostQueues(t)
	for status, cures := range map[int]map[string]string{
		401: {"teams": "put the new one into TEAMS_WEBHOOK_URL", "loganalytics": "cloud and tenant"},
		403: {"teams": "put the new one into TEAMS_WEBHOOK_URL", "loganalytics": "Monitoring Metrics Publisher"},
		404: {"teams": "make a new one", "loganalytics": "LOG_ANALYTICS_RULE_ID"},
		410: {"teams": "HTTP 410", "loganalytics": "HTTP 410"},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			s := startSinks(t, status)
			synctest.Test(t, func(t *testing.T) {
				a, log := openOn(t, s, "")
				queued := detectOne(t, a)
				try := 0
				for begin := time.Now(); time.Since(begin) <= outage; time.Sleep(between) {
					try++
					if _, _, err := a.Redeliver(t.Context(), request(t, "alert", queued)); err == nil {
						t.Fatalf("try %d leaves the queue although both sinks refuse", try)
					}
				}
				s.mended.Store(true)
				if _, _, err := a.Redeliver(t.Context(), request(t, "alert", queued)); err != nil {
					t.Fatalf("after %v: %v", outage, err)
				}
				if cards, rows := s.cards.Load(), s.rows.Load(); cards != 1 || rows != 1 || try >= tries {
					t.Errorf("%d cards and %d rows after %d of %d tries, want one each", cards, rows, try, tries)
				}
				if n, err := a.dead.Count(context.Background()); n != 0 || err != nil {
					t.Errorf("%d dead letters, %v; want none", n, err)
				}
				for sink, cure := range cures {
					lines := 0
					for line := range strings.Lines(log.String()) {
						if strings.Contains(line, "level=ERROR") && strings.Contains(line, "sink="+sink) && strings.Contains(line, cure) {
							lines++
						}
					}
					if want := int(outage/(15*time.Minute)) + 1; lines != want {
						t.Errorf("%d error lines of %s with the cure %q, want %d:\n%s", lines, sink, cure, want, log)
					}
				}
				if strings.Contains(log.String(), "planted") {
					t.Error("the log has the webhook's signature")
				}
			})
		})
	}
}

// TestASinkWhoseSecretIsMissing: rows flow, the card waits in the queue, and the error
// line with the cure comes every 15 minutes, also when nothing is deleted.
func TestASinkWhoseSecretIsMissing(t *testing.T) {
	t.Parallel()
	s := startSinks(t, 500)
	s.mended.Store(true)
	synctest.Test(t, func(t *testing.T) {
		a, log := openWith(t, map[string]string{
			"TEAMS_WEBHOOK_URL":      "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/planted)",
			"LOG_ANALYTICS_ENDPOINT": s.url, "LOG_ANALYTICS_RULE_ID": "dcr-0123456789abcdef0123456789abcdef",
		})
		queued := detectOne(t, a)
		if _, _, err := a.Redeliver(t.Context(), request(t, "alert", queued)); err == nil || !strings.Contains(err.Error(), "Teams was not asked: TEAMS_WEBHOOK_URL: the Key Vault reference") {
			t.Errorf("redelivery: %v", err)
		}
		for begin := time.Now(); time.Since(begin) < 44*time.Minute; time.Sleep(5 * time.Minute) {
			if _, _, err := a.Heartbeat(t.Context(), strings.NewReader(`{"Data":{"timer":{}}}`)); err != nil {
				t.Fatal(err)
			}
		}
		if cards, rows := s.cards.Load(), s.rows.Load(); cards != 0 || rows != 1 {
			t.Errorf("%d cards and %d rows, want a row", cards, rows)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 3 || strings.Count(log.String(), "refresh the app's references") < n {
			t.Errorf("%d error lines in 44 minutes, want 3 with the cure:\n%s", n, log)
		}
		if strings.Contains(log.String(), "planted") {
			t.Error("the log has the reference")
		}
	})
}

// TestARejectionIsFinal: what is about this alert is not tried again, and is kept.
func TestARejectionIsFinal(t *testing.T) {
	for _, status := range []int{400, 413} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			s := startSinks(t, status)
			synctest.Test(t, func(t *testing.T) {
				a, log := openOn(t, s, "")
				queued := detectOne(t, a)
				if _, _, err := a.Redeliver(t.Context(), request(t, "alert", queued)); err != nil {
					t.Errorf("the alert stays in the queue: %v", err)
				}
				if n, err := a.dead.Count(t.Context()); n != 1 || err != nil || !strings.Contains(log.String(), "an alert was given up") {
					t.Errorf("%d dead letters, %v; want one, logged: %s", n, err, log)
				}
			})
		})
	}
}
