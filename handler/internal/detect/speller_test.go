package detect_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/rules"
)

// samples are the records of the built-in rules' cases.
func samples(t testing.TB) (records []string) {
	t.Helper()
	err := fs.WalkDir(rules.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".jsonl") {
			return err
		}
		file, err := rules.FS.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && len(line) < 2400 {
				records = append(records, line)
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// A speller writes JSON anew in ways that mean the same. A tame one writes as the
// encoders do that are in use, which need not hide anything.
type speller struct {
	*rand.Rand
	tame    bool
	ascii   bool    // nothing else is written
	escapes float64 // how many characters are written as escapes
	spaces  bool
}

func newSpeller(r *rand.Rand, tame bool) speller {
	s := speller{Rand: r, tame: tame, ascii: r.IntN(2) == 0, spaces: r.IntN(4) == 0}
	if !tame {
		s.escapes = []float64{0, 0, 0, 0.0005, 0.005, 0.1}[r.IntN(6)]
		if r.IntN(200) == 0 {
			s.escapes = 1
		}
	}
	return s
}

// json spells JSON text anew, and by chance also the JSON text in its strings.
// What is no JSON is left as it is.
func (s speller) json(text string, depth int) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '"' {
			b.WriteByte(text[i])
			if s.spaces && strings.IndexByte("{}[],:", text[i]) >= 0 && s.IntN(8) == 0 {
				b.WriteString([]string{" ", "\n", "\t", "\r\n  "}[s.IntN(4)])
			}
			i++
			continue
		}
		end := i + 1
		for end < len(text) && text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		end = min(len(text), end+1)
		var content string
		if json.Unmarshal([]byte(text[i:end]), &content) != nil {
			b.WriteString(text[i:end])
			i = end
			continue
		}
		if content != "" && (content[0] == '{' || content[0] == '[') && depth < 6 && s.IntN(3) > 0 {
			content = newSpeller(s.Rand, s.tame).json(content, depth+1)
		}
		s.quote(&b, content)
		i = end
	}
	return b.String()
}

func (s speller) quote(b *strings.Builder, content string) {
	b.WriteByte('"')
	for _, c := range content {
		short := strings.IndexRune("\"\\/\n\t\r\b\f", c)
		must := c < ' ' || c == '"' || c == '\\'
		switch {
		case short >= 0 && (must || s.IntN(3) == 0) && (s.tame || s.IntN(4) > 0):
			b.WriteByte('\\')
			b.WriteByte(`"\/ntrbf`[short])
		case must || c > '~' && s.ascii || strings.ContainsRune("<>&'+", c) && s.IntN(2) == 0 || s.escapes > 0 && s.Float64() < s.escapes:
			for _, unit := range utf16.Encode([]rune{c}) {
				digits := []string{"0123456789abcdef", "0123456789ABCDEF"}[s.IntN(2)]
				b.WriteString(`\u`)
				for shift := 12; shift >= 0; shift -= 4 {
					b.WriteByte(digits[unit>>shift&15])
				}
			}
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}

// Letters that have an equal outside ASCII.
var (
	kubernetes = regexp.MustCompile(`(?i)k(ubernetes/)`)
	podsDelete = regexp.MustCompile(`(?i)(pod)s(/delete)`)
)

// vary changes what a record holds, near what the rules look for.
func vary(r *rand.Rand, record string) string {
	if r.IntN(2) == 0 { // where it says so it is found by that alone
		record = strings.Replace(record, `"category":"Delete"`, `"category":"Administrative"`, 1)
	}
	switch r.IntN(15) {
	case 0:
		verbs := []string{"delete", "get", "deletecollection", "create", "deleted", "Delete"}
		return strings.ReplaceAll(record, `\"verb\":\"delete\"`, `\"verb\":\"`+verbs[r.IntN(len(verbs))]+`\"`)
	case 1, 2:
		return swapCase(r, record, `"operationName":"`)
	case 3, 12, 13, 14:
		if r.IntN(2) == 0 {
			return kubernetes.ReplaceAllString(record, "\u212A$1")
		}
		return podsDelete.ReplaceAllString(record, "${1}\u017F$2")
	case 4: // something to mend
		at := r.IntN(len(record))
		return record[:at] + []string{"\n", "\x01", ",", "\xff", `\x`, ",,"}[r.IntN(6)] + record[at:]
	case 5:
		return strings.ReplaceAll(record, `"`, `'`)
	case 6:
		return record[:len(record)-r.IntN(min(200, len(record)))]
	case 7:
		return strings.Replace(record, `":"`, `":`, 1+r.IntN(3))
	}
	return record
}

// swapCase changes the case of letters of the text that follows prefix.
func swapCase(r *rand.Rand, s, prefix string) string {
	at := strings.Index(s, prefix)
	if at < 0 {
		return s
	}
	b := []byte(s)
	for i := at + len(prefix); i < len(b) && b[i] != '"'; i++ {
		if c := b[i] | 0x20; c >= 'a' && c <= 'z' && r.IntN(2) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// message puts spelled records into one of the shapes that bodies have.
func message(r *rand.Rand, records []string) []byte {
	text := ""
	switch n := r.IntN(6); {
	case n == 0 && len(records) == 1:
		text = records[0]
	case n == 1:
		text = "[" + strings.Join(records, ",") + "]"
	case n == 2:
		text = strings.Join(records, "\n")
	default:
		text = `{"records":[` + strings.Join(records, ",") + `]}`
	}
	if r.IntN(40) == 0 {
		var out []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			out = binary.LittleEndian.AppendUint16(out, unit)
		}
		return out
	}
	return []byte(text)
}

// randomInvocation is a batch of respelled records, and how many they are.
func randomInvocation(r *rand.Rand, records []string) ([]byte, int) {
	batch := invocation.Messages{Function: "Detect", Binding: "events"}
	tame := r.IntN(3) > 0
	total := 0
	for i := range 1 + r.IntN(2) {
		var spelled []string
		for range 1 + r.IntN(3) {
			record := records[r.IntN(len(records))]
			if r.IntN(2) == 0 { // most of a log is not about deletions
				record = logtest.Record(logtest.Logs[r.IntN(2)], r.IntN(1000), false)
			}
			spelled = append(spelled, newSpeller(r, tame).json(vary(r, record), 0))
		}
		total += len(spelled)
		batch.Messages = append(batch.Messages, invocation.Message{Body: message(r, spelled), Sequence: int64(i), Offset: "7"})
	}
	body := invocation.EncodeEvents(batch)
	if r.IntN(3) == 0 {
		body = []byte(newSpeller(r, tame).json(string(body), 0))
	}
	return body, total
}
