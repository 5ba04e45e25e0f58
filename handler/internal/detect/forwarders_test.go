package detect_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/logtest"
)

type object = map[string]any

// forwarders put a record, or the text of an audit event, into a message of their own.
var forwarders = map[string]func(content any, text string) any{
	"none":       func(content any, _ string) any { return content },
	"Fluent Bit": func(_ any, text string) any { return object{"date": 1.5, "log": text, "stream": "stdout"} },
	"Fluent Bit, list": func(_ any, text string) any {
		return []any{object{"@timestamp": "2026-11-20T09:31:15.1Z", "log": text}}
	},
	"Logstash": func(_ any, text string) any {
		return object{"@version": "1", "@timestamp": "2026-11-20T09:31:15Z", "message": text, "event": object{"original": text}}
	},
	"Vector": func(_ any, text string) any {
		return object{"message": text, "source_type": "kafka", "timestamp": "2026-11-20T09:31:15Z"}
	},
	"Cribl":         func(_ any, text string) any { return object{"_raw": text, "_time": 1.5, "cribl_pipe": "azure"} },
	"Cribl, parsed": func(content any, _ string) any { return object{"_raw": content, "_time": 1.5} },
	"CloudEvents batch": func(content any, _ string) any {
		return []any{object{"specversion": "1.0", "id": "1", "type": "x", "source": "/x", "time": "2026-11-20T09:31:15Z", "data": content}}
	},
	"CloudEvents, text": func(_ any, text string) any {
		return object{"specversion": "1.0", "id": "1", "type": "x", "source": "/x", "data": text}
	},
	"CloudEvents with headers": func(content any, _ string) any {
		return object{"headers": object{"ce-id": "1", "ce-time": "2026-11-20T09:31:15Z"}, "body": content}
	},
	"Event Grid": func(content any, _ string) any {
		return []any{object{"id": "1", "subject": "/x", "eventType": "x", "eventTime": "2026-11-20T09:31:15Z", "dataVersion": "1", "data": content}}
	},
	"Logic Apps": func(content any, _ string) any {
		return object{"ContentData": base64Of(jsonOf(content)), "ContentType": "application/json"}
	},
	"Logic Apps, contentBytes": func(content any, _ string) any {
		return object{"name": "x.json", "contentBytes": base64Of(jsonOf(content))}
	},
	"Logic Apps, $content": func(content any, _ string) any {
		return object{"$content-type": "application/json", "$content": base64Of(jsonOf(content))}
	},
	"OData": func(content any, _ string) any { return object{"@odata.context": "x", "value": []any{content}} },
	"Stream Analytics": func(content any, _ string) any {
		if record, ok := content.(object); ok {
			content = with(record, object{"EventProcessedUtcTime": "2026-11-20T09:31:16Z", "PartitionId": 0, "EventEnqueuedUtcTime": "2026-11-20T09:31:15Z"})
		}
		return content
	},
	"ADX raw column": func(content any, _ string) any { return object{"Records": content} },
	"ADX query result": func(_ any, text string) any {
		return object{"Tables": []any{object{"TableName": "t", "Columns": []any{object{"ColumnName": "Raw"}}, "Rows": []any{[]any{text}}}}}
	},
	"Splunk HEC": func(content any, _ string) any {
		return object{"time": 1.5, "host": "h", "sourcetype": "azure", "event": content}
	},
	"Splunk HEC, text": func(_ any, text string) any {
		return object{"time": 1.5, "host": "h", "sourcetype": "azure", "event": text}
	},
	"a queue's message": func(_ any, text string) any { return object{"MessageId": "1", "Body": text, "Properties": object{}} },
	"another member":    func(_ any, text string) any { return object{"blob": text, "n": 1} },
	"in a record": func(_ any, text string) any {
		return object{"time": "2026-11-20T09:31:15Z", "category": "forwarded", "resourceId": "/x", "properties": object{"message": text}}
	},
	"in a record's log": func(_ any, text string) any {
		return object{"time": "2026-11-20T09:31:15Z", "category": "forwarded", "resourceId": "/x", "properties": object{"log": text}}
	},
}

