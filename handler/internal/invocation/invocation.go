// Package invocation is the Functions host's wire format, in and out; no other
// package knows it.
//
// Reading accepts every shape in which the host hands over Event Hub messages,
// queue messages and timers, and decides from the data which one it is: a
// changed function.json needs no change here. Input is untrusted: reading never
// panics, takes time linear in its length and memory of at most twice its length
// besides a fixed amount a message, and fails only when the invocation as a
// whole cannot be understood. What a message says is not judged here.
//
// Writing ([Reply]) makes only replies that the host is known to understand.
package invocation

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"
)

// IDHeader is the header that carries the invocation id. The id stays the same
// over all retries of one batch.
const IDHeader = "X-Azure-Functions-InvocationId"

// ContentType is what a reply must be sent as: the host fails an invocation
// whose reply is typed otherwise.
const ContentType = "application/json"

// MaxMessages is the largest batch that is read.
const MaxMessages = 1 << 16

// An Encoding is the way in which the host hands over the messages of a batch,
// as chosen by cardinality and dataType in function.json.
type Encoding uint8

// The encodings of an eventHubTrigger.
const (
	ManyString  Encoding = iota // cardinality many, dataType string
	ManyUntyped                 // cardinality many, no dataType: bodies are JSON values
	ManyBinary                  // cardinality many, dataType binary
	OneString                   // cardinality one, dataType string or none
	OneBinary                   // cardinality one, dataType binary
)

// String names the encoding as function.json would: "many string".
func (e Encoding) String() string {
	if names := [...]string{"many string", "many untyped", "many binary", "one string", "one binary"}; int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("Encoding(%d)", uint8(e))
}

// Events is one batch of Event Hub messages, all of one partition.
type Events struct {
	Messages  []Message
	Passed    int // messages that were passed over, see Decoder.Want
	Encoding  Encoding
	Partition Partition // zero for an admin invocation
	Retry     *Retry    // nil unless the function has a retry policy
}

// A Message is one Event Hub message. Partition and sequence number identify
// it; offsets are opaque.
type Message struct {
	Body     []byte
	Sequence int64     // -1 when unknown
	Offset   string    // "" when unknown
	Enqueued time.Time // UTC; zero when unknown
}

// Partition says where a batch was read.
type Partition struct {
	Namespace     string // fully qualified: "demo.servicebus.windows.net"
	Hub           string
	ConsumerGroup string
	ID            string
}

// Retry says which try of a batch this is.
type Retry struct {
	Count int // 0 for the first try
	Max   int // -1 when the host never gives up
}

// ParseEvents reads an invocation of an eventHubTrigger function. The messages
// share memory with nothing but each other.
func ParseEvents(body []byte) (*Events, error) { return new(Decoder).Events(body) }

// A Decoder reads invocations of an eventHubTrigger function into memory that
// it keeps for the next one. The zero Decoder is ready for use; it must not be
// used by two goroutines at once.
type Decoder struct {
	// Want, if not nil, is asked about each message; those that it does not
	// want are counted in Events.Passed and cost no decoding. It sees the text
	// as it stands in the invocation, a JSON string within a JSON string: what
	// it looks for may stand behind escapes at either depth, and behind those
	// of the message itself. Only messages that come as base64, or in an
	// unusual form, are decoded first. It must not keep what it is given.
	Want func(raw []byte) bool

	// Lazy leaves wanted messages of the usual form undecoded: Message.Body is nil
	// and Open has it. A batch then takes no more memory than its largest message.
	Lazy bool

	kept  []byte   // the largest piece of memory so far
	free  []byte   // what is not yet handed out of the current piece
	texts [][]byte // elements of a batch
	asked [][]byte // what Want saw of each message of the batch
	twice bool     // it is quoted twice

	opened  []byte
	indexes []int // of the wanted messages in the batch
}

// Retained returns the bytes of memory that the decoder holds on to, so that an
// owner of many can let go of those that a huge batch has swollen.
func (d *Decoder) Retained() int {
	return cap(d.kept) + 24*(cap(d.texts)+cap(d.asked)) + 8*cap(d.indexes)
}

