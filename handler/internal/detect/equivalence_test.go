package detect_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/enrich"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/surroundings"
)

// A path is detection and enrichment of a batch: with the search that lets it
// skip input, or without.
type path struct {
	detector *detect.Detector
	enricher *enrich.Enricher

	invocations, unread, opened, timelines int
	unreadable                             int // pieces of the latest invocation
}

// operators are rules in the manner of those that teams add: with wildcards, an
// or, a not, and values that an export writes in many ways.
var operators = fstest.MapFS{
	"secrets.toml":   {Data: ruleFile("secrets", `data_stream.dataset: "azure.platformlogs" and azure.platformlogs.properties.log.objectRef.resource: "secrets" and azure.platformlogs.properties.log.verb: ("get" or "list" or "patch")`)},
	"exec.toml":      {Data: ruleFile("exec", `azure.platformlogs.properties.log.requestURI: */exec?command=* and not azure.platformlogs.properties.log.user.username: system\:*`)},
	"snapshots.toml": {Data: ruleFile("snapshots", `event.action: MICROSOFT.COMPUTE/*/WRITE and event.outcome: (Success or success) and azure.resource.group: *HUNT*`)},
	"identity.toml":  {Data: ruleFile("identity", `azure.activitylogs.identity.claims_initiated_by_user.name: *Svensson* or azure.resource.group: RG-EDGE-TEST`)},
}

// paths returns the path as it is deployed, and one that reads everything.
func paths(t testing.TB) (searched, full *path) {
	t.Helper()
	set, _, err := rule.Load(rule.BuiltIn(), rule.FS("operators", operators))
	if err != nil {
		t.Fatal(err)
	}
	if _, all := set.Literals(); all {
		t.Fatal("a rule has no literals: nothing would ever be skipped")
	}
	enricher := enrich.New(enrich.Parts{
		Directory: new(directory.Directory), Surroundings: new(surroundings.Surroundings), Exceptions: new(exception.Set),
		Now: func() time.Time { return time.Date(2026, 11, 9, 9, 0, 0, 0, time.UTC) }, Log: slog.New(slog.DiscardHandler),
	})
	return &path{detector: detect.New(set, true), enricher: enricher}, &path{detector: detect.NewUnfiltered(set, true), enricher: enricher}
}

// alerts returns those that an invocation raises, as JSON.
func (p *path) alerts(t testing.TB, body []byte) (alerts []string) {
	p.invocations++
	b, err := reader.Read(t.Context(), bytes.NewReader(body), p.detector.Filter())
	if err != nil {
		panic(err)
	}
	defer b.Close()
	found := p.detector.Detect(b, false)
	// A short record that is cut before its verb has nothing that leads to it.
	found.Findings = slices.DeleteFunc(found.Findings, func(f alert.Finding) bool { return f.Rule == alert.Unreadable })
	p.opened += found.Opened
	p.unreadable = len(found.Unreadable)
	if len(b.Hits()) == 0 {
		p.unread++
	}
	around := p.detector.Around(b, found.Findings)
	for piece := range p.enricher.Enrich(t.Context(), found.Findings, around) {
		for _, a := range piece {
			if len(a.Timeline) > 0 {
				p.timelines++
			}
			alerts = append(alerts, string(a.JSON()))
		}
	}
	return alerts
}

// compare returns how the alerts of an invocation differ between the paths. Only
// where the full path gives up on a part of a message, the other may find more:
// it finds records in place in that part.
func compare(t testing.TB, searched, full *path, body []byte) (alerts int, more bool, diff string) {
	want, got := full.alerts(t, body), searched.alerts(t, body)
	if slices.Equal(got, want) {
		return len(want), false, ""
	}
	if full.unreadable > 0 && len(got) > len(want) {
		found := ids(t, got)
		if !slices.ContainsFunc(ids(t, want), func(id string) bool { return !slices.Contains(found, id) }) {
			return len(want), true, ""
		}
	}
	return len(want), false, cmp.Diff(want, got)
}

func ids(t testing.TB, alerts []string) (ids []string) {
	for _, text := range alerts {
		a, err := alert.Parse([]byte(text))
		if err != nil {
			t.Error(err)
			continue
		}
		ids = append(ids, a.AlertId)
	}
	return ids
}

// TestTheSearchedPathRaisesTheSameAlertsAsTheFullPath: the search may be wrong only
// towards reading too much. However a record is written, the same alerts are
// raised as if everything was read, byte for byte and in the same order.
func TestTheSearchedPathRaisesTheSameAlertsAsTheFullPath(t *testing.T) {
	const workers = 2
	want := int64(respelled)
	if testing.Short() {
		want /= 50
	}
	records := samples(t)
	var done, invocations, alerts, answered, exceeded atomic.Int64
	var g errgroup.Group
	var searchedPaths, fullPaths [workers]*path
	for worker := range workers {
		searched, full := paths(t)
		searchedPaths[worker], fullPaths[worker] = searched, full
		g.Go(func() error {
			r := rand.New(rand.NewPCG(uint64(worker), 2026))
			for done.Load() < want {
				body, n := randomInvocation(r, records)
				found, more, diff := compare(t, searched, full, body)
				if diff != "" {
					name := filepath.Join(os.TempDir(), "podwatch-counterexample.json")
					_ = os.WriteFile(name, body, 0o600)
					return fmt.Errorf("the paths differ in the invocation now in %s (-full +searched):\n%s", name, diff)
				}
				done.Add(int64(n))
				invocations.Add(1)
				alerts.Add(int64(found))
				if found > 0 {
					answered.Add(1)
				}
				if more {
					exceeded.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var searched, full path
	for i := range workers {
		searched.invocations += searchedPaths[i].invocations
		searched.unread += searchedPaths[i].unread
		searched.opened += searchedPaths[i].opened
		searched.timelines += searchedPaths[i].timelines
		full.opened += fullPaths[i].opened
	}
	t.Logf("%d respelled records in %d invocations; %d of these raise %d alerts, %d with a timeline", done.Load(), invocations.Load(), answered.Load(), alerts.Load(), searched.timelines)
	t.Logf("in %d invocations the searched path finds more in what the full path cannot read", exceeded.Load())
	t.Logf("of %d invocations %d are not read at all; %d records are read, on the full path %d", searched.invocations, searched.unread, searched.opened, full.opened)
	if exceeded.Load() > invocations.Load()/100 {
		t.Error("the paths differ too often to mean something")
	}
	if searched.unread < searched.invocations/50 || searched.opened > full.opened*9/10 {
		t.Error("too little is skipped to mean something")
	}
	if with, all := answered.Load(), invocations.Load(); with < all/10 || with > all*9/10 {
		t.Errorf("%d of %d invocations raise alerts: too one-sided to mean something", with, all)
	}
	if searched.timelines < int(alerts.Load())/100 {
		t.Error("too few timelines to mean something")
	}
}

func FuzzTheSearchedPathRaisesTheSameAlerts(f *testing.F) {
	records := samples(f)
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		body, _ := randomInvocation(r, records)
		f.Add(body)
	}
	searched, full := paths(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, _, diff := compare(t, searched, full, body); diff != "" {
			t.Errorf("(-full +searched):\n%s", diff)
		}
	})
}
