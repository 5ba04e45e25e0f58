package rule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
)

// A Warning is something in a rule file that an author should look at although
// the rule can be read.
type Warning struct {
	FileError
	Code string // unknown-key, not-honoured, value, missing-field, dataset, replaces, or one of package kql's
}

func (w Warning) String() string { return w.Error() + " [" + w.Code + "]" }

// The keys that a rule may carry and that have no meaning here: bookkeeping of
// Kibana and of the rule repository, and settings of parts that podwatch does
// not have.
var (
	unusedRuleKeys = []string{
		"id", "immutable", "rule_source", "revision", "version", "created_at", "created_by", "updated_at", "updated_by",
		"execution_summary", "outcome", "alias_target_id", "alias_purpose", "throttle", "meta", "timeline_id", "timeline_title",
		"response_actions", "output_index", "namespace", "actions", "required_fields", "related_integrations",
		"threat_mappings", "data_view_id", "timestamp_override_fallback_disabled", "saved_id",
		"threshold", "new_terms", "new_terms_fields", "history_window_start", "anomaly_threshold", "machine_learning_job_id",
		"event_category_override", "tiebreaker_field", "timestamp_field",
		"threat_query", "threat_mapping", "threat_index", "threat_language", "threat_filters", "threat_indicator_path",
		"concurrent_searches", "items_per_search",
	}
	unusedMetadataKeys = []string{
		"creation_date", "updated_date", "integration", "min_stack_comments", "promotion", "deprecation_date",
		"bypass_bbr_timing", "query_schema_validation", "os_type_list", "extended",
	}
	knownTypes      = []string{"query", "saved_query", "threshold", "new_terms", "threat_match", "eql", "esql", "machine_learning"}
	severities      = []string{"low", "medium", "high", "critical"} // ascending
	intervalPattern = regexp.MustCompile(`^[1-9][0-9]{0,5}[smhd]$`)
)

// A draft is a rule as read, with what compiling it needs and what was found.
type draft struct {
	*Rule
	doc       *document
	path      string // of the rule table: "rule" in TOML, "" in JSON
	query     *kql.Node
	routine   *kql.Node
	filters   bool   // Kibana filters narrow the query
	own       bool   // it has a [podwatch] table
	inherited bool   // its [podwatch] table is that of the built-in rule of its id
	state     string // what a threshold or new_terms rule would have to remember
	mistakes  []*FileError
	warnings  []Warning
}

// parseRule reads the rule in d. Every mistake in it is in the draft.
func parseRule(d *document) *draft {
	dr := &draft{Rule: &Rule{Source: d.file}, doc: d}
	top := newTable(dr, "", d.tree)
	t := top
	if d.toml {
		dr.path = "rule"
		if m, ok := top.table("metadata"); ok {
			if m.text("min_stack_version"); m.text("maturity") == "deprecated" {
				dr.warn(m.at("maturity"), "value", "its author has deprecated this rule")
			}
			m.known(unusedMetadataKeys...)
			m.warnUnknown()
		}
		top.known("transform")
		var ok bool
		if t, ok = top.table("rule"); !ok {
			dr.mistake("", "no [rule] table: this is not a rule file")
			return dr
		}
	}
	if _, isRule := t.get("rule_id"); !isRule && !t.has("name") && !t.has("type") && !t.has("query") {
		dr.mistake(t.path, "this is not a rule: it has no rule_id, name, type and query")
		return dr
	}
	own, hasOwn := top.table("podwatch")
	dr.own = hasOwn
	dr.readIdentity(t)
	dr.readScoring(t)
	dr.readThreat(t)
	dr.readSchedule(t)
	dr.readQuery(t)
	dr.readState(t)
	if hasOwn {
		dr.readOwn(own)
		own.warnUnknown()
	}
	t.known(unusedRuleKeys...)
	t.warnUnknown()
	if d.toml {
		top.warnUnknown()
	}
	return dr
}

func (dr *draft) mistake(path, format string, args ...any) {
	dr.mistakes = append(dr.mistakes, dr.doc.errorAt(path, format, args...))
}

func (dr *draft) warn(path, code, format string, args ...any) {
	dr.warnings = append(dr.warnings, Warning{*dr.doc.errorAt(path, format, args...), code})
}

