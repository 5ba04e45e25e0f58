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
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/scan"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/surroundings"
)

// accepting is a sink that accepts at once.
type accepting struct{}

func (accepting) Name() string                                    { return "accepting" }
func (accepting) Deliver(context.Context, []*alert.Alert) []error { return nil }

func newBenchHandler(b *testing.B, sources ...rule.Source) http.Handler {
	b.Helper()
	set, _, err := rule.Load(append([]rule.Source{rule.BuiltIn()}, sources...)...)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	return server.New(server.Options{BodyLimit: 96 << 20, Deadline: time.Minute, Log: log, Pipeline: pipeline.New(pipeline.Options{
		Rules: set, Directory: pipeline.None{}, Surroundings: surroundings.BatchOnly(), Exceptions: pipeline.None{},
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
			if operation, _ := record["operationName"].(string); strings.EqualFold(operation, "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE") {
				found++
			}
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprintf(w, `{"Logs":["%d"]}`, found)
}

// readOnly reads the body into a pooled buffer and does nothing with it.
func readOnly() http.HandlerFunc {
	pool := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	return func(w http.ResponseWriter, r *http.Request) {
		buffer := pool.Get().(*bytes.Buffer)
		buffer.Reset()
		defer pool.Put(buffer)
		if _, err := buffer.ReadFrom(r.Body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "{}")
	}
}

// batch makes an invocation of about size bytes of a log, of which every nth
// record matches; 0 for none.
func batch(b *testing.B, log string, size, nth int) []byte {
	b.Helper()
	in := invocation.Batch{Function: "Detect", Binding: "events", Encoding: invocation.ManyString,
		Partition: invocation.Partition{Namespace: "demo", Hub: "logs", ConsumerGroup: "podwatch", ID: "0"}}
	count, total := 0, 0
	for total < size*3/4 { // quoting adds the rest
		var records []string
		for range 46 {
			records = append(records, benchRecord(log, count, nth > 0 && count%nth == nth/2))
			count++
		}
		body := `{"records":[` + strings.Join(records, ",") + `]}`
		total += len(body)
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(body), Sequence: int64(len(in.Messages)), Offset: "1"})
	}
	body, err := invocation.EncodeEvents(in)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func benchRecord(log string, i int, matches bool) string {
	const subscription = "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-PROD/PROVIDERS/"
	if log == "mix" {
		log = []string{"kube-audit", "kube-audit", "kube-audit", "activity"}[i%4]
	}
	if log == "activity" {
		operation := []string{"MICROSOFT.COMPUTE/VIRTUALMACHINESCALESETS/WRITE", "MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/WRITE"}[i%3]
		if matches {
			operation = "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"
		}
		return fmt.Sprintf(`{"time":"2026-11-09T08:14:22.5410480Z","resourceId":"%[1]sMICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/ARC-%[2]d/PODS/web-%[3]d","operationName":"%[4]s","category":"Administrative","resultType":"Success","resultSignature":"Succeeded.","durationMs":"0","callerIpAddress":"203.0.113.24","correlationId":"5d2a9c34-7e18-4b60-8f4d-%012[3]d","identity":{"authorization":{"scope":"%[1]sMICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/ARC-%[2]d","action":"Microsoft.Kubernetes/connectedClusters/pods/write","evidence":{"role":"Azure Arc Kubernetes Writer","principalType":"User"}},"claims":{"aud":"https://management.core.windows.net/","appid":"04b07795-8ddb-461a-bbee-02f9e1bf7b46","name":"User %[5]d","http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"user%[5]d@example.com"}},"level":"Information","properties":{"eventCategory":"Administrative","entity":"","message":"","hierarchy":"7f0e"}}`,
			subscription, i%5, i, operation, i%23)
	}
	verb, resource := []string{"get", "list", "watch", "update", "get"}[i%5], []string{"leases", "pods", "configmaps", "leases", "endpointslices"}[i%5]
	user := fmt.Sprintf("system:node:aks-nodepool1-%d", i%7)
	if matches {
		verb, resource, user = "delete", "pods", "dana.ortiz@example.com"
	}
	namespace := "kube-system"
	if i%20 == 0 {
		namespace = "delete-me"
	}
	text, _ := json.Marshal(fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"5d2a9c34-7e18-4b60-8f4d-%012d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/%s/%s/web-%d?timeout=10s\u0026watch=1","verb":"%s","user":{"username":"%s","groups":["system:nodes","system:authenticated"]},"sourceIPs":["10.224.0.4"],"userAgent":"kubelet/v1.30.3 (linux/amd64) kubernetes/d8c6a56","objectRef":{"resource":"%s","namespace":"%s","name":"web-%d","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-09T08:14:22.531048Z","stageTimestamp":"2026-11-09T08:14:22.541048Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`, i, namespace, resource, i, verb, user, resource, namespace, i))
	return fmt.Sprintf(`{"category":"kube-audit","ccpNamespace":"64f0c1b52d6d0a0001","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":%s,"stream":"stdout","pod":"kube-apiserver-6f9c7d8b54-k2x9p"},"resourceId":"%sMICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-PROD","serviceBuild":"na","time":"2026-11-09T08:14:22.5410480Z"}`, text, subscription)
}

// post sends the body in chunks of unknown length, as the host does.
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
	for _, log := range []string{"kube-audit", "activity", "mix"} {
		for _, matching := range []struct {
			name string
			nth  int
		}{{"0", 0}, {"0.1%", 1000}, {"1%", 100}, {"10%", 10}} {
			body := batch(b, log, benchSize, matching.nth)
			for _, handler := range []string{"podwatch", "read-only", "decode-all"} {
				if handler == "read-only" && matching.nth > 0 {
					continue
				}
				b.Run(fmt.Sprintf("log=%s/matching=%s/handler=%s", log, matching.name, handler), func(b *testing.B) {
					var h http.Handler
					switch handler {
					case "podwatch":
						h = newBenchHandler(b)
					case "read-only":
						h = readOnly()
					default:
						h = http.HandlerFunc(yardstick)
					}
					s := httptest.NewServer(h)
					defer s.Close()
					b.SetBytes(int64(len(body)))
					b.ReportAllocs()
					for b.Loop() {
						benchPost(b, s.Client(), s.URL, body)
					}
				})
			}
		}
	}
}

var sink int

// BenchmarkScan is the search beside bytes.Count, with literals of n rules.
func BenchmarkScan(b *testing.B) {
	for _, log := range []string{"kube-audit", "activity", "mix"} {
		body := batch(b, log, benchSize, 0)
		for _, separator := range []string{"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", "PODS/DELETE", "delete", "~"} {
			b.Run(fmt.Sprintf("log=%s/do=bytes.Count-%d", log, len(separator)), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					sink = bytes.Count(body, []byte(separator))
				}
			})
		}
		for _, n := range []int{1, 10, 65, 1000} {
			s := scan.New(benchLiterals(n))
			b.Run(fmt.Sprintf("log=%s/do=scan/rules=%d", log, n), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if s.Hit(body) {
						b.Fatal("hit")
					}
				}
			})
		}
	}
}

