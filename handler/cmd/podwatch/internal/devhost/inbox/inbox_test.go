package inbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/logtest"
)

const (
	webhook  = "/powerautomate/automations/direct/workflows/x/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=s"
	ingest   = "/dataCollectionRules/" + inbox.RuleID + "/streams/" + inbox.Stream + "?api-version=2023-01-01"
	goodCard = `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"type":"AdaptiveCard","version":"1.5","body":[{"type":"TextBlock","text":"hi"}]}}]}`
)

type client struct {
	t    *testing.T
	base string
}

func serve(t *testing.T, o inbox.Options) (*inbox.Inbox, client) {
	t.Helper()
	b := inbox.New(o)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, client{t, server.URL}
}

func (c client) do(method, path, body string, header ...string) (int, http.Header, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestTeamsAnswersAsTheWebhookDoes(t *testing.T) {
	card := func(old, replacement string) string { return strings.Replace(goodCard, old, replacement, 1) }
	room := 27<<10 - len(strconv.Quote(goodCard)) // 28 KB, of which the flow needs one
	for name, tt := range map[string]struct {
		path, body string
		header     []string
		status     int
		answer     string // part of it; empty: no body
		refused    string // part of the reason; empty: the card is shown
	}{
		"a card":               {webhook, goodCard, nil, 202, "", ""},
		"a card, older URL":    {strings.Replace(webhook, "/powerautomate/automations/direct", "", 1), goodCard, nil, 202, "", ""},
		"no sig":               {strings.Replace(webhook, "&sig=s", "", 1), goodCard, nil, 401, "DirectApiAuthorizationRequired", "sig"},
		"an empty sig":         {strings.TrimSuffix(webhook, "s"), goodCard, nil, 401, "DirectApiAuthorizationRequired", "sig"},
		"a cut query":          {strings.Replace(webhook, "api-version=1&", "", 1), goodCard, nil, 400, "MissingApiVersionParameter", "api-version"},
		"a token besides sig":  {webhook, goodCard, []string{"Authorization", "Bearer x"}, 400, "DirectApiRequestHasMoreThanOneAuthorization", "Authorization"},
		"not JSON":             {webhook, `{"type":`, nil, 400, "InvalidRequestContent", "not JSON"},
		"plain text":           {webhook, goodCard, []string{"Content-Type", "text/plain"}, 400, "InvalidContentType", "content type"},
		"no attachments":       {webhook, `{"type":"message"}`, nil, 202, "", "attachments is missing"},
		"empty attachments":    {webhook, `{"attachments":[]}`, nil, 202, "", "attachments is missing"},
		"another content type": {webhook, card("card.adaptive", "card.hero"), nil, 202, "", "card.hero"},
		"another type of card": {webhook, card(`"AdaptiveCard"`, `"MessageCard"`), nil, 202, "", "not an AdaptiveCard"},
		"an empty card":        {webhook, card(`[{"type":"TextBlock","text":"hi"}]`, `[]`), nil, 202, "", "empty"},
		"a version to come":    {webhook, card(`"1.5"`, `"1.6"`), nil, 202, "", "1.6"},
		"an array":             {webhook, `[1]`, nil, 202, "", "form"},
		"a card of 28 KB":      {webhook, card("hi", strings.Repeat("x", room+len("hi"))), nil, 202, "", ""},
		"a card over 28 KB":    {webhook, card("hi", strings.Repeat("x", room+len("hi")+1)), nil, 202, "", "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			b, c := serve(t, inbox.Options{})
			status, _, answer := c.do(http.MethodPost, tt.path, tt.body, tt.header...)
			if status != tt.status || (answer == "") != (tt.answer == "") || !strings.Contains(answer, tt.answer) {
				t.Errorf("answer %d %q, want %d with %q", status, answer, tt.status, tt.answer)
			}
			checkKept(t, b, tt.refused, b.Cards())
		})
	}
}

