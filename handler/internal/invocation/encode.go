package invocation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/unicode"

	"podwatch/handler/internal/jsontext"
)

// This file writes invocations as the host posts them with version 6.5 of its Event
// Hubs extension, for the local stand-in of the host and for tests.

// Messages is what EncodeEvents makes an invocation of: a batch for a function with
// cardinality many and dataType string.
type Messages struct {
	Function  string // the name of the function
	Binding   string // the name of the trigger's binding: "events"
	Messages  []Message
	Partition Partition
	Retry     *Retry    // nil: no retry policy
	Now       time.Time // when the invocation is made
	GUID      string    // the host's random id of this try
}

// A Message is one Event Hub message. Partition and sequence number identify it;
// offsets are opaque.
type Message struct {
	Body     []byte
	Sequence int64
	Offset   string
	Enqueued time.Time
}

// A Partition is where a batch was read.
type Partition struct {
	Namespace     string // fully qualified: "demo.servicebus.windows.net"
	Hub           string
	ConsumerGroup string
	ID            string
}

// Retry counts the tries of a batch.
type Retry struct {
	Count int // 0 for the first try
	Max   int // -1 when the host never gives up
}

// EncodeEvents returns the invocation for a batch. Like the host it writes one U+FFFD
// for each maximal part of a body that is not UTF-8.
func EncodeEvents(b Messages) []byte {
	var m object
	m.raw("TriggerPartitionContext", encodePartition(b.Partition))
	m.raw("PartitionContext", encodePartition(b.Partition))
	array := func(key string, element func(Message) []byte) { m.text(key, list(b.Messages, element)) }
	array("PartitionKeyArray", func(Message) []byte { return []byte("null") })
	array("OffsetArray", func(m Message) []byte { return quote(strconv.FormatInt(numericOffset(m), 10)) })
	array("OffsetStringArray", func(m Message) []byte { return quote(m.Offset) })
	array("SequenceNumberArray", func(m Message) []byte { return strconv.AppendInt(nil, m.Sequence, 10) })
	array("EnqueuedTimeUtcArray", func(m Message) []byte { return quote(enqueuedTime(m)) })
	array("PropertiesArray", func(Message) []byte { return []byte("{}") })
	array("SystemPropertiesArray", systemProperties)
	m.sys(b.Function, b.Now, b.GUID)
	m.retry(b.Retry)
	return whole(b.Binding, encodeMessages(b.Messages), &m)
}

// EncodeAdmin returns the invocation that the host makes of
// POST /admin/functions/<name> for an eventHubTrigger: input is the body of one
// message that was never in an event hub.
func EncodeAdmin(function, binding, input string, retry *Retry, now time.Time, guid string) []byte {
	const unset = "-9223372036854775808"
	var m object
	m.raw("Offset", quote(`"-1"`))
	m.raw("SequenceNumber", quote(unset))
	m.raw("EnqueuedTimeUtc", quote("0001-01-01T00:00:00"))
	m.raw("Properties", []byte("{}"))
	m.raw("SystemProperties", fmt.Appendf(nil, `{"SequenceNumber":%s,"Offset":-1,"OffsetString":null,"PartitionKey":null,"EnqueuedTimeUtc":"0001-01-01T00:00:00"}`, unset))
	m.raw(binding, quoteTwice(input))
	m.sys(function, now, guid)
	m.retry(retry)
	return whole(binding, encodeMessages([]Message{{Body: []byte(input)}}), &m)
}

// A QueueItem is what EncodeQueue makes an invocation of. Without an ID it is an
// admin invocation.
type QueueItem struct {
	Function, Binding string
	Text              string
	ID, PopReceipt    string
	DequeueCount      int
	Inserted, Expires time.Time
	NextVisible       time.Time
	Now               time.Time
	GUID              string
}

// EncodeQueue returns the invocation for one queue message, with the members of
// the message merged into the metadata.
func EncodeQueue(q QueueItem) []byte {
	stamp := func(t time.Time) []byte { return quote(t.UTC().Format("2006-01-02T15:04:05-07:00")) }
	if q.ID == "" {
		q.Expires = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		q.NextVisible = q.Expires
	}
	var m object
	m.raw("DequeueCount", quote(strconv.Itoa(q.DequeueCount)))
	m.raw("ExpirationTime", stamp(q.Expires))
	if q.ID != "" {
		m.text("Id", quote(q.ID))
	}
	m.raw("InsertionTime", stamp(q.Inserted))
	m.raw("NextVisibleTime", stamp(q.NextVisible))
	if q.PopReceipt != "" {
		m.text("PopReceipt", quote(q.PopReceipt))
	}
	if q.ID == "" {
		m.raw(q.Binding, quoteTwice(q.Text))
	}
	m.sys(q.Function, q.Now, q.GUID)
	m.merge([]byte(q.Text))
	return whole(q.Binding, quoteTwice(q.Text), &m)
}

