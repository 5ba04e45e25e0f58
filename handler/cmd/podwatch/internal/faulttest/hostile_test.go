package faulttest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podwatch/handler/internal/logtest"
)

const (
	hostileByDefault = 4   // seconds
	hostileWorkers   = 3   // at a time, besides the valid requests
	memoryLimit      = 256 // MiB
)

// A hostile request is one that no host sends.
type hostile struct {
	name        string
	method      string // POST if empty
	path        string // /Detect if empty
	contentType string // application/json if empty
	encoding    string
	body        func() io.Reader
	want        []int // statuses that are right
	unreadable  bool  // 200 is right only with an unreadable output
}

// envelope is what the host posts to Detect, with the given messages.
func envelope(messages ...string) string {
	inner := text(messages)
	return text(object{"Data": object{"events": inner}, "Metadata": object{
		"PartitionContext":    object{"PartitionId": "9", "EventHubName": "podwatch"},
		"SequenceNumberArray": text(make([]int, len(messages))),
	}})
}

func of(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

// endless is as many bytes as are asked for, without holding them.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	for i := range p[:n] {
		p[i] = 'x'
	}
	e.left -= n
	return int(n), nil
}

// hostileRequests are made once; each is sent many times.
func hostileRequests() []hostile {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	record := kubeRecords("hostile", "system:serviceaccount:kube-system:replicaset-controller", "AKS-H", 0, "system:serviceaccounts:kube-system")[0]
	manyRecords := body(strings.Split(strings.Repeat(`{"category":"x","time":"2026-11-09T08:00:00Z"}`+"\x00", 9_999)+record, "\x00")...)
	wide := `{"records":[{"category":"Administrative","operationName":"` + strings.Repeat("A", 1<<20) + `"}]}`
	twice := `{"records":[` + strings.TrimSuffix(record, "}") + `,"category":"x","category":"kube-audit"}]}`
	half := envelope(body(kubeRecords("hostile", "dana@example.com", "AKS-H", 0)[0]))
	half = half[:strings.Index(half, "verb")+40] // with what a rule looks for
	ok, failed := []int{200}, []int{500}
	return []hostile{
		{name: "nothing", body: of(""), want: ok, unreadable: true},
		{name: "null", body: of("null"), want: ok, unreadable: true},
		{name: "half an object", body: of(half), want: ok, unreadable: true},
		{name: "not JSON", body: of("<xml/>"), want: ok, unreadable: true},
		{name: "no data", body: of(`{"Data":{},"Metadata":{}}`), want: ok, unreadable: true},
		{name: "not UTF-8", body: of("{\"Data\":{\"events\":\"\xff\xfe\xc3(\"}}"), want: ok, unreadable: true},
		{name: "deep request", body: of(deep(500_000)), want: ok, unreadable: true},
		{name: "deep data", body: of(`{"Data":{"events":` + deep(200_000) + `}}`), want: ok, unreadable: true},
		{name: "deep message", body: of(envelope(deep(200_000))), want: ok},
		{name: "deep record", body: of(envelope(`{"records":[{"a":` + deep(100_000) + `}]}`)), want: ok},
		{name: "deep text in a record", body: of(envelope(`{"records":[{"category":"kube-audit","properties":{"log":` + text(deep(100_000)) + `}}]}`)), want: ok},
		{name: "duplicate keys", body: of(envelope(twice)), want: ok},
		{name: "huge numbers", body: of(envelope(`{"records":[{"category":"Administrative","durationMs":1e999999,"level":` + strings.Repeat("9", 100_000) + `}]}`)), want: ok},
		{name: "huge sequence number", body: of(strings.Replace(envelope(body(record)), `"[0]"`, `"[1e400]"`, 1)), want: ok},
		{name: "bytes for text", body: of(envelope("\x00\x01\xff\xfe" + strings.Repeat("\x80", 5000))), want: ok, unreadable: true},
		{name: "gzip in a message", body: of(envelope(logtest.Gzip(body(record)))), want: ok},
		{name: "gzip request", encoding: "gzip", body: of(logtest.Gzip(envelope(body(record)))), want: ok, unreadable: true},
		{name: "a record of 1 MiB", body: of(envelope(wide)), want: ok},
		{name: "10,000 records", body: of(envelope(manyRecords)), want: ok},
		{name: "10,000 messages", body: of(envelope(strings.Split(strings.Repeat("{}\x00", 9_999)+"{}", "\x00")...)), want: ok},
		{name: "8 MiB of nothing", body: func() io.Reader { return &endless{8 << 20} }, want: ok, unreadable: true},
		{name: "wrong content type", contentType: "text/html", body: of(envelope(body(record))), want: []int{415}},
		{name: "wrong method", method: http.MethodPut, body: of("{}"), want: []int{405}},
		{name: "wrong method, no body", method: http.MethodDelete, body: of(""), want: []int{405}},
		{name: "unknown function", path: "/detect", body: of("{}"), want: []int{404}},
		{name: "a way out", path: "/../../etc/passwd", body: of("{}"), want: []int{404}},
		{name: "a function with a slash", path: "/Detect/", body: of("{}"), want: []int{404}},
		{name: "no queue message", path: "/Redeliver", body: of("{}"), want: failed},
		{name: "half a queue message", path: "/Redeliver", body: of(`{"Data":{"alert":`), want: failed},
		{name: "a queue message that is no alert", path: "/Redeliver", body: of(text(object{"Data": object{"alert": text("hello")}, "Metadata": object{}})), want: ok},
		{name: "no timer", path: "/Heartbeat", body: of("[]"), want: failed},
	}
}

