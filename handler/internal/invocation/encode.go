package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// This file plays the host's part: it writes invocations as the host posts
// them, for the local stand-in of the host and for tests.

// A Batch is what EncodeEvents makes an invocation of.
type Batch struct {
	Function  string // the name of the function
	Binding   string // the name of the trigger's binding: "events"
	Encoding  Encoding
	Messages  []Message // exactly one for OneString and OneBinary
	Partition Partition
	Retry     *Retry    // nil: no retry policy
	Now       time.Time // when the invocation is made
	GUID      string    // the host's random id of this try
}

// EncodeEvents returns the invocation for a batch as the host writes it. Like
// the host it cannot hand over a body that is not JSON in ManyUntyped, rewrites
// the times and loses the layout of those that are, and replaces what is not
// UTF-8 in the text encodings.
func EncodeEvents(b Batch) ([]byte, error) {
	one := b.Encoding == OneString || b.Encoding == OneBinary
	if one && len(b.Messages) != 1 {
		return nil, fmt.Errorf("encode %d messages as %s: exactly one fits", len(b.Messages), b.Encoding)
	}
	data, err := encodeBodies(b.Encoding, b.Messages)
	if err != nil {
		return nil, err
	}
	var m object
	m.raw("PartitionContext", encodePartition(b.Partition))
	if one {
		msg := b.Messages[0]
		at := msg.Enqueued.UTC()
		m.raw("Offset", appendQuoted(nil, msg.Offset))
		m.raw("SequenceNumber", appendQuoted(nil, strconv.FormatInt(msg.Sequence, 10)))
		m.raw("EnqueuedTimeUtc", appendQuoted(nil, at.Format("2006-01-02T15:04:05")))
		m.raw("Properties", []byte("{}"))
		m.raw("SystemProperties", systemProperties(msg))
	} else {
		array := func(key string, element func(Message) []byte) {
			parts := make([][]byte, len(b.Messages))
			for i, msg := range b.Messages {
				parts[i] = element(msg)
			}
			m.text(key, join(parts))
		}
		array("PartitionKeyArray", func(Message) []byte { return []byte("null") })
		array("OffsetArray", func(msg Message) []byte { return appendQuoted(nil, msg.Offset) })
		array("SequenceNumberArray", func(msg Message) []byte { return strconv.AppendInt(nil, msg.Sequence, 10) })
		array("EnqueuedTimeUtcArray", func(msg Message) []byte { return appendQuoted(nil, enqueuedTime(msg)) })
		array("PropertiesArray", func(Message) []byte { return []byte("{}") })
		array("SystemPropertiesArray", systemProperties)
	}
	m.sys(b.Function, b.Now, b.GUID)
	if b.Encoding == OneString {
		m.merge(b.Messages[0].Body)
	}
	if b.Retry != nil {
		m.raw("RetryContext", fmt.Appendf(nil, `{"RetryCount":%d,"MaxRetryCount":%d,"Exception":null,"Instance":null,"State":{}}`, b.Retry.Count, b.Retry.Max))
	}
	return whole(b.Binding, data, &m), nil
}

// EncodeAdmin returns the invocation that the host makes of
// POST /admin/functions/<name> for an eventHubTrigger: input is the body of one
// message that was never in an Event Hub.
func EncodeAdmin(function, binding string, e Encoding, input string, retry *Retry, now time.Time, guid string) ([]byte, error) {
	data, err := encodeBodies(e, []Message{{Body: []byte(input)}})
	if err != nil {
		return nil, err
	}
	const unset = `"-9223372036854775808"`
	var m object
	m.raw("Offset", []byte(unset))
	m.raw("SequenceNumber", []byte(unset))
	m.raw("EnqueuedTimeUtc", []byte(`"0001-01-01T00:00:00"`))
	m.raw("Properties", []byte("{}"))
	m.raw("SystemProperties", []byte("{}"))
	m.sys(function, now, guid)
	m.merge([]byte(input))
	if retry != nil {
		m.raw("RetryContext", fmt.Appendf(nil, `{"RetryCount":%d,"MaxRetryCount":%d,"Exception":null,"Instance":null,"State":{}}`, retry.Count, retry.Max))
	}
	return whole(binding, data, &m), nil
}

// A QueueItem is what EncodeQueue makes an invocation of. Without an ID it is
// an admin invocation.
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

