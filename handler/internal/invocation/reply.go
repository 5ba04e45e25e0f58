package invocation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"podwatch/handler/internal/jsontext"
)

// IDHeader is the header that carries the invocation id. The id stays the same
// over all retries of one batch.
const IDHeader = "X-Azure-Functions-InvocationId"

// ContentType is what a reply must be sent as: the host fails an invocation
// whose reply is typed otherwise.
const ContentType = "application/json"

// Names of the output bindings of Detect, as function.json has them.
const (
	bindingUndelivered = "undelivered"
	bindingUnreadable  = "unreadable"
)

// A Reply is the answer to an invocation that succeeded; send it with status 200
// and [ContentType]. It is encoded while it is written, so that a body that
// leaves as unreadable needs no second copy. The zero Reply is an answer without
// outputs. An empty or null reply would never complete the invocation, so neither
// can be made here.
type Reply struct {
	batch       *Batch // nil: of a function without outputs
	undelivered [][]byte
	unreadable  []unreadable
}

type unreadable struct {
	message, offset int
	reason          string
	text            jsontext.Text
}

// Reply returns the reply to the batch, which it closes when it is closed. If the
// body is no batch, all of it is in the unreadable output: the host would send the
// same bytes again for ever.
func (b *Batch) Reply() *Reply {
	r := &Reply{batch: b}
	if b.err != nil {
		r.Unreadable(-1, 0, b.err.Error(), jsontext.Text{Raw: b.buffer.bytes})
	}
	return r
}

// Undelivered puts an alert into the queue output, as one message. It must be a
// JSON object of at most 48 KiB in UTF-8; it arrives byte for byte.
func (r *Reply) Undelivered(alert []byte) { r.undelivered = append(r.undelivered, alert) }

// Unreadable puts a piece of a message into the blob output, with its place in
// the event hub. Of an invocation all pieces are one blob: an array of objects,
// one a line. message is -1 if the piece is of none.
func (r *Reply) Unreadable(message, offset int, reason string, text jsontext.Text) {
	r.unreadable = append(r.unreadable, unreadable{message, offset, reason, text})
}

// Close gives the memory of the batch back.
func (r *Reply) Close() {
	if r.batch != nil {
		r.batch.Close()
	}
}

// Size returns the length of what WriteTo writes.
func (r *Reply) Size() int64 {
	n, _ := r.WriteTo(io.Discard) // which does not fail
	return n
}

// WriteTo writes the reply.
func (r *Reply) WriteTo(w io.Writer) (int64, error) {
	out := &counter{w: w}
	r.encode(out)
	return out.n, out.err
}

// A counter counts what is written, and writes nothing more after an error.
type counter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *counter) Write(p []byte) (int, error) {
	if c.err == nil {
		var n int
		n, c.err = c.w.Write(p)
		c.n += int64(n)
	}
	return len(p), nil
}

func (c *counter) text(s string) { _, _ = io.WriteString(c, s) }

func (r *Reply) encode(out *counter) {
	if len(r.undelivered) == 0 && len(r.unreadable) == 0 {
		out.text("{}")
		return
	}
	out.text(`{"Outputs":{`)
	if len(r.undelivered) > 0 {
		r.encodeUndelivered(out)
	}
	if len(r.unreadable) > 0 {
		if len(r.undelivered) > 0 {
			out.text(",")
		}
		r.encodeUnreadable(out)
	}
	out.text("}}")
}

// encodeUndelivered writes an array of strings: the host rewrites objects, and a
// single string that looks like base64 or a time.
func (r *Reply) encodeUndelivered(out *counter) {
	out.text(`"` + bindingUndelivered + `":[`)
	var quoted []byte
	for i, alert := range r.undelivered {
		if i > 0 {
			out.text(",")
		}
		quoted = jsontext.AppendQuote(quoted[:0], alert)
		_, _ = out.Write(quoted)
	}
	out.text("]")
}

// encodeUnreadable writes a string of JSON text, which the host writes to the
// blob as it is.
func (r *Reply) encodeUnreadable(out *counter) {
	place := r.batch.located()
	out.text(`"` + bindingUnreadable + `":"`)
	blob := &quoter{w: out}
	for i, u := range r.unreadable {
		_, _ = io.WriteString(blob, []string{"[\n", ",\n"}[min(i, 1)])
		u.encode(blob, place)
	}
	_, _ = io.WriteString(blob, "\n]\n")
	out.text(`"`)
}

// A pieceHead is what a line of the blob begins with. Operators query it.
type pieceHead struct {
	Hub       string    `json:"EventHub,omitempty"`
	Partition string    `json:"Partition,omitempty"`
	Sequence  int64     `json:"SequenceNumber"` // -1: not known
	Enqueued  time.Time `json:"EnqueuedTime,omitzero"`
	Position  int       `json:"Position"` // byte in the message
	Reason    string    `json:"Reason"`
}

// encode writes the piece as one JSON object: its text as Text, or as Base64
// where it is not UTF-8.
func (u unreadable) encode(w io.Writer, p *place) {
	head, err := json.Marshal(pieceHead{p.hub, p.partition, of(p.sequences, u.message, -1), of(p.enqueued, u.message, time.Time{}), u.offset, u.reason})
	if err != nil {
		panic(err) // a struct of text, numbers and a time that was read as one
	}
	_, _ = w.Write(head[:len(head)-1])
	text := u.text.Raw
	if u.text.Depth > 0 {
		if plain, err := u.text.Plain(nil); err == nil {
			text = plain
		}
	}
	if utf8.Valid(text) {
		_, _ = io.WriteString(w, `,"Text":"`)
		_, _ = (&quoter{w: w}).Write(text)
	} else {
		_, _ = io.WriteString(w, `,"Base64":"`)
		encoder := base64.NewEncoder(base64.StdEncoding, w)
		_, _ = encoder.Write(text)
		_ = encoder.Close()
	}
	_, _ = io.WriteString(w, `"}`)
}

// A quoter writes text as the inside of a JSON string, in parts of bounded size.
// Its errors are the counter's, which keeps them. Each text given to Write must end
// at a character's end.
type quoter struct {
	w      io.Writer
	quoted []byte
}

func (q *quoter) Write(p []byte) (int, error) {
	const part = 32 << 10
	for rest := p; len(rest) > 0; {
		n := min(len(rest), part)
		for n < len(rest) && n > 0 && !utf8.RuneStart(rest[n]) {
			n--
		}
		q.quoted = jsontext.AppendQuote(q.quoted[:0], rest[:n])
		_, _ = q.w.Write(bytes.TrimSuffix(q.quoted[1:], []byte(`"`)))
		rest = rest[n:]
	}
	return len(p), nil
}