// TestHostileRequestsBesideValidOnes sends what no host sends for some seconds
// (HOSTILE_SECONDS), from some senders at a time and beside senders that are slow
// or stop half-way, while the host delivers deletions.
func TestHostileRequestsBesideValidOnes(t *testing.T) {
	w := start(t, nil, nil)
	seconds := number(t, "HOSTILE_SECONDS", hostileByDefault)
	address := w.address()
	pid, _ := w.host.Process()
	end := time.Now().Add(time.Duration(seconds) * time.Second)

	var wait sync.WaitGroup
	var mu sync.Mutex
	sent, refused, unreadable := 0, 0, 0
	requests := hostileRequests()
	for worker := range hostileWorkers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			order := r.Perm(len(requests))
			for n := 0; n < len(order) || time.Now().Before(end); n++ {
				h := requests[order[n%len(order)]]
				status, kept, err := h.send(client, address)
				if err != nil {
					t.Errorf("%s: %v", h.name, err)
				}
				mu.Lock()
				sent++
				if status >= 400 {
					refused++
				}
				if kept {
					unreadable++
				}
				mu.Unlock()
			}
		})
	}
	wait.Go(func() { // those that stop half-way, or never begin
		for n := 0; time.Now().Before(end); n++ {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Errorf("the handler does not accept: %v", err)
				return
			}
			said := []string{"", "POST /Detect HTTP/1.1\r\nHost: x\r\n", "POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Data\":",
				"POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "\x16\x03\x01\x02\x00\x01", strings.Repeat("A", 100_000)}[n%6]
			_, _ = io.WriteString(conn, said) // it may be cut on the way
			if n%2 == 0 || n > 200 {
				conn.Close()
			} else {
				defer conn.Close() // stays open to the end
			}
			time.Sleep(5 * time.Millisecond) // its pace, not a wait for something
		}
	})
	wait.Go(func() { // too large, said at once and found out
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}, Timeout: time.Minute}
		defer client.CloseIdleConnections()
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/Detect", &endless{3 << 30})
		if err != nil {
			t.Error(err)
			return
		}
		req.ContentLength = 3 << 30
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Expect", "100-continue")
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("3 GiB: %v", err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("3 GiB are answered %s", resp.Status)
		}
	})

	var all []deletion
	slowest := time.Duration(0)
	for n := 0; time.Now().Before(end); n++ {
		d := kubeDeletion(t, podName(n), fmt.Sprintf("caller%d@example.com", n), "AKS-1", n)
		all = append(all, d)
		w.expect(d)
		begun := time.Now()
		w.deliver("0", messages(body(d.records[0]))...)
		slowest = max(slowest, time.Since(begun))
	}
	wait.Wait()
	peak := peakMemory(t, pid)
	if again, starts := w.host.Process(); again != pid || starts != 1 {
		t.Errorf("the process did not live: it was started %d times", starts)
	}
	if retries := strings.Count(w.log(), "will be tried again"); retries > 0 {
		t.Errorf("%d valid requests had to be tried again", retries)
	}
	w.drain()
	lost := w.onRecord(all) // of so many callers a minute has no room for all cards
	if peak > memoryLimit {
		t.Errorf("peak memory is %d MiB, more than %d", peak, memoryLimit)
	}
	fmt.Printf("hostile: seconds=%d requests=%d refused=%d unreadable=%d valid=%d lost=%d slowest_valid=%s peak=%d MiB\n",
		seconds, sent, refused, unreadable, len(all), lost, slowest.Round(time.Millisecond), peak)
}

// send makes one request. The answer must be one of those that are right; kept
// reports that it has an unreadable output.
func (h hostile) send(client *http.Client, address string) (status int, kept bool, err error) {
	method, path, kind := "POST", "/Detect", "application/json"
	for _, v := range []struct {
		to  *string
		own string
	}{{&method, h.method}, {&path, h.path}, {&kind, h.contentType}} {
		if v.own != "" {
			*v.to = v.own
		}
	}
	req, err := http.NewRequest(method, "http://"+address, h.body())
	if err != nil {
		return 0, false, err
	}
	req.URL.Opaque = "//" + address + path // as it is
	req.Header.Set("Content-Type", kind)
	if h.encoding != "" {
		req.Header.Set("Content-Encoding", h.encoding)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false, err
	}
	var reply struct {
		Outputs struct{ Unreadable *string }
		Error   string
	}
	if err := json.Unmarshal(answer, &reply); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		return 0, false, fmt.Errorf("the answer %.200q is not JSON", answer)
	}
	kept = reply.Outputs.Unreadable != nil
	right := false
	for _, s := range h.want {
		right = right || s == resp.StatusCode
	}
	switch {
	case !right:
		return 0, false, fmt.Errorf("answered %s %.200s, want %v", resp.Status, answer, h.want)
	case resp.StatusCode >= 400 && reply.Error == "":
		return 0, false, fmt.Errorf("the refusal %.200s says nothing", answer)
	case h.unreadable && !kept:
		return 0, false, fmt.Errorf("answered 200 %.200s: what could not be read is not kept", answer)
	}
	return resp.StatusCode, kept, nil
}

var listeningAt = regexp.MustCompile(`"msg":"listening","address":"(127\.0\.0\.1:\d+)"`)

// address is where the present process listens.
func (w *world) address() string {
	w.t.Helper()
	said := listeningAt.FindAllStringSubmatch(w.log(), -1)
	if said == nil {
		w.t.Fatalf("the handler does not say where it listens:\n%s", w.log())
	}
	return said[len(said)-1][1]
}

// peakMemory is the most memory that a process had resident, in MiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no VmHWM in %s", status)
	return 0
}
