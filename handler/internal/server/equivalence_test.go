package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/logtest"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/server"
	"podwatch/handler/internal/surroundings"
	"podwatch/handler/rules"
)

// collector is a sink that keeps what it gets, and a ledger that remembers
// nothing.
type collector struct{ alerts []string }

func (c *collector) Name() string { return "collector" }
func (c *collector) Deliver(_ context.Context, alerts []*alert.Alert) []error {
	for _, a := range alerts {
		c.alerts = append(c.alerts, string(a.JSON()))
	}
	return nil
}
func (c *collector) Delivered(context.Context, string, string) (bool, error) { return false, nil }
func (c *collector) Mark(context.Context, string, string) error              { return nil }

// A path is podwatch with or without the search that lets it skip input.
type path struct {
	handler http.Handler
	sink    *collector

	invocations, decoded, messages, passed int
}

// counting counts what is passed over.
type counting struct {
	*pipeline.Pipeline
	*path
}

func (c counting) DetectAmong(ctx context.Context, in pipeline.Input) *pipeline.Batch {
	c.decoded++
	c.messages += len(in.Messages) + in.Passed
	c.passed += in.Passed
	return c.Pipeline.DetectAmong(ctx, in)
}

// operators are rules in the manner of those that teams add: with wildcards, an
// or, a not, and values that an export writes in many ways.
var operators = fstest.MapFS{
	"secrets.toml":   {Data: ruleFile("secrets", `data_stream.dataset: "azure.platformlogs" and azure.platformlogs.properties.log.objectRef.resource: "secrets" and azure.platformlogs.properties.log.verb: ("get" or "list" or "patch")`)},
	"exec.toml":      {Data: ruleFile("exec", `azure.platformlogs.properties.log.requestURI: */exec?command=* and not azure.platformlogs.properties.log.user.username: system\:*`)},
	"snapshots.toml": {Data: ruleFile("snapshots", `event.action: MICROSOFT.COMPUTE/*/WRITE and event.outcome: (Success or success) and azure.resource.group: *HUNT*`)},
	"identity.toml":  {Data: ruleFile("identity", `azure.activitylogs.identity.claims_initiated_by_user.name: *Svensson* or azure.resource.group: RG-EDGE-TEST`)},
}

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

func newPath(t testing.TB, unscanned bool) *path {
	t.Helper()
	set, _, err := rule.Load(rule.BuiltIn(), rule.FS("operators", operators))
	if err != nil {
		t.Fatal(err)
	}
	if _, all := set.Literals(); all {
		t.Fatal("a rule has no literals: nothing would ever be passed over")
	}
	p := &path{sink: &collector{}}
	log := slog.New(slog.DiscardHandler)
	p.handler = server.New(server.Options{
		BodyLimit: 256 << 20, Deadline: time.Minute, Log: log,
		Pipeline: counting{path: p, Pipeline: pipeline.New(pipeline.Options{
			Rules: set, Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: pipeline.None{},
			Windows: pipeline.None{}, Feed: pipeline.None{}, Poison: pipeline.None{}, Ledger: p.sink,
			Routes: []pipeline.Route{{Sink: p.sink}}, RecordRoutine: true, Unscanned: unscanned, Log: log,
			Now: func() time.Time { return time.Date(2026, 11, 9, 9, 0, 0, 0, time.UTC) },
		})},
	})
	return p
}

// alerts are those that an invocation raises, in a fixed order.
func (p *path) alerts(body []byte) []string {
	p.sink.alerts = nil
	p.invocations++
	r := httptest.NewRequest(http.MethodPost, "/Detect", io.MultiReader(bytes.NewReader(body)))
	r.Header.Set("Content-Type", "application/json")
	p.handler.ServeHTTP(httptest.NewRecorder(), r)
	slices.Sort(p.sink.alerts)
	return p.sink.alerts
}

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

// vary changes what a record says, near what the rules look for.
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
func randomInvocation(t testing.TB, r *rand.Rand, records []string) ([]byte, int) {
	batch := invocation.Batch{Function: "Detect", Binding: "events", Encoding: invocation.Encoding(r.IntN(5))}
	if r.IntN(2) == 0 {
		batch.Encoding = invocation.ManyString // as deployed
	}
	tame := r.IntN(3) > 0
	n, total := 1+r.IntN(2), 0
	if batch.Encoding == invocation.OneString || batch.Encoding == invocation.OneBinary {
		n = 1
	}
	for i := range n {
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
	body, err := invocation.EncodeEvents(batch)
	if err != nil { // a body that is no JSON in an encoding of JSON values
		batch.Encoding = invocation.ManyString
		if body, err = invocation.EncodeEvents(batch); err != nil {
			t.Fatal(err)
		}
	}
	if r.IntN(3) == 0 {
		body = []byte(newSpeller(r, tame).json(string(body), 0))
	}
	return body, total
}

// The search is allowed to be wrong only towards reading too much: whatever way
// a record is written, the same alerts come of it as if everything was read.
func TestTheScannedPathRaisesTheSameAlertsAsTheFullPath(t *testing.T) {
	const workers = 2
	records := samples(t)
	var done, invocations, alerts, answered atomic.Int64
	var g errgroup.Group
	var paths [workers]*path
	for worker := range workers {
		scanned, full := newPath(t, false), newPath(t, true)
		paths[worker] = scanned
		g.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(worker), 2026))
			for done.Load() < respelled {
				body, n := randomInvocation(t, r, records)
				want := full.alerts(body)
				if got := scanned.alerts(body); !slices.Equal(got, want) {
					name := filepath.Join(os.TempDir(), "podwatch-counterexample.json")
					_ = os.WriteFile(name, body, 0o600)
					return fmt.Errorf("%d alerts on the scanned path, %d on the full one, of the invocation now in %s (-full +scanned):\n%s", len(got), len(want), name, cmp.Diff(want, got))
				}
				done.Add(int64(n))
				invocations.Add(1)
				alerts.Add(int64(len(want)))
				if len(want) > 0 {
					answered.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var sum path
	for _, p := range paths {
		sum.invocations += p.invocations
		sum.decoded += p.decoded
		sum.messages += p.messages
		sum.passed += p.passed
	}
	undecoded := sum.invocations - sum.decoded
	t.Logf("the scanned path answered %d of %d invocations without decoding them, and of %d messages of the others it passed over %d",
		undecoded, sum.invocations, sum.messages, sum.passed)
	if undecoded < sum.invocations/50 || sum.passed < sum.messages/20 {
		t.Error("too little was passed over to mean something")
	}
	t.Logf("%d respelled records in %d invocations; %d of these raised %d alerts", done.Load(), invocations.Load(), answered.Load(), alerts.Load())
	if with, all := answered.Load(), invocations.Load(); with < all/10 || with > all*9/10 {
		t.Errorf("%d of %d invocations raise alerts: too one-sided to mean something", with, all)
	}
}

func FuzzTheScannedPathRaisesTheSameAlerts(f *testing.F) {
	records := samples(f)
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		body, _ := randomInvocation(f, r, records)
		f.Add(body)
	}
	scanned, full := newPath(f, false), newPath(f, true)
	f.Fuzz(func(t *testing.T, body []byte) {
		want := slices.Clone(full.alerts(body))
		if got := scanned.alerts(body); !slices.Equal(got, want) {
			t.Errorf("%d alerts on the scanned path, %d on the full one", len(got), len(want))
		}
	})
}
