package deployment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
)

// The queries. %s is the name of the app or the correlation id of a deletion, neither
// of which can hold a quote.
const (
	queryRuns = `AppTraces | where AppRoleName =~ "%s" and Message startswith "{" and Message has_any ("listening", "Heartbeat") | extend Line = parse_json(Message)
| where isnotempty(Line.version) | top 1 by TimeGenerated
| project At = TimeGenerated, Version = tostring(Line.version), Rules = tostring(Line.rules)`
	queryHeartbeat = `AppRequests | where AppRoleName =~ "%s" and Name == "Heartbeat" | summarize At = maxif(TimeGenerated, Success == true), Tried = max(TimeGenerated)`
	queryErrors    = `AppTraces | where AppRoleName =~ "%s" and TimeGenerated > ago(1h) and Message startswith "{" | extend Line = parse_json(Message)
| where tostring(Line.level) == "ERROR" | top 1 by TimeGenerated | project At = TimeGenerated, Message`
	queryRefused = `DCRLogErrors | where TimeGenerated > ago(1h) | top 1 by TimeGenerated | project At = TimeGenerated, Message`
	queryRow     = `PodwatchAlerts_CL | where CorrelationId == "%s" | top 1 by TimeGenerated
| project At = TimeGenerated, AlertId, Version = PodwatchVersion, Suppressed = iff(Suppressed == true, "yes", ""), SuppressedBy`
)

// query runs a query over the workspace's last days and returns its first row by
// column, or nil. Values that are not text are "".
func (d *Deployment) query(ctx context.Context, text string, args ...any) (map[string]string, error) {
	if d.Workspace == "" {
		return nil, errors.New("the resource group has no Log Analytics workspace")
	}
	var answer struct {
		Tables []struct {
			Columns []struct{ Name string }
			Rows    [][]any
		}
		Error *struct{ Message string } // of a partial answer
	}
	q := url.Values{"query": {fmt.Sprintf(text, args...)}, "timespan": {"P30D"}}
	err := d.c.Get(ctx, d.Workspace+"/providers/microsoft.insights/logs", apiLogs, q, &answer)
	if err == nil && answer.Error != nil {
		err = &azure.Error{What: "query the workspace", Status: 503, Message: "only a part was answered: " + answer.Error.Message}
	}
	if err != nil || len(answer.Tables) == 0 || len(answer.Tables[0].Rows) == 0 {
		return nil, err
	}
	row := map[string]string{}
	for i, column := range answer.Tables[0].Columns {
		if i < len(answer.Tables[0].Rows[0]) {
			row[column.Name], _ = answer.Tables[0].Rows[0][i].(string)
		}
	}
	return row, nil
}

var missingTable = regexp.MustCompile(`SEM0100[\s\S]*named '(AppTraces|AppRequests|DCRLogErrors|PodwatchAlerts_CL)'`)

// noTable reports that a table does not exist so far, which is no failure: Azure
// creates it with the first row. A column that does not exist has the same code.
func noTable(err error) bool {
	var e *azure.Error
	return errors.As(err, &e) && e.Status == http.StatusBadRequest && missingTable.MatchString(e.Text)
}

// Running is the latest log line that names its version: of the start of a handler, or
// of a heartbeat.
type Running struct {
	At             time.Time
	Version, Rules string
}

// running returns the zero Running where nothing is known.
func (d *Deployment) running(ctx context.Context) (Running, error) {
	row, err := d.query(ctx, queryRuns, d.AppName())
	if noTable(err) {
		err = nil
	}
	return Running{timeOf(row["At"]), row["Version"], row["Rules"]}, err
}

// timeOf reads a time of a query's answer.
func timeOf(text string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, text) // zero for what is no time
	return t
}