func (dr *draft) readIdentity(t *table) {
	dr.ID = t.required("rule_id")
	if _, ok := arm.ParseGUID(dr.ID); dr.ID != "" && !ok {
		dr.warn(t.at("rule_id"), "value", "rule_id %q is not a UUID", dr.ID)
	}
	dr.Name = t.required("name")
	if first := strings.IndexFunc(dr.Name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }); first == 0 {
		dr.warn(t.at("name"), "value", "name should start with a letter or a digit")
	}
	if t.text("description") == "" {
		dr.warn(t.at("description"), "value", "no description: say what the rule finds")
	}
	if dr.Type = t.required("type"); dr.Type != "" {
		t.oneOf("type", dr.Type, knownTypes)
	}
	dr.Enabled = t.boolean("enabled", true)
	dr.Note = t.text("note")
	dr.References = t.texts("references")
	dr.FalsePositives = t.texts("false_positives")
	for _, unused := range []string{"setup", "license", "timestamp_override"} {
		t.text(unused)
	}
	for _, unused := range []string{"tags", "author"} {
		t.texts(unused)
	}
	if f, ok := t.table("investigation_fields"); ok {
		dr.Highlighted = f.texts("field_names")
		f.warnUnknown()
	}
}

func (dr *draft) readScoring(t *table) {
	dr.Severity = t.severity()
	if dr.RiskScore = t.integer("risk_score", 0, 0, 100); !t.has("risk_score") {
		t.missing("risk_score")
	}
	for _, m := range t.tables("severity_mapping") {
		dr.SeverityMapping = append(dr.SeverityMapping, SeverityOverride{Field: m.required("field"), Value: m.text("value"), Severity: m.severity()})
		m.operator()
		m.warnUnknown()
	}
	for _, m := range t.tables("risk_score_mapping") {
		dr.RiskScoreMapping = append(dr.RiskScoreMapping, m.required("field"))
		m.operator()
		m.known("value", "risk_score")
		m.warnUnknown()
	}
	block := t.text("building_block_type")
	if dr.BuildingBlock = block == "default"; block != "" && !dr.BuildingBlock {
		dr.mistake(t.at("building_block_type"), "building_block_type %q is not default", block)
	}
	if t.text("rule_name_override") != "" {
		dr.warn(t.at("rule_name_override"), "not-honoured", "rule_name_override is not honoured: alerts keep the rule's own name, never one from a log")
	}
	if s, ok := t.table("alert_suppression"); ok {
		s.suppression()
		dr.warn(t.at("alert_suppression"), "not-honoured", "alert_suppression is not honoured: every event that meets the rule raises its alert")
	}
	for _, key := range []string{"actions", "response_actions"} {
		if actions, ok := t.get(key); ok && !slices.Contains([]string{"[]", "map[]"}, fmt.Sprint(actions)) {
			dr.warn(t.at(key), "not-honoured", "%s are not honoured: podwatch delivers to its own sinks", key)
		}
	}
	if lists := t.tables("exceptions_list"); len(lists) > 0 {
		for _, l := range lists {
			l.known("id", "list_id", "type", "namespace_type")
			l.warnUnknown()
		}
		dr.warn(t.at("exceptions_list"), "not-honoured", "Elastic exception lists are not honoured: write them as exceptions of podwatch")
	}
}

func (dr *draft) readThreat(t *table) {
	for _, m := range t.tables("threat") {
		m.text("framework")
		if tactic, ok := m.table("tactic"); ok {
			dr.Tactics = appendNew(dr.Tactics, tactic.reference())
		}
		for _, technique := range m.tables("technique") {
			subs := technique.tables("subtechnique")
			dr.Techniques = appendNew(dr.Techniques, technique.reference())
			for _, sub := range subs {
				dr.Techniques = appendNew(dr.Techniques, sub.reference())
			}
		}
		m.warnUnknown()
	}
}

