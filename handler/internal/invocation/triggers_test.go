package invocation_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"podwatch/handler/internal/invocation"
)

func TestReadQueue(t *testing.T) {
	host := string(bytes.Replace(sample(t, "queue.json"), []byte(`"msg"`), []byte(`"alert"`), 1))
	alert := func(value string) string { return `{"Data":{"alert":` + value + `},"Metadata":{"alert":"\"forged\""}}` }
	for name, tt := range map[string]struct{ body, want string }{
		"a body of the real host":               {host, `{"kind":"alert","attempt":2,"urgent":true,"ids":["x","y"],"scope":{"tenant":"8b1f6e0d-42c7-4f5b-b3a9-5c2e7d9f0a02"},"id":"e5a90b7c-3d4f-4e21-9c8b-2f7a6d1e0b41"}`},
		"text":                                  {alert(quote(quote("hello"))), "hello"},
		"one layer of quotes less":              {alert(quote(`{"a":1}`)), `{"a":1}`},
		"text that begins and ends in a quote":  {alert(quote(`"a" and "b"`)), `"a" and "b"`},
		"empty text":                            {alert(quote(quote(""))), ""},
		"metadata of a wrong type":              {`{"Data":{"alert":"\"x\""},"Metadata":null}`, "x"},
		"a text that ends early inside a quote": {alert(quote(`"abc`)), `"abc`},
		"as it is encoded": {string(invocation.EncodeQueue(invocation.QueueItem{Function: "Redeliver", Binding: "alert",
			Text: `{"AlertId":"é\u0000"}`, ID: "1", Inserted: time.Unix(0, 0)})), `{"AlertId":"é\u0000"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := invocation.ReadQueue(strings.NewReader(tt.body)); err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestReadTimer(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"a body of the real host":      {string(sample(t, "timer.json")), false},
		"another one":                  {string(sample(t, "timer-next.json")), false},
		"late":                         {`{"Data":{"timer":{"IsPastDue":true,"ScheduleStatus":null}}}`, true},
		"a timer that does not report": {`{"Data":{"timer":{}}}`, false},
		"as it is encoded":             {string(invocation.EncodeTimer("Heartbeat", "timer", time.Unix(0, 0), time.Unix(300, 0), time.Unix(301, 0), "x")), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := invocation.ReadTimer(strings.NewReader(tt.body)); err != nil || got != tt.want {
				t.Errorf("got %t, %v, want %t", got, err, tt.want)
			}
		})
	}
}

func TestTriggersRefuseWhatIsNoInvocation(t *testing.T) {
	for name, tt := range map[string]struct{ binding, body, want string }{
		"nothing":                 {"alert", "", "not a JSON object"},
		"no binding":              {"alert", `{"Data":{}}`, "0 bindings"},
		"a message twice":         {"alert", `{"Data":{"alert":"x","alert":"y"}}`, "2 bindings"},
		"a message that is none":  {"alert", `{"Data":{"alert":7}}`, "not text"},
		"a malformed escape":      {"alert", `{"Data":{"alert":"\x"}}`, "queue message"},
		"a malformed inner quote": {"alert", `{"Data":{"alert":"\"\\x\""}}`, "queue message"},
		"a timer that is a text":  {"timer", `{"Data":{"timer":"x"}}`, "not an object"},
		"a timer that is missing": {"timer", `{}`, `no member "Data"`},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if tt.binding == "alert" {
				_, err = invocation.ReadQueue(strings.NewReader(tt.body))
			} else {
				_, err = invocation.ReadTimer(strings.NewReader(tt.body))
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "read invocation: ") {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTriggersAreBounded(t *testing.T) {
	if _, err := invocation.ReadQueue(strings.NewReader(strings.Repeat(" ", 2<<20+1))); !errors.Is(err, invocation.ErrTooLarge) {
		t.Errorf("more than 2 MiB: %v", err)
	}
	if _, err := invocation.ReadTimer(iotest.ErrReader(errors.New("reset"))); !errors.Is(err, invocation.ErrBroken) || !strings.Contains(err.Error(), "reset") {
		t.Errorf("a body that ends early: %v", err)
	}
}
