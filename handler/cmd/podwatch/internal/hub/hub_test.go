package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/google/go-cmp/cmp"

	"podwatch/handler/cmd/podwatch/internal/hub"
	"podwatch/handler/cmd/podwatch/internal/hub/hubtest"
)

func connect(h *hubtest.Hub) hub.Connection {
	return hub.Connection{ConnectionString: h.ConnectionString, Hub: "podwatch"}
}

// send puts bodies into the hub and fails the test when that does not work.
func send(t testing.TB, c hub.Connection, o hub.SendOptions, bodies ...string) hub.Sent {
	t.Helper()
	s, err := hub.NewSender(c, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	for _, b := range bodies {
		if err := s.Add(t.Context(), []byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Sent()
}

func numbered(prefix string, n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return bodies
}

// A ledger of what was handed over, by partition and in order.
type ledger struct {
	mu       sync.Mutex
	messages map[string][]hub.Message
}

func (l *ledger) add(_ context.Context, p hub.Partition, batch []hub.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages == nil {
		l.messages = map[string][]hub.Message{}
	}
	l.messages[p.ID] = append(l.messages[p.ID], batch...)
	return nil
}

func (l *ledger) bodies() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, messages := range l.messages {
		for _, m := range messages {
			all = append(all, string(m.Body))
		}
	}
	slices.Sort(all)
	return all
}

func (l *ledger) count() int { return len(l.bodies()) }

func TestSendThenReadGivesTheSameBodies(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 3}})
	want := numbered("body", 1000)
	want = append(want, "", "\x00\xff\xfe not UTF-8", strings.Repeat("large ", 150_000), strings.Repeat("x", 900_000))
	for i := range 30 { // of different lengths, across the one-byte and four-byte sizes of AMQP
		want = append(want, strings.Repeat("x", 240+i))
	}
	var told []hub.Sent
	sent := send(t, connect(h), hub.SendOptions{Progress: func(s hub.Sent) { told = append(told, s) }}, want...)
	if sent.Messages != int64(len(want)) || sent.Batches < 2 || len(told) != int(sent.Batches) || told[len(told)-1] != sent {
		t.Errorf("sent %+v, progress %+v", sent, told)
	}

	var got ledger
	var last hub.Progress
	done, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{Progress: func(p hub.Progress) { last = p }}, got.add)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got.bodies()); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
	if done.Messages != int64(len(want)) || done.Bytes != sent.Bytes || done.Left != 0 || done.Partitions != 3 {
		t.Errorf("done = %+v", done)
	}
	if last.Messages != done.Messages {
		t.Errorf("last progress = %+v, want the total %+v", last, done)
	}
	for id, messages := range got.messages {
		for i, m := range messages {
			if m.Sequence != int64(i) || m.Offset == "" || time.Since(m.Enqueued) > time.Hour {
				t.Fatalf("partition %s: message %d is %d at %q, enqueued %v", id, i, m.Sequence, m.Offset, m.Enqueued)
			}
		}
	}
}

func TestReadOfAnEmptyHubEnds(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	done, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{}, (&ledger{}).add)
	if err != nil || done.Messages != 0 || done.Partitions != 2 {
		t.Errorf("Read = %+v, %v", done, err)
	}
}

func TestReadBoundsTheBytesOfABatch(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	want := slices.Concat(
		slices.Repeat([]string{"small"}, 1000),
		slices.Repeat([]string{strings.Repeat("large", 12_000)}, 900),
		slices.Repeat([]string{"small"}, 1000))
	send(t, connect(h), hub.SendOptions{}, want...)
	var got []string
	var next int64
	largest := 0
	_, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{}, func(_ context.Context, _ hub.Partition, batch []hub.Message) error {
		bytes := 0
		for _, m := range batch {
			if m.Sequence != next {
				return fmt.Errorf("message %d, want %d", m.Sequence, next)
			}
			next++
			got = append(got, string(m.Body))
			bytes += len(m.Body)
		}
		largest = max(largest, bytes)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d messages read, want the %d that were sent", len(got), len(want))
	}
	if largest > 2<<20+60_000 {
		t.Errorf("a batch has %d bytes, want 2 MiB and at most one message more", largest)
	}
}

func TestReadStopsWhereTheHubEndedAtItsStart(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}})
	send(t, connect(h), hub.SendOptions{}, numbered("early", 10)...)
	var got ledger
	done, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{MaxBatch: 4}, func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
		send(t, connect(h), hub.SendOptions{}, "late")
		return got.add(ctx, p, batch)
	})
	if err != nil || done.Messages != 10 {
		t.Fatalf("Read = %+v, %v, want the 10 early messages", done, err)
	}
	if diff := cmp.Diff(numbered("early", 10), got.bodies()); diff != "" {
		t.Error(diff)
	}
}

