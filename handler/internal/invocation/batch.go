package invocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
)

// arrayDepth and messageDepth are how often the array of messages and a message
// are quoted in an invocation: the host writes an array of strings as JSON text
// in a string.
const (
	arrayDepth   = 1
	messageDepth = 2
)

// A Batch is one invocation of Detect: the Event Hub messages of one partition,
// as the host quoted them, and where the filter found something in them.
//
// All texts that it returns share its memory and are valid until Close. A Batch
// is used by one goroutine at a time.
type Batch struct {
	reader   *Reader
	buffer   *buffer
	budgeted bool // occupies the limit of one body in the budget

	text jsontext.Text // from the array of messages on, to its end or beyond
	hits []prefilter.Hit
	err  error // why the body is no batch of messages

	messages []jsontext.Value // found on demand, see split
	isSplit  bool
	place    *place // found on demand, see located
}

// Read reads a body to its end and searches it with f while it arrives, unless its
// method Size, if there is one, announces more than the limit. Without
// a hit nothing of it is parsed. The errors are [ErrTooLarge], [ErrBroken] and
// [ErrBusy]; a body that was read but is no batch is a Batch with Err.
func (r *Reader) Read(ctx context.Context, body io.Reader, f *prefilter.Filter) (*Batch, error) {
	if sized, ok := body.(interface{ Size() int64 }); ok && sized.Size() > r.limit {
		return nil, fmt.Errorf("read request: %w", ErrTooLarge)
	}
	b := &Batch{reader: r, buffer: r.acquire()}
	search := f.Search(messageDepth)
	if err := b.fill(ctx, body, search); err != nil {
		b.Close()
		return nil, fmt.Errorf("read request: %w", err)
	}
	b.open(search.Hits())
	return b, nil
}

// usual is how a body begins that holds text messages, of which the first is an
// object.
var usual = []byte(`{"Data":{"events":"[\"{`)

// behind is what follows the messages in it. No quote is without a backslash
// in the messages, so it cannot be part of them.
var behind = []byte(`]"},"Metadata":{`)

// open finds the array of messages, and moves what was found in the body to
// positions in it. Without a hit a body that begins as usual is not parsed.
func (b *Batch) open(found []prefilter.Hit) {
	body := b.buffer.bytes
	start, end := usualArray(body)
	if start < 0 || end < 0 && len(found) > 0 {
		start, end, b.err = arrayOf(body)
		if b.err != nil {
			return
		}
	}
	if end < 0 {
		end = len(body)
	}
	b.text = jsontext.Text{Raw: body[start:end], Depth: messageDepth}
	for _, hit := range found {
		if hit.Pos < end && hit.End > start {
			b.hits = append(b.hits, prefilter.Hit{Pos: max(hit.Pos, start) - start, End: min(hit.End, end) - start, Long: hit.Long})
		}
	}
}

// usualArray returns where the array of messages begins in a body of the usual
// form, and where it ends; -1 for what it does not find.
func usualArray(body []byte) (start, end int) {
	if !bytes.HasPrefix(body, usual) {
		return -1, -1
	}
	start = bytes.IndexByte(body, '[')
	if end = bytes.LastIndex(body, behind); end >= 0 {
		end++
	}
	return start, end
}

// arrayOf parses an invocation and returns where the array of its messages begins
// and ends. Only the form that function.json asks for is read: an array of strings
// as JSON text in a string.
func arrayOf(body []byte) (start, end int, err error) {
	data, err := member(body, "Data")
	if err != nil {
		return 0, 0, err
	}
	value, err := only(data.Members(0), "member Data", "binding", "events")
	if err != nil {
		return 0, 0, err
	}
	array := jsontext.Text{Raw: value.Content().Raw, Depth: arrayDepth}
	at := array.Space(0)
	switch {
	case value.Kind != jsontext.String, array.Kind(at) != jsontext.Array:
		return 0, 0, errors.New("binding \"events\" is not an array of strings: function.json must have cardinality many and dataType string")
	case array.Obscured():
		return 0, 0, errors.New("binding \"events\" writes quotes as \\u0022, which the Functions host does not")
	}
	if end, ok := array.Skip(at); ok && array.Space(end) < len(array.Raw) {
		return 0, 0, errors.New("binding \"events\" holds text after the array of messages")
	}
	for message := range array.Elements(at) {
		if message.Kind != jsontext.String || message.Truncated {
			return 0, 0, errors.New("binding \"events\" holds a message that is not text: function.json must have dataType string")
		}
		if looksLikeBase64(message.Content().Raw) {
			return 0, 0, errors.New("binding \"events\" holds base64: function.json must have dataType string, not binary")
		}
	}
	return data.Start + value.Start + 1 + at, data.Start + value.End - 1, nil
}

