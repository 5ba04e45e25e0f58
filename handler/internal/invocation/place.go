package invocation

import (
	"strconv"
	"strings"
	"time"

	"podwatch/handler/internal/jsontext"
)

// A place is where in the event hub the messages of a batch are. It is read
// from the metadata only when a message must be named.
type place struct {
	hub, partition string
	retry          int
	sequences      []int64     // of each message; nil: not known
	enqueued       []time.Time // of each message; nil: not known
}

// located reads the metadata. An invocation of the host's admin endpoint has
// none, and the metadata of a message may be missing or malformed: what is not
// certain is not known.
func (b *Batch) located() *place {
	if b.place != nil {
		return b.place
	}
	b.place = &place{}
	metadata, err := member(b.buffer.bytes, "Metadata")
	if err != nil || metadata.Kind != jsontext.Object {
		return b.place
	}
	n := b.Len()
	for name, v := range metadata.Members(0) {
		switch name {
		case "PartitionContext":
			b.place.hub, b.place.partition = memberText(v, "EventHubName"), memberText(v, "PartitionId")
		case "RetryContext":
			b.place.retry, _ = strconv.Atoi(memberText(v, "RetryCount"))
		case "SequenceNumberArray":
			b.place.sequences = each(v, n, sequence)
		case "EnqueuedTimeUtcArray":
			b.place.enqueued = each(v, n, hostTime)
		}
	}
	return b.place
}

// Partition returns the partition that the batch was read from, "" if unknown.
func (b *Batch) Partition() string { return b.located().partition }

// Retry returns how often the host has retried the batch.
func (b *Batch) Retry() int { return b.located().retry }

// of returns the value of message i, and otherwise where it is not known.
func of[T any](values []T, i int, otherwise T) T {
	if i < 0 || i >= len(values) {
		return otherwise
	}
	return values[i]
}

// inner returns a value of the metadata, which the host writes as it is or as
// JSON text in a string.
func inner(v jsontext.Value) jsontext.Value {
	if v.Kind != jsontext.String {
		return v
	}
	text, err := v.Content().Plain(nil)
	if err != nil {
		return jsontext.Value{}
	}
	return jsontext.Text{Raw: text}.Value(0)
}

// memberText returns a member of an object of the metadata as text.
func memberText(v jsontext.Value, name string) string {
	v = inner(v)
	if v.Kind != jsontext.Object {
		return ""
	}
	for n, m := range v.Members(0) {
		if n == name {
			return scalar(m)
		}
	}
	return ""
}

// each reads the elements of an array of the metadata. An array that does not
// have one for each message is not believed.
func each[T any](v jsontext.Value, n int, read func(string) T) []T {
	v = inner(v)
	if v.Kind != jsontext.Array {
		return nil
	}
	values := make([]T, 0, n)
	for element := range v.Elements(0) {
		values = append(values, read(scalar(element)))
	}
	if len(values) != n {
		return nil
	}
	return values
}

// scalar returns the text of a value that may be quoted once, twice or not at
// all: 1, "1", "\"1\"". null and anything nested are "".
func scalar(v jsontext.Value) string {
	text, err := v.Decode()
	if err != nil || text == "null" || v.Kind == jsontext.Object || v.Kind == jsontext.Array {
		return ""
	}
	if again := (jsontext.Text{Raw: []byte(text)}).Value(0); again.Kind == jsontext.String && !again.Truncated {
		if text, err := again.Decode(); err == nil {
			return text
		}
	}
	return text
}

// sequence reads a sequence number; -1 when it is none. An admin invocation has
// the smallest number there is.
func sequence(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// hostTime reads a time as .NET writes it: with or without a zone (then UTC) and
// fraction. Its smallest value means none.
func hostTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			if t.Year() <= 1 {
				break
			}
			return t.UTC()
		}
	}
	return time.Time{}
}
