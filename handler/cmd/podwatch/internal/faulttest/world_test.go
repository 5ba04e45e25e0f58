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
	"os"
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
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// A world is handlers in their surroundings: storage, a channel and a table that
// they share. What the handlers say and send is kept. Its methods that are about one
// handler are about the first.
type world struct {
	*node
	nodes  []*node
	t      testing.TB
	began  time.Time
	inbox  *inbox.Inbox
	direct string // connection string past the border
	calm   bool   // the handler has the times of Azure
	real   bool   // and the host's are a twentieth of them, so that claims are waited for
	plan   func(n int, p point) act
	delay  time.Duration     // of an answer that is slow
	ids    map[string]string // alert id by pod

	mu      sync.Mutex
	points  int
	kills   int
	faults  int
	said    bytes.Buffer // console lines and the host's log
	sent    bytes.Buffer // bodies that reached the border
	console bytes.Buffer // console lines alone

	book     book
	cleanups []func()
}

// A node is a host with its handler.
type node struct {
	*world
	index    int
	settings map[string]string
	shift    time.Duration // of storage's clock, as the handler sees it; 0: not touched
	host     *devhost.Host // guarded by the world's mu
	past     int           // processes of hosts before this one
	beats    chan devhost.Result

	quiet atomic.Bool  // the queue seems empty to the host
	asked atomic.Int32 // how often it was told so
}

// start makes a world and starts its host. plan decides what happens at each
// point; nil lets everything pass. Settings are added to the ordinary ones. The
// handler is in a hurry, see staged.
func start(t testing.TB, plan func(n int, p point) act, settings map[string]string) *world {
	return startWorld(t, &world{plan: plan}, settings, 0)
}

// startCalm makes a world whose handler has the times of Azure.
func startCalm(t testing.TB, plan func(n int, p point) act) *world {
	return startWorld(t, &world{plan: plan, calm: true}, nil, 0)
}

// timed makes a world, not yet started, whose handlers have a hundredth of the times of
// Azure, or all of them where FAULT_REAL is set.
func timed(plan func(n int, p point) act) *world {
	real := os.Getenv("FAULT_REAL") != ""
	return &world{plan: plan, calm: real, real: real}
}

// scaled is how long something takes in a timed world that takes d in Azure.
func (w *world) scaled(d time.Duration) time.Duration {
	if w.real {
		return d
	}
	return d / 100
}

// startWorld completes a world and starts one host for each shift of storage's clock.
func startWorld(t testing.TB, w *world, settings map[string]string, shifts ...time.Duration) *world {
	t.Helper()
	w.t, w.began, w.ids, w.direct, w.book = t, time.Now(), map[string]string{}, storageAccount(t), newBook()
	w.inbox = inbox.New(inbox.Options{Keep: -1, Answer: w.answer})
	t.Cleanup(w.close)
	for i, shift := range shifts {
		w.nodes = append(w.nodes, w.newNode(i, settings))
		w.nodes[i].shift = shift
	}
	w.node = w.nodes[0]
	for _, n := range w.nodes {
		n.startHost()
	}
	return w
}

func (w *world) newNode(index int, settings map[string]string) *node {
	n := &node{world: w, index: index, beats: make(chan devhost.Result, 100)}
	at := parts(w.direct)
	base := func(name string) string { u, _, _ := strings.Cut(at[name], "/"+at["AccountName"]); return u }
	n.settings = map[string]string{
		"AzureWebJobsStorage": connection(at["AccountName"], at["AccountKey"],
			n.serve(n.toStorage(base("BlobEndpoint"))), n.serve(n.toStorage(base("QueueEndpoint")))),
		"EventHub": "Endpoint=sb://ns.servicebus.windows.net;SharedAccessKeyName=n;SharedAccessKey=k", "EVENT_HUB_NAME": "podwatch",
		"EVENT_HUB_CONSUMER_GROUP": "$Default",
	}
	maps.Copy(n.settings, inbox.Settings(n.serve(n.sinks)))
	maps.Copy(n.settings, settings)
	return n
}

// short makes the host's waits fit a test: what is minutes in Azure is a moment,
// but not so short that asking for the queue is all that Azurite does.
func (w *world) short(d time.Duration) time.Duration {
	if w.real {
		return d / 20
	}
	return min(d/20, 100*time.Millisecond)
}

func (w *node) startHost() {
	w.t.Helper()
	h, err := devhost.Start(w.t.Context(), devhost.Options{
		App: staged(w.t, w.calm), Settings: w.settings, Admin: "127.0.0.1:0", MaxErrors: -1, NoTimers: true, Scale: w.short,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &w.said, mu: &w.mu}, nil)).With("node", w.index),
		Console: func(stream, line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			fmt.Fprintf(&w.said, "%d %s: %s\n", w.index, stream, line)
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
func (w *node) restart() {
	w.t.Helper()
	// A message that the queue has handed out while the host goes away stays hidden
	// for ten minutes: the host's next question shows that it has the last answer.
	w.quiet.Store(true)
	asked := w.asked.Load()
	w.until("a host without a request to the queue", func() bool { return w.asked.Load() > asked })
	last := w.epoch()
	w.mu.Lock()
	h := w.host
	w.host = nil
	_, starts := h.Process()
	w.past += starts
	w.mu.Unlock()

	w.ended(last) // before its connections end
	if err := h.Stop(); err != nil {
		w.t.Errorf("stop the host: %v", err)
	}
	w.quiet.Store(false)
	w.startHost()
}

// ended notes that a process is dead.
func (w *world) ended(epoch int) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.book.dead[epoch] = true
}