func TestLogAnalyticsAnswersAsTheIngestionAPIDoes(t *testing.T) {
	row := `{"TimeGenerated":"2026-03-04T09:15:22Z","AlertId":"a"}`
	for name, tt := range map[string]struct {
		path, body string
		header     []string
		status     int
		rows       int
		refused    string
	}{
		"rows":                     {ingest, "[" + row + "," + row + "]", nil, 204, 2, ""},
		"rows, gzip":               {ingest, logtest.Gzip("[" + row + "]"), []string{"Content-Encoding", "gzip"}, 204, 1, ""},
		"no rows":                  {ingest, "[]", nil, 204, 0, ""},
		"an object":                {ingest, row, nil, 204, 0, "must be an array"},
		"null":                     {ingest, "null", nil, 204, 0, "must be an array"},
		"an element of text":       {ingest, `["x"]`, nil, 204, 0, "not an object"},
		"not JSON":                 {ingest, "[", nil, 400, 0, "not JSON"},
		"not gzip":                 {ingest, "[]", []string{"Content-Encoding", "gzip"}, 400, 0, "not gzip"},
		"no api-version":           {strings.TrimSuffix(ingest, "?api-version=2023-01-01"), "[]", nil, 400, 0, "api-version"},
		"another rule":             {strings.Replace(ingest, "dcr-0", "dcr-1", 1), "[]", nil, 404, 0, "no data collection rule"},
		"another stream":           {strings.Replace(ingest, "Custom-", "Custom-X", 1), "[]", nil, 404, 0, "no stream"},
		"text":                     {ingest, "[]", []string{"Content-Type", "text/plain"}, 415, 0, "content type"},
		"more than 1 MB":           {ingest, `["` + strings.Repeat("x", 1<<20) + `"]`, nil, 413, 0, "1 MB"},
		"more than 1 MB unzipped":  {ingest, logtest.Gzip(`["` + strings.Repeat("x", 1<<20) + `"]`), []string{"Content-Encoding", "gzip"}, 413, 0, "1 MB"},
		"a gzip bomb costs little": {ingest, logtest.Gzip(strings.Repeat(" ", 64<<20)), []string{"Content-Encoding", "gzip"}, 413, 0, "1 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			b, c := serve(t, inbox.Options{})
			status, _, answer := c.do(http.MethodPost, tt.path, tt.body, tt.header...)
			if status != tt.status || status == 204 && answer != "" {
				t.Errorf("answer %d %q, want %d", status, answer, tt.status)
			}
			if got := len(b.Rows()); got != tt.rows {
				t.Errorf("%d rows, want %d", got, tt.rows)
			}
			if tt.rows == 0 && tt.body != "[]" || tt.refused != "" {
				checkKept(t, b, tt.refused, nil)
			}
		})
	}
}

// checkKept looks for one accepted entry, or one refused for the reason given.
func checkKept(t *testing.T, b *inbox.Inbox, refused string, accepted []inbox.Entry) {
	t.Helper()
	lost := b.Refused()
	switch {
	case refused == "" && (len(accepted) != 1 || len(lost) != 0):
		t.Errorf("%d cards and %d refused (%v), want 1 and 0", len(accepted), len(lost), lost)
	case refused != "" && (len(accepted) != 0 || len(lost) != 1 || !strings.Contains(lost[0].Refused, refused)):
		t.Errorf("%d cards, refused %+v; want none, and one refused with %q", len(accepted), lost, refused)
	}
}

