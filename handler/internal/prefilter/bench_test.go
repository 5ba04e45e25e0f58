package prefilter_test

import (
	"testing"

	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/prefilter"
)

// BenchmarkSearch searches batches in which none, 1 % and 10 % of the records are
// deletions; the difference is what the hits cost.
func BenchmarkSearch(b *testing.B) {
	literals := []prefilter.Literal{{Text: logtest.PodsDeleted}, {Text: "delete", Whole: true}}
	filter := prefilter.New(literals)
	for _, share := range logtest.Shares {
		body := logtest.Batch("kube-audit", 8<<20, share.Nth)
		b.Run("deletions="+share.Name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			hits := 0
			for b.Loop() {
				search := filter.Search(2)
				search.More(body, true)
				hits = len(search.Hits())
			}
			b.ReportMetric(float64(hits), "hits")
		})
	}
}
