package alert_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/jsontext"
	"podwatch/handler/internal/rule"
)

const ruleID = "83a1931d-8136-46fc-b7b9-2db4f639e014"

var now = time.Date(2026, 11, 9, 8, 20, 0, 0, time.UTC)

// parse reads the first record of a sample, changed by pairs of old and new.
func parse(t *testing.T, name string, oldnew ...string) *event.Event {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "records", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Records []json.RawMessage }
	if err := json.Unmarshal([]byte(strings.NewReplacer(oldnew...).Replace(string(text))), &body); err != nil {
		t.Fatal(err)
	}
	ev, err := event.Read(body.Records[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// newFinding is a match of the event.
func newFinding(ev *event.Event) alert.Finding {
	m := rule.Match{Rule: &rule.Rule{ID: ruleID, Name: "Pods deleted"}, Severity: "medium", RiskScore: 47}
	return alert.Finding{Match: m, ID: alert.ID(ruleID, ev), Record: jsontext.Text{Raw: ev.Raw()}}
}

func newAlert(ev *event.Event) *alert.Alert {
	return alert.New(newFinding(ev), ev, caller.From(ev), now)
}

func TestIDIsTheSameForTheSameDeletionOnly(t *testing.T) {
	activity := alert.ID(ruleID, parse(t, "act-match-user"))
	audit := alert.ID(ruleID, parse(t, "kube-delete-force"))
	for name, test := range map[string]struct {
		got  string
		want string
		same bool
	}{
		"exported by another setting, resource in lower case": {
			alert.ID(ruleID, parse(t, "act-match-user", "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS", "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourcegroups")), activity, true},
		"the host rewrote the time":              {alert.ID(ruleID, parse(t, "act-match-user", "22.5310481Z", "22.5310481+00:00")), activity, true},
		"another moment":                         {alert.ID(ruleID, parse(t, "act-match-user", "22.5310481Z", "23.5310481Z")), activity, false},
		"another operation of the deployment":    {alert.ID(ruleID, parse(t, "act-match-user", "PODS/DELETE", "PODS/WRITE")), activity, false},
		"another pod in the same deployment":     {alert.ID(ruleID, parse(t, "act-match-user", "K2X9P", "K2X9Q")), activity, false},
		"another rule on the same record":        {alert.ID("other", parse(t, "act-match-user")), activity, false},
		"kube-audit beside kube-audit-admin":     {alert.ID(ruleID, parse(t, "kube-delete-force", "kube-audit-admin", "kube-audit")), audit, true},
		"audit id chosen again a moment later":   {alert.ID(ruleID, parse(t, "kube-delete-force", "30.402113Z", "30.402114Z")), audit, false},
		"later in the log, same audit id":        {alert.ID(ruleID, parse(t, "kube-delete-force", "30.4418829Z", "59.4418829Z")), audit, true},
		"audit id chosen again for another user": {alert.ID(ruleID, parse(t, "kube-delete-force", "dana.ortiz@example.com", "robin@example.com")), audit, false},
		"audit id chosen again for another pod":  {alert.ID(ruleID, parse(t, "kube-delete-force", "q8w2z", "q8w2y")), audit, false},
		"same audit id in another cluster":       {alert.ID(ruleID, parse(t, "kube-delete-force", "AKS-SHOP-01", "AKS-SHOP-02")), audit, false},
	} {
		if (test.got == test.want) != test.same {
			t.Errorf("%s: ids equal is %t, want %t", name, test.got == test.want, test.same)
		}
	}
	if len(activity) != 32 || strings.Trim(activity, "0123456789abcdef") != "" {
		t.Errorf("an id is %q, want 32 hexadecimal digits", activity)
	}
}

func TestNewTellsHowPodsWereDeleted(t *testing.T) {
	for name, want := range map[string][3]string{
		"act-match-user":               {"delete", "line-control", "scanner-6f9c7d8b54-k2x9p"},
		"kube-delete-force":            {"delete", "shop", "cart-7c9d5b6f48-q8w2z"},
		"kube-eviction-user-drain":     {"eviction", "shop", "cart-7c9d5b6f48-q8w2z"},
		"kube-deletecollection-user":   {"deletecollection", "shop", ""},
		"kube-noise-exec":              {"", "shop", "cart-7c9d5b6f48-q8w2z"},
		"noise-05-aks-cluster-write":   {"", "", ""},
		"act-cluster-scope-resourceid": {"delete", "line-control", "scanner-6f9c7d8b54-k2x9p"}, // from properties.entity
	} {
		a := newAlert(parse(t, name))
		if got := [3]string{a.DeletionKind, a.Namespace, a.Pod}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestJSONRoundTripsAndWritesEmptyListsAsSuch(t *testing.T) {
	a := newAlert(parse(t, "act-match-user"))
	text := a.JSON()
	got, err := alert.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(got.JSON())); diff != "" {
		t.Errorf("written, read and written again (-first +second):\n%s", diff)
	}
	for _, want := range []string{`"Timeline":[]`, `"ResourceTags":{}`, `"Links":{}`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if bytes.ContainsAny(text, "\n") {
		t.Error("an alert is not one line")
	}
}

// A column that is added goes to the end: readers of older rows rely on the order.
// TestTimesHaveTheResolutionOfAColumn: a datetime column has seven fraction digits,
// and the alert itself keeps its times.
func TestTimesHaveTheResolutionOfAColumn(t *testing.T) {
	at := time.Date(2026, 11, 9, 8, 14, 22, 531048199, time.UTC)
	a := &alert.Alert{TimeGenerated: at, EventTime: at, Timeline: []alert.TimelineEntry{{Time: at}}}
	text := string(a.JSON())
	if n := strings.Count(text, `"2026-11-09T08:14:22.5310481Z"`); n != 3 {
		t.Errorf("%d of three times have seven digits: %s", n, text)
	}
	if !a.TimeGenerated.Equal(at) || !a.EventTime.Equal(at) || !a.Timeline[0].Time.Equal(at) {
		t.Errorf("the alert has changed: %+v", a)
	}
}

func TestNewColumnsAreTheLastMembers(t *testing.T) {
	a := newAlert(parse(t, "act-match-user"))
	if text := string(a.JSON()); !strings.HasSuffix(text, `,"PodwatchVersion":"devel","WorkloadKind":"","WorkloadName":"","Node":"","CallerActedAs":""}`) {
		t.Errorf("the alert ends with %s", text[max(0, len(text)-120):])
	}
}

func TestParseRefusesWhatIsNoAlert(t *testing.T) {
	for _, text := range []string{"", "x", "{}", `{"AlertId":"1"}`, "[]"} {
		if _, err := alert.Parse([]byte(text)); err == nil {
			t.Errorf("Parse(%q) takes it", text)
		}
	}
}

// Column names that Log Analytics keeps for itself.
var reserved = []string{"id", "type", "title", "tenantid", "uniqueid", "_resourceid", "_subscriptionid"}

func TestMembersAreFitForColumns(t *testing.T) {
	for field := range reflect.TypeFor[alert.Alert]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue // not in the row
		}
		if name != field.Name {
			t.Errorf("member %q of field %s: the column and the field are to have one name", name, field.Name)
		}
		if len(name) > 45 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%q is no column name", name)
		}
		for _, r := range reserved {
			if strings.EqualFold(name, r) {
				t.Errorf("%q is reserved", name)
			}
		}
	}
}

func TestJSONFitsWhateverTheRecordHolds(t *testing.T) {
	for name, filler := range map[string]string{
		"plain text":         "abcdefgh",
		"quotes":             `\"\"\"\"`,
		"control characters": `\u0001\u0002`,
		"wide characters":    "日本語",
		"markup":             "<a href=x>&",
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1 << 10, 40 << 10, 48 << 10, 100 << 10, 1 << 20} {
				huge := strings.Repeat(filler, size/len(filler)+1)
				a := newAlert(parse(t, "act-match-user", "Dana Ortiz", huge))
				for range 50 {
					a.Timeline = append(a.Timeline, alert.TimelineEntry{Operation: strings.Repeat("x", 500)})
				}
				text := a.JSON()
				if len(text) > alert.MaxSize {
					t.Errorf("%d bytes from a record of %d", len(text), size)
				}
				got, err := alert.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				if got.AlertId != a.AlertId || got.CallerName != a.CallerName {
					t.Error("what identifies the alert was cut")
				}
				if marked := strings.Contains(strings.Join(got.Notes, "\n"), "original record was cut"); marked != (!bytes.Equal(got.Event, compact(t, a.Event))) {
					t.Errorf("size %d: the record is cut without a note, or noted without a cut: %q", size, got.Notes)
				}
			}
		})
	}
}

