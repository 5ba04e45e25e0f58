package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/surroundings"
)

// accepting is a sink that accepts at once.
type accepting struct{}

func (accepting) Name() string                                    { return "accepting" }
func (accepting) Deliver(context.Context, []*alert.Alert) []error { return nil }

func newBenchHandler(b *testing.B) http.Handler {
	b.Helper()
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	return server.New(server.Options{BodyLimit: 96 << 20, Deadline: time.Minute, Log: log, Pipeline: pipeline.New(pipeline.Options{
		Rules: set, Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: pipeline.None{},
		Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{}, Ledger: &collector{},
		Routes: []pipeline.Route{{Sink: accepting{}}}, Now: time.Now, Log: log,
	})})
}

// yardstick is the obvious handler: it decodes the envelope, the array and each
// message, and compares the operations.
func yardstick(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var envelope struct{ Data struct{ Events string } }
	var messages []string
	if err == nil {
		err = json.Unmarshal(body, &envelope)
	}
	if err == nil {
		err = json.Unmarshal([]byte(envelope.Data.Events), &messages)
	}
	found := 0
	for _, m := range messages {
		var message map[string]any
		if json.Unmarshal([]byte(m), &message) != nil {
			continue
		}
		records, _ := message["records"].([]any)
		for _, one := range records {
			record, _ := one.(map[string]any)
			if operation, _ := record["operationName"].(string); strings.EqualFold(operation, logtest.PodsDeleted) {
				found++
			}
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprintf(w, `{"Logs":["%d"]}`, found)
}

// readOnly reads the body into a pooled buffer and does nothing with it. Its pool
// outlives collections of garbage, as that of podwatch does.
func readOnly() http.HandlerFunc {
	pool := make(chan *bytes.Buffer, 4)
	return func(w http.ResponseWriter, r *http.Request) {
		buffer := new(bytes.Buffer)
		select {
		case buffer = <-pool:
			buffer.Reset()
		default:
		}
		if _, err := buffer.ReadFrom(r.Body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		select {
		case pool <- buffer:
		default:
		}
		_, _ = io.WriteString(w, "{}")
	}
}

// benchPost sends the body in chunks of unknown length, as the host does.
func benchPost(b *testing.B, client *http.Client, url string, body []byte) {
	r, err := http.NewRequest(http.MethodPost, url+"/Detect", io.MultiReader(bytes.NewReader(body)))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	response, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Fatal(response.Status)
	}
}

const benchSize = 8 << 20

// BenchmarkInvocation is a whole invocation over HTTP, sinks not counted.
func BenchmarkInvocation(b *testing.B) {
	for _, log := range logtest.Logs {
		for _, matching := range logtest.Shares {
			body := logtest.Batch(log, benchSize, matching.Nth)
			b.Run(fmt.Sprintf("log=%s/matching=%s", log, matching.Name), func(b *testing.B) {
				post, end := poster(b, newBenchHandler(b), body)
				defer end()
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					post()
				}
			})
		}
	}
}

// poster starts a server; post sends it the body.
func poster(b *testing.B, handler http.Handler, body []byte) (post, end func()) {
	s := httptest.NewServer(handler)
	return func() { benchPost(b, s.Client(), s.URL, body) }, s.Close
}

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

// BenchmarkBeside times an invocation beside a handler that only reads it and one
// that decodes everything, in the same run.
func BenchmarkBeside(b *testing.B) {
	for _, log := range logtest.Logs {
		for _, matching := range logtest.Shares {
			body := logtest.Batch(log, benchSize, matching.Nth)
			b.Run(fmt.Sprintf("log=%s/matching=%s", log, matching.Name), func(b *testing.B) {
				podwatch, end := poster(b, newBenchHandler(b), body)
				defer end()
				reading, end := poster(b, readOnly(), body)
				defer end()
				decoding, end := poster(b, http.HandlerFunc(yardstick), body)
				defer end()
				medians := beside(b, len(body), contestant{"podwatch", podwatch}, contestant{"read-only", reading}, contestant{"decode-all", decoding})
				b.ReportMetric(medians["read-only"]/medians["podwatch"], "of-read-only")
				b.ReportMetric(medians["decode-all"]/medians["podwatch"], "times-decode-all")
			})
		}
	}
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
