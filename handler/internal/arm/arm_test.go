package arm_test

import (
	"strings"
	"testing"

	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"podwatch/handler/internal/arm"
)

const (
	sub     = "9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703"
	cluster = "/subscriptions/" + sub + "/resourceGroups/rg/providers/Microsoft.Kubernetes/connectedClusters/plant"
)

// ids are accepted by Parse.
var ids = map[string]arm.ID{
	"/subscriptions/" + sub:                         {Subscription: sub},
	"/SUBSCRIPTIONS/" + sub + "/RESOURCEGROUPS/RG/": {Subscription: sub, Group: "RG"},
	cluster:                   {Subscription: sub, Group: "rg", Provider: "Microsoft.Kubernetes", Type: "connectedClusters", Name: "plant"},
	strings.ToUpper(cluster):  {Subscription: strings.ToUpper(sub), Group: "RG", Provider: "MICROSOFT.KUBERNETES", Type: "CONNECTEDCLUSTERS", Name: "PLANT"},
	cluster + "/pods/p(1).x_": {Subscription: sub, Group: "rg", Provider: "Microsoft.Kubernetes", Type: "connectedClusters/pods", Name: "p(1).x_"},
	cluster + "/providers/Microsoft.Insights/diagnosticSettings/d":                   {Subscription: sub, Group: "rg", Provider: "Microsoft.Insights", Type: "diagnosticSettings", Name: "d"},
	"/subscriptions/" + sub + "/providers/Microsoft.Authorization/roleAssignments/r": {Subscription: sub, Provider: "Microsoft.Authorization", Type: "roleAssignments", Name: "r"},
	"/providers/Microsoft.Management/managementGroups/m":                             {Provider: "Microsoft.Management", Type: "managementGroups", Name: "m"},
	"/subscriptions/" + sub + "/resourceGroups/providers":                            {Subscription: sub, Group: "providers"},
	"/subscriptions/s/resourceGroups/größe":                                          {Subscription: "s", Group: "größe"},
}

// notIDs are refused by Parse.
var notIDs = []string{
	"", "/", "x", strings.TrimPrefix(cluster, "/"), "//evil.example/x", "/tenants/t/providers/Microsoft.aadiam",
	"/subscriptions", "/subscriptions/" + sub + "/resourceGroups", cluster + "/pods", "/subscriptions/s//resourceGroups/g",
	"/subscriptions/s/resourceGroups/../providers/Microsoft.X/y/z", "/subscriptions/s/resourceGroups/.", cluster + "?api-version=1",
	cluster + "%2f", cluster + "\n", cluster + "#x", `/subscriptions/s\x`, "/subscriptions/s/providers/Microsoft.X",
	"/subscriptions/s/providers/Microsoft.X/providers/Microsoft.Y/z/a", "/resourceGroups/rg/providers/Microsoft.X/y/z",
	strings.Repeat("/", 100_000), "/subscriptions/s" + strings.Repeat("/a/b", 100),
}

func TestParse(t *testing.T) {
	for in, want := range ids {
		got, ok := arm.Parse(in)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(arm.ID{})); !ok || diff != "" {
			t.Errorf("Parse(%q) = %t (-want +got):\n%s", in, ok, diff)
		}
		if got.String() != strings.TrimRight(in, "/") || got.Key() != strings.ToLower(got.String()) {
			t.Errorf("Parse(%q) has text %q and key %q", in, got, got.Key())
		}
	}
	for _, in := range notIDs {
		if got, ok := arm.Parse(in); ok {
			t.Errorf("Parse(%.100q) = %+v, want none", in, got)
		}
	}
}

// agrees compares Parse with azcore: whatever Parse accepts azcore accepts and
// reads in the same way.
func agrees(t *testing.T, in string) {
	t.Helper()
	got, ok := arm.Parse(in)
	if !ok {
		return
	}
	want, err := azarm.ParseResourceID(in)
	if err != nil {
		t.Errorf("azcore refuses %q: %v", in, err)
		return
	}
	if got.Subscription != want.SubscriptionID || got.Group != want.ResourceGroupName {
		t.Errorf("Parse(%q) = %+v, azcore has subscription %q and group %q", in, got, want.SubscriptionID, want.ResourceGroupName)
	}
	if got.Provider != "" && (got.Provider != want.ResourceType.Namespace || got.Type != want.ResourceType.Type || got.Name != want.Name) {
		t.Errorf("Parse(%q) = %+v, azcore has %q %q", in, got, want.ResourceType, want.Name)
	}
}

func TestParseAgreesWithAzcore(t *testing.T) {
	for in := range ids {
		agrees(t, in)
	}
}

func FuzzParse(f *testing.F) {
	for in := range ids {
		f.Add(in)
	}
	for _, in := range notIDs {
		f.Add(in)
	}
	f.Fuzz(agrees)
}

func TestPairsTakeAnyText(t *testing.T) {
	for in, want := range map[string][]string{
		"":          nil,
		"///":       nil,
		"x":         {"x= x"},
		"/a/b//c/":  {"a=b a/b", "c= c"},
		"a/b/c/d":   {"a=b a/b", "c=d c/d"},
		"/a//b/c/d": {"a=b a//b", "c=d c/d"},
	} {
		var got []string
		start := 0
		for p := range arm.Pairs(in) {
			got = append(got, p.Key+"="+p.Value+" "+strings.Trim(in[start:p.End], "/"))
			start = p.End
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Pairs(%q) (-want +got):\n%s", in, diff)
		}
	}
}

func TestAncestorAndIs(t *testing.T) {
	id, _ := arm.Parse(cluster + "/pods/p")
	for n, want := range []string{"", "/subscriptions/" + sub, "/subscriptions/" + sub + "/resourceGroups/rg", "/subscriptions/" + sub + "/resourceGroups/rg/providers/Microsoft.Kubernetes", cluster, id.String(), id.String()} {
		if got := id.Ancestor(n); n > 0 && got != want {
			t.Errorf("Ancestor(%d) = %q, want %q", n, got, want)
		}
	}
	if !id.Is("microsoft.kubernetes", "CONNECTEDCLUSTERS/pods") || id.Is("Microsoft.Kubernetes", "connectedClusters") {
		t.Error("Is does not compare the whole type ignoring case")
	}
}

func TestParseGUID(t *testing.T) {
	for in, want := range map[string]string{
		sub:                                    sub,
		strings.ToUpper(sub):                   sub,
		strings.ReplaceAll(sub, "-", ""):       sub,
		" " + sub + "\n":                       sub,
		sub[:35]:                               "", // one short
		strings.Replace(sub, "-", "0", 1):      "", // no hyphen where one belongs
		"g0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2": "",
		"../../me":                             "",
		"":                                     "",
	} {
		if got, ok := arm.ParseGUID(in); got != want || ok != (want != "") {
			t.Errorf("ParseGUID(%q) = %q, %t, want %q", in, got, ok, want)
		}
	}
}
