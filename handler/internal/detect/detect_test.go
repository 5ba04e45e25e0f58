package detect_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/rule"
	"podwatch/handler/rules"
)

var builtIn = func() *rule.Set {
	set, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		panic(err)
	}
	return set
}()

// reader has room for every body of a test.
var reader = invocation.NewReader(16<<20, 1<<40)

// read returns the batch that the host makes of messages, as d searches it.
func read(t testing.TB, d *detect.Detector, messages ...string) *invocation.Batch {
	t.Helper()
	in := invocation.Messages{Function: "Detect", Binding: "events"}
	for _, m := range messages {
		in.Messages = append(in.Messages, invocation.Message{Body: []byte(m), Offset: "1"})
	}
	return readBody(t, d, invocation.EncodeEvents(in))
}

func readBody(t testing.TB, d *detect.Detector, body []byte) *invocation.Batch {
	t.Helper()
	b, err := reader.Read(t.Context(), bytes.NewReader(body), d.Filter())
	if err != nil {
		t.Fatal(err)
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	t.Cleanup(b.Close)
	return b
}

// record is the i-th record of the audit log, and deletion one that the built-in
// rule matches.
func record(i int) string   { return logtest.Record("kube-audit", i, false) }
func deletion(i int) string { return logtest.Record("kube-audit", i, true) }

func wrapped(records ...string) string { return `{"records":[` + strings.Join(records, ",") + `]}` }

// pods returns the pods that findings are about.
func pods(t testing.TB, findings []alert.Finding) (names []string) {
	t.Helper()
	for _, f := range findings {
		ev, err := f.Event()
		if err != nil {
			t.Fatal(err)
		}
		if id := alert.ID(f.Rule.ID, ev); id != f.ID {
			t.Errorf("the event is read again as %s, was %s", id, f.ID)
		}
		names = append(names, ev.Audit().Object.Name)
	}
	return names
}

// TestHitsLeadToRecords, in whatever form a message is, and only the records with
// a rule's words are read.
func TestHitsLeadToRecords(t *testing.T) {
	d := detect.New(builtIn, false)
	indented := new(bytes.Buffer)
	if err := json.Indent(indented, []byte(wrapped(record(1), deletion(2))), "", "\t"); err != nil {
		t.Fatal(err)
	}
	quoted, _ := json.Marshal(deletion(2))
	for name, tt := range map[string]struct {
		messages []string
		opened   int
		pods     []string
		note     string
	}{
		"one among many":               {[]string{wrapped(record(1), deletion(2), record(3))}, 1, []string{"web-2"}, ""},
		"in several messages":          {[]string{wrapped(deletion(1)), wrapped(record(2)), wrapped(record(3), deletion(4))}, 2, []string{"web-1", "web-4"}, ""},
		"side by side":                 {[]string{wrapped(deletion(1), deletion(2), deletion(3))}, 3, []string{"web-1", "web-2", "web-3"}, ""},
		"a word of a rule, no match":   {[]string{wrapped(record(1), strings.Replace(deletion(2), `\"resource\":\"pods\"`, `\"resource\":\"leases\"`, 1))}, 1, nil, ""},
		"a part of a longer word":      {[]string{wrapped(strings.ReplaceAll(deletion(2), `\"delete\"`, `\"deleted\"`))}, 0, nil, ""},
		"an array":                     {[]string{"[" + record(1) + "," + deletion(2) + "]"}, 1, []string{"web-2"}, ""},
		"a record without a wrapper":   {[]string{deletion(2)}, 1, []string{"web-2"}, ""},
		"one record a line":            {[]string{record(1) + "\n" + deletion(2) + "\n"}, 1, []string{"web-2"}, ""},
		"indented":                     {[]string{indented.String()}, 1, []string{"web-2"}, ""},
		"a record as JSON text":        {[]string{wrapped(record(1), string(quoted))}, 1, []string{"web-2"}, "mended"},
		"a record with a line break":   {[]string{wrapped(record(1), strings.Replace(deletion(2), "kubelet/v1", "kubelet\n/v1", 1))}, 1, []string{"web-2"}, "mended"},
		"a record with a bad escape":   {[]string{wrapped(record(1), strings.Replace(deletion(2), "kubelet/v1", `kubelet\x/v1`, 1))}, 1, []string{"web-2"}, "mended"},
		"a word in escapes":            {[]string{wrapped(record(1), strings.ReplaceAll(deletion(2), `\"delete\"`, `\"\\u0064elete\"`))}, 1, []string{"web-2"}, ""},
		"an activity log":              {[]string{wrapped(logtest.Record("activity", 1, false), deletion(2))}, 1, []string{"web-2"}, ""},
		"behind a message that is not": {[]string{"not JSON", wrapped(deletion(2))}, 1, []string{"web-2"}, ""},
		"UTF-16":                       {[]string{utf16Of(wrapped(deletion(2)))}, 1, []string{"web-2"}, "UTF-16"},
	} {
		t.Run(name, func(t *testing.T) {
			found := d.Detect(read(t, d, tt.messages...), false)
			if diff := cmp.Diff(tt.pods, pods(t, found.Findings)); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if found.Opened != tt.opened || found.Matches != len(tt.pods) || len(found.Unreadable) > 0 || found.Unread > 0 {
				t.Errorf("%d records read, %d matches, %d failed, unreadable %v; want %d read", found.Opened, found.Matches, found.Unread, found.Unreadable, tt.opened)
			}
			for _, f := range found.Findings {
				if !strings.Contains(strings.Join(f.Notes, "\n"), tt.note) || (len(f.Notes) > 0) != (tt.note != "") {
					t.Errorf("notes %q, want %q", f.Notes, tt.note)
				}
			}
		})
	}
}

// utf16Of returns text as UTF-16 in bytes.
func utf16Of(text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return string(out)
}

// TestNothingIsReadWithoutAHit, not even a message that is malformed.
func TestNothingIsReadWithoutAHit(t *testing.T) {
	d := detect.New(builtIn, false)
	b := read(t, d, wrapped(record(1), record(2)), "not JSON", `{"records":[{"time":`)
	if got := d.Detect(b, false); !reflect.DeepEqual(got, detect.Result{}) {
		t.Errorf("got %+v", got)
	}
}

// routine returns the records that are routine by the built-in rules' own cases.
func routine(t testing.TB) (records []string) {
	t.Helper()
	text, err := fs.ReadFile(rules.FS, "aks-pods-deleted/routine.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			records = append(records, line)
		}
	}
	return records
}