// Forget lets go of the latest body, whose memory may be given back.
func (d *Decoder) Forget() {
	clear(d.texts[:cap(d.texts)])
	clear(d.asked[:cap(d.asked)])
	d.texts, d.asked, d.indexes = d.texts[:0], d.asked[:0], d.indexes[:0]
}

// Index returns where in the latest batch its i-th wanted message stood.
func (d *Decoder) Index(i int) int { return d.indexes[i] }

// Seen returns what Want saw of the message at index of the latest batch, and nil
// if it was not asked. It is valid until the next call of Events and as long as
// the body is.
func (d *Decoder) Seen(index int) []byte {
	if index >= len(d.asked) {
		return nil
	}
	return d.asked[index]
}

// Open decodes the message at index of the latest batch, wanted or not. It is valid
// until the next call of Open or Events. With an error it returns the message as it
// stands in the invocation.
func (d *Decoder) Open(index int) ([]byte, error) {
	raw := d.Seen(index)
	if !d.twice || len(raw) == 0 {
		return raw, nil
	}
	if len(raw) > len(d.opened) {
		d.opened = make([]byte, len(raw)+len(raw)/4)
	}
	n, err := unquoteBoth(d.opened, raw)
	if err != nil {
		return raw, fmt.Errorf("message %d: %w", index, err)
	}
	return d.opened[:n], nil
}

// Events reads an invocation. The messages are valid until the next call and
// never alias body.
func (d *Decoder) Events(body []byte) (*Events, error) {
	d.free = d.kept
	var (
		ev       Events
		md       metadata
		found    bool // a binding has been read
		named    bool // it was the one called "events"
		bindings int
		seenData bool
		seenMeta bool
	)
	data := func(name []byte, i int) (int, error) {
		bindings++
		preferred := string(name) == "events"
		if named && preferred {
			return 0, errAt(i, "two bindings called \"events\"")
		}
		if named || (found && !preferred) {
			return skipValue(body, i)
		}
		found, named = true, preferred
		ev.Messages, ev.Passed = nil, 0
		end, err := d.batch(&ev, body, i)
		if err != nil {
			return 0, fmt.Errorf("binding %q: %w", name, err)
		}
		return end, nil
	}
	err := envelope(body, func(name []byte, i int) (int, error) {
		switch string(name) {
		case "Data":
			if seenData {
				return 0, errAt(i, "two members called \"Data\"")
			}
			seenData = true
			end, err := members(body, i, data)
			if err != nil {
				return 0, fmt.Errorf("member Data: %w", err)
			}
			return end, nil
		case "Metadata":
			if seenMeta {
				return 0, errAt(i, "two members called \"Metadata\"")
			}
			seenMeta = true
			end, err := md.read(body, i)
			if err != nil {
				return 0, fmt.Errorf("member Metadata: %w", err)
			}
			return end, nil
		}
		return skipValue(body, i)
	})
	switch {
	case err != nil:
	case !found:
		err = fmt.Errorf("member Data holds no binding")
	case !named && bindings > 1:
		err = fmt.Errorf("member Data holds %d bindings and none is called \"events\"", bindings)
	}
	if err != nil {
		return nil, fmt.Errorf("parse invocation: %w", err)
	}
	md.apply(&ev, d.indexes)
	return &ev, nil
}

// envelope reads the one object that an invocation is.
func envelope(body []byte, f func(name []byte, i int) (int, error)) error {
	i := skipSpace(body, 0)
	if i == len(body) {
		return fmt.Errorf("empty body")
	}
	end, err := members(body, i, f)
	if err != nil {
		return err
	}
	if end = skipSpace(body, end); end != len(body) {
		return errAt(end, "unexpected %q after the invocation", body[end])
	}
	return nil
}

