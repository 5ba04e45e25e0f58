package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/export"
)

const (
	recA = `{"time":"2026-11-09T08:14:22Z","category":"Delete","n":1}`
	recB = `{"time":"2026-11-09T08:14:23Z","category":"Delete","p":{"a":[1,{"x":"y"}]},"n":2}`
	recC = `{"n":3,"resourceId":"/S","timeStamp":"2026-11-09T08:14:24Z"}`
)

// outcome is what Pieces finds, in a form that tables can be written in.
type outcome struct {
	Records    []string
	Repaired   []string // of those that were
	Unreadable []string // "offset: reason: body"
}

// result is what Pieces finds, records and unreadable pieces apart.
type result struct{ Records, Unreadable []export.Piece }

func pieces(body []byte) (r result) {
	for p := range export.Pieces(body) {
		if p.Reason == "" {
			r.Records = append(r.Records, p)
		} else {
			r.Unreadable = append(r.Unreadable, p)
		}
	}
	return r
}

func split(body string) outcome {
	r := pieces([]byte(body))
	var o outcome
	for _, rec := range r.Records {
		o.Records = append(o.Records, string(rec.JSON))
		if rec.Mended != "" {
			o.Repaired = append(o.Repaired, rec.Mended)
		}
	}
	for _, u := range r.Unreadable {
		o.Unreadable = append(o.Unreadable, fmt.Sprintf("%d: %s: %s", u.Offset, u.Reason, u.JSON))
	}
	return o
}

