package invocation_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/jsontext"
)

// A piece is a line of the unreadable output, as operators query it.
type piece struct {
	EventHub, Partition string
	SequenceNumber      int64
	EnqueuedTime        time.Time
	Position            int
	Reason, Text        string
	Base64              []byte
}

// written returns the bytes of a reply, whose length must be known before.
func written(t testing.TB, r *invocation.Reply) []byte {
	t.Helper()
	var out bytes.Buffer
	if n, err := r.WriteTo(&out); err != nil || n != int64(out.Len()) || n != r.Size() {
		t.Fatalf("wrote %d bytes, announced %d and returned %d, %v", out.Len(), r.Size(), n, err)
	}
	return out.Bytes()
}

// unreadable returns the pieces of the unreadable output of a reply.
func unreadable(t testing.TB, r *invocation.Reply) (pieces []piece) {
	t.Helper()
	var reply struct{ Outputs struct{ Unreadable string } }
	unmarshal(t, written(t, r), &reply)
	unmarshal(t, []byte(reply.Outputs.Unreadable), &pieces)
	return pieces
}

func TestReplyIsNeverEmpty(t *testing.T) {
	for name, r := range map[string]*invocation.Reply{
		"the zero value": {},
		"of a batch":     open(t, []byte(data(`"[]"`)), nil).Reply(),
	} {
		if got := string(written(t, r)); got != "{}" {
			t.Errorf("%s: got %q, want {}", name, got)
		}
		r.Close()
		r.Close()
	}
}

// TestReplyWritesOutputsAsTheHostNeedsThem: the queue output is an array of
// strings, because the host rewrites objects, and the blob a string that can
// neither be base64 nor a time.
func TestReplyWritesOutputsAsTheHostNeedsThem(t *testing.T) {
	body := `{"Data":{"events":"[\"{}\",\"{\\\"a\\\":\\\"é\\u0000\\\\n\\\"\"]"},"Metadata":{"PartitionContext":{"EventHubName":"logs","PartitionId":"0"},"SequenceNumberArray":"[4,5]","EnqueuedTimeUtcArray":"[\"2025-03-04T09:15:22.5\",\"2025-03-04T09:15:23\"]"}}`
	for name, tt := range map[string]struct {
		add  func(*invocation.Batch, *invocation.Reply)
		want string
	}{
		"alerts": {func(_ *invocation.Batch, r *invocation.Reply) {
			r.Undelivered([]byte(`{"a":"<b>&\u0000"}`))
			r.Undelivered([]byte("{\"€\":\"\u2028\"}"))
		}, `{"Outputs":{"undelivered":["{\"a\":\"<b>&\\u0000\"}","{\"€\":\"\u2028\"}"]}}`},
		"a whole message": {func(b *invocation.Batch, r *invocation.Reply) {
			m, _ := b.Message(1)
			r.Unreadable(1, 0, "it ends early", m)
		}, `{"Outputs":{"unreadable":"[\n{\"EventHub\":\"logs\",\"Partition\":\"0\",\"SequenceNumber\":5,\"EnqueuedTime\":\"2025-03-04T09:15:23Z\",\"Position\":0,\"Reason\":\"it ends early\",\"Text\":\"{\\\"a\\\":\\\"é\\u0000\\\\n\\\"\"}\n]\n"}}`},
		"pieces of two messages, and alerts": {func(b *invocation.Batch, r *invocation.Reply) {
			r.Undelivered([]byte(`{}`))
			r.Unreadable(0, 3, "\"one\"", jsontext.Text{Raw: []byte("a\tb")})
			r.Unreadable(1, 7, "two", jsontext.Text{Raw: []byte("\xff\x00")})
			r.Unreadable(-1, 0, "of no message", jsontext.Text{})
		}, `{"Outputs":{"undelivered":["{}"],"unreadable":"[\n{\"EventHub\":\"logs\",\"Partition\":\"0\",\"SequenceNumber\":4,\"EnqueuedTime\":\"2025-03-04T09:15:22.5Z\",\"Position\":3,\"Reason\":\"\\\"one\\\"\",\"Text\":\"a\\tb\"},\n{\"EventHub\":\"logs\",\"Partition\":\"0\",\"SequenceNumber\":5,\"EnqueuedTime\":\"2025-03-04T09:15:23Z\",\"Position\":7,\"Reason\":\"two\",\"Base64\":\"/wA=\"},\n{\"EventHub\":\"logs\",\"Partition\":\"0\",\"SequenceNumber\":-1,\"Position\":0,\"Reason\":\"of no message\",\"Text\":\"\"}\n]\n"}}`},
		"text with a malformed escape, as it is quoted": {func(_ *invocation.Batch, r *invocation.Reply) {
			r.Unreadable(0, 0, "x", jsontext.Text{Raw: []byte(`{\\q}`), Depth: 2})
		}, `{"Outputs":{"unreadable":"[\n{\"EventHub\":\"logs\",\"Partition\":\"0\",\"SequenceNumber\":4,\"EnqueuedTime\":\"2025-03-04T09:15:22.5Z\",\"Position\":0,\"Reason\":\"x\",\"Text\":\"{\\\\\\\\q}\"}\n]\n"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, []byte(body), nil)
			r := b.Reply()
			tt.add(b, r)
			if got := string(written(t, r)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestLongTextsAreWrittenWhole: text is quoted in parts, which must not divide a
// character.
func TestLongTextsAreWrittenWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		var text strings.Builder
		for text.Len() < 100_000 {
			text.WriteString([]string{"a", "é", "€", "😀", `"`, `\`, "\n", "\x00"}[r.IntN(8)])
		}
		b := open(t, []byte(data(`"[\"\"]"`)), nil)
		reply := b.Reply()
		reply.Unreadable(0, 0, "x", jsontext.Text{Raw: []byte(text.String())})
		if got := unreadable(t, reply)[0].Text; got != text.String() {
			t.Fatal("the text was changed")
		}
	}
}

// TestABodyLeavesAsUnreadableWithoutASecondCopy: the reply to a body that is no
// batch is as large as the body, and encoded while it is written.
func TestABodyLeavesAsUnreadableWithoutASecondCopy(t *testing.T) {
	for name, filler := range map[string]string{"as text": "é", "as base64": "\xff"} {
		t.Run(name, func(t *testing.T) {
			const size = 12 << 20
			b := open(t, []byte(strings.Repeat(filler, size/len(filler))), nil)
			r := b.Reply()
			var before, after runtime.MemStats
			out := countingWriter(0)
			runtime.ReadMemStats(&before)
			n, err := r.WriteTo(&out)
			runtime.ReadMemStats(&after)
			if err != nil || n < size || n != int64(out) {
				t.Fatalf("wrote %d bytes, %v", n, err)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
				t.Errorf("writing %d bytes allocated %d", n, allocated)
			}
		})
	}
}

type countingWriter int64

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

type failingWriter struct{ calls int }

func (w *failingWriter) Write([]byte) (int, error) {
	w.calls++
	return 0, errors.New("the host has gone")
}

func TestAReplyStopsAtTheFirstError(t *testing.T) {
	r := open(t, []byte("no batch"), nil).Reply()
	w := new(failingWriter)
	if n, err := r.WriteTo(w); n != 0 || err == nil || w.calls != 1 {
		t.Errorf("wrote %d bytes in %d calls, %v", n, w.calls, err)
	}
}
