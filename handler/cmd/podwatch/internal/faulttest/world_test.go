package faulttest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/sink"
	"podwatch/handler/internal/state"
)

// A world is the handler in its surroundings: a host, storage of its own, a
// channel and a table. What the handler says and sends is kept.
type world struct {
	t      testing.TB
	inbox  *inbox.Inbox
	direct string // connection string past the border
	plan   func(n int, p point) act
	ids    map[string]string // alert id by pod

	settings map[string]string
	mu       sync.Mutex
	host     *devhost.Host
	past     int // processes of hosts before this one
	points   int
	kills    int
	faults   int
	beats    chan devhost.Result
	said     bytes.Buffer // console lines and the host's log
	sent     bytes.Buffer // bodies that reached the border
	console  bytes.Buffer // console lines alone

	quiet atomic.Bool  // the queue seems empty to the host
	asked atomic.Int32 // how often it was told so

	book     book
	cleanups []func()
}

// start makes a world and starts its host. plan decides what happens at each
// point; nil lets everything pass. Settings are added to the ordinary ones.
func start(t testing.TB, plan func(n int, p point) act, settings map[string]string) *world {
	t.Helper()
	w := &world{t: t, plan: plan, ids: map[string]string{}, direct: storage(t), beats: make(chan devhost.Result, 100)}
	w.book = book{ledger: map[string]*ledgerEntry{}, failed: map[int]time.Time{}, shown: map[string][]showing{}, repeats: map[string]int{}}
	w.inbox = inbox.New(inbox.Options{Keep: -1, Answer: w.answer})
	t.Cleanup(w.close)
	at := parts(w.direct)
	base := func(name string) string { u, _, _ := strings.Cut(at[name], "/"+at["AccountName"]); return u }
	page := w.serve(w.sinks)
	w.settings = map[string]string{
		"AzureWebJobsStorage": connection(at["AccountName"], at["AccountKey"],
			w.serve(w.toStorage(base("BlobEndpoint"))), w.serve(w.toStorage(base("QueueEndpoint")))),
		"EventHub": "Endpoint=sb://ns.servicebus.windows.net;SharedAccessKeyName=n;SharedAccessKey=k", "EVENT_HUB_NAME": "podwatch",
		"EVENT_HUB_CONSUMER_GROUP": "$Default", "TEAMS_WEBHOOK_URL": inbox.WebhookURL(page), "LOG_ANALYTICS_ENDPOINT": page,
		"LOG_ANALYTICS_RULE_ID": inbox.RuleID, "LOG_ANALYTICS_STREAM": inbox.Stream,
	}
	maps.Copy(w.settings, settings)
	w.startHost()
	return w
}

// short makes the host's waits fit a test: what is minutes in Azure is a moment,
// but not so short that asking for the queue is all that Azurite does.
func short(d time.Duration) time.Duration { return min(d/20, 100*time.Millisecond) }

func (w *world) startHost() {
	w.t.Helper()
	h, err := devhost.Start(w.t.Context(), devhost.Options{
		App: staged(w.t), Settings: w.settings, Admin: "127.0.0.1:0", MaxErrors: -1, NoTimers: true, Scale: short,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &w.said, mu: &w.mu}, nil)),
		Console: func(stream, line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			fmt.Fprintf(&w.said, "%s: %s\n", stream, line)
			fmt.Fprintln(&w.console, line)
		},
		Step: w.step,
		Done: func(r devhost.Result) {
			if r.Function == "Heartbeat" {
				w.beats <- r
			}
		},
	})
	if err != nil {
		w.t.Fatalf("start the host: %v\n%s", err, w.log())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = h
}

