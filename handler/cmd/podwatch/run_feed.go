package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/devhost/inbox"
	"podwatch/handler/cmd/podwatch/internal/files"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/app"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/detect"
)

// What podwatch feed asks of a run, on its page's address: a message as the body of
// a POST, what came of it as JSON in the answer. The content type keeps other web
// sites out.
const (
	feedPath   = "/api/feed"
	maxFeed    = 16 << 20
	feedFormat = "application/json"
)

// pages serves the inbox, and podwatch feed.
func (r *localRun) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", r.inbox)
	mux.HandleFunc("POST "+feedPath, r.takeFeed)
	return mux
}

func (r *localRun) takeFeed(w http.ResponseWriter, request *http.Request) {
	if request.Header.Get("Content-Type") != feedFormat {
		http.Error(w, "send Content-Type: "+feedFormat, http.StatusUnsupportedMediaType)
		return
	}
	if !r.ready.Load() {
		http.Error(w, "the run has only begun: try again in a few seconds", http.StatusServiceUnavailable)
		return
	}
	body := http.MaxBytesReader(w, request.Body, maxFeed)
	o, err := r.feedBodies(request.Context(), files.Bodies(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", feedFormat)
	_ = json.NewEncoder(w).Encode(o) // the client is gone if this fails
}

// feedCommand is the command line that makes an alert each time it is run.
func (r *localRun) feedCommand() string {
	tool := "podwatch"
	if strings.HasPrefix(filepath.Base(os.Args[0]), tool) && !strings.ContainsAny(os.Args[0], " '\"") {
		tool = visible(os.Args[0])
	}
	if _, port, err := net.SplitHostPort(r.page.Addr().String()); err == nil && port != fmt.Sprint(defaultPagePort) {
		return tool + " feed --page-port " + port
	}
	return tool + " feed"
}

// An outcome is what came of records that were fed.
type outcome struct {
	Records  int            `json:"records"`
	Verdicts map[string]int `json:"verdicts"` // as of a replay, and held
	Cards    int            `json:"cards"`
	Until    time.Time      `json:"until,omitzero"`   // when the summary of what is held comes
	Unread   []string       `json:"unread,omitempty"` // where and why, the first of them
}

// held is the verdict on an alert that waits for the summary of a storm.
const held = "held for a summary"

// String writes an outcome on a line.
func (o outcome) String() string {
	if o.Records == 0 {
		return "empty: no record"
	}
	var parts []string
	for _, name := range append(verdictNames[:], held) {
		n := o.Verdicts[name]
		switch {
		case n == 0:
		case name == alerted.String():
			parts = append(parts, fmt.Sprintf("%d alerted (%s)", n, count(o.Cards, "card", "cards")))
		case name == held && !o.Until.IsZero():
			parts = append(parts, fmt.Sprintf("%d held until %s", n, o.Until.Local().Format("15:04")))
		case name == unreadable.String() && len(o.Unread) > 0:
			parts = append(parts, fmt.Sprintf("%d unreadable (%s)", n, strings.Join(o.Unread, "; ")))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return fmt.Sprintf("read %s: %s", count(o.Records, "record", "records"), strings.Join(parts, ", "))
}

// A judgement is the rules' result for records, by the app's own files; whether an
// alert was new to the handler follows from its deliveries.
type judgement struct {
	outcome
	place  func(offset int) string
	raised []judged
}

type judged struct {
	verdict
	alerts []*alert.Alert
}

func (j *judgement) where(offset int) string { return j.place(offset) }

func (j *judgement) told(record detect.Record, v verdict, raised []*alert.Alert) {
	j.Records++
	if record.Unread != "" && len(j.Unread) < maxComplaints {
		j.Unread = append(j.Unread, visible(j.where(record.Offset)+": "+record.Unread))
	}
	if v == alerted || v == suppressed {
		j.raised = append(j.raised, judged{v, raised})
		return
	}
	j.Verdicts[v.String()]++
}

// judge returns an evaluation that delivers nothing.
func (r *localRun) judge() (*replay, error) {
	getenv := func(string) string { return "" }
	if r.o.hub.wanted() {
		getenv = settings
	}
	cfg, err := config.Files(getenv, r.o.app)
	if err != nil {
		return nil, err
	}
	offline, err := app.Offline(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &replay{app: offline, summary: true, out: io.Discard, err: io.Discard, status: newStatusLine(io.Discard), seen: map[[16]byte]struct{}{}}, nil
}

// feedBodies feeds the bodies of a file and returns what came of their records. The
// error is about reading or the host.
func (r *localRun) feedBodies(ctx context.Context, bodies iter.Seq2[files.Body, error]) (outcome, error) {
	evaluation, err := r.judge()
	if err != nil {
		return outcome{}, err
	}
	j := &judgement{outcome: outcome{Verdicts: map[string]int{}}}
	for body, err := range bodies {
		if err != nil {
			return j.outcome, err
		}
		j.place = body.Place
		if err := evaluation.evaluate(ctx, body.Text, j); err != nil {
			return j.outcome, err
		}
		before := r.inbox.Last()
		if err := r.feed(ctx, r.o.hub.dropPartition(), body.Text); err != nil {
			return j.outcome, err
		}
		j.settle(r.inbox.Since(before))
	}
	if j.Verdicts[held] > 0 {
		waiting, _ := r.held(ctx) // without an answer the time is not known
		j.Until = waiting.Due
	}
	return j.outcome, nil
}

// settle judges the alerts of a body by what was delivered: one without a row of its
// own is a repeat, and without any card they are held.
func (j *judgement) settle(delivered []inbox.Entry) {
	rows := map[string]bool{}
	cards := 0
	for _, e := range delivered {
		var row struct{ AlertId string }
		switch {
		case e.Refused != "":
		case e.Sink == inbox.Teams:
			cards++
		case json.Unmarshal(e.Data, &row) == nil:
			rows[row.AlertId] = true
		}
	}
	for _, record := range j.raised {
		name := record.String()
		switch {
		case !slices.ContainsFunc(record.alerts, func(a *alert.Alert) bool { return rows[a.AlertId] }):
			name = repeated.String()
		case record.verdict == alerted && cards == 0:
			name = held
		}
		j.Verdicts[name]++
	}
	j.Cards += cards
	j.raised = nil
}

// feedFile feeds a file of the drop folder and reports the result. It returns false
// if the file could not be opened and is to be tried again.
func (r *localRun) feedFile(ctx context.Context, path string) (done bool) {
	shown := visible(path)
	o, err := r.feedBodies(ctx, files.Open(path))
	switch {
	case ctx.Err() != nil:
		return true
	case err != nil && isPathError(err):
		if !r.leftOut[path] {
			r.say("%s is not fed: %v; it is tried again", shown, withoutPath(err))
			r.leftOut[path] = true
		}
		return errors.Is(err, os.ErrNotExist)
	case err != nil:
		r.say("%s is not fed to its end: %v; %s", shown, err, o)
	default:
		r.say("%s is fed: %s", shown, o)
	}
	delete(r.leftOut, path)
	return true
}
