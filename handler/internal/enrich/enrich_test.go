package enrich_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/outbound"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/surroundings"
)

var now = time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)

// parts are those of an Enricher that knows nothing; its log goes to log.
func parts(log *bytes.Buffer) enrich.Parts {
	return enrich.Parts{
		Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: new(exception.Set),
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

// findings of a sample record, n times with different ids.
func findings(t *testing.T, n int) []alert.Finding {
	t.Helper()
	rules, _, err := rule.Load(rule.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile("../../testdata/records/act-match-user.json")
	if err != nil {
		t.Fatal(err)
	}
	found := detect.New(rules, false).Detect(detect.Plain(body), false).Findings
	if len(found) != 1 {
		t.Fatalf("%d findings in the sample", len(found))
	}
	return slices.Repeat(found, n)
}

func enriched(t *testing.T, p enrich.Parts, found []alert.Finding, around ...*event.Event) (pieces [][]*alert.Alert) {
	t.Helper()
	return slices.Collect(enrich.New(p).Enrich(t.Context(), found, slices.Values(around)))
}

// A broken transport panics where a look-up makes its call, in a goroutine of its
// own.
type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

func brokenClient(t *testing.T) *outbound.Client {
	e, err := outbound.ParseEndpoint("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return &outbound.Client{Service: "Service", Endpoint: e, Transport: broken{}}
}

// TestAPanicCostsTheStep: the alert is delivered with what the other steps found,
// and a note.
func TestAPanicCostsTheStep(t *testing.T) {
	for name, change := range map[string]func(*enrich.Parts){
		"the directory":    func(p *enrich.Parts) { p.Directory = directory.New(brokenClient(t), p.Now, p.Log) },
		"the surroundings": func(p *enrich.Parts) { p.Surroundings = surroundings.New(brokenClient(t), p.Now, p.Log) },
		"the exceptions":   func(p *enrich.Parts) { p.Exceptions = nil },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			p := parts(&log)
			change(&p)
			a := enriched(t, p, findings(t, 1))[0][0]
			if a.CallerName == "" || a.Pod == "" || a.Suppressed {
				t.Errorf("the alert lacks what its record says: %+v", a)
			}
			if !slices.ContainsFunc(a.Notes, func(n string) bool { return strings.HasPrefix(n, "this alert is not complete: ") }) {
				t.Errorf("notes %q, want one about the panic", a.Notes)
			}
			if !strings.Contains(log.String(), "stack=") {
				t.Errorf("the log has no stack: %s", log.String())
			}
		})
	}
}

// TestARecordThatCannotBeReadAgain is delivered with what the rule says, and the
// reason.
func TestARecordThatCannotBeReadAgain(t *testing.T) {
	found := findings(t, 2)
	found[0].Record = jsontext.Text{Raw: []byte(`"cut`)}
	all := enriched(t, parts(new(bytes.Buffer)), found)[0]
	if bare := all[0]; bare.AlertId != found[0].ID || bare.RuleName == "" || !strings.Contains(strings.Join(bare.Notes, " "), "could not complete this alert") {
		t.Errorf("bare alert %+v", bare)
	}
	if all[1].CallerName == "" {
		t.Error("the other alert is not complete")
	}
}

// TestPieces: a batch of very many findings becomes alerts a piece at a time.
func TestPieces(t *testing.T) {
	var sizes []int
	for _, piece := range enriched(t, parts(new(bytes.Buffer)), findings(t, 2500)) {
		sizes = append(sizes, len(piece))
	}
	if !slices.Equal(sizes, []int{1000, 1000, 500}) {
		t.Errorf("pieces of %v", sizes)
	}
}

// TestMaxSignals: what a rule raises beyond its max_signals is delivered without
// look-ups, and says so. It counts over all pieces.
func TestMaxSignals(t *testing.T) {
	found := findings(t, 1100)
	limited := *found[0].Rule
	limited.MaxSignals = 3
	for i := range found {
		found[i].Rule = &limited
	}
	noted := 0
	for _, piece := range enriched(t, parts(new(bytes.Buffer)), found) {
		for _, a := range piece {
			if strings.Contains(strings.Join(a.Notes, " "), "max_signals") {
				noted++
			}
		}
	}
	if noted != 1097 {
		t.Errorf("%d alerts without look-ups, want 1097", noted)
	}
}