// TestJSONFitsWhateverAnAlertHolds: each text is bounded by what it takes as JSON.
func TestJSONFitsWhateverAnAlertHolds(t *testing.T) {
	for name, filler := range map[string]string{
		"control characters": "\x01", "no UTF-8": "\xff\xfe", "line separators": "\u2028", "quotes": `"\`, "letters": "a",
	} {
		t.Run(name, func(t *testing.T) {
			huge := strings.Repeat(filler, 2<<10)
			a := newAlert(parse(t, "kube-delete-force"))
			v := reflect.ValueOf(a).Elem()
			for i := range v.NumField() {
				switch f := v.Field(i); {
				case slices.Contains([]string{"AlertId", "Source", "ClusterKind", "DeletionKind", "CallerKind", "PodwatchVersion"}, v.Type().Field(i).Name):
					// podwatch's own words
				case f.Kind() == reflect.String:
					f.SetString(huge)
				case f.Type() == reflect.TypeFor[[]string]():
					f.Set(reflect.ValueOf(slices.Repeat([]string{huge}, 50)))
				}
			}
			a.Event = []byte(strings.Repeat(huge, 32))
			a.ResourceTags = map[string]string{"x": huge}
			a.SetCaller(caller.Caller{}, caller.Caller{Name: huge, ID: huge, AppName: huge, Notes: []string{huge}})
			text := a.JSON()
			if len(text) > alert.MaxSize {
				t.Errorf("%d bytes", len(text))
			}
			got, err := alert.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Join(got.Notes, "\n")
			for _, want := range []string{"resource tags were omitted", "notes were omitted", "texts of the rule were truncated", "original record was cut"} {
				if !strings.Contains(notes, want) {
					t.Errorf("no note of %q", want)
				}
			}
		})
	}
}

// TestARecordStaysAnObjectWhereTheTimelineMakesRoom.
func TestARecordStaysAnObjectWhereTheTimelineMakesRoom(t *testing.T) {
	a := newAlert(parse(t, "act-match-user", "Dana Ortiz", strings.Repeat("x", 20<<10)))
	for range 80 {
		a.Timeline = append(a.Timeline, alert.TimelineEntry{Operation: strings.Repeat("x", 500)})
	}
	got, err := alert.Parse(a.JSON())
	if err != nil || len(got.Timeline) > 0 || !bytes.Equal(got.Event, compact(t, a.Event)) {
		t.Errorf("%d entries, event %.40s, %v", len(got.Timeline), got.Event, err)
	}
}

func compact(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOverlongNamesAreCutWithANote(t *testing.T) {
	a := newAlert(parse(t, "kube-delete-force", "kubectl/v1.31.2", strings.Repeat("ü", 5000)))
	if len(a.UserAgent) > 1024 || !strings.HasSuffix(a.UserAgent, "…") {
		t.Errorf("the user agent has %d bytes", len(a.UserAgent))
	}
	if !strings.Contains(strings.Join(a.Notes, "\n"), "UserAgent was cut") {
		t.Errorf("notes are %q", a.Notes)
	}
}

func TestARecordWithoutTimeSaysSo(t *testing.T) {
	a := newAlert(parse(t, "act-match-user", `"time"`, `"moment"`))
	want := []string{"the record has no time", "the time shown is when podwatch read the record"}
	if !a.EventTime.Equal(now) || !slices.Equal(a.Notes, want) {
		t.Errorf("EventTime is %s, notes %q", a.EventTime, a.Notes)
	}
}

// TestGroups: the highest risk first, of those the smallest. Alerts about podwatch
// itself are not gathered.
func TestGroups(t *testing.T) {
	one := func(rule, who, cluster string, risk int) *alert.Alert {
		return &alert.Alert{RuleId: rule, CallerId: who, ClusterId: cluster, AlertId: rule + who + cluster, RiskScore: risk}
	}
	own := func(key string) *alert.Alert {
		return alert.NewOwn(alert.OwnFact{Key: key, What: "No records from " + key, Severity: "low"}, now)
	}
	as := func(who string) *alert.Alert {
		a := one("r", "proxy", "/c", 1)
		a.CallerActedAs = who
		return a
	}
	alerts := []*alert.Alert{
		as("dana"), as("lee"), as("Dana"), one("r", "a", "/c", 47), one("r", "b", "/c", 47), one("r", "A", "/C", 47), one("s", "a", "/c", 21),
		own("x"), one("r", "a", "/d", 47), one("s", "a", "/c", 73), own("y"),
	}
	var got []string
	for _, g := range alert.Groups(alerts) {
		if g.Total != len(g.Alerts) {
			t.Errorf("group %q has %d alerts and a total of %d", g.Key, len(g.Alerts), g.Total)
		}
		got = append(got, fmt.Sprintf("%d %s", g.Total, strings.Join([]string{g.Alerts[0].RuleId, g.Alerts[0].CallerId, g.Alerts[0].ClusterId}, " ")))
	}
	if diff := cmp.Diff([]string{"2 s a /c", "1 r b /c", "1 r a /d", "2 r a /c", "1 podwatch-feed  ", "1 podwatch-feed  ", "1 r proxy /c", "2 r proxy /c"}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestAFindingReadsItsEventAgain(t *testing.T) {
	ev := parse(t, "kube-delete-force")
	f := newFinding(ev)
	quoted := jsontext.AppendQuote(nil, ev.Raw())
	f.Record = jsontext.Text{Raw: quoted[1 : len(quoted)-1], Depth: 1}
	again, err := f.Event()
	if err != nil || alert.ID(ruleID, again) != f.ID {
		t.Fatalf("got another event, %v", err)
	}
	clear(quoted)
	if !bytes.Equal(again.Raw(), ev.Raw()) {
		t.Error("the event shares the memory of the batch")
	}
	f.Nth = 1
	if _, err := f.Event(); err == nil {
		t.Error("a record of one event has a second")
	}
	f.Record = jsontext.Text{Raw: []byte(`\x`), Depth: 1}
	if _, err := f.Event(); err == nil {
		t.Error("a malformed text was read")
	}
}

func TestNewKeepsWhatWasRepaired(t *testing.T) {
	ev := parse(t, "act-match-user")
	f := newFinding(ev)
	f.Notes = []string{"the record was mended: a comma"}
	f.Routine, f.Rule.BuildingBlock = true, true
	a := alert.New(f, ev, caller.From(ev), now)
	if !strings.Contains(strings.Join(a.Notes, "\n"), f.Notes[0]) || !a.Routine || !a.BuildingBlock || a.AlertId != f.ID {
		t.Errorf("alert %s, routine %t, building block %t, notes %q", a.AlertId, a.Routine, a.BuildingBlock, a.Notes)
	}
}

// TestBare: an alert that could not be completed has the identity that its finding
// has, so that it is not delivered twice.
func TestBare(t *testing.T) {
	ev := parse(t, "act-match-user")
	f := newFinding(ev)
	a := alert.Bare(f, now, "a panic")
	got, err := alert.Parse(a.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if got.AlertId != f.ID || got.RuleId != ruleID || got.RuleName != "Pods deleted" || got.Severity != "medium" || got.RiskScore != 47 || !got.EventTime.Equal(now) {
		t.Errorf("the alert is %+v", got)
	}
	if !bytes.Equal(got.Event, compact(t, ev.Raw())) || !strings.Contains(strings.Join(got.Notes, "\n"), "a panic") {
		t.Errorf("event %.60s, notes %q", got.Event, got.Notes)
	}
	f.Record = jsontext.Text{Raw: []byte(`\x`), Depth: 1}
	if got, err := alert.Parse(alert.Bare(f, now, "x").JSON()); err != nil || got.AlertId != f.ID {
		t.Errorf("of a record that cannot be unquoted: %v", err)
	}
}

// TestNewOwn: a fact has one identity however often it is found.
func TestNewOwn(t *testing.T) {
	fact := alert.OwnFact{Key: "silent", What: "No records from x", Note: "Look there.", Severity: "medium", Since: now.Add(-time.Hour)}
	a, again := alert.NewOwn(fact, now), alert.NewOwn(fact, now.Add(time.Hour))
	if !a.Own() || a.AlertId != again.AlertId || a.RiskScore != 47 || a.RuleName != fact.What || !a.EventTime.Equal(fact.Since) || len(a.Notes) != 1 {
		t.Errorf("the alert is %+v", a)
	}
	fact.Key, fact.Since = "heard", time.Time{}
	if other := alert.NewOwn(fact, now); other.AlertId == a.AlertId || !other.EventTime.Equal(now) {
		t.Errorf("another fact is alert %s of %s", other.AlertId, other.EventTime)
	}
	if newAlert(parse(t, "act-match-user")).Own() {
		t.Error("an alert about a deletion is one about podwatch")
	}
}

func TestLinksCarryIdentifiersOnly(t *testing.T) {
	portal := alert.Portal{Base: "https://portal.azure.com", Workspace: "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"}
	good := newAlert(parse(t, "act-match-user"))
	links := portal.Links(good)
	for _, link := range []string{links.Cluster, links.ActivityLog, links.Query} {
		u, err := url.Parse(link)
		if err != nil || u.Host != "portal.azure.com" || u.Scheme != "https" {
			t.Errorf("link %q: %v", link, err)
		}
	}
	if !strings.Contains(links.ActivityLog, url.PathEscape("dana.ortiz@example.com")) {
		t.Errorf("the activity log is not the caller's: %s", links.ActivityLog)
	}
	const evil = `x"}}/../../evil?a=b#c`
	hostile := *good
	hostile.ClusterId, hostile.CallerName, hostile.CallerId, hostile.SubscriptionId = "/subscriptions/"+evil, evil, evil, evil
	if got := portal.Links(&hostile); got.Cluster != "" || got.ActivityLog != "" || strings.Contains(got.Query, "evil") {
		t.Errorf("links of a hostile alert are %+v", got)
	}
	hostile.SubscriptionId = good.SubscriptionId
	if got := portal.Links(&hostile); strings.Contains(got.ActivityLog, "evil") || got.ActivityLog == "" {
		t.Errorf("the activity link is %q", got.ActivityLog)
	}
	long := *good
	long.ClusterId = strings.Replace(good.ClusterId, good.ClusterName, strings.Repeat("a", 64), 1)
	long.CallerName, long.CallerId = strings.Repeat("a", 65)+"@example.com", ""
	if got := portal.Links(&long); got.Cluster != "" || strings.Contains(got.ActivityLog, "example.com") {
		t.Errorf("links of names that are longer than Azure's are %+v", got)
	}
}

func TestSetCallerDropsNotesThatNoLongerHold(t *testing.T) {
	ev := parse(t, "act-match-user")
	first := caller.Caller{ID: "1", Notes: []string{"the name is not known", "the client chooses its user agent"}}
	a := alert.New(newFinding(ev), ev, first, now)
	a.Note("something else")
	a.SetCaller(first, caller.Caller{ID: "1", Name: "Dana", Notes: []string{"the client chooses its user agent", "the account is disabled"}})
	if diff := cmp.Diff([]string{"the client chooses its user agent", "something else", "the account is disabled"}, a.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if a.CallerName != "Dana" {
		t.Errorf("the caller's name is %q", a.CallerName)
	}
}
