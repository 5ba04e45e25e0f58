package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/prefilter"
	"podwatch/handler/internal/server"
)

type work = func(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error)

// functions are fields; one that a test leaves unset panics, which the server
// must survive.
type functions struct{ detect, redeliver, heartbeat work }

func (f functions) Detect(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	return f.detect(ctx, body)
}

func (f functions) Redeliver(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	return f.redeliver(ctx, body)
}

func (f functions) Heartbeat(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
	return f.heartbeat(ctx, body)
}

// answering is work that reads the body and returns a reply or an error.
func answering(attrs []slog.Attr, err error) work {
	return func(_ context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, attrs, err
		}
		if err != nil {
			return nil, attrs, err
		}
		return new(invocation.Reply), attrs, nil
	}
}

const bodyLimit = 1 << 20

// reading is work that reads a batch and counts its messages.
func reading(messages *int) work {
	reader := invocation.NewReader(bodyLimit, bodyLimit)
	return func(ctx context.Context, body io.Reader) (*invocation.Reply, []slog.Attr, error) {
		b, err := reader.Read(ctx, body, (*prefilter.Filter)(nil))
		if err != nil {
			return nil, nil, err
		}
		if messages != nil {
			*messages = b.Len()
		}
		return b.Reply(), nil, nil
	}
}

// start serves functions and returns the address and the log.
func start(t *testing.T, f functions) (string, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	s := httptest.NewUnstartedServer(server.New(f, slog.New(slog.NewJSONHandler(log, nil))))
	s.Listener = server.ReadAhead(s.Listener)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, log
}

// An answer is what the host reads of one.
type answer struct {
	Outputs map[string]json.RawMessage
	Error   string
}

// post posts JSON and checks what is true of every answer: JSON, never empty.
func post(t *testing.T, url, body string) (int, answer) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set(invocation.IDHeader, "inv-1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return read(t, response)
}

func read(t *testing.T, response *http.Response) (int, answer) {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q: the host reads nothing but JSON", got)
	}
	if response.ContentLength != int64(len(text)) {
		t.Errorf("an answer of %d bytes announces %d", len(text), response.ContentLength)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil || len(text) == 0 || string(text) == "null" {
		t.Errorf("the answer %q would hang or fail the host: %v", text, err)
	}
	return response.StatusCode, a
}

const oneMessage = `{"Data":{"events":"[\"{}\"]"},"Metadata":{}}`

func TestEachFunctionHasItsRoute(t *testing.T) {
	called := func(name string) work { return answering([]slog.Attr{slog.String("called", name)}, nil) }
	url, log := start(t, functions{called("detect"), called("redeliver"), called("heartbeat")})
	for _, function := range []string{"Detect", "Redeliver", "Heartbeat"} {
		log.Reset()
		if status, a := post(t, url+"/"+function, "{}"); status != http.StatusOK || a.Error != "" || a.Outputs != nil {
			t.Errorf("%s: status %d, %+v", function, status, a)
		}
		var line map[string]any
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%s logs %q, want one line: %v", function, log, err)
		}
		if line["msg"] != "invocation" || line["level"] != "INFO" || line["function"] != function || line["invocation_id"] != "inv-1" || line["called"] != strings.ToLower(function) || line["duration_ms"] == nil {
			t.Errorf("%s logs %v", function, line)
		}
	}
}

func TestErrorsAreStatuses(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
	}{
		"a body that ended early": {fmt.Errorf("read request: %w", invocation.ErrBroken), 400},
		"one that is too large":   {fmt.Errorf("read request: %w", invocation.ErrTooLarge), 413},
		"no memory":               {fmt.Errorf("read request: %w", invocation.ErrBusy), 503},
		"anything else":           {errors.New("deliver the batch: x"), 500},
	} {
		t.Run(name, func(t *testing.T) {
			url, log := start(t, functions{detect: answering([]slog.Attr{slog.Int("matches", 2)}, tt.err)})
			status, a := post(t, url+"/Detect", "{}")
			if status != tt.status || a.Error != tt.err.Error() {
				t.Errorf("status %d, error %q; want %d", status, a.Error, tt.status)
			}
			if line := log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, `"level":"ERROR"`) || !strings.Contains(line, `"matches":2`) {
				t.Errorf("the log is %q, want one line with what was counted", line)
			}
		})
	}
}

