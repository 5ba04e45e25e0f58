package export_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"podwatch/handler/internal/export"
	"podwatch/handler/internal/jsontext"
)

// inside returns body as the host writes it among other messages, quoted depth
// times, and where in it the body lies.
func inside(body []byte, depth int) (t jsontext.Text, start, end int) {
	before, after := []byte(nil), []byte(nil)
	for range depth {
		q := jsontext.AppendQuote(nil, body)
		body = q[1 : len(q)-1]
		before = jsontext.AppendQuote(nil, append(before, '"'))
		before = before[1 : len(before)-1]
		after = jsontext.AppendQuote(nil, append([]byte{'"'}, after...))
		after = after[1 : len(after)-1]
	}
	if depth > 0 {
		// The message before ends, this one begins, and the next follows.
		outer := strings.Repeat(`\`, 1<<(depth-1)-1) + `"`
		before = []byte(`{` + outer + "," + outer)
		after = []byte(outer + "," + outer + `{` + outer)
	}
	raw := append(append(append([]byte{}, before...), body...), after...)
	return jsontext.Text{Raw: raw, Depth: depth}, len(before), len(before) + len(body)
}

// checkAround compares what Around finds at a position of body with what Pieces
// finds in all of it: the same record or nothing. Only within what Pieces calls
// unreadable, or a larger record, may it find a record of its own. It returns the
// number of positions in records at which it found the same, and of all.
func checkAround(t *testing.T, body []byte, depth int, positions func(n int) []int) (same, all int) {
	t.Helper()
	text, start, end := inside(body, depth)
	plain, err := text.Cut(start, end).Plain(nil)
	if err != nil {
		t.Fatal(err)
	}
	found := pieces(plain)
	for _, at := range positions(end - start) {
		pos := start + at
		offset := len(plainBefore(text, start, pos))
		var want *export.Piece
		for i, p := range found.Records {
			if p.Offset <= offset && offset < p.Offset+len(p.JSON) && p.Mended != "UTF-16 converted" && p.Mended != "record was JSON text in a string" {
				want = &found.Records[i]
			}
		}
		var got []byte
		for start, end := range export.Around(text, pos) {
			if got, err = text.Cut(start, end).Plain(nil); err != nil || !json.Valid(got) {
				got = nil // the caller asks Pieces
			}
			break
		}
		if want != nil {
			all++
		}
		switch {
		case got == nil:
		case want != nil && (bytes.Equal(got, want.JSON) || want.Mended != "" && equal(got, want.JSON)):
			same++
		case !looksLikeRecord(got) || want != nil && want.Mended == "" && !bytes.Contains(want.JSON, got):
			t.Fatalf("depth %d, position %d of %q:\ngot  %s\nwant %v", depth, at, body, got, want)
		}
	}
	return same, all
}

func looksLikeRecord(object []byte) bool {
	var members map[string]any
	if err := json.Unmarshal(object, &members); err != nil {
		return false
	}
	timed, about := false, false
	for name := range members {
		switch strings.ToLower(name) {
		case "time", "timestamp":
			timed = true
		case "category", "operationname", "resourceid", "metricname":
			about = true
		}
	}
	return timed && about
}

// plainBefore unquotes the text from start to pos, which may be within an escape.
func plainBefore(t jsontext.Text, start, pos int) []byte {
	for ; ; pos-- {
		if plain, err := t.Cut(start, pos).Plain(nil); err == nil {
			return plain
		}
	}
}

// equal reports whether two records differ only in what mending leaves out.
func equal(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	unnamed(x)
	unnamed(y)
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

func unnamed(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "")
		for _, member := range v {
			unnamed(member)
		}
	case []any:
		for _, element := range v {
			unnamed(element)
		}
	}
}

// sampleRecords are records of every log, with nested text of all kinds.
func sampleRecords(t testing.TB) (records []string) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "records", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces(b).Records {
			var compact bytes.Buffer
			if err := json.Compact(&compact, p.JSON); err != nil {
				t.Fatal(err)
			}
			records = append(records, compact.String())
		}
	}
	return append(records, recA, recB, recC, string(pieces(kubeAudit(1)).Records[0].JSON),
		`{"time":"x[{\":\":","category":"},{","note":"[{\"time\":1,\"category\":2}]","list":[{"a":"}"},{"b":"{"}],"n":1.5e3}`,
		imitations)
}

// imitations is a record whose strings hold what looks like records and like the ends
// of strings, quoted once, twice and three times.
var imitations = func() string {
	text := `{"records":[` + recA + `,{"time":1,"category":"\"},{"}]},[{"time":1,"category":2}],"},{"`
	return `{"time":1,"category":"x","one":` + quote(text) + `,"two":` + quote(quote(text)) + `,"list":[{"three":` + quote(quote(quote(text))) + `}],"` +
		`[{\"time\":1":"}]","end":"\\"}`
}()

