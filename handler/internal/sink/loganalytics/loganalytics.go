// Package loganalytics writes alerts as rows of a Log Analytics table, through
// the Logs Ingestion API.
//
// A row is an alert's JSON. A request holds as many rows as fit below the
// service's limit, which counts the bytes before compression. Accepted means that
// the service answered 204: it stores the rows later, and what it cannot store
// shows only in the table DCRLogErrors.
//
// A row that is delivered long after its alert was raised has the time of the
// delivery as TimeGenerated, because the service replaces or drops old rows.
package loganalytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
)

const (
	apiVersion = "2023-01-01"

	// maxRequest is the most bytes of one request, before compression. The service
	// counts 1 MB for both, and does not document whether that is a mebibyte.
	maxRequest = 1_000_000

	// maxField is where the service cuts a value silently.
	maxField = 64 << 10

	// maxAge is how old TimeGenerated of a row may be. The service accepts two days,
	// and replaces the time of an older row or drops it after its 204.
	maxAge = 47 * time.Hour
)

// Name is the name of the sink in errors, logs and the ledger.
const Name = "loganalytics"

// A Sink writes to one stream of one data collection rule. It is safe for
// concurrent use.
type Sink struct {
	client *outbound.Client
	url    string
}

// New returns the sink for a stream of the data collection rule with the given
// immutable id, at the ingestion endpoint of the client. It does no I/O.
func New(client *outbound.Client, ruleID, stream string) *Sink {
	return &Sink{client: client, url: client.Endpoint.URL(
		"dataCollectionRules/"+ruleID+"/streams/"+stream, url.Values{"api-version": {apiVersion}})}
}

// Name returns "loganalytics".
func (s *Sink) Name() string { return Name }

// Post writes the first n alerts of the group as rows. Where the service's limit
// is lower than documented, it posts half as many at once.
func (s *Sink) Post(ctx context.Context, g alert.Group) (n int, err error) {
	rows, err := rowsOf(g.Alerts, time.Now())
	if err != nil {
		return 1, err
	}
	for n = len(rows); ; n /= 2 {
		err = s.send(ctx, rows[:n])
		var e *outbound.Error
		if n == 1 || !errors.As(err, &e) || e.Status != http.StatusRequestEntityTooLarge {
			return n, err
		}
	}
}

// rowsOf returns the rows of the first alerts, as many as fit into one request. It
// fails only for the first of them.
func rowsOf(alerts []*alert.Alert, now time.Time) (rows [][]byte, err error) {
	size := len("]")
	for _, a := range alerts {
		row := rowOf(a, now)
		if err := check(row); err != nil {
			if len(rows) == 0 {
				return nil, &outbound.Error{Service: "Log Analytics", Kind: outbound.Rejected, Err: fmt.Errorf("alert %q: %w", a.AlertId, err)}
			}
			break
		}
		// A row costs itself and a comma or bracket.
		if size += len(row) + 1; size > maxRequest && len(rows) > 0 {
			break
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// rowOf returns the row of an alert that is delivered now.
func rowOf(a *alert.Alert, now time.Time) []byte {
	if now.Sub(a.TimeGenerated) <= maxAge {
		return a.JSON()
	}
	late := *a
	late.Notes = slices.Clone(a.Notes)
	late.TimeGenerated = now.UTC()
	late.Note(fmt.Sprintf("podwatch raised this alert at %s and delivered it more than %.0f hours later: TimeGenerated is the time of the delivery",
		a.TimeGenerated.UTC().Format(time.RFC3339), maxAge.Hours()))
	return late.JSON()
}

// check reports a row that would not arrive whole. An alert is bounded to less,
// so this finds mistakes of ours.
func check(row []byte) error {
	if len(row)+len("[]") > maxRequest {
		return fmt.Errorf("the row has %d bytes, more than a request can have", len(row))
	}
	if len(row) <= maxField {
		return nil
	}
	var columns map[string]json.RawMessage
	if err := json.Unmarshal(row, &columns); err != nil {
		return fmt.Errorf("the row is not a JSON object: %w", err)
	}
	for name, value := range columns {
		if len(value) > maxField {
			return fmt.Errorf("column %s has %d bytes; Log Analytics would cut it at %d silently", name, len(value), maxField)
		}
	}
	return nil
}

// send makes one request.
func (s *Sink) send(ctx context.Context, rows [][]byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(compressed(rows)))
	if err != nil {
		return err
	}
	id := uuid.NewString()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("x-ms-client-request-id", id)
	_, err = s.client.Do(r)
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		e.Explain(cures[e.Status])
		e.Explain("request " + id)
	}
	return err
}

// cures are what a person does about a refusal, by status.
var cures = map[int]string{
	http.StatusUnauthorized: "the identity's token is not accepted; check that LOG_ANALYTICS_ENDPOINT is in the cloud and tenant of the app's identity",
	http.StatusForbidden:    "assign the role Monitoring Metrics Publisher on the data collection rule to the app's identity; a new assignment takes up to 30 minutes",
	http.StatusNotFound:     "the data collection rule or its stream does not exist there; check LOG_ANALYTICS_ENDPOINT, LOG_ANALYTICS_RULE_ID and LOG_ANALYTICS_STREAM",
}

// compressed returns the rows as a JSON array, gzipped. It is an array for one
// row, too: the service answers 204 to an object and drops it.
func compressed(rows [][]byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf) // writing to memory does not fail
	separator := []byte{'['}
	for _, row := range rows {
		_, _ = w.Write(separator)
		_, _ = w.Write(row)
		separator = []byte{','}
	}
	_, _ = w.Write([]byte{']'})
	_ = w.Close()
	return buf.Bytes()
}