// TestAReplyIsWrittenAndClosed: its memory is free for the next body.
func TestAReplyIsWrittenAndClosed(t *testing.T) {
	url, _ := start(t, functions{detect: reading(nil)})
	for range 3 {
		broken := strings.Repeat("x", bodyLimit)
		status, a := post(t, url+"/Detect", broken)
		var pieces []struct{ Text string }
		var blob string
		if err := json.Unmarshal(a.Outputs["unreadable"], &blob); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(blob), &pieces); status != http.StatusOK || err != nil || len(pieces) != 1 || pieces[0].Text != broken {
			t.Fatalf("status %d, %d pieces, %v", status, len(pieces), err)
		}
	}
}

func TestAPanicFailsTheInvocationAndNotTheProcess(t *testing.T) {
	url, log := start(t, functions{detect: func(context.Context, io.Reader) (*invocation.Reply, []slog.Attr, error) { panic("secret detail") }})
	status, a := post(t, url+"/Detect", oneMessage)
	if status != http.StatusInternalServerError || strings.Contains(a.Error, "secret detail") {
		t.Errorf("status %d, error %q", status, a.Error)
	}
	for _, want := range []string{"secret detail", "goroutine", `"invocation_id":"inv-1"`, "/Detect"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	if response, err := http.Get(url + "/"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("the next request: %v", err)
	}
}

func TestRequestsThatAreNotTheHosts(t *testing.T) {
	url, _ := start(t, functions{detect: reading(nil)})
	for name, tt := range map[string]struct {
		method, path, contentType, body string
		status                          int
		text                            string
	}{
		"readiness":             {"GET", "/", "", "", 200, ""},
		"unknown function":      {"POST", "/Other", "application/json", "{}", 404, "Detect, Redeliver and Heartbeat"},
		"another casing":        {"POST", "/detect", "application/json", "{}", 404, ""},
		"a trailing slash":      {"POST", "/Detect/", "application/json", "{}", 404, ""},
		"a path to be cleaned":  {"POST", "//Detect", "application/json", "{}", 404, ""},
		"wrong method":          {"GET", "/Detect", "", "", 405, "POST"},
		"wrong content type":    {"POST", "/Detect", "text/plain", "{}", 415, "application/json"},
		"no content type":       {"POST", "/Detect", "", "{}", 415, ""},
		"a form":                {"POST", "/Detect", "application/x-www-form-urlencoded", "a=b", 415, ""},
		"body one byte too big": {"POST", "/Detect", "application/json", strings.Repeat(" ", bodyLimit+1), 413, "BODY_LIMIT_MIB"},
		"body as big as may be": {"POST", "/Detect", "application/json", oneMessage + strings.Repeat(" ", bodyLimit-len(oneMessage)), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequest(tt.method, url+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", tt.contentType)
			response, err := http.DefaultTransport.RoundTrip(request) // no redirects
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if status, a := read(t, response); status != tt.status || !strings.Contains(a.Error, tt.text) {
				t.Errorf("status %d, error %q; want %d with %q", status, a.Error, tt.status, tt.text)
			}
		})
	}
}

func TestChunkedBodiesAreReadWholeAndBoundedToo(t *testing.T) {
	var got int
	url, _ := start(t, functions{detect: reading(&got)})
	chunked := func(body string) int {
		request, err := http.NewRequest(http.MethodPost, url+"/Detect", io.MultiReader(strings.NewReader(body))) // no length known
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0 // the server closed the connection on a body that is too large
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	message, _ := json.Marshal(`["` + strings.Repeat("x.", 150_000) + `","{}"]`)
	if status := chunked(`{"Data":{"events":` + string(message) + `},"Metadata":{}}`); status != http.StatusOK || got != 2 {
		t.Errorf("status %d with %d messages", status, got)
	}
	if status := chunked(strings.Repeat("x", 2*bodyLimit)); status != http.StatusRequestEntityTooLarge && status != 0 {
		t.Errorf("status %d, want 413", status)
	}
}

func TestHalfSentRequestsCostOnlyThemselves(t *testing.T) {
	url, _ := start(t, functions{detect: reading(nil)})
	for _, half := range []string{
		"POST /Detect HTTP/1.1\r\nHost: x\r\n",
		"POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Data\"",
		"POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"Data\"",
		"\x16\x03\x01\x02\x00",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, half); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if status, _ := post(t, url+"/Detect", oneMessage); status != http.StatusOK {
			t.Errorf("after %q the next request gets %d", half, status)
		}
	}
}
