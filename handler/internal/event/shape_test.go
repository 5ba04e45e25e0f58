package event_test

import (
	"encoding/json"
	"testing"

	"podwatch/handler/internal/event"
)

// What other forms of a record have in common with the export.
func TestOtherShapesAreReadAsTheExport(t *testing.T) {
	t.Parallel()
	const (
		operation = "Microsoft.Kubernetes/connectedClusters/pods/delete"
		pod       = "/subscriptions/4c0f7a5e-91d2-4b63-8e17-2a6d3f80b9c4/resourcegroups/rg/providers/microsoft.kubernetes/connectedclusters/arc/namespaces/ns/pods/belt-0"
		who       = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"
	)
	tests := map[string]string{
		"the REST API and az monitor activity-log list": `{"authorization":{"action":"` + operation + `","scope":"` + pod + `"},"caller":"dana@example.com",
			"category":{"value":"Administrative","localizedValue":"Administrative"},"claims":{"` + who + `":"dana@example.com"},"correlationId":"c1","eventTimestamp":"2026-11-20T09:40:12Z",
			"httpRequest":{"clientIpAddress":"203.0.113.77"},"operationName":{"value":"` + operation + `","localizedValue":"Delete pods"},"properties":null,"resourceId":"` + pod + `",
			"status":{"value":"Succeeded"},"subStatus":{"value":""}}`,
		"an alert of the common schema": `{"authorization":{"scope":"` + pod + `"},"claims":"{\"` + who + `\":\"dana@example.com\"}","correlationId":"c1","eventSource":"Administrative",
			"eventTimestamp":"2026-11-20T09:40:12+00:00","httpRequest":"{\"clientIpAddress\":\"203.0.113.77\"}","operationName":"` + operation + `","status":"Succeeded"}`,
		"an event of Event Grid": `{"id":"1","subject":"` + pod + `","eventType":"Microsoft.Resources.ResourceDeleteSuccess","eventTime":"2026-11-20T09:40:12Z","data":{
			"claims":{"` + who + `":"dana@example.com"},"correlationId":"c1","httpRequest":{"clientIpAddress":"203.0.113.77"},"operationName":"` + operation + `","status":"Succeeded"}}`,
		"the same as a CloudEvent": `{"specversion":"1.0","subject":"` + pod + `","type":"Microsoft.Resources.ResourceDeleteSuccess","time":"2026-11-20T09:40:12Z","data":{
			"claims":{"` + who + `":"dana@example.com"},"correlationId":"c1","httpRequest":{"clientIpAddress":"203.0.113.77"},"operationName":"` + operation + `","status":"Succeeded"}}`,
		"a row of its table's older columns": `{"TenantId":"7e2d1c3b-0000-4000-8000-000000000001","TimeGenerated":"2026-11-20T09:40:12Z","OperationName":"` + operation + `",
			"ActivityStatus":"Succeeded","Caller":"dana@example.com","CallerIpAddress":"203.0.113.77","Category":"Administrative","CorrelationId":"c1","ResourceId":"` + pod + `"}`,
		"a row of AzureActivity": `{"Type":"AzureActivity","TenantId":"7e2d1c3b-0000-4000-8000-000000000001","TimeGenerated":"2026-11-20T09:40:12Z","OperationNameValue":"` + operation + `",
			"ActivityStatusValue":"Success","Caller":"dana@example.com","CallerIpAddress":"203.0.113.77","CategoryValue":"Administrative","CorrelationId":"c1","_ResourceId":"` + pod + `"}`,
	}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev := parse(t, record)
			for field, want := range map[string]string{
				"data_stream.dataset": event.ActivityLogs, "azure.activitylogs.operation_name": operation, "event.outcome": "success",
				"azure.activitylogs.category": "Administrative", "azure.correlation_id": "c1", "source.ip": "203.0.113.77", "azure.resource.id": pod,
				"azure.activitylogs.identity.claims.http://schemas_xmlsoap_org/ws/2005/05/identity/claims/upn": "dana@example.com",
			} {
				if got, _ := ev.Lookup(field); got != want {
					t.Errorf("%s is %v, want %v", field, got, want)
				}
			}
			if ev.Time().Unix() != 1795167612 || ev.Resource().Pod != "belt-0" || ev.TenantID() != "" {
				t.Errorf("time %v, resource %+v, tenant %q", ev.Time(), ev.Resource(), ev.TenantID())
			}
			if string(ev.Raw()) != record {
				t.Error("Raw is not what was received")
			}
		})
	}
}

func TestAuditEventsInOtherColumns(t *testing.T) {
	t.Parallel()
	log := auditLog(t, "kube-delete-202.json")
	text, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"alone":                         log,
		"in a list of its own":          `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + log + `]}`,
		"at the top of a record":        `{"category":"kube-audit","time":"2026-11-20T09:31:15Z","log":` + string(text) + `}`,
		"as Fluent Bit writes it":       `{"date":1795167075.1,"log":` + string(text) + `}`,
		"as an object":                  `{"@timestamp":"2026-11-20T09:31:15Z","message":` + log + `}`,
		"under another property":        `{"category":"kube-audit","time":"2026-11-20T09:31:15Z","properties":{"message":` + string(text) + `}}`,
		"in a row of AzureDiagnostics":  `{"Type":"AzureDiagnostics","TimeGenerated":"2026-11-20T09:31:15Z","Category":"kube-audit","log_s":` + string(text) + `}`,
		"in the properties themselves":  `{"category":"kube-audit","time":"2026-11-20T09:31:15Z","properties":` + log + `}`,
		"in those of another category":  `{"category":"audit","time":"2026-11-20T09:31:15Z","properties":` + log + `}`,
		"in a row without its table":    `{"TimeGenerated":"2026-11-20T09:31:15Z","Category":"kube-audit","log_s":` + string(text) + `}`,
		"in a row of another table":     `{"Type":"Audit_CL","TimeGenerated":"2026-11-20T09:31:15Z","RawData":` + string(text) + `}`,
		"in a row's additional fields":  `{"Type":"AzureDiagnostics","TimeGenerated":"2026-11-20T09:31:15Z","Category":"kube-audit","AdditionalFields":{"log":` + string(text) + `}}`,
		"under a category of its own":   `{"category":"audit","time":"2026-11-20T09:31:15Z","properties":{"log":` + string(text) + `}}`,
		"under a category with a blank": `{"category":" Kube-Audit ","time":"2026-11-20T09:31:15Z","properties":{"log":` + string(text) + `}}`,
	}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev := parse(t, record)
			if ev.Dataset() != event.PlatformLogs || verbOf(ev) != "delete" || ev.Cut() != event.Whole || ev.Time().IsZero() {
				t.Errorf("data set %q, audit %+v, cut %d, time %v", ev.Dataset(), ev.Audit(), ev.Cut(), ev.Time())
			}
		})
	}
}
