package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/deliver"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/surroundings"
)

// accepting is a sink that accepts at once.
type accepting struct{}

func (accepting) Name() string { return "accepting" }

func (accepting) Post(_ context.Context, g alert.Group) (int, error) { return len(g.Alerts), nil }

// stages are those of the app, with a sink that accepts and without look-ups. Its
// ledger is new for each batch, so that the same batch is delivered again.
type stages struct {
	functions
	reader   *invocation.Reader
	detector *detect.Detector
	enricher *enrich.Enricher
	log      *slog.Logger
}

func (s *stages) Detect(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	batch, err := s.reader.Read(ctx, body, s.detector.Filter())
	if err != nil {
		return nil, nil, err
	}
	dispatcher := deliver.New([]deliver.Route{{Sink: accepting{}}}, state.NewLedger(state.NewMemory(), s.log), new(state.Storms), new(state.DeadLetters), s.log)
	found := s.detector.Detect(batch, false)
	pending := dispatcher.Pending(ctx, found.Findings)
	around := s.detector.Around(batch, pending)
	result := dispatcher.Deliver(ctx, s.enricher.Enrich(ctx, pending, around))
	if result.Delivered != len(found.Findings) || batch.Err() != nil {
		return nil, nil, fmt.Errorf("%d of %d alerts delivered, %v", result.Delivered, len(found.Findings), batch.Err())
	}
	return batch.Reply(), []slog.Attr{slog.Int("matches", found.Matches)}, nil
}

func newBenchHandler(b *testing.B) http.Handler {
	b.Helper()
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	return server.New(&stages{
		reader: invocation.NewReader(96<<20, 192<<20), detector: detect.New(set, false), log: log,
		enricher: enrich.New(enrich.Parts{
			Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: new(exception.Set),
			Now: time.Now, Log: log,
		}),
	}, log)
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

// chunked is a request with body, in chunks of 1,024 bytes as the host sends it. It
// is encoded before, so that sending costs all contestants the same and little.
func chunked(body []byte) []byte {
	request := []byte("POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
	for chunk := range slices.Chunk(body, 1024) {
		request = fmt.Appendf(request, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return append(request, "0\r\n\r\n"...)
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

// poster starts a server; post sends it the body, on one connection.
func poster(b *testing.B, handler http.Handler, body []byte) (post, end func()) {
	s := httptest.NewServer(handler)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	request, answers := chunked(body), bufio.NewReader(conn)
	post = func() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if response.StatusCode != http.StatusOK {
			b.Fatal(response.Status)
		}
	}
	return post, func() {
		conn.Close()
		s.Close()
	}
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