func TestSendTargets(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 4}})
	send(t, connect(h), hub.SendOptions{Partition: "2"}, numbered("two", 20)...)
	send(t, connect(h), hub.SendOptions{Key: "cluster-a"}, numbered("keyed", 20)...)
	send(t, connect(h), hub.SendOptions{Key: "cluster-a"}, "keyed-again")

	var got ledger
	if _, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{}, got.add); err != nil {
		t.Fatal(err)
	}
	keyed := map[string]int{}
	for id, messages := range got.messages {
		for _, m := range messages {
			switch {
			case strings.HasPrefix(string(m.Body), "two") && id != "2":
				t.Errorf("%s is in partition %s, want 2", m.Body, id)
			case strings.HasPrefix(string(m.Body), "keyed"):
				keyed[id]++
			}
		}
	}
	if len(keyed) != 1 {
		t.Errorf("one key went to partitions %v", keyed)
	}

	if _, err := hub.NewSender(connect(h), hub.SendOptions{Partition: "1", Key: "a"}); err == nil {
		t.Error("a partition and a key together were accepted")
	}
}

func TestSendReportsATooLargeMessageAndGoesOn(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	s, err := hub.NewSender(connect(h), hub.SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	for _, body := range []string{"before", strings.Repeat("x", 1<<20), "after"} {
		err := s.Add(t.Context(), []byte(body))
		var large *hub.TooLargeError
		if got := errors.As(err, &large); got != (len(body) > 100) || (err != nil && !got) {
			t.Errorf("Add of %d bytes: %v", len(body), err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got ledger
	if _, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{}, got.add); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"after", "before"}, got.bodies()); diff != "" {
		t.Error(diff)
	}
}

func TestSendKeepsItsRate(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	start := time.Now()
	sent := send(t, connect(h), hub.SendOptions{Rate: 200}, numbered("slow", 61)...)
	// The last message waits for 60 others: 60/200 s. Sooner is a broken rate,
	// later only a busy machine.
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("61 messages at 200 a second took %v", took)
	}
	if sent.Batches != 4 {
		t.Errorf("sent in %d batches, want 4 of at most 20 messages", sent.Batches)
	}
}

func TestReadBetweenTimes(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}, Clock: start, Step: time.Minute})
	all := numbered("minute", 60) // message n was enqueued n minutes after start
	send(t, connect(h), hub.SendOptions{}, all...)

	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	for name, c := range map[string]struct {
		from, to time.Time
		want     []string
	}{
		"from is included":          {from: minute(50), want: all[50:]},
		"to is not":                 {to: minute(10), want: all[:10]},
		"both":                      {from: minute(10), to: minute(13), want: all[10:13]},
		"between two messages":      {from: minute(10).Add(time.Second), to: minute(12).Add(time.Second), want: all[11:13]},
		"from the last one":         {from: minute(59), want: all[59:]},
		"nothing so late":           {from: minute(60)},
		"nothing so early":          {to: start},
		"an empty span in between":  {from: minute(5).Add(time.Second), to: minute(5).Add(2 * time.Second)},
		"to far ahead is everyting": {to: minute(1000), want: all},
	} {
		t.Run(name, func(t *testing.T) {
			var got ledger
			done, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{From: c.from, To: c.to, MaxBatch: 7}, got.add)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.bodies()); diff != "" || done.Left != 0 {
				t.Errorf("left %d, bodies (-want +got):\n%s", done.Left, diff)
			}
		})
	}
}

func TestReadResumesBehindTheLastHandledBatch(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{})
	file := filepath.Join(t.TempDir(), "positions.json")
	want := numbered("message", 400)
	send(t, connect(h), hub.SendOptions{Partition: "0"}, want[:200]...)
	send(t, connect(h), hub.SendOptions{Partition: "1"}, want[200:]...)

	var got ledger
	broken := errors.New("the disk is full")
	o := hub.ReadOptions{PositionFile: file, MaxBatch: 10}
	for run := 1; ; run++ {
		if run > 20 {
			t.Fatal("the read does not get anywhere")
		}
		calls := 0
		var mu sync.Mutex
		_, err := hub.Read(t.Context(), connect(h), o, func(ctx context.Context, p hub.Partition, batch []hub.Message) error {
			mu.Lock()
			calls++
			fail := calls > 8
			mu.Unlock()
			if fail {
				return broken
			}
			return got.add(ctx, p, batch)
		})
		if err == nil {
			break
		}
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got.bodies()); diff != "" {
		t.Errorf("after several interrupted runs (-want +got):\n%s", diff)
	}

	// What comes later is all that the next run reads.
	send(t, connect(h), hub.SendOptions{}, "later")
	var later ledger
	if _, err := hub.Read(t.Context(), connect(h), o, later.add); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"later"}, later.bodies()); diff != "" {
		t.Error(diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside the position file: %v, %v", entries, err)
	}
}

