package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
	"podwatch/handler/internal/version"
)

// Kinds of pod deletion, in DeletionKind.
const (
	DeletionSingle     = "delete"
	DeletionCollection = "deletecollection"
	DeletionEviction   = "eviction"
)

// OutcomeUnknown is the Outcome of a deletion whose record does not show
// whether it happened.
const OutcomeUnknown = "unknown"

// New builds the alert for a finding, whose event is ev. now is when podwatch
// raises it.
func New(f Finding, ev *event.Event, who caller.Caller, now time.Time) *Alert {
	resource, about := ev.Resource(), targetOf(ev)
	a := ofRule(f, now)
	a.EventTime, a.Source, a.Event = ev.Time().UTC(), ev.Dataset(), ev.Raw()
	a.Operation, a.Outcome, a.CorrelationId = ev.Operation(), ev.Outcome(), ev.CorrelationID()
	a.ResourceId, a.SubscriptionId, a.ResourceGroup = ev.ResourceID(), resource.SubscriptionID, resource.ResourceGroup
	a.ClusterId, a.ClusterName, a.ClusterKind = resource.ClusterID, resource.ClusterName, resource.ClusterKind
	a.Namespace, a.Pod, a.DeletionKind = about.namespace, about.pod, deletionKind(ev)
	a.WorkloadKind, a.WorkloadName, a.Node = about.workloadKind, about.workload, about.node
	a.setCaller(who)
	if audit := ev.Audit(); audit != nil {
		a.Operation = auditOperation(audit)
		a.Outcome = auditOutcome(audit)
		a.CorrelationId = audit.ID
		if !audit.Received.IsZero() {
			a.EventTime = audit.Received.UTC()
		}
	}
	a.Notes = slices.Concat(ev.Notes(), f.Notes, who.Notes)
	if audit := ev.Audit(); audit != nil && a.Outcome == OutcomeUnknown && audit.Code >= 500 {
		a.Note(fmt.Sprintf("the request ended with status %d: what it deleted before that stays deleted, and how many is not known", audit.Code))
	}
	if a.DeletionKind != "" && !f.Routine && ev.Forced() {
		a.Note(NoteForced)
	}
	if scaled, known := ev.Lookup("podwatch.scaled_to_zero"); f.Uncertain && scaled == nil && !known {
		a.Note("the body of the request was withheld or cut: whether it set the replicas to 0 is not known")
	}
	if f.Pods > 0 {
		pods := "pods"
		if f.Pods == 1 {
			pods = "pod"
		}
		a.Note(fmt.Sprintf("Kubernetes deleted %d %s of it in the same batch, as routine", f.Pods, pods))
	}
	if audit := ev.Audit(); audit != nil && audit.User.Name == "aksService" && a.Operation == "delete namespaces" {
		a.Note("AKS deletes managed namespaces by this account: who asked for it is the caller of managedNamespaces/delete in the activity log, an alert of its own")
	}
	if a.EventTime.IsZero() {
		a.EventTime = a.TimeGenerated
		a.Note("the time shown is when podwatch read the record") // the event's own note has the reason
	}
	a.capValues()
	return a
}

// ofRule is an alert with the rule's part of a finding.
func ofRule(f Finding, now time.Time) *Alert {
	return &Alert{
		TimeGenerated: now.UTC(), AlertId: f.ID, RuleId: f.Rule.ID, RuleName: f.Rule.Name, Severity: f.Severity, RiskScore: f.RiskScore,
		Tactics: f.Rule.Tactics, Techniques: f.Rule.Techniques, Routine: f.Routine, BuildingBlock: f.Rule.BuildingBlock,
		PodwatchVersion: version.String(),
	}
}

// NoteForced is on an alert about pods that were given no time to shut down.
const NoteForced = "deleted by force: without a grace period, so that the pod could not shut down"

// Forced reports whether the pods were deleted without a grace period.
func (a *Alert) Forced() bool { return slices.Contains(a.Notes, NoteForced) }

// deletionKinds has the requests that delete pods: verb, resource and subresource.
var deletionKinds = map[[3]string]string{
	{"create", "evictionrequests", ""}: DeletionEviction,
	{"create", "pods", "eviction"}:     DeletionEviction,
	{"delete", "pods", ""}:             DeletionSingle,
	{"deletecollection", "pods", ""}:   DeletionCollection,
}

// deletionKind returns how pods were deleted, "" where the event is about
// something else.
func deletionKind(ev *event.Event) string {
	if audit := ev.Audit(); audit != nil {
		return deletionKinds[[3]string{audit.Verb, audit.Object.Resource, audit.Object.Subresource}]
	}
	if strings.EqualFold(ev.Operation(), "Microsoft.Kubernetes/connectedClusters/pods/delete") {
		return DeletionSingle
	}
	return ""
}

