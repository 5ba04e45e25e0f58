package faulttest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/state"
)

// A point is a place where something crosses the border of the handler: a
// request to a sink or to storage, or a step of the host.
type point struct {
	kind  string // "sink", "storage", "output" (the host writing to storage) or "host"
	what  string // "teams", "PUT podwatch-ledger/teams/ab12", "Detect reply"
	epoch int    // which process it belongs to
}

// An act is what the test does at a point.
type act int

const (
	pass       act = iota
	killBefore     // the process dies, the request never arrives
	killAfter      // the request is done, the process dies before it learns
	refuse         // an error is answered
	busy           // 429 or 503 with a long Retry-After
	gone           // 404: refused until somebody mends it
	reject         // 400: rejected for good
	cut            // the connection is cut, nothing is done
	lose           // done, and then the connection is cut
	slow           // done, after a while
	outage         // this and what follows at the same kind fails for a while
)

func (a act) String() string {
	return [...]string{"pass", "kill before", "kill after", "refuse", "busy", "gone", "reject", "cut", "lose", "slow", "outage"}[a]
}

// epochHeader tells the inbox's hook which process sent a request.
const epochHeader = "X-Test-Epoch"

type epochKey struct{}

// serve answers on a loopback port until stop is called. Connections are stamped
// with the process that they come from: a request that a dead process has left
// in a socket must not be taken for the next one's.
func (w *node) serve(handler http.HandlerFunc) (base string) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, epochKey{}, w.epoch())
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // returns when the server is closed
	}()
	w.cleanup(func() {
		_ = server.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func epochOf(r *http.Request) int { return r.Context().Value(epochKey{}).(int) }

// sinks answers for Teams and Log Analytics. An answer that may have come too late,
// or to a process that gave up waiting, is one that the handler was not told.
func (w *node) sinks(rw http.ResponseWriter, r *http.Request) {
	r.Header.Set(epochHeader, strconv.Itoa(epochOf(r)))
	began := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was cut
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	defer func() {
		if r.Context().Err() != nil || time.Since(began) > postTime/3 {
			w.late(epochOf(r), body)
		}
	}()
	w.inbox.ServeHTTP(rw, r)
}

// postTime is how long the handler in a hurry waits for an answer of a sink.
const postTime = state.PostTime / 100

// answer decides over one delivery, before the inbox takes it.
func (w *world) answer(r inbox.Request) *inbox.Answer {
	name := map[inbox.Sink]string{inbox.Teams: "teams", inbox.LogAnalytics: "loganalytics"}[r.Sink]
	epoch, _ := strconv.Atoi(r.Header.Get(epochHeader))
	a := w.at(point{kind: "sink", what: name, epoch: epoch})
	if a == cut && !w.cutOnce(name) {
		a = refuse // after two requests without an answer an alert counts as accepted, by design
	}
	w.keep(r.Body)
	taken := a == pass || a == slow || a == lose || a == killAfter
	if taken && r.Sink == inbox.Teams {
		w.posted(epoch, a, r.Body)
	}
	switch a {
	case killBefore:
		w.kill(epoch)
		return &inbox.Answer{Cut: true}
	case killAfter:
		w.kill(epoch)
		return &inbox.Answer{Cut: true, Accept: true}
	case refuse:
		return &inbox.Answer{Status: http.StatusInternalServerError}
	case outage: // so long that the handler does not wait for its end
		return &inbox.Answer{Status: http.StatusServiceUnavailable, RetryAfter: "600"}
	case busy:
		return &inbox.Answer{Status: http.StatusTooManyRequests, RetryAfter: "600"}
	case gone:
		return &inbox.Answer{Status: http.StatusNotFound}
	case reject:
		return &inbox.Answer{Status: http.StatusBadRequest}
	case cut:
		return &inbox.Answer{Cut: true}
	case lose:
		return &inbox.Answer{Cut: true, Accept: true}
	case slow:
		return &inbox.Answer{Delay: cmp.Or(w.delay, 150*time.Millisecond)}
	}
	return nil
}

// toStorage answers for one storage service by asking Azurite.
func (w *node) toStorage(target string) http.HandlerFunc {
	to, err := url.Parse(target)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was cut
		}
		p := point{kind: "storage", epoch: epochOf(r)}
		_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		p.what = r.Method + " " + path
		defer w.unanswered(r.Context(), p.epoch, path)()
		if r.Method == http.MethodGet && strings.HasSuffix(path, "/messages") && w.quiet.Load() {
			rw.Header().Set("Content-Type", "application/xml")
			_, _ = io.WriteString(rw, `<?xml version="1.0" encoding="utf-8"?><QueueMessagesList/>`) // or it is gone
			w.asked.Add(1)
			return
		}
		a := pass
		switch {
		case strings.HasPrefix(r.UserAgent(), "podwatch"):
			a = w.at(p)
		case (r.Method == http.MethodPost || r.Method == http.MethodPut) && strings.Contains(path, "/"):
			// The host's, writing an output. What it does with messages that it
			// holds is let through: they would be hidden for ten minutes.
			if p.kind = "output"; r.URL.Query().Get("popreceipt") == "" {
				a = w.at(p)
			}
		}
		var status int
		var answer []byte
		switch a {
		case killBefore, cut, outage, refuse, busy, gone, reject:
			status = 0
		default:
			asked := time.Now()
			if status, answer, err = w.forward(rw.Header(), r, to, body); err != nil {
				a = cut
			}
			if time.Since(asked) > stallTime {
				lastStall.Store(time.Now().UnixNano())
			}
		}
		if p.kind == "storage" {
			w.stored(p, r.Method, path, body, status)
			w.shiftDate(rw.Header(), r.Method, path, status)
		}
		switch a {
		case killBefore, killAfter:
			w.kill(p.epoch)
			panic(http.ErrAbortHandler)
		case cut, lose, outage:
			panic(http.ErrAbortHandler)
		case refuse, busy, gone, reject:
			rw.Header().Set("x-ms-error-code", "ServerBusy")
			status, answer = http.StatusServiceUnavailable, nil
		}
		rw.WriteHeader(status)
		_, _ = rw.Write(answer) // the process may be dead by now
	}
}