// looksLikeBase64 reports whether a message is probably what dataType binary makes
// of one: JSON text, gzip and the like have characters that base64 lacks.
func looksLikeBase64(raw []byte) bool {
	const least = 16
	return len(raw) >= least && len(raw)%4 == 0 && !bytes.ContainsFunc(raw, func(c rune) bool {
		return !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=')
	})
}

// member returns a member of the one object that an invocation is.
func member(body []byte, name string) (found jsontext.Value, err error) {
	text := jsontext.Text{Raw: body}
	start := text.Space(0)
	end, ok := text.Skip(start)
	switch {
	case !ok || text.Kind(start) != jsontext.Object:
		return found, errors.New("the request is not a JSON object")
	case text.Space(end) != len(body):
		return found, errors.New("the request holds more than one JSON object")
	}
	return only(text.Members(start), "the request", "member", name)
}

// only returns the one member of that name. where and what are for the error.
func only(members iter.Seq2[string, jsontext.Value], where, what, name string) (found jsontext.Value, err error) {
	for n, v := range members {
		switch {
		case n == name && found.Kind != jsontext.Invalid:
			return found, fmt.Errorf("%s has two %ss %q", where, what, name)
		case n == name:
			found = v
		}
	}
	if found.Kind == jsontext.Invalid {
		return found, fmt.Errorf("%s has no %s %q", where, what, name)
	}
	return found, nil
}

// Err returns why the body is no batch. Such a batch has no messages; what is to
// be done with it is known to [Batch.Reply] alone.
func (b *Batch) Err() error { return b.err }

// Size returns the length of the body in bytes.
func (b *Batch) Size() int { return len(b.buffer.bytes) }

// Text returns all messages, each quoted twice, and what is between them.
func (b *Batch) Text() jsontext.Text { return b.text }

// Hits returns where the filter found something, in ascending order.
func (b *Batch) Hits() []prefilter.Hit { return b.hits }

// split returns the messages. Only a batch with a hit, or of which a sample is
// taken, is split.
func (b *Batch) split() []jsontext.Value {
	if !b.isSplit && b.err == nil {
		b.isSplit = true
		array := jsontext.Text{Raw: b.text.Raw, Depth: arrayDepth}
		b.messages = slices.Collect(array.Elements(0))
	}
	return b.messages
}

// Len returns the number of messages.
func (b *Batch) Len() int { return len(b.split()) }

// Message returns message i, and where it ends in Text. Of a value that is not a
// string, which the host does not write, it returns the JSON text.
func (b *Batch) Message(i int) (text jsontext.Text, end int) {
	m := b.split()[i]
	if m.Kind != jsontext.String {
		return m.Text, m.End
	}
	return m.Content(), m.End
}

// At returns the index of the message around a position of Text, and -1 between
// messages.
func (b *Batch) At(pos int) int {
	messages := b.split()
	i, _ := slices.BinarySearchFunc(messages, pos, func(v jsontext.Value, pos int) int { return v.End - 1 - pos })
	if i < len(messages) && messages[i].Start <= pos {
		return i
	}
	return -1
}

// Close gives the memory of the batch back. Nothing of the batch may be used
// afterwards. Closing again does nothing.
func (b *Batch) Close() {
	if b.buffer == nil {
		return
	}
	b.reader.release(b.buffer)
	b.buffer = nil
	if b.budgeted {
		b.reader.budget.Release(b.reader.limit)
	}
}
