package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/devhost"
	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
	"podwatch/handler/internal/alert"
)

// sendLines puts bodies into a partition with the tool.
func sendLines(t *testing.T, h *hubtest.Hub, partition string, bodies []string) {
	t.Helper()
	settings := map[string]string{"EventHub": h.ConnectionString, "EVENT_HUB_NAME": "podwatch"}
	if _, err := runSend(t, settings, strings.Join(bodies, "\n"), "--lines", "--partition", partition, "-"); err != nil {
		t.Fatal(err)
	}
}

// follow starts a run that follows a hub; adjust may change what its host does.
func follow(t *testing.T, h *hubtest.Hub, app, storage string, adjust func(*running, *devhost.Options)) *running {
	t.Helper()
	return startRun(t, func(r *running) runOptions {
		return runOptions{
			app: app, drop: filepath.Join(storage, "drop"), asJSON: true,
			hub: hubRunOptions{
				hubFlags: hubFlags{connection: hub.Connection{ConnectionString: h.ConnectionString, Hub: "podwatch"}, group: "local", given: func(string) bool { return true }},
				storage:  filepath.Join(storage, "azurite"),
			},
			host: func(o *devhost.Options) {
				o.Scale = func(d time.Duration) time.Duration { return min(d, 100*time.Millisecond) }
				adjust(r, o)
			},
		}
	})
}

// wait waits for the end of the run and returns how many messages it evaluated.
func (r *running) wait(t *testing.T) int {
	t.Helper()
	if err := <-r.done; err != nil {
		t.Fatalf("run: %v\n%s", err, &r.stderr)
	}
	said := regexp.MustCompile(`(\d+) messages of \S+/podwatch were evaluated`).FindStringSubmatch(r.stderr.String())
	if said == nil {
		t.Fatalf("the run did not say how many messages it evaluated:\n%s", &r.stderr)
	}
	n, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// turns lets one Detect at a time into the handler, so that a test can end the
// handler when nothing else is on its way to a sink.
type turns struct {
	slot chan struct{}
	mu   sync.Mutex
	mine string // invocation that has the turn
	n    int    // first tries so far
}

func (u *turns) take(ctx context.Context, s devhost.Step) (n int, err error) {
	u.mu.Lock()
	again := u.mine == s.InvocationID // its try was cut off
	u.mu.Unlock()
	if !again {
		select {
		case u.slot <- struct{}{}:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mine = s.InvocationID
	if s.Try == 0 {
		u.n++
	}
	return u.n, nil
}

// count is how many first tries had a turn.
func (u *turns) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n
}

func (u *turns) give() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mine = ""
	<-u.slot
}

// TestNothingIsLostOrTwiceFromHubToInbox sends to a hub, follows it with the real
// handler, ends the handler after it has delivered a batch and before the host
// knows, then ends the run in the middle and starts another.
func TestNothingIsLostOrTwiceFromHubToInbox(t *testing.T) {
	const each, late = 130, 10 // messages of a partition, before and while nothing runs
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 2}})
	n := 0
	send := func(messages int) {
		for _, partition := range []string{"0", "1"} {
			var bodies []string
			for range messages {
				bodies = append(bodies, message(unrelated, deletion(n)))
				n++
			}
			sendLines(t, h, partition, bodies)
		}
	}
	send(each)
	app, storage := stage(t, handler), t.TempDir()

	var killed, stopped sync.Once
	first := follow(t, h, app, storage, func(f *running, o *devhost.Options) {
		u := &turns{slot: make(chan struct{}, 1)}
		o.Step = func(ctx context.Context, s devhost.Step) (err error) {
			if s.Function != "Detect" {
				return nil
			}
			switch s.Name {
			case devhost.StepPost:
				nth, err := u.take(ctx, s)
				if nth == 5 {
					stopped.Do(f.end)
				}
				return err
			case devhost.StepReply:
				defer u.give()
				if s.Try == 0 && u.count() == 2 {
					killed.Do(func() {
						killHandler(t, f.run.host)
						err = errors.New("the handler was ended by the test")
					})
				}
			}
			return err
		}
	})
	taken := first.wait(t)
	if _, starts := first.run.host.Process(); starts != 2 {
		t.Errorf("the handler was started %d times, want a restart in the middle", starts)
	}
	if taken == 0 || taken >= 2*each {
		t.Fatalf("the first run evaluated %d of %d messages, want an end in the middle", taken, 2*each)
	}
	send(late)
	total := n

	second := follow(t, h, app, storage, func(*running, *devhost.Options) {})
	more := total - len(first.run.inbox.Rows())
	second.stdout.awaitCount(t, `"AlertId"`, more, second.ended)
	second.end()
	if again := second.wait(t); taken+again != total {
		t.Errorf("the runs evaluated %d and %d messages, want %d together: a checkpoint is not where it should be", taken, again, total)
	}

	var rows, cards []string
	ids := map[string]int{}
	for _, f := range []*running{first, second} {
		for _, e := range f.run.inbox.Rows() {
			a, err := alert.Parse(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(a.Pod, "cart-") {
				rows = append(rows, a.Pod)
				ids[a.AlertId]++
			}
		}
		for _, e := range f.run.inbox.Cards() {
			cards = append(cards, shownPods(e)...)
		}
	}
	slices.Sort(rows)
	slices.Sort(cards)
	if diff := cmp.Diff(podsFrom(0, total), rows); diff != "" {
		t.Errorf("pods in rows (-want +got):\n%s", diff)
	}
	// Each deletion is another caller's: a minute has room for 20 cards, and what is
	// held comes after the test.
	if shown := len(slices.Compact(slices.Clone(cards))); shown != len(cards) || shown < 20 {
		t.Errorf("%d cards show %d pods, want each once and at least 20", len(cards), shown)
	}
	if len(ids) != total {
		t.Errorf("%d alert ids in rows, want %d", len(ids), total)
	}
	if printed := strings.Count(first.stdout.String()+second.stdout.String(), `"AlertId"`); printed != len(rows) {
		t.Errorf("%d rows printed, want %d", printed, len(rows))
	}
	t.Logf("messages=%d partitions=2 runs=2 handler starts=2: lost=%d twice=%d", total, total-len(ids), len(rows)-len(ids))
}