var toAzurite = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 2 * time.Second}

// forward asks Azurite and copies the header of its answer.
func (w *node) forward(header http.Header, r *http.Request, to *url.URL, body []byte) (int, []byte, error) {
	u := *r.URL
	u.Scheme, u.Host = to.Scheme, to.Host
	// Not the request's context: what a process sent before it died arrives.
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Connection")
	resp, err := toAzurite.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	for name, values := range resp.Header {
		if name != "Connection" && name != "Keep-Alive" && name != "Transfer-Encoding" {
			header[name] = values
		}
	}
	return resp.StatusCode, answer, err
}

// shiftDate moves the time at which storage says that it answers, from which the handler
// takes the age of a document. A handler in a hurry makes a hundredth of it: the date has
// whole seconds, which are minutes to it, so the age is taken from the test's clock and
// rounded down.
func (w *node) shiftDate(answer http.Header, method, path string, status int) {
	if w.shift == 0 {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	switch {
	case method == http.MethodPut && status == http.StatusCreated:
		w.book.written[path] = time.Now()
	case method == http.MethodGet && status == http.StatusOK:
		modified, err := http.ParseTime(answer.Get("Last-Modified"))
		if written, ok := w.book.written[path]; ok && err == nil {
			answer.Set("Date", modified.Add(time.Since(written)+w.shift).UTC().Format(http.TimeFormat))
		}
	}
}

// step decides over one step of the host.
func (w *node) step(_ context.Context, s devhost.Step) error {
	epoch := w.epoch()
	p := point{kind: "host", what: s.Function + " " + string(s.Name) + " " + s.Binding, epoch: epoch}
	switch a := w.at(p); a {
	case pass, slow:
	case killBefore, killAfter:
		w.kill(epoch)
	default:
		return fmt.Errorf("the test fails %s", p.what)
	}
	return nil
}

// A ledgerEntry is what the border saw of the document of one delivery.
type ledgerEntry struct {
	marked bool // its outcome was stored
	failed bool // a request to store its outcome failed
}

// A showing is one card that showed a pod.
type showing struct {
	epoch int
	lost  bool // the handler was not told
}

// A book is what crossed the border so far.
type book struct {
	mu      sync.Mutex
	ledger  map[string]*ledgerEntry // by "sink/alert id"
	failed  map[int]time.Time       // when a process last failed to ask the ledger
	dead    map[int]bool            // processes that were ended
	shown   map[string][]showing    // by pod
	cut     map[string]bool         // sinks that cut a connection
	written map[string]time.Time    // when documents were last written
	repeats map[string]int          // by cause
	wrong   []string                // cards without excuse
}

func newBook() book {
	return book{ledger: map[string]*ledgerEntry{}, failed: map[int]time.Time{}, dead: map[int]bool{}, shown: map[string][]showing{},
		cut: map[string]bool{}, repeats: map[string]int{}, written: map[string]time.Time{}}
}

// cutOnce reports true once for each sink.
func (w *world) cutOnce(sink string) bool {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	was := w.book.cut[sink]
	w.book.cut[sink] = true
	return !was
}

// unanswered notes that a living process gave up waiting for the ledger: on a machine
// that is busy for seconds no fault of the test is needed for that. It is noted at that
// moment, since the process may post at once. The function that it returns ends the
// watch.
func (w *world) unanswered(ctx context.Context, epoch int, path string) (stop func()) {
	if !strings.HasPrefix(path, state.LedgerContainer+"/") {
		return func() {}
	}
	end := context.AfterFunc(ctx, func() {
		w.book.mu.Lock()
		defer w.book.mu.Unlock()
		if !w.book.dead[epoch] {
			w.book.failed[epoch] = time.Now()
		}
	})
	return func() { end() }
}

// stored notes what the handler did to the ledger.
func (w *world) stored(p point, method, path string, content []byte, status int) {
	name, ok := strings.CutPrefix(path, state.LedgerContainer+"/")
	if !ok {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	lost := status == 0 || status >= 500
	if lost {
		w.book.failed[p.epoch] = time.Now()
	}
	var document struct{ Outcome string }
	if method != http.MethodPut || json.Unmarshal(content, &document) != nil || document.Outcome == "" {
		return
	}
	e := w.book.entry(name)
	e.marked = e.marked || status == http.StatusCreated
	e.failed = e.failed || lost
}

func (b *book) entry(name string) *ledgerEntry {
	if b.ledger[name] == nil {
		b.ledger[name] = &ledgerEntry{}
	}
	return b.ledger[name]
}

// posted notes a card that is taken now, and judges whether a pod on it may be
// shown once more.
func (w *world) posted(epoch int, a act, message []byte) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	for _, pod := range podsOf(message) {
		if before := w.book.shown[pod]; len(before) > 0 {
			cause := w.excuse(epoch, before[len(before)-1], w.book.entry("teams/"+w.ids[pod]))
			w.book.repeats[cause]++
			if cause == "" {
				w.book.wrong = append(w.book.wrong, pod)
			}
		}
		w.book.shown[pod] = append(w.book.shown[pod], showing{epoch: epoch, lost: a == lose || a == killAfter})
	}
}

// late notes that a process may not have got the answer to a card.
func (w *world) late(epoch int, message []byte) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	for _, pod := range podsOf(message) {
		for i := range w.book.shown[pod] {
			if s := &w.book.shown[pod][i]; s.epoch == epoch {
				s.lost = true
			}
		}
	}
}

// excuse names the documented reason for a repeat, or is empty.
func (w *world) excuse(epoch int, before showing, e *ledgerEntry) string {
	const asked = 10 * time.Second // after a failure the ledger is not asked for a while
	switch {
	case before.lost:
		return "the answer was lost"
	case before.epoch == epoch && !e.failed:
		return "" // the process itself knows
	case e.failed && !e.marked:
		return "the mark could not be written"
	case time.Since(w.book.failed[epoch]) < asked || time.Since(w.book.failed[before.epoch]) < asked:
		return "the ledger could not be asked"
	case w.book.dead[before.epoch] && !e.marked:
		return "killed before the mark"
	case stood(time.Now().Add(-asked)):
		return "the machine stood still"
	}
	return ""
}
