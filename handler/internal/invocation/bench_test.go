package invocation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"podwatch/handler/internal/invocation"
)

// kubeAudit is a message of n kube-audit records, each with its own JSON text.
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

func kubeAuditInvocation(b *testing.B, e invocation.Encoding) []byte {
	b.Helper()
	batch := invocation.Batch{Binding: "events", Encoding: e, Partition: demo}
	for i := range 10 {
		batch.Messages = append(batch.Messages, invocation.Message{Body: kubeAudit(46), Sequence: int64(i), Offset: "1"})
	}
	body, err := invocation.EncodeEvents(batch)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func BenchmarkParseEvents(b *testing.B) {
	for _, e := range []invocation.Encoding{invocation.ManyString, invocation.ManyUntyped, invocation.ManyBinary} {
		body := kubeAuditInvocation(b, e)
		for _, want := range []string{"all", "none"} {
			b.Run(fmt.Sprintf("encoding=%s/want=%s", strings.ReplaceAll(e.String(), " ", "-"), want), func(b *testing.B) {
				var d invocation.Decoder
				if want == "none" {
					d.Want = func([]byte) bool { return false }
				}
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.Events(body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The yardstick: what the standard library needs for the same messages.
func BenchmarkStandardLibrary(b *testing.B) {
	body := kubeAuditInvocation(b, invocation.ManyString)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var envelope struct{ Data struct{ Events string } }
		if err := json.Unmarshal(body, &envelope); err != nil {
			b.Fatal(err)
		}
		var messages []string
		if err := json.Unmarshal([]byte(envelope.Data.Events), &messages); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSkim(b *testing.B) {
	body := kubeAuditInvocation(b, invocation.ManyString)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := invocation.Skim(body); !ok {
			b.Fatal("not skimmed")
		}
	}
}
