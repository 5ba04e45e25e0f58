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
	"unicode/utf8"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/rule"
)

// Kinds of pod deletion, in DeletionKind.
const (
	DeletionSingle     = "delete"
	DeletionCollection = "deletecollection"
	DeletionEviction   = "eviction"
)

// maxValue caps one text of an alert in bytes. Names in Azure and Kubernetes
// are far shorter; what is longer was made to be long.
const maxValue = 1024

// New builds the alert for a match. now is when podwatch raises it.
func New(m rule.Match, ev *event.Event, who caller.Caller, now time.Time) *Alert {
	resource := ev.Resource()
	a := &Alert{
		TimeGenerated: now.UTC(),
		AlertId:       ID(m.Rule.ID, ev),
		RuleId:        m.Rule.ID,
		RuleName:      m.Rule.Name,
		Severity:      m.Severity,
		RiskScore:     m.RiskScore,
		Tactics:       m.Rule.Tactics,
		Techniques:    m.Rule.Techniques,

		EventTime:      ev.Time().UTC(),
		Source:         ev.Dataset(),
		Operation:      ev.Operation(),
		Outcome:        ev.Outcome(),
		ResourceId:     ev.ResourceID(),
		ClusterId:      resource.ClusterID,
		ClusterName:    resource.ClusterName,
		ClusterKind:    resource.ClusterKind,
		SubscriptionId: resource.SubscriptionID,
		ResourceGroup:  resource.ResourceGroup,
		Namespace:      resource.Namespace,
		Pod:            resource.Pod,
		DeletionKind:   deletionKind(ev),
		CorrelationId:  ev.CorrelationID(),

		CallerKind:          who.Kind,
		CallerName:          who.Name,
		CallerId:            who.ID,
		CallerAppId:         who.AppID,
		CallerAppName:       who.AppName,
		CallerIp:            who.IP,
		CallerRole:          who.Role,
		CallerOwnerResource: who.OwnerResource,
		UserAgent:           who.UserAgent,

		Routine: m.Routine,
		Event:   ev.Raw(),
	}
	if audit := ev.Audit(); audit != nil {
		a.Operation = auditOperation(audit)
		a.Outcome = auditOutcome(audit)
		a.Namespace = cmp.Or(audit.Object.Namespace, a.Namespace)
		if audit.Object.Resource == "pods" {
			a.Pod = audit.Object.Name
		}
		a.CorrelationId = audit.ID
		if !audit.Received.IsZero() {
			a.EventTime = audit.Received.UTC()
		}
	}
	a.Notes = append(append(a.Notes, ev.Notes()...), who.Notes...)
	if a.EventTime.IsZero() {
		a.EventTime = a.TimeGenerated
		a.note("the record carries no readable time; EventTime is when podwatch saw it")
	}
	a.capValues()
	return a
}

// deletionKind says how pods were deleted, or nothing where the event is about
// something else.
func deletionKind(ev *event.Event) string {
	if audit := ev.Audit(); audit != nil {
		switch {
		case audit.Object.Resource != "pods":
			return ""
		case audit.Object.Subresource == "eviction" && audit.Verb == "create":
			return DeletionEviction
		case audit.Object.Subresource != "":
			return ""
		case audit.Verb == "delete":
			return DeletionSingle
		case audit.Verb == "deletecollection":
			return DeletionCollection
		}
		return ""
	}
	if strings.EqualFold(ev.Operation(), "Microsoft.Kubernetes/connectedClusters/pods/delete") {
		return DeletionSingle
	}
	return ""
}

// auditOperation names what was asked of the API server, because the
// operationName of every kube-audit record is the same and says nothing.
func auditOperation(audit *event.Audit) string {
	resource := audit.Object.Resource
	if audit.Object.Subresource != "" {
		resource += "/" + audit.Object.Subresource
	}
	return strings.TrimSpace(audit.Verb + " " + resource)
}

func auditOutcome(audit *event.Audit) string {
	switch {
	case audit.Code >= 200 && audit.Code < 300:
		return "success"
	case audit.Code >= 400:
		return "failure"
	}
	return ""
}

