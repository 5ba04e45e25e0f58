package rule

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// A Verdict is what becomes of a rule that was read.
type Verdict string

// The verdicts. Only a rule that runs is in the [Set]; only a broken one makes
// Load fail.
const (
	Runs        Verdict = "runs"         // some event can match it
	CannotMatch Verdict = "cannot match" // needs a field that the events of its logs never have
	Waits       Verdict = "waits"        // for a log that podwatch does not read
	NeedsState  Verdict = "needs state"  // counts or remembers events
	Unsupported Verdict = "unsupported"  // another language, or a part that podwatch does not have
	Off         Verdict = "off"          // disabled in its file
	Replaced    Verdict = "replaced"     // built in, with a rule of the same id brought along
	Broken      Verdict = "broken"
)

// A Report accounts for everything that Load found in the rule files.
type Report struct {
	Entries  []*Entry // one a rule, in the order of the sources and their files
	Skipped  []Skipped
	Unread   []string // files and folders of the sources that are not read, and why
	Mistakes []error  // sources that cannot be read at all
}

// An Entry is what became of one rule.
type Entry struct {
	File     string
	Rule     *Rule // what could be read of it; fields are empty where a broken rule has none
	Verdict  Verdict
	Reason   string    // why it does not run, in words; "" when it runs
	Datasets []string  // the logs that it reads; nil when it names none
	Warnings []Warning // what its file shows at once; [Entry.Lint] looks closer
	Mistakes []error   // of a broken rule: each names its place

	source Source
	path   string // in source
	draft  *draft // nil when the file could not be read
}

// Skipped is a part of an export that is not a rule.
type Skipped struct {
	File string
	Line int
	What string
}

// Load reads the rules of all sources. The error joins every mistake in every
// file, each with its file, line and column. The set holds the rules that are
// fine even then; a handler must not start with it, a check may go on.
func Load(sources ...Source) (*Set, *Report, error) {
	l := loader{report: &Report{}, byID: map[string]*Entry{}, files: map[string]bool{}}
	for _, s := range sources {
		paths, unread, err := s.files()
		if err == nil && len(paths) == 0 {
			err = fmt.Errorf("read rules %q: no rule found: rule files end in .toml, .ndjson or .json%s", s.file(s.root), list("; not read: ", unread))
		}
		if err != nil {
			l.report.Mistakes = append(l.report.Mistakes, err)
			continue
		}
		l.report.Unread = append(l.report.Unread, unread...)
		for _, p := range paths {
			if l.files[s.file(p)] { // named twice on a command line
				continue
			}
			l.files[s.file(p)] = true
			if err := l.read(s, p); err != nil {
				l.report.Entries = append(l.report.Entries, &Entry{
					File: s.file(p), Rule: &Rule{Source: s.file(p), BuiltIn: s.builtIn}, Verdict: Broken,
					Reason: "the file cannot be read", Mistakes: []error{err}, source: s, path: p,
				})
			}
		}
	}
	set := &Set{byID: map[string]*compiled{}, names: map[string][]string{}}
	errs := slices.Clone(l.report.Mistakes)
	for _, e := range l.report.Entries {
		errs = append(errs, e.Mistakes...)
		set.name(e.Rule)
		if e.Verdict == Runs {
			set.add(compile(e.draft, e.Datasets))
		}
	}
	set.index()
	return set, l.report, errors.Join(errs...)
}

type loader struct {
	report *Report
	byID   map[string]*Entry
	files  map[string]bool
}

// read reads one file and enters its rules in the report. The error is one that
// keeps the file, or the rest of it, from being read.
func (l *loader) read(s Source, p string) error {
	src, err := s.read(p)
	if err == nil {
		src, err = Text(src)
	}
	if err != nil {
		return &FileError{File: s.file(p), Msg: err.Error()}
	}
	parse := parseJSON
	if path.Ext(p) == ".toml" {
		parse = parseTOML
	}
	docs, err := parse(s.file(p), src)
	for _, d := range l.exported(docs) {
		l.enter(s, p, d)
	}
	return err
}

