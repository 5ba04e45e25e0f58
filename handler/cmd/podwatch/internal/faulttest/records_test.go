package faulttest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
)

// A deletion is one pod that somebody deleted, as the export tells it.
type deletion struct {
	pod     string
	records []string // the same deletion as each diagnostic setting exports it
	alertID string
}

var began = time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)

type object = map[string]any

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings
	}
	return string(b)
}

// kubeDeletion is a deletion on an AKS cluster, once as kube-audit and once as
// kube-audit-admin.
func kubeDeletion(t testing.TB, pod, who, cluster string, n int) deletion {
	d := deletion{pod: pod, records: kubeRecords(pod, who, cluster, n)}
	d.alertID = alertOf(t, d.records[0])
	return d
}

func kubeRecords(pod, who, cluster string, n int, groups ...string) (records []string) {
	agent := "kubectl/v1.31.2"
	if len(groups) > 0 {
		agent = "kube-controller-manager/v1.31.2"
	}
	at := began.Add(time.Duration(n) * time.Second).Format(time.RFC3339Nano)
	log := text(object{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "audit-of-" + pod,
		"stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/shop/pods/" + pod, "verb": "delete",
		"user":      object{"username": who, "groups": append(groups, "system:authenticated")},
		"sourceIPs": []string{"203.0.113.24"}, "userAgent": agent,
		"objectRef":      object{"resource": "pods", "namespace": "shop", "name": pod, "apiVersion": "v1"},
		"responseStatus": object{"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
	})
	for _, category := range []string{"kube-audit", "kube-audit-admin"} {
		records = append(records, text(object{
			"category": category, "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
			"properties": object{"log": log + "\n", "pod": "kube-apiserver-0", "stream": "stdout"},
			"resourceId": "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/" + cluster,
			"time":       at,
		}))
	}
	return records
}

// arcDeletion is a deletion through Azure, as the activity log has it.
func arcDeletion(t testing.TB, pod, who, cluster string, n int) deletion {
	id := "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg/providers/Microsoft.Kubernetes/connectedClusters/" + cluster + "/namespaces/shop/pods/" + pod
	record := text(object{
		"time": began.Add(time.Duration(n) * time.Second).Format(time.RFC3339Nano), "resourceId": id, "category": "Delete",
		"operationName": "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", "resultType": "Success", "resultSignature": "Succeeded.OK",
		"callerIpAddress": "203.0.113.24", "correlationId": "correlation-of-" + pod, "level": "Information",
		"identity": object{"claims": object{
			"idtyp": "user", "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "name": who,
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": who,
		}},
		"properties": object{"statusCode": "OK", "entity": id},
	})
	return deletion{pod: pod, records: []string{record}, alertID: alertOf(t, record)}
}

// routineDeletion is one of Kubernetes' own: nobody is to hear of it.
func routineDeletion(pod string) string {
	return kubeRecords(pod, "system:serviceaccount:kube-system:replicaset-controller", "AKS-ROUTINE", 0,
		"system:serviceaccounts", "system:serviceaccounts:kube-system")[0]
}

var builtIn = sync.OnceValues(func() (*rule.Set, error) {
	set, _, err := rule.Load(rule.BuiltIn())
	return set, err
})

// alertOf returns the id of the one alert that a record makes.
func alertOf(t testing.TB, record string) string {
	t.Helper()
	set, err := builtIn()
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.Read([]byte(record), 0)
	if err != nil {
		t.Fatal(err)
	}
	matches := set.Match(nil, ev)
	if len(matches) != 1 {
		t.Fatalf("%d matches, want one for %s", len(matches), record)
	}
	return alert.ID(matches[0].Rule.ID, ev)
}

// body is a message: records in the envelope of the export.
func body(records ...string) string {
	raw := make([]json.RawMessage, len(records))
	for i, r := range records {
		raw[i] = json.RawMessage(r)
	}
	return text(object{"records": raw})
}

// podNames gives each deletion of a test a name that occurs nowhere else.
func podName(n int) string { return fmt.Sprintf("pod-%03d-x", n) }
