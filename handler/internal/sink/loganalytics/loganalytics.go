// Package loganalytics writes alerts as rows of a Log Analytics table, through
// the Logs Ingestion API.
//
// A row is an alert's JSON. A request holds as many rows as fit below the
// service's limit, which counts the bytes before compression. Accepted means that
// the service answered 204: it stores the rows later, and what it cannot store
// shows only in the table DCRLogErrors.
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
	rows, err := rowsOf(g.Alerts)
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
func rowsOf(alerts []*alert.Alert) (rows [][]byte, err error) {
	size := len("]")
	for _, a := range alerts {
		row := a.JSON()
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
	var e *outbound.Error
	switch {
	case !errors.As(err, &e):
	case e.Err == nil:
		e.Err = fmt.Errorf("request %s", id)
	default:
		e.Err = fmt.Errorf("%w (request %s)", e.Err, id)
	}
	return err
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
