package caller_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/event"
	"podwatch/handler/internal/logtest"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestSamples compares the caller of every sample deletion with a table that a
// reader can review: testdata/callers.golden. Samples that stand together have
// the same caller.
func TestSamples(t *testing.T) {
	f, err := os.Open("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out, last strings.Builder
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var sample struct {
			Sample string
			Record json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &sample); err != nil {
			t.Fatal(err)
		}
		ev, err := event.Read(sample.Record, 0)
		if err != nil {
			t.Fatalf("%s: %v", sample.Sample, err)
		}
		var one strings.Builder
		write(&one, caller.From(ev))
		if one.String() != last.String() {
			out.WriteString(last.String())
			last = one
		}
		fmt.Fprintln(&out, sample.Sample)
	}
	out.WriteString(last.String())
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}

	const golden = "testdata/callers.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("callers differ (-want +got); run with -update and review the file:\n%s", diff)
	}
}

// write prints what is known of c, one field a line.
func write(out *strings.Builder, c caller.Caller) {
	for _, field := range []struct {
		name string
		v    any
	}{
		{"Kind", c.Kind}, {"Name", c.Name}, {"DisplayName", c.DisplayName}, {"ID", c.ID}, {"AppID", c.AppID},
		{"AppName", c.AppName}, {"IP", c.IP}, {"Role", c.Role}, {"RoleGroup", c.RoleGroup},
		{"OwnerResource", c.OwnerResource}, {"Namespace", c.Namespace},
		{"UserAgent", c.UserAgent},
	} {
		if field.v != "" {
			fmt.Fprintf(out, "  %-13s %s\n", field.name, field.v)
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintf(out, "  note          %s\n", n)
	}
}

// activity is an event with the identity given as JSON.
func activity(t *testing.T, identity string) *event.Event {
	t.Helper()
	record := fmt.Sprintf(`{"time":"2026-11-09T08:14:22Z","category":"Delete","callerIpAddress":"203.0.113.24",
		"operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE","resultType":"Success",
		"resourceId":"/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703","identity":%s}`, identity)
	ev, err := event.Read([]byte(record), 0)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

const (
	oid    = "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2"
	group  = "1b7c9d20-3e4f-4a51-8b62-0c1d2e3f4a5b"
	tenant = "5d0c7c1e-2b7a-4f0d-9a61-3c4b8e1f0a11"
	app    = "e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21"
)

func TestFromActivity(t *testing.T) {
	tests := map[string]struct {
		identity string
		want     caller.Caller
	}{
		"short claim names": {
			`{"claims":{"oid":"` + oid + `","upn":"dana@example.com","name":"Dana","tid":"` + tenant + `","appid":"` + app + `"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", DisplayName: "Dana", ID: oid, AppID: app},
		},
		"ids without hyphens": {
			`{"claims":{"oid":"C0A2D6F415BE4B399D5708F1E7A4B6D2","upn":"dana@example.com"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid},
		},
		"identity as JSON text": {
			`"{\"claims\":{\"oid\":\"` + oid + `\",\"upn\":\"dana@example.com\"}}"`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid},
		},
		"text that only looks like JSON is a name": {
			`"{Dana}"`,
			caller.Caller{Kind: "unknown", Name: "{Dana}", Notes: []string{"the record holds only a display name, which is not unique"}},
		},
		"the role is a group's: the group is not the caller": {
			`{"authorization":{"evidence":{"role":"Owner","roleAssignmentScope":"/subscriptions/x","principalId":"1b7c9d203e4f4a518b620c1d2e3f4a5b","principalType":"Group"}},
			  "claims":{"oid":"` + oid + `","upn":"dana@example.com"}}`,
			caller.Caller{
				Kind: "user", Name: "dana@example.com", ID: oid, Role: "Owner", RoleGroup: group,
				Notes: []string{"the role is held by a group, not by the caller itself"},
			},
		},
		"a group's role without a token names nobody": {
			`{"authorization":{"evidence":{"principalId":"` + group + `","principalType":"Group"}}}`,
			caller.Caller{Kind: "unknown", RoleGroup: group, Notes: []string{
				"the role is held by a group, not by the caller itself", "the record names no caller"}},
		},
		"evidence alone": {
			`{"authorization":{"evidence":{"principalId":"` + oid + `","principalType":"ServicePrincipal"}}}`,
			caller.Caller{Kind: "servicePrincipal", ID: oid, Notes: []string{"the record has no token; the caller is taken from the role assignment"}},
		},
		"token and role assignment disagree": {
			`{"authorization":{"evidence":{"principalId":"` + group + `","principalType":"User"}},"claims":{"oid":"` + oid + `","upn":"dana@example.com"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid, Notes: []string{
				"the token and the role assignment name different principals: " + oid + " and " + group}},
		},
		"personal account": {
			`{"claims":{"oid":"` + oid + `","http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":" LIVE.com#lee@example.net","idp":"live.com"}}`,
			caller.Caller{Kind: "user", Name: "lee@example.net", ID: oid, Notes: []string{"guest account, signed in through live.com"}},
		},
		"guest of another tenant, by identity provider": {
			`{"claims":{"oid":"` + oid + `","tid":"` + tenant + `","upn":"lee@example.net","idp":"https://sts.windows.net/11111111-2222-4333-8444-555555555555/"}}`,
			caller.Caller{Kind: "user", Name: "lee@example.net", ID: oid, Notes: []string{
				"guest account, signed in through https://sts.windows.net/11111111-2222-4333-8444-555555555555/"}},
		},
		"identity provider of the own tenant is no guest": {
			`{"claims":{"oid":"` + oid + `","tid":"` + tenant + `","upn":"dana@example.com","idp":"https://sts.windows.net/` + tenant + `/"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid},
		},
		"portal: another address at sign-in": {
			`{"claims":{"oid":"` + oid + `","upn":"dana@example.com","ipaddr":"198.51.100.7"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid, Notes: []string{
				"the caller signed in from 198.51.100.7 and called from 203.0.113.24, as a portal or a proxy would"}},
		},
		"application by subject alone": {
			`{"claims":{"oid":"` + oid + `","sub":"` + oid + `"}}`,
			caller.Caller{Kind: "servicePrincipal", ID: oid},
		},
		"guest in small letters": {
			`{"claims":{"oid":"` + oid + `","upn":"noor_example.net#ext#@example.onmicrosoft.com"}}`,
			caller.Caller{Kind: "user", Name: "noor_example.net#ext#@example.onmicrosoft.com", ID: oid, Notes: []string{
				"guest account; the address at home is likely noor@example.net"}},
		},
		"the identity of a cluster's nodes": {
			`{"claims":{"oid":"` + oid + `","idtyp":"app","xms_mirid":"/subscriptions/s/resourcegroups/MC_rg_aks_westeurope/providers/Microsoft.ManagedIdentity/userAssignedIdentities/aks-agentpool"}}`,
			caller.Caller{Kind: "managedIdentity", Name: "aks-agentpool", ID: oid,
				OwnerResource: "/subscriptions/s/resourcegroups/MC_rg_aks_westeurope/providers/Microsoft.ManagedIdentity/userAssignedIdentities/aks-agentpool",
				Notes:         []string{"the identity of a cluster's nodes: it stands for every pod on them, each of which can get its token"}},
		},
		"the identity of the nodes, which are virtual machines": {
			`{"claims":{"oid":"` + oid + `","idtyp":"app","xms_mirid":"/subscriptions/s/resourcegroups/mc_rg/providers/Microsoft.Compute/virtualMachines/aks-1"}}`,
			caller.Caller{Kind: "managedIdentity", Name: "aks-1", ID: oid, OwnerResource: "/subscriptions/s/resourcegroups/mc_rg/providers/Microsoft.Compute/virtualMachines/aks-1",
				Notes: []string{"the identity of a cluster's nodes: it stands for every pod on them, each of which can get its token"}},
		},
		"the identity of the nodes in a group of another name": {
			`{"claims":{"oid":"` + oid + `","idtyp":"app","xms_mirid":"/subscriptions/s/resourcegroups/nodes/providers/Microsoft.ManagedIdentity/userAssignedIdentities/aks-agentpool",
			  "xms_az_rid":"/subscriptions/s/resourcegroups/nodes/providers/Microsoft.Compute/virtualMachineScaleSets/aks-np1-vmss"}}`,
			caller.Caller{Kind: "managedIdentity", Name: "aks-agentpool", ID: oid,
				OwnerResource: "/subscriptions/s/resourcegroups/nodes/providers/Microsoft.ManagedIdentity/userAssignedIdentities/aks-agentpool",
				Notes: []string{"the identity of a cluster's nodes: it stands for every pod on them, each of which can get its token",
					"the token was issued on virtualMachineScaleSets/aks-np1-vmss"}},
		},
		"a group of another tenant holds the role": {
			`{"authorization":{"evidence":{"role":"Owner","principalId":"` + group + `","principalType":"ForeignGroup"}},"claims":{"oid":"` + oid + `","upn":"dana@example.com"}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", ID: oid, Role: "Owner", Notes: []string{
				"the role is held by a group of another tenant, as of a reseller or a service provider"}},
		},
		"certificate is no proof of a managed identity": {
			`{"claims":{"oid":"` + oid + `","appid":"` + app + `","appidacr":"2","idtyp":"app"}}`,
			caller.Caller{Kind: "servicePrincipal", ID: oid, AppID: app},
		},
		"system-assigned identity is named after its resource": {
			`{"claims":{"oid":"` + oid + `","idtyp":"app","xms_mirid":"/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines/vm-1"}}`,
			caller.Caller{Kind: "managedIdentity", Name: "vm-1", ID: oid, OwnerResource: "/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines/vm-1"},
		},
		"app-only token with the id of a person's tool is no Microsoft service": {
			`{"claims":{"oid":"` + oid + `","appid":"04b07795-8ddb-461a-bbee-02f9e1bf7b46","idtyp":"app"}}`,
			caller.Caller{Kind: "servicePrincipal", ID: oid, AppID: "04b07795-8ddb-461a-bbee-02f9e1bf7b46", AppName: "Azure CLI"},
		},
		"numbers and nested values as claims": {
			`{"claims":{"oid":{"a":1},"upn":["dana@example.com"],"appid":17,"name":null}}`,
			caller.Caller{Kind: "user", Name: "dana@example.com", AppID: "17"},
		},
		"hostile values are data": {
			`{"claims":{"oid":"` + oid + `","upn":"[x](http://evil)<b>\u202e@example.com"}}`,
			caller.Caller{Kind: "user", Name: "[x](http://evil)<b>\u202e@example.com", ID: oid},
		},
		"empty identity": {`{}`, caller.Caller{Kind: "unknown", Notes: []string{"the record names no caller"}}},
		"a list":         {`[1]`, caller.Caller{Kind: "unknown", Notes: []string{"the record names no caller"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.IP = "203.0.113.24"
			if diff := cmp.Diff(tt.want, caller.From(activity(t, tt.identity))); diff != "" {
				t.Errorf("From (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCallerOfAnotherTenant(t *testing.T) {
	const other = "e2b9c714-0d3f-4a86-b571-98fd06a3c2e5"
	const note = "the caller is of another tenant (" + other + "), as through Lighthouse or a reseller"
	for name, tt := range map[string]struct {
		theirs, ours, hierarchy string
		want                    bool
	}{
		"by the record's tenant":                       {other, tenant, "", true},
		"by the hierarchy":                             {other, "", tenant + "/mg/sub", true},
		"the same tenant":                              {tenant, strings.ToUpper(tenant), "", false},
		"the record names no tenant":                   {other, "", "", false},
		"the token names no tenant":                    {"", tenant, "", false},
		"the hierarchy begins with a management group": {other, "", "mg/sub", false},
	} {
		t.Run(name, func(t *testing.T) {
			record := fmt.Sprintf(`{"time":"2026-11-09T08:14:22Z","category":"Delete","operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",
				"tenantId":%q,"properties":{"hierarchy":%q},"identity":{"claims":{"oid":%q,"upn":"rui@msp.example","tid":%q}}}`, tt.ours, tt.hierarchy, oid, tt.theirs)
			ev, err := event.Read([]byte(record), 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(caller.From(ev).Notes, "; "); strings.Contains(got, note) != tt.want {
				t.Errorf("notes %q", got)
			}
		})
	}
}

func TestFromAudit(t *testing.T) {
	kubectl := "kubectl/v1.31.2 (linux/amd64) kubernetes/5864a46"
	tests := map[string]struct {
		audit event.KubeAudit
		want  caller.Caller
	}{
		"only the last source address counts": {
			event.KubeAudit{User: event.AuditUser{Name: "system:kube-scheduler"}, SourceIPs: []string{"127.0.0.1", "198.51.100.9", "10.0.0.4"}},
			caller.Caller{Kind: "kubernetes", Name: "system:kube-scheduler", IP: "10.0.0.4", Notes: []string{
				"2 earlier source address(es) were claimed by the client and are not used"}},
		},
		"certificate with a name like a sign-in name": {
			event.KubeAudit{User: event.AuditUser{Name: "dana@example.com", Groups: []string{"system:authenticated"}}},
			caller.Caller{Kind: "user", Name: "dana@example.com", Notes: []string{
				"the cluster logged no Entra object id: the name may come from a client certificate"}},
		},
		"person in an Entra group, without object id": {
			event.KubeAudit{User: event.AuditUser{Name: "dana@example.com", Groups: []string{group}}},
			caller.Caller{Kind: "user", Name: "dana@example.com"},
		},
		"GUID may be a guest or an application": {
			event.KubeAudit{User: event.AuditUser{Name: strings.ToUpper(oid)}},
			caller.Caller{Kind: "unknown", ID: oid, Notes: []string{
				"the record names this Entra account by its object id only: a person, an application or a managed identity"}},
		},
		"platform account used with kubectl": {
			event.KubeAudit{User: event.AuditUser{Name: "aksService", Groups: []string{"system:masters"}}, UserAgent: kubectl},
			caller.Caller{Kind: "kubernetes", Name: "aksService", AppName: "kubectl", UserAgent: kubectl, Notes: []string{
				"platform account: shared by the components of AKS's control plane; the component is known by its user agent only, which a client can forge"}},
		},
		"near-miss of a platform account": {
			event.KubeAudit{User: event.AuditUser{Name: "aksservice"}},
			caller.Caller{Kind: "kubernetes", Name: "aksservice", Notes: []string{
				"local account, most likely a client certificate: no Entra account behind the name"}},
		},
		"service account bound to a pod, outside": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:ci:deployer", UID: "u1", Extra: map[string][]string{
				"authentication.kubernetes.io/pod-name": {"runner-1"}, "authentication.kubernetes.io/node-name": {"node-7"}}},
				SourceIPs: []string{"198.51.100.9"}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:ci:deployer", Namespace: "ci", ID: "u1", IP: "198.51.100.9", Notes: []string{
				"the token belongs to pod runner-1 on node node-7",
				"a workload's account, from the public address 198.51.100.9"}},
		},
		"system account with kubectl": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:kube-system:replicaset-controller"}, UserAgent: kubectl, SourceIPs: []string{"172.31.16.220"}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:kube-system:replicaset-controller", Namespace: "kube-system",
				UserAgent: kubectl, IP: "172.31.16.220", Notes: []string{"a system account used with kubectl is unusual"}},
		},
		"another service account cannot speak for a person": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:other:azure-arc-kube-aad-proxy-sa"}, Impersonated: &event.AuditUser{Name: oid}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:other:azure-arc-kube-aad-proxy-sa", Namespace: "other", ActedAs: oid, Notes: []string{
				"the caller acted as " + oid + " (impersonation); the rights used are that account's"}},
		},
		"a person behind Teleport": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:teleport:teleport-kube-agent"}, Impersonated: &event.AuditUser{Name: "dana@example.com"}},
			caller.Caller{Kind: "user", Name: "dana@example.com", Notes: []string{
				"the person is named by Teleport (system:serviceaccount:teleport:teleport-kube-agent), and the address is the proxy's, not the person's"}},
		},
		"a person behind Rancher, by an account of its own": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:cattle-impersonation-system:cattle-impersonation-u-b4qkh"}, Impersonated: &event.AuditUser{Name: "u-b4qkh"}},
			caller.Caller{Kind: "externalIdentity", Name: "u-b4qkh", Notes: []string{
				"the person is named by Rancher (system:serviceaccount:cattle-impersonation-system:cattle-impersonation-u-b4qkh), and the address is the proxy's, not the person's"}},
		},
		"Rancher's account of a person who is lost": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:cattle-impersonation-system:cattle-impersonation-u-b4qkh"}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:cattle-impersonation-system:cattle-impersonation-u-b4qkh", Namespace: "cattle-impersonation-system",
				Notes: []string{"an account of Rancher; the person is known by the id in its name only: u-b4qkh"}},
		},
		"the syncer of a virtual cluster": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:vcluster-dev:vc-dev"}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:vcluster-dev:vc-dev", Namespace: "vcluster-dev", Notes: []string{
				"an account of the virtual cluster dev: the person behind it is not in this log"}},
		},
		"the syncer of a virtual cluster in any namespace": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:team-a:vc-dev"}, UserAgent: kubectl},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:team-a:vc-dev", Namespace: "team-a", UserAgent: kubectl, Notes: []string{
				"an account of the virtual cluster dev: the person behind it is not in this log"}},
		},
		"a person in a virtual cluster": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:team-a:vc-dev"}, Impersonated: &event.AuditUser{Name: "dana@example.com"}},
			caller.Caller{Kind: "user", Name: "dana@example.com", Notes: []string{
				"the person is named by the virtual cluster dev (system:serviceaccount:team-a:vc-dev), and the address is the proxy's, not the person's"}},
		},
		"an account that is named like no virtual cluster": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:team-a:vc-"}},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:team-a:vc-", Namespace: "team-a"},
		},
		"a guest of the cluster": {
			event.KubeAudit{User: event.AuditUser{Name: "noor_example.net#ext#@example.onmicrosoft.com", Groups: []string{group}}},
			caller.Caller{Kind: "user", Name: "noor_example.net#ext#@example.onmicrosoft.com", Notes: []string{
				"guest account; the address at home is likely noor@example.net"}},
		},
		"a token of another issuer": {
			event.KubeAudit{User: event.AuditUser{Name: "aks:jwt:dana@example.com", Groups: []string{"aks:jwt:on call", "system:authenticated"}}},
			caller.Caller{Kind: "externalIdentity", Name: "aks:jwt:dana@example.com", Notes: []string{
				"dana@example.com by the cluster's JWT authenticator: a token of another issuer, neither an Entra account nor a client certificate"}},
		},
		"a workload's token used with kubectl on Windows": {
			event.KubeAudit{User: event.AuditUser{Name: "system:serviceaccount:ci:deployer"}, UserAgent: "kubectl.exe/v1.31.2"},
			caller.Caller{Kind: "kubernetes", Name: "system:serviceaccount:ci:deployer", Namespace: "ci", UserAgent: "kubectl.exe/v1.31.2", Notes: []string{
				"a service account's token used with kubectl, as a person or a script would that holds it"}},
		},
		"a node's account used with kubectl": {
			event.KubeAudit{User: event.AuditUser{Name: "system:node:aks-1", Groups: []string{"system:nodes"}}, UserAgent: kubectl},
			caller.Caller{Kind: "kubernetes", Name: "system:node:aks-1", UserAgent: kubectl, Notes: []string{
				"a node's account used with kubectl, not by its kubelet: it stands for every pod on the node"}},
		},
		"the kubelet of a Windows node": {
			event.KubeAudit{User: event.AuditUser{Name: "system:node:aks-1", Groups: []string{"system:nodes"}}, UserAgent: "kubelet.exe/v1.31.2"},
			caller.Caller{Kind: "kubernetes", Name: "system:node:aks-1", UserAgent: "kubelet.exe/v1.31.2"},
		},
		"impersonating oneself is nothing": {
			event.KubeAudit{User: event.AuditUser{Name: "masterclient"}, Impersonated: &event.AuditUser{Name: "masterclient"}},
			caller.Caller{Kind: "kubernetes", Name: "masterclient", Notes: []string{
				"local admin certificate: no person behind it; whoever pulled the cluster's admin credential may hold it"}},
		},
		"name of a node without its group": {
			event.KubeAudit{User: event.AuditUser{Name: "system:node:aks-1"}},
			caller.Caller{Kind: "kubernetes", Name: "system:node:aks-1", Notes: []string{
				"the name is a node's, but the account is not in the group of nodes"}},
		},
		"nobody": {event.KubeAudit{}, caller.Caller{Kind: "unknown", Notes: []string{"the record names no caller"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ev, err := event.Read(logtest.AuditRecord("", time.Now(), tt.audit), 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, caller.From(ev)); diff != "" {
				t.Errorf("From (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWellKnown(t *testing.T) {
	if got, ok := caller.WellKnown("04B077958DDB461ABBEE02F9E1BF7B46"); !ok || got.Name != "Azure CLI" {
		t.Errorf("WellKnown by id without hyphens = %+v, %t", got, ok)
	}
	if got, ok := caller.WellKnown(app); ok {
		t.Errorf("WellKnown of a stranger = %+v", got)
	}
}

// FuzzFrom holds that any record gives a caller of a known kind, and that no
// note grows with what a record holds.
func FuzzFrom(f *testing.F) {
	data, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var sample struct{ Record json.RawMessage }
		if err := json.Unmarshal(line, &sample); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(sample.Record))
	}
	kinds := "user servicePrincipal managedIdentity microsoftApplication kubernetes externalIdentity unknown"
	f.Fuzz(func(t *testing.T, record []byte) {
		ev, err := event.Read(record, 0)
		if err != nil {
			return
		}
		c := caller.From(ev)
		if c.Kind == "" || !strings.Contains(kinds, c.Kind) {
			t.Errorf("kind %q", c.Kind)
		}
		for _, n := range c.Notes {
			if len(n) > 2000 {
				t.Errorf("note of %d bytes", len(n))
			}
		}
	})
}
