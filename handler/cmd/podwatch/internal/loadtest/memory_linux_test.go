package loadtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
)

// bodyLimit is the default of BODY_LIMIT_MIB.
const bodyLimit = 96

// TestMemoryIsBounded by three times BODY_LIMIT_MIB, whatever arrives at once.
func TestMemoryIsBounded(t *testing.T) {
	const large = 90 << 20
	noBatch := func() io.Reader { return bytes.NewReader(bytes.Repeat([]byte("unreadable "), large/11)) }
	ordinary := logtest.Batch("mix", large/6*5, 0)
	unread := unreadable(large)
	matching := deletions(0, 8000, 10)
	down := func(inbox.Request) *inbox.Answer {
		return &inbox.Answer{Status: http.StatusServiceUnavailable, RetryAfter: "60"}
	}
	for _, tt := range []struct {
		name   string
		body   func() io.Reader
		times  int
		answer func(inbox.Request) *inbox.Answer
	}{
		{"a large body that is no batch", noBatch, 1, nil},
		{"a large body of messages that cannot be read", func() io.Reader { return bytes.NewReader(unread) }, 1, nil},
		{"four large bodies at once", func() io.Reader { return bytes.NewReader(ordinary) }, 4, nil},
		{"four large bodies at once that cannot be read", func() io.Reader { return bytes.NewReader(unread) }, 4, nil},
		{"four bodies at once, all of deletions, sinks down", func() io.Reader { return bytes.NewReader(matching) }, 4, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := start(t, tt.answer)
			var wait sync.WaitGroup
			for range tt.times {
				wait.Go(func() {
					switch status, _ := h.post("Detect", tt.body()); status {
					case http.StatusOK, http.StatusServiceUnavailable:
					case http.StatusInternalServerError:
						if tt.answer == nil {
							t.Error("Detect failed")
						}
					default:
						t.Errorf("Detect answered %d", status)
					}
				})
			}
			wait.Wait()
			peak := peakMemory(t, h.pid)
			t.Logf("peak of %d MiB", peak)
			if peak > 3*bodyLimit {
				t.Errorf("the handler used %d MiB, more than 3 x %d", peak, bodyLimit)
			}
		})
	}
}

// unreadable encodes an invocation whose messages have no record, but a rule's words.
func unreadable(size int) []byte {
	in := invocation.Messages{Function: "Detect", Binding: "events"}
	message := []byte(`{"records":[{"time":"x","verb":"delete",` + strings.Repeat("nothing that ends ", 50_000))
	for n := 0; n < size; n += len(message) + 100 {
		in.Messages = append(in.Messages, invocation.Message{Body: message, Offset: "1"})
	}
	return invocation.EncodeEvents(in)
}

// peakMemory returns the most resident memory that a process had, in MiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	size, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}
