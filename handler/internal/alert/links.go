package alert

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"podwatch/handler/internal/arm"
)

// A Portal makes links to the pages of the Azure portal.
type Portal struct {
	Base      string // https://portal.azure.com
	Workspace string // resource id of the Log Analytics workspace; empty: no query link
}

// Compiled when the first alert asks: the counts in them make them large, and a start
// would pay for them.
var (
	clusterID = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)^/subscriptions/[0-9a-f-]{36}/resourcegroups/[\w.()-]{1,90}/providers/microsoft\.(kubernetes/connectedclusters|containerservice/(managedclusters|fleets))/[\w-]{1,63}$`)
	})
	upn = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}$`)
	})
)

// Links makes the links of an alert. A link is left out when an identifier that
// it needs is missing or does not look like one: no other text of a record gets
// into a URL.
func (p Portal) Links(a *Alert) Links {
	var links Links
	if clusterID().MatchString(a.ClusterId) {
		links.Cluster = p.Base + "/#resource" + a.ClusterId + "/overview"
	}
	if isGUID(a.SubscriptionId) {
		links.ActivityLog = p.activityLog(a)
	}
	if p.Workspace != "" {
		links.Query = p.query(a)
	}
	return links
}

// isGUID reports whether an id is a GUID as Azure writes it.
func isGUID(id string) bool {
	guid, ok := arm.ParseGUID(id)
	return ok && strings.EqualFold(id, guid)
}

// An activityQuery is what the portal's page of the activity log is asked.
type activityQuery struct {
	Caller        string   `json:"caller,omitempty"`
	EndTime       string   `json:"endTime"`
	StartTime     string   `json:"startTime"`
	Subscriptions []string `json:"subscriptions"`
	TimeSpan      string   `json:"timeSpan"`
	Top           int      `json:"top"`
}

// activityLog opens the activity log of the subscription around the event, of
// the caller where it is named by an identifier.
func (p Portal) activityLog(a *Alert) string {
	const before, after = 25 * time.Minute, 10 * time.Minute
	query := activityQuery{
		Subscriptions: []string{a.SubscriptionId}, TimeSpan: "5", Top: 1000,
		StartTime: a.EventTime.Add(-before).UTC().Format(time.RFC3339), EndTime: a.EventTime.Add(after).UTC().Format(time.RFC3339),
	}
	switch {
	case upn().MatchString(a.CallerName):
		query.Caller = a.CallerName
	case isGUID(a.CallerId):
		query.Caller = a.CallerId
	}
	text, _ := json.Marshal(map[string]activityQuery{"query": query}) // text, a number and a list of text
	return p.Base + "/#blade/Microsoft_Azure_ActivityLog/ActivityLogBlade/queryInputs/" + url.PathEscape(string(text))
}

// query opens Log Analytics with all that this caller is on record for on the
// day. The alert's own id is the only value in it.
func (p Portal) query(a *Alert) string {
	text := "let alert = PodwatchAlerts_CL | where AlertId == '" + a.AlertId + "' | take 1;\n" +
		"PodwatchAlerts_CL\n" +
		"| where CallerId in ((alert | project CallerId)) or ClusterId in ((alert | project ClusterId))\n" +
		"| where EventTime between (datetime_add('hour', -24, toscalar(alert | project EventTime)) .. 48h)\n" +
		"| summarize arg_max(TimeGenerated, *) by AlertId\n" +
		"| order by EventTime asc"
	return p.Base + "/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/resourceId/" + url.PathEscape(p.Workspace) +
		"/source/LogsBlade.AnalyticsShareLinkToQuery/query/" + url.PathEscape(text)
}