// exported returns the rules among the objects of a Kibana export, and notes
// the others.
func (l *loader) exported(docs []*document) []*document {
	var found []*document
	for _, d := range docs {
		skip := func(format string, args ...any) {
			line, _ := d.at("")
			l.report.Skipped = append(l.report.Skipped, Skipped{File: d.file, Line: line, What: fmt.Sprintf(format, args...)})
		}
		has := func(key string) bool { return d.tree[key] != nil }
		kind, _ := d.tree["type"].(string)
		name, _ := d.tree["name"].(string)
		switch {
		case has("exported_count") || has("exported_rules_count"):
			if n, ok := d.tree["exported_rules_count"].(int64); ok && int(n) != len(found) {
				skip("summary of the export: it counts %d rules, the file holds %d", n, len(found))
			}
		case has("rule_id") || slices.Contains(knownTypes, kind):
			found = append(found, d)
		case has("list_id") && has("entries"):
			skip("exception item %q: write it as an exception of podwatch", name)
		case has("list_id"):
			skip("exception list %q: write its items as exceptions of podwatch", name)
		case kind == "action" || has("connector_type_id"):
			skip("connector: podwatch delivers to its own sinks")
		case notARule(d.tree) != "":
			skip("%s", notARule(d.tree))
		default:
			found = append(found, d) // its missing keys are reported
		}
	}
	return found
}

// notARule names the other files of Elastic's tools and what to bring instead.
func notARule(tree map[string]any) string {
	locks := 0
	for _, v := range tree {
		if entry, ok := v.(map[string]any); ok && entry["sha256"] != nil && entry["rule_name"] != nil {
			locks++
		}
	}
	switch attributes, _ := tree["attributes"].(map[string]any); {
	case attributes != nil && tree["id"] != nil:
		return "a saved object, not a rule: export rules instead (Security, Rules, Export, which writes NDJSON)"
	case locks > 0:
		return "a version lock of detection-rules, not a rule: bring the files of its rules folder instead"
	case tree["rule"] == nil && tree["exceptions"] != nil && tree["metadata"] != nil:
		return "exceptions of a detections-as-code folder, not a rule: bring its rules folder alone, and write them as exceptions of podwatch"
	case tree["rule"] == nil && tree["action_connectors"] != nil:
		return "connectors of a detections-as-code folder, not a rule: bring its rules folder alone"
	}
	return ""
}

// enter judges the rule in d and enters it in the report.
func (l *loader) enter(s Source, p string, d *document) {
	dr := parseRule(d)
	dr.BuiltIn = s.builtIn
	e := &Entry{File: dr.Source, Rule: dr.Rule, Warnings: dr.warnings, source: s, path: p, draft: dr}
	var builtIn *Entry // that e replaces
	if dr.ID != "" {
		key := strings.ToLower(dr.ID)
		switch builtIn = l.byID[key]; {
		case builtIn == nil:
			l.byID[key] = e
		case builtIn.Rule.BuiltIn && !dr.BuiltIn:
			dr.inherit(builtIn.draft)
			l.byID[key] = e
		default:
			dr.mistakes = append(dr.mistakes, dr.doc.errorAt(join(dr.path, "rule_id"), "rule_id %s is already used by %s", dr.ID, builtIn.File))
			builtIn = nil
		}
	}
	slices.SortStableFunc(dr.mistakes, (*FileError).Compare)
	for _, m := range dr.mistakes {
		e.Mistakes = append(e.Mistakes, m)
	}
	e.judge(dr)
	if builtIn != nil {
		e.replace(builtIn)
	}
	sortWarnings(e.Warnings)
	l.report.Entries = append(l.report.Entries, e)
}