func TestColumnsAreCutAsTheServiceCutsThem(t *testing.T) {
	b, c := serve(t, inbox.Options{})
	c.do(http.MethodPost, ingest, fmt.Sprintf(`[{"AlertId":"a","Event":%q,"Type":"x"}]`, strings.Repeat("e", 70<<10)))
	got := b.Rows()[0]
	var row map[string]string
	if err := json.Unmarshal(got.Data, &row); err != nil {
		t.Fatal(err)
	}
	if len(row["Event"]) != 64<<10 || row["Type"] != "" || row["AlertId"] != "a" {
		t.Errorf("Event has %d bytes, Type %q, AlertId %q", len(row["Event"]), row["Type"], row["AlertId"])
	}
	if want := []string{"column Event was cut at 64 KB", "column Type is reserved and was dropped"}; !cmp.Equal(got.Warnings, want) {
		t.Errorf("warnings %q, want %q", got.Warnings, want)
	}
}

func TestScriptedAnswers(t *testing.T) {
	answers := make(chan *inbox.Answer, 10)
	for _, a := range []inbox.Answer{{Status: 429, RetryAfter: "7"}, {Cut: true}, {Cut: true, Accept: true}, {Status: 500, Accept: true}, {Delay: time.Millisecond}} {
		answers <- &a
	}
	close(answers)
	b, c := serve(t, inbox.Options{Answer: func(r inbox.Request) *inbox.Answer {
		if r.Sink != inbox.Teams {
			return nil
		}
		return <-answers
	}})
	for i, want := range []struct {
		status, cards int
		retry         string
	}{{429, 0, "7"}, {0, 0, ""}, {0, 1, ""}, {500, 2, ""}, {202, 3, ""}, {202, 4, ""}} {
		status, header, text := c.do(http.MethodPost, webhook, goodCard)
		if status != want.status || header.Get("Retry-After") != want.retry || len(b.Cards()) != want.cards {
			t.Errorf("delivery %d: status %d (%s), Retry-After %q, %d cards; want %+v", i, status, text, header.Get("Retry-After"), len(b.Cards()), want)
		}
	}
	if status, _, _ := c.do(http.MethodPost, ingest, "[]"); status != 204 {
		t.Errorf("the other sink was touched: %d", status)
	}
}

func TestAnswerHookSeesTheDelivery(t *testing.T) {
	b, c := serve(t, inbox.Options{Answer: func(r inbox.Request) *inbox.Answer {
		if r.Sink == inbox.LogAnalytics && strings.Contains(string(r.Body), "bad") {
			return &inbox.Answer{Status: 400}
		}
		return nil
	}})
	for body, want := range map[string]int{`[{"a":"bad"}]`: 400, `[{"a":"good"}]`: 204} {
		if status, _, _ := c.do(http.MethodPost, ingest, logtest.Gzip(body), "Content-Encoding", "gzip"); status != want {
			t.Errorf("%s: status %d, want %d", body, status, want)
		}
	}
	if len(b.Rows()) != 1 {
		t.Errorf("%d rows, want 1", len(b.Rows()))
	}
}

