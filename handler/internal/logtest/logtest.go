// Package logtest makes logs for benchmarks and tests, in the shape in which Azure
// exports them: the audit log of a cluster, an activity log, a mix of both, and the
// audit log of a cluster by what happens in one. The same input makes the same log.
package logtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"podwatch/handler/internal/invocation"
)

// Logs are the names of the logs.
var Logs = []string{"kube-audit", "activity", "mix"}

// Shares are how many records of a log may match: every Nth, 0 for none.
var Shares = []struct {
	Name string
	Nth  int
}{{"0%", 0}, {"0.1%", 1000}, {"1%", 100}, {"10%", 10}}

// PodsDeleted is the operation of the activity log's deletions.
const PodsDeleted = "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"

// A Load describes an invocation of Detect.
type Load struct {
	Log     string // one of Logs, or Cluster
	Size    int    // bytes of the invocation, about
	Nth     int    // every nth record is the deletion of a pod that a built-in rule matches; 0 for none
	Routine int    // of 20 deletions in an audit log, those that are routine
	Cut     int    // every nth record that is no deletion of a Cluster has a text that is cut at 16 KiB; 0 for none
	Records int    // in a message; 0 for 46
	Bare    bool   // without the metadata that the host adds
}

// Batch makes an invocation of a log, of which every nth record is a deletion by a
// person; 0 for none.
func Batch(log string, size, nth int) []byte {
	body, _ := Load{Log: log, Size: size, Nth: nth}.Invocation()
	return body
}

// Invocation makes the invocation, and returns how many of its records match.
func (l Load) Invocation() (body []byte, matches int) {
	in := invocation.Messages{Function: "Detect", Binding: "events",
		Partition: invocation.Partition{Namespace: "demo", Hub: "logs", ConsumerGroup: "podwatch", ID: "0"}}
	count, total := 0, 0
	for total < l.Size {
		var records []string
		for range cmp.Or(l.Records, 46) {
			if l.Nth > 0 && count%l.Nth == l.Nth/2 {
				records = append(records, l.deletion(count, matches))
				matches++
			} else {
				records = append(records, l.other(count))
			}
			count++
		}
		message := `{"records":[` + strings.Join(records, ",") + `]}`
		total += len(message) + 3*(strings.Count(message, `"`)+strings.Count(message, `\`)) // quoted twice
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(message), Sequence: int64(len(in.Messages)), Offset: "1"})
	}
	body = invocation.EncodeEvents(in)
	if l.Bare {
		body = append(body[:bytes.LastIndex(body, []byte(`"Metadata":`))], `"Metadata":{}}`...)
	}
	return body, matches
}

// deletion is record i, the nth that matches.
func (l Load) deletion(i, nth int) string {
	if l.Log != "activity" && nth%20 < l.Routine {
		return routineRecord(i)
	}
	return Record(l.Log, i, true)
}

func (l Load) other(i int) string {
	switch {
	case l.Log == Cluster && l.Cut > 0 && i%l.Cut == 0:
		return cutRecord(i)
	case l.Log == Cluster:
		return clusterRecord(i)
	}
	return Record(l.Log, i, false)
}

// Record is the i-th record of a log; a deletion in a Cluster is one in kube-audit.
func Record(log string, i int, matches bool) string {
	const subscription = "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-PROD/PROVIDERS/"
	if log == "mix" {
		log = []string{"kube-audit", "kube-audit", "kube-audit", "activity"}[i%4]
	}
	if log == "activity" {
		operation := []string{"MICROSOFT.COMPUTE/VIRTUALMACHINESCALESETS/WRITE", "MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/WRITE"}[i%3]
		if matches {
			operation = PodsDeleted
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

// Records returns the records of the message body in a file, which may be one
// record without a wrapper.
func Records(t testing.TB, file string) []json.RawMessage {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var wrapper struct{ Records []json.RawMessage }
	if err := json.Unmarshal(body, &wrapper); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if wrapper.Records == nil {
		return []json.RawMessage{body}
	}
	return wrapper.Records
}

// Gzip returns text packed by gzip.
func Gzip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // into memory
	_ = w.Close()
	return b.String()
}
