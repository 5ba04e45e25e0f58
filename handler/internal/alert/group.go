package alert

import (
	"cmp"
	"slices"
	"strings"
)

// A Group is alerts that belong on one card, at least one.
type Group struct {
	Key    string
	Alerts []*Alert
	Total  int // number of alerts; of a storm's summary only the first are in Alerts
	Groups int // how many groups a summary is about; 0 or 1: one
}

// Groups gathers alerts of the same rule, caller and cluster. Through one account
// that impersonates others, each of those is a caller. An alert about
// podwatch itself is a group of its own. The groups of the highest risk come
// first, of those the smallest: the rare one must not be behind the many.
func Groups(alerts []*Alert) []Group {
	var groups []Group
	place := map[string]int{}
	for _, a := range alerts {
		key := a.groupKey()
		i, seen := place[key]
		if !seen {
			i = len(groups)
			place[key] = i
			groups = append(groups, Group{Key: key})
		}
		groups[i].Alerts = append(groups[i].Alerts, a)
		groups[i].Total++
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.risk(), a.risk()), cmp.Compare(a.Total, b.Total))
	})
	return groups
}

// risk is the highest risk score in the group.
func (g Group) risk() int {
	score := 0
	for _, a := range g.Alerts {
		score = max(score, a.RiskScore)
	}
	return score
}

func (a *Alert) groupKey() string {
	if a.Own() {
		return a.AlertId
	}
	who := cmp.Or(a.CallerId, a.CallerName, a.CallerAppId)
	return strings.Join([]string{a.RuleId, strings.ToLower(who), strings.ToLower(a.CallerActedAs), strings.ToLower(cmp.Or(a.ClusterId, a.ResourceId))}, "\x00")
}