// encodings are what forwarders do to text.
var encodings = map[string]func(string) string{
	"as it is":           func(s string) string { return s },
	"URL":                url.QueryEscape,
	"URL path":           url.PathEscape,
	"URL twice":          func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"HTML":               html.EscapeString,
	"HTML, names":        func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "&#34;", "&quot;") },
	"HTML, hex":          func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "&#34;", "&#x22;") },
	"base64":             base64Of,
	"base64 of URLs":     func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"gzip in base64":     func(s string) string { return base64Of(logtest.Gzip(s)) },
	"gzip in URL base64": func(s string) string { return base64.URLEncoding.EncodeToString([]byte(logtest.Gzip(s))) },
	"zlib in base64":     func(s string) string { return base64Of(zlibbed(s)) },
}

func zlibbed(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// with is m with other members; nil takes one away.
func with(m, other object) object {
	m = maps.Clone(m)
	maps.Copy(m, other)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// changes are what forwarders do to an audit event.
var changes = map[string]func(object) object{
	"none":                func(e object) object { return e },
	"no kind, no version": func(e object) object { return with(e, object{"kind": nil, "apiVersion": nil}) },
	"DELETE":              func(e object) object { return with(e, object{"verb": "DELETE"}) },
	"Delete, no version":  func(e object) object { return with(e, object{"verb": "Delete", "apiVersion": nil}) },
	"objectRef empty":     func(e object) object { return with(e, object{"objectRef": object{}}) },
	"no objectRef":        func(e object) object { return with(e, object{"objectRef": nil}) },
	"no stage, no status": func(e object) object { return with(e, object{"stage": nil, "responseStatus": nil}) },
	"objects as JSON text": func(e object) object {
		return with(e, object{"user": jsonOf(e["user"]), "objectRef": jsonOf(e["objectRef"]), "responseStatus": jsonOf(e["responseStatus"])})
	},
}

// A forwarded is the deletion of a pod in a form that is forwarded.
type forwarded struct {
	content any
	routine bool // by the kubelet, else by a person
}

// contents are deletions as a record, or an audit event alone.
func contents(t testing.TB) map[string]forwarded {
	t.Helper()
	all := map[string]forwarded{}
	person := longDeletion{uri: "/api/v1/namespaces/shop/pods/cart-0", verb: "delete", object: `"resource":"pods","namespace":"shop","name":"cart-0"`}.text()
	var kubelet struct{ Properties struct{ Log string } }
	if err := json.Unmarshal([]byte(routineRecord("shop", "cart-0", "system:node:aks-np1-vmss000000", "2026-11-09T08:15:00.000000Z")), &kubelet); err != nil {
		t.Fatal(err)
	}
	for who, log := range map[string]string{"person": person, "kubelet": kubelet.Properties.Log} {
		for name, change := range changes {
			var event object
			if err := json.Unmarshal([]byte(log), &event); err != nil {
				t.Fatal(err)
			}
			event = change(event)
			name = who + ", " + name
			all[name+", alone"] = forwarded{event, who == "kubelet"}
			for _, category := range []any{"kube-audit", "kube-audit-admin", nil} {
				record := with(object{"time": "2026-11-09T08:14:30.4418829Z", "resourceId": "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS",
					"category": category, "properties": object{"log": jsonOf(event)}}, object{})
				all[fmt.Sprint(name, ", ", category)] = forwarded{record, who == "kubelet"}
			}
		}
	}
	for _, file := range []string{"records/act-match-user.json", "wild/la-export-aksauditadmin.json", "wild3/activity-rest-shape.json"} {
		body, err := os.ReadFile(filepath.Join("..", "..", "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Fatal(err)
		}
		all[file] = forwarded{decoded, false}
	}
	return all
}

// Whatever a forwarder makes of the deletion of a pod, by a person it is an alert or
// unreadable with a reason, and by the kubelet no alert.
func TestADeletionBehindEveryForwarder(t *testing.T) {
	t.Parallel()
	d := detect.New(builtIn, false)
	deletions := contents(t)
	for name, wrap := range forwarders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for what, deletion := range deletions {
				for how, encode := range encodings {
					content := deletion.content
					if how != "as it is" {
						// Each encoding with every eighth; Logic Apps encodes it already.
						if n++; n%8 != 0 || strings.HasPrefix(name, "Logic Apps") {
							continue
						}
						content = encode(jsonOf(content))
					}
					body := []byte(jsonOf(wrap(content, encode(jsonOf(deletion.content)))))
					deletion.check(t, d, what+", "+how, body)
				}
			}
		})
	}
}

