package invocation_test

import (
	"encoding/json"
	"testing"

	"podwatch/handler/internal/invocation"
)

func TestReplyIsNeverEmpty(t *testing.T) {
	var none *invocation.Reply
	for _, r := range []*invocation.Reply{none, {}} {
		if got := string(r.JSON()); got != "{}" {
			t.Errorf("got %q, want {}", got)
		}
	}
	var r invocation.Reply
	r.Queue("undelivered")
	if got := string(r.JSON()); got != "{}" {
		t.Errorf("got %q for a queue without messages, want {}", got)
	}
}

func TestReplyWritesOutputsAsTheHostNeedsThem(t *testing.T) {
	var r invocation.Reply
	r.Queue("undelivered", `{"a":"<b>&"}`)
	r.Queue("undelivered", "2 €\u2028")
	r.Blob("unreadable", `{"n":1}`)
	r.Blob("unreadable", `{"n":2}`)
	r.Log("one\n\x00")
	want := `{"Outputs":{"undelivered":["{\"a\":\"<b>&\"}","2 €\u2028"],"unreadable":"{\"n\":1}\n{\"n\":2}"},"Logs":["one\n\u0000"]}`
	if got := string(r.JSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReplyLogsAlone(t *testing.T) {
	var r invocation.Reply
	r.Log("bad \xff byte")
	if got, want := string(r.JSON()), "{\"Logs\":[\"bad \uFFFD byte\"]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBlobIsNeverTakenForBase64OrATime(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a word", "test", `"test"`},
		{"nothing", "", `""`},
		{"digits", "12345678", `"12345678"`},
		{"base64 over two lines", "dGVz\r\ndA==", `"dGVz\r\ndA=="`},
		{"a time", "2025-03-04T09:15:22", `"2025-03-04T09:15:22"`},
		{"a time of the old kind", "/Date(1)/", `"/Date(1)/"`},
		{"words with a stop", "not base64.", "not base64."},
		{"an object", `{"a":1}`, `{"a":1}`},
		{"an array", `[]`, `[]`},
		{"letters beyond ASCII", "é", "é"},
		{"a backslash", `ab\c`, `ab\c`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r invocation.Reply
			r.Blob("unreadable", test.text)
			var reply struct{ Outputs map[string]string }
			if err := json.Unmarshal(r.JSON(), &reply); err != nil {
				t.Fatal(err)
			}
			if got := reply.Outputs["unreadable"]; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
