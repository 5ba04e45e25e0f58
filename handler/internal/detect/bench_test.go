package detect_test

import (
	"bytes"
	"testing"

	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/rule"
)

// BenchmarkDetect reads and evaluates invocations of 8 MiB, without HTTP.
func BenchmarkDetect(b *testing.B) {
	rules, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		b.Fatal(err)
	}
	d := detect.New(rules, false)
	for _, log := range logtest.Logs {
		for _, share := range logtest.Shares {
			body := logtest.Batch(log, 8<<20, share.Nth)
			b.Run(log+"/"+share.Name, func(b *testing.B) {
				reader := invocation.NewReader(32<<20, 64<<20)
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					batch, err := reader.Read(b.Context(), bytes.NewReader(body), d.Filter())
					if err != nil {
						b.Fatal(err)
					}
					found := d.Detect(batch, false)
					if (len(found.Findings) > 0) != (share.Nth > 0) {
						b.Fatalf("%d findings", len(found.Findings))
					}
					batch.Close()
				}
			})
		}
	}
}
