package invocation_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/invocation"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var demo = invocation.Partition{Namespace: "evhns-demo.servicebus.windows.net", Hub: "insights-logs", ConsumerGroup: "$Default", ID: "0"}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// operations returns what the records of a message say was done.
func operations(t *testing.T, body []byte) []string {
	t.Helper()
	var wrapper struct {
		Records []struct{ OperationName string }
	}
	if err := json.Unmarshal(body, &wrapper); err != nil {
		t.Fatalf("message %q: %v", body, err)
	}
	var ops []string
	for _, r := range wrapper.Records {
		ops = append(ops, r.OperationName)
	}
	return ops
}

func TestParseEventsReadsEverySample(t *testing.T) {
	two := [][]string{{"SecretGet", "SecretList"}, {"KeySign"}}
	meta := []invocation.Message{
		{Sequence: 1042, Offset: "8589934592", Enqueued: at("2025-03-04T09:15:22.123Z")},
		{Sequence: 1043, Offset: "8589936128", Enqueued: at("2025-03-04T09:15:22.456Z")},
	}
	for file, want := range map[string]struct {
		encoding invocation.Encoding
		ops      [][]string
		messages []invocation.Message
		retry    *invocation.Retry
	}{
		"eventhub-many-string.json":  {invocation.ManyString, two, meta, &invocation.Retry{Count: 0, Max: -1}},
		"eventhub-many-untyped.json": {invocation.ManyUntyped, two, meta, nil},
		"eventhub-many-binary.json":  {invocation.ManyBinary, two, meta, nil},
		"eventhub-one.json": {invocation.OneString, two[:1], []invocation.Message{
			{Sequence: 1042, Offset: "8589934592", Enqueued: at("2025-03-04T09:15:22Z")}}, nil},
	} {
		t.Run(file, func(t *testing.T) {
			ev, err := invocation.ParseEvents(read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			var ops [][]string
			for i := range ev.Messages {
				ops = append(ops, operations(t, ev.Messages[i].Body))
				ev.Messages[i].Body = nil
			}
			if diff := cmp.Diff(want.ops, ops); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(&invocation.Events{Messages: want.messages, Encoding: want.encoding, Partition: demo, Retry: want.retry}, ev); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// data wraps what stands in Data.events, already encoded.
func data(value string) string { return `{"Data":{"events":` + value + `}}` }

func quote(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestParseEventsDecidesTheEncodingFromTheData(t *testing.T) {
	for _, test := range []struct {
		name     string
		value    string
		encoding invocation.Encoding
		want     []string
	}{
		{"an array of texts", quote(quote([]string{`{"a":1}`, `{"b":"c\"d\\"}`})), invocation.ManyString, []string{`{"a":1}`, `{"b":"c\"d\\"}`}},
		{"one text in an array, as an admin invocation has it", quote(quote([]string{`{"a":1}`})), invocation.ManyString, []string{`{"a":1}`}},
		{"an empty batch", quote(`[]`), invocation.ManyString, nil},
		{"an empty batch with white space", quote(` [ ] `), invocation.ManyString, nil},
		{"empty messages", quote(quote([]string{"", ""})), invocation.ManyString, []string{"", ""}},
		{"white space between the texts", quote(" [ \"{}\" ,\n \"[]\" ] "), invocation.ManyString, []string{"{}", "[]"}},
		{"a message that is a comma", quote(quote([]string{",", `","`, `",`})), invocation.ManyString, []string{",", `","`, `",`}},
		{"messages that end in backslashes", quote(quote([]string{`\`, `\\`, `x\"`})), invocation.ManyString, []string{`\`, `\\`, `x\"`}},
		{"quotes written as code points", `"[\u0022{}\u0022,\"a\u005c\",\u005c\"b\"]"`, invocation.ManyString, []string{"{}", `a","b`}},
		{"every other character written as a code point", `"\u005b\"\u007b\\u007d\"\u005d"`, invocation.ManyString, []string{"{}"}},
		{"an escaped solidus at both depths", `"[\"\/ \\/\"]"`, invocation.ManyString, []string{"/ /"}},
		{"surrogate pairs, whole and half", quote(`["😀 \ud83d\ude00 \ud83d"]`), invocation.ManyString, []string{"😀 😀 \uFFFD"}},
		{"bytes that are no UTF-8", "\"[\\\"a\xffb\\\"]\"", invocation.ManyString, []string{"a\xffb"}},
		{"objects and arrays", quote(`[{"a":"b"},[1,"]"],{}]`), invocation.ManyUntyped, []string{`{"a":"b"}`, `[1,"]"]`, `{}`}},
		{"scalars among objects", quote(`[{"a":1},"text",5,null]`), invocation.ManyUntyped, []string{`{"a":1}`, "text", "5", "null"}},
		{"an array that is not quoted", `[{"a":1},"x y"]`, invocation.ManyUntyped, []string{`{"a":1}`, "x y"}},
		{"base64 of JSON text", quote(quote([]string{b64(`{"a":1}`), b64(`[]`)})), invocation.ManyBinary, []string{`{"a":1}`, `[]`}},
		{"base64 of JSON text, of words and of nothing", quote(quote([]string{"", b64("words"), b64(`{"a":1}`)})), invocation.ManyBinary, []string{"", "words", `{"a":1}`}},
		{"base64 whose solidus is escaped", `"[\"` + strings.ReplaceAll(b64("{\"zo\u00ef\xff\xff\":1}"), "/", `\/`) + `\"]"`, invocation.ManyBinary, []string{"{\"zo\u00ef\xff\xff\":1}"}},
		{"base64 of gzip", quote(quote([]string{b64("\x1f\x8b\x08\x00")})), invocation.ManyBinary, []string{"\x1f\x8b\x08\x00"}},
		{"words that happen to be base64", quote(quote([]string{"test", "12345678"})), invocation.ManyString, []string{"test", "12345678"}},
		{"base64 of JSON text beside text", quote(quote([]string{b64(`{"a":1}`), "hello world"})), invocation.ManyString, []string{b64(`{"a":1}`), "hello world"}},
		{"one text", quote(quote(`{"a":"b"}`)), invocation.OneString, []string{`{"a":"b"}`}},
		{"one text that is an array", quote(quote(`[{"a":1}]`)), invocation.OneString, []string{`[{"a":1}]`}},
		{"one text of base64 alphabet", quote(quote(`test`)), invocation.OneString, []string{`test`}},
		{"one empty text", quote(quote(``)), invocation.OneString, []string{``}},
		{"one text, quotes as code points", `"\u0022{\u005c\u0022a\\\":1}\u0022"`, invocation.OneString, []string{`{"a":1}`}},
		{"one, base64", quote(b64(`{"a":1}`)), invocation.OneBinary, []string{`{"a":1}`}},
		{"one object that is quoted once only", quote(`{"a":1}`), invocation.OneString, []string{`{"a":1}`}},
		{"one object that is not quoted", `{"a":1}`, invocation.OneString, []string{`{"a":1}`}},
		{"words that are quoted once only", quote(`hello you`), invocation.OneString, []string{`hello you`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev, err := invocation.ParseEvents([]byte(data(test.value)))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range ev.Messages {
				got = append(got, string(m.Body))
				if m.Sequence != -1 {
					t.Errorf("sequence number %d without metadata, want -1", m.Sequence)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if ev.Encoding != test.encoding {
				t.Errorf("got encoding %s, want %s", ev.Encoding, test.encoding)
			}
		})
	}
}

func TestParseEventsRefusesWhatCannotBeUnderstood(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"nothing", "", "empty body"},
		{"white space", " \n", "empty body"},
		{"text", "hello", "not an object"},
		{"null", "null", "not an object"},
		{"no Data", `{"Metadata":{}}`, "no binding"},
		{"no binding", `{"Data":{}}`, "no binding"},
		{"Data that is an array", `{"Data":[]}`, "Data: offset 8: not an object"},
		{"Data twice", `{"Data":{"a":"[]"},"Data":{"a":"[]"}}`, `two members called "Data"`},
		{"Metadata twice", `{"Metadata":{},"Metadata":{},"Data":{"a":"[]"}}`, `two members called "Metadata"`},
		{"events twice", `{"Data":{"events":"[]","events":"[]"}}`, `two bindings called "events"`},
		{"two bindings, none of them events", `{"Data":{"a":"[]","b":"[]"}}`, `Data holds 2 bindings and none is called "events"`},
		{"Metadata of a wrong type", `{"Data":{"events":"[]"},"Metadata":7}`, "Metadata: offset"},
		{"a number", data(`7`), "neither text nor an object"},
		{"null as the batch", data(`null`), "neither text nor an object"},
		{"a cut envelope", `{"Data":{"events":"[\"{}\"]"`, "ends too early"},
		{"a cut string", `{"Data":{"events":"[\"{`, "ends too early"},
		{"a string that ends in a backslash", `{"Data":{"events":"[\"{\`, "ends too early"},
		{"a batch cut inside its quotes", data(quote(`["{}","{`)), "ends too early"},
		{"text after the batch", data(quote(`["{}"] x`)), "text after the array"},
		{"text after one message", data(quote(`"{}" x`)), "text after the message"},
		{"text after the invocation", data(quote(`[]`)) + "x", `unexpected 'x' after the invocation`},
		{"a bad escape in a message", data(`"[\"\\x\"]"`), `bad escape`},
		{"a bad code point in a message", data(`"[\"\\u12g4\"]"`), `bad escape`},
		{"mismatched brackets", `{"Data":{"events":"[]"},"Metadata":{"a":[}]}`, "unexpected '}'"},
		{"a depth bomb in the metadata", `{"Metadata":{"a":` + strings.Repeat("[", 1<<20), "nested deeper than 256 levels"},
		{"a depth bomb for a batch", data(quote(strings.Repeat("[", 1<<20))), "nested deeper than 256 levels"},
		{"a depth bomb without quotes", data(strings.Repeat(`{"a":`, 1<<20)), "nested deeper than 256 levels"},
		{"too many messages", data(quote("[" + strings.Repeat(`"",`, 1<<16) + `""]`)), "more than 65536 messages"},
		{"too many untyped messages", data(quote("[" + strings.Repeat(`{},`, 1<<16) + `{}]`)), "more than 65536 messages"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev, err := invocation.ParseEvents([]byte(test.body))
			if err == nil {
				t.Fatalf("got %+v, want an error with %q", ev, test.want)
			}
			if !strings.HasPrefix(err.Error(), "parse invocation: ") || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 200 {
				t.Errorf("got error %q, want %q in it", err, test.want)
			}
			if ev != nil {
				t.Errorf("got events beside an error")
			}
		})
	}
}

func TestParseEventsReadsMetadataDefensively(t *testing.T) {
	batch := func(n int, meta string) string {
		return `{"Metadata":` + meta + `,"Data":{"events":` + quote("["+strings.Repeat(`"{}",`, n-1)+`"{}"]`) + `}}`
	}
	unknown := invocation.Message{Body: []byte("{}"), Sequence: -1}
	for _, test := range []struct {
		name, body string
		want       []invocation.Message
	}{
		{"arrays that are not quoted", batch(2, `{"SequenceNumberArray":[1,2],"OffsetArray":["a","b"]}`),
			[]invocation.Message{{Body: []byte("{}"), Sequence: 1, Offset: "a"}, {Body: []byte("{}"), Sequence: 2, Offset: "b"}}},
		{"arrays of another length", batch(2, `{"SequenceNumberArray":"[1,2,3]","OffsetArray":"[\"a\"]"}`), []invocation.Message{unknown, unknown}},
		{"arrays that are no arrays", batch(1, `{"SequenceNumberArray":"{}","OffsetArray":"x","EnqueuedTimeUtcArray":"[\"]"}`), []invocation.Message{unknown}},
		{"elements of other types", batch(2, `{"SequenceNumberArray":"[\"7\",null]","OffsetArray":"[8,{}]","EnqueuedTimeUtcArray":"[\"soon\",5]"}`),
			[]invocation.Message{{Body: []byte("{}"), Sequence: 7, Offset: "8"}, unknown}},
		{"huge numbers", batch(1, `{"SequenceNumberArray":"[99999999999999999999999]"}`), []invocation.Message{unknown}},
		{"singular keys, as for an admin invocation", batch(1, `{"SequenceNumber":"-9223372036854775808","Offset":"\"12\"","EnqueuedTimeUtc":"0001-01-01T00:00:00"}`),
			[]invocation.Message{{Body: []byte("{}"), Sequence: -1, Offset: "12"}}},
		{"singular keys without quotes", batch(1, `{"SequenceNumber":5,"Offset":12}`), []invocation.Message{{Body: []byte("{}"), Sequence: 5, Offset: "12"}}},
		{"singular keys beside two messages", batch(2, `{"SequenceNumber":"5"}`), []invocation.Message{unknown, unknown}},
		{"a key given twice", batch(1, `{"SequenceNumber":"5","SequenceNumber":"6"}`), []invocation.Message{{Body: []byte("{}"), Sequence: 6}}},
		{"a null", batch(1, `null`), []invocation.Message{unknown}},
		{"keys that the message replaced", `{"Data":{"event":` + quote(quote(`{"sequencenumber":9,"\u004fffset":"x"}`)) + `},"Metadata":{"SequenceNumber":"\"9\"","Offset":"\"x\""}}`,
			[]invocation.Message{{Body: []byte(`{"sequencenumber":9,"\u004fffset":"x"}`), Sequence: -1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev, err := invocation.ParseEvents([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, ev.Messages); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseEventsPrefersTheBindingCalledEvents(t *testing.T) {
	for _, body := range []string{
		`{"Data":{"events":"[\"{}\"]","other":"[\"1\",\"2\"]"}}`,
		`{"Data":{"other":"[\"1\",\"2\"]","events":"[\"{}\"]"}}`,
	} {
		ev, err := invocation.ParseEvents([]byte(body))
		if err != nil || len(ev.Messages) != 1 || string(ev.Messages[0].Body) != "{}" {
			t.Errorf("%s: got %+v, %v", body, ev, err)
		}
	}
}

func TestDecoderPassesOverWhatIsNotWanted(t *testing.T) {
	messages := []invocation.Message{
		{Body: []byte(`{"a":"needle"}`), Sequence: 10, Offset: "100"},
		{Body: []byte(`{"a":"hay"}`), Sequence: 11, Offset: "101"},
		{Body: []byte(`{"b":"needle \"\\"}`), Sequence: 12, Offset: "102"},
	}
	for _, encoding := range []invocation.Encoding{invocation.ManyString, invocation.ManyUntyped, invocation.ManyBinary} {
		t.Run(encoding.String(), func(t *testing.T) {
			body, err := invocation.EncodeEvents(invocation.Batch{Binding: "events", Encoding: encoding, Messages: messages, Partition: demo})
			if err != nil {
				t.Fatal(err)
			}
			d := invocation.Decoder{Want: func(raw []byte) bool { return bytes.Contains(raw, []byte("needle")) }}
			for range 2 { // the second time in the memory of the first
				ev, err := d.Events(body)
				if err != nil {
					t.Fatal(err)
				}
				want := &invocation.Events{Messages: []invocation.Message{messages[0], messages[2]}, Passed: 1, Encoding: encoding, Partition: demo}
				if diff := cmp.Diff(want.Passed, ev.Passed); diff != "" {
					t.Errorf("passed (-want +got):\n%s", diff)
				}
				for i := range ev.Messages {
					ev.Messages[i].Enqueued = time.Time{}
				}
				if diff := cmp.Diff(want, ev); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if d.Index(0) != 0 || d.Index(1) != 2 {
					t.Errorf("the wanted messages stood at %d and %d, want 0 and 2", d.Index(0), d.Index(1))
				}
				hay, err := d.Open(1)
				if err != nil || string(hay) != `{"a":"hay"}` || !bytes.Contains(d.Seen(1), []byte("hay")) {
					t.Errorf("the message that was passed over is %q, %v, and was seen as %q", hay, err, d.Seen(1))
				}
				if string(ev.Messages[1].Body) != string(messages[2].Body) {
					t.Errorf("decoding it has changed another message to %q", ev.Messages[1].Body)
				}
				if d.Seen(3) != nil {
					t.Error("there is a fourth message")
				}
			}
		})
	}
	t.Run("wanted messages are decoded one at a time", func(t *testing.T) {
		body, _ := invocation.EncodeEvents(invocation.Batch{Binding: "events", Messages: messages})
		d := invocation.Decoder{Lazy: true, Want: func(raw []byte) bool { return !bytes.Contains(raw, []byte("hay")) }}
		ev, err := d.Events(body)
		if err != nil || len(ev.Messages) != 2 || ev.Messages[0].Body != nil || ev.Messages[1].Sequence != 12 {
			t.Fatalf("got %+v, %v", ev, err)
		}
		for index, m := range messages {
			if text, err := d.Open(index); err != nil || string(text) != string(m.Body) {
				t.Errorf("message %d is %q, %v, want %q", index, text, err, m.Body)
			}
		}
	})
	t.Run("a message that cannot be decoded costs only itself", func(t *testing.T) {
		body := []byte(`{"Data":{"events":"[\"{\\\"a\\\":1}\",\"{\\q}\"]"},"Metadata":{}}`)
		d := invocation.Decoder{Lazy: true}
		ev, err := d.Events(body)
		if err != nil || len(ev.Messages) != 2 {
			t.Fatalf("got %+v, %v", ev, err)
		}
		if text, err := d.Open(0); err != nil || string(text) != `{"a":1}` {
			t.Errorf("the first message is %q, %v", text, err)
		}
		if text, err := d.Open(1); err == nil || string(text) != `{\\q}` {
			t.Errorf("the second message is %q, %v; want an error and the text as it stands", text, err)
		}
	})
	t.Run("nothing is decoded for messages that are not wanted", func(t *testing.T) {
		body, _ := invocation.EncodeEvents(invocation.Batch{Binding: "events", Messages: messages})
		var seen []string
		d := invocation.Decoder{Want: func(raw []byte) bool { seen = append(seen, string(raw)); return false }}
		ev, err := d.Events(body)
		if err != nil || len(ev.Messages) != 0 || ev.Passed != 3 || d.Retained() > 1000 {
			t.Errorf("got %+v, %v, %d bytes retained", ev, err, d.Retained())
		}
		if want := []string{`{\\\"a\\\":\\\"needle\\\"}`, `{\\\"a\\\":\\\"hay\\\"}`, `{\\\"b\\\":\\\"needle \\\\\\\"\\\\\\\\\\\"}`}; !cmp.Equal(want, seen) {
			t.Errorf("asked about %q", seen)
		}
	})
	t.Run("a single message", func(t *testing.T) {
		body, _ := invocation.EncodeEvents(invocation.Batch{Binding: "event", Encoding: invocation.OneString, Messages: messages[:1]})
		d := invocation.Decoder{Want: func([]byte) bool { return false }}
		ev, err := d.Events(body)
		if err != nil || len(ev.Messages) != 0 || ev.Passed != 1 {
			t.Errorf("got %+v, %v", ev, err)
		}
	})
}

func TestSkimAgreesWithParseEventsOrLeavesItToIt(t *testing.T) {
	for _, file := range []string{"eventhub-many-string.json", "eventhub-many-untyped.json", "eventhub-many-binary.json", "eventhub-one.json"} {
		body := read(t, file)
		ev, ok := invocation.Skim(body)
		if want := file == "eventhub-many-string.json"; ok != want {
			t.Fatalf("%s: got %t, want %t", file, ok, want)
		}
		if !ok {
			continue
		}
		full, err := invocation.ParseEvents(body)
		if err != nil {
			t.Fatal(err)
		}
		full.Passed, full.Messages = len(full.Messages), nil
		if diff := cmp.Diff(full, ev); diff != "" {
			t.Errorf("%s (-parsed +skimmed):\n%s", file, diff)
		}
	}
	ok := `{"Data":{"events":"[\"{}\"]"},"Metadata":{"SequenceNumberArray":"[1]"}}`
	for name, body := range map[string]string{
		"nothing":                             "",
		"no metadata":                         data(quote(`["{}"]`)),
		"base64":                              strings.Replace(ok, `{}`, `e30=`, 1),
		"an escape that hides base64":         strings.Replace(ok, `{}`, `\\u0065300=`, 1),
		"an empty message that may be either": strings.Replace(ok, `{}`, ``, 1),
		"another binding":                     strings.Replace(ok, `events`, `event`, 1),
		"a second binding":                    strings.Replace(ok, `"},"Metadata`, `","x":"y"},"Metadata`, 1),
		"metadata that is cut":                ok[:len(ok)-1],
		"text after it":                       ok + "x",
		"no sequence numbers":                 strings.Replace(ok, `"[1]"`, `"[]"`, 1),
		"a member called Metadata deeper in":  strings.Replace(ok, `}}`, `,"x":["]"},"Metadata":{"SequenceNumberArray":"[1,2]"}}]}}`, 1),
	} {
		if ev, got := invocation.Skim([]byte(body)); got {
			t.Errorf("%s: got %+v, want it left to ParseEvents: %s", name, ev, body)
		}
	}
	if ev, got := invocation.Skim([]byte(ok)); !got || ev.Passed != 1 {
		t.Errorf("got %+v, %t for the plain case", ev, got)
	}
}

func TestParseQueueTrustsOnlyWhatTheMessageCannotReplace(t *testing.T) {
	msg, err := invocation.ParseQueue(read(t, "queue.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := &invocation.QueueMessage{ // the message has a member "id"
		Text:         `{"kind":"alert","attempt":2,"urgent":true,"ids":["x","y"],"scope":{"tenant":"8b1f6e0d-42c7-4f5b-b3a9-5c2e7d9f0a02"},"id":"e5a90b7c-3d4f-4e21-9c8b-2f7a6d1e0b41"}`,
		DequeueCount: 1, InsertionTime: at("2025-03-04T09:15:22Z"),
	}
	if diff := cmp.Diff(want, msg); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		name, data, meta string
		want             invocation.QueueMessage
	}{
		{"plain text", quote(quote("hello")), `{"DequeueCount":"3","Id":"\"x\""}`, invocation.QueueMessage{Text: "hello", DequeueCount: 3, ID: "x"}},
		{"values without quotes", quote(quote("hello")), `{"DequeueCount":3,"Id":"x"}`, invocation.QueueMessage{Text: "hello", DequeueCount: 3, ID: "x"}},
		{"one layer of quotes less", quote(`{"a":1}`), `{}`, invocation.QueueMessage{Text: `{"a":1}`}},
		{"no quotes at all", `{"a":1}`, `{}`, invocation.QueueMessage{Text: `{"a":1}`}},
		{"text that begins and ends in a quote", quote(`"a" and "b"`), `{}`, invocation.QueueMessage{Text: `"a" and "b"`}},
		{"empty text", quote(quote("")), `{}`, invocation.QueueMessage{}},
		{"a message that claims a count", quote(quote(`{"dequeueCOUNT":7}`)), `{"DequeueCount":"\"7\""}`, invocation.QueueMessage{Text: `{"dequeueCOUNT":7}`}},
		{"counts that are none", quote(quote("x")), `{"DequeueCount":"\"x\"","InsertionTime":5,"Id":{}}`, invocation.QueueMessage{Text: "x"}},
		{"an admin invocation", quote(quote("x")), `{"DequeueCount":"0","ExpirationTime":"9999-12-31T23:59:59+00:00"}`, invocation.QueueMessage{Text: "x"}},
		{"metadata of a wrong type", quote(quote("x")), `null`, invocation.QueueMessage{Text: "x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := invocation.ParseQueue([]byte(`{"Data":{"alert":` + test.data + `},"Metadata":` + test.meta + `}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, body := range map[string]string{
		"nothing":       "",
		"a number":      `{"Data":{"alert":7}}`,
		"two bindings":  `{"Data":{"a":"x","b":"y"}}`,
		"a bad escape":  `{"Data":{"alert":"\"\\x\""}}`,
		"a bad quoting": `{"Data":{"alert":"\x"}}`,
	} {
		if got, err := invocation.ParseQueue([]byte(body)); err == nil || got != nil {
			t.Errorf("%s: got %+v, %v, want an error alone", name, got, err)
		}
	}
}

func TestParseTimer(t *testing.T) {
	tick, err := invocation.ParseTimer(read(t, "timer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&invocation.Timer{Last: at("2025-03-04T09:10:00.0012345Z"), Next: at("2025-03-04T09:15:00Z")}, tick); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	for body, want := range map[string]invocation.Timer{
		`{"Data":{"timer":{"IsPastDue":true,"ScheduleStatus":null}}}`:                                         {IsPastDue: true},
		`{"Data":{"timer":"{\"IsPastDue\":true}"}}`:                                                           {IsPastDue: true},
		`{"Data":{"t":{"ScheduleStatus":{"Last":"0001-01-01T00:00:00","Next":"2025-03-04T10:15:00+01:00"}}}}`: {Next: at("2025-03-04T09:15:00Z")},
		`{"Data":{"t":{}}}`: {},
	} {
		got, err := invocation.ParseTimer([]byte(body))
		if err != nil || *got != want {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
	for _, body := range []string{``, `{}`, `{"Data":{"timer":7}}`, `{"Data":{"timer":{"IsPastDue":"yes"}}}`, `{"Data":{"timer":"{"}}`, `{"Data":{"timer":"x"}}`} {
		if got, err := invocation.ParseTimer([]byte(body)); err == nil || got != nil {
			t.Errorf("%s: got %+v, %v, want an error alone", body, got, err)
		}
	}
}

func TestEncodeMakesTheSamples(t *testing.T) {
	now := at("2025-03-04T09:15:23.4567891Z")
	for _, test := range []struct {
		file  string
		batch invocation.Batch
	}{
		{"eventhub-many-string.json", invocation.Batch{Function: "EventHubIngest", Binding: "events", Encoding: invocation.ManyString, GUID: "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a31"}},
		{"eventhub-many-untyped.json", invocation.Batch{Function: "EventHubIngest", Binding: "events", Encoding: invocation.ManyUntyped, GUID: "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a31"}},
		{"eventhub-many-binary.json", invocation.Batch{Function: "EventHubIngest", Binding: "events", Encoding: invocation.ManyBinary, GUID: "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a31"}},
		{"eventhub-one.json", invocation.Batch{Function: "EventHubOne", Binding: "event", Encoding: invocation.OneString, GUID: "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a32"}},
	} {
		t.Run(test.file, func(t *testing.T) {
			want := read(t, test.file)
			// The messages come from the text sample: the untyped one has lost them.
			source, err := invocation.ParseEvents(read(t, "eventhub-many-string.json"))
			if err != nil {
				t.Fatal(err)
			}
			ev, err := invocation.ParseEvents(want)
			if err != nil {
				t.Fatal(err)
			}
			b := test.batch
			b.Now, b.Partition, b.Retry = now, ev.Partition, ev.Retry
			b.Messages = source.Messages[:len(ev.Messages)]
			got, err := invocation.EncodeEvents(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, want), decode(t, got)); diff != "" {
				t.Errorf("(-sample +encoded):\n%s", diff)
			}
		})
	}
	t.Run("queue.json", func(t *testing.T) {
		want := read(t, "queue.json")
		msg, err := invocation.ParseQueue(want)
		if err != nil {
			t.Fatal(err)
		}
		got := invocation.EncodeQueue(invocation.QueueItem{
			Function: "QueueWork", Binding: "msg", Text: msg.Text, ID: "replaced by the message", PopReceipt: "AgAAAAMAAAAAAAAAn0Zq5y6L2wE=",
			DequeueCount: 1, Inserted: at("2025-03-04T09:15:22Z"), Expires: at("2025-03-11T09:15:22Z"), NextVisible: at("2025-03-04T09:25:23Z"),
			Now: now, GUID: "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a33",
		})
		if diff := cmp.Diff(decode(t, want), decode(t, got)); diff != "" {
			t.Errorf("(-sample +encoded):\n%s", diff)
		}
	})
	t.Run("timer.json", func(t *testing.T) {
		want := read(t, "timer.json")
		tick, err := invocation.ParseTimer(want)
		if err != nil {
			t.Fatal(err)
		}
		got := invocation.EncodeTimer("TimerSweep", "timer", *tick, at("2025-03-04T09:15:00.0209871Z"), "a1f4c6d8-2b3e-4d5f-8a9b-0c1d2e3f4a34")
		// The sample's Next has no fraction either way.
		if diff := cmp.Diff(decode(t, want), decode(t, got)); diff != "" {
			t.Errorf("(-sample +encoded):\n%s", diff)
		}
	})
}

// decode reads an invocation in full; sub-second parts of SystemProperties
// differ legally between the samples' single and plural form.
func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func TestEncodeAdminIsReadWithoutMetadata(t *testing.T) {
	input := `{"records":[],"Offset":"forged"}`
	for _, encoding := range []invocation.Encoding{invocation.ManyString, invocation.ManyUntyped, invocation.ManyBinary, invocation.OneString, invocation.OneBinary} {
		body, err := invocation.EncodeAdmin("Detect", "events", encoding, input, &invocation.Retry{Max: 3}, at("2025-03-04T09:15:00Z"), "x")
		if err != nil {
			t.Fatal(err)
		}
		got, err := invocation.ParseEvents(body)
		if err != nil {
			t.Fatal(err)
		}
		want := &invocation.Events{
			Messages: []invocation.Message{{Body: []byte(input), Sequence: -1}},
			Encoding: encoding,
			Retry:    &invocation.Retry{Max: 3},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", encoding, diff)
		}
	}
}

func TestEncodeRefusesWhatTheHostCannotHandOver(t *testing.T) {
	for name, b := range map[string]invocation.Batch{
		"malformed JSON untyped":   {Encoding: invocation.ManyUntyped, Messages: []invocation.Message{{Body: []byte(`{"a":`)}}},
		"two values untyped":       {Encoding: invocation.ManyUntyped, Messages: []invocation.Message{{Body: []byte(`{} {}`)}}},
		"a depth bomb untyped":     {Encoding: invocation.ManyUntyped, Messages: []invocation.Message{{Body: bytes.Repeat([]byte("["), 1<<20)}}},
		"two messages as one":      {Encoding: invocation.OneString, Messages: make([]invocation.Message, 2)},
		"no message as one":        {Encoding: invocation.OneBinary},
		"an encoding that is none": {Encoding: 99, Messages: make([]invocation.Message, 1)},
	} {
		if got, err := invocation.EncodeEvents(b); err == nil || got != nil {
			t.Errorf("%s: got %q, %v, want an error alone", name, got, err)
		}
	}
}

// randomText has every kind of character that quoting treats specially, often.
func randomText(r *rand.Rand) string {
	pieces := []string{`"`, `\`, `\\`, `\"`, `","`, `\u0022`, `\u005c`, "/", "\n", "\x00", "\u2028", "\u0085", "é", "😀", ",", "[", "]", "{", "}", "plain text", "=", " "}
	var b strings.Builder
	for range r.IntN(40) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func TestEncodedMessagesAreReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d invocation.Decoder
	for range 3000 {
		b := invocation.Batch{Binding: "events", Encoding: invocation.Encoding(r.IntN(5)), Partition: demo, Retry: &invocation.Retry{Count: r.IntN(3), Max: -1}}
		one := b.Encoding == invocation.OneString || b.Encoding == invocation.OneBinary
		for i := range 1 + r.IntN(5) {
			body := `{"a":` + quote(randomText(r)) + `}`
			if b.Encoding != invocation.ManyUntyped && r.IntN(4) == 0 {
				body = "[" + randomText(r)
			}
			b.Messages = append(b.Messages, invocation.Message{
				Body: []byte(body), Sequence: r.Int64(), Offset: fmt.Sprint(r.Int64()),
				Enqueued: time.Unix(1e9+int64(i), 0).UTC(),
			})
			if one {
				break
			}
		}
		body, err := invocation.EncodeEvents(b)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(body) {
			t.Fatalf("not JSON: %s", body)
		}
		ev, err := d.Events(body)
		if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		want := &invocation.Events{Messages: b.Messages, Encoding: b.Encoding, Partition: demo, Retry: b.Retry}
		if b.Encoding == invocation.ManyUntyped {
			for i := range want.Messages { // the layout of the JSON text is lost
				want.Messages[i].Body = compact(t, want.Messages[i].Body)
				ev.Messages[i].Body = compact(t, ev.Messages[i].Body)
			}
		}
		if diff := cmp.Diff(want, ev); diff != "" {
			t.Fatalf("(-want +got):\n%s\nin %s", diff, body)
		}
	}
}

// compact returns one spelling of all texts of a JSON value.
func compact(t *testing.T, b []byte) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return []byte(quote(v))
}

// requote writes s as a JSON string, each character in one of its legal forms.
func requote(r *rand.Rand, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		short, hasShort := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\n': `\n`, '\t': `\t`, '\r': `\r`}[c]
		switch {
		case c < 0x10000 && r.IntN(8) == 0:
			fmt.Fprintf(&b, []string{`\u%04x`, `\u%04X`}[r.IntN(2)], c)
		case hasShort && (c != '/' || r.IntN(2) == 0):
			b.WriteString(short)
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func TestEveryLegalSpellingIsReadAlike(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		var texts, parts []string
		for range 1 + r.IntN(4) {
			text := "{" + randomText(r)
			texts = append(texts, text)
			parts = append(parts, requote(r, text))
		}
		body := data(requote(r, "["+strings.Join(parts, ",")+"]"))
		ev, err := invocation.ParseEvents([]byte(body))
		if err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		var got []string
		for _, m := range ev.Messages {
			got = append(got, string(m.Body))
		}
		if diff := cmp.Diff(texts, got); diff != "" {
			t.Fatalf("(-want +got):\n%s\nin %s", diff, body)
		}
	}
}

func FuzzParseEvents(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(data(`"[\u0022{}\u0022,\"a\u005c\",\u005c\"b\"]"`)))
	f.Add([]byte(data(quote(b64(`{"a":1}`)))))
	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		ev, err := invocation.ParseEvents(body)
		if !bytes.Equal(original, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			if ev != nil {
				t.Fatal("events beside an error")
			}
		} else {
			total := 0
			for _, m := range ev.Messages {
				total += len(m.Body)
			}
			if total > len(body) {
				t.Fatalf("%d bytes of messages from %d", total, len(body))
			}
			checkTextAgainstTheStandardLibrary(t, body, ev)
			readAgain(t, ev)
			var asked, unwanted int
			d := invocation.Decoder{Want: func([]byte) bool { asked++; return asked%2 == 0 }}
			half, err := d.Events(body)
			if err != nil {
				t.Fatalf("with half of the messages: %v", err)
			}
			unwanted = half.Passed
			if len(half.Messages)+unwanted != len(ev.Messages) {
				t.Fatalf("%d messages and %d passed over, want %d", len(half.Messages), unwanted, len(ev.Messages))
			}
		}
		_, _ = invocation.Skim(body)
		_, _ = invocation.ParseQueue(body)
		_, _ = invocation.ParseTimer(body)
	})
}

// checkTextAgainstTheStandardLibrary compares with plain decoding where that
// applies: an array of strings in a string.
func checkTextAgainstTheStandardLibrary(t *testing.T, body []byte, ev *invocation.Events) {
	var envelope struct{ Data map[string]string }
	var texts []string
	if !utf8.Valid(body) || ev.Encoding != invocation.ManyString || json.Unmarshal(body, &envelope) != nil || len(envelope.Data) != 1 {
		return
	}
	for _, text := range envelope.Data {
		if json.Unmarshal([]byte(text), &texts) != nil {
			return
		}
	}
	var raw map[string]json.RawMessage // names that differ in case only confuse the struct above
	if json.Unmarshal(body, &raw) != nil || len(raw) > 2 || raw["Data"] == nil || bytes.Count(body, []byte("null")) > 0 {
		return
	}
	if len(texts) != len(ev.Messages) {
		t.Fatalf("got %d messages, want %q", len(ev.Messages), texts)
	}
	for i, text := range texts {
		if got := string(ev.Messages[i].Body); got != text && utf8.ValidString(text) {
			t.Fatalf("message %d: got %q, want %q", i, got, text)
		}
	}
}

// readAgain encodes the messages and expects them back.
func readAgain(t *testing.T, ev *invocation.Events) {
	for _, m := range ev.Messages {
		if !bytes.HasPrefix(m.Body, []byte("{")) || !utf8.Valid(m.Body) {
			return // what is no text, or may be base64, is changed by the way
		}
	}
	for i := range ev.Messages {
		ev.Messages[i].Sequence = max(ev.Messages[i].Sequence, 0)
		ev.Messages[i].Enqueued = time.Unix(0, 0).UTC()
		ev.Messages[i].Offset = "7"
	}
	body, err := invocation.EncodeEvents(invocation.Batch{Binding: "events", Messages: ev.Messages})
	if err != nil {
		t.Fatal(err)
	}
	again, err := invocation.ParseEvents(body)
	if err != nil {
		t.Fatal(err)
	}
	if len(ev.Messages) == 0 && len(again.Messages) == 0 {
		return
	}
	if diff := cmp.Diff(ev.Messages, again.Messages); diff != "" {
		t.Fatalf("(-first +again):\n%s", diff)
	}
}