func (w *world) cleanup(f func()) { w.cleanups = append(w.cleanups, f) }

func (w *world) close() {
	for _, n := range w.nodes {
		w.mu.Lock()
		h := n.host
		w.mu.Unlock()
		if h == nil {
			continue
		}
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
func (w *node) epoch() int {
	w.mu.Lock()
	h, past := w.host, 1000*w.index+w.past
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
	n := w.nodes[epoch/1000]
	w.mu.Lock()
	h, past := n.host, 1000*n.index+n.past
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
	w.ended(epoch) // before its connections end
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
	limit := 30 * time.Second
	if w.real {
		limit = 10 * time.Minute
	}
	if !poll(limit, 20*time.Millisecond, so) {
		w.t.Fatalf("%s did not come about within %v", what, limit)
	}
}

func (w *world) keep(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent.Write(body)
	w.sent.WriteByte('\n')
}

// deliver hands a batch to Detect and returns when it is checkpointed.
func (w *node) deliver(partition string, messages ...invocation.Message) {
	w.t.Helper()
	limit := 2 * time.Minute
	if w.real {
		limit = 20 * time.Minute
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
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
func (w *node) beat() error {
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

// endWindow lets time pass for a handler that is calm: it moves the end of the
// channel's storm window into the past, where it lies in storage.
func (w *world) endWindow() {
	w.t.Helper()
	const name = "storms/teams/window"
	if len(w.list(state.StateContainer, name)) == 0 {
		return
	}
	var window map[string]any
	if err := json.Unmarshal(w.read(state.StateContainer, name), &window); err != nil {
		w.t.Fatal(err)
	}
	if window["until"] == nil {
		w.t.Fatalf("a window without end: %v", window)
	}
	window["until"] = time.Now().Add(-time.Second)
	if _, err := w.blobs().UploadBuffer(w.t.Context(), state.StateContainer, name, []byte(text(window)), nil); err != nil {
		w.t.Fatal(err)
	}
}

// held returns the documents of alerts that wait for a summary.
func (w *world) held() []string { return w.list(state.StateContainer, "storms/teams/held/") }

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

func (w *world) account() *storage.Account {
	w.t.Helper()
	a, err := storage.Open(&config.Storage{ConnectionString: config.Secret(w.direct)}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) enqueue(name, message string) {
	w.t.Helper()
	if err := w.account().Queue(name).Put(w.t.Context(), []byte(message)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) letters() *state.DeadLetters {
	return state.NewDeadLetters(w.account().Documents(state.StateContainer), time.Now)
}

// dead returns the dead letters: those that are alerts, and the texts of the others.
func (w *world) dead() (alerts []state.DeadLetter, others []string) {
	w.t.Helper()
	for letter, err := range w.letters().All(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := alert.Parse(letter.Text); err != nil {
			others = append(others, string(letter.Text))
			continue
		}
		alerts = append(alerts, letter)
	}
	return alerts, others
}

// requeue does what `podwatch requeue` does, and reports how many alerts it
// moved. What is no alert stays.
func (w *world) requeue() int {
	w.t.Helper()
	letters, _ := w.dead()
	for _, letter := range letters {
		if letter.Reason == "" {
			w.t.Errorf("a dead letter without a reason: %s", letter.Text)
		}
		w.enqueue(storage.UndeliveredQueue, string(letter.Text))
		if err := w.letters().Remove(w.t.Context(), letter); err != nil {
			w.t.Fatal(err)
		}
	}
	return len(letters)
}

// drain lets redelivery and heartbeats run until nothing is left to do.
func (w *world) drain() {
	w.t.Helper()
	end := time.Now().Add(2 * time.Minute)
	if w.real {
		end = end.Add(20 * time.Minute)
	}
	for {
		w.until("an empty queue", func() bool { return w.queued(storage.UndeliveredQueue) == 0 })
		if w.calm {
			w.endWindow()
		}
		err := w.beat()
		if w.requeue() == 0 && err == nil && len(w.held()) == 0 &&
			w.queued(storage.UndeliveredQueue) == 0 && w.queued(storage.PoisonQueue) == 0 {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("not drained: last heartbeat %v, held %v, %d undelivered, %d poison", err,
				w.held(), w.queued(storage.UndeliveredQueue), w.queued(storage.PoisonQueue))
		}
		if !w.calm && len(w.held()) > 0 {
			time.Sleep(state.StormLength / 1000) // its pace: the window ends by the handler's clock
		}
	}
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
		if strings.HasPrefix(a.Pod, "pod-") {
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
// many were lost.
func (w *world) settle(all []deletion) (lost int) {
	w.t.Helper()
	lost = w.onRecord(all)
	cards := w.cards()
	for _, d := range all {
		if cards[d.pod] == 0 {
			lost++
			w.t.Errorf("%s was shown to nobody", d.pod)
		}
	}
	return lost
}

// onRecord checks that every deletion is on record, and that nothing was shown twice
// without excuse. It returns how many were lost.
func (w *world) onRecord(all []deletion) (lost int) {
	w.t.Helper()
	rows := w.rows()
	for _, d := range all {
		if n := len(rows[d.alertID]); n == 0 {
			lost++
			w.t.Errorf("%s is not on record", d.pod)
		} else if got := rows[d.alertID][0].Pod; got != d.pod {
			w.t.Errorf("the row of %s is about %s", d.pod, got)
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
