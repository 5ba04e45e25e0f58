package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/logtest"
)

// entry is a record of about size bytes that has n.
func entry(n, size int) string {
	return fmt.Sprintf(`{"time":"2026-11-09T08:00:00Z","category":"Delete","n":%d,"text":"}],{[ \"\\ é %s","list":[{"a":[1,2]},{"b":"},{"}]}`, n, strings.Repeat("x", size))
}

// contents are the numbers of the records in bodies, what cannot be read, with its
// place, and the longest body.
func contents(t testing.TB, bodies iter.Seq2[Body, error]) (numbers []int, unread []string, longest int, failed error) {
	t.Helper()
	for b, err := range bodies {
		if err != nil {
			failed = err
			continue
		}
		longest = max(longest, len(b.Text))
		for p := range export.Pieces(b.Text) {
			var r struct {
				N    int
				Text string
			}
			if p.Reason != "" {
				unread = append(unread, b.Place(p.Offset)+": "+p.Reason)
			} else if err := json.Unmarshal(p.JSON, &r); err != nil {
				t.Fatal(err)
			} else {
				numbers = append(numbers, r.N)
			}
			if strings.Contains(r.Text, "\n") {
				t.Fatalf("record %d was changed: %.100q", r.N, r.Text)
			}
		}
	}
	return numbers, unread, longest, failed
}

func upTo(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func joined(n, size int, between string) string {
	var records []string
	for i := range n {
		records = append(records, entry(i, size))
	}
	return strings.Join(records, between)
}

// Every record of a long file arrives once and in order, in bodies of a bounded size.
func TestALongFileIsAStream(t *testing.T) {
	t.Parallel()
	const n, size = 1300, 2000
	indented := func(text string) string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	lines, list := joined(n, size, "\n"), joined(n, size, ",")
	for name, text := range map[string]string{
		"lines":                       lines,
		"lines of Windows":            strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n",
		"values without separators":   joined(n, size, ""),
		"an array":                    "[" + list + "]",
		"an indented array":           indented("[" + list + "]"),
		"an array over lines":         "[\n" + joined(n, size, ",\n") + "\n]\n",
		"a wrapper":                   `{"records":[` + list + `]}`,
		"an answer of REST":           `{"value":[` + list + `],"nextLink":"https://x/[{\"}","n":{"a":[1],"b":{}}}`,
		"an array of arrays":          "[[" + joined(n, size, "],[") + "]]",
		"an array of text":            textArray(n, size),
		"members before the records":  `{"@odata.context":"x","count":3,"value":[` + list + `]}`,
		"an indented wrapper":         indented(`{"a":{"b":[1]},"records":[` + list + `]}`),
		"a wrapper in a wrapper":      `{"data":{"records":[` + list + `]},"id":1}`,
		"a wrapper in an array":       `[{"records":[` + list + `]}]`,
		"several wrappers":            `{"records":[` + list + "]}\n" + `{"records":[]}`,
		"messages with JSON as text":  messages(n, size),
		"an array of such messages":   "[" + strings.ReplaceAll(strings.TrimSpace(messages(n, size)), "\n", ",") + "]",
		"a byte order mark":           "\ufeff" + lines,
		"short lines after long ones": entry(0, 900_000) + "\n" + entry(1, 900_000) + "\n" + strings.Join(strings.Split(lines, "\n")[2:], "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(text), "half at a time": iotest.HalfReader(strings.NewReader(text))} {
				numbers, unread, longest, err := contents(t, Bodies(r))
				if !slices.Equal(numbers, upTo(n)) || len(unread) > 0 || err != nil {
					t.Errorf("%s: %d records of %d, unread %.300q, error %v", how, len(numbers), n, unread, err)
				}
				if longest > window {
					t.Errorf("%s: a body has %d bytes", how, longest)
				}
			}
		})
	}
}

func textArray(n, size int) string {
	var texts []string
	for i := range n {
		texts = append(texts, entry(i, size))
	}
	text, _ := json.Marshal(texts)
	return string(text)
}

func messages(n, size int) string {
	var b strings.Builder
	for i := range n {
		body, _ := json.Marshal(`{"records":[` + entry(i, size) + `]}`)
		fmt.Fprintf(&b, `{"SequenceNumber":%d,"Offset":"0","EnqueuedTimeUtc":"x","Body":%s,"Properties":{}}`+"\n", i, body)
	}
	return b.String()
}