func TestPiecesOfWellFormedBodies(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       outcome
	}{
		{"nothing", "", outcome{}},
		{"white space", " \r\n\t", outcome{}},
		{"only a byte order mark", "\xef\xbb\xbf", outcome{}},
		{"null", "null", outcome{}},
		{"the usual wrapper", `{"records":[` + recA + `,` + recB + `]}`, outcome{Records: []string{recA, recB}}},
		{"a wrapper with white space", "\n{ \"records\" : [ " + recA + " ,\n " + recB + " ] }\n", outcome{Records: []string{recA, recB}}},
		{"a wrapper without records", `{"records":[]}`, outcome{}},
		{"a wrapper whose records are null", `{"records": null, "a":1}`, outcome{}},
		{"a wrapper whose records are one object", `{"records":` + recA + `}`, outcome{Records: []string{recA}}},
		{"a wrapper whose records are JSON text", `{"records":` + quote("["+recA+"]") + `}`, outcome{Records: []string{recA}, Repaired: []string{"record was JSON text in a string"}}},
		{"a wrapper with other members before and after", `{"schemaVersion":"1.0","x":{"records":[1]},"records":[` + recA + `],"y":[{"a":1}],"z":null}`, outcome{Records: []string{recA}}},
		{"records given twice", `{"records":[` + recA + `],"records":[` + recB + `]}`, outcome{Records: []string{recA, recB}}},
		{"elements that are null", `{"records":[null,` + recA + `,null]}`, outcome{Records: []string{recA}}},
		{"elements that are wrappers", `[{"records":[` + recA + `]},` + recB + `]`, outcome{Records: []string{recA, recB}}},
		{"elements that are JSON text", `{"records":[` + quote(recA) + `,` + recB + `]}`, outcome{Records: []string{recA, recB}, Repaired: []string{"record was JSON text in a string"}}},
		{"elements that are no records", `{"records":[1,"x",true,` + recA + `]}`, outcome{Records: []string{recA},
			Unreadable: []string{`12: a number or truth value, not a record: 1`, `14: text, not a record: "x"`, `18: a number or truth value, not a record: true`}}},
		{"an array", `[` + recA + `,` + recB + `]`, outcome{Records: []string{recA, recB}}},
		{"an array in an array", `[[` + recA + `],[]]`, outcome{Records: []string{recA}}},
		{"a bare record", recA, outcome{Records: []string{recA}}},
		{"a bare record with a number called records", `{"records":5,"time":1}`, outcome{Records: []string{`{"records":5,"time":1}`}}},
		{"a bare object that is no known record", `{"a":1}`, outcome{Records: []string{`{"a":1}`}}},
		{"a record a line", recA + "\n" + recB + "\r\n", outcome{Records: []string{recA, recB}}},
		{"records without a break", recA + recB, outcome{Records: []string{recA, recB}}},
		{"wrappers a line, each with a byte order mark", "\xef\xbb\xbf{\"records\":[" + recA + "]}\n\xef\xbb\xbf{\"records\":[" + recB + "]}", outcome{Records: []string{recA, recB}}},
		{"an object of other arrays", `{"other":[` + recA + `]}`, outcome{
			Unreadable: []string{`0: an object with neither "records" nor the fields of a record: {"other":[` + recA + `]}`}}},
		{"a metric", `{"records":[{"count":1,"metricName":"cpu","time":"x"}]}`, outcome{Records: []string{`{"count":1,"metricName":"cpu","time":"x"}`}}},
		{"a field given twice", `{"a":1,"b":2,"a":3}`, outcome{Records: []string{`{"a":1,"b":2,"a":3}`}, Repaired: []string{`field "a" given twice, the last one counts`}}},
		{"fields without a name", `{"":1,"a":{"":{"x":""},"b":2},"c":[{"":3}]}`, outcome{Records: []string{`{"a":{"b":2},"c":[{}]}`}, Repaired: []string{"empty field name dropped"}}},
		{"bytes that are no UTF-8", "{\"a\":\"x\xff\xfey\"}", outcome{Records: []string{"{\"a\":\"x\uFFFD\uFFFDy\"}"}, Repaired: []string{"invalid UTF-8 replaced"}}},
		{"huge numbers", `{"a":123456789012345678901234567890e99999}`, outcome{Records: []string{`{"a":123456789012345678901234567890e99999}`}}},
		{"gzip", "\x1f\x8b\x08\x00{}", outcome{Unreadable: []string{"0: gzip data, not JSON text: \x1f\x8b\x08\x00{}"}}},
		{"zstd", "\x28\xb5\x2f\xfd", outcome{Unreadable: []string{"0: zstd data, not JSON text: \x28\xb5\x2f\xfd"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, split(test.body)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestAMalformedRecordCostsOnlyItself(t *testing.T) {
	between := func(bad string) string { return `{"records":[` + recA + `,` + bad + `,` + recB + `]}` }
	both := []string{recA, recB}
	lost := func(reason, body string) outcome {
		return outcome{Records: both, Unreadable: []string{fmt.Sprintf("%d: %s: %s", len(`{"records":[`+recA+`,`), reason, body)}}
	}
	mended := func(record, note string) outcome {
		return outcome{Records: []string{recA, record, recB}, Repaired: []string{note}}
	}
	at := len(`{"records":[` + recA + `,`)
	for _, test := range []struct {
		name, body string
		want       outcome
	}{
		{"a raw line break in a string", between("{\"a\":\"x\ny\",\"b\":{\"c\":\"\x01\"}}"), mended(`{"a":"x\ny","b":{"c":"\u0001"}}`, "control character escaped")},
		{"an escape that is none", between(`{"a":"C:\dir\new"}`), mended(`{"a":"C:\\dir\new"}`, "malformed escape kept as text")},
		{"single quotes", between(`{'a':'it's "so"','b':['x',{}]}`), mended(`{"a":"it's \"so\"","b":["x",{}]}`, "single quotes replaced")},
		{"text without quotes", between(`{"a":[ 227 B blob data ],"b":NaN,c:-,"d":01}`), mended(`{"a":["227 B blob data"],"b":"NaN","c":"-","d":"01"}`, "bare text quoted")},
		{"commas too many", between(`{"a":[1,,2,],,"b":2,}`), mended(`{"a":[1,2],"b":2}`, "stray comma removed")},
		{"a closing brace missing", between(`{"time":1,"category":"x","p":{"a":"b"}`), mended(`{"time":1,"category":"x","p":{"a":"b"}}`, "closing bracket added")},
		{"a closing bracket missing", between(`{"time":1,"category":"x","p":["a","b"}`), mended(`{"time":1,"category":"x","p":["a","b"]}`, "closing bracket added")},
		{"cut in a string", between(`{"time":1,"category":"x`), lost(fmt.Sprintf("malformed after a value at offset %d", at+26), `{"time":1,"category":"x`)},
		{"cut in a name", between(`{"time":1,"cat`), lost(fmt.Sprintf("malformed after a value at offset %d", at+17), `{"time":1,"cat`)},
		{"cut after a colon", between(`{"time":1,"category":`), lost(fmt.Sprintf("malformed text at offset %d", at+21), `{"time":1,"category":`)},
		{"cut after an escape", between(`{"time":"\`), lost(fmt.Sprintf("malformed escape in a string at offset %d", at+9), `{"time":"\`)},
		{"cut within an array, so that the next record stands in it", between(`{"time":1,"category":"x","p":[1`), lost(fmt.Sprintf("not closed before the record at offset %d", at+32), `{"time":1,"category":"x","p":[1`)},
		{"cut within an array of objects", between(`{"p":[{"q":[{"r":1}`), lost(fmt.Sprintf("not closed before the record at offset %d", at+20), `{"p":[{"q":[{"r":1}`)},
		{"only a brace", between(`{`), lost(fmt.Sprintf("no field name where one should stand at offset %d", at+1), `{`)},
		{"only a bracket", between(`[`), outcome{Records: both}},
		{"only a quote", between(`"`), lost("text that is no JSON", `"`)},
		{"only a single quote", between(`'`), lost("text that is no JSON", `'`)},
		{"only a closing brace", between(`}`), outcome{Records: both}},
		{"only a closing bracket", between(`]`), outcome{Records: both}},
		{"both closing brackets", between(`]}`), outcome{Records: both}},
		{"nothing", between(``), outcome{Records: both}},
		{"words", between(`hello`), lost("text that is no JSON", `hello`)},
		{"a member without an object", between(`"a":1`), outcome{Records: both, Unreadable: []string{fmt.Sprintf(`%d: text that is no JSON: "a":1`, at)}}},
		{"a brace too many", between(recC + `}`), outcome{Records: []string{recA, recC, recB}}},
		{"an object put into quotes as it is", between(`{"requestbody":"{"properties":{"a":1}}","b":2}`), lost(fmt.Sprintf("malformed after a value at offset %d", at+18), `{"requestbody":"{"properties":{"a":1}}"`+`,"b":2}`)},
		{"a broken wrapper", between(`{"records":[{"x":"y`), outcome{Records: both, Unreadable: []string{fmt.Sprintf(`%d: malformed after a value at offset %d: {"x":"y`, at+12, at+22)}}},
		{"a comma at the end", `{"records":[` + recA + `,` + recB + `,]}`, outcome{Records: both}},
		{"the end missing", `{"records":[` + recA + `,` + recB, outcome{Records: both}},
		{"the last brace missing", `{"records":[` + recA + `,` + recB + `]`, outcome{Records: both}},
		{"the last record cut in a number", `{"records":[` + recA + `,` + recB + `,{"time":12`, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf(`%d: cut off at offset %d: {"time":12`, at+len(recB)+1, at+len(recB)+11)}}},
		{"the last record cut after a field", `{"records":[` + recA + `,` + recB + `,{"time":"12"`, outcome{Records: []string{recA, recB, `{"time":"12"}`}, Repaired: []string{"closing bracket added"}}},
		{"members after the records that are malformed", `{"records":[` + recA + `,` + recB + `],"x":oops}`, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf(`%d: text that is no JSON: "x":oops}`, at+len(recB)+2)}}},
		{"a line of words between lines", recA + "\n<14> words, and {braces}\n" + recB, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf("%d: text that is no JSON: <14> words, and {braces}", len(recA)+1)}}},
		{"words before a wrapper on its line", "<14>host app: {\"records\":[" + recA + "]}\n" + recB, outcome{Records: both,
			Repaired: []string{"text before it was left out"}}},
		{"the end of a record before one on its line", `b":2}]} ` + recA, outcome{Records: []string{recA},
			Unreadable: []string{`0: text that is no JSON: b":2}]}`}}},
		{"a cut line between lines", recA + "\n" + recC[:20] + "\n" + recB, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf("%d: not closed before the record at offset %d: %s", len(recA)+1, len(recA)+22, recC[:20])}}},
		{"a cut wrapper before a wrapper", `{"records":[` + recA + `,{"time":"x` + "\n" + `{"records":[` + recB + `]}`, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf(`%d: control character in a string at offset %d: {"time":"x`, at, at+10)}}},
		{"a wrapper within an array that is not closed", `[` + recA + `,{"a":[1,{"records":[` + recB + `]}]`, outcome{Records: both,
			Unreadable: []string{fmt.Sprintf(`%d: not closed before the record at offset %d: {"a":[1`, len(recA)+2, len(recA)+10)}}},
		{"splinters of a record", between(`{}"time":1,"category":"x","p":[1,{"x":"y"}],{"id":1}`), outcome{Records: []string{recA, `{}`, recB}, Unreadable: []string{
			fmt.Sprintf(`%d: text that is no JSON: "time":1`, at+2), fmt.Sprintf(`%d: text that is no JSON: "category":"x"`, at+11),
			fmt.Sprintf(`%d: text that is no JSON: "p":[1`, at+26), fmt.Sprintf(`%d: a fragment without the fields of a record: {"x":"y"}`, at+33),
			fmt.Sprintf(`%d: a fragment without the fields of a record: {"id":1}`, at+44)}}},
		{"malformed JSON text in an element", between(quote(`{"a":"x` + "\n" + `"}`)), mended(`{"a":"x\n"}`, "record was JSON text in a string; control character escaped")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := split(test.body)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\nin %s", diff, test.body)
			}
			for _, rec := range got.Records {
				if !json.Valid([]byte(rec)) {
					t.Errorf("record is not JSON: %s", rec)
				}
			}
		})
	}
}

