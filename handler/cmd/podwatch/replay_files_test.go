package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/text/encoding/unicode"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/logtest"
)

// replayed runs the command and returns what it prints.
func replayed(t testing.TB, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runToolOn(t, strings.NewReader(stdin), append([]string{"replay"}, args...)...)
}

// allSamples are the messages of the sample export, in order.
func allSamples(t testing.TB) (bodies []string) {
	t.Helper()
	names, err := filepath.Glob("samples/*.json")
	if err != nil || len(names) != 7 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	return bodies
}

// sampleLines are the records of the sample export as a storage account has them.
func sampleLines(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	for _, body := range allSamples(t) {
		for p := range export.Pieces([]byte(body)) {
			if err := json.Compact(&b, p.JSON); err != nil {
				t.Fatal(err)
			}
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whatever form people have a log in, it raises its alerts, and the last line counts.
func TestReplayReadsTheFilesThatPeopleHave(t *testing.T) {
	t.Parallel()
	file := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", "files", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	u16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(allSamples(t)[1])
	if err != nil {
		t.Fatal(err)
	}
	var saved []map[string]any
	for i, body := range allSamples(t) {
		saved = append(saved, map[string]any{"SequenceNumber": i, "Offset": "0", "EnqueuedTimeUtc": "2026-11-09T08:17:00Z", "Properties": map[string]any{}, "Body": body})
	}
	withBody := func(name string, value func(body string) any) string {
		var lines []string
		for i, body := range allSamples(t) {
			lines = append(lines, asJSON(t, map[string]any{"partition": 0, "sequenceNumber": i, name: value(body)}))
		}
		return strings.Join(lines, "\n")
	}
	text := func(body string) any { return body }
	var rows []map[string]string
	if err := json.Unmarshal([]byte(file("la.json")), &rows); err != nil {
		t.Fatal(err)
	}
	row := rows[0]
	delete(row, "TableName")
	csv := func(comma string, omit ...string) string {
		var names, cells []string
		for _, name := range omit {
			delete(row, name)
		}
		for name, cell := range row {
			names, cells = append(names, name), append(cells, `"`+strings.ReplaceAll(cell, `"`, `""`)+`"`)
		}
		return strings.Join(names, comma) + "\r\n" + strings.Join(cells, comma) + "\r\n"
	}
	table := func(tables, columns, column, rows string) string {
		var names []map[string]string
		var cells []string
		for name, cell := range row {
			names, cells = append(names, map[string]string{column: name}), append(cells, cell)
		}
		return asJSON(t, map[string]any{tables: []any{map[string]any{columns: names, rows: [][]string{cells}}}})
	}
	for name, tt := range map[string]struct {
		text   string
		counts string
	}{
		"az monitor activity-log list":        {file("az.json"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"the REST API":                        {`{"value":` + file("az.json") + `,"nextLink":"https://x"}`, "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"rows of AzureActivity":               {file("la.json"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"rows of AzureDiagnostics":            {file("aksaudit.json"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"CSV of Log Analytics":                {csv(","), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"the Log Analytics API":               {table("tables", "columns", "name", "rows"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"its older form":                      {table("Tables", "Columns", "ColumnName", "Rows"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"CSV in UTF-8 with a mark":            {"\ufeff" + csv(";"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"CSV without the column Type":         {csv(",", "Type"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"the API server's audit log":          {file("audit.log"), "read 1 records, 1 of logs that rules read, 1 alerts, 0 unread"},
		"Event Hubs Capture":                  {file("cap.avro"), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"a storage account":                   {sampleLines(t), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"the same in gzip":                    {logtest.Gzip(sampleLines(t)), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"UTF-16":                              {u16, "read 4 records, 4 of logs that rules read, 1 alerts, 0 unread"},
		"saved messages":                      {asJSON(t, saved), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"saved messages by an SDK":            {withBody("body", text), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"saved messages in base64":            {withBody("EventBody", func(body string) any { return []byte(body) }), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"saved messages with JSON inside":     {withBody("Body", func(body string) any { return json.RawMessage(body) }), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"saved messages of Kafka":             {withBody("value", text), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"a capture as JSON":                   {withBody("Body", func(body string) any { return map[string]string{"bytes": body} }), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"a list of messages in a member":      {`{"messages":` + asJSON(t, saved) + `}`, "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"message bodies as an array of texts": {asJSON(t, allSamples(t)), "read 25 records, 24 of logs that rules read, 6 alerts, 0 unread"},
		"an empty file":                       {"", "read 0 records, 0 of logs that rules read, 0 alerts, 0 unread"},
		"an empty list":                       {"[]", "read 0 records, 0 of logs that rules read, 0 alerts, 0 unread"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			writeFile(t, path, tt.text)
			for _, args := range [][]string{{path}, {"-"}} {
				status, out, errs := replayed(t, tt.text, args...)
				if status != 0 || errs != tt.counts+"\n" {
					t.Errorf("%q: status %d, standard error %s\nwant %s", args, status, errs, tt.counts)
				}
				if want := regexp.MustCompile(`(\d+) alerts`).FindStringSubmatch(tt.counts)[1]; fmt.Sprint(strings.Count(out, "\n")) != want {
					t.Errorf("%q: %d alerts are printed, want %s", args, strings.Count(out, "\n"), want)
				}
			}
		})
	}
}

// Silence is not "nothing happened": a file of which nothing is known fails, and so
// does what cannot be read; the files beside it are read.
func TestReplayNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, text)
		return path
	}
	good := write("good.json", sampleLines(t))
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"another shape":    {write("other.json", `[{"id":1,"severity":"x"},{"id":2}]`), []string{"other.json: 2 records, and none of a log that podwatch knows: objects with the members id, severity\n"}},
		"another table":    {write("activity.csv", "Correlation id,Operation name,Status\nx,Delete pods,Succeeded\n"), []string{"1 record, and none of a log that podwatch knows: objects with the members Correlation id, Operation name, Status\n"}},
		"text":             {write("readme.txt", "nothing to see"), []string{"readme.txt: byte 0: text that is no JSON\n"}},
		"a zip archive":    {write("log.zip", "PK\x03\x04\x14\x00\x00\x00{}\n{}"), []string{"log.zip: byte 0: zip data, not JSON text\n"}},
		"Parquet":          {write("log.parquet", "PAR1\x15\x04{}\n{}"), []string{"log.parquet: byte 0: Parquet data, not JSON text\n"}},
		"gzip that is cut": {write("cut.gz", logtest.Gzip(sampleLines(t))[:500]), []string{"cut.gz: unpack gzip: unexpected EOF\n"}},
		"Avro of others":   {write("other.avro", "Obj\x01x"), []string{"other.avro: read Avro: "}},
		"no file":          {filepath.Join(dir, "nowhere"), []string{"nowhere: no such file or directory\n"}},
		"many bad lines": {write("bad.json", strings.Repeat("oops\n", 42)+sampleLines(t)), []string{
			"bad.json: byte 0: text that is no JSON\n", "bad.json: byte 20: text that is no JSON\n",
			"bad.json: 42 pieces, 168 bytes, could not be read\n", "42 unread\n"}},
		"a name that steers": {write("\x1b[2J\n.json", "oops"), []string{"<U+001B>[2J<U+000A>.json: byte 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out, errs := replayed(t, "", tt.file, good)
			if status != 1 || strings.Count(out, "\n") != 6 {
				t.Errorf("status %d, %d alerts of the other file", status, strings.Count(out, "\n"))
			}
			for _, want := range tt.want {
				if !strings.Contains(errs, want) {
					t.Errorf("standard error lacks %q:\n%s", want, errs)
				}
			}
			if n := strings.Count(errs, ": byte "); n > maxComplaints {
				t.Errorf("%d complaints:\n%s", n, errs)
			}
		})
	}
}

// A folder is all files in it and below.
func TestReplayWalksFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for hour, body := range allSamples(t) {
		path := filepath.Join(dir, "resourceId=", "y=2026", "m=11", "d=09", fmt.Sprintf("h=%02d", hour), "m=00", "PT1H.json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, body)
	}
	writeFile(t, filepath.Join(dir, ".DS_Store"), "\x00\x01")
	status, out, errs := replayed(t, "", dir)
	want := "podwatch: " + filepath.Join(dir, ".DS_Store") + " is left out: hidden\nread 25 records, 24 of logs that rules read, 6 alerts, 0 unread\n"
	if status != 0 || strings.Count(out, "\n") != 6 || errs != want {
		t.Errorf("status %d, %d alerts, standard error\n%s\nwant\n%s", status, strings.Count(out, "\n"), errs, want)
	}
}

// Every record ends in one verdict.
func TestEveryRecordHasAVerdict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	exceptions := filepath.Join(dir, "exceptions.yaml")
	writeFile(t, exceptions, "exceptions:\n  - {name: known, reason: r, owner: o, match: 'caller.name: dana.ortiz@example.com'}\n")
	log := filepath.Join(dir, "log.json")
	writeFile(t, log, sampleLines(t)+sampleLines(t)+`{"id":1}`+"\noops\n"+unrelated)
	status, out, errs := replayed(t, "", "--summary", "--exceptions", exceptions, log)
	var summary map[string]int
	if err := json.Unmarshal([]byte(out), &summary); err != nil {
		t.Fatal(err, errs)
	}
	verdicts, sum := map[string]int{}, 0
	for name, n := range summary {
		if v, of := strings.CutPrefix(name, "records"); of && v != "" {
			verdicts[v] = n
			sum += n
		}
	}
	want := `{"Alerted":3,"NoMatch":31,"NoRule":3,"Repeat":6,"Routine":6,"Suppressed":3,"Unreadable":1}`
	if got := asJSON(t, verdicts); status != 1 || got != want || summary["records"] != 53 || sum != 53 {
		t.Errorf("status %d, %d records, verdicts %s\nwant 53 and %s", status, summary["records"], got, want)
	}
}

// records writes n records, one of fifty a deletion, and looks at the heap at each
// quarter.
type records struct {
	n, made int
	list    bool // as an array
	heap    []float64
	text    []byte
}

func (r *records) Read(p []byte) (int, error) {
	for len(r.text) == 0 {
		if r.made == r.n {
			return 0, io.EOF
		}
		if r.made%(r.n/4) == r.n/4-1 {
			r.heap = append(r.heap, liveHeap())
		}
		record, separator := strings.Replace(unrelated, `"Success"`, `"Success","properties":{"text":"`+strings.Repeat("x", 1500)+`"}`, 1), "\n"
		if r.made%50 == 0 {
			record = deletion(r.made)
		}
		if r.list {
			separator = ","
			if r.made == 0 {
				separator = "["
			}
			record, separator = separator+record, ""
			if r.made == r.n-1 {
				separator = "]"
			}
		}
		r.text = []byte(record + separator)
		r.made++
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// A file of any size occupies the memory of a few bodies, and every record of it is
// counted.
func TestReplayOfALongFileHoldsLittle(t *testing.T) {
	const n, allowance = 20_000, 16 // records, of 33 MB in all, and MiB
	for _, list := range []bool{false, true} {
		in := &records{n: n, list: list}
		status, _, errs := runToolOn(t, in, "replay", "--summary", "-")
		want := fmt.Sprintf("read %d records, %d of logs that rules read, %d alerts, 0 unread\n", n, n, n/50)
		if status != 0 || !strings.HasSuffix(errs, want) {
			t.Errorf("array %t: status %d, %s, want %s", list, status, errs, want)
		}
		t.Logf("live heap at each quarter: %.1f MiB", in.heap)
		if len(in.heap) != 4 || in.heap[3] > in.heap[0]+allowance {
			t.Errorf("array %t: live heap at each quarter: %.1f MiB", list, in.heap)
		}
	}
}

// "No alert" can be believed: each record says which condition of which rule failed.
func TestReplayExplainsEachRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	exceptions := filepath.Join(dir, "exceptions.yaml")
	writeFile(t, exceptions, `exceptions:
  - {name: far, reason: r, owner: o, match: 'cluster.kind: aks and caller.kind: servicePrincipal'}
  - {name: near, reason: r, owner: o, match: 'caller.kind: user and cluster.kind: arc and kubernetes.namespace: other'}
  - {name: over, reason: r, owner: o, expires: 2026-01-01, match: 'cluster.name: nothing'}
  - {name: another rule, reason: r, owner: o, rules: [Workload Scaled to Zero], match: 'cluster.name: arc-plant-07'}
`)
	log := filepath.Join(dir, "log.json")
	writeFile(t, log, deletion(1)+"\n"+deletion(1)+"\n"+strings.Replace(deletion(2), `"Success"`, `"Failure"`, 1)+"\n"+unrelated+"\n"+`{"id":1,"x":"`+"\u202e"+`"}`+"\noops\n")
	status, out, errs := replayed(t, "", "--explain", "--exceptions", exceptions, log)
	if status != 1 || !strings.Contains(errs, "read 6 records, 4 of logs that rules read, 1 alerts, 1 unread") {
		t.Errorf("status %d, standard error %s", status, errs)
	}
	records := strings.SplitAfter(out, "\n"+log+": byte ")
	wants := [][]string{
		{"byte 0: alerted\n", "log        azure.activitylogs, Delete, MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE, 2026-11-09T08:00:01Z",
			"rule       Azure Kubernetes Pods Deleted: match\n", `exception  near comes nearest: kubernetes.namespace wants other, found "shop"`},
		{": repeat\n", "repeat     of a record before it"},
		{": no match\n", `rule       Azure Kubernetes Pods Deleted: no match: event.outcome wants ("Success" or "success"), found "failure"`},
		{": no match\n", `no match: azure.activitylogs.operation_name wants "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", found "MICROSOFT.RESOURCES/TAGS/WRITE"`},
		{": no rule's log\n", "log        none that podwatch knows: objects with the members id, x"},
		{": unreadable\n", "unread     text that is no JSON"},
	}
	if len(records) != len(wants) {
		t.Fatalf("%d records are explained, want %d:\n%s", len(records), len(wants), out)
	}
	for i, want := range wants {
		for _, text := range want {
			if !strings.Contains(records[i], text) {
				t.Errorf("record %d lacks %q:\n%s", i, text, records[i])
			}
		}
	}
	if strings.Contains(out, "another rule") || strings.Contains(out, "\u202e") {
		t.Errorf("an exception for another rule, or what a log has for the terminal, is printed:\n%s", out)
	}
}