func appendNew(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func (dr *draft) readSchedule(t *table) {
	if s := t.text("interval"); s != "" && !intervalPattern.MatchString(s) {
		dr.mistake(t.at("interval"), "interval %q is not a number followed by s, m, h or d", s)
	}
	for _, key := range []string{"from", "to"} {
		if s := t.text(key); s != "" && !strings.HasPrefix(s, "now") {
			dr.warn(t.at(key), "value", "%s %q does not start with now", key, s)
		}
	}
	const most = 1000 // Kibana's own limit on the alerts of one run
	dr.MaxSignals = t.integer("max_signals", 100, 1, 1<<31-1)
	if dr.MaxSignals > most {
		dr.warn(t.at("max_signals"), "value", "max_signals is taken as %d, the most that Kibana allows", most)
		dr.MaxSignals = most
	}
}

func (dr *draft) readQuery(t *table) {
	dr.Query = t.text("query")
	dr.Index = t.texts("index")
	if len(dr.Index) > 0 && t.text("data_view_id") != "" {
		dr.mistake(t.at("data_view_id"), "index and data_view_id exclude each other")
	}
	dr.Language = t.text("language")
	for _, f := range t.tables("filters") {
		if meta, ok := f.table("meta"); !ok || !meta.boolean("disabled", false) {
			dr.filters = true
		}
	}
	if dr.Language == "" {
		switch dr.Type {
		case "eql", "esql":
			dr.Language = dr.Type
		case "machine_learning":
		default:
			dr.Language = "kuery"
		}
	}
	if dr.Language != "" {
		t.oneOf("language", dr.Language, []string{"kuery", "lucene", "eql", "esql"})
	}
	if dr.Language != "kuery" || dr.Type == "saved_query" {
		return
	}
	if dr.Query == "" && !dr.filters {
		t.missing("query")
		return
	}
	dr.query = dr.parseKQL(t.at("query"), "query", dr.Query)
}

// parseKQL parses the query at path; a mistake is reported at its place in the
// file.
func (dr *draft) parseKQL(path, key, query string) *kql.Node {
	n, mistake := ParseQuery(query, func(offset int) (line, column int) { return dr.doc.within(path, query, offset) })
	if mistake != nil {
		mistake.File, mistake.Msg = dr.doc.file, key+": "+mistake.Msg
		dr.mistakes = append(dr.mistakes, mistake)
	}
	return n
}

// ParseQuery parses a query that is part of a file, in which within returns the place
// of an offset in the query. A mistake, nil if there is none, lacks its File.
func ParseQuery(query string, within func(offset int) (line, column int)) (*kql.Node, *FileError) {
	n, err := kql.ParseIn(query, within)
	var syntax *kql.SyntaxError
	if !errors.As(err, &syntax) {
		return n, nil
	}
	return nil, &FileError{Line: syntax.Line, Column: syntax.Column, Msg: syntax.Msg}
}

// FieldType returns the type of a field where Elastic stores it, for package kql.
func FieldType(field string) kql.Type {
	t, err := kql.ParseType(event.Type(field))
	if err != nil {
		return kql.TypeUnknown
	}
	return t
}

// readState reads what rules of the kinds that remember would remember. Elastic
// spells new_terms in two ways: nested in its TOML, flat in Kibana's JSON.
func (dr *draft) readState(t *table) {
	switch dr.Type {
	case "threshold":
		m, ok := t.table("threshold")
		if !ok {
			if !t.has("threshold") {
				dr.mistake(t.at("threshold"), "threshold is missing")
			}
			return
		}
		by := slices.DeleteFunc(m.texts("field"), func(s string) bool { return s == "" })
		dr.state = fmt.Sprintf("counts events%s and alerts from %d on", list(" by ", by), m.integer("value", 1, 1, 1<<31-1))
		for _, c := range m.tables("cardinality") {
			dr.state += fmt.Sprintf(", with %d different values of %s", c.integer("value", 1, 0, 1<<31-1), c.required("field"))
			c.warnUnknown()
		}
		m.warnUnknown()
	case "new_terms":
		fields, window := t.texts("new_terms_fields"), t.text("history_window_start")
		if m, ok := t.table("new_terms"); ok {
			m.known("field")
			fields = m.texts("value")
			for _, h := range m.tables("history_window_start") {
				h.known("field")
				window = h.text("value")
				h.warnUnknown()
			}
			m.warnUnknown()
		}
		if len(fields) == 0 {
			dr.mistake(t.at("new_terms"), "new_terms names no fields")
			return
		}
		dr.state = "remembers the values" + list(" of ", fields)
		if window != "" {
			dr.state += " since " + window
		}
	}
}

func list(before string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return before + strings.Join(names, ", ")
}

// readOwn reads the keys that podwatch adds to Elastic's.
func (dr *draft) readOwn(t *table) {
	dr.FoldCase = t.texts("fold_case")
	dr.Daily = t.texts("daily")
	dr.Routine = t.text("routine")
	if dr.Routine != "" {
		dr.routine = dr.parseKQL(t.at("routine"), "routine", dr.Routine)
	}
	dr.Cut = t.boolean("cut", false)
}

// inherit takes over the [podwatch] table of a built-in rule of the same id: a copy
// of a rule without it must see no less.
func (dr *draft) inherit(builtIn *draft) {
	if dr.own || !builtIn.own {
		return
	}
	dr.inherited = true
	dr.FoldCase, dr.Routine, dr.routine = builtIn.FoldCase, builtIn.Routine, builtIn.routine
	dr.Cut, dr.Daily = builtIn.Cut, builtIn.Daily
}