// benchLiterals are those of n rules in the manner of Elastic's: most name two
// operations of a kind of resource, some a word of the audit log.
func benchLiterals(n int) (lits []scan.Literal) {
	lits = append(lits, scan.Literal{Text: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"})
	providers := []string{"KEYVAULT/VAULTS", "STORAGE/STORAGEACCOUNTS", "AUTHORIZATION", "COMPUTE", "EVENTHUB/NAMESPACES", "AUTOMATION", "NETWORK", "INSIGHTS"}
	words := []string{"kube-hunter", "deletecollection", "eviction", "impersonate", "ephemeralcontainers", "certificatesigningrequests"}
	syllables := []string{"BA", "CRE", "DEN", "FIR", "GA", "HOL", "JUN", "KAL", "LOR", "MIN", "NUR", "POL", "QUE", "RUL", "SNAP", "TOR", "VUL", "WEB", "XEN", "ZON"}
	for i := 1; i < n; i++ {
		if i%8 == 7 {
			lits = append(lits, scan.Literal{Text: words[i/8%len(words)], Whole: true})
			continue
		}
		kind := ""
		for k, seed := 0, i*7919; k < 5; k, seed = k+1, seed/7 {
			kind += syllables[seed%len(syllables)]
		}
		name := "MICROSOFT." + providers[i%8] + "/" + kind + "/"
		lits = append(lits, scan.Literal{Text: name + "WRITE"}, scan.Literal{Text: name + "DELETE"})
	}
	return lits
}

// BenchmarkPeakMemory reports how far the process grows over one body, against
// the size of the body. Bodies come from a reader that takes no memory.
func BenchmarkPeakMemory(b *testing.B) {
	for _, nth := range []int{0, 1000, 100, 10} {
		b.Run(fmt.Sprintf("nth=%d", nth), func(b *testing.B) {
			body := batch(b, "kube-audit", 32<<20, nth)
			handler := newBenchHandler(b)
			for b.Loop() {
				runtime.GC()
				before := resident(b)
				stop, peak := make(chan struct{}), make(chan int64)
				go func() {
					most := int64(0)
					for {
						select {
						case <-stop:
							peak <- most
							return
						default:
							most = max(most, resident(b))
							runtime.Gosched()
						}
					}
				}()
				r := httptest.NewRequest(http.MethodPost, "/Detect", io.MultiReader(bytes.NewReader(body)))
				r.Header.Set("Content-Type", "application/json")
				handler.ServeHTTP(httptest.NewRecorder(), r)
				close(stop)
				b.ReportMetric(float64(<-peak-before)/float64(len(body)), "peak/body")
			}
		})
	}
}

// resident is the memory of the process in bytes.
func resident(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("only Linux tells how large a process is")
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
