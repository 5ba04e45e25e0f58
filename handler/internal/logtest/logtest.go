// Package logtest makes logs for benchmarks and tests, in the shape in which Azure
// exports them: the audit log of a cluster, an activity log, and a mix of both.
package logtest

import (
	"encoding/json"
	"fmt"
	"strings"

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

// Batch makes an invocation of about size bytes of a log, of which every nth record
// matches a built-in rule; 0 for none.
func Batch(log string, size, nth int) []byte {
	in := invocation.Messages{Function: "Detect", Binding: "events",
		Partition: invocation.Partition{Namespace: "demo", Hub: "logs", ConsumerGroup: "podwatch", ID: "0"}}
	count, total := 0, 0
	for total < size*3/4 { // quoting adds the rest
		var records []string
		for range 46 {
			records = append(records, Record(log, count, nth > 0 && count%nth == nth/2))
			count++
		}
		body := `{"records":[` + strings.Join(records, ",") + `]}`
		total += len(body)
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(body), Sequence: int64(len(in.Messages)), Offset: "1"})
	}
	return invocation.EncodeEvents(in)
}

// Record is the i-th record of a log.
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