// ID names what happened: the same deletion gives the same ID however often,
// by whichever diagnostic setting and in whatever spelling its record arrives.
// It is 32 hexadecimal digits of a SHA-256.
//
// kube-audit: cluster, audit id, verb, URI and user, since a client may choose
// the audit id. Activity log: correlation id, operation, resource, result and
// time. Anything else: the whole record.
func ID(ruleID string, ev *event.Event) string {
	parts := []string{ruleID, ev.Dataset()}
	switch {
	case ev.Audit() != nil && ev.Audit().ID != "":
		parts = append(parts, ev.Resource().ClusterKey, ev.Audit().ID, ev.Audit().Verb, ev.Audit().RequestURI, ev.Audit().User.Name)
	case ev.CorrelationID() != "" && !ev.Time().IsZero() && ev.Dataset() == event.ActivityLogs:
		parts = append(parts, ev.CorrelationID(), strings.ToLower(ev.Operation()), strings.ToLower(ev.ResourceID()), ev.Outcome(), strconv.FormatInt(ev.Time().UnixNano(), 10))
	default:
		parts = append(parts, canonical(ev))
	}
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s,", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
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
func (a *Alert) Note(sentence string) { a.note(sentence) }

func (a *Alert) note(sentence string) {
	for _, n := range a.Notes {
		if n == sentence {
			return
		}
	}
	a.Notes = append(a.Notes, sentence)
}

// capValues cuts over-long texts and notes which.
func (a *Alert) capValues() {
	for _, v := range []struct {
		name string
		text *string
	}{
		{"Operation", &a.Operation}, {"ResourceId", &a.ResourceId}, {"ClusterId", &a.ClusterId}, {"ClusterName", &a.ClusterName},
		{"SubscriptionId", &a.SubscriptionId}, {"ResourceGroup", &a.ResourceGroup}, {"Outcome", &a.Outcome},
		{"Namespace", &a.Namespace}, {"Pod", &a.Pod}, {"CallerName", &a.CallerName}, {"CallerId", &a.CallerId},
		{"CallerAppId", &a.CallerAppId}, {"CallerAppName", &a.CallerAppName}, {"CallerIp", &a.CallerIp}, {"CallerRole", &a.CallerRole},
		{"CallerOwnerResource", &a.CallerOwnerResource}, {"UserAgent", &a.UserAgent}, {"CorrelationId", &a.CorrelationId},
	} {
		if n := len(*v.text); n > maxValue {
			*v.text = cut(*v.text, maxValue)
			a.note(fmt.Sprintf("%s was cut from %d to %d bytes", v.name, n, maxValue))
		}
	}
	for i, n := range a.Notes {
		a.Notes[i] = cut(n, maxValue)
	}
}

// cut shortens text to at most size bytes, at a character's end, marked by an
// ellipsis.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	const mark = "…"
	end := size - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// GroupKey is the same for alerts that belong on one card: the same rule, the
// same caller, the same cluster.
func (a *Alert) GroupKey() string {
	who := cmp.Or(a.CallerId, a.CallerName, a.CallerAppId)
	return strings.Join([]string{a.RuleId, strings.ToLower(who), strings.ToLower(cmp.Or(a.ClusterId, a.ResourceId))}, "\x00")
}

// Group gathers alerts by [Alert.GroupKey], in the order of first appearance.
func Group(alerts []*Alert) [][]*Alert {
	var groups [][]*Alert
	place := map[string]int{}
	for _, a := range alerts {
		key := a.GroupKey()
		i, seen := place[key]
		if !seen {
			i = len(groups)
			place[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], a)
	}
	return groups
}

// SetCaller replaces what the record alone told of the caller by what the
// directory knows. Of the notes that the first caller had, those that no longer
// hold are dropped.
func (a *Alert) SetCaller(first, who caller.Caller) {
	a.CallerKind, a.CallerName, a.CallerId = who.Kind, who.Name, who.ID
	a.CallerAppId, a.CallerAppName, a.CallerIp = who.AppID, who.AppName, who.IP
	a.CallerRole, a.CallerOwnerResource, a.UserAgent = who.Role, who.OwnerResource, who.UserAgent
	a.Notes = slices.DeleteFunc(slices.Clone(a.Notes), func(n string) bool {
		return slices.Contains(first.Notes, n) && !slices.Contains(who.Notes, n)
	})
	for _, n := range who.Notes {
		a.note(n)
	}
	a.capValues()
}