// restart ends the host as a scale-in would, and starts another one.
func (w *world) restart() {
	w.t.Helper()
	// A message that the queue has handed out while the host goes away stays hidden
	// for ten minutes: the host's next question shows that it has the last answer.
	w.quiet.Store(true)
	asked := w.asked.Load()
	w.until("a host without a request to the queue", func() bool { return w.asked.Load() > asked })
	w.mu.Lock()
	h := w.host
	w.host = nil
	_, starts := h.Process()
	w.past += starts
	w.mu.Unlock()

	if err := h.Close(); err != nil {
		w.t.Errorf("close the host: %v", err)
	}
	w.quiet.Store(false)
	w.startHost()
}

func (w *world) cleanup(f func()) { w.cleanups = append(w.cleanups, f) }

func (w *world) close() {
	w.mu.Lock()
	h := w.host
	w.mu.Unlock()
	if h != nil {
		if err := h.Close(); err != nil {
			w.t.Errorf("close the host: %v", err)
		}
	}
	for _, f := range w.cleanups {
		f()
	}
	if w.t.Failed() {
		w.t.Logf("the host and the handler said:\n%s", w.log())
	}
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

// logged counts the handler's error lines with a message.
func (w *world) logged(message string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.console.String()) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "ERROR" && entry.Msg == message {
			n++
		}
	}
	return n
}

// epoch numbers the handler's processes, over all hosts of the world.
func (w *world) epoch() int {
	w.mu.Lock()
	h, past := w.host, w.past
	w.mu.Unlock()
	if h == nil {
		return past + 1 // it is starting
	}
	_, starts := h.Process()
	return past + starts
}

// at counts a point and asks the plan.
func (w *world) at(p point) act {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.points++
	if w.plan == nil {
		return pass
	}
	a := w.plan(w.points, p)
	if a != pass {
		w.faults++
		fmt.Fprintf(&w.said, "test: point %d, %s %s of process %d: %s\n", w.points, p.kind, p.what, p.epoch, a)
	}
	return a
}

// kill ends the process of that epoch, unless it has ended already, and returns
// when it is dead.
func (w *world) kill(epoch int) {
	w.mu.Lock()
	h, past := w.host, w.past
	w.mu.Unlock()
	if h == nil {
		return
	}
	pid, starts := h.Process()
	if past+starts != epoch || pid == 0 {
		return
	}
	w.mu.Lock()
	w.kills++
	w.mu.Unlock()
	h.Kill()
	if !poll(10*time.Second, time.Millisecond, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }) {
		w.t.Errorf("process %d did not die", pid)
	}
}

// poll asks until it is so, or the time is up.
func poll(limit, every time.Duration, so func() bool) bool {
	end := time.Now().Add(limit)
	for !so() {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(every)
	}
	return true
}

// until fails the test when something does not come about.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	if !poll(30*time.Second, 20*time.Millisecond, so) {
		w.t.Fatalf("%s did not come about within 30 s", what)
	}
}

func (w *world) keep(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent.Write(body)
	w.sent.WriteByte('\n')
}

// deliver hands a batch to Detect and returns when it is checkpointed.
func (w *world) deliver(partition string, messages ...invocation.Message) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	if err := w.host.Deliver(ctx, partition, messages...); err != nil {
		w.t.Errorf("deliver a batch: %v", err)
	}
}

func messages(bodies ...string) []invocation.Message {
	var all []invocation.Message
	for _, b := range bodies {
		all = append(all, invocation.Message{Body: []byte(b)})
	}
	return all
}

// beat runs Heartbeat once.
func (w *world) beat() error {
	w.t.Helper()
	for len(w.beats) > 0 {
		<-w.beats
	}
	resp, err := http.Post("http://"+w.host.Admin()+"/admin/functions/Heartbeat", "application/json", strings.NewReader(`{"input":""}`))
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		w.t.Fatalf("the host answered %s", resp.Status)
	}
	select {
	case r := <-w.beats:
		return r.Err
	case <-time.After(2 * time.Minute):
		w.t.Fatal("Heartbeat did not end")
		return nil
	}
}

