package loganalytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/sink/sinktest"
)

const (
	ruleID = "dcr-0123456789abcdef0123456789abcdef"
	stream = "Custom-PodwatchAlerts"
	secret = "t0ken-PLANTED"
)

func open(t testing.TB, address string, change func(*outbound.Client)) *Sink {
	t.Helper()
	e, err := outbound.ParseService(address)
	if err != nil {
		t.Fatal(err)
	}
	c := &outbound.Client{Service: "Log Analytics", Endpoint: e}
	if change != nil {
		change(c)
	}
	return New(c, ruleID, stream)
}

// A service is the ingestion endpoint. It keeps what it gets.
type service struct {
	t      testing.TB
	status func(ids []string) int // nil: 204
	sizes  []int                  // of bodies, before compression
	rows   []*alert.Alert
	ids    [][]string // alert ids of each request
	heads  []http.Header
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if want := "/dataCollectionRules/" + ruleID + "/streams/" + stream + "?api-version=2023-01-01"; r.Method != http.MethodPost || r.URL.RequestURI() != want {
		s.t.Errorf("request %s %s, want POST %s", r.Method, r.URL.RequestURI(), want)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		s.t.Errorf("the body is not gzip: %v", err)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil {
		s.t.Error(err)
	}
	var rows []*alert.Alert
	if err := json.Unmarshal(body, &rows); err != nil {
		s.t.Errorf("the body is not a JSON array of rows: %v", err)
	}
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.AlertId)
	}
	s.rows = append(s.rows, rows...)
	s.sizes, s.ids, s.heads = append(s.sizes, len(body)), append(s.ids, ids), append(s.heads, r.Header.Clone())
	status := http.StatusNoContent
	if s.status != nil {
		status = s.status(ids)
	}
	w.WriteHeader(status)
}

func serve(t testing.TB, s *service) string {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

func idsOf(alerts []*alert.Alert) []string {
	var ids []string
	for _, a := range alerts {
		ids = append(ids, a.AlertId)
	}
	return ids
}

// TestRequestsAreFullAndBelowTheLimit: each request has as many rows as fit, and
// all of them together are the alerts in order.
func TestRequestsAreFullAndBelowTheLimit(t *testing.T) {
	t.Parallel()
	service := &service{t: t}
	s := open(t, serve(t, service), nil)
	alerts := sinktest.Alerts(60)
	for _, a := range alerts {
		a.TimeGenerated = time.Now().UTC().Truncate(time.Second)
		a.Event = json.RawMessage(`{"x":"` + strings.Repeat("y", 30_000) + `"}`)
	}
	row := len(alerts[0].JSON())
	var got []string
	for left := alerts; len(left) > 0; {
		n, err := s.Post(t.Context(), alert.Group{Alerts: left})
		if err != nil {
			t.Fatal(err)
		}
		size := service.sizes[len(service.sizes)-1]
		if size > maxRequest || n < len(left) && size+1+row <= maxRequest {
			t.Errorf("a request of %d rows has %d bytes; a row has %d, the limit is %d", n, size, row, maxRequest)
		}
		got, left = append(got, service.ids[len(service.ids)-1]...), left[n:]
	}
	if len(service.sizes) < 2 || !slices.Equal(got, idsOf(alerts)) {
		t.Errorf("%d requests with rows %v", len(service.sizes), got)
	}
}

// TestALowerLimitThanDocumented: after a 413 half of the rows are posted, until the
// service takes them or one is left.
func TestALowerLimitThanDocumented(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fit  int // rows
		want int // posted, 0: an error
		asks []int
	}{
		"two rows fit": {2, 1, []int{6, 3, 1}},
		"three fit":    {3, 3, []int{6, 3}},
		"none fits":    {0, 0, []int{6, 3, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := &service{t: t, status: func(ids []string) int {
				if len(ids) > test.fit {
					return http.StatusRequestEntityTooLarge
				}
				return http.StatusNoContent
			}}
			n, err := open(t, serve(t, service), nil).Post(t.Context(), alert.Group{Alerts: sinktest.Alerts(6)})
			var e *outbound.Error
			switch {
			case test.want > 0 && (err != nil || n != test.want):
				t.Errorf("%d rows posted, error %v; want %d", n, err, test.want)
			case test.want == 0 && (n != 1 || !errors.As(err, &e) || e.Kind != outbound.Rejected):
				t.Errorf("%d rows, error %v; want one that is rejected", n, err)
			}
			var asks []int
			for _, ids := range service.ids {
				asks = append(asks, len(ids))
			}
			if !slices.Equal(asks, test.asks) {
				t.Errorf("rows of the requests %v, want %v", asks, test.asks)
			}
		})
	}
}

// TestErrors: the error is about all rows of the request, and has its id, by which
// Azure's support finds it.
func TestErrors(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]outbound.Kind{400: outbound.Rejected, 403: outbound.Forbidden, 429: outbound.Busy, 503: outbound.Busy} {
		service := &service{t: t, status: func([]string) int { return status }}
		n, err := open(t, serve(t, service), nil).Post(t.Context(), alert.Group{Alerts: sinktest.Alerts(3)})
		var e *outbound.Error
		if n != 3 || !errors.As(err, &e) || e.Kind != kind {
			t.Errorf("status %d: %d rows, error %v", status, n, err)
			continue
		}
		id := service.heads[0].Get("x-ms-client-request-id")
		if uuid.Validate(id) != nil || !strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "%!") {
			t.Errorf("status %d: error %v, want one with the request id %q", status, err, id)
		}
	}
}

