package logtest

import (
	"encoding/json"
	"time"

	"podwatch/handler/internal/event"
)

// AuditRecord makes the kube-audit record of a cluster that is read as a.
func AuditRecord(cluster string, at time.Time, a event.Audit) []byte {
	log := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": a.ID, "stage": a.Stage, "level": a.Level, "verb": a.Verb,
		"requestURI": a.RequestURI, "userAgent": a.UserAgent, "user": auditUser(a.User), "sourceIPs": a.SourceIPs,
		"objectRef": map[string]any{
			"resource": a.Object.Resource, "subresource": a.Object.Subresource,
			"namespace": a.Object.Namespace, "name": a.Object.Name, "apiGroup": a.Object.APIGroup,
		},
		"responseStatus": map[string]any{"code": a.Code},
	}
	if a.Impersonated != nil {
		log["impersonatedUser"] = auditUser(*a.Impersonated)
	}
	return encode(map[string]any{
		"category": "kube-audit", "resourceId": cluster, "time": at.Format(time.RFC3339Nano),
		"properties": map[string]any{"log": string(encode(log))},
	})
}

func auditUser(u event.AuditUser) map[string]any {
	return map[string]any{"username": u.Name, "uid": u.UID, "groups": u.Groups, "extra": u.Extra}
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of texts
	}
	return text
}
