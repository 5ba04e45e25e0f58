package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/invocation"
)

// batchOf encodes messages; those with an exclamation mark are wanted.
func batchOf(t *testing.T, texts ...string) (*invocation.Decoder, *invocation.Events) {
	t.Helper()
	var messages []invocation.Message
	for _, text := range texts {
		messages = append(messages, invocation.Message{Body: fmt.Appendf(nil, `{"text":"%s"}`, text)})
	}
	body, err := invocation.EncodeEvents(invocation.Batch{Function: "Detect", Binding: "events", Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	d := &invocation.Decoder{Want: func(text []byte) bool { return bytes.Contains(text, []byte("!")) }}
	in, err := d.Events(body)
	if err != nil {
		t.Fatal(err)
	}
	return d, in
}

func TestOthersAreTheNearestFirst(t *testing.T) {
	d, in := batchOf(t, "a", "b", "c!", "d", "e", "f!", "g", "h!", "i", "j")
	for name, tt := range map[string]struct {
		near []int
		want []int
	}{
		"the first": {[]int{0}, []int{1, 3, 0, 4, 6, 8, 9}},
		"the last":  {[]int{2}, []int{6, 8, 9, 4, 3, 1, 0}},
		"two":       {[]int{0, 2}, []int{1, 3, 6, 8, 0, 4, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, passedOver(d, in, tt.near)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOthersAreBounded(t *testing.T) {
	large := strings.Repeat("x", othersMost/3)
	d, in := batchOf(t, large, large, "!", large, large, "small")
	asked, seen := 0, 0
	othersOf(d, in)([]int{0}, func([]byte) bool { asked++; return asked != 2 }, func(message []byte) {
		if seen++; !bytes.Equal(message, fmt.Appendf(nil, `{"text":"%s"}`, large)) {
			t.Errorf("saw %.40q", message)
		}
	})
	if asked != 2 || seen != 1 {
		t.Errorf("asked for %d messages and saw %d, want 2 and 1: there is room for two", asked, seen)
	}

	huge := strings.Repeat("x", 2*othersMost)
	d, in = batchOf(t, huge, "!", huge)
	seen = 0
	othersOf(d, in)([]int{0}, func([]byte) bool { return true }, func([]byte) { seen++ })
	if seen != 1 {
		t.Errorf("saw %d messages, want one however large it is", seen)
	}
}
