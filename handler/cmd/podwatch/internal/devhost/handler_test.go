package devhost_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/emulator"
)

// TestMain makes the test binary its own function app: with actAsHandler set it
// is the executable that a test's host.json names.
func TestMain(m *testing.M) {
	if os.Getenv(actAsHandler) != "" {
		serveHandler()
		return
	}
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	os.Exit(code)
}

const (
	actAsHandler = "DEVHOST_TEST_HANDLER"
	recordFile   = "DEVHOST_TEST_RECORD"
)

// shared is the Azurite of all tests of this package; each uses queues and
// containers of its own.
var shared struct {
	once   sync.Once
	server *emulator.Azurite
	err    error
}

func storageForTest(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() {
		var dir string
		if dir, shared.err = emulator.FindLocal("."); shared.err == nil {
			shared.server, shared.err = emulator.Start(context.Background(), emulator.Options{Dir: dir})
		}
	})
	if shared.err != nil {
		t.Fatalf("these tests need Azurite: %v", shared.err)
	}
	return shared.server.ConnectionString
}

// A command tells the test handler what to do with an invocation. It is the
// text of the first message, or of the queue message.
type command struct {
	Status  int             `json:"status,omitempty"`  // answer with this status
	Type    *string         `json:"type,omitempty"`    // content type of the answer
	Body    *string         `json:"body,omitempty"`    // the answer, word for word
	Outputs json.RawMessage `json:"outputs,omitempty"` // answer {"Outputs": this}
	Exit    *int            `json:"exit,omitempty"`    // end the process instead
	Hang    bool            `json:"hang,omitempty"`    // never answer
	FailTry int             `json:"failTry,omitempty"` // answer 500 while RetryCount is below this
	Say     string          `json:"say,omitempty"`     // a line on stderr
}

// A recorded request, one line of the record file.
type recorded struct {
	PID      int
	Path     string
	Header   http.Header
	Chunked  bool
	Length   int64
	Data     map[string]json.RawMessage
	Metadata map[string]json.RawMessage
	Env      []string
}

func serveHandler() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // as the handler does
	}()
	record, err := os.OpenFile(os.Getenv(recordFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if boot := os.Getenv("DEVHOST_TEST_BOOT"); boot != "" {
		fmt.Fprintln(os.Stderr, "boot: cannot read the rules")
		os.Exit(9)
	}
	fmt.Println(`{"msg":"listening"}`)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /{function}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		req := recorded{
			PID: os.Getpid(), Path: r.URL.Path, Header: r.Header, Length: r.ContentLength,
			Chunked: len(r.TransferEncoding) == 1 && r.TransferEncoding[0] == "chunked",
		}
		if err := json.Unmarshal(body, &req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, entry := range os.Environ() {
			if strings.HasPrefix(entry, "FUNCTIONS_") || strings.HasPrefix(entry, "MY_") {
				req.Env = append(req.Env, entry)
			}
		}
		line, _ := json.Marshal(req)
		if _, err := record.Write(append(line, '\n')); err != nil {
			return
		}
		obey(w, r, commandIn(req), tryOf(req))
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), Handler: mux, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(4)
}

func obey(w http.ResponseWriter, r *http.Request, c command, try int) {
	if c.Say != "" {
		fmt.Fprintln(os.Stderr, c.Say)
	}
	if c.Exit != nil {
		os.Exit(*c.Exit)
	}
	if c.Hang {
		<-r.Context().Done()
		return
	}
	if try < c.FailTry {
		c.Status = http.StatusInternalServerError
	}
	body, contentType := "{}", "application/json"
	if c.Outputs != nil {
		body = `{"Outputs":` + string(c.Outputs) + `}`
	}
	if c.Body != nil {
		body = *c.Body
	}
	if c.Type != nil {
		contentType = *c.Type
	}
	w.Header()["Content-Type"] = []string{contentType}
	if contentType == "" {
		w.Header()["Content-Type"] = nil
	}
	if c.Status != 0 {
		w.WriteHeader(c.Status)
	}
	_, _ = io.WriteString(w, body)
}

// commandIn finds the command in any of the host's encodings.
func commandIn(req recorded) (c command) {
	for _, raw := range req.Data {
		text := string(raw)
		for range 3 { // JSON in JSON in JSON
			var list []json.RawMessage
			if json.Unmarshal([]byte(text), &list) == nil && len(list) > 0 {
				text = string(list[0])
			}
			var inner string
			if json.Unmarshal([]byte(text), &inner) != nil {
				break
			}
			text = inner
		}
		_ = json.Unmarshal([]byte(text), &c) // not a command: answer {}
	}
	return c
}

func tryOf(req recorded) int {
	var retry struct{ RetryCount int }
	_ = json.Unmarshal(req.Metadata["RetryContext"], &retry) // absent: the first try
	return retry.RetryCount
}

// requests reads what the handler has recorded.
func requests(t *testing.T, file string) []recorded {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []recorded
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
