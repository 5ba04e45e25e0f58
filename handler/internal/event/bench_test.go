package event_test

import (
	"testing"

	"podwatch/handler/internal/event"
)

func BenchmarkAll(b *testing.B) {
	for _, c := range []struct{ name, file string }{
		{"activity", "act-match-user.json"},
		{"kube-audit", "kube-delete-entra-user-2021-shape.json"},
		{"kube-audit-cut", "kube-log-truncated-16k.json"},
		{"resource-log", "noise-24-keyvault.json"},
		{"entra-audit", "entra-audit-role.json"},
		{"sign-in", "signin-adrs-token.json"},
		{"identity-protection", "risk-signin.json"},
		{"metric", "noise-25-metric.json"},
	} {
		record := records(b, c.file)[0]
		b.Run(c.name, func(b *testing.B) {
			var reader event.Reader
			b.ReportAllocs()
			b.SetBytes(int64(len(record)))
			for b.Loop() {
				for ev, err := range reader.Events(record) {
					if err != nil {
						b.Fatal(err)
					}
					for range ev.All() {
					}
				}
			}
		})
	}
}