// samples: body file -> the operations of its records, and of those repaired.
func TestPiecesReadsEverySample(t *testing.T) {
	const del, read = "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/READ"
	for file, want := range map[string]struct {
		operations []string
		repaired   []string
		unreadable int
	}{
		"body-bare-record.json":           {[]string{del}, nil, 0},
		"body-dup-keys.json":              {[]string{read}, []string{`field "operationName" given twice, the last one counts`}, 0},
		"body-empty-records.json":         {nil, nil, 0},
		"body-empty.json":                 {nil, nil, 0},
		"body-invalid-utf8.json":          {[]string{del}, []string{"invalid UTF-8 replaced"}, 0},
		"body-ndjson.json":                {[]string{del, del}, nil, 0},
		"body-not-json.json":              {nil, nil, 1},
		"body-raw-newline-in-string.json": {[]string{del}, []string{"control character escaped"}, 0},
		"body-record-is-string.json":      {[]string{del}, []string{"record was JSON text in a string"}, 0},
		"body-records-null.json":          {nil, nil, 0},
		"body-records-object.json":        {[]string{del}, nil, 0},
		"body-trailing-comma.json":        {[]string{del}, nil, 0},
		"body-truncated.json":             {[]string{del}, nil, 1},
		"body-unquoted-blob.json":         {[]string{"LogEvent", del}, []string{"bare text quoted"}, 0},
	} {
		t.Run(file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "records", file))
			if err != nil {
				t.Fatal(err)
			}
			r := pieces(body)
			var operations, repaired []string
			for _, rec := range r.Records {
				var fields struct{ OperationName string }
				if err := json.Unmarshal(rec.JSON, &fields); err != nil {
					t.Fatalf("record is not JSON: %v", err)
				}
				operations = append(operations, fields.OperationName)
				if rec.Mended != "" {
					repaired = append(repaired, rec.Mended)
				}
			}
			if diff := cmp.Diff(want.operations, operations); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.repaired, repaired); diff != "" {
				t.Errorf("repaired (-want +got):\n%s", diff)
			}
			if len(r.Unreadable) != want.unreadable {
				t.Errorf("got %d unreadable pieces, want %d", len(r.Unreadable), want.unreadable)
			}
		})
	}
	files, err := filepath.Glob("../../testdata/records/body-*")
	if err != nil || len(files) != 14 {
		t.Errorf("got %d samples, %v; each must stand in the table", len(files), err)
	}
}

