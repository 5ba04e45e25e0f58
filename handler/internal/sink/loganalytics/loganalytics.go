// Package loganalytics writes alerts as rows of a Log Analytics table, through
// the Logs Ingestion API.
//
// A row is an alert's JSON. Rows go out in chunks below the service's limit,
// which counts the uncompressed bytes; what becomes of a chunk becomes of each
// of its alerts. Accepted means that the service answered 204: it stores the row
// later, and what it cannot store shows only in the table DCRLogErrors.
//
// Tries and waits are those of package sink.
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
	"regexp"

	"github.com/google/uuid"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink"
)

const (
	apiVersion = "2023-01-01"

	// maxChunk is the most bytes of one call, before compression. The service
	// counts 1 MB for both, and says nowhere whether that is a mebibyte.
	maxChunk = 1_000_000

	// maxField is where the service cuts a value without saying so.
	maxField = 64 << 10
)

// A Sink writes to one stream of one data collection rule. It is safe for
// concurrent use.
type Sink struct {
	url      string
	client   *sink.Client
	maxChunk int
}

// New returns the sink for a stream of the data collection rule with the given
// immutable id, at the ingestion endpoint that the rule names. It does no I/O.
func New(endpoint outbound.Endpoint, token outbound.Token, ruleID, stream string, o sink.Options) (*Sink, error) {
	for _, name := range []struct{ what, value string }{{"rule id", ruleID}, {"stream", stream}} {
		if !plainName.MatchString(name.value) {
			return nil, fmt.Errorf("log analytics %s %q: want letters, digits, hyphens and underscores", name.what, name.value)
		}
	}
	return &Sink{
		url:      endpoint.URL("dataCollectionRules/"+ruleID+"/streams/"+stream, url.Values{"api-version": {apiVersion}}),
		client:   sink.NewClient(Name, "Log Analytics", endpoint, token, o),
		maxChunk: maxChunk,
	}, nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Name is the name of the sink in errors, logs and the ledger.
const Name = "loganalytics"

// Name returns "loganalytics".
func (s *Sink) Name() string { return Name }

// Deliver writes a row for each alert. It returns nil when all were accepted,
// else one entry per alert. After a failure that is not the rows' own the
// remaining chunks are not tried: the service is down or busy.
func (s *Sink) Deliver(ctx context.Context, alerts []*alert.Alert) []error {
	outcome := make([]error, len(alerts))
	chunks := s.chunks(alerts, outcome)
	var down error
	for _, c := range chunks {
		if down == nil {
			down = s.deliver(ctx, c, outcome)
			continue
		}
		c.fail(outcome, down)
	}
	for _, err := range outcome {
		if err != nil {
			return outcome
		}
	}
	return nil
}

// deliver sends one chunk and enters what became of it. It returns the error if
// other chunks need not be tried.
func (s *Sink) deliver(ctx context.Context, c chunk, outcome []error) error {
	err := s.send(ctx, c)
	var e *sink.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Status == http.StatusRequestEntityTooLarge && len(c.rows) > 1:
		// The limit is not what it was; half as much may do.
		half := len(c.rows) / 2
		first, second := chunk{c.rows[:half], c.of[:half]}, chunk{c.rows[half:], c.of[half:]}
		if down := s.deliver(ctx, first, outcome); down != nil {
			second.fail(outcome, down)
			return down
		}
		return s.deliver(ctx, second, outcome)
	}
	c.fail(outcome, err)
	if errors.As(err, &e) && !e.Retryable {
		return nil
	}
	return err
}

// send makes the delivery of one chunk.
func (s *Sink) send(ctx context.Context, c chunk) error {
	body, err := c.compressed()
	if err != nil {
		return s.client.Fail(fmt.Errorf("compress rows: %w", err))
	}
	id := uuid.NewString()
	// The id is the same for each try, so that support can recognise a repeat.
	err = s.client.Do(ctx, func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Encoding", "gzip")
		r.Header.Set("x-ms-client-request-id", id)
		return r, nil
	})
	var e *sink.Error
	if errors.As(err, &e) {
		e.Err = fmt.Errorf("%w (request %s)", e.Err, id)
	}
	return err
}

// A chunk is the rows of one call.
type chunk struct {
	rows [][]byte
	of   []int // of[i] is the alert that rows[i] is
}

// fail enters the error for each alert of the chunk.
func (c chunk) fail(outcome []error, err error) {
	for _, i := range c.of {
		outcome[i] = err
	}
}

// compressed returns the rows as a JSON array, gzipped. It is an array for one
// row, too: the service answers 204 to an object and forgets it.
func (c chunk) compressed() ([]byte, error) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	separator := []byte{'['}
	for _, row := range c.rows {
		if _, err := w.Write(separator); err != nil {
			return nil, err
		}
		if _, err := w.Write(row); err != nil {
			return nil, err
		}
		separator = []byte{','}
	}
	if _, err := w.Write([]byte{']'}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// chunks puts the alerts' rows into as few calls as fit, in order. A row that
// the service would cut or refuse is an error of its alert at once.
func (s *Sink) chunks(alerts []*alert.Alert, outcome []error) []chunk {
	var chunks []chunk
	size := 0
	for i, a := range alerts {
		row := a.JSON()
		if err := s.check(row); err != nil {
			outcome[i] = s.client.Fail(fmt.Errorf("alert %q: %w", a.AlertId, err))
			continue
		}
		// A row costs itself and a comma or bracket, and the last bracket.
		if len(chunks) == 0 || size+len(row)+1 > s.maxChunk {
			chunks = append(chunks, chunk{})
			size = len("]")
		}
		size += len(row) + 1
		last := &chunks[len(chunks)-1]
		last.rows, last.of = append(last.rows, row), append(last.of, i)
	}
	return chunks
}

// check reports a row that would not arrive whole. An alert is bounded to less,
// so this is about mistakes to come.
func (s *Sink) check(row []byte) error {
	if len(row)+len("[]") > s.maxChunk {
		return fmt.Errorf("the row has %d bytes, more than a call can have", len(row))
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
			return fmt.Errorf("column %s has %d bytes; Log Analytics would cut it at %d without a word", name, len(value), maxField)
		}
	}
	return nil
}
