package exception_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/exception"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

// parse compiles one exception given by the lines below its name.
func parse(t *testing.T, lines ...string) *exception.Set {
	t.Helper()
	set, err := exception.Parse("test.yaml", []byte(file(lines...)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func file(lines ...string) string {
	return "exceptions:\n  - name: test\n    reason: because\n    owner: me@example.com\n    " + strings.Join(lines, "\n    ") + "\n"
}

func at(t *testing.T, moment string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// deletion is an alert about a pod, at noon of a Monday.
func deletion(t *testing.T) *alert.Alert {
	return &alert.Alert{
		RuleId: "83a1931d-8136-46fc-b7b9-2db4f639e014", RuleName: "Azure Kubernetes Pods Deleted", Severity: "medium",
		EventTime: at(t, "2026-11-09T12:00:00Z"), Source: "azure.activitylogs",
		ClusterName: "arc-plant-07", ClusterKind: "arc", ResourceGroup: "RG-EDGE-PROD",
		Namespace: "line-control", Pod: "scanner-1", DeletionKind: "delete",
		CallerKind: "user", CallerName: "dana.ortiz@example.com", CallerId: "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2", CallerIp: "203.0.113.24",
		ResourceTags: map[string]string{"Environment": "Dev"},
		Timeline: []alert.TimelineEntry{{
			Time: at(t, "2026-11-09T11:50:00Z"), Operation: "changed a node pool", OperationName: "MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AGENTPOOLS/WRITE",
			Target: "pool1", Outcome: "success", Caller: "dana.ortiz@example.com", Relation: "cluster",
		}},
	}
}

func TestSuppressByMatch(t *testing.T) {
	fields := map[string]any{"event": map[string]any{"outcome": "success"}}
	for name, test := range map[string]struct {
		match string
		want  bool
	}{
		"by caller, ignoring case":          {`caller.name: "Dana.Ortiz@EXAMPLE.com"`, true},
		"by another caller":                 {`caller.name: "someone@example.com"`, false},
		"by network":                        {`caller.ip: "203.0.113.0/24"`, true},
		"by another network":                {`caller.ip: "198.51.100.0/24"`, false},
		"by tag, its name in lower case":    {`resource.tags.environment: dev`, true},
		"by a tag that is not there":        {`resource.tags.team: *`, false},
		"by namespace and cluster":          {`kubernetes.namespace: line-* and cluster.name: arc-plant-07`, true},
		"by a field of the event":           {`event.outcome: success`, true},
		"event fields keep Elastic's case":  {`event.outcome: Success`, false},
		"by the time of the event":          {`alert.time >= "2026-11-09"`, true},
		"near-miss: one half does not hold": {`kubernetes.namespace: line-control and cluster.kind: aks`, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(t, "match: >-", "  "+test.match).Suppress(deletion(t), kql.Map(fields)) != ""
			if got != test.want {
				t.Errorf("suppressed is %t, want %t", got, test.want)
			}
		})
	}
}

func TestSuppressGivesTheNameAndLeavesFieldsAlone(t *testing.T) {
	fields := map[string]any{}
	if got := parse(t, "match: 'cluster.kind: arc'").Suppress(deletion(t), kql.Map(fields)); got != "test" {
		t.Errorf("Suppress = %q, want the exception's name", got)
	}
	if len(fields) != 0 {
		t.Errorf("the event's fields were changed: %v", fields)
	}
}

func TestRulesAndExpiryLimitAnException(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		want  bool
	}{
		"this rule by id":                      {[]string{"rules: [83a1931d-8136-46fc-b7b9-2db4f639e014]"}, true},
		"this rule by name":                    {[]string{"rules: [Azure Kubernetes Pods Deleted]"}, true},
		"another rule":                         {[]string{"rules: [other]"}, false},
		"last day":                             {[]string{"expires: 2026-11-09"}, true},
		"the day before":                       {[]string{"expires: 2026-11-08"}, false},
		"a moment, one second before":          {[]string{"expires: 2026-11-09T11:59:59Z"}, false},
		"last day in a zone that is ahead":     {[]string{"expires: 2026-11-09 Pacific/Auckland"}, false},
		"last day in a zone that is behind":    {[]string{"expires: 2026-11-08 Pacific/Honolulu"}, false},
		"a moment in a zone":                   {[]string{"expires: 2026-11-09 13:00 Europe/Amsterdam"}, false},
		"a moment in a zone, one minute later": {[]string{"expires: 2026-11-09 13:01 Europe/Amsterdam"}, true},
		"this rule by id in capitals":          {[]string{"rules: [83A1931D-8136-46FC-B7B9-2DB4F639E014]"}, true},
		"this rule by name with a blank":       {[]string{"rules: ['azure kubernetes pods deleted ']"}, true},
		"one window that covers it":            {[]string{"schedule: {from: 2026-11-09T12:00:00Z, until: 2026-11-09T12:00:01Z}"}, true},
		"one window that ends as it happens":   {[]string{"schedule: {from: 2026-11-09T11:00:00Z, until: 2026-11-09T12:00:00Z}"}, false},
		"recurring window that begins with it": {[]string{"schedule: {cron: '0 12 * * MON', duration: 1h, time_zone: UTC}"}, true},
		"recurring window that is over":        {[]string{"schedule: {cron: '0 11 * * MON', duration: 1h, time_zone: UTC}"}, false},
		"recurring window of another day":      {[]string{"schedule: {cron: '0 12 * * TUE', duration: 1h, time_zone: UTC}"}, false},
		"window over midnight":                 {[]string{"schedule: {cron: '0 20 * * SUN', duration: 20h, time_zone: UTC}"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			set := parse(t, append([]string{"match: 'cluster.kind: arc'"}, test.lines...)...)
			if got := set.Suppress(deletion(t), kql.Map(nil)) != ""; got != test.want {
				t.Errorf("suppressed is %t, want %t", got, test.want)
			}
		})
	}
}

// In Amsterdam clocks go from 02:00 to 03:00 on 28 March 2027 and from 03:00 back
// to 02:00 on 31 October 2027.
func TestScheduleAcrossClockChanges(t *testing.T) {
	for name, test := range map[string]struct {
		cron, duration, moment string
		want                   bool
	}{
		"winter: 22:00 is 21:00 UTC":                                 {"0 22 * * *", "1h", "2027-01-10T21:00:00Z", true},
		"winter: not an hour early":                                  {"0 22 * * *", "1h", "2027-01-10T20:59:59Z", false},
		"summer: 22:00 is 20:00 UTC":                                 {"0 22 * * *", "1h", "2027-07-10T20:30:00Z", true},
		"summer: not at the winter hour":                             {"0 22 * * *", "1h", "2027-07-10T21:00:00Z", false},
		"forward: 01:30 plus 2h lasts to 04:30 local":                {"30 1 * * *", "2h", "2027-03-28T02:29:59Z", true},
		"forward: and no longer":                                     {"30 1 * * *", "2h", "2027-03-28T02:30:00Z", false},
		"forward: a start that does not exist is not lost":           {"30 2 * * *", "1h", "2027-03-28T01:45:00Z", true},
		"back: 02:30 begins at the first of two":                     {"30 2 * * *", "20m", "2027-10-31T00:35:00Z", true},
		"back: and not again at the second":                          {"30 2 * * *", "20m", "2027-10-31T01:35:00Z", false},
		"back: a window across the change has its length":            {"30 1 * * *", "2h", "2027-10-31T01:29:59Z", true},
		"back: a window across the change ends after that length":    {"30 1 * * *", "2h", "2027-10-31T01:30:00Z", false},
		"the day after a change, the clock on the wall counts again": {"30 2 * * *", "1h", "2027-03-29T00:30:00Z", true},
	} {
		t.Run(name, func(t *testing.T) {
			set := parse(t, "match: 'cluster.kind: arc'",
				"schedule: {cron: '"+test.cron+"', duration: "+test.duration+", time_zone: Europe/Amsterdam}")
			a := deletion(t)
			a.EventTime = at(t, test.moment)
			if got := set.Suppress(a, kql.Map(nil)) != ""; got != test.want {
				t.Errorf("at %s covered is %t, want %t", test.moment, got, test.want)
			}
		})
	}
}

func TestPrecededBy(t *testing.T) {
	const scaling = "operation: Microsoft.ContainerService/managedClusters/agentPools/write"
	for name, test := range map[string]struct {
		precededBy string
		change     func(*alert.Alert)
		want       bool
	}{
		"same cluster, in time":              {"{match: '" + scaling + "', same: cluster, within: 15m}", nil, true},
		"same cluster, too long ago":         {"{match: '" + scaling + "', same: cluster, within: 5m}", nil, false},
		"asked for the caller, was another":  {"{match: '" + scaling + "', same: caller, within: 15m}", nil, false},
		"both relations fit either question": {"{match: '" + scaling + "', same: caller, within: 15m}", func(a *alert.Alert) { a.Timeline[0].Relation = "both" }, true},
		"an experiment of the subscription":  {"{match: '" + scaling + "', same: subscription, within: 15m}", func(a *alert.Alert) { a.Timeline[0].Relation = "subscription" }, true},
		"one that is not of the cluster":     {"{match: '" + scaling + "', same: cluster, within: 15m}", func(a *alert.Alert) { a.Timeline[0].Relation = "subscription" }, false},
		"another operation":                  {"{match: 'operation: other', same: cluster, within: 15m}", nil, false},
		"after the deletion, not before":     {"{match: '" + scaling + "', same: cluster, within: 15m}", func(a *alert.Alert) { a.Timeline[0].Time = a.EventTime.Add(time.Second) }, false},
		"no timeline is no explanation":      {"{match: '" + scaling + "', same: cluster, within: 15m}", func(a *alert.Alert) { a.Timeline = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := deletion(t)
			if test.change != nil {
				test.change(a)
			}
			set := parse(t, "match: 'cluster.kind: arc'", "preceded_by: "+test.precededBy)
			if got := set.Suppress(a, kql.Map(nil)) != ""; got != test.want {
				t.Errorf("suppressed is %t, want %t", got, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no owner":                        {"exceptions:\n  - {name: a, reason: r, match: 'a: b'}\n", "owner is missing"},
		"no reason":                       {"exceptions:\n  - {name: a, owner: o, match: 'a: b'}\n", "reason is missing"},
		"no match":                        {"exceptions:\n  - {name: a, reason: r, owner: o}\n", "match is missing"},
		"an unknown key":                  {"exceptions:\n  - {name: a, reason: r, owner: o, match: 'a: b', until: 2027-01-01}\n", "until"},
		"a key near a known one":          {file("mach: 'a: b'"), "is match meant?"},
		"a key twice":                     {file("match: 'a: b'", "match: 'a: c'"), "match"},
		"a list where text belongs":       {file("match: ['a: b']"), "test.yaml:5:12: exception \"test\": match must be text, not a list"},
		"text after the end":              {file("match: 'cluster.name: b'") + "...\nexceptions: []\n", "test.yaml:6:1: text follows the end"},
		"no UTF-8":                        {file("match: 'cluster.name: \xff'"), "byte 0xff is not UTF-8"},
		"a misspelt value below not":      {file("match: 'cluster.name: a and not cluster.kind: akz'"), `below "not" this suppresses more`},
		"a misspelt field below not":      {file("match: 'cluster.name: a and not (caller.name: x and clustr.name: b)'"), `is cluster.name meant?; below "not"`},
		"a look-alike below not":          {file("match: 'cluster.name: a and not kubernetes.namespace: kube-\u0455ystem'"), "mixes Latin letters"},
		"a zero-width space below not":    {file("match: 'cluster.name: a and not kubernetes.namespace: x\u200b'"), "a zero-width space"},
		"a star in quotes below not":      {file(`match: 'cluster.name: a and not kubernetes.namespace: "db-*"'`), `below "not"`},
		"a match that always holds":       {file("match: 'rule.id: *'"), "fits everything"},
		"an object that always exists":    {file("match: 'caller: *'"), "fits everything"},
		"a zone beside a window":          {file("match: 'cluster.name: b'", "schedule: {from: 2026-11-09T12:00:00Z, until: 2026-11-09T13:00:00Z, time_zone: UTC}"), "time_zone has no effect"},
		"a zone that a machine may have":  {file("match: 'cluster.name: b'", "schedule: {cron: '0 22 * * SAT', duration: 1h, time_zone: posixrules}"), "not a time zone"},
		"the same name twice":             {"exceptions:\n  - {name: a, reason: r, owner: o, match: 'a: b'}\n  - {name: a, reason: r, owner: o, match: 'a: b'}\n", "taken"},
		"a query that does not parse":     {file("match: 'a: b c: d'"), "match:"},
		"an expiry that is no day":        {file("match: 'a: b'", "expires: tomorrow"), "expires"},
		"a cron of six fields":            {file("match: 'a: b'", "schedule: {cron: '0 0 22 * * SAT', duration: 1h, time_zone: UTC}"), "five fields"},
		"an interval instead of times":    {file("match: 'a: b'", "schedule: {cron: '@every 1h', duration: 1h, time_zone: UTC}"), "times of day"},
		"a schedule without a zone":       {file("match: 'a: b'", "schedule: {cron: '0 22 * * SAT', duration: 1h}"), "time_zone is missing"},
		"a zone that does not exist":      {file("match: 'a: b'", "schedule: {cron: '0 22 * * SAT', duration: 1h, time_zone: Europe/Nowhere}"), "not a time zone"},
		"a window longer than a week":     {file("match: 'a: b'", "schedule: {cron: '0 22 * * SAT', duration: 169h, time_zone: UTC}"), "up to 168h"},
		"an empty schedule":               {file("match: 'a: b'", "schedule: {}"), "give cron"},
		"a window that ends first":        {file("match: 'a: b'", "schedule: {from: 2026-11-09T12:00:00Z, until: 2026-11-09T11:00:00Z}"), "not after"},
		"a lookback beyond the timeline":  {file("match: 'a: b'", "preceded_by: {match: 'operation: x', same: cluster, within: 2h}"), "25m"},
		"preceded_by without a relation":  {file("match: 'a: b'", "preceded_by: {match: 'operation: x', within: 5m}"), "same is missing"},
		"text that is not YAML":           {"exceptions: [", "test.yaml:1:13"},
		"every mistake of one, not first": {"exceptions:\n  - {name: a, match: 'a: b'}\n", "owner is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := exception.Parse("test.yaml", []byte(test.text), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLint(t *testing.T) {
	now := at(t, "2026-11-09T12:00:00Z")
	for name, test := range map[string]struct {
		lines []string
		want  string // "" for none
	}{
		"a good one":                   {[]string{"match: 'cluster.name: x'", "expires: 2027-01-01"}, ""},
		"an expired one":               {[]string{"match: 'cluster.name: x'", "expires: 2026-01-01"}, "expired on 2026-01-01"},
		"one without an end":           {[]string{"match: 'cluster.name: x'"}, "never expires"},
		"one that fits everything":     {[]string{"match: 'not cluster.name: *'", "expires: 2027-01-01"}, "nothing is known"},
		"a field that does not exist":  {[]string{"match: 'callr.name: x'", "expires: 2027-01-01"}, `"callr.name": is caller.name meant?`},
		"a place in folded text":       {[]string{"match: >-", "  cluster.name: x and", "  callr.name: y", "expires: 2027-01-01"}, `test.yaml:7:7: exception "test": match: there is no field`},
		"a user agent with the caller": {[]string{"match: 'caller.user_agent: x* and caller.name: dana'", "expires: 2027-01-01"}, ""},
		"a user agent or the caller":   {[]string{"match: 'caller.user_agent: x* or caller.name: dana'", "expires: 2027-01-01"}, "the client chooses caller.user_agent"},
		"addresses that were claimed":  {[]string{"match: 'azure.platformlogs.properties.log.sourceIPs: \"10.0.0.4\"'", "expires: 2027-01-01"}, "the client chooses azure.platformlogs.properties.log.sourceIPs"},
		"labels of a pod":              {[]string{"match: 'cluster.name: x and azure.platformlogs.properties.log.requestObject.metadata.labels.app: y'", "expires: 2027-01-01"}, "the client chooses"},
		"a regular expression":         {[]string{"match: 'kubernetes.namespace: db.*'", "expires: 2027-01-01"}, ".* begins with a dot"},
		"an alternative with a bar":    {[]string{"match: 'kubernetes.namespace: a|b'", "expires: 2027-01-01"}, "write (a or b)"},
		"an outcome in other case":     {[]string{"match: 'cluster.name: x and event.outcome: ok'", "expires: 2027-01-01"}, "event.outcome is never"},
		"an event's field is no fault": {[]string{"match: 'azure.activitylogs.category: x'", "expires: 2027-01-01"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			warnings := lines(parse(t, test.lines...).Exceptions()[0].Lint(now, true))
			if (test.want == "") != (warnings == "") || !strings.Contains(warnings, test.want) {
				t.Errorf("warnings are %q, want %q", warnings, test.want)
			}
		})
	}
}

// Who may write tags may not use them to say that a deletion is expected.
func TestTagsThatWereJustWrittenAreNotKnown(t *testing.T) {
	set := parse(t, "match: 'resource.tags.environment: dev'")
	for name, test := range map[string]struct {
		operation, relation string
		want                bool
	}{
		"something else":                   {"Microsoft.ContainerService/managedClusters/agentPools/write", "cluster", true},
		"tags of the cluster":              {"Microsoft.Resources/tags/write", "cluster", false},
		"tags of the cluster, same caller": {"MICROSOFT.RESOURCES/TAGS/WRITE", "both", false},
		"the cluster itself":               {"Microsoft.ContainerService/managedClusters/write", "cluster", false},
		"tags of another resource":         {"Microsoft.Resources/tags/write", "caller", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := deletion(t)
			a.Timeline[0].OperationName, a.Timeline[0].Relation = test.operation, test.relation
			if got := set.Suppress(a, kql.Map{}) != ""; got != test.want {
				t.Errorf("suppressed is %t, want %t", got, test.want)
			}
		})
	}
}

func TestWindowsAndShare(t *testing.T) {
	e := parse(t, "match: 'cluster.kind: arc'", "schedule: {cron: '30 1 * * *', duration: 2h, time_zone: Europe/Amsterdam}").Exceptions()[0]
	var got []string
	for _, w := range e.Windows(at(t, "2027-03-27T01:00:00Z"), 3) {
		got = append(got, w.Start.Format("01-02 15:04")+" to "+w.End.Format("15:04"))
	}
	want := "03-27 01:30 to 03:30, 03-28 01:30 to 04:30, 03-29 01:30 to 03:30" // on the 28th clocks go forward
	if strings.Join(got, ", ") != want {
		t.Errorf("windows are %s, want %s", strings.Join(got, ", "), want)
	}
	if share := e.Share(at(t, "2027-01-01T00:00:00Z")); share < 0.0830 || share > 0.0837 {
		t.Errorf("the share is %f, want two hours of a day", share)
	}
}

// The fields in the documentation are those of the code.
func TestDocumentationListsTheFields(t *testing.T) {
	text, err := os.ReadFile("../../../docs/exceptions.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile("`(?:rule|alert|caller|cluster|resource|kubernetes)\\.[a-z_.*]+`").FindAllString(string(text), -1) {
		documented[strings.Trim(name, "`")] = true
	}
	for _, name := range exception.AlertFields() {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is documented and does not exist", name)
	}
}

func lines(mistakes []*rule.FileError) string {
	var all []string
	for _, m := range mistakes {
		all = append(all, m.Error())
	}
	return strings.Join(all, "\n")
}

// A mistake in the form of the file names its exception like any other.
func TestMistakesInTheFormNameTheirException(t *testing.T) {
	t.Parallel()
	const first = "exceptions:\n  - name: first\n    reason: r\n    owner: o\n    match: 'cluster.kind: arc'\n    rules:\n      - a\n"
	for name, test := range map[string]struct{ text, want string }{
		"a merge key":                   {first + "  - name: second\n    <<: {a: b}\n", `test.yaml:9:5: exception "second": merge keys`},
		"a tag, before the name":        {first + "  - match: !x y\n    name: 'second' # to come\n", `test.yaml:8:12: exception "second": tags`},
		"an anchor in the first":        {strings.Replace(first, "reason: r", "reason: &r r", 1) + "  - name: second\n", `exception "first": anchors`},
		"an unquoted match":             {first + "  - name: second\n    match: cluster.kind: arc\n", `exception "second": `},
		"what is before all exceptions": {"x: !y z\n" + first, "test.yaml:1:4: tags"},
		"a second document has no name": {first + "---\nexceptions:\n", "test.yaml:8:1: a second YAML document"},
		"an exception that has no name": {first + "  - match: !x y\n", "test.yaml:8:12: tags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := exception.Parse("test.yaml", []byte(test.text), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