// TestARowThatIsLate has a time that the service keeps, and the true one in a note;
// the alert stays as it is for the other sinks.
func TestARowThatIsLate(t *testing.T) {
	t.Parallel()
	const note = "podwatch raised this alert at"
	service := &service{t: t}
	s := open(t, serve(t, service), nil)
	begin := time.Now().UTC().Truncate(time.Second)
	alerts := sinktest.Alerts(3)
	ages := []time.Duration{0, 46*time.Hour + 59*time.Minute, 47*time.Hour + time.Second}
	for i, age := range ages {
		alerts[i].TimeGenerated, alerts[i].Notes = begin.Add(-age), []string{"one"}
	}
	if n, err := s.Post(t.Context(), alert.Group{Alerts: alerts}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	for i, row := range service.rows[:2] {
		if !row.TimeGenerated.Equal(begin.Add(-ages[i])) || len(row.Notes) != 1 {
			t.Errorf("a row %v old has TimeGenerated %v and notes %q", ages[i], row.TimeGenerated, row.Notes)
		}
	}
	raised := begin.Add(-ages[2])
	if row := service.rows[2]; row.TimeGenerated.Before(begin) || time.Since(row.TimeGenerated) < 0 ||
		len(row.Notes) != 2 || !strings.Contains(row.Notes[1], note+" "+raised.Format(time.RFC3339)) {
		t.Errorf("the late row has TimeGenerated %v and notes %q", row.TimeGenerated, row.Notes)
	}
	if a := alerts[2]; !a.TimeGenerated.Equal(raised) || len(a.Notes) != 1 {
		t.Errorf("the alert has changed: TimeGenerated %v, notes %q", a.TimeGenerated, a.Notes)
	}
}

// TestARefusalNamesItsCure: a person must be able to act on the error line.
func TestARefusalNamesItsCure(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{401: "LOG_ANALYTICS_ENDPOINT", 403: "Monitoring Metrics Publisher", 404: "LOG_ANALYTICS_RULE_ID"} {
		service := &service{t: t, status: func([]string) int { return status }}
		_, err := open(t, serve(t, service), nil).Post(t.Context(), alert.Group{Alerts: sinktest.Alerts(1)})
		var e *outbound.Error
		if !errors.As(err, &e) || e.Kind != outbound.Forbidden || !strings.Contains(err.Error(), want) {
			t.Errorf("status %d: error %v, want one that names %s", status, err, want)
		}
	}
}

// TestARowThatWouldBeCut is rejected, and does not keep the rows before it.
func TestARowThatWouldBeCut(t *testing.T) {
	t.Parallel()
	service := &service{t: t}
	s := open(t, serve(t, service), nil)
	alerts := sinktest.Alerts(3)
	long := strings.Repeat("x", maxField+1)
	alerts[1].RuleName = long // Alert.JSON bounds what a record can fill, not the name of a rule
	if !bytes.Contains(alerts[1].JSON(), []byte(long)) {
		t.Skip("an alert bounds every column")
	}
	if n, err := s.Post(t.Context(), alert.Group{Alerts: alerts}); n != 1 || err != nil {
		t.Errorf("%d rows, error %v; want the one before", n, err)
	}
	var e *outbound.Error
	if n, err := s.Post(t.Context(), alert.Group{Alerts: alerts[1:]}); n != 1 || !errors.As(err, &e) || e.Kind != outbound.Rejected || !strings.Contains(err.Error(), "RuleName") {
		t.Errorf("%d rows, error %v; want one that is rejected for RuleName", n, err)
	}
	if len(service.ids) != 1 {
		t.Errorf("%d requests, want one", len(service.ids))
	}
}

// TestNoSecretInErrors: a service that repeats the request's headers does not get
// the token into an error.
func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		token  outbound.Token
		want   string // in the error
	}{
		"accepted": {status: 204, token: planted},
		"refused":  {status: 403, token: planted, want: "HTTP 403"},
		"rejected": {status: 400, token: planted, want: "HTTP 400"},
		"no token": {token: func(context.Context) (string, error) { return "", errors.New("AADSTS700016") }, want: "got no token: AADSTS700016"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer "+secret {
					t.Errorf("Authorization is %q", got)
				}
				w.WriteHeader(test.status)
				if test.status != http.StatusNoContent {
					fmt.Fprint(w, r.Header)
				}
			}))
			defer server.Close()
			s := open(t, server.URL, func(c *outbound.Client) { c.Token, c.Transport = test.token, server.Client().Transport })
			_, err := s.Post(t.Context(), alert.Group{Alerts: sinktest.Alerts(1)})
			switch {
			case (err == nil) != (test.want == ""):
				t.Errorf("error %v, want %q", err, test.want)
			case err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), secret)):
				t.Errorf("error %v, want %q and no token", err, test.want)
			}
		})
	}
}

func planted(context.Context) (string, error) { return secret, nil }
