package azuretest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var correlation = regexp.MustCompile(`CorrelationId == "([^"]+)"`)

// query answers podwatch's own queries by what they ask for; it is no query language.
func (a *Azure) query(text string) answer {
	stamp := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	table := strings.Fields(text)[0]
	if a.NoTable && table == "PodwatchAlerts_CL" || a.NoTelemetry && strings.HasPrefix(table, "App") {
		return answer{400, object{"error": object{"code": "BadArgumentError", "message": "The request had some invalid properties", "innererror": object{
			"code": "SemanticError", "message": "A semantic error occurred.", "innererror": object{
				"code": "SEM0100", "message": fmt.Sprintf("'where' operator: Failed to resolve table or column expression named '%s'", table)}}}}}
	}
	switch {
	case table == "PodwatchAlerts_CL":
		id := correlation.FindStringSubmatch(text)
		for _, row := range a.Rows {
			if id != nil && row["CorrelationId"] == id[1] {
				suppressed := ""
				if row["Suppressed"] == true {
					suppressed = "yes"
				}
				return rows(object{"At": stamp(a.Now()), "AlertId": row["AlertId"], "Version": row["PodwatchVersion"], "Suppressed": suppressed, "SuppressedBy": row["SuppressedBy"]})
			}
		}
	case table == "AppRequests":
		return rows(object{"At": stamp(a.Beat), "Tried": stamp(a.Beat)})
	case table == "DCRLogErrors" && a.Refused != "":
		return rows(object{"At": stamp(a.Now()), "Message": a.Refused})
	case strings.Contains(text, "Line.version") && a.Running != "":
		return rows(object{"At": stamp(a.Started), "Version": a.Running, "Rules": "6"})
	case strings.Contains(text, `"ERROR"`) && a.Error != "":
		return rows(object{"At": stamp(a.Now()), "Message": a.Error})
	}
	return rows(nil)
}

func rows(row object) answer {
	columns, values := []object{}, []any{}
	for name, value := range row {
		columns, values = append(columns, object{"name": name, "type": "string"}), append(values, value)
	}
	all := [][]any{}
	if row != nil {
		all = append(all, values)
	}
	return answer{200, object{"tables": []object{{"name": "PrimaryResult", "columns": columns, "rows": all}}}}
}

// unzipped reads rows as the ingestion takes them.
func unzipped(r *http.Request, body []byte) (rows []map[string]any, err error) {
	var in io.Reader = bytes.NewReader(body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if in, err = gzip.NewReader(in); err != nil {
			return nil, err
		}
	}
	return rows, json.NewDecoder(in).Decode(&rows)
}