// EncodeQueue returns the invocation for one queue message as the host writes
// it, with the members of the message merged into the metadata.
func EncodeQueue(q QueueItem) []byte {
	stamp := func(t time.Time) []byte {
		return appendQuoted(nil, t.UTC().Format("2006-01-02T15:04:05-07:00"))
	}
	if q.ID == "" && q.Expires.IsZero() {
		q.Expires = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	var m object
	m.raw("DequeueCount", appendQuoted(nil, strconv.Itoa(q.DequeueCount)))
	m.raw("ExpirationTime", stamp(q.Expires))
	if q.ID != "" {
		m.text("Id", appendQuoted(nil, q.ID))
	}
	m.raw("InsertionTime", stamp(q.Inserted))
	m.raw("NextVisibleTime", stamp(q.NextVisible))
	if q.PopReceipt != "" {
		m.text("PopReceipt", appendQuoted(nil, q.PopReceipt))
	}
	m.sys(q.Function, q.Now, q.GUID)
	m.merge([]byte(q.Text))
	return whole(q.Binding, quoteTwice(q.Text), &m)
}

// EncodeTimer returns the invocation for a tick of a timer. A zero Last and
// Next means that the schedule is not tracked.
func EncodeTimer(function, binding string, t Timer, now time.Time, guid string) []byte {
	status := "null"
	if !t.Last.IsZero() || !t.Next.IsZero() {
		const layout = "2006-01-02T15:04:05.9999999-07:00"
		last, next := t.Last.UTC().Format(layout), t.Next.UTC().Format(layout)
		status = fmt.Sprintf(`{"Last":%q,"Next":%q,"LastUpdated":%q}`, last, next, last)
	}
	data := fmt.Appendf(nil, `{"Schedule":{"AdjustForDST":true},"ScheduleStatus":%s,"IsPastDue":%t}`, status, t.IsPastDue)
	var m object
	m.sys(function, now, guid)
	return whole(binding, data, &m)
}

func whole(binding string, data []byte, m *object) []byte {
	out := append([]byte(`{"Data":{`), appendQuoted(nil, binding)...)
	out = append(append(out, ':'), data...)
	out = append(out, `},"Metadata":`...)
	return append(append(out, m.json()...), '}')
}

func encodeBodies(e Encoding, messages []Message) ([]byte, error) {
	parts := make([][]byte, len(messages))
	for i, msg := range messages {
		switch e {
		case ManyString:
			parts[i] = appendQuoted(nil, string(msg.Body))
		case ManyUntyped:
			var err error
			if parts[i], err = reserialise(msg.Body); err != nil {
				return nil, fmt.Errorf("encode message %d as %s: %w", i, e, err)
			}
		case ManyBinary:
			parts[i] = appendQuoted(nil, base64.StdEncoding.EncodeToString(msg.Body))
		case OneString:
			return quoteTwice(string(msg.Body)), nil
		case OneBinary:
			return appendQuoted(nil, base64.StdEncoding.EncodeToString(msg.Body)), nil
		default:
			return nil, fmt.Errorf("encode messages: unknown %s", e)
		}
	}
	return appendQuoted(nil, string(join(parts))), nil
}

func quoteTwice(s string) []byte { return appendQuoted(nil, string(appendQuoted(nil, s))) }

func join(parts [][]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']')
}

func encodePartition(p Partition) []byte {
	var o object
	o.raw("IsCheckpointingAfterInvocation", []byte("true"))
	o.raw("FullyQualifiedNamespace", appendQuoted(nil, p.Namespace))
	o.raw("EventHubName", appendQuoted(nil, p.Hub))
	o.raw("ConsumerGroup", appendQuoted(nil, p.ConsumerGroup))
	o.raw("PartitionId", appendQuoted(nil, p.ID))
	return o.json()
}

func systemProperties(msg Message) []byte {
	var o object
	o.raw("SequenceNumber", strconv.AppendInt(nil, msg.Sequence, 10))
	offset := appendQuoted(nil, msg.Offset)
	if n, err := strconv.ParseInt(msg.Offset, 10, 64); err == nil {
		offset = strconv.AppendInt(nil, n, 10)
	}
	o.raw("Offset", offset)
	o.raw("PartitionKey", []byte("null"))
	o.raw("EnqueuedTimeUtc", appendQuoted(nil, enqueuedTime(msg)))
	return o.json()
}