// alloc returns n bytes that nobody else uses until the next call of Events;
// keep gives back what was not needed of the latest.
func (d *Decoder) alloc(n int) []byte {
	if n > len(d.free) {
		// Larger pieces for large batches: what is left over at the end of one is lost.
		d.free = make([]byte, max(n, 64<<10, min(2*len(d.kept), 1<<20)))
		if len(d.free) > len(d.kept) {
			d.kept = d.free
		}
	}
	return d.free[:n:n]
}

func (d *Decoder) keep(b []byte, n int) []byte {
	d.free = d.free[n:]
	return b[:n:n]
}

// text takes one layer of quoting off raw, the inside of a JSON string.
func (d *Decoder) text(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	b := d.alloc(len(raw))
	n, err := unquote(b, raw)
	if err != nil {
		return nil, err
	}
	return d.keep(b, n), nil
}

// textTwice takes two layers off raw.
func (d *Decoder) textTwice(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	b := d.alloc(len(raw))
	n, err := unquoteBoth(b, raw)
	if err != nil {
		return nil, err
	}
	return d.keep(b, n), nil
}

// unquoteBoth takes two layers off raw, apart from which dst must be.
func unquoteBoth(dst, raw []byte) (int, error) {
	if n, ok := unquoteTwice(dst, raw); ok {
		return n, nil
	}
	n, err := unquote(dst, raw)
	if err == nil && n > 0 {
		n, err = unquote(dst[:n], dst[:n])
	}
	return n, err
}

// wants asks whether the next message is wanted.
func (d *Decoder) wants(raw []byte) bool {
	d.asked = append(d.asked, raw)
	return d.Want == nil || d.Want(raw)
}

// batch reads the value of the trigger's binding, which begins at body[i], and
// returns the index after it.
func (d *Decoder) batch(ev *Events, body []byte, i int) (int, error) {
	b := builder{d: d, ev: ev}
	d.asked, d.twice, d.indexes = d.asked[:0], false, d.indexes[:0]
	switch c := body[i]; c {
	case '"':
	case '{': // the host writes what serialises to an object as it is
		end, err := skipValue(body, i)
		if err != nil {
			return 0, err
		}
		ev.Encoding = OneString
		return end, b.add(body[i:end], true)
	case '[':
		ev.Encoding = ManyUntyped
		end, err := skipValue(body, i)
		if err != nil {
			return 0, err
		}
		return end, b.array(append(d.alloc(end - i)[:0], body[i:end]...))
	default:
		return 0, errAt(i, "the value is neither text nor an object nor an array")
	}

	if end, ok := d.splitQuoted(body, i); ok {
		return end, b.quoted(d.texts)
	}

	end, err := skipString(body, i)
	if err != nil {
		return 0, err
	}
	raw := body[i+1 : end-1]
	if quote := skipSpace(raw, 0); bytes.HasPrefix(raw[quote:], []byte(`\"`)) {
		if !mayEscapeQuote(raw) && !d.wants(raw) {
			ev.Encoding = OneString
			ev.Passed++
			return end, nil
		}
	}
	d.asked = d.asked[:0]
	text, err := d.text(raw)
	if err != nil {
		return 0, err
	}
	start := skipSpace(text, 0)
	rest := text[start:]
	switch {
	case len(rest) > 0 && rest[0] == '[':
		ev.Encoding = ManyUntyped
		return end, b.array(rest)
	case len(rest) > 0 && rest[0] == '"':
		ev.Encoding = OneString
		stop, err := skipString(rest, 0)
		if err != nil {
			return 0, err
		}
		if skipSpace(rest, stop) != len(rest) {
			return 0, errAt(i, "text after the message")
		}
		n, err := unquoteInPlace(rest[1 : stop-1])
		if err != nil {
			return 0, err
		}
		return end, b.add(rest[1:1+n], false)
	}
	if data, ok := d.fromBase64(text); ok && len(text) > 0 {
		ev.Encoding = OneBinary
		return end, b.add(data, false)
	}
	ev.Encoding = OneString
	return end, b.add(text, false)
}

