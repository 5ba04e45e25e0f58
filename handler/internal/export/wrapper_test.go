package export_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/logtest"
)

func TestRecordsInWrappers(t *testing.T) {
	t.Parallel()
	const record = `{"time":"2026-11-20T09:31:15Z","category":"kube-audit","properties":{"data":{"a":1}}}`
	text := func(s string) string { quoted, _ := json.Marshal(s); return string(quoted) }
	coded := func(s string) string { return text(base64.StdEncoding.EncodeToString([]byte(s))) }
	tests := map[string]struct {
		body string
		want []string
	}{
		"a CloudEvent":                      {`{"specversion":"1.0","time":"2026-11-20T09:31:15Z","data":` + record + `}`, []string{record}},
		"a CloudEvent in base64":            {`{"specversion":"1.0","data_base64":` + coded(`{"records":[`+record+`]}`) + `}`, []string{record}},
		"Logstash":                          {`{"@timestamp":"x","message":` + text(`{"records":[`+record+`,`+record+`]}`) + `,"event":{"original":"kafka"}}`, []string{record, record}},
		"Cribl":                             {`{"_time":1.5,"_raw":` + text(record) + `}`, []string{record}},
		"OData":                             {`{"@odata.context":"x","value":[` + record + `,` + record + `],"nextLink":""}`, []string{record, record}},
		"Logic Apps":                        {`{"ContentData":` + coded(record) + `,"Properties":{}}`, []string{record}},
		"a wrapper in a wrapper":            {`{"data":{"message":` + text(`{"value":[`+record+`]}`) + `}}`, []string{record}},
		"an alert of the common schema":     {`{"schemaId":"x","data":{"essentials":{},"alertContext":{"operationName":"o","eventTimestamp":"t"}}}`, []string{`{"operationName":"o","eventTimestamp":"t"}`}},
		"a whole body in base64":            {base64.StdEncoding.EncodeToString([]byte(`{"records":[` + record + `]}`)), []string{record}},
		"Logic Apps with contentBytes":      {`{"name":"x","contentBytes":` + coded(record) + `}`, []string{record}},
		"gzip in base64":                    {`{"data":` + coded(logtest.Gzip(record)) + `}`, []string{record}},
		"gzip in base64 of URLs, alone":     {base64.RawURLEncoding.EncodeToString([]byte(logtest.Gzip(`[` + record + `]`))), []string{record}},
		"a body encoded for URLs":           {url.QueryEscape(`{"records":[` + record + `]}`), []string{record}},
		"a string encoded for URLs, twice":  {`{"log":` + text(url.PathEscape(url.PathEscape(record))) + `}`, []string{record}},
		"a body encoded for HTML":           {html.EscapeString(`{"records":[` + record + `]}`), []string{record}},
		"a string encoded for HTML":         {`{"message":` + text(html.EscapeString(record)) + `}`, []string{record}},
		"what has no record stays whole":    {`{"data":{"a":1},"message":"{\"b\":2}"}`, []string{`{"data":{"a":1},"message":"{\"b\":2}"}`}},
		"a record with data of its own":     {record, []string{record}},
		"one among records of its own kind": {`{"records":[` + record + `,{"message":` + text(record) + `}]}`, []string{record, record}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for p := range export.Pieces([]byte(tt.body)) {
				if p.Reason != "" {
					t.Errorf("unreadable: %s: %s", p.Reason, p.JSON)
					continue
				}
				got = append(got, string(p.JSON))
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("got %s, want %s", got[i], tt.want[i])
				}
			}
		})
	}
}

// What is compressed costs a bounded amount, however often it is in a body, and what is
// beyond that is reported.
func TestUnpackingIsBounded(t *testing.T) {
	t.Parallel()
	bomb := base64.StdEncoding.EncodeToString([]byte(logtest.Gzip(`{"records":[` + strings.Repeat(" ", 32<<20) + `]}`)))
	small := base64.StdEncoding.EncodeToString([]byte(logtest.Gzip(`{"time":"x","category":"y","a":"` + strings.Repeat("x", 1<<20) + `"}`)))
	whole := base64.StdEncoding.EncodeToString([]byte(logtest.Gzip(`{"time":"x","category":"y"}`)))
	for name, tt := range map[string]struct {
		body   string
		want   int // records
		reason string
	}{
		"one":                {`{"data":"` + bomb + `"}`, 0, "gzip in base64: it unpacks to more than 8388608 bytes"},
		"many small ones":    {`[` + strings.Repeat(`{"data":"`+small+`"},`, 20) + `null]`, 7, "it unpacks to more than "},
		"damaged":            {`{"data":"` + whole[:len(whole)-12] + `"}`, 0, "gzip in base64: unexpected EOF"},
		"no gzip in the end": {`{"data":"H4sIAAAAAAAAAAAAAAAAAAAAAAAA"}`, 0, "gzip in base64: "},
	} {
		records, reasons := 0, ""
		for p := range export.Pieces([]byte(tt.body)) {
			if p.Reason == "" {
				records++
			}
			reasons += p.Reason + "\n"
		}
		if records != tt.want || !strings.Contains(reasons, tt.reason) {
			t.Errorf("%s: %d records, %.200s", name, records, reasons)
		}
	}
}

func TestRecordsWithinARecord(t *testing.T) {
	t.Parallel()
	const record = `{"time":"2026-11-20T09:31:15Z","category":"Administrative","n":1}`
	quoted, _ := json.Marshal(record)
	for name, inner := range map[string]string{
		"an object": record, "an array": `[1,` + record + `]`, "text": string(quoted), "text in an object": `{"a":{"b":` + string(quoted) + `}}`,
		"base64": `"` + base64.StdEncoding.EncodeToString([]byte(record)) + `"`, "URL": `"` + url.QueryEscape(record) + `"`,
	} {
		found := export.Within([]byte(`{"time":"x","category":"y","properties":{"anything":` + inner + `}}`))
		if len(found) != 1 || string(found[0]) != record {
			t.Errorf("%s: %q", name, found)
		}
	}
	if found := export.Within([]byte(record)); len(found) > 0 {
		t.Errorf("a record is in itself: %q", found)
	}
}

func TestBinaryFormsAreOnePiece(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"gzip": "\x1f\x8b\b\x00{}\n{}\n", "gzip as text": "\x1f\ufffd\b\x00{}\n{}", "zlib": "x\x9c{}\n{}\n", "Avro": "Obj\x01{\"type\":[{}]}\n{}\n",
	} {
		n := 0
		for p := range export.Pieces([]byte(body)) {
			if n++; p.Reason == "" || string(p.JSON) == "" {
				t.Errorf("%s: %q, reason %q", name, p.JSON, p.Reason)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d pieces", name, n)
		}
	}
}