// enqueuedTime writes a UTC time as the host does: without its zone.
func enqueuedTime(msg Message) string {
	return msg.Enqueued.UTC().Format("2006-01-02T15:04:05.9999999")
}

// object is a JSON object that keeps the order of its members.
type object struct {
	names  []string
	values [][]byte
}

func (o *object) raw(name string, value []byte) {
	for i, old := range o.names {
		if strings.EqualFold(old, name) {
			o.values[i] = value // the casing of the first stays
			return
		}
	}
	o.names = append(o.names, name)
	o.values = append(o.values, value)
}

// text adds a value as JSON text in a string, as the host writes whatever is
// neither an object nor a time nor bytes.
func (o *object) text(name string, value []byte) { o.raw(name, appendQuoted(nil, string(value))) }

func (o *object) sys(function string, now time.Time, guid string) {
	var sys object
	sys.raw("MethodName", appendQuoted(nil, function))
	sys.raw("UtcNow", appendQuoted(nil, now.UTC().Format("2006-01-02T15:04:05.9999999Z")))
	sys.raw("RandGuid", appendQuoted(nil, guid))
	o.raw("sys", sys.json())
}

// merge adds the members of a message that is a JSON object, as the host does
// for a single message: no arrays, no nulls, and scalars turned into strings.
func (o *object) merge(message []byte) {
	if !json.Valid(message) {
		return
	}
	i := skipSpace(message, 0)
	_, _ = members(message, i, func(name []byte, i int) (int, error) {
		end, err := skipValue(message, i)
		if err != nil {
			return 0, err
		}
		key := string(content(append(append([]byte{'"'}, name...), '"')))
		switch value := message[i:end]; value[0] {
		case '[', 'n':
		case '{':
			if value, err = reserialise(value); err == nil {
				o.raw(key, value)
			}
		case 't':
			o.text(key, []byte(`"True"`))
		case 'f':
			o.text(key, []byte(`"False"`))
		case '"':
			s := string(content(value))
			if t, ok := detectTime(s); ok {
				s = t.at.Format("01/02/2006 15:04:05")
			}
			o.text(key, appendQuoted(nil, s))
		default:
			o.text(key, appendQuoted(nil, string(value)))
		}
		return end, nil
	})
}

func (o *object) json() []byte {
	b := []byte{'{'}
	for i, name := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), o.values[i]...)
	}
	return append(b, '}')
}

// reserialise reads JSON and writes it again as the host's serialiser does:
// compact, and with strings that look like a time normalised.
func reserialise(src []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	var out []byte
	if err := reserialiseValue(dec, &out, maxDepth); err != nil {
		if errors.Is(err, io.EOF) {
			err = errCut
		}
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("text after the value")
	}
	return out, nil
}

func reserialiseValue(dec *json.Decoder, out *[]byte, depth int) error {
	if depth == 0 {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		*out = append(*out, byte(v))
		for n := 0; dec.More(); n++ {
			if n > 0 {
				*out = append(*out, ',')
			}
			if v == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				*out = append(appendQuoted(*out, name.(string)), ':')
			}
			if err := reserialiseValue(dec, out, depth-1); err != nil {
				return err
			}
		}
		end, err := dec.Token()
		if err != nil {
			return err
		}
		*out = append(*out, byte(end.(json.Delim)))
	case string:
		if t, ok := detectTime(v); ok {
			v = t.at.Format(t.layout)
		}
		*out = appendQuoted(*out, v)
	case json.Number:
		*out = append(*out, v...)
	case bool:
		*out = strconv.AppendBool(*out, v)
	case nil:
		*out = append(*out, "null"...)
	}
	return nil
}

type detected struct {
	at     time.Time
	layout string
}

// detectTime finds the times that Json.NET turns into a DateTime: with Z it
// stays UTC, an offset becomes the host's zone (taken for UTC), without a zone
// none is added; trailing zeros of the fraction go.
func detectTime(s string) (detected, bool) {
	if len(s) < 19 || s[10] != 'T' {
		return detected{}, false
	}
	const layout = "2006-01-02T15:04:05"
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		if strings.HasSuffix(s, "Z") {
			return detected{t, layout + ".9999999Z"}, true
		}
		return detected{t.UTC(), layout + ".9999999-07:00"}, true
	}
	if t, err := time.Parse(layout, s); err == nil {
		return detected{t, layout + ".9999999"}, true
	}
	return detected{}, false
}
