package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"podwatch/handler/cmd/podwatch/internal/files"
	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/jsontext"
)

// files replays files and the folders of files. One that cannot be read costs only
// itself.
func (r *replay) files(ctx context.Context, names []string, stdin io.Reader) error {
	failed := 0
	read := func(label string, bodies iter.Seq2[files.Body, error]) error {
		err := r.file(ctx, label, bodies)
		if _, ok := errors.AsType[*unreadError](err); ok {
			r.say("podwatch: %v", err)
			failed++
			return nil
		}
		return err
	}
	for _, name := range names {
		if name == "-" {
			if err := read("standard input", files.Bodies(stdin)); err != nil {
				return err
			}
			continue
		}
		err := files.Walk(name, func(path string) error { return read(visible(path), files.Open(path)) }, r.leaveOut)
		switch {
		case err != nil && !isPathError(err):
			return err
		case err != nil:
			r.say("podwatch: %s: %v", visible(name), withoutPath(err))
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s failed, see above", count(failed, "file", "files"))
	}
	return nil
}

func (r *replay) leaveOut(path, why string) {
	r.say("podwatch: %s is left out: %s", visible(path), visible(why))
}

// An unreadError is about a file of which something could not be read.
type unreadError struct{ error }

// file evaluates the bodies of one file.
func (r *replay) file(ctx context.Context, label string, bodies iter.Seq2[files.Body, error]) error {
	f := &fileTally{replay: r, label: label}
	for body, err := range bodies {
		if err != nil {
			return &unreadError{fmt.Errorf("%s: %w", label, withoutPath(err))}
		}
		f.place = body.Place
		if err := r.evaluate(ctx, body.Text, f); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.showProgress(label)
	}
	return f.end()
}

func (r *replay) showProgress(label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.show(func() string {
		return fmt.Sprintf("read %d records, %s, %d alerts; now %s", r.records, byteCount(int64(r.counts.Bytes)), r.counts.Alerts, label)
	})
}

// A fileTally is what came of the records of one file.
type fileTally struct {
	*replay
	label string
	place func(offset int) string // of the present body

	known, unknown int    // records of a log that podwatch knows, and others
	shape          string // of the first of the others
	unread         int    // pieces
	unreadBytes    int64
}

// maxComplaints is how many unreadable pieces of a file are reported one by one.
const maxComplaints = 5

func (f *fileTally) where(offset int) string { return f.label + ": " + f.place(offset) }

func (f *fileTally) told(record detect.Record, _ verdict, _ []*alert.Alert) {
	if record.Unread != "" {
		if f.unread++; f.unread <= maxComplaints {
			f.say("podwatch: %s: %s", f.where(record.Offset), visible(record.Unread))
		}
		f.unreadBytes += int64(len(record.Text))
	}
	switch {
	case record.Dataset != "" || record.Metric:
		f.known++
	case json.Valid(record.Text):
		f.unknown++
		f.shape = cmp.Or(f.shape, shapeOf(record.Text))
	}
}

// end reports what was not reported one by one. It is an error if the file has
// records and none of a known log.
func (f *fileTally) end() error {
	if f.unread > maxComplaints {
		f.say("podwatch: %s: %d pieces, %s, could not be read", f.label, f.unread, byteCount(f.unreadBytes))
	}
	if f.unknown > 0 && f.known == 0 {
		return &unreadError{fmt.Errorf("%s: %s, and none of a log that podwatch knows: %s", f.label, count(f.unknown, "record", "records"), f.shape)}
	}
	return nil
}

// shapeOf describes a record of no known log, for a terminal.
func shapeOf(record []byte) string {
	const most = 8
	var names []string
	for name := range (jsontext.Text{Raw: record}).Members(0) {
		if len(names) == most {
			names = append(names, "...")
			break
		}
		names = append(names, visible(name[:min(len(name), 60)]))
	}
	if len(names) == 0 {
		return "no object"
	}
	return "objects with the members " + strings.Join(names, ", ")
}