func unquoteInPlace(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return unquote(b, b)
}

// builder adds messages to a batch.
type builder struct {
	d  *Decoder
	ev *Events
	n  int
}

func (b *builder) next() error {
	if b.n == MaxMessages {
		return fmt.Errorf("more than %d messages", MaxMessages)
	}
	b.n++
	return nil
}

// put adds a message that is wanted.
func (b *builder) put(body []byte) {
	b.ev.Messages = append(b.ev.Messages, Message{Body: body, Sequence: -1})
	b.d.indexes = append(b.d.indexes, b.n-1)
}

// add adds the decoded body if it is wanted. copied says that body must be
// copied because it belongs to the caller of Events.
func (b *builder) add(body []byte, copied bool) error {
	if err := b.next(); err != nil {
		return err
	}
	if !b.d.wants(body) {
		b.ev.Passed++
		return nil
	}
	if copied {
		mem := b.d.alloc(len(body))
		body = b.d.keep(mem, copy(mem, body))
	}
	b.put(body)
	return nil
}

// quoted adds messages that are still quoted twice.
func (b *builder) quoted(raws [][]byte) error {
	b.ev.Encoding = ManyString
	if mayBeBase64(raws) {
		// Too rare to be clever about: decode, decide, and start again if it was text.
		texts := make([][]byte, len(raws))
		for i, raw := range raws {
			text, err := b.d.textTwice(raw)
			if err != nil {
				return err
			}
			texts[i] = text
		}
		if b.binary(texts) {
			return nil
		}
	}
	b.d.twice = true
	if b.d.Want == nil {
		total := 0
		for _, raw := range raws {
			total += len(raw)
		}
		if total > len(b.d.free) {
			b.d.alloc(total)
		}
		b.ev.Messages = make([]Message, 0, len(raws))
	}
	for _, raw := range raws {
		if err := b.next(); err != nil {
			return err
		}
		if !b.d.wants(raw) {
			b.ev.Passed++
			continue
		}
		if b.d.Lazy {
			b.put(nil)
			continue
		}
		text, err := b.d.textTwice(raw)
		if err != nil {
			return fmt.Errorf("message %d: %w", b.n-1, err)
		}
		b.put(text)
	}
	return nil
}

// array adds the elements of a decoded array, which belongs to the decoder.
func (b *builder) array(text []byte) error {
	d := b.d
	d.texts = d.texts[:0]
	strings := true
	end, err := elements(text, 0, func(start, end int) error {
		if len(d.texts) == MaxMessages {
			return fmt.Errorf("more than %d messages", MaxMessages)
		}
		element := text[start:end:end]
		if element[0] == '"' {
			n, err := unquoteInPlace(element[1 : len(element)-1])
			if err != nil {
				return fmt.Errorf("message %d: %w", len(d.texts), err)
			}
			element = element[1 : 1+n : 1+n]
		} else {
			strings = false
		}
		d.texts = append(d.texts, element)
		return nil
	})
	if err != nil {
		return err
	}
	if skipSpace(text, end) != len(text) {
		return fmt.Errorf("text after the array of messages")
	}
	if strings {
		b.ev.Encoding = ManyString
		if mayBeBase64(d.texts) && b.binary(d.texts) {
			return nil
		}
	}
	for _, element := range d.texts {
		if err := b.add(element, false); err != nil {
			return err
		}
	}
	return nil
}

// binary adds the messages if texts are base64, and says whether they are: all
// of them must be, and at least one must hold what a message plausibly begins
// with. A batch of plain words is so taken for the text that it is.
func (b *builder) binary(texts [][]byte) bool {
	bodies := make([][]byte, len(texts))
	plausible := false
	for i, text := range texts {
		body, ok := b.d.fromBase64(text)
		if !ok {
			return false
		}
		bodies[i] = body
		plausible = plausible || looksEncoded(body)
	}
	if !plausible {
		return false
	}
	b.ev.Encoding = ManyBinary
	for _, body := range bodies {
		b.n++
		if b.d.wants(body) {
			b.put(body)
		} else {
			b.ev.Passed++
		}
	}
	return true
}