func TestUTF16IsConverted(t *testing.T) {
	body := `{"records":[{"time":"é😀"}]}`
	units := utf16.Encode([]rune(body))
	for name, test := range map[string]struct {
		mark string
		low  int
	}{
		"little endian with a mark": {"\xff\xfe", 0}, "little endian": {"", 0},
		"big endian with a mark": {"\xfe\xff", 1}, "big endian": {"", 1},
	} {
		encoded := []byte(test.mark)
		for _, u := range units {
			pair := [2]byte{byte(u), byte(u >> 8)}
			encoded = append(encoded, pair[test.low], pair[1-test.low])
		}
		want := outcome{Records: []string{`{"time":"é😀"}`}, Repaired: []string{"UTF-16 converted"}}
		if diff := cmp.Diff(want, split(string(encoded))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		cut := split(string(encoded[:len(encoded)-1]))
		if len(cut.Records) != 1 {
			t.Errorf("%s, half of the last character cut off: %+v", name, cut)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat("}", n) }
	t.Run("a record that is too large costs only itself", func(t *testing.T) {
		large := `{"a":"` + strings.Repeat("x", 2<<20) + `"}`
		want := outcome{Records: []string{recA, recC}, Unreadable: []string{fmt.Sprintf("%d: record of %d bytes, more than %d: %s", len(recA)+2, len(large), 2<<20, large)}}
		if diff := cmp.Diff(want, split(`[`+recA+`,`+large+`,`+recC+`]`)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a record that is too deep costs only itself", func(t *testing.T) {
		want := outcome{Records: []string{deep(200), recC}, Unreadable: []string{fmt.Sprintf("%d: nested deeper than 200 levels: %s", len(deep(200))+2, deep(201))}}
		if diff := cmp.Diff(want, split(`[`+deep(200)+`,`+deep(201)+`,`+recC+`]`)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("records beyond the limit are given up as one piece", func(t *testing.T) {
		most := strings.Repeat(recA+",", 99_999)
		for _, body := range []string{`{"records":[` + most + recB + `,` + recC + `]}`, `{"records":[` + most + recB + `,` + recC + `,]`, strings.Repeat(recA, 100_000) + recC, `[` + quote(strings.Repeat(recA, 100_000)) + `,` + recC + `]`} {
			got := pieces([]byte(body))
			if len(got.Records) != 100_000 || len(got.Unreadable) != 1 || got.Unreadable[0].Reason != "more than 100000 records in one message" || !bytes.HasPrefix(got.Unreadable[0].JSON, []byte(recC)) && !strings.Contains(body, `\"`) {
				t.Errorf("%.100s: got %d records, %d unreadable pieces", body, len(got.Records), len(got.Unreadable))
			}
		}
	})
	t.Run("ten thousand records are not too many", func(t *testing.T) {
		got := pieces([]byte(`{"records":[` + strings.Repeat(recA+",", 9999) + recA + `]}`))
		if len(got.Records) != 10000 || len(got.Unreadable) != 0 {
			t.Errorf("got %d records, %d unreadable pieces", len(got.Records), len(got.Unreadable))
		}
	})
	t.Run("a record of a mebibyte is not too large", func(t *testing.T) {
		record := `{"time":1,"category":"` + strings.Repeat(`\"`, 1<<19) + `"}`
		got := pieces([]byte(`{"records":[` + record + `]}`))
		if len(got.Records) != 1 || string(got.Records[0].JSON) != record {
			t.Errorf("got %d records, %d unreadable pieces", len(got.Records), len(got.Unreadable))
		}
	})
	t.Run("very many unreadable pieces end as one", func(t *testing.T) {
		for name, element := range map[string]string{"numbers": "1,", "texts": `"x",`, "JSON text": quote(`{"a":x`) + ","} {
			body := `[` + strings.Repeat(element, 5000) + recA + `]`
			got := pieces([]byte(body))
			last := got.Unreadable[len(got.Unreadable)-1]
			if len(got.Records) != 1 || len(got.Unreadable) != 1000 || !strings.Contains(string(last.JSON), element+element) || !strings.HasSuffix(body, string(last.JSON)+","+recA+"]") {
				t.Errorf("%s: got %d records and %d pieces, the last one %.300v", name, len(got.Records), len(got.Unreadable), last.Reason)
			}
		}
	})
}

func TestWellFormedRecordsAreNotCopied(t *testing.T) {
	body := []byte(`{"records":[` + recA + `,` + recB + `]}`)
	r := pieces(body)
	body[bytes.Index(body, []byte("08:14:23"))] = '9'
	if !bytes.Contains(r.Records[1].JSON, []byte("98:14:23")) {
		t.Error("the record is not part of the body")
	}
}

// wellFormed reports whether body is a sequence of JSON values.
func wellFormed(body []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	for {
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

func checkResult(t *testing.T, body []byte) result {
	t.Helper()
	original := bytes.Clone(body)
	r := pieces(body)
	if !bytes.Equal(original, body) {
		t.Fatal("the body was changed")
	}
	for _, rec := range r.Records {
		if !json.Valid(rec.JSON) || !bytes.HasPrefix(rec.JSON, []byte("{")) {
			t.Fatalf("record is no JSON object: %q", rec.JSON)
		}
	}
	for _, u := range r.Unreadable {
		if u.Reason == "" || len(u.JSON) == 0 || u.Offset < 0 || u.Offset > len(body) {
			t.Fatalf("unreadable piece %+v", u)
		}
	}
	return r
}

// FuzzPieces puts arbitrary bytes between two whole records: whatever they are,
// both are found, unless the body is well-formed as it is and says otherwise.
func FuzzPieces(f *testing.F) {
	files, err := filepath.Glob("../../testdata/records/body-*")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{`{"a":"`, `{"a":[1`, `{"a":{"b":[{`, `"`, `]}`, `{"a":"x\`, `{'a':'b`, `{"records":[{"a":`, `x],"a":[1`, recC[:25], recC[1:]} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, middle []byte) {
		checkResult(t, middle)
		for _, format := range []struct{ head, comma, tail string }{
			{`{"records":[`, ",", `]}`}, {``, "\n", ``}, {`[`, " ,\n ", `]`},
		} {
			body := []byte(format.head + recA + format.comma + string(middle) + format.comma + recB + format.tail)
			r := checkResult(t, body)
			if wellFormed(body) {
				continue
			}
			for _, want := range []string{recA, recB} {
				found := false
				for _, rec := range r.Records {
					found = found || string(rec.JSON) == want
				}
				if !found {
					t.Fatalf("lost %s\nof %q\ngot %v\nunreadable %v", want, body, r.Records, r.Unreadable)
				}
			}
		}
	})
}
