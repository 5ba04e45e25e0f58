package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
)

// TestNobodyWhoDeletesPodsCanHideIt: each file of testdata/adversary is an attempt,
// as the body of a message and as the host quotes it.
func TestNobodyWhoDeletesPodsCanHideIt(t *testing.T) {
	a, err := app.Offline(new(config.Config), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		rules      []string // of the alerts, in the order of the records
		unreadable int
	}{
		"control": {[]string{deletedInAKS}, 0},
		// So many forwarded addresses that the object and the outcome are cut off.
		"xff": {[]string{deletedInAKS}, 0},
		// The URI is so long that the verb is cut off.
		"uri-pad": {[]string{alert.Unreadable.ID}, 1},
		// Three requests on three days with one Audit-ID.
		"auditid-reuse": {[]string{deletedInAKS, deletedInAKS, deletedInAKS}, 0},
		// Control characters take six bytes each as JSON.
		"big-escapes": {[]string{deletedInAKS}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("testdata", "adversary", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			for how, batch := range map[string]detect.Batch{"plain": detect.Plain(body), "from the host": fromHost(t, a, body)} {
				found := a.Detector.Detect(batch, false)
				var alerts []*alert.Alert
				for piece := range a.Enricher.Enrich(t.Context(), found.Findings, nil) {
					alerts = append(alerts, piece...)
				}
				if len(alerts) != len(want.rules) || len(found.Unreadable) != want.unreadable || found.Unread != want.unreadable {
					t.Fatalf("%s: %d alerts, unreadable %v, want %d and %d", how, len(alerts), found.Unreadable, len(want.rules), want.unreadable)
				}
				for i, got := range alerts {
					if got.RuleId != want.rules[i] {
						t.Errorf("%s: alert of rule %s, want %s", how, got.RuleId, want.rules[i])
					}
					if n := len(got.JSON()); n > alert.MaxSize {
						t.Errorf("%s: an alert of %d bytes", how, n)
					}
				}
			}
		})
	}
}

// deletedInAKS is the built-in rule about kube-audit.
const deletedInAKS = "9da204e2-ea1e-43bc-a95b-7b348f839616"

// fromHost reads a message as the host hands it over.
func fromHost(t *testing.T, a *app.App, message []byte) *invocation.Batch {
	t.Helper()
	in := invocation.Messages{Function: "Detect", Binding: "events", Messages: []invocation.Message{{Body: message, Offset: "1"}}}
	batch, err := invocation.NewReader(1<<20, 1<<20).Read(t.Context(), bytes.NewReader(invocation.EncodeEvents(in)), a.Detector.Filter())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(batch.Close)
	return batch
}
