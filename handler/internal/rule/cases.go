package rule

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"podwatch/handler/internal/event"
)

// A Case is one record of a rule's folder and what the rule made of it.
type Case struct {
	File string
	Line int
	Want string // match, routine or no match
	Got  string // the same, or the error that kept the record from being read
}

// OK reports whether the rule did what the case wants.
func (c Case) OK() bool { return c.Got == c.Want }

func (c Case) String() string {
	return fmt.Sprintf("%s:%d: want %s, got %s", c.File, c.Line, c.Want, c.Got)
}

const (
	wantMatch   = "match"
	wantRoutine = "routine"
	wantNone    = "no match"
)

type caseFile struct{ name, want string }

var caseFiles = []caseFile{
	{"match.jsonl", wantMatch},
	{"routine.jsonl", wantRoutine},
	{"nomatch.jsonl", wantNone},
}

// RunCases runs the cases beside the rule file of e: match.jsonl, routine.jsonl
// and nomatch.jsonl, one exported record a line. Only a rule that runs has
// cases, and only one that has a folder to itself; a folder of many rules with
// cases in it is an error, since they cannot be assigned to a rule.
func (r *Report) RunCases(s *Set, e *Entry) ([]Case, error) {
	if e.Verdict != Runs {
		return nil, nil
	}
	var cases []Case
	for _, f := range caseFiles {
		p := path.Join(path.Dir(e.path), f.name)
		src, err := fs.ReadFile(e.source.fsys, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read cases %q: %w", e.source.file(p), bare(err))
		}
		if !r.alone(e) {
			return nil, fmt.Errorf("run cases %q: the folder holds several rules; give each its own", e.source.file(p))
		}
		for i, line := range bytes.Split(src, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				cases = append(cases, Case{File: e.source.file(p), Line: i + 1, Want: f.want, Got: s.outcome(e.Rule, line)})
			}
		}
	}
	return cases, nil
}

// alone reports whether e is the only rule of its folder.
func (r *Report) alone(e *Entry) bool {
	return !slices.ContainsFunc(r.Entries, func(other *Entry) bool {
		return other != e && filepath.Dir(other.File) == filepath.Dir(e.File)
	})
}

// outcome evaluates one record and returns what r made of it.
func (s *Set) outcome(r *Rule, record []byte) string {
	ev, err := event.Read(record, 0)
	if err != nil {
		return err.Error()
	}
	for _, m := range s.Match(nil, ev) {
		switch {
		case m.Rule == r && m.Routine:
			return wantRoutine
		case m.Rule == r:
			return wantMatch
		}
	}
	return wantNone
}