// replace puts e in the place of the built-in rule of its id. A rule that does not
// run, unless it is switched off, must not take the built-in one away.
func (e *Entry) replace(builtIn *Entry) {
	w := Warning{*e.draft.doc.errorAt(join(e.draft.path, "rule_id"), "replaces the built-in rule %q", builtIn.Rule.Name), "replaces"}
	switch {
	case e.Verdict != Runs && e.Verdict != Off:
		w.Msg = fmt.Sprintf("has the id of the built-in rule %q, which stays, because this one does not run", builtIn.Rule.Name)
	case e.draft.inherited:
		w.Msg += " and takes over its [podwatch] table"
	}
	if e.Verdict == Runs || e.Verdict == Off {
		builtIn.Verdict, builtIn.Reason = Replaced, "the rule of the same id in "+e.File+" takes its place"
	}
	e.Warnings = append(e.Warnings, w)
}

// judge decides what becomes of the rule.
func (e *Entry) judge(dr *draft) {
	if len(e.Mistakes) > 0 {
		e.Verdict, e.Reason = Broken, "its file has mistakes"
		return
	}
	e.Verdict, e.Reason = verdictOfKind(dr)
	if dr.query == nil {
		return
	}
	var bounded bool
	query := kql.Compile(dr.query, kql.Options{Type: FieldType})
	e.Datasets, bounded = datasetsOf(dr.query, query)
	fromQuery := bounded
	if !bounded {
		e.Datasets, bounded = datasetsOfIndex(dr.Index)
	}
	missing := slices.DeleteFunc(slices.Clone(e.Datasets), func(d string) bool { return slices.Contains(event.Datasets(), d) })
	what := strings.Join(missing, ", ")
	switch {
	case !bounded, len(e.Datasets) > 0 && len(missing) == 0:
	case len(missing) < len(e.Datasets):
		e.Warnings = append(e.Warnings, Warning{FileError{File: e.File, Msg: "reads " + what + " too, which is not collected"}, "dataset"})
	default:
		reads := "reads " + what
		if what == "" && fromQuery {
			reads = "asks for several datasets in one event"
		} else if what == "" {
			reads = "reads the indexes " + strings.Join(dr.Index, ", ")
		}
		if e.Verdict == Runs {
			e.Verdict, e.Reason = Waits, reads+", which podwatch does not collect"
		} else {
			e.Reason += "; and it " + reads + ", which podwatch does not collect"
		}
	}
	if e.Verdict != Runs {
		return
	}
	switch why := cannotMatch(dr.query, query, e.Datasets); {
	case !dr.Enabled:
		e.Verdict, e.Reason = Off, "enabled is false in its file"
	case why != "":
		e.Verdict, e.Reason = CannotMatch, why
	}
}

// unsupported types of rules, and why.
var unsupported = map[string]string{
	"esql":             "ES|QL is not evaluated",
	"eql":              "EQL is not evaluated",
	"machine_learning": "needs a machine learning job",
	"threat_match":     "needs a list of indicators to compare with",
	"saved_query":      "its query is kept in Kibana",
}

// verdictOfKind judges a rule by its type and language alone.
func verdictOfKind(dr *draft) (Verdict, string) {
	switch {
	case unsupported[dr.Type] != "":
		return Unsupported, unsupported[dr.Type]
	case dr.Language != "kuery":
		return Unsupported, "queries in " + dr.Language + " are not evaluated"
	case dr.filters:
		return Unsupported, "Kibana filters narrow its query and are not evaluated"
	case dr.Type != "query":
		return NeedsState, dr.state
	}
	return Runs, ""
}

// Count returns how many rules have each verdict, by type.
func (r *Report) Count() map[string]map[Verdict]int {
	count := map[string]map[Verdict]int{}
	for _, e := range r.Entries {
		if count[e.Rule.Type] == nil {
			count[e.Rule.Type] = map[Verdict]int{}
		}
		count[e.Rule.Type][e.Verdict]++
	}
	return count
}
