package pipeline

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/export"
	"podwatch/handler/internal/scan"
)

// A look around must not cost more than what it is for: at most so many records are
// parsed, and so many bytes of messages taken apart once more.
const (
	maxOthers    = 100
	maxLookAgain = 1 << 20
)

// What the surroundings make entries of in a cluster's audit log: a change, or
// what looks like an intrusion, of something that tells about pods. Most of the
// log is neither, and is told by its text.
var (
	tellingVerbs     = []string{"create", "update", "patch", "delete", "deletecollection", "exec", "attach", "secrets"}
	tellingResources = []string{
		"deployments", "statefulsets", "daemonsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs",
		"nodes", "namespaces", "pods", "rolebindings", "clusterrolebindings", "secrets", "events",
	}
)

// lookAround adds to d.events records that were passed over: those that share
// their caller or cluster with an alert: in the messages of the candidates first,
// then in others.
func (d *detection) lookAround(candidates []*candidate) {
	defer func() {
		// Which of them was found first must not matter.
		slices.SortFunc(d.events, func(a, b *event.Event) int {
			return cmp.Or(a.Time().Compare(b.Time()), bytes.Compare(a.Raw(), b.Raw()))
		})
	}()
	related := d.related(candidates)
	if related == nil {
		return
	}
	telling := d.telling()
	parsed := 0
	want := func(raw []byte) bool {
		return parsed < maxOthers && !d.scanner.Hit(raw) && related.Hit(raw) && telling.hit(raw)
	}
	see := func(message []byte) {
		if parsed >= maxOthers {
			return
		}
		d.split.Split(message, export.Limits{Want: want})
		for _, record := range d.split.Records {
			if parsed++; parsed > maxOthers {
				return
			}
			// What cannot be read was passed over before, and still is.
			if ev, err := event.Read(record.JSON, 0); err == nil {
				d.keep(ev)
			}
		}
	}
	near := messagesOf(candidates)
	again := 0
	for n, i := range nearFirst(near, len(d.in.Messages)) {
		body, err := d.in.Body(i)
		if again += len(body); again > maxLookAgain && n > 0 {
			break
		}
		if err == nil {
			see(body)
		}
	}
	if d.in.Others != nil {
		// A message may hold records of several logs, and so tells less.
		d.in.Others(near, func(raw []byte) bool { return parsed < maxOthers && related.Hit(raw) }, see)
	}
}

// nearFirst returns the numbers below n, those of near first.
func nearFirst(near []int, n int) []int {
	all := slices.Clone(near)
	for i := range n {
		if _, found := slices.BinarySearch(near, i); !found {
			all = append(all, i)
		}
	}
	return all
}

// messagesOf are the messages in which candidates stand, in order.
func messagesOf(candidates []*candidate) []int {
	var messages []int
	for _, c := range candidates {
		messages = append(messages, c.message)
	}
	slices.Sort(messages)
	return slices.Compact(messages)
}

// related finds records that share their caller or cluster with the alert of one
// of the candidates; it is nil when none wants to know.
func (d *detection) related(candidates []*candidate) *scan.Scanner {
	if d.scanner == nil {
		return nil // everything was parsed before
	}
	var names []scan.Literal
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			names = append(names, scan.Literal{Text: s})
		}
	}
	for _, c := range candidates {
		a := c.alert
		if a.Routine {
			continue
		}
		add(a.CallerName)
		add(a.CallerId)
		add(a.CallerAppId)
		add(groupOf(a.ClusterId))
	}
	if len(names) == 0 {
		return nil
	}
	return scan.New(names)
}

// telling finds records that may have a place in a timeline.
type telling struct{ audit, verbs, resources *scan.Scanner }

func newTelling() telling {
	return telling{scan.New([]scan.Literal{{Text: "kube-audit"}}), wholeWords(tellingVerbs), wholeWords(tellingResources)}
}

func (t telling) hit(raw []byte) bool {
	return !t.audit.Hit(raw) || t.verbs.Hit(raw) && t.resources.Hit(raw)
}

// wholeWords finds words in quotes; "system:nodes" is none.
func wholeWords(words []string) *scan.Scanner {
	var lits []scan.Literal
	for _, w := range words {
		lits = append(lits, scan.Literal{Text: `"` + w + `"`})
	}
	return scan.New(lits)
}

// groupOf is the resource group of a cluster: it covers the cluster, its nodes'
// group, which has the name in its own, and deployments. An id without one
// stands for itself.
func groupOf(clusterID string) string {
	parts := strings.Split(strings.Trim(clusterID, "/"), "/")
	for i, part := range parts[:len(parts)-1] {
		if strings.EqualFold(part, "resourceGroups") {
			return parts[i+1]
		}
	}
	return parts[len(parts)-1]
}