func TestAroundFindsWhatPiecesFinds(t *testing.T) {
	t.Parallel()
	records := sampleRecords(t)
	r := rand.New(rand.NewPCG(1, 13))
	some := func(n int) (positions []int) {
		for range 6 {
			positions = append(positions, r.IntN(n))
		}
		return positions
	}
	same, all := 0, 0
	for i := range 600 {
		var body string
		pick := func() string { return records[r.IntN(len(records))] }
		switch r.IntN(5) {
		case 0:
			body = `{"records":[` + pick() + "," + records[i%len(records)] + "," + pick() + `]}`
		case 1:
			body = `[` + pick() + " ,\n\t" + records[i%len(records)] + `]`
		case 2:
			body = pick() + "\r\n" + records[i%len(records)] + "\n"
		case 3:
			body = "\xef\xbb\xbf" + records[i%len(records)]
		case 4:
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(`{"records":[`+pick()+","+records[i%len(records)]+`]}`), "", "\t"); err != nil {
				t.Fatal(err)
			}
			body = indented.String()
		}
		for depth := range 3 {
			s, n := checkAround(t, []byte(body), depth, some)
			same += s
			all += n
		}
	}
	if same*100 < all*98 {
		t.Errorf("the record found at %d of %d positions", same, all)
	}
}

func TestAroundInMangledBodies(t *testing.T) {
	t.Parallel()
	records := sampleRecords(t)
	r := rand.New(rand.NewPCG(2, 13))
	some := func(n int) []int { return []int{r.IntN(n), r.IntN(n), r.IntN(n)} }
	const marks = `"\{}[],:n`
	for range 4000 {
		body := []byte(`{"records":[` + records[r.IntN(len(records))] + "," + records[r.IntN(len(records))] + "," + records[r.IntN(len(records))] + `]}`)
		for range 1 + r.IntN(2) {
			i := r.IntN(len(body))
			if k := bytes.IndexAny(body[i:], marks); k >= 0 && r.IntN(3) > 0 {
				i += k
			}
			switch r.IntN(4) {
			case 0:
				body = append(body[:i:i], body[i+1:]...)
			case 1:
				body[i] = marks[r.IntN(len(marks))]
			case 2:
				body = append(body[:i:i], append([]byte{marks[r.IntN(len(marks))]}, body[i:]...)...)
			case 3:
				body = append(body[:i:i], body[min(len(body), i+r.IntN(60)):]...)
			}
		}
		if utf8.Valid(body) {
			checkAround(t, body, r.IntN(3), some)
		}
	}
}

func TestAroundGoesOutward(t *testing.T) {
	t.Parallel()
	const inner = `{"time":1,"category":"inner","x":"here"}`
	const outer = `{"time":1,"category":"outer","list":[` + inner + `]}`
	body := []byte(`{"records":[` + recA + `,` + outer + `,` + recB + `]}`)
	for depth := range 3 {
		text, _, _ := inside(body, depth)
		var got []string
		for start, end := range export.Around(text, bytes.Index(text.Raw, []byte("here"))) {
			plain, err := text.Cut(start, end).Plain(nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(plain))
		}
		if fmt.Sprint(got) != fmt.Sprint([]string{inner, outer}) {
			t.Errorf("depth %d: got %q", depth, got)
		}
	}
}

func TestAroundLeavesWhatIsNotCertainToPieces(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"outside of records":                   `{"records":[` + recA + `],"x":"here"}`,
		"a record as JSON text":                `{"records":[` + quote(`{"time":1,"category":"here"}`) + `]}`,
		"a name given twice":                   `[{"time":1,"category":1,"a":"here","a":2}]`,
		"a name that is empty":                 `[{"time":1,"category":1,"a":"here","":2}]`,
		"a record that is cut":                 `[{"time":1,"category":1,"a":"here","b":`,
		"a wrapper with the fields of one":     `{"time":1,"category":1,"x":"here","records":[]}`,
		"an object without marks":              `[{"a":"here"}]`,
		"the value of a member":                `{"a":{"time":1,"category":"here"}}`,
		"what a brace in a string begins":      `{"a":"[{","time":1,"category":"here"}`[5:],
		"a record of more than two megabytes":  `[{"time":1,"category":"here","x":"` + strings.Repeat("x", 2<<20) + `"}]`,
		"text far behind the start of a value": `[{"time":1,"category":"` + strings.Repeat("x", 3<<20) + `here"}]`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for depth := range 3 {
				text, _, _ := inside([]byte(body), depth)
				for start, end := range export.Around(text, bytes.Index(text.Raw, []byte("here"))) {
					t.Errorf("depth %d: got %.100s", depth, text.Raw[start:end])
				}
			}
		})
	}
}

func FuzzAround(f *testing.F) {
	for i, record := range []string{recA, recB, recC, `{"time":"[{\"","category":"\"}]","list":[{"a":"{"}]}`} {
		f.Add([]byte(`{"records":[`+record+`,`+recA+`]}`), uint(20*i+20), uint(i))
		f.Add([]byte(recA+"\n"+record), uint(70), uint(i))
	}
	for at := range len(imitations) / 16 { // in text that is quoted once, twice and three times
		f.Add([]byte(`{"records":[`+recA+`,`+imitations+`]}`), uint(len(recA)+16*at), uint(at))
	}
	f.Fuzz(func(t *testing.T, body []byte, at, depth uint) {
		if utf8.Valid(body) && len(body) > 0 {
			checkAround(t, body, int(depth%3), func(n int) []int { return []int{int(at % uint(n))} })
		}
	})
}