// A walked is a batch that counts what costs a walk over all of it.
type walked struct {
	detect.Batch
	walks int
}

func (w *walked) At(pos int) int {
	w.walks++
	return w.Batch.At(pos)
}

// TestRoutineCostsNoWalkOverTheBatch: which message a record is in is asked for a
// finding or what cannot be read only.
func TestRoutineCostsNoWalkOverTheBatch(t *testing.T) {
	d := detect.New(builtIn, false)
	b := &walked{Batch: read(t, d, wrapped(append(routine(t), record(1))...))}
	if got := d.Detect(b, false); got.Routine == 0 || len(got.Findings) > 0 || b.walks > 0 {
		t.Errorf("%d routine, %d findings, %d walks; want routine only and no walk", got.Routine, len(got.Findings), b.walks)
	}
}

func TestRoutineIsCounted(t *testing.T) {
	records := append(routine(t), deletion(1))
	n := len(records) - 1
	for _, recorded := range []bool{false, true} {
		d := detect.New(builtIn, recorded)
		got := d.Detect(read(t, d, wrapped(records...)), false)
		want := 1
		if recorded {
			want = n + 1
		}
		if got.Routine+got.Repeats < n || got.Matches != got.Routine+1 || len(got.Findings)+got.Repeats != want {
			t.Errorf("recorded %t: %d findings, %d matches of which %d are routine, %d repeats; %d records are routine", recorded, len(got.Findings), got.Matches, got.Routine, got.Repeats, n)
		}
		for _, f := range got.Findings[:len(got.Findings)-1] {
			if !f.Routine {
				t.Errorf("finding %s is not routine", f.ID)
			}
		}
	}
}

