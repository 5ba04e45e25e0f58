package server_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/prefilter"
)

const benchSize = 8 << 20

// A contestant is something that is timed beside others.
type contestant struct {
	name string
	run  func()
}

// beside runs the contestants in turn, so that a machine whose speed drifts is the
// same for all of them, and returns the median time of each.
func beside(b *testing.B, size int, contestants ...contestant) map[string]float64 {
	b.Helper()
	times := map[string][]float64{}
	for b.Loop() {
		for _, c := range contestants {
			runtime.GC() // nobody pays for the garbage of another
			start := time.Now()
			c.run()
			times[c.name] = append(times[c.name], time.Since(start).Seconds())
		}
	}
	medians := map[string]float64{}
	for name, t := range times {
		slices.Sort(t)
		medians[name] = t[len(t)/2]
		b.ReportMetric(float64(size)/1e6/medians[name], name+"-MB/s")
	}
	b.ReportMetric(0, "ns/op") // of all together: it says nothing
	return medians
}

// BenchmarkScanBeside times the search beside bytes.Count of the one rule's literal.
func BenchmarkScanBeside(b *testing.B) {
	for _, log := range logtest.Logs {
		body := logtest.Batch(log, benchSize, 0)
		b.Run("log="+log, func(b *testing.B) {
			contestants := []contestant{{"bytes.Count", func() { sink = bytes.Count(body, []byte(logtest.PodsDeleted)) }}}
			for _, n := range ruleCounts {
				s := prefilter.New(benchLiterals(n))
				contestants = append(contestants, contestant{fmt.Sprintf("rules=%d", n), func() { s.Contains(body) }})
			}
			medians := beside(b, len(body), contestants...)
			for _, n := range ruleCounts {
				b.ReportMetric(medians["bytes.Count"]/medians[fmt.Sprintf("rules=%d", n)], fmt.Sprintf("%d-of-Count", n))
			}
			b.ReportMetric(medians["rules=65"]/medians["rules=1"], "65-cost-of-1")
		})
	}
}

var ruleCounts = []int{1, 10, 65, 1000}

var sink int

// BenchmarkScan is the search beside bytes.Count, with literals of n rules.
func BenchmarkScan(b *testing.B) {
	for _, log := range logtest.Logs {
		body := logtest.Batch(log, benchSize, 0)
		for _, separator := range []string{logtest.PodsDeleted, "delete"} {
			b.Run(fmt.Sprintf("log=%s/do=bytes.Count/bytes=%d", log, len(separator)), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					sink = bytes.Count(body, []byte(separator))
				}
			})
		}
		for _, n := range ruleCounts {
			s := prefilter.New(benchLiterals(n))
			b.Run(fmt.Sprintf("log=%s/do=scan/rules=%d", log, n), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if s.Contains(body) {
						b.Fatal("hit")
					}
				}
			})
		}
	}
}

// benchLiterals are those of n rules in the manner of Elastic's: most name two
// operations of a kind of resource, some a word of the audit log.
func benchLiterals(n int) (lits []prefilter.Literal) {
	lits = append(lits, prefilter.Literal{Text: logtest.PodsDeleted})
	providers := []string{"KEYVAULT/VAULTS", "STORAGE/STORAGEACCOUNTS", "AUTHORIZATION", "COMPUTE", "EVENTHUB/NAMESPACES", "AUTOMATION", "NETWORK", "INSIGHTS"}
	words := []string{"kube-hunter", "deletecollection", "eviction", "impersonate", "ephemeralcontainers", "certificatesigningrequests"}
	syllables := []string{"BA", "CRE", "DEN", "FIR", "GA", "HOL", "JUN", "KAL", "LOR", "MIN", "NUR", "POL", "QUE", "RUL", "SNAP", "TOR", "VUL", "WEB", "XEN", "ZON"}
	for i := 1; i < n; i++ {
		if i%8 == 7 {
			lits = append(lits, prefilter.Literal{Text: words[i/8%len(words)], Whole: true})
			continue
		}
		kind := ""
		for k, seed := 0, i*7919; k < 5; k, seed = k+1, seed/7 {
			kind += syllables[seed%len(syllables)]
		}
		name := "MICROSOFT." + providers[i%8] + "/" + kind + "/"
		lits = append(lits, prefilter.Literal{Text: name + "WRITE"}, prefilter.Literal{Text: name + "DELETE"})
	}
	return lits
}