// A record of a long file that is malformed costs itself, whatever it is that is
// missing: no record of another line, few of an array on a single line.
func TestAMalformedRecordCostsItself(t *testing.T) {
	t.Parallel()
	const n, size = 3000, 2000
	broken := map[string]string{
		"cut in a string":     entry(9999, size)[:1000],
		"a missing quote":     strings.Replace(entry(9999, size), `Z"`, `Z`, 1),
		"an open bracket":     strings.TrimSuffix(entry(9999, size), "}"),
		"a bracket too many":  entry(9999, size) + "]}",
		"text":                `Error: "no such thing`,
		"a large value":       `{"time":"x","category":"y","n":9999,"text":"` + strings.Repeat("x", 5<<20) + `"}`,
		"a large, open value": `{"time":"x","category":"y","n":9999,"list":[` + strings.Repeat(`{"a":1},`, 1<<20),
	}
	r := rand.New(rand.NewPCG(1, 2))
	for name, bad := range broken {
		for form, between := range map[string]string{"lines": "\n", "an array": ","} {
			at := 1 + r.IntN(n-2)
			t.Run(name+" in "+form, func(t *testing.T) {
				t.Parallel()
				var records []string
				for i := range n {
					records = append(records, entry(i, size))
				}
				text := strings.Join(slices.Insert(records, at, bad), between)
				if between == "," {
					text = `{"records":[` + text + `]}`
				}
				numbers, unread, longest, err := contents(t, Bodies(strings.NewReader(text)))
				numbers = slices.DeleteFunc(numbers, func(n int) bool { return n == 9999 || n == 0 })
				lost := n - 1 - len(numbers)
				most := 0
				if between == "," {
					most = 2 // the one that is cut with it
				}
				if !slices.IsSorted(numbers) || lost > most || lost < 0 || err != nil {
					t.Errorf("%d records are lost of %d, error %v, unread %.400q", lost, n, err, unread)
				}
				if name != "a missing quote" && name != "an open bracket" && name != "cut in a string" && name != "a bracket too many" && len(unread) == 0 {
					t.Error("nothing is reported as unread")
				}
				if longest > maxText {
					t.Errorf("a body has %d bytes", longest)
				}
			})
		}
	}
}

func packed(text string) []byte { return []byte(logtest.Gzip(text)) }

