package export_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// kubeAudit is a body of n kube-audit records, each with its own JSON text.
func kubeAudit(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"records":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		log := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"5d2a9c34-7e18-4b60-8f4d-%012d","stage":"ResponseComplete","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/aks-nodepool1-%d?timeout=10s","verb":"get","user":{"username":"system:node:aks-nodepool1","groups":["system:nodes","system:authenticated"]},"sourceIPs":["10.224.0.4"],"userAgent":"kubelet/v1.30.3 (linux/amd64) kubernetes/d8c6a56","objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"aks-nodepool1","apiGroup":"coordination.k8s.io","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-09T08:14:22.531048Z","stageTimestamp":"2026-11-09T08:14:22.541048Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`, i, i%7)
		fmt.Fprintf(&b, `{"category":"kube-audit","ccpNamespace":"64f0c1b52d6d0a0001","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":%s,"stream":"stdout","pod":"kube-apiserver-6f9c7d8b54-k2x9p"},"resourceId":"/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-PROD/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-PROD","serviceBuild":"na","time":"2026-11-09T08:14:22.5410480Z"}`, quote(log))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkPieces(b *testing.B) {
	sound := kubeAudit(700) // about 1 MiB
	bad := bytes.Replace(sound, []byte(`"stream":"stdout"`), []byte("\"stream\":\"std\nout\""), 1)
	cut := sound[:len(sound)-500]
	for _, test := range []struct {
		name string
		body []byte
	}{{"body=sound", sound}, {"body=one-bad-record", bad}, {"body=cut", cut}} {
		b.Run(test.name, func(b *testing.B) {
			b.SetBytes(int64(len(test.body)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				for range export.Pieces(test.body) {
					n++
				}
			}
			if n < 699 {
				b.Fatalf("got %d pieces", n)
			}
		})
	}
}

// BenchmarkAround finds the record around a position in the middle of it, as the
// host quotes it.
func BenchmarkAround(b *testing.B) {
	for _, size := range []int{0, 8 << 10, 18 << 10} {
		body := bytes.ReplaceAll(kubeAudit(20), []byte(`\"code\":200`), []byte(`\"code\":200,\"message\":\"`+strings.Repeat(`some [{\\\"text\\\"}] `, size/22)+`\"`))
		text := jsontext.Text{Raw: body}
		for range 2 {
			q := jsontext.AppendQuote(nil, text.Raw)
			text = jsontext.Text{Raw: q[1 : len(q)-1], Depth: text.Depth + 1}
		}
		pos := bytes.Index(text.Raw[len(text.Raw)/2:], []byte(`objectRef`)) + len(text.Raw)/2
		b.Run(fmt.Sprintf("record=%d", len(body)/20), func(b *testing.B) {
			b.SetBytes(int64(len(text.Raw) / 20))
			b.ReportAllocs()
			for b.Loop() {
				found := false
				for range export.Around(text, pos) {
					found = true
					break
				}
				if !found {
					b.Fatal("nothing")
				}
			}
		})
	}
}

// The yardsticks: what the standard library needs to find the same records, and
// only to say that the body is well-formed.
func BenchmarkStandardLibrary(b *testing.B) {
	body := kubeAudit(700)
	b.Run("do=raw-messages", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var wrapper struct{ Records []json.RawMessage }
			if err := json.Unmarshal(body, &wrapper); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("do=valid", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if !json.Valid(body) {
				b.Fatal("not valid")
			}
		}
	})
}