func TestReadRefusesAForeignPositionFile(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1, "other": 1}})
	send(t, connect(h), hub.SendOptions{}, "a", "b")
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.json")
	if _, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{PositionFile: mine}, (&ledger{}).add); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(mine)
	if err != nil {
		t.Fatal(err)
	}
	other := connect(h)
	other.Hub = "other"
	for name, c := range map[string]struct {
		connection hub.Connection
		content    string
		want       string
	}{
		"of another hub":     {other, string(good), "belongs to"},
		"ahead of the hub":   {connect(h), strings.Replace(string(good), `"sequence": 1`, `"sequence": 7`, 1), "created anew"},
		"older than the hub": {connect(h), regexp.MustCompile(`"enqueued": "\d{4}`).ReplaceAllString(string(good), `"enqueued": "2024`), "created anew"},
		"that is no JSON":    {connect(h), "{", "position file"},
		"with an odd value":  {connect(h), `{"partitions": 1}`, "position file"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.json")
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := hub.Read(t.Context(), c.connection, hub.ReadOptions{PositionFile: file}, (&ledger{}).add)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(file); string(after) != c.content {
				t.Errorf("the refused file was changed to %s", after)
			}
		})
	}
}

func TestReadCountsWhatExpired(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}, RetainBytes: 1 << 20})
	file := filepath.Join(t.TempDir(), "p.json")
	send(t, connect(h), hub.SendOptions{}, "first")
	o := hub.ReadOptions{PositionFile: file}
	if _, err := hub.Read(t.Context(), connect(h), o, (&ledger{}).add); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 200<<10)
	send(t, connect(h), hub.SendOptions{}, big, big, big, big, big, big, big, "last")
	var got ledger
	done, err := hub.Read(t.Context(), connect(h), o, got.add)
	if err != nil {
		t.Fatal(err)
	}
	if done.Messages+done.Expired != 8 || done.Expired == 0 || got.bodies()[done.Messages-1] != big {
		t.Errorf("done = %+v, want 8 messages read or expired", done)
	}
}

// Messages may expire between the plan and their turn.
func TestReadEndsWhenTheRestExpires(t *testing.T) {
	const all = 1800 // more than the hub sends ahead
	bodies := slices.Repeat([]string{strings.Repeat("x", 500)}, all)
	for _, size := range []int{1, 7, 150} {
		t.Run(fmt.Sprintf("batches of %d", size), func(t *testing.T) {
			h := hubtest.Start(t, hubtest.Options{Hubs: map[string]int{"podwatch": 1}, RetainBytes: 1 << 20})
			send(t, connect(h), hub.SendOptions{}, bodies...)
			done, err := hub.Read(t.Context(), connect(h), hub.ReadOptions{MaxBatch: size, Stalled: 500 * time.Millisecond},
				func(_ context.Context, _ hub.Partition, batch []hub.Message) error {
					if batch[0].Sequence == 0 {
						send(t, connect(h), hub.SendOptions{}, bodies...)
						send(t, connect(h), hub.SendOptions{}, bodies...)
					}
					return nil
				})
			if err != nil || done.Left != 0 || done.Messages+done.Expired != all || done.Expired == 0 {
				t.Errorf("Read = %+v, %v, want %d messages read or expired", done, err, all)
			}
		})
	}
}