// killHandler returns when the process is gone for sure and another one started.
func killHandler(t *testing.T, h *devhost.Host) {
	_, before := h.Process()
	h.Kill()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); ; {
		if _, starts := h.Process(); starts > before {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Error("the host did not start the handler again")
			return
		}
	}
}

var testPod = regexp.MustCompile(`cart-\d{4}`)

// shownPods are the pods that a card mentions, each once.
func shownPods(e inbox.Entry) []string {
	found := testPod.FindAllString(string(e.Data), -1)
	slices.Sort(found)
	return slices.Compact(found)
}

func TestRunRefusesFlagsThatDoNotFit(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"an argument":           {[]string{"samples"}, `no argument "samples"`},
		"two hubs":              {[]string{"--event-hub", "a", "b"}, "nothing but the name of a hub"},
		"two names":             {[]string{"--event-hub=a", "b"}, "two names for the hub"},
		"a group without a hub": {[]string{"--consumer-group", "a"}, "--consumer-group is about a hub: add --event-hub"},
		"no connection":         {[]string{"--event-hub", "a"}, "neither a connection string nor a namespace"},
		"no storage":            {[]string{"--event-hub", "a", "--namespace", "ns.servicebus.windows.net", "--storage", ""}, "--storage needs a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			withoutSettings(t)
			status, _, stderr := runTool(t, append([]string{"run"}, tt.args...)...)
			if status != statusUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, want 2 and %q: %s", status, tt.want, stderr)
			}
		})
	}
}

// TestTheHandlerOfARunSeesNoKey: the tool reads the hub, the handler need not.
func TestTheHandlerOfARunSeesNoKey(t *testing.T) {
	o := hubRunOptions{hubFlags: hubFlags{
		connection: hub.Connection{ConnectionString: "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=read;SharedAccessKey=c2VjcmV0", Hub: "logs"},
		group:      "local", given: func(string) bool { return true },
	}}
	if text := fmt.Sprint(o.settings(), o.greeting()); strings.Contains(text, "c2VjcmV0") || !strings.Contains(text, "sb://ns.servicebus.windows.net;") {
		t.Errorf("settings %s", text)
	}
	if o.settings()["EVENT_HUB_CONSUMER_GROUP"] != "local" {
		t.Error("the handler does not learn the consumer group")
	}
}
