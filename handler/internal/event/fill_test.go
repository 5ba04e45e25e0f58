package event_test

import (
	"testing"

	"podwatch/handler/internal/event"
)

func TestMissing(t *testing.T) {
	for _, test := range []struct {
		dataset, category, field string
		nearest                  string
		missing                  bool
	}{
		{event.ActivityLogs, "", "event.outcome", "", false},
		{event.ActivityLogs, "", "event", "", false},
		{event.ActivityLogs, "", "source.*", "", false},
		{event.ActivityLogs, "", "azure.activitylogs.properties.anything.at.all", "", false},
		{event.ActivityLogs, "", "azure.signinlogs.properties.app_id", "", true},
		{event.ActivityLogs, "", "cloud.account.id", "", true},
		{event.ActivityLogs, "", "event.outcom", "event.outcome", true},
		{event.PlatformLogs, "", "source.ip", "", false},
		{event.PlatformLogs, "StorageRead", "source.ip", "", false},
		{event.PlatformLogs, "kube-audit", "source.ip", "", true},
		{event.PlatformLogs, "kube-audit", "source", "", true},
		{event.PlatformLogs, "kube-audit", "azure.platformlogs.properties.log.verb", "", false},
		{event.SignInLogs, "", "azure.signinlogs.properties.app_id", "", false},
		{event.SignInLogs, "", "azure.signinlogs.properties.appid", "azure.signinlogs.properties.app_id", true},
		{event.SignInLogs, "", "azure.signinlogs.properties.brand_new_thing", "", false},
		{event.EntraAudit, "", "azure.auditlogs.properties.target_resources.0.type", "", false},
		{event.EntraAudit, "", "user_agent.original", "", true},
		{"", "", "user.email", "", false},
		{"", "", "user.roles", "", true},
	} {
		nearest, missing := event.Missing(test.dataset, test.category, test.field)
		if missing != test.missing || nearest != test.nearest {
			t.Errorf("%s %s %s: missing is %t, nearest %q; want %t, %q", test.dataset, test.category, test.field, missing, nearest, test.missing, test.nearest)
		}
	}
}