func (w *world) blobs() *azblob.Client {
	client, err := azblob.NewClientFromConnectionString(w.direct, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

// list returns the names of blobs; a container that is not there has none.
func (w *world) list(container, prefix string) []string {
	w.t.Helper()
	var names []string
	pages := w.blobs().NewListBlobsFlatPager(container, &azblob.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(w.t.Context())
		if err != nil {
			return nil
		}
		for _, item := range page.Segment.BlobItems {
			names = append(names, *item.Name)
		}
	}
	return names
}

func (w *world) read(container, name string) []byte {
	w.t.Helper()
	resp, err := w.blobs().DownloadStream(w.t.Context(), container, name, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

// endWindows lets time pass: it moves the end of each storm window into the
// past, where it lies in storage.
func (w *world) endWindows() {
	w.t.Helper()
	for _, name := range w.list(state.Container, "windows/") {
		var window map[string]any
		if err := json.Unmarshal(w.read(state.Container, name), &window); err != nil {
			w.t.Fatal(err)
		}
		if window["Until"] == nil {
			w.t.Fatalf("a window without end: %v", window)
		}
		window["Until"] = time.Now().Add(-time.Second)
		if _, err := w.blobs().UploadBuffer(w.t.Context(), state.Container, name, []byte(text(window)), nil); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) queue(name string) *azqueue.QueueClient {
	client, err := azqueue.NewServiceClientFromConnectionString(w.direct, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return client.NewQueueClient(name)
}

// queued counts the messages of a queue, those in work too.
func (w *world) queued(name string) int {
	w.t.Helper()
	p, err := w.queue(name).GetProperties(w.t.Context(), nil)
	if err != nil {
		return 0 // nobody has created it
	}
	return int(*p.ApproximateMessagesCount)
}

// peek returns the texts of a queue, 32 at most.
func (w *world) peek(name string) []string {
	w.t.Helper()
	n := int32(32)
	got, err := w.queue(name).PeekMessages(w.t.Context(), &azqueue.PeekMessagesOptions{NumberOfMessages: &n})
	if err != nil {
		return nil
	}
	var texts []string
	for _, m := range got.Messages {
		plain, err := base64.StdEncoding.DecodeString(*m.MessageText)
		if err != nil {
			w.t.Fatalf("a message is not base64: %v", err)
		}
		texts = append(texts, string(plain))
	}
	return texts
}

func (w *world) enqueue(name, message string) {
	w.t.Helper()
	q := w.queue(name)
	_, _ = q.Create(w.t.Context(), nil) // it may exist
	if _, err := q.EnqueueMessage(w.t.Context(), base64.StdEncoding.EncodeToString([]byte(message)), nil); err != nil {
		w.t.Fatal(err)
	}
}

// requeue does what `podwatch requeue` does, and reports how many alerts it
// moved. What is no alert stays.
func (w *world) requeue() int {
	w.t.Helper()
	if w.queued(sink.PoisonQueue) == 0 {
		return 0
	}
	n, soon, moved := int32(32), int32(1), 0
	got, err := w.queue(sink.PoisonQueue).DequeueMessages(w.t.Context(), &azqueue.DequeueMessagesOptions{NumberOfMessages: &n, VisibilityTimeout: &soon})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range got.Messages {
		plain, err := base64.StdEncoding.DecodeString(*m.MessageText)
		if err != nil {
			w.t.Fatal(err)
		}
		a, err := alert.Parse(plain)
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(a.Notes, func(n string) bool { return strings.HasPrefix(n, "not delivered: ") }) {
			w.t.Errorf("alert %s is in the poison queue without a reason: %q", a.AlertId, a.Notes)
		}
		w.enqueue(sink.UndeliveredQueue, string(plain))
		if _, err := w.queue(sink.PoisonQueue).DeleteMessage(w.t.Context(), *m.MessageID, *m.PopReceipt, nil); err != nil {
			w.t.Fatal(err)
		}
		moved++
	}
	return moved
}

// drain lets redelivery and heartbeats run until nothing is left to do.
func (w *world) drain(junk int) {
	w.t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for {
		w.until("an empty queue", func() bool { return w.queued(sink.UndeliveredQueue) == 0 })
		w.endWindows()
		err := w.beat()
		if w.requeue() == 0 && err == nil && len(w.list(state.Container, "held/")) == 0 &&
			w.queued(sink.UndeliveredQueue) == 0 && w.onlyJunk(junk) {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("not drained: last heartbeat %v, %d held, %d undelivered, %d poison", err,
				len(w.list(state.Container, "held/")), w.queued(sink.UndeliveredQueue), w.queued(sink.PoisonQueue))
		}
	}
}

// onlyJunk reports whether the poison queue holds what was put in as no alert and
// nothing else. Each may be there more often: a queue takes at least once.
func (w *world) onlyJunk(junk int) bool {
	n := w.queued(sink.PoisonQueue)
	return n == junk || junk > 0 && n > junk
}

// rows returns the rows of deletions by alert id; podwatch's own are left out.
func (w *world) rows() map[string][]*alert.Alert {
	w.t.Helper()
	found := map[string][]*alert.Alert{}
	for _, e := range w.inbox.Rows() {
		a, err := alert.Parse(e.Data)
		if err != nil {
			w.t.Fatalf("a row is no alert: %v", err)
		}
		if a.RuleId != state.FeedRuleID {
			found[a.AlertId] = append(found[a.AlertId], a)
		}
	}
	return found
}

// cards counts by pod how often a reader of the channel sees it.
func (w *world) cards() map[string]int {
	found := map[string]int{}
	for _, e := range w.inbox.Cards() {
		for _, pod := range podsOf(e.Data) {
			found[pod]++
		}
	}
	return found
}

var podPattern = regexp.MustCompile(`pod-\d+-x`)

// podsOf returns the pods that a card says were deleted: those on its face and in
// its list, not those that its facts or its timeline mention.
func podsOf(message []byte) []string {
	var m struct {
		Attachments []struct {
			Content struct {
				Body []struct {
					Type, ID string
					Items    json.RawMessage
				}
			}
		}
	}
	if json.Unmarshal(message, &m) != nil || len(m.Attachments) == 0 {
		return nil
	}
	var pods []string
	for _, e := range m.Attachments[0].Content.Body {
		if e.Type == "Container" && e.ID == "" {
			pods = append(pods, podPattern.FindAllString(string(e.Items), -1)...)
		}
	}
	slices.Sort(pods)
	return slices.Compact(pods)
}

// expect registers deletions as input.
func (w *world) expect(all ...deletion) {
	for _, d := range all {
		w.ids[d.pod] = d.alertID
	}
}

// settle checks that every deletion is on record and was shown, and returns how
// many were lost and how many repeats there are.
func (w *world) settle(all []deletion) (lost int) {
	w.t.Helper()
	rows, cards := w.rows(), w.cards()
	for _, d := range all {
		if n := len(rows[d.alertID]); n == 0 {
			lost++
			w.t.Errorf("%s is not on record", d.pod)
		} else if got := rows[d.alertID][0].Pod; got != d.pod {
			w.t.Errorf("the row of %s is about %s", d.pod, got)
		}
		if cards[d.pod] == 0 {
			lost++
			w.t.Errorf("%s was shown to nobody", d.pod)
		}
	}
	if len(rows) != len(all) {
		w.t.Errorf("%d different alerts on record, want %d", len(rows), len(all))
	}
	for _, pod := range w.book.wrong {
		w.t.Errorf("%s was shown again without excuse", pod)
	}
	for _, e := range w.inbox.Refused() {
		if w.kills > 0 && e.Size == 0 {
			continue // its sender died in the middle of it
		}
		w.t.Errorf("%s refused what was delivered: %s", e.Sink, e.Refused)
	}
	return lost
}

// repeats counts the cards that showed a pod once more, by cause.
func (w *world) repeats() map[string]int {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	return maps.Clone(w.book.repeats)
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