func TestARepeatIsOneFinding(t *testing.T) {
	d := detect.New(builtIn, false)
	got := d.Detect(read(t, d, wrapped(deletion(1), deletion(1)), wrapped(deletion(2), deletion(1))), false)
	if diff := cmp.Diff([]string{"web-1", "web-2"}, pods(t, got.Findings)); diff != "" || got.Matches != 4 || got.Repeats != 2 {
		t.Errorf("%d matches, %d repeats (-want +got):\n%s", got.Matches, got.Repeats, diff)
	}
}

// TestWhatCannotBeReadCostsItself, and is reported with its message.
func TestWhatCannotBeReadCostsItself(t *testing.T) {
	d := detect.New(builtIn, false)
	cut := deletion(3)
	cut = cut[:len(cut)-40]
	got := d.Detect(read(t, d, wrapped(record(1)), `{"records":[`+deletion(2)+","+cut, wrapped(deletion(4))), false)
	if diff := cmp.Diff([]string{"web-2", "web-4"}, pods(t, got.Findings)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if len(got.Unreadable) != 1 {
		t.Fatalf("unreadable is %+v, want one piece", got.Unreadable)
	}
	u := got.Unreadable[0]
	text, err := u.Text.Plain(nil)
	if u.Message != 1 || u.Offset != len(`{"records":[`+deletion(2)+",") || u.Reason == "" || !strings.HasPrefix(cut, string(text)) || len(text) == 0 || err != nil {
		t.Errorf("message %d, offset %d, %q: %q, %v", u.Message, u.Offset, u.Reason, text, err)
	}
}

// TestAMessageThatCannotBeUnquotedIsReportedAsItIs.
func TestAMessageThatCannotBeUnquotedIsReportedAsItIs(t *testing.T) {
	d := detect.New(builtIn, false)
	body := `{"Data":{"events":"[\"{}\",\"{\\q \\\"verb\\\":\\\"delete\\\"}\"]"},"Metadata":{}}`
	got := d.Detect(readBody(t, d, []byte(body)), false)
	if len(got.Unreadable) != 1 || got.Unreadable[0].Message != 1 || !strings.Contains(got.Unreadable[0].Reason, "malformed escape") || !strings.Contains(string(got.Unreadable[0].Text.Raw), `\\q`) {
		t.Errorf("unreadable is %+v", got.Unreadable)
	}
}

// TestAPanicCostsItsRecord: a bug in the reader or in a rule must not fail the
// batch, which the host would send again for ever.
func TestAPanicCostsItsRecord(t *testing.T) {
	d := detect.NewPanicking()
	got := d.Detect(read(t, d, wrapped(record(1), deletion(2)), "[]", deletion(3)), true)
	var messages []int
	for _, u := range got.Unreadable {
		messages = append(messages, u.Message)
		if !strings.Contains(u.Reason, "bug in podwatch") || !strings.Contains(u.Reason, "goroutine") {
			t.Errorf("the reason is %.80q, want the stack in it", u.Reason)
		}
		if text, err := u.Text.Plain(nil); err != nil || !json.Valid(text) || !bytes.HasPrefix(text, []byte(`{"category"`)) {
			t.Errorf("the piece is %.80q, %v; want the record", text, err)
		}
	}
	if diff := cmp.Diff([]int{0, 0, 2}, messages); diff != "" || got.Unread != 3 || len(got.Findings) != 0 {
		t.Errorf("%d failed, %d findings; messages (-want +got):\n%s", got.Unread, len(got.Findings), diff)
	}
}

// TestASampleHearsTheFirstRecordOfEachMessage, also where the rules have nothing
// to look for.
func TestASampleHearsTheFirstRecordOfEachMessage(t *testing.T) {
	d := detect.New(builtIn, false)
	other := strings.ReplaceAll(record(5), "AKS-PROD", "AKS-TEST")
	messages := []string{
		wrapped(record(1), other), "not JSON", wrapped(logtest.Record("activity", 3, false)), wrapped(record(4)), "[]",
		`{"records":[{"a":1}]}`, wrapped(deletion(2)), record(6) + "\n" + other,
	}
	const cluster = "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourcegroups/rg-prod/providers/microsoft.containerservice/managedclusters/aks-prod"
	want := []string{"kube-audit of cluster " + cluster, "azure.activitylogs of subscription 9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703"}
	got := d.Detect(read(t, d, messages...), true)
	if diff := cmp.Diff(want, got.Heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	if got.Opened != 1 || len(got.Findings) != 1 || got.Logs["azure.platformlogs"] != 1 || len(got.Logs) != 1 {
		t.Errorf("%d records read of %v, %d findings: a sample is not counted", got.Opened, got.Logs, len(got.Findings))
	}
	if got := d.Detect(read(t, d, messages...), false); got.Heard != nil {
		t.Errorf("heard %q without a sample", got.Heard)
	}
}

// TestPlainIsABatchOfOneMessage that is read whole.
func TestPlainIsABatchOfOneMessage(t *testing.T) {
	d := detect.New(builtIn, false)
	for name, tt := range map[string]struct {
		body       string
		pods       []string
		unreadable int
	}{
		"a wrapper":              {wrapped(record(1), deletion(2)), []string{"web-2"}, 0},
		"lines":                  {deletion(1) + "\n" + deletion(2), []string{"web-1", "web-2"}, 0},
		"nothing":                {"", nil, 0},
		"a piece that is broken": {`{"records":[` + deletion(1) + `,{"time":"x","category":"kube`, []string{"web-1"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := detect.Plain([]byte(tt.body))
			got := d.Detect(b, false)
			if diff := cmp.Diff(tt.pods, pods(t, got.Findings)); diff != "" || len(got.Unreadable) != tt.unreadable {
				t.Errorf("unreadable %+v; pods (-want +got):\n%s", got.Unreadable, diff)
			}
			for _, u := range got.Unreadable {
				if u.Message != 0 || u.Offset == 0 {
					t.Errorf("message %d, offset %d", u.Message, u.Offset)
				}
			}
		})
	}
}

// TestRulesWithoutLiteralsReadEverything.
func TestRulesWithoutLiteralsReadEverything(t *testing.T) {
	set, _, err := rule.Load(rule.FS("test", fsOf("any.toml", ruleFile("any", "event.kind: event"))))
	if err != nil {
		t.Fatal(err)
	}
	d := detect.New(set, false)
	if d.Filter() != nil {
		t.Fatal("there is a filter")
	}
	got := d.Detect(read(t, d, wrapped(record(1), record(2)), "not JSON", wrapped(record(3))), false)
	if got.Opened != 3 || len(got.Findings) != 3 || len(got.Unreadable) != 1 || got.Unreadable[0].Message != 1 {
		t.Errorf("%d records read, %d findings, unreadable %+v", got.Opened, len(got.Findings), got.Unreadable)
	}
}

// ruleFile is a rule of a query.
func ruleFile(id, query string) []byte {
	return fmt.Appendf(nil, `[metadata]
creation_date = "2026/11/01"
integration = ["azure"]
maturity = "production"
updated_date = "2026/11/01"

[rule]
author = ["podwatch"]
description = "For a test."
index = ["logs-azure.*"]
language = "kuery"
license = "none"
name = "%[1]s"
risk_score = 21
rule_id = "%[1]s"
severity = "low"
timestamp_override = "event.ingested"
type = "query"
query = '''
%[2]s
'''
`, id, query)
}

// fsOf is a folder of one file.
func fsOf(name string, text []byte) fstest.MapFS { return fstest.MapFS{name: {Data: text}} }

// TestAnAuditRecordCutBeforeItsVerbIsUnreadableAndFoundOnceAnHour, also where the
// record has none of a rule's words.
func TestAnAuditRecordCutBeforeItsVerbIsUnreadableAndFoundOnceAnHour(t *testing.T) {
	cut := func(hour int) string {
		text, _ := json.Marshal(fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%s`, strings.Repeat("A", 16<<10)))
		return fmt.Sprintf(`{"category":"kube-audit","operationName":"x","properties":{"log":%s,"stream":"stdout","pod":"p"},"resourceId":"%s","time":"2026-11-09T%02d:14:22Z"}`, text, shop, hour)
	}
	d := detect.New(builtIn, false)
	for name, tt := range map[string]struct {
		batch  detect.Batch
		opened int
	}{
		"quoted": {read(t, d, wrapped(record(1), cut(8), record(2), cut(8)), wrapped(cut(9), deletion(3)), cut(9)), 5},
		"plain":  {detect.Plain([]byte(wrapped(record(1), cut(8), record(2), cut(8), cut(9), deletion(3), cut(9)))), 7},
	} {
		got := d.Detect(tt.batch, false)
		var rules []string
		for _, f := range got.Findings {
			rules = append(rules, f.Rule.ID)
		}
		if diff := cmp.Diff([]string{"podwatch-unreadable", "podwatch-unreadable", "9da204e2-ea1e-43bc-a95b-7b348f839616"}, rules); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", name, diff)
		}
		if len(got.Unreadable) != 4 || got.Unread != 4 || got.Audits != tt.opened || got.Opened != tt.opened || got.Repeats != 2 {
			t.Errorf("%s: %d unreadable, %d of %d not read, %d opened, %d repeats", name, len(got.Unreadable), got.Unread, got.Audits, got.Opened, got.Repeats)
		}
	}
}

// TestASampleCountsWhatItCannotRead: a message of a shape that no record has.
func TestASampleCountsWhatItCannotRead(t *testing.T) {
	d := detect.New(builtIn, false)
	broken := strings.Replace(record(1), `\"verb\"`, `\"vrb\"`, 1)
	got := d.Detect(read(t, d, wrapped(record(1)), wrapped(), "", `{"shape":"new","entries":[]}`, "no JSON", wrapped(broken[:strings.Index(broken, `\"vrb\"`)]+`","x":"y"}}`)), true)
	if got.Audits != 4 || got.Unread != 3 {
		t.Errorf("%d of %d could not be read, want 3 of 4", got.Unread, got.Audits)
	}
}

// TestEachRecordOfAPlainBatchIsTold, also those that no rule has a word of.
func TestEachRecordOfAPlainBatchIsTold(t *testing.T) {
	d := detect.New(builtIn, false)
	body := strings.Join([]string{record(1), deletion(2), deletion(2), `{"a":1}`, `{"a":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"}`, `{"time":"x","category":"kube`}, "\n")
	got := d.Detect(detect.Plain([]byte(body)), false)
	var told []string
	before := 0
	for _, r := range got.Records {
		told = append(told, fmt.Sprintf("%d %q findings=%d repeats=%d unread=%t", strings.Count(body[:r.Offset], "\n"), r.Dataset, r.Findings-before, r.Repeats, r.Unread != ""))
		before = r.Findings
		if !strings.HasPrefix(body[r.Offset:], string(r.Text)) {
			t.Errorf("the text at %d is %s", r.Offset, r.Text)
		}
	}
	want := []string{
		`0 "azure.platformlogs" findings=0 repeats=0 unread=false`, `1 "azure.platformlogs" findings=1 repeats=0 unread=false`,
		`2 "azure.platformlogs" findings=0 repeats=1 unread=false`, `3 "" findings=0 repeats=0 unread=false`,
		`4 "" findings=0 repeats=0 unread=true`, `5 "" findings=0 repeats=0 unread=true`,
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