func (d *Decoder) fromBase64(text []byte) ([]byte, bool) {
	if len(text) == 0 {
		return nil, true
	}
	if len(text)%4 != 0 {
		return nil, false
	}
	mem := d.alloc(base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(mem, text)
	if err != nil {
		return nil, false
	}
	return d.keep(mem, n), true
}

// mayBeBase64 looks at the first message that is not empty: JSON text begins
// with a character that base64 does not have. A backslash may hide any.
func mayBeBase64(texts [][]byte) bool {
	for _, text := range texts {
		if len(text) > 0 {
			return base64Begins(text[0])
		}
	}
	return false
}

func base64Begins(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '\\'
}

// looksEncoded tells a decoded body from the bytes that a plain word happens to
// decode to: JSON text, a byte order mark, gzip, zstd.
func looksEncoded(body []byte) bool {
	if i := skipSpace(body, 0); i < len(body) && (body[i] == '{' || body[i] == '[' || body[i] == '"') {
		return true
	}
	for _, magic := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff", "\x1f\x8b", "\x28\xb5\x2f\xfd", "{\x00", "\x00{"} {
		if bytes.HasPrefix(body, []byte(magic)) {
			return true
		}
	}
	return false
}

// splitQuoted reads the JSON string at body[i] as the array of strings that
// nearly every batch is, without decoding it: d.texts gets the elements, still
// quoted twice. It returns the index after the string, and false when the
// string holds anything else or writes its own quotes in an unusual way.
//
// In the string every quote of the array stands behind backslashes: n of them,
// where n = 1 (mod 4) delimits an element, n = 3 (mod 4) is a quote within an
// element, and an even n ends the string.
func (d *Decoder) splitQuoted(body []byte, i int) (end int, ok bool) {
	d.texts = d.texts[:0]
	i = skipSpace(body, i+1)
	if i >= len(body) || body[i] != '[' {
		return 0, false
	}
	begin := i
	i = skipSpace(body, i+1)
	if i+1 < len(body) && body[i] == ']' && body[i+1] == '"' {
		return i + 2, true
	}
	for {
		if !bytes.HasPrefix(body[i:], []byte(`\"`)) || len(d.texts) > MaxMessages {
			return 0, false
		}
		i += 2
		start := i
		for {
			n := bytes.IndexByte(body[i:], '"')
			if n < 0 {
				return 0, false
			}
			i += n
			run := backslashes(body, start, i)
			if run%2 == 0 {
				return 0, false
			}
			i++
			if run%4 == 1 {
				break
			}
		}
		d.texts = append(d.texts, body[start:i-2:i-2])
		i = skipSpace(body, i)
		if i+1 >= len(body) {
			return 0, false
		}
		if body[i] == ']' {
			if i = skipSpace(body, i+1); i >= len(body) || body[i] != '"' || mayEscapeQuote(body[begin:i]) {
				return 0, false
			}
			return i + 1, true
		}
		if body[i] != ',' {
			return 0, false
		}
		i = skipSpace(body, i+1)
	}
}

// mayEscapeQuote reports whether raw, the inside of a JSON string, writes a
// quote or a backslash as \u0022 or \u005c. No serialiser known to stand
// between an Event Hub and podwatch does, but it is legal, and then quotes and
// backslashes cannot be counted.
func mayEscapeQuote(raw []byte) bool {
	for i := 0; ; {
		n := bytes.IndexByte(raw[i:], 'u')
		if n < 0 {
			return false
		}
		i += n
		if i+5 <= len(raw) && raw[i+1] == '0' && raw[i+2] == '0' &&
			(raw[i+3] == '2' && raw[i+4] == '2' || raw[i+3] == '5' && raw[i+4]|0x20 == 'c') &&
			backslashes(raw, 0, i)%2 == 1 {
			return true
		}
		i++
	}
}