// check reads a message as from a file and from the host.
func (f forwarded) check(t *testing.T, d *detect.Detector, what string, body []byte) {
	t.Helper()
	for from, batch := range map[string]detect.Batch{"file": detect.Plain(body), "host": fromHost(t, d, body)} {
		found := d.Detect(batch, false)
		switch alerts := len(found.Findings); {
		case f.routine && alerts > 0:
			t.Errorf("%s, from the %s: %d alerts of a routine deletion", what, from, alerts)
		case alerts > 1:
			t.Errorf("%s, from the %s: %d alerts of one deletion", what, from, alerts)
		case alerts+len(found.Unreadable) == 0 && !(f.routine && found.Routine > 0):
			t.Errorf("%s, from the %s: silent", what, from)
		}
	}
}

// lines are messages that are no JSON, of the text of a record or of an audit event.
var lines = map[string]func(text string) string{
	"syslog":               func(s string) string { return "<134>1 2026-11-20T09:31:15Z host azure - - - " + s },
	"syslog of RFC 3164":   func(s string) string { return "<134>Nov 20 09:31:15 host azure[7]: " + s + "\n" },
	"a container's log":    func(s string) string { return "2026-11-20T09:31:15.1Z stdout F " + s },
	"two lines":            func(s string) string { return s + "\n{\"x\":1}\n" },
	"a server-sent event":  func(s string) string { return "event: record\ndata: " + s + "\n\n" },
	"a form":               func(s string) string { return "source=azure&payload=" + url.QueryEscape(s) },
	"CSV":                  func(s string) string { return `"1","` + strings.ReplaceAll(s, `"`, `""`) + `"` + "\r\n" },
	"XML":                  func(s string) string { return `<e id="1"><log>` + html.EscapeString(s) + `</log></e>` },
	"XML as it is":         func(s string) string { return `<e id="1"><![CDATA[` + s + `]]></e>` },
	"base64 in lines":      func(s string) string { return inLines(base64Of(s)) },
	"gzip":                 logtest.Gzip,
	"gzip as text":         func(s string) string { return asText(logtest.Gzip(s)) },
	"zlib as text":         func(s string) string { return asText(zlibbed(s)) },
	"lines P and F":        func(s string) string { return partial(s, len(s)/2) },
	"lines P and F, early": func(s string) string { return partial(s, 40) },
	"MessagePack as text":  func(s string) string { return asText("\xde\x00\x10" + strings.ReplaceAll(s, `"`, "\xd9")) },
	"logfmt": func(s string) string {
		return strings.NewReplacer(`"`, "", ":", "=", ",", " ", "{", "", "}", "").Replace(s)
	},
	"YAML": func(s string) string {
		return strings.NewReplacer(`":"`, ": ", `"`, "", ",", "\n", "{", "\n", "}", "").Replace(s)
	},
}

// partial is text in two lines of a container's log, each in an object of its own.
func partial(s string, at int) string {
	line := func(tag, s string) string {
		return jsonOf(object{"log": "2026-11-20T09:31:15.1Z stdout " + tag + " " + s})
	}
	return "[" + line("P", s[:at]) + "," + line("F", s[at:]) + "]"
}

// asText is what is left of bytes that passed as text.
func asText(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func inLines(s string) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(s), 76) {
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.String()
}

func TestADeletionInAMessageThatIsNoJSON(t *testing.T) {
	t.Parallel()
	d := detect.New(builtIn, false)
	for what, deletion := range contents(t) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for name, write := range lines {
				deletion.check(t, d, name, []byte(write(jsonOf(deletion.content))))
			}
		})
	}
}
