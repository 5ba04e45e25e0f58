package invocation_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/prefilter"
)

// BenchmarkRead is reading alone: a body without a hit, which is the usual one,
// and one whose messages are found and unquoted.
func BenchmarkRead(b *testing.B) {
	body := logtest.Batch("kube-audit", 1<<20, 0)
	r := invocation.NewReader(8<<20, 8<<20)
	for _, bench := range []struct {
		name   string
		filter *prefilter.Filter
	}{
		{"want=none", prefilter.New([]prefilter.Literal{{Text: "not in it"}})},
		{"want=all", nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var plain []byte
			for b.Loop() {
				batch, err := r.Read(b.Context(), bytes.NewReader(body), bench.filter)
				if err != nil || batch.Err() != nil {
					b.Fatal(err, batch.Err())
				}
				for i := 0; len(batch.Hits()) > 0 && i < batch.Len(); i++ {
					m, _ := batch.Message(i)
					if plain, err = m.Plain(plain[:0]); err != nil {
						b.Fatal(err)
					}
				}
				batch.Close()
			}
		})
	}
}

// BenchmarkStandardLibrary is what encoding/json needs for the same messages.
func BenchmarkStandardLibrary(b *testing.B) {
	body := logtest.Batch("kube-audit", 1<<20, 0)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var envelope struct{ Data struct{ Events string } }
		if err := json.Unmarshal(body, &envelope); err != nil {
			b.Fatal(err)
		}
		var messages []string
		if err := json.Unmarshal([]byte(envelope.Data.Events), &messages); err != nil {
			b.Fatal(err)
		}
	}
}