func TestErrorsSayWhatToDoAndHideTheKey(t *testing.T) {
	const secret = "c2VjcmV0LWtleQ=="
	hide := func(s string) string { return strings.Replace(s, "SAS_KEY_VALUE", secret, 1) }
	refused := hubtest.Start(t, hubtest.Options{Unauthorized: true})
	open := hubtest.Start(t, hubtest.Options{Groups: []string{"podwatch"}})
	once := azeventhubs.RetryOptions{MaxRetries: -1}

	for name, c := range map[string]struct {
		connection hub.Connection
		group      string
		want       string
	}{
		"claim refused":          {hub.Connection{ConnectionString: hide(refused.ConnectionString), Hub: "podwatch"}, "", "needs the role"},
		"no such hub":            {hub.Connection{ConnectionString: hide(open.ConnectionString), Hub: "nowhere"}, "", "nowhere"},
		"no such consumer group": {hub.Connection{ConnectionString: hide(open.ConnectionString), Hub: "podwatch"}, "stranger", "stranger"},
		"nobody listens":         {hub.Connection{ConnectionString: hide(hubtest.ConnectionString("127.0.0.1:1")), Hub: "podwatch"}, "", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c.connection.Retry = once
			if c.group == "" {
				s, err := hub.NewSender(c.connection, hub.SendOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close(t.Context())
				checkError(t, s.Add(t.Context(), []byte("x")), c.want, secret)
			} else {
				send(t, c.connection, hub.SendOptions{}, "x", "y")
			}
			_, err := hub.Read(t.Context(), c.connection, hub.ReadOptions{ConsumerGroup: c.group}, (&ledger{}).add)
			checkError(t, err, c.want, secret)
		})
	}
}

func checkError(t *testing.T, err error, want, secret string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
		t.Errorf("error %v, want one with %q and without the key", err, want)
	}
}

func TestConnectionIsChecked(t *testing.T) {
	const secret = "c2VjcmV0LWtleQ=="
	const full = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=" + secret
	for name, c := range map[string]struct {
		connection hub.Connection
		want       string // "" is fine
	}{
		"string and hub":               {hub.Connection{ConnectionString: full, Hub: "h"}, ""},
		"string with an entity path":   {hub.Connection{ConnectionString: full + ";EntityPath=h"}, ""},
		"the same hub twice":           {hub.Connection{ConnectionString: full + ";EntityPath=h", Hub: "H"}, ""},
		"namespace and hub":            {hub.Connection{Namespace: "ns.servicebus.windows.net", Hub: "h"}, ""},
		"nothing":                      {hub.Connection{}, "neither"},
		"both":                         {hub.Connection{ConnectionString: full, Namespace: "ns.servicebus.windows.net", Hub: "h"}, "both"},
		"string without a hub":         {hub.Connection{ConnectionString: full}, "no hub"},
		"namespace without a hub":      {hub.Connection{Namespace: "ns.servicebus.windows.net"}, "no hub"},
		"two hubs":                     {hub.Connection{ConnectionString: full + ";EntityPath=a", Hub: "b"}, `is for "a"`},
		"short namespace":              {hub.Connection{Namespace: "ns", Hub: "h"}, "host name"},
		"namespace as an address":      {hub.Connection{Namespace: "sb://ns.servicebus.windows.net/", Hub: "h"}, "host name"},
		"string given as namespace":    {hub.Connection{Namespace: full, Hub: "h"}, "host name"},
		"string without semicolons":    {hub.Connection{ConnectionString: strings.ReplaceAll(full, ";", " "), Hub: "h"}, "cannot be read"},
		"emulator of another scheme":   {hub.Connection{ConnectionString: strings.Replace(full, "sb:", "amqp"+secret+":", 1) + ";UseDevelopmentEmulator=true", Hub: "h"}, "cannot be read"},
		"emulator neither on nor off":  {hub.Connection{ConnectionString: full + ";UseDevelopmentEmulator=" + secret, Hub: "h"}, "cannot be read"},
		"key without a name":           {hub.Connection{ConnectionString: "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKey=" + secret, Hub: "h"}, "cannot be read"},
		"something else that is short": {hub.Connection{ConnectionString: secret, Hub: "h"}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.connection.Validate()
			if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Validate: %v, want %q", err, c.want)
			}
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("connect", "hub", c.connection)
			for _, text := range []string{fmt.Sprint(err), log.String(), fmt.Sprintf("%v %+v %#v %s", c.connection, c.connection, c.connection, c.connection)} {
				if strings.Contains(text, secret) {
					t.Errorf("the key stands in %q", text)
				}
			}
		})
	}
}

func TestConnectionFromSettings(t *testing.T) {
	env := map[string]string{"EventHub__fullyQualifiedNamespace": "ns.servicebus.windows.net", "EVENT_HUB_NAME": "h"}
	getenv := func(name string) string { return env[name] }
	if got := hub.ConnectionFrom(getenv); got.Namespace != "ns.servicebus.windows.net" || got.Hub != "h" || got.ConnectionString != "" {
		t.Errorf("by identity: %q", got)
	}
	env["EventHub"] = "Endpoint=sb://other/;SharedAccessKeyName=a;SharedAccessKey=b"
	if got := hub.ConnectionFrom(getenv); got.Namespace != "" || got.ConnectionString != env["EventHub"] {
		t.Errorf("the exact name must win: %q", got)
	}
}
