package detect_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
)

// Whatever a forwarder makes of a record: a message that has the words of a rule and
// yields no event of a known log is reported as unreadable.
func TestWordsOfARuleAreReadOrReported(t *testing.T) {
	t.Parallel()
	d := detect.New(builtIn, true)
	var records []any
	for _, file := range []string{"who-lighthouse.json", "vap-audit-only.json", "activity-rest-shape.json", "eventgrid-resource-delete.json"} {
		body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wild3", file))
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Fatal(err)
		}
		records = append(records, decoded)
	}
	for seed := range uint64(3000) {
		w := &wrapping{Rand: rand.New(rand.NewPCG(seed, 8))}
		body, err := json.Marshal(w.around(records[w.IntN(len(records))]))
		if err != nil {
			t.Fatal(err)
		}
		cut := w.IntN(8) == 0
		if cut {
			body = body[:w.IntN(len(body))]
		}
		if cut && !d.Words().Contains(body) {
			continue // cut before them
		}
		readOrReported(t, d, detect.Plain(body), body)
		batch := fromHost(t, d, body)
		if batch.Err() == nil {
			readOrReported(t, d, batch, body)
		}
	}
}

func readOrReported(t *testing.T, d *detect.Detector, b detect.Batch, body []byte) {
	t.Helper()
	found := d.Detect(b, false)
	known := 0
	for log, n := range found.Logs {
		if log != "" {
			known += n
		}
	}
	if known == 0 && len(found.Unreadable) == 0 {
		_, host := b.(*invocation.Batch)
		t.Fatalf("neither read nor reported (from the host %t): %s", host, body)
	}
}

// wrapping makes what forwarders make of a message.
type wrapping struct {
	*rand.Rand
	encoded bool // in base64, which is decoded once
}

func (w *wrapping) around(v any) any {
	for range w.IntN(4) {
		v = w.once(v)
	}
	return v
}

func (w *wrapping) once(v any) any {
	name := []string{"data", "message", "_raw", "log", "value", "payload", "records", "body", "properties", "@m"}[w.IntN(10)]
	kind := w.IntN(5)
	if nested, _ := v.([]any); kind == 2 && (w.encoded || len(nested) > 0 && reflect.TypeOf(nested[0]) == reflect.TypeOf(nested)) {
		kind = 4 // base64 of [[ is not found
	}
	switch kind {
	case 0:
		return []any{v}
	case 1:
		text, _ := json.Marshal(v)
		return map[string]any{"time": "2026-11-20T09:31:15Z", name: string(text)}
	case 2:
		w.encoded = true
		text, _ := json.Marshal(v)
		return map[string]any{name: base64.StdEncoding.EncodeToString(text)}
	case 3:
		return map[string]any{fmt.Sprintf("@%d", w.IntN(100)): "x", name: v, "n": 1.5}
	}
	return map[string]any{name: v}
}

// An audit event that a forwarder put where no rule looks, or in base64, is read or
// reported, also where the record around it is one of a known log.
func TestAHiddenAuditEventIsReadOrReported(t *testing.T) {
	t.Parallel()
	d := detect.New(builtIn, true)
	event := longDeletion{uri: "/api/v1/namespaces/shop/pods/cart-0", verb: "delete", object: `"resource":"pods","namespace":"shop","name":"cart-0"`}.text()
	inRecord := func(name string, value any) map[string]any {
		return map[string]any{"time": "2026-11-20T09:31:15Z", "category": "forwarded", "resourceId": "/x", "properties": map[string]any{name: value}}
	}
	bodies := map[string]any{
		"a message in a record of another log": inRecord("payload", string(auditMessage(t, event))),
		"a record in a record of another log":  inRecord("payload", json.RawMessage(auditMessage(t, event))),
		"the properties of another log":        inRecord("log", json.RawMessage(event)),
	}
	for shift := range 3 {
		coded := base64.StdEncoding.EncodeToString([]byte("   "[:shift] + event))
		bodies[fmt.Sprintf("base64 at byte %d in the log", shift)] = json.RawMessage(auditMessage(t, coded))
		bodies[fmt.Sprintf("base64 at byte %d in another log", shift)] = inRecord("payload", coded)
		bodies[fmt.Sprintf("base64 at byte %d in an unknown object", shift)] = map[string]any{"payload": coded}
		bodies[fmt.Sprintf("base64 at byte %d alone", shift)] = coded
	}
	for name, value := range bodies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range []detect.Batch{detect.Plain(body), fromHost(t, d, body)} {
				if found := d.Detect(b, false); len(found.Findings) != 1 && len(found.Unreadable) != 1 {
					t.Errorf("%d findings, unreadable %+v", len(found.Findings), found.Unreadable)
				}
			}
		})
	}
}
