package prefilter_test

import (
	"bytes"
	"io"
	"net/http/httputil"
	"testing"
	"time"

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

// BenchmarkLongStrings takes the time that the search for long strings takes, as a share
// of reading the body in the host's chunks, which it is beside, and of the whole search,
// which it is a part of: the least time of each, since other processes disturb a part.
func BenchmarkLongStrings(b *testing.B) {
	body := logtest.Batch("kube-audit", 8<<20, 0)
	filter := prefilter.New([]prefilter.Literal{{Text: logtest.PodsDeleted}, {Text: "delete", Whole: true}})
	read := make([]byte, len(body))
	var sent bytes.Buffer
	chunks := httputil.NewChunkedWriter(&sent)
	for i := 0; i < len(body); i += 1024 {
		if _, err := chunks.Write(body[i:min(i+1024, len(body))]); err != nil {
			b.Fatal(err)
		}
	}
	long, search, reading := time.Hour, time.Hour, time.Hour
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		begun := time.Now()
		if _, err := io.ReadFull(httputil.NewChunkedReader(bytes.NewReader(sent.Bytes())), read); err != nil {
			b.Fatal(err)
		}
		reading = min(reading, time.Since(begun))
		begun = time.Now()
		if prefilter.LongStrings(body, 2) > 0 {
			b.Fatal("a long string")
		}
		long = min(long, time.Since(begun))
		begun = time.Now()
		whole := filter.Search(2)
		whole.More(body, true)
		search = min(search, time.Since(begun))
	}
	b.ReportMetric(100*long.Seconds()/reading.Seconds(), "%-of-reading")
	b.ReportMetric(100*long.Seconds()/search.Seconds(), "%-of-search")
}
