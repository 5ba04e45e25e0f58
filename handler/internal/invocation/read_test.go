package invocation_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/prefilter"
)

// sample returns a body that the real host sent.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reader has room for every body of a test.
var reader = invocation.NewReader(16<<20, 1<<40)

// open reads a body of which all is a hit, or with f what f finds.
func open(t testing.TB, body []byte, f *prefilter.Filter) *invocation.Batch {
	t.Helper()
	b, err := reader.Read(t.Context(), bytes.NewReader(body), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// messages returns the plain text of each message of a batch.
func messages(t testing.TB, b *invocation.Batch) (texts []string) {
	t.Helper()
	for i := range b.Len() {
		m, _ := b.Message(i)
		text, err := m.Plain(nil)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// decoded returns the messages of a body as encoding/json reads them, with a
// replacement character for each byte that is not UTF-8.
func decoded(body []byte) (texts []string, err error) {
	var envelope map[string]json.RawMessage
	var data map[string]json.RawMessage
	var array string
	var elements []*string
	if err = json.Unmarshal(body, &envelope); err == nil {
		if err = json.Unmarshal(envelope["Data"], &data); err == nil {
			if err = json.Unmarshal(data["events"], &array); err == nil {
				err = json.Unmarshal([]byte(array), &elements)
			}
		}
	}
	for _, e := range elements {
		if e == nil {
			return nil, fmt.Errorf("null is no message")
		}
		texts = append(texts, *e)
	}
	return texts, err
}

func valid(texts []string) []string {
	for i, s := range texts {
		texts[i] = string([]rune(s))
	}
	return texts
}

func quote(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

// data makes an invocation of what is in Data.events, already encoded.
func data(value string) string { return `{"Data":{"events":` + value + `},"Metadata":{}}` }

func TestReadFindsTheMessagesOfTheHostsBodies(t *testing.T) {
	for name, want := range map[string]struct {
		messages  int
		partition string
		retry     int
	}{
		"eventhub-many-string.json":         {2, "0", 0},
		"eventhub-many-string-retry.json":   {2, "0", 1},
		"eventhub-many-string-hostile.json": {14, "0", 0},
		"eventhub-admin.json":               {1, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			body := sample(t, name)
			b := open(t, body, nil)
			if b.Err() != nil || b.Size() != len(body) || b.Len() != want.messages {
				t.Fatalf("%d messages in %d bytes, %v; want %d in %d", b.Len(), b.Size(), b.Err(), want.messages, len(body))
			}
			texts, err := decoded(body)
			if diff := cmp.Diff(texts, valid(messages(t, b))); diff != "" || err != nil {
				t.Errorf("%v (-encoding/json +read):\n%s", err, diff)
			}
			if b.Partition() != want.partition || b.Retry() != want.retry {
				t.Errorf("partition %q, retry %d; want %q, %d", b.Partition(), b.Retry(), want.partition, want.retry)
			}
		})
	}
}

// TestReadRefusesOtherEncodings: function.json asks for an array of strings. What
// another setting makes of messages is reported with its reason, not guessed at.
func TestReadRefusesOtherEncodings(t *testing.T) {
	for name, reason := range map[string]string{
		"eventhub-many-binary.json":  "dataType string, not binary",
		"eventhub-many-untyped.json": "dataType string",
		"eventhub-one.json":          "cardinality many",
		"eventhub-one-binary.json":   "cardinality many",
		"queue.json":                 `no binding "events"`,
		"timer.json":                 `no binding "events"`,
	} {
		t.Run(name, func(t *testing.T) {
			body := sample(t, name)
			b := open(t, body, nil)
			if b.Err() == nil || !strings.Contains(b.Err().Error(), reason) || b.Len() != 0 || len(b.Hits()) != 0 {
				t.Fatalf("%d messages, %d hits, error %v; want an error with %q alone", b.Len(), len(b.Hits()), b.Err(), reason)
			}
			piece := unreadable(t, b.Reply())[0]
			if piece.Text != string(body) || piece.Reason != b.Err().Error() || piece.SequenceNumber != -1 {
				t.Errorf("the unreadable output is %+v, want the whole body and the reason", piece)
			}
		})
	}
}

func TestReadUnusualBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want []string
	}{
		"the usual form":                      {data(quote(quote([]string{`{"a":1}`, `{"b":"c\"d\\"}`}))), []string{`{"a":1}`, `{"b":"c\"d\\"}`}},
		"an empty batch":                      {data(quote(`[]`)), nil},
		"an empty batch with white space":     {data(quote(` [ ] `)), nil},
		"empty messages":                      {data(quote(quote([]string{"", ""}))), []string{"", ""}},
		"white space between messages":        {data(quote(" [ \"{}\" ,\n \"[]\" ] ")), []string{"{}", "[]"}},
		"a message that is a comma":           {data(quote(quote([]string{",", `","`, `",`}))), []string{",", `","`, `",`}},
		"messages that end in backslashes":    {data(quote(quote([]string{`\`, `\\`, `x\"`}))), []string{`\`, `\\`, `x\"`}},
		"a quote of a message as \\u0022":     {data(`"[\"{\\u0022a\\u0022:1}\"]"`), []string{`{"a":1}`}},
		"other characters as code points":     {data(`"[\"\u007b\\u007d\"]"`), []string{"{}"}},
		"an escaped solidus at both depths":   {data(`"[\"\/ \\/\"]"`), []string{"/ /"}},
		"surrogate pairs, whole and half":     {data(quote(`["😀 \ud83d\ude00 \ud83d"]`)), []string{"😀 😀 \uFFFD"}},
		"bytes that are not UTF-8":            {data("\"[\\\"a\xffb\\\"]\""), []string{"a\xffb"}},
		"short base64":                        {data(quote(quote([]string{"test", "12345678"}))), []string{"test", "12345678"}},
		"no metadata":                         {`{"Data":{"events":"[\"{}\"]"}}`, []string{"{}"}},
		"metadata first":                      {`{"Metadata":{"a":"]\"},\"Metadata\":{"},"Data":{"events":"[\"{}\"]"}}`, []string{"{}"}},
		"metadata of a wrong type":            {`{"Data":{"events":"[\"{}\"]"},"Metadata":7}`, []string{"{}"}},
		"another binding first":               {`{"Data":{"x":"[\"1\",\"2\"]","events":"[\"{}\"]"}}`, []string{"{}"}},
		"another binding behind":              {`{"Data":{"events":"[\"{}\"]","x":"[\"1\"]"},"Metadata":{}}`, []string{"{}"}},
		"white space around the object":       {" \r\n" + data(quote(`["{}"]`)) + "\n", []string{"{}"}},
		"the end of the messages in a text":   {data(quote(quote([]string{`{"a":"]\"},\"Metadata\":{"}`}))), []string{`{"a":"]\"},\"Metadata\":{"}`}},
		"a second Metadata inside Metadata":   {`{"Data":{"events":"[\"{}\"]"},"Metadata":{"a":{"b":"]"},"Metadata":{}}}`, []string{"{}"}},
		"many messages":                       {data(quote("[" + strings.Repeat(`"",`, 1<<16) + `""]`)), make([]string, 1<<16+1)},
		"an object that nests 300 deep in it": {data(quote(quote([]string{strings.Repeat(`{"a":`, 300)}))), []string{strings.Repeat(`{"a":`, 300)}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, []byte(tt.body), nil)
			if b.Err() != nil {
				t.Fatal(b.Err())
			}
			if diff := cmp.Diff(tt.want, messages(t, b)); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if b.Len() > 0 {
				if p := placeOf(t, b, 0); p.SequenceNumber != -1 || !p.EnqueuedTime.IsZero() {
					t.Errorf("a message has a place without metadata: %+v", p)
				}
			}
		})
	}
}

func TestReadRefusesWhatIsNoBatch(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString([]byte(`{"records":[]}`))
	for name, tt := range map[string]struct{ body, want string }{
		"nothing":                           {"", "not a JSON object"},
		"white space":                       {" \n", "not a JSON object"},
		"text":                              {"hello", "not a JSON object"},
		"null":                              {"null", "not a JSON object"},
		"an array":                          {"[]", "not a JSON object"},
		"no Data":                           {`{"Metadata":{}}`, `no member "Data"`},
		"no binding":                        {`{"Data":{}}`, `no binding "events"`},
		"Data that is an array":             {`{"Data":[]}`, `no binding "events"`},
		"Data twice":                        {`{"Data":{"events":"[]"},"Data":{"events":"[]"}}`, `two members "Data"`},
		"events twice":                      {`{"Data":{"events":"[]","events":"[]"}}`, `two bindings "events"`},
		"a number":                          {data(`7`), "not an array of strings"},
		"null as the batch":                 {data(`null`), "not an array of strings"},
		"an array that is not quoted":       {data(`["{}"]`), "not an array of strings"},
		"one message":                       {data(quote(quote(`{"a":1}`))), "cardinality many"},
		"objects":                           {data(quote(`[{"a":"b"}]`)), "not text"},
		"a scalar among texts":              {data(quote(`["x",5]`)), "not text"},
		"a null among texts":                {data(quote(`["x",null]`)), "not text"},
		"base64":                            {data(quote(quote([]string{b64}))), "base64"},
		"base64 beside text":                {data(quote(quote([]string{"x y", b64}))), "base64"},
		"quotes written as code points":     {data(`"[\u0022{}\u0022]"`), `\u0022`},
		"a body that ends early":            {`{"Data":{"events":"[\"{}\"]"`, "not a JSON object"},
		"a string that ends early":          {`{"Data":{"events":"[\"{`, "not a JSON object"},
		"a string that ends in a backslash": {`{"Data":{"events":"[\"{\`, "not a JSON object"},
		"a batch that ends inside a text":   {data(quote(`["{}","{`)), "not text"},
		"text after the batch":              {data(quote(`["x"] x`)), "text after the array"},
		"text after the invocation":         {data(quote(`[]`)) + "x", "more than one JSON object"},
		"mismatched brackets":               {`{"Data":{"events":"[]"},"Metadata":{"a":[}]}`, "not a JSON object"},
		"a depth bomb in the metadata":      {`{"Metadata":{"a":` + strings.Repeat("[", 1<<17), "not a JSON object"},
		"a depth bomb for a batch":          {data(quote(strings.Repeat("[", 1<<17))), "not text"},
		"a depth bomb without quotes":       {data(strings.Repeat(`{"a":`, 1<<17)), "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, []byte(tt.body), nil)
			if b.Err() == nil {
				t.Fatalf("got the messages %q, want an error with %q", messages(t, b), tt.want)
			}
			if !strings.Contains(b.Err().Error(), tt.want) || len(b.Err().Error()) > 200 {
				t.Errorf("got error %q, want %q in it", b.Err(), tt.want)
			}
			if piece := unreadable(t, b.Reply())[0]; piece.Text != string([]rune(tt.body)) {
				t.Errorf("the unreadable output has %.80q, want the body", piece.Text)
			}
		})
	}
}

// TestNothingIsParsedWithoutAHit: a batch in which the filter finds nothing is
// answered as it is, whatever it holds. A body of another form is still reported.
func TestNothingIsParsedWithoutAHit(t *testing.T) {
	needle := prefilter.New([]prefilter.Literal{{Text: "needle"}})
	for name, tt := range map[string]struct {
		body string
		hits int
		fail bool
	}{
		"the usual form without a hit":               {data(`"[\"{}\"]"`), 0, false},
		"a malformed batch without a hit":            {`{"Data":{"events":"[\"{`, 0, false},
		"a malformed batch with a hit":               {`{"Data":{"events":"[\"{needle`, 0, true},
		"another form without a hit":                 {`{"Data":{"events":["{}"]}}`, 0, true},
		"a hit in a message":                         {data(`"[\"{}\",\"needle\"]"`), 1, false},
		"a hit in the metadata only":                 {`{"Data":{"events":"[\"{}\"]"},"Metadata":{"x":"needle"}}`, 0, false},
		"a hit in the metadata of an unusual body":   {`{"Metadata":{"x":"needle"},"Data":{"events":"[\"{}\"]"}}`, 0, false},
		"a hit in a message and one in the metadata": {`{"Data":{"events":"[\"{}\",\"needle\"]"},"Metadata":{"x":"needle"}}`, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, []byte(tt.body), needle)
			if len(b.Hits()) != tt.hits || (b.Err() != nil) != tt.fail {
				t.Errorf("%d hits, error %v; want %d, failed %t", len(b.Hits()), b.Err(), tt.hits, tt.fail)
			}
			for _, hit := range b.Hits() {
				found := b.Text().Raw[hit.Pos:hit.End]
				if i := b.At(hit.Pos); i != 1 || !strings.Contains("needle", string(found)) || len(found) == 0 {
					t.Errorf("the hit %q is in message %d, want a part of needle in message 1", found, i)
				}
			}
		})
	}
}

// TestOtherValuesAmongTheMessagesAreNotLost: a body of the usual form is not
// checked for them, so their text is what there is to read.
func TestOtherValuesAmongTheMessagesAreNotLost(t *testing.T) {
	b := open(t, []byte(data(`"[\"{}\",{\"a\":1},5,null]"`)), nil)
	if diff := cmp.Diff([]string{"{}", `{"a":1}`, "5", "null"}, messages(t, b)); diff != "" || b.Err() != nil {
		t.Errorf("%v (-want +got):\n%s", b.Err(), diff)
	}
}

func TestAtFindsTheMessageAroundAPosition(t *testing.T) {
	b := open(t, []byte(data(quote(`["{}" , "","abc"]`))), nil)
	text := string(b.Text().Raw)
	var got []int
	for pos := range len(text) {
		got = append(got, b.At(pos))
	}
	// [\"{}\" , \"\",\"abc\"]
	want := []int{-1, 0, 0, 0, 0, 0, 0, -1, -1, -1, 1, 1, 1, 1, -1, 2, 2, 2, 2, 2, 2, 2, -1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", text, diff)
	}
	for i := range b.Len() {
		m, end := b.Message(i)
		if end > len(text) || !strings.HasSuffix(text[:end], string(m.Raw)+`\"`) {
			t.Errorf("message %d is %q and ends at %d", i, m.Raw, end)
		}
	}
}

func TestMetadataGivesThePlaceOfAMessage(t *testing.T) {
	time1 := time.Date(2025, 3, 4, 9, 15, 22, 123e6, time.UTC)
	for name, tt := range map[string]struct {
		metadata string
		want     []piece
	}{
		"as the host writes it": {`{"PartitionContext":{"EventHubName":"logs","PartitionId":"3"},"SequenceNumberArray":"[7,8]","EnqueuedTimeUtcArray":"[\"2025-03-04T09:15:22.123\",\"2025-03-04T10:15:22.123+01:00\"]"}`,
			[]piece{{EventHub: "logs", Partition: "3", SequenceNumber: 7, EnqueuedTime: time1}, {EventHub: "logs", Partition: "3", SequenceNumber: 8, EnqueuedTime: time1}}},
		"arrays that are not quoted":   {`{"SequenceNumberArray":[1,2]}`, []piece{{SequenceNumber: 1}, {SequenceNumber: 2}}},
		"arrays of another length":     {`{"SequenceNumberArray":"[1,2,3]","EnqueuedTimeUtcArray":"[]"}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"arrays that are no arrays":    {`{"SequenceNumberArray":"{}","EnqueuedTimeUtcArray":"[\"]"}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"elements of other types":      {`{"SequenceNumberArray":"[\"7\",null]","EnqueuedTimeUtcArray":"[\"soon\",5]"}`, []piece{{SequenceNumber: 7}, {SequenceNumber: -1}}},
		"elements that are quoted":     {`{"SequenceNumberArray":["\"5\"","6"]}`, []piece{{SequenceNumber: 5}, {SequenceNumber: 6}}},
		"numbers that are too large":   {`{"SequenceNumberArray":"[99999999999999999999999,-5]"}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"the smallest time":            {`{"EnqueuedTimeUtcArray":"[\"0001-01-01T00:00:00\",\"0001-01-01T00:00:00Z\"]"}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"a partition of a wrong type":  {`{"PartitionContext":[],"SequenceNumberArray":7}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"a partition as JSON text":     {`{"PartitionContext":"{\"EventHubName\":\"logs\",\"PartitionId\":3}"}`, []piece{{EventHub: "logs", Partition: "3", SequenceNumber: -1}, {EventHub: "logs", Partition: "3", SequenceNumber: -1}}},
		"null":                         {`null`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"a number":                     {`7`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
		"two Metadata: neither counts": {`{},"Metadata":{"SequenceNumberArray":[1,2]}`, []piece{{SequenceNumber: -1}, {SequenceNumber: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, []byte(`{"Data":{"events":"[\"{}\",\"{}\"]"},"Metadata":`+tt.metadata+`}`), nil)
			var got []piece
			for i := range b.Len() {
				got = append(got, placeOf(t, b, i))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

// placeOf returns the place of message i as the unreadable output has it.
func placeOf(t testing.TB, b *invocation.Batch, i int) piece {
	t.Helper()
	r := b.Reply()
	m, _ := b.Message(i)
	r.Unreadable(i, 0, "", m)
	p := unreadable(t, r)[0]
	p.Text, p.Base64 = "", nil
	return p
}

// randomText has every kind of character that quoting treats specially, often.
func randomText(r *rand.Rand) string {
	pieces := []string{`"`, `\`, `\\`, `\"`, `","`, `\u0022`, `\u005c`, "/", "\n", "\x00", "\u2028", "\u0085", "é", "😀", ",", "[", "]", "{", "}", "plain text", "=", " "}
	var b strings.Builder
	for range r.IntN(40) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// requote writes s as a JSON string, each character in one of its legal forms.
func requote(r *rand.Rand, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		short, hasShort := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\n': `\n`, '\t': `\t`, '\r': `\r`}[c]
		switch {
		case c < 0x10000 && r.IntN(8) == 0:
			fmt.Fprintf(&b, []string{`\u%04x`, `\u%04X`}[r.IntN(2)], c)
		case hasShort && (c != '/' || r.IntN(2) == 0):
			b.WriteString(short)
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// TestEveryLegalSpellingIsReadAlike in a body of another form than the host's.
// What cannot be read in place, because the outer string hides quotes or brackets,
// is reported and not misread.
func TestEveryLegalSpellingIsReadAlike(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	refused := 0
	const bodies = 5000
	for range bodies {
		var texts, parts []string
		for range 1 + r.IntN(4) {
			text := "{" + randomText(r)
			texts = append(texts, text)
			parts = append(parts, requote(r, text))
		}
		array := "[" + strings.Join(parts, ",") + "]"
		outer := requote(r, array)
		if r.IntN(2) == 0 {
			outer = quote(array)
		}
		b := open(t, []byte(" "+data(outer)), nil) // not of the usual form
		if b.Err() != nil {
			if outer == quote(array) {
				t.Fatalf("%v in %s", b.Err(), outer)
			}
			refused++
			continue
		}
		if diff := cmp.Diff(texts, messages(t, b)); diff != "" {
			t.Fatalf("(-want +got):\n%s\nin %s", diff, outer)
		}
		b.Close()
	}
	if refused == 0 || refused > bodies*2/3 {
		t.Errorf("%d of %d bodies refused: too one-sided to mean something", refused, bodies)
	}
}

func TestEncodedMessagesAreReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		in := invocation.Messages{Binding: "events", Partition: invocation.Partition{Hub: "logs", ID: "5"}, Retry: &invocation.Retry{Count: r.IntN(3), Max: -1}}
		var texts []string
		for i := range 1 + r.IntN(5) {
			text := `{"a":` + quote(randomText(r)) + `}`
			if r.IntN(4) == 0 {
				text = "[" + randomText(r)
			}
			texts = append(texts, text)
			in.Messages = append(in.Messages, invocation.Message{Body: []byte(text), Sequence: r.Int64(), Offset: "7", Enqueued: time.Unix(1e9+int64(i), 0).UTC()})
		}
		body := invocation.EncodeEvents(in)
		b := open(t, body, nil)
		if b.Err() != nil || b.Partition() != "5" || b.Retry() != in.Retry.Count {
			t.Fatalf("partition %q, retry %d, %v in %s", b.Partition(), b.Retry(), b.Err(), body)
		}
		if diff := cmp.Diff(texts, messages(t, b)); diff != "" {
			t.Fatalf("(-want +got):\n%s\nin %s", diff, body)
		}
		last := len(texts) - 1
		if p := placeOf(t, b, last); p.EventHub != "logs" || p.SequenceNumber != in.Messages[last].Sequence || !p.EnqueuedTime.Equal(in.Messages[last].Enqueued) {
			t.Fatalf("the last message is at %+v, want %+v", p, in.Messages[last])
		}
	}
}

// What the host writes and the encoder never does: a property that a sender gave its
// message, and an exception of .NET.
var (
	contentType = regexp.MustCompile(`\\"content-type\\":\\"[^"]*\\",`)
	exception   = regexp.MustCompile(`"Exception":\{.*\},"Instance"`)
)

// TestEncodeWritesWhatTheHostDoes compares with bodies of the real host, byte by byte.
func TestEncodeWritesWhatTheHostDoes(t *testing.T) {
	for name, encode := range map[string]func(t *testing.T, host *invocation.Batch, body []byte) []byte{
		"eventhub-many-string.json":         encodeAgain,
		"eventhub-many-string-retry.json":   encodeAgain,
		"eventhub-many-string-hostile.json": encodeAgain,
		"eventhub-admin.json": func(t *testing.T, host *invocation.Batch, body []byte) []byte {
			now, guid, function := sysOf(t, body)
			return invocation.EncodeAdmin(function, "events", messages(t, host)[0], &invocation.Retry{Max: -1}, now, guid)
		},
	} {
		t.Run(name, func(t *testing.T) {
			body := sample(t, name)
			want := contentType.ReplaceAllString(string(body), "")
			want = exception.ReplaceAllString(want, `"Exception":null,"Instance"`)
			if diff := cmp.Diff(want, string(encode(t, open(t, body, nil), body))); diff != "" {
				t.Errorf("(-host +encoded):\n%s", diff)
			}
		})
	}
}

// What the host makes of a queue message that was never in a queue.
func TestEncodeQueueWithoutAQueue(t *testing.T) {
	body := invocation.EncodeQueue(invocation.QueueItem{Function: "Redeliver", Binding: "alert", Text: `{"kind":"x"}`, Inserted: time.Unix(0, 0), Now: time.Unix(0, 0), GUID: "g"})
	want := `{"Data":{"alert":"\"{\\\"kind\\\":\\\"x\\\"}\""},"Metadata":{"DequeueCount":"0","ExpirationTime":"9999-12-31T23:59:59+00:00",` +
		`"InsertionTime":"1970-01-01T00:00:00+00:00","NextVisibleTime":"9999-12-31T23:59:59+00:00","alert":"\"{\\\"kind\\\":\\\"x\\\"}\"",` +
		`"sys":{"MethodName":"Redeliver","UtcNow":"1970-01-01T00:00:00Z","RandGuid":"g"},"kind":"\"x\""}}`
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The host decodes UTF-8 as browsers do.
func TestEncodeReplacesEachMaximalPart(t *testing.T) {
	for body, want := range map[string]string{
		"a\xe2\x82b":           "a\ufffdb",
		"\xf0\x9f\x98 \xff":    "\ufffd \ufffd",
		"\xc0\xaf\xed\xa0\x80": strings.Repeat("\ufffd", 5),
		"\ufeff\u2028é":        "\ufeff\u2028é",
	} {
		b := open(t, invocation.EncodeEvents(invocation.Messages{Binding: "events", Messages: []invocation.Message{{Body: []byte(body)}}}), nil)
		if got := messages(t, b)[0]; got != want {
			t.Errorf("%q becomes %q, want %q", body, got, want)
		}
	}
}

func sysOf(t *testing.T, body []byte) (now time.Time, guid, function string) {
	var envelope struct {
		Metadata struct {
			Sys struct {
				MethodName, RandGuid string
				UtcNow               time.Time
			}
		}
	}
	unmarshal(t, body, &envelope)
	sys := envelope.Metadata.Sys
	return sys.UtcNow, sys.RandGuid, sys.MethodName
}

// encodeAgain encodes the messages of a body with the metadata that it has.
func encodeAgain(t *testing.T, host *invocation.Batch, body []byte) []byte {
	var envelope struct {
		Metadata struct {
			PartitionContext                 struct{ FullyQualifiedNamespace, EventHubName, ConsumerGroup, PartitionId string }
			OffsetArray, SequenceNumberArray string
			EnqueuedTimeUtcArray             string
			RetryContext                     *struct{ RetryCount, MaxRetryCount int }
		}
	}
	unmarshal(t, body, &envelope)
	meta := envelope.Metadata
	var offsets, times []string
	var sequences []int64
	unmarshal(t, []byte(meta.OffsetArray), &offsets)
	unmarshal(t, []byte(meta.SequenceNumberArray), &sequences)
	unmarshal(t, []byte(meta.EnqueuedTimeUtcArray), &times)
	context := meta.PartitionContext
	now, guid, function := sysOf(t, body)
	in := invocation.Messages{Function: function, Binding: "events", Now: now, GUID: guid,
		Partition: invocation.Partition{Namespace: context.FullyQualifiedNamespace, Hub: context.EventHubName, ConsumerGroup: context.ConsumerGroup, ID: context.PartitionId}}
	if retry := meta.RetryContext; retry != nil {
		in.Retry = &invocation.Retry{Count: retry.RetryCount, Max: retry.MaxRetryCount}
	}
	for i, text := range messages(t, host) {
		enqueued, err := time.Parse("2006-01-02T15:04:05", times[i])
		if err != nil {
			t.Fatal(err)
		}
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(text), Sequence: sequences[i], Offset: offsets[i], Enqueued: enqueued})
	}
	return invocation.EncodeEvents(in)
}

func unmarshal(t testing.TB, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
}

// FuzzRead: no body panics, is changed, or is read as other messages than
// encoding/json reads; what is found in a batch is in its text.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		f.Add(sample(f, filepath.Base(file)))
	}
	f.Add([]byte(data(`"[\u0022{}\u0022,\"a\u005c\",\u005c\"b\"]"`)))
	f.Add([]byte(data(`"[\"{\\\"a\\\":\\\"needle\\\"}\",\"{}\"]"`)))
	needle := prefilter.New([]prefilter.Literal{{Text: "needle"}})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, filter := range []*prefilter.Filter{nil, needle} {
			b, err := reader.Read(t.Context(), bytes.NewReader(body), filter)
			if err != nil {
				return
			}
			checkAgainstTheStandardLibrary(t, b, body, filter == nil)
			for _, hit := range b.Hits() {
				if hit.Pos < 0 || hit.End > len(b.Text().Raw) || hit.Pos >= hit.End && filter != nil {
					t.Fatalf("hit %+v in a text of %d bytes", hit, len(b.Text().Raw))
				}
				b.At(hit.Pos)
			}
			_, _ = b.Partition(), b.Retry()
			r := b.Reply()
			for i := range b.Len() {
				m, _ := b.Message(i)
				r.Unreadable(i, 0, "x", m)
			}
			var out bytes.Buffer
			if n, err := r.WriteTo(&out); err != nil || n != r.Size() || !json.Valid(out.Bytes()) {
				t.Fatalf("reply %q, %d of %d bytes, %v", out.Bytes(), n, r.Size(), err)
			}
			r.Close()
		}
		_, _ = invocation.ReadQueue(bytes.NewReader(body))
		_, _ = invocation.ReadTimer(bytes.NewReader(body))
	})
}

// checkAgainstTheStandardLibrary applies where encoding/json reads an array of
// strings, and the batch was parsed.
func checkAgainstTheStandardLibrary(t *testing.T, b *invocation.Batch, body []byte, parsed bool) {
	want, err := decoded(body)
	obscured := jsontext.Text{Raw: b.Text().Raw, Depth: 1}.Obscured() // which the host never writes
	if err != nil || b.Err() != nil || !parsed || obscured {
		return
	}
	var got []string
	for i := range b.Len() {
		m, _ := b.Message(i)
		text, err := m.Plain(nil)
		if err != nil {
			t.Fatalf("message %d of %q: %v", i, body, err)
		}
		got = append(got, string(text))
	}
	if !slices.Equal(valid(want), valid(got)) {
		t.Fatalf("got %q, want %q", got, want)
	}
}
