package detect_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/detect"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/logtest"
)

const (
	shop  = "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-SHOP/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-SHOP"
	plant = "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-PLANT/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-PLANT"
)

var noon = time.Date(2026, 11, 9, 12, 0, 0, 0, time.UTC)

// did is a record of what a user did to something in a cluster, minutes after noon.
func did(user, cluster, verb, resource, name string, minutes int) string {
	return string(logtest.AuditRecord(cluster, noon.Add(time.Duration(minutes)*time.Minute), event.KubeAudit{
		ID: user + verb + name, Stage: "ResponseComplete", Verb: verb, Code: 200, User: event.AuditUser{Name: user},
		RequestURI: "/x/" + name, Object: event.ObjectRef{Resource: resource, Namespace: "web", Name: name},
	}))
}

// around returns what happened beside the findings of messages, the nearest first, in
// the words "user verb name".
func around(t testing.TB, messages ...string) (found []string) {
	t.Helper()
	d := detect.New(builtIn, false)
	b := read(t, d, messages...)
	for ev := range d.Around(b, d.Detect(b, false).Findings) {
		a := ev.Audit()
		found = append(found, a.User.Name+" "+a.Verb+" "+a.Object.Name)
	}
	return found
}

func TestAroundFindsWhatTheCallerDidAndWhatHappenedToTheCluster(t *testing.T) {
	deleted := did("dana@example.com", shop, "delete", "pods", "cart", 10)
	for name, tt := range map[string]struct {
		messages []string
		want     []string
	}{
		"the nearest first, before and behind, in other messages": {
			[]string{
				wrapped(did("dana@example.com", plant, "patch", "deployments", "late", 12), did("robin@example.com", shop, "create", "rolebindings", "early", 1)),
				wrapped(did("robin@example.com", shop, "get", "secrets", "key", 5), deleted),
				wrapped(did("dana@example.com", plant, "update", "deployments", "middle", 7)),
			},
			[]string{"dana@example.com delete cart", "robin@example.com get key", "dana@example.com update middle", "robin@example.com create early", "dana@example.com patch late"},
		},
		"not of another caller in another cluster": {
			[]string{wrapped(did("robin@example.com", plant, "create", "deployments", "x", 1), deleted)},
			[]string{"dana@example.com delete cart"},
		},
		"not what no timeline shows": {
			[]string{wrapped(did("dana@example.com", shop, "get", "configmaps", "x", 1), did("dana@example.com", shop, "update", "leases", "y", 1), deleted)},
			[]string{"dana@example.com delete cart"},
		},
		"nothing without a finding":       {[]string{wrapped(did("dana@example.com", shop, "create", "deployments", "x", 1))}, nil},
		"nothing on account of routine":   {append(routine(t), wrapped(did("dana@example.com", shop, "create", "deployments", "x", 1))), nil},
		"not a record that is malformed":  {[]string{wrapped(deleted), `{"records":[{"time":"x","category":"kube-audit","a":"dana@example.com"`}, []string{"dana@example.com delete cart"}},
		"not what is outside of a record": {[]string{wrapped(deleted), `{"a":"dana@example.com"}`}, []string{"dana@example.com delete cart"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, around(t, tt.messages...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAroundBeginsWithTheNearest(t *testing.T) {
	var records []string
	for i := range 40 {
		records = append(records, did("dana@example.com", plant, "patch", "deployments", fmt.Sprint("d", i+10), i))
	}
	records = slices.Insert(records, 20, did("dana@example.com", shop, "delete", "pods", "cart", 20))
	got := around(t, wrapped(records...))
	if len(got) != len(records) || got[0] != "dana@example.com delete cart" {
		t.Fatalf("%d events, the first %q", len(got), got[0])
	}
	for i := range 20 {
		for _, name := range []string{fmt.Sprint("dana@example.com patch d", 29-i), fmt.Sprint("dana@example.com patch d", 30+i)} {
			if at := slices.Index(got, name); (at+1)/2 != i+1 {
				t.Errorf("%q comes at place %d", name, at)
			}
		}
	}
}

// filler returns records of size bytes that are about neither caller nor cluster.
func filler(size int) string {
	var records []string
	for n := 0; n < size; {
		r := did("robin@example.com", plant, "get", "configmaps", fmt.Sprint(n), 0)
		records = append(records, r)
		n += len(r)
	}
	return wrapped(records...)
}

func TestAroundLooksOnlyNearAFinding(t *testing.T) {
	deleted := did("dana@example.com", shop, "delete", "pods", "cart", 10)
	far, near := did("dana@example.com", plant, "patch", "deployments", "far", 1), did("dana@example.com", plant, "patch", "deployments", "near", 2)
	got := around(t, wrapped(far), filler(detect.Reach), wrapped(near), wrapped(deleted), wrapped(near), filler(detect.Reach), wrapped(far))
	if diff := cmp.Diff([]string{"dana@example.com delete cart", "dana@example.com patch near", "dana@example.com patch near"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAroundIsNearAFindingThatIsNotInPlace: a record that had to be mended has its
// message's place.
func TestAroundIsNearAFindingThatIsNotInPlace(t *testing.T) {
	mended := strings.Replace(did("dana@example.com", shop, "delete", "pods", "cart", 10), `"resourceId":"`, `"note":"\x","resourceId":"`, 1)
	near := did("dana@example.com", plant, "patch", "deployments", "near", 2)
	got := around(t, filler(2*detect.Reach), wrapped(near), wrapped(mended), wrapped(near))
	if diff := cmp.Diff([]string{"dana@example.com delete cart", "dana@example.com patch near", "dana@example.com patch near"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAroundDoesNotFailOnFindingsThatCannotBeRead(t *testing.T) {
	d := detect.New(builtIn, false)
	b := read(t, d, wrapped(deletion(1)))
	found := d.Detect(b, false).Findings
	broken := found[0]
	broken.Record = broken.Record.Cut(0, 10)
	for range d.Around(b, []alert.Finding{broken}) {
		t.Error("got an event")
	}
	events := 0
	for range d.Around(b, []alert.Finding{broken, found[0]}) {
		events++
	}
	if events != 1 {
		t.Errorf("got %d events, want the one of the finding that can be read", events)
	}
}