func TestNextWaitsForEntries(t *testing.T) {
	b, c := serve(t, inbox.Options{})
	patient, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	got := make(chan []inbox.Entry, 1)
	go func() {
		entries, _ := b.Next(patient, 0) // none comes: the test fails below
		got <- entries
	}()
	c.do(http.MethodPost, ingest, `[{"a":1},{"a":2}]`)
	entries := <-got
	if len(entries) != 2 || entries[0].ID != 1 {
		t.Errorf("entries = %+v", entries)
	}
	b.Clear()
	if b.Counts() != (inbox.Counts{}) {
		t.Errorf("counts after Clear = %+v", b.Counts())
	}
	c.do(http.MethodPost, ingest, `[{"a":3}]`)
	if entries, err := b.Next(patient, 2); err != nil || len(entries) != 1 || entries[0].ID != 3 {
		t.Errorf("after Clear: %+v, %v; identifiers go on", entries, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Next(ended, 3); err == nil {
		t.Error("Next outlives its context")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b, c := serve(t, inbox.Options{Keep: 3})
	for range 10 {
		c.do(http.MethodPost, ingest, `[{"a":1},{"a":2}]`)
	}
	if kept, total := len(b.Rows()), b.Counts().Rows; kept > 6 || total != 20 {
		t.Errorf("%d rows kept of %d, want at most 6 of 20", kept, total)
	}
}

func TestPageRunsNothingButItself(t *testing.T) {
	_, c := serve(t, inbox.Options{Feed: "curl <here>"})
	for _, path := range []string{"/", "/page.js", "/page.css", "/api/info"} {
		status, header, text := c.do(http.MethodGet, path, "")
		policy := header.Get("Content-Security-Policy")
		if status != 200 || text == "" || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: status %d, policy %q", path, status, policy)
		}
	}
	if status, _, _ := c.do(http.MethodGet, "/adaptivecards.js", ""); status != 404 {
		t.Errorf("without the renderer's package: status %d, want 404", status)
	}
}

// An eventStream is a page's connection.
type eventStream struct {
	t     *testing.T
	lines *bufio.Scanner
	id    string // of the last event that had one
}

func (c client) stream(lastID string) *eventStream {
	c.t.Helper()
	patient, stop := context.WithTimeout(c.t.Context(), 30*time.Second)
	c.t.Cleanup(stop)
	req, err := http.NewRequestWithContext(patient, http.MethodGet, c.base+"/api/stream", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	return &eventStream{t: c.t, lines: bufio.NewScanner(resp.Body)}
}

// next is the next event: its name and its data.
func (s *eventStream) next() (event, data string) {
	s.t.Helper()
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			s.id = value
		case "event":
			event = value
		case "data":
			return event, value
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return "", ""
}

func (s *eventStream) want(event, part string) string {
	s.t.Helper()
	got, data := s.next()
	if got != event || !strings.Contains(data, part) {
		s.t.Fatalf("event %s %s, want %s with %q", got, data, event, part)
	}
	return data
}

func TestStreamSendsWhatIsThereAndWhatComes(t *testing.T) {
	b, c := serve(t, inbox.Options{Feed: "feed it"})
	c.do(http.MethodPost, ingest, `[{"a":1}]`)
	s := c.stream("")
	run := s.want("run", `"feed":"feed it"`)
	s.want("message", `"data":{"a":1}`)
	c.do(http.MethodPost, webhook, `{"text":"line\nbreak"}`)
	s.want("message", `"refused"`)
	b.SetHeld(inbox.Held{Alerts: 3, Due: time.Date(2026, 3, 4, 9, 15, 0, 0, time.UTC)})
	s.want("held", `{"alerts":3,"due":"2026-03-04T09:15:00Z"}`)
	b.SetHeld(inbox.Held{})
	s.want("held", `{"alerts":0}`)

	// A page that was away gets what it lacks; one of an earlier run gets everything.
	c.do(http.MethodPost, ingest, `[{"a":3}]`)
	back := c.stream(s.id)
	if again := back.want("run", ""); again != run {
		t.Errorf("the run is %s, was %s", again, run)
	}
	back.want("message", `"data":{"a":3}`)
	_, number, _ := strings.Cut(s.id, ".")
	old := c.stream("EARLIER." + number)
	old.want("run", "")
	old.want("message", `"data":{"a":1}`)

	// The page that stayed has read all of it before the inbox forgets it: what a slow
	// page has not read by then, it need not learn.
	s.want("message", `"data":{"a":3}`)
	away := back.id
	b.Clear()
	s.want("clear", "{}")
	c.do(http.MethodPost, ingest, `[{"a":4}]`)
	late := c.stream(away)
	late.want("run", "")
	late.want("clear", "{}")
	late.want("message", `"data":{"a":4}`)
	if run == streamRun(t, inbox.New(inbox.Options{Feed: "feed it"})) {
		t.Error("two inboxes are one run")
	}
}

// streamRun is the event "run" of an inbox.
func streamRun(t *testing.T, b *inbox.Inbox) string {
	t.Helper()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return client{t, server.URL}.stream("").want("run", "")
}
