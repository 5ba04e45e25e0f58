package invocation

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// metadata holds the still encoded values of the keys that podwatch reads.
// They come as plural keys with one element a message, as singular keys (one
// message, and admin invocations), or not at all.
type metadata struct {
	partition, retry             []byte
	sequences, offsets, enqueued []byte
	sequence, offset, time       []byte
}

func (m *metadata) read(body []byte, i int) (int, error) {
	if bytes.HasPrefix(body[i:], []byte("null")) {
		return i + len("null"), nil
	}
	return members(body, i, func(name []byte, i int) (int, error) {
		end, err := skipValue(body, i)
		if err != nil {
			return 0, err
		}
		value := body[i:end]
		switch string(name) {
		case "PartitionContext":
			m.partition = value
		case "RetryContext":
			m.retry = value
		case "SequenceNumberArray":
			m.sequences = value
		case "OffsetArray":
			m.offsets = value
		case "EnqueuedTimeUtcArray":
			m.enqueued = value
		case "SequenceNumber":
			m.sequence = value
		case "Offset":
			m.offset = value
		case "EnqueuedTimeUtc":
			m.time = value
		}
		return end, nil
	})
}

// apply gives the messages their metadata; indexes says which place in the
// batch each of them had. Arrays that have not one element a message are not
// believed.
func (m *metadata) apply(ev *Events, indexes []int) {
	total := len(ev.Messages) + ev.Passed
	each(m.sequences, total, indexes, func(k int, v []byte) { ev.Messages[k].Sequence = sequence(v) })
	each(m.offsets, total, indexes, func(k int, v []byte) { ev.Messages[k].Offset = scalar(v) })
	each(m.enqueued, total, indexes, func(k int, v []byte) { ev.Messages[k].Enqueued = hostTime(scalar(v)) })

	// With singular keys the host also merges the members of a message that is
	// an object into the metadata, where they replace the host's own. What a
	// message could have replaced is not believed.
	var message []byte
	if len(ev.Messages) == 1 {
		message = ev.Messages[0].Body
	}
	if total == 1 && len(ev.Messages) == 1 {
		msg := &ev.Messages[0]
		if m.sequences == nil && m.sequence != nil && !replaces(message, "SequenceNumber") {
			msg.Sequence = sequence(m.sequence)
		}
		if m.offsets == nil && m.offset != nil && !replaces(message, "Offset") {
			msg.Offset = scalar(m.offset)
		}
		if m.enqueued == nil && m.time != nil && !replaces(message, "EnqueuedTimeUtc") {
			msg.Enqueued = hostTime(scalar(m.time))
		}
	}
	if m.sequences != nil || !replaces(message, "PartitionContext") {
		ev.Partition = partition(m.partition)
	}
	if m.sequences != nil || !replaces(message, "RetryContext") {
		ev.Retry = retry(m.retry)
	}
}

// each calls f with the elements of the array in value that stand at indexes,
// if it has total elements.
func each(value []byte, total int, indexes []int, f func(k int, element []byte)) {
	if len(value) == 0 || len(indexes) == 0 {
		return
	}
	text := content(value)
	count := 0
	if end, err := elements(text, skipSpace(text, 0), func(int, int) error { count++; return nil }); err != nil || count != total || skipSpace(text, end) != len(text) {
		return
	}
	place, k := 0, 0
	_, _ = elements(text, skipSpace(text, 0), func(start, end int) error {
		if k < len(indexes) && indexes[k] == place {
			f(k, text[start:end])
			k++
		}
		place++
		return nil
	})
}

// content takes the quotes off a value if it is a JSON string: the host writes
// most values as JSON text in a string. Malformed text is nothing.
func content(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return value
	}
	if value = value[1 : len(value)-1]; len(value) == 0 {
		return nil
	}
	text := make([]byte, len(value))
	n, err := unquote(text, value)
	if err != nil {
		return nil
	}
	return text[:n]
}

// scalar returns the text of a value that may be quoted once, twice or not at
// all: 1, "1", "\"1\"". null and anything nested are "".
func scalar(value []byte) string {
	for range 2 {
		if len(value) == 0 || value[0] != '"' {
			break
		}
		if end, err := skipString(value, 0); err != nil || end != len(value) {
			break
		}
		value = content(value)
	}
	if s := string(value); s != "null" && !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "[") {
		return s
	}
	return ""
}

// sequence reads a sequence number; -1 when it is none. An admin invocation
// has the smallest number there is.
func sequence(value []byte) int64 {
	n, err := strconv.ParseInt(scalar(value), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// hostTime reads a time as .NET writes it: with or without a zone (then UTC)
// and fraction. Its smallest value stands for none.
func hostTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Year() <= 1 {
				break
			}
			return t.UTC()
		}
	}
	return time.Time{}
}

func partition(value []byte) (p Partition) {
	text := content(value)
	_, _ = members(text, skipSpace(text, 0), func(name []byte, i int) (int, error) {
		end, err := skipValue(text, i)
		if err != nil {
			return 0, err
		}
		switch v := text[i:end]; string(name) {
		case "FullyQualifiedNamespace":
			p.Namespace = scalar(v)
		case "EventHubName":
			p.Hub = scalar(v)
		case "ConsumerGroup":
			p.ConsumerGroup = scalar(v)
		case "PartitionId":
			p.ID = scalar(v)
		}
		return end, nil
	})
	return p
}

func retry(value []byte) *Retry {
	text := content(value)
	var r Retry
	_, err := members(text, skipSpace(text, 0), func(name []byte, i int) (int, error) {
		end, err := skipValue(text, i)
		if err != nil {
			return 0, err
		}
		switch v := text[i:end]; string(name) {
		case "RetryCount":
			r.Count, _ = strconv.Atoi(scalar(v))
		case "MaxRetryCount":
			r.Max, _ = strconv.Atoi(scalar(v))
		}
		return end, nil
	})
	if err != nil {
		return nil
	}
	return &r
}

// replaces reports whether message is a JSON object with a member that the
// host takes for the metadata key.
func replaces(message []byte, key string) bool {
	i := skipSpace(message, 0)
	if i >= len(message) || message[i] != '{' {
		return false
	}
	found := false
	_, err := members(message, i, func(name []byte, i int) (int, error) {
		if bytes.IndexByte(name, '\\') >= 0 {
			text := make([]byte, len(name))
			if n, err := unquote(text, name); err == nil {
				name = text[:n]
			}
		}
		if strings.EqualFold(string(name), key) {
			found = true
		}
		return skipValue(message, i)
	})
	return found || err != nil
}
