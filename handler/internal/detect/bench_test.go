package detect_test

import (
	"bytes"
	"fmt"
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
	var loads []logtest.Load
	for _, log := range logtest.Logs {
		for _, share := range logtest.Shares {
			loads = append(loads, logtest.Load{Log: log, Nth: share.Nth})
		}
	}
	for _, log := range []string{"kube-audit", logtest.Cluster} {
		loads = append(loads, logtest.Load{Log: log, Nth: 100, Routine: 19}, logtest.Load{Log: log, Nth: 10, Routine: 19})
	}
	loads = append(loads, logtest.Load{Log: logtest.Cluster, Nth: 100, Routine: 19, Cut: 20})
	for _, load := range loads {
		load.Size = 8 << 20
		body, matches := load.Invocation()
		b.Run(fmt.Sprintf("%s/nth=%d/routine=%d/cut=%d", load.Log, load.Nth, load.Routine, load.Cut), func(b *testing.B) {
			reader := invocation.NewReader(32<<20, 64<<20)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				batch, err := reader.Read(b.Context(), bytes.NewReader(body), d.Filter())
				if err != nil {
					b.Fatal(err)
				}
				found := d.Detect(batch, false)
				if found.Matches != matches {
					b.Fatalf("%d matches, want %d", found.Matches, matches)
				}
				batch.Close()
			}
		})
	}
}
