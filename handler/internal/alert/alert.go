// Package alert defines the one thing that podwatch delivers: an alert.
//
// An [Alert] is a row of Log Analytics, and the same object is printed on the
// console, put into the queue and returned by replay: its JSON member names are
// column names and are fixed. [ID] names what happened, not when podwatch saw
// it, so a record that arrives twice makes the same alert twice. [Alert.JSON]
// never exceeds [MaxSize]; what had to be cut is said in Notes.
package alert

import (
	"encoding/json"
	"time"
)

// MaxSize is the largest alert in bytes of JSON. A storage queue message holds
// 64 KiB as stored and base64 coding leaves 49,152 bytes of it.
const MaxSize = 48 << 10

// An Alert is one detection: a rule matched an event. Empty strings mean "not
// known" or "does not apply"; Notes has the difference where it matters.
type Alert struct {
	TimeGenerated time.Time `json:"TimeGenerated"` // when podwatch raised the alert
	AlertId       string    `json:"AlertId"`       // see ID
	RuleId        string    `json:"RuleId"`
	RuleName      string    `json:"RuleName"`
	Severity      string    `json:"Severity"` // low, medium, high or critical
	RiskScore     int       `json:"RiskScore"`
	Tactics       []string  `json:"Tactics"`    // "TA0040 Impact"
	Techniques    []string  `json:"Techniques"` // "T1489 Service Stop"

	EventTime      time.Time `json:"EventTime"` // when it happened, by the record
	Source         string    `json:"Source"`    // azure.activitylogs, azure.platformlogs, ...
	Operation      string    `json:"Operation"`
	Outcome        string    `json:"Outcome"`
	ResourceId     string    `json:"ResourceId"`
	ClusterId      string    `json:"ClusterId"`
	ClusterName    string    `json:"ClusterName"`
	ClusterKind    string    `json:"ClusterKind"` // aks, arc or fleet
	SubscriptionId string    `json:"SubscriptionId"`
	ResourceGroup  string    `json:"ResourceGroup"`
	Namespace      string    `json:"Namespace"`
	Pod            string    `json:"Pod"`
	DeletionKind   string    `json:"DeletionKind"` // delete, deletecollection or eviction

	CallerKind          string `json:"CallerKind"` // see package caller
	CallerName          string `json:"CallerName"`
	CallerId            string `json:"CallerId"`
	CallerAppId         string `json:"CallerAppId"`
	CallerAppName       string `json:"CallerAppName"`
	CallerIp            string `json:"CallerIp"`
	CallerRole          string `json:"CallerRole"`
	CallerOwnerResource string `json:"CallerOwnerResource"` // Azure resource that a managed identity belongs to
	UserAgent           string `json:"UserAgent"`
	CorrelationId       string `json:"CorrelationId"` // activity log: correlation id; kube-audit: audit id

	Suppressed   bool   `json:"Suppressed"`
	SuppressedBy string `json:"SuppressedBy"` // name of the exception
	Routine      bool   `json:"Routine"`      // one of Kubernetes' own controllers at its usual work

	ResourceTags map[string]string `json:"ResourceTags"` // tags of the cluster
	Timeline     []TimelineEntry   `json:"Timeline"`     // what happened before, oldest first
	Links        Links             `json:"Links"`
	Notes        []string          `json:"Notes"` // what podwatch could not find out, had to cut, or wants read with caution
	Event        json.RawMessage   `json:"Event"` // the original record, bounded

	PodwatchVersion string `json:"PodwatchVersion"` // the build that raised the alert

	WorkloadKind string `json:"WorkloadKind"` // Deployment, Job, ...; AgentPool
	WorkloadName string `json:"WorkloadName"`
	Node         string `json:"Node"` // that was deleted

	CallerActedAs string `json:"CallerActedAs"` // account in whose name the caller made the request, if that is not its own

	// BuildingBlock: the rule's alerts are recorded only. It is not
	// in the JSON; the ledger knows which sinks do not get the alert.
	BuildingBlock bool `json:"-"`
}

// A TimelineEntry is one operation near the alert: by the same caller, or on
// the same cluster.
type TimelineEntry struct {
	Time          time.Time `json:"Time"`
	Operation     string    `json:"Operation"`     // in words: "pulled the cluster admin credential"
	OperationName string    `json:"OperationName"` // as Azure names it
	Target        string    `json:"Target"`        // name of the resource
	Outcome       string    `json:"Outcome"`
	Caller        string    `json:"Caller"`
	Relation      string    `json:"Relation"` // caller, cluster, both, or subscription: why the entry is here
}

// Links lead to pages of the Azure portal. They are built from identifiers that
// were checked to be such, never from free text of a record.
type Links struct {
	Cluster     string `json:"Cluster,omitempty"`
	ActivityLog string `json:"ActivityLog,omitempty"`
	Query       string `json:"Query,omitempty"`
}
