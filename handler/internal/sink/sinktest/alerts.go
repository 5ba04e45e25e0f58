// Package sinktest has alerts for the tests of sinks. Only tests import it.
package sinktest

import (
	"encoding/json"
	"fmt"
	"time"

	"podwatch/handler/internal/alert"
)

// Alerts returns n alerts as the handler makes them: one user deletes n pods of
// one cluster, a second apart.
func Alerts(n int) []*alert.Alert {
	alerts := make([]*alert.Alert, n)
	for i := range alerts {
		alerts[i] = Alert(i)
	}
	return alerts
}

// Alert returns the ith alert of [Alerts].
func Alert(i int) *alert.Alert {
	const subscription = "9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703"
	cluster := "/subscriptions/" + subscription + "/resourceGroups/rg-edge-prod/providers/Microsoft.Kubernetes/connectedClusters/arc-plant-07"
	at := time.Date(2026, 11, 9, 8, 14, 22, 531048100, time.UTC).Add(time.Duration(i) * time.Second)
	pod := fmt.Sprintf("scanner-6f9c7d8b54-%05d", i)
	resource := cluster + "/namespaces/line-control/pods/" + pod
	return &alert.Alert{
		TimeGenerated:  at.Add(90 * time.Second),
		AlertId:        fmt.Sprintf("a1b2c3d4e5f60718293a4b5c6d7e%04x", i),
		RuleId:         "83a1931d-8136-46fc-b7b9-2db4f639e014",
		RuleName:       "Azure Kubernetes Pods Deleted",
		Severity:       "medium",
		RiskScore:      47,
		Tactics:        []string{"TA0040 Impact"},
		EventTime:      at,
		Source:         "azure.activitylogs",
		Operation:      "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",
		Outcome:        "Success",
		ResourceId:     resource,
		ClusterId:      cluster,
		ClusterName:    "arc-plant-07",
		ClusterKind:    "arc",
		SubscriptionId: subscription,
		ResourceGroup:  "rg-edge-prod",
		Namespace:      "line-control",
		Pod:            pod,
		DeletionKind:   "delete",
		CallerKind:     "user",
		CallerName:     "dana.ortiz@example.com",
		CallerId:       "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2",
		CallerAppId:    "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
		CallerAppName:  "Microsoft Azure CLI",
		CallerIp:       "203.0.113.24",
		CallerRole:     "Azure Arc Kubernetes Writer",
		CorrelationId:  "d7b0c5a2-61f4-4e8b-9a3d-2c5f7e9b1a04",
		Event:          json.RawMessage(`{"category":"Delete","operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE","resultType":"Success"}`),
	}
}