func inUTF16(text string, bigEndian, mark bool) []byte {
	var b []byte
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	for _, u := range units {
		if bigEndian {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return b
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	t.Parallel()
	text := joined(3, 10, "\n") + `{"time":"x","category":"😀","n":3}`
	for name, packed := range map[string][]byte{
		"gzip":                     packed(text),
		"gzip in gzip":             packed(logtest.Gzip(text)),
		"gzip in two parts":        append(packed(text[:200]), packed(text[200:])...),
		"UTF-16":                   inUTF16(text, false, true),
		"UTF-16, big end first":    inUTF16(text, true, true),
		"UTF-16 without a mark":    inUTF16(text, false, false),
		"the same, big end first":  inUTF16(text, true, false),
		"UTF-16 in gzip":           packed(string(inUTF16(text, false, true))),
		"a byte order mark":        []byte("\ufeff" + text),
		"a byte order mark in one": packed("\ufeff" + text),
	} {
		t.Run(name, func(t *testing.T) {
			numbers, unread, _, err := contents(t, Bodies(bytes.NewReader(packed)))
			if !slices.Equal(numbers, upTo(4)) || len(unread) > 0 || err != nil {
				t.Errorf("records %v, unread %q, error %v", numbers, unread, err)
			}
		})
	}
}

func TestWhatCannotBeUnpackedIsSaid(t *testing.T) {
	t.Parallel()
	long := packed(joined(2000, 1000, "\n"))
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"gzip that is cut":   {long[:len(long)-20], "unpack gzip: unexpected EOF"},
		"a damaged gzip":     {append(bytes.Clone(long[:len(long)-8]), "12345678"...), "unpack gzip: gzip: invalid checksum"},
		"a header of gzip":   {long[:5], "unpack gzip"},
		"a header of Avro":   {[]byte(avroMagic), "read Avro"},
		"Avro that is cut":   {container(t, "deflate", "{}", "{}")[:400], "read Avro"},
		"Avro without Body":  {otherContainer(t), "not of Event Hubs Capture"},
		"a row without end":  {append([]byte("TimeGenerated,a\n1,2\n1,\""), bytes.Repeat([]byte("x\n"), 3<<20)...), "the row that begins at byte 20 is longer than"},
		"rows of no columns": {[]byte(`{"tables":[{"rows":[[1]]}]}`), "rows before their columns"},
		"tables that break":  {[]byte(`{"tables":[{"columns":[{"name":"a"}],"rows":[[1],x`), "read tables of Log Analytics"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, longest, err := contents(t, Bodies(bytes.NewReader(tt.file)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if longest > maxText {
				t.Errorf("a body has %d bytes", longest)
			}
		})
	}
}

func TestAnEmptyFileHasNoBody(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " \r\n\t", "\ufeff", logtest.Gzip(""), "TimeGenerated,Type\n", `{"tables":[]}`, string(container(t, "null"))} {
		for b, err := range Bodies(strings.NewReader(text)) {
			t.Errorf("%.40q has the body %q, error %v", text, b.Text, err)
		}
	}
}

const captureSchema = `{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":[
	{"name":"SequenceNumber","type":"long"},{"name":"Offset","type":"string"},{"name":"EnqueuedTimeUtc","type":"string"},
	{"name":"SystemProperties","type":{"type":"map","values":["long","double","string","bytes"]}},
	{"name":"Properties","type":{"type":"map","values":["long","double","string","bytes","null"]}},
	{"name":"Body","type":["null","bytes"]}]}`

// container is a file of Event Hubs Capture.
func container(t testing.TB, codec string, bodies ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	var options []ocf.WriterOpt
	if codec == "deflate" {
		options = append(options, ocf.WithCodec(ocf.DeflateCodec(-1)))
	}
	w, err := ocf.NewWriter(&b, avro.MustParse(captureSchema), options...)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range bodies {
		message := map[string]any{
			"SequenceNumber": int64(i), "Offset": "0", "EnqueuedTimeUtc": "11/9/2026 8:17:00 AM",
			"SystemProperties": map[string]any{"x-opt-partition-key": "k", "n": int64(1)}, "Properties": map[string]any{"a": nil}, "Body": []byte(body),
		}
		if body == "" {
			message["Body"] = nil
		}
		if err := w.Encode(message); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func otherContainer(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := ocf.NewWriter(&b, avro.MustParse(`{"type":"record","name":"r","fields":[{"name":"a","type":"long"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Encode(map[string]any{"a": int64(1)}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestACaptureIsItsMessages(t *testing.T) {
	t.Parallel()
	bodies := []string{`{"records":[` + entry(0, 10) + `,` + entry(1, 10) + `]}`, "", "nothing", entry(2, 2<<20-200)}
	for _, codec := range []string{"null", "deflate"} {
		numbers, unread, _, err := contents(t, Bodies(bytes.NewReader(container(t, codec, bodies...))))
		if !slices.Equal(numbers, upTo(3)) || err != nil || len(unread) != 1 || unread[0] != "message 3, byte 0: text that is no JSON" {
			t.Errorf("%s: records %v, unread %q, error %v", codec, numbers, unread, err)
		}
	}
}

// objects are the records of a file as JSON.
func objects(t testing.TB, text string) (all []string) {
	t.Helper()
	for b, err := range Bodies(strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b.Text)) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func TestRowsAreRecords(t *testing.T) {
	t.Parallel()
	const want = `{"TimeGenerated":"2026-11-09T08:14:22.123Z","Caller":"a, \"b\"","Claims_d":"{\"x\":1}"}`
	for name, tt := range map[string]struct{ file, want string }{
		"CSV":                        {"TimeGenerated,Caller,Claims_d\n2026-11-09T08:14:22.123Z,\"a, \"\"b\"\"\",\"{\"\"x\"\":1}\"\n", want},
		"quoted, of Windows":         {"\ufeff\"TimeGenerated\",\"Caller\",\"Claims_d\"\r\n\"2026-11-09T08:14:22.123Z\",\"a, \"\"b\"\"\",\"{\"\"x\"\":1}\"\r\n", want},
		"with semicolons":            {"TimeGenerated;Caller;Claims_d\n2026-11-09T08:14:22.123Z;\"a, \"\"b\"\"\";\"{\"\"x\"\":1}\"", want},
		"with tabs":                  {"TimeGenerated\tCaller\tClaims_d\n2026-11-09T08:14:22.123Z\ta, \"b\"\t\"{\"\"x\"\":1}\"", want},
		"of PowerShell":              {"#TYPE Deserialized.X\n\"TimeGenerated\",\"Caller\",\"Claims_d\"\n\"2026-11-09T08:14:22.123Z\",\"a, \"\"b\"\"\",\"{\"\"x\"\":1}\"", want},
		"of the portal":              {"TimeGenerated [UTC],Caller\n\"11/9/2026, 8:14:22.123 AM\",x", `{"TimeGenerated":"11/9/2026 8:14:22.123 AM","Caller":"x"}`},
		"a row that is short":        {"TimeGenerated,a,b\n1,2\n", `{"TimeGenerated":"1","a":"2"}`},
		"a row that is long":         {"TimeGenerated,a\n1,2,3\n", `{"TimeGenerated":"1","a":"2","column 3":"3"}`},
		"lines in a cell":            {"TimeGenerated,a\n1,\"x\ny\"\n", `{"TimeGenerated":"1","a":"x\ny"}`},
		"the Log Analytics API":      {`{"tables":[{"name":"PrimaryResult","columns":[{"name":"TimeGenerated","type":"datetime"},{"name":"a","type":"long"},{"name":"b","type":"dynamic"}],"rows":[["x",1.50,null]]}]}`, `{"TimeGenerated":"x","a":1.50,"b":null}`},
		"its older form":             {`{"Tables":[{"TableName":"Table_0","Columns":[{"ColumnName":"a","DataType":"String"}],"Rows":[["x"]]}]}`, `{"a":"x"}`},
		"its rows before its tables": {`{"tables":[{"columns":[{"name":"a"}],"rows":[["x"]]},{"columns":[{"name":"b"}],"rows":[]}]}`, `{"a":"x"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{tt.want}, objects(t, tt.file)); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

// Places of what cannot be read are those of the file.
func TestPlaces(t *testing.T) {
	t.Parallel()
	long := joined(1500, 1000, "\n") + "\n"
	_, unread, _, _ := contents(t, Bodies(strings.NewReader(long+"nothing\n"+entry(1, 1))))
	if want := fmt.Sprintf("byte %d: text that is no JSON", len(long)); len(unread) != 1 || unread[0] != want {
		t.Errorf("unread %q, want %q", unread, want)
	}
	for b, err := range Bodies(strings.NewReader("TimeGenerated,a\n1,2\n3,4\n5,6\n")) {
		if place := b.Place(bytes.Index(b.Text, []byte(`{"TimeGenerated":"5"`))); err != nil || place != "row 3" {
			t.Errorf("%s, error %v", place, err)
		}
	}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"y=2026/m=11/PT1H.json", "y=2026/m=12/PT1H.json", "a.json", ".hidden", ".git/x.json"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.json", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var read, leftOut []string
	short := func(path string) string { rel, _ := filepath.Rel(dir, path); return filepath.ToSlash(rel) }
	err := Walk(dir, func(path string) error { read = append(read, short(path)); return nil }, func(path, why string) { leftOut = append(leftOut, short(path)+" "+why) })
	if diff := cmp.Diff([]string{"a.json", "y=2026/m=11/PT1H.json", "y=2026/m=12/PT1H.json"}, read); diff != "" || err != nil {
		t.Errorf("error %v, files (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{".git hidden", ".hidden hidden", "link a symbolic link"}, leftOut); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	read = nil
	if err := Walk(filepath.Join(dir, "link"), func(path string) error { read = append(read, short(path)); return nil }, nil); err != nil || len(read) != 1 {
		t.Errorf("a link that is named: read %v, error %v", read, err)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"records":[` + entry(1, 10) + `,` + entry(2, 10) + `]}`))
	f.Add([]byte("TimeGenerated,a\n1,\"2\n"))
	f.Add([]byte(`{"tables":[{"columns":[{"name":"a"}],"rows":[["x"]]}]}`))
	f.Add(inUTF16("[{}]", true, false))
	f.Add(container(f, "deflate", "{}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		contents(t, Bodies(bytes.NewReader(file)))
	})
}

// After a quote that is missing the text in strings passes for structure: it stays as
// it is.
func TestTextBehindAMissingQuoteIsNotChanged(t *testing.T) {
	t.Parallel()
	var list []string
	for n := range 1200 {
		list = append(list, fmt.Sprintf(`{"time":"x","category":"y","n":%d,"text":"a, b, c %s"}`, n, strings.Repeat("x", 1000)))
	}
	list[3] = strings.Replace(list[3], `"x"`, `"x`, 1)
	numbers, _, _, err := contents(t, Bodies(strings.NewReader("["+strings.Join(list, ",")+"]")))
	if len(numbers) < 1197 || err != nil {
		t.Errorf("%d records, error %v", len(numbers), err)
	}
}