// EncodeTimer returns the invocation for a tick of a timer. Without last and next
// the schedule is not tracked.
func EncodeTimer(function, binding string, last, next, now time.Time, guid string) []byte {
	status := "null"
	if !last.IsZero() || !next.IsZero() {
		const layout = "2006-01-02T15:04:05.9999999-07:00"
		status = fmt.Sprintf(`{"Last":%q,"Next":%q,"LastUpdated":%[1]q}`, last.UTC().Format(layout), next.UTC().Format(layout))
	}
	var m object
	m.sys(function, now, guid)
	return whole(binding, fmt.Appendf(nil, `{"Schedule":{"AdjustForDST":true},"ScheduleStatus":%s,"IsPastDue":false}`, status), &m)
}

func whole(binding string, data []byte, m *object) []byte {
	out := append([]byte(`{"Data":{`), quote(binding)...)
	out = append(append(out, ':'), data...)
	out = append(out, `},"Metadata":`...)
	return append(append(out, m.json()...), '}')
}

func encodeMessages(messages []Message) []byte {
	return quote(list(messages, func(m Message) []byte {
		text, _ := unicode.UTF8.NewDecoder().Bytes(m.Body) // replaces, and never fails
		return quote(text)
	}))
}

// list returns an array of what element makes of each message.
func list(messages []Message, element func(Message) []byte) []byte {
	parts := make([][]byte, len(messages))
	for i, m := range messages {
		parts[i] = element(m)
	}
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']')
}

func quote[T []byte | string](s T) []byte { return jsontext.AppendQuote(nil, s) }

func quoteTwice(s string) []byte { return quote(quote(s)) }

func encodePartition(p Partition) []byte {
	var o object
	o.raw("IsCheckpointingAfterInvocation", []byte("true"))
	o.raw("FullyQualifiedNamespace", quote(p.Namespace))
	o.raw("EventHubName", quote(p.Hub))
	o.raw("ConsumerGroup", quote(p.ConsumerGroup))
	o.raw("PartitionId", quote(p.ID))
	return o.json()
}

func systemProperties(m Message) []byte {
	enqueued := enqueuedTime(m)
	return fmt.Appendf(nil, `{"x-opt-sequence-number":%d,"x-opt-offset":%s,"x-opt-enqueued-time":%s,"SequenceNumber":%[1]d,"Offset":%[4]d,"OffsetString":%[2]s,"PartitionKey":null,"EnqueuedTimeUtc":%[5]s}`,
		m.Sequence, quote(m.Offset), quote(enqueued+"+00:00"), numericOffset(m), quote(enqueued))
}

// numericOffset is what the host makes of an offset that is no number, too: a
// namespace with geo-replication has such offsets.
func numericOffset(m Message) int64 {
	if n, err := strconv.ParseInt(m.Offset, 10, 64); err == nil {
		return n
	}
	return -1
}

// enqueuedTime writes a UTC time as the host does: without its zone.
func enqueuedTime(m Message) string { return m.Enqueued.UTC().Format("2006-01-02T15:04:05.9999999") }

// object is a JSON object that keeps the order of its members.
type object struct {
	names  []string
	values [][]byte
}

func (o *object) raw(name string, value []byte) {
	for i, old := range o.names {
		if strings.EqualFold(old, name) {
			o.values[i] = value // the case of the first stays
			return
		}
	}
	o.names = append(o.names, name)
	o.values = append(o.values, value)
}

// text adds a value as JSON text in a string, as the host writes whatever is
// neither an object nor a time.
func (o *object) text(name string, value []byte) { o.raw(name, quote(value)) }

func (o *object) sys(function string, now time.Time, guid string) {
	o.raw("sys", fmt.Appendf(nil, `{"MethodName":%s,"UtcNow":%s,"RandGuid":%s}`,
		quote(function), quote(now.UTC().Format("2006-01-02T15:04:05.9999999Z")), quote(guid)))
}

func (o *object) retry(r *Retry) {
	if r != nil {
		o.raw("RetryContext", fmt.Appendf(nil, `{"RetryCount":%d,"MaxRetryCount":%d,"Exception":null,"Instance":null,"State":{}}`, r.Count, r.Max))
	}
}

// merge adds the members of a queue message that is a JSON object, as the host
// does: no arrays, no nulls, and scalars as strings.
func (o *object) merge(message []byte) {
	if !json.Valid(message) {
		return
	}
	text := jsontext.Text{Raw: message}
	for name, v := range text.Members(text.Space(0)) {
		switch v.Kind {
		case jsontext.Array, jsontext.Null, jsontext.Invalid:
		case jsontext.Object:
			o.raw(name, v.Raw)
		case jsontext.String:
			o.text(name, v.Raw)
		case jsontext.True:
			o.text(name, quote("True"))
		case jsontext.False:
			o.text(name, quote("False"))
		default:
			o.text(name, quote(v.Raw))
		}
	}
}

func (o *object) json() []byte {
	b := []byte{'{'}
	for i, name := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(jsontext.AppendQuote(b, name), ':'), o.values[i]...)
	}
	return append(b, '}')
}
