package alert

import (
	"fmt"
	"time"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/version"
)

// OwnRuleID is the rule id of alerts about podwatch itself, such as a feed that
// fell silent, and OwnSource their Source.
const (
	OwnRuleID = "podwatch-feed"
	OwnSource = "podwatch"
)

// Unreadable is the rule of the alert about audit records that a client made so
// long that Azure truncated them before the verb.
var Unreadable = &rule.Rule{
	ID: "podwatch-unreadable", Name: "A client made an audit record unreadable",
	Severity: "high", RiskScore: 73, Tactics: []string{"TA0005 Defense Evasion"}, Techniques: []string{"T1562 Impair Defenses"},
	Note: "Azure truncates an audit record after 16 KiB. What precedes the verb in it, such as Audit-ID and URI, is the client's to choose: " +
		"this record is so long that what was done is not in it, and it may have been a deletion. The record and all others of the kind " +
		"in this hour are in the blob container unreadable-messages. Compare the audit id and the time with the API server's metrics and the " +
		"events of the cluster, and look for pods that were replaced at that time.",
}

// An OwnFact is something about podwatch that a person must know.
type OwnFact struct {
	Severity string    // low or medium
	What     string    // the title
	Note     string    // what to do about it
	Since    time.Time // zero: now
	Key      string    // names the fact: the same key is the same alert
}

// NewOwn makes the alert for a fact about podwatch. now is when it is raised.
func NewOwn(f OwnFact, now time.Time) *Alert {
	a := &Alert{
		TimeGenerated: now.UTC(), EventTime: f.Since.UTC(), AlertId: Key(OwnRuleID, f.Key),
		RuleId: OwnRuleID, RuleName: f.What, Severity: f.Severity, RiskScore: map[string]int{"low": 21, "medium": 47}[f.Severity],
		Source: OwnSource, Operation: f.What, CallerKind: caller.KindUnknown,
		PodwatchVersion: version.String(),
	}
	if f.Since.IsZero() {
		a.EventTime = a.TimeGenerated
	}
	a.Note(f.Note)
	a.capValues()
	return a
}

// Own reports an alert about podwatch itself: it is about no caller, cluster or
// resource.
func (a *Alert) Own() bool { return a.Source == OwnSource }

// Bare makes the alert for a finding whose record could not be read again, or
// that could not be completed: the rule's texts, the record, and the reason.
func Bare(f Finding, now time.Time, reason string) *Alert {
	a := ofRule(f, now)
	a.EventTime, a.CallerKind = a.TimeGenerated, caller.KindUnknown
	if record, err := f.Record.Plain(nil); err == nil {
		a.Event = record
	}
	a.Note(fmt.Sprintf("podwatch could not complete this alert (%s); the record is in Event", reason))
	a.capValues()
	return a
}