// auditOperation names what was asked of the API server, because the
// operationName of every kube-audit record is the same.
func auditOperation(audit *event.KubeAudit) string {
	resource := audit.Object.Resource
	if audit.Object.Subresource != "" {
		resource += "/" + audit.Object.Subresource
	}
	return strings.TrimSpace(audit.Verb + " " + resource)
}

func auditOutcome(audit *event.KubeAudit) string {
	switch {
	case audit.Code >= 200 && audit.Code < 300:
		return "success"
	case audit.Verb == "deletecollection" && audit.Code >= 500:
		return OutcomeUnknown // it deletes one after the other, and what is deleted stays deleted
	case audit.Code >= 400:
		return "failure"
	case audit.Code == 0:
		return OutcomeUnknown // behind the cut, or a forwarder left it out
	}
	return ""
}

// ID names what happened: the same deletion gives the same ID however often,
// by whichever diagnostic setting and in whatever spelling its record arrives.
//
// kube-audit: cluster, else the resource, audit id, verb, URI, user and the time at
// which the API server received the request, since the client may choose all others.
// Activity log: correlation id, operation, resource, result and time. Anything
// else: the whole record.
func ID(ruleID string, ev *event.Event) string {
	parts := []string{ruleID, ev.Dataset()}
	switch audit := ev.Audit(); {
	case audit != nil:
		where := cmp.Or(ev.Resource().ClusterKey, strings.ToLower(ev.ResourceID()))
		parts = append(parts, where, audit.ID, audit.Verb, audit.RequestURI, audit.User.Name, received(ev))
	case ev.CorrelationID() != "" && !ev.Time().IsZero() && ev.Dataset() == event.ActivityLogs:
		parts = append(parts, ev.CorrelationID(), strings.ToLower(ev.Operation()), strings.ToLower(ev.ResourceID()), ev.Outcome(), strconv.FormatInt(ev.Time().UnixNano(), 10))
	default:
		parts = append(parts, canonical(ev))
	}
	return digest(parts...)
}

// Key is the ID of an alert of podwatch's own rule about something: the same twice
// is one alert.
func Key(ruleID string, about ...string) string {
	return digest(append([]string{ruleID}, about...)...)
}

// DailyID names all events of a day (in UTC) of which a rule raises one alert: those
// of one cluster with the same values in the rule's Daily fields.
func DailyID(r *rule.Rule, ev *event.Event) string {
	parts := []string{r.ID, "daily", ev.Resource().ClusterKey, ev.Time().UTC().Format("2006-01-02")}
	for _, field := range r.Daily {
		value, _ := ev.Lookup(field)
		parts = append(parts, fmt.Sprint(value))
	}
	return digest(parts...)
}

// digest is 32 hexadecimal digits of a SHA-256 over parts.
func digest(parts ...string) string {
	var text []byte
	for _, part := range parts {
		text = strconv.AppendInt(text, int64(len(part)), 10)
		text = append(append(append(text, ':'), part...), ',')
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// received is when the API server received a request, in microseconds. It is
// the same in kube-audit and kube-audit-admin. Where that is cut off, the time of
// the record and the text before the cut take its place.
func received(ev *event.Event) string {
	if at := ev.Audit().Received; !at.IsZero() {
		return strconv.FormatInt(at.UnixMicro(), 10)
	}
	properties, _ := ev.Member("properties").(map[string]any)
	text, ok := properties["log"].(string)
	if !ok {
		text = canonical(ev)
	}
	return strconv.FormatInt(ev.Time().UnixNano(), 10) + " " + text
}

// canonical is the record with sorted keys and without insignificant blanks.
func canonical(ev *event.Event) string {
	text, err := json.Marshal(ev.Record())
	if err != nil {
		return string(ev.Raw())
	}
	return string(text)
}

// Note adds a sentence to Notes, once.
func (a *Alert) Note(sentence string) {
	if !slices.Contains(a.Notes, sentence) {
		a.Notes = append(a.Notes, sentence)
	}
}

// SetCaller replaces what the record alone told of the caller by what the
// directory knows. Of the notes that the first caller had, those that no longer
// hold are dropped.
func (a *Alert) SetCaller(first, who caller.Caller) {
	a.setCaller(who)
	a.Notes = slices.DeleteFunc(slices.Clone(a.Notes), func(n string) bool {
		return slices.Contains(first.Notes, n) && !slices.Contains(who.Notes, n)
	})
	for _, n := range who.Notes {
		a.Note(n)
	}
	a.capValues()
}

func (a *Alert) setCaller(who caller.Caller) {
	a.CallerKind, a.CallerName, a.CallerId, a.CallerActedAs = who.Kind, who.Name, who.ID, who.ActedAs
	a.CallerAppId, a.CallerAppName, a.CallerIp = who.AppID, who.AppName, who.IP
	a.CallerRole, a.CallerOwnerResource, a.UserAgent = who.Role, who.OwnerResource, who.UserAgent
}
