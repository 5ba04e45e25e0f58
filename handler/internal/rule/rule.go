// Package rule reads detection rules and finds those that an event meets.
//
// Rule files are Elastic's: TOML as its repository keeps them, or JSON as
// Kibana exports it. [Load] compiles everything once, finds every mistake in
// every file, and accounts for each rule it read: it runs, or its [Verdict] and
// reason are why not. A [Set] is immutable; [Set.Match] cannot fail, does no I/O
// and may be called from many goroutines.
//
// A rule that counts or remembers (threshold, new_terms) would implement
// evaluator: its KQL filter plus a memory handed to Load, which the owner of
// that memory fills before a batch and stores after it. Match and its callers
// would stay as they are.
package rule

// A Rule is one detection as its file describes it, as far as podwatch uses that. It
// must not be changed.
type Rule struct {
	ID, Name string
	Type     string   // query, threshold, new_terms, eql, esql, machine_learning, threat_match or saved_query
	Language string   // kuery, lucene, eql, esql; "" for machine_learning
	Query    string   // as written
	Routine  string   // KQL: a match that also meets it is routine; "" for none
	FoldCase []string // fields whose values compare ignoring case
	Cut      bool     // matches a cut or withheld event unless Query is certainly false, see Match.Uncertain
	Daily    []string // fields: one alert a day for each cluster and values of these; nil for one for each event

	Severity            string // low, medium, high or critical; see Match for the one in force
	RiskScore           int    // 0 to 100
	SeverityMapping     []SeverityOverride
	RiskScoreMapping    []string // fields whose number replaces RiskScore
	MaxSignals          int      // alerts that Elastic would raise in one run; podwatch groups instead of dropping
	BuildingBlock       bool     // recorded, not notified
	Enabled             bool
	Tactics, Techniques []string // "TA0040 Impact", "T1489 Service Stop"; sub-techniques are among the techniques
	Note                string   // Markdown for the analyst
	References          []string
	FalsePositives      []string
	Highlighted         []string // fields that an analyst should see first

	Index   []string // index patterns; they bound the rule when its query names no dataset
	Source  string   // the file it came from
	BuiltIn bool
}

// A SeverityOverride sets Severity when the event has Value in Field.
type SeverityOverride struct{ Field, Value, Severity string }
