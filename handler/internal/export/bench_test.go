package export_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"podwatch/handler/internal/export"
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

func BenchmarkSplit(b *testing.B) {
	sound := kubeAudit(700) // about 1 MiB
	bad := bytes.Replace(sound, []byte(`"stream":"stdout"`), []byte("\"stream\":\"std\nout\""), 1)
	cut := sound[:len(sound)-500]
	for _, test := range []struct {
		name string
		body []byte
		want func([]byte) bool
	}{
		{"body=sound/want=all", sound, nil},
		{"body=sound/want=none", sound, func([]byte) bool { return false }},
		{"body=one-bad-record/want=all", bad, nil},
		{"body=cut/want=all", cut, nil},
	} {
		b.Run(test.name, func(b *testing.B) {
			var r export.Result
			b.SetBytes(int64(len(test.body)))
			b.ReportAllocs()
			for b.Loop() {
				r.Split(test.body, export.Limits{Want: test.want})
			}
			if len(r.Records)+r.Passed < 699 {
				b.Fatalf("got %d records", len(r.Records))
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
