package directory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/directory"
	"podwatch/handler/internal/outbound/outboundtest"
)

// A graph answers as Microsoft Graph does: objects by id in an order of its
// own, unknown ids left out, single objects by address.
type graph struct {
	objects map[string]string // JSON by object id
	apps    map[string]string // JSON by application id
	users   map[string]string // JSON by name, as in the address
	deleted map[string]string // JSON by object id
	refuse  map[string]int    // status by the first part of the path
	before  func(w http.ResponseWriter, r *http.Request) (answered bool)

	mu    sync.Mutex
	calls []string // method, path
	ids   [][]string
}

func (g *graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.calls = append(g.calls, r.Method+" "+r.URL.EscapedPath())
	g.mu.Unlock()
	if g.before != nil && g.before(w, r) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1.0/")
	for prefix, status := range g.refuse {
		if strings.HasPrefix(path, prefix) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`)
			return
		}
	}
	answer := func(from map[string]string, key string) {
		if o, ok := from[key]; ok {
			io.WriteString(w, o)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":{"code":"Request_ResourceNotFound"}}`)
	}
	switch {
	case path == "directoryObjects/getByIds" && r.Method == http.MethodPost:
		var body struct {
			IDs   []string `json:"ids"`
			Types []string `json:"types"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.IDs) > 1000 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		g.mu.Lock()
		g.ids = append(g.ids, body.IDs)
		g.mu.Unlock()
		var found []string
		for _, id := range slices.Backward(body.IDs) {
			if o, ok := g.objects[id]; ok {
				found = append(found, o)
			}
		}
		fmt.Fprintf(w, `{"value":[%s]}`, strings.Join(found, ","))
	case strings.HasPrefix(path, "servicePrincipals(appId='"):
		answer(g.apps, strings.TrimSuffix(strings.TrimPrefix(path, "servicePrincipals(appId='"), "')"))
	case strings.HasPrefix(path, "users('") && !strings.HasPrefix(path, "users('bad"):
		answer(g.users, strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(path, "users('"), "')"), "''", "'"))
	case strings.HasPrefix(path, "directory/deletedItems/"):
		answer(g.deleted, strings.TrimPrefix(path, "directory/deletedItems/"))
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (g *graph) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.calls)
}

// serve returns a directory that asks g on a local address.
func serve(t *testing.T, g http.Handler, now func() time.Time) *directory.Directory {
	t.Helper()
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return directory.New(outboundtest.Client(t, "Microsoft Graph", s.URL), now, slog.New(slog.DiscardHandler))
}

const (
	app        = "e84f1c27-93a5-4d06-b1b8-5f7a0c3d9e21"
	group      = "5b0c1d2e-3f40-4a51-8b62-7c8d9eaf0b13"
	userID     = "c0a2d6f4-15be-4b39-9d57-08f1e7a4b6d2"
	guestID    = "4d5e6f70-8192-4a3b-8c4d-5e6f70819203"
	spID       = "71e3b9a8-4c60-4f12-8e9d-2d5c6b7a8f90"
	identityID = "2f6d8b13-ae47-4c95-8b70-9e1d3c5a7f42"
	serviceID  = "0a9e7c35-8d12-4f6b-a3c4-7b5e2d1f9068"
	ownerID    = "/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourcegroups/rg-ops/providers/Microsoft.Compute/virtualMachines/vm-runner-3"
)

func object(kind, id, rest string) string {
	if rest != "" {
		rest = "," + rest
	}
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.%s","id":"%s"%s}`, kind, id, rest)
}

func TestResolve(t *testing.T) {
	idOnly := []string{"the record names this Entra account by its object id only: a person, an application or a managed identity"}
	tests := map[string]struct {
		graph *graph
		in    caller.Caller
		want  caller.Caller
	}{
		"guest behind a GUID": {
			&graph{objects: map[string]string{guestID: object("user", guestID, `"displayName":"Lee Park","userPrincipalName":"lee_x.example#EXT#@example.com","userType":"Guest","accountEnabled":true`)}},
			caller.Caller{Kind: "unknown", ID: guestID, Notes: idOnly},
			caller.Caller{Kind: "user", ID: guestID, Name: "lee_x.example#EXT#@example.com", DisplayName: "Lee Park"},
		},
		"application behind a GUID": {
			&graph{objects: map[string]string{spID: object("servicePrincipal", spID, `"displayName":"deploy-bot","appId":"`+app+`","servicePrincipalType":"Application","accountEnabled":true`)}},
			caller.Caller{Kind: "unknown", ID: spID, Notes: idOnly},
			caller.Caller{Kind: "servicePrincipal", ID: spID, Name: "deploy-bot", AppID: app, AppName: "deploy-bot"},
		},
		"managed identity: the owner stands second": {
			&graph{objects: map[string]string{identityID: object("servicePrincipal", identityID, `"displayName":"vm-runner-3","servicePrincipalType":"ManagedIdentity","alternativeNames":["isExplicit=False","`+ownerID+`"]`)}},
			caller.Caller{Kind: "servicePrincipal", ID: identityID},
			caller.Caller{Kind: "managedIdentity", ID: identityID, Name: "vm-runner-3", AppName: "vm-runner-3", OwnerResource: ownerID},
		},
		"managed identity: the owner stands first": {
			&graph{objects: map[string]string{identityID: object("servicePrincipal", identityID, `"displayName":"vm-runner-3","servicePrincipalType":"ManagedIdentity","alternativeNames":["`+ownerID+`","isExplicit=False"]`)}},
			caller.Caller{Kind: "servicePrincipal", ID: identityID},
			caller.Caller{Kind: "managedIdentity", ID: identityID, Name: "vm-runner-3", AppName: "vm-runner-3", OwnerResource: ownerID},
		},
		"identity of a policy assignment": {
			&graph{objects: map[string]string{identityID: object("servicePrincipal", identityID, `"displayName":"p","servicePrincipalType":"ManagedIdentity","alternativeNames":["/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/p"]`)}},
			caller.Caller{Kind: "servicePrincipal", ID: identityID},
			caller.Caller{Kind: "managedIdentity", ID: identityID, Name: "p", AppName: "p", OwnerResource: "/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/p",
				Notes: []string{"the identity belongs to a policy assignment"}},
		},
		"application of Microsoft": {
			&graph{objects: map[string]string{serviceID: object("servicePrincipal", serviceID, `"displayName":"Some RP","servicePrincipalType":"Application","appOwnerOrganizationId":"F8CDEF31-a31e-4b4a-93e4-5f571e91255a"`)}},
			caller.Caller{Kind: "servicePrincipal", ID: serviceID},
			caller.Caller{Kind: "microsoftApplication", ID: serviceID, Name: "Some RP", AppName: "Some RP"},
		},
		"application of another company": {
			&graph{objects: map[string]string{serviceID: object("servicePrincipal", serviceID, `"displayName":"Some App","appOwnerOrganizationId":"11111111-a31e-4b4a-93e4-5f571e91255a"`)}},
			caller.Caller{Kind: "servicePrincipal", ID: serviceID},
			caller.Caller{Kind: "servicePrincipal", ID: serviceID, Name: "Some App", AppName: "Some App"},
		},
		"identity of an agent: a service principal by descent": {
			&graph{objects: map[string]string{spID: object("agentIdentity", spID, `"displayName":"triage-agent","appId":"`+app+`"`)}},
			caller.Caller{Kind: "unknown", ID: spID, Notes: idOnly},
			caller.Caller{Kind: "servicePrincipal", ID: spID, Name: "triage-agent", AppID: app, AppName: "triage-agent"},
		},
		"blueprint of agents: a service principal by descent": {
			&graph{objects: map[string]string{spID: object("agentIdentityBlueprintPrincipal", spID, `"displayName":"triage"`)}},
			caller.Caller{Kind: "unknown", ID: spID},
			caller.Caller{Kind: "servicePrincipal", ID: spID, Name: "triage", AppName: "triage"},
		},
		"account of an agent: a person's account by descent": {
			&graph{objects: map[string]string{userID: object("agentUser", userID, `"displayName":"Agent","userPrincipalName":"agent@example.com"`)}},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "user", ID: userID, Name: "agent@example.com", DisplayName: "Agent"},
		},
		"a type of the future keeps its name": {
			&graph{objects: map[string]string{userID: object("robotAccount", userID, `"displayName":"R2"`)}},
			caller.Caller{Kind: "unknown", ID: userID, Notes: idOnly},
			caller.Caller{Kind: "unknown", ID: userID, Name: "R2", Notes: []string{"the directory has an account of a type that podwatch does not know: robotAccount"}},
		},
		"a group is not an account": {
			&graph{objects: map[string]string{userID: object("group", userID, `"displayName":"Operators"`)}},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "unknown", ID: userID, Notes: []string{"the directory says that this id is not an account but a group"}},
		},
		"user whose name begins with a dollar sign and holds a quote": {
			&graph{users: map[string]string{"$o'neil@example.com": `{"id":"` + guestID + `","displayName":"O'Neil"}`}},
			caller.Caller{Kind: "user", Name: "$O'Neil@example.com"},
			caller.Caller{Kind: "user", Name: "$O'Neil@example.com", DisplayName: "O'Neil"},
		},
		"disabled since": {
			&graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana","userPrincipalName":"dana@example.com","accountEnabled":false`)}},
			caller.Caller{Kind: "user", ID: userID, Name: "Dana@example.com"},
			caller.Caller{Kind: "user", ID: userID, Name: "Dana@example.com", DisplayName: "Dana", Notes: []string{"the account is disabled now"}},
		},
		"renamed since": {
			&graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana","userPrincipalName":"dana.new@example.com"`)}},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com"},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana", Notes: []string{"the account's name in the directory is dana.new@example.com"}},
		},
		"a server that ignores the selection gives its default properties": {
			&graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana","userPrincipalName":"dana@example.com","businessPhones":[],"mail":"d@example.com"`)}},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana"},
		},
		"no permission for the type: a null name is not unknown": {
			&graph{objects: map[string]string{userID: object("user", userID, `"displayName":null,"userPrincipalName":null`)}},
			caller.Caller{Kind: "unknown", ID: userID, Notes: idOnly},
			caller.Caller{Kind: "user", ID: userID, Notes: []string{"the directory knows this id but shows no name: podwatch's identity needs User.Read.All"}},
		},
		"no permission for applications": {
			&graph{objects: map[string]string{spID: object("servicePrincipal", spID, "")}},
			caller.Caller{Kind: "unknown", ID: spID},
			caller.Caller{Kind: "servicePrincipal", ID: spID, Notes: []string{"the directory knows this id but shows no name: podwatch's identity needs Application.Read.All"}},
		},
		"deleted": {
			&graph{deleted: map[string]string{userID: object("user", userID, `"displayName":"Dana","userPrincipalName":"c0a2d6f415be4b399d5708f1e7a4b6d2dana@example.com"`)}},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com"},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana", Notes: []string{"the account has since been deleted"}},
		},
		"unknown": {
			&graph{},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "unknown", ID: userID, Notes: []string{"not in this tenant's directory: an account of another tenant, one deleted for good, or created moments ago"}},
		},
		"unknown, and the recycle bin is closed": {
			&graph{refuse: map[string]int{"directory/": 403}},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "unknown", ID: userID, Notes: []string{"not in this tenant's directory, unless created moments ago; whether it was deleted is not known: " +
				"Microsoft Graph refused the request (HTTP 403 Authorization_RequestDenied); podwatch's identity needs Directory.Read.All"}},
		},
		"no permission at all": {
			&graph{refuse: map[string]int{"directoryObjects/": 403}},
			caller.Caller{Kind: "unknown", ID: userID},
			caller.Caller{Kind: "unknown", ID: userID, Notes: []string{"not looked up in the directory: " +
				"Microsoft Graph refused the request (HTTP 403 Authorization_RequestDenied); podwatch's identity needs Directory.Read.All"}},
		},
		"application known by its application id only": {
			&graph{apps: map[string]string{app: `{"id":"` + spID + `","displayName":"deploy-bot","appId":"` + app + `"}`}},
			caller.Caller{Kind: "servicePrincipal", AppID: app},
			caller.Caller{Kind: "servicePrincipal", AppID: app, Name: "deploy-bot", AppName: "deploy-bot"},
		},
		"application without a service principal": {
			&graph{},
			caller.Caller{Kind: "servicePrincipal", AppID: app},
			caller.Caller{Kind: "servicePrincipal", AppID: app, Notes: []string{"the application has no service principal in this tenant, or one created moments ago"}},
		},
		"the tool of a user": {
			&graph{
				objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`)},
				apps:    map[string]string{app: `{"displayName":"Our Portal"}`},
			},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", AppID: app},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana", AppID: app, AppName: "Our Portal"},
		},
		"the tool of a user, without the permission": {
			&graph{
				objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`)},
				refuse:  map[string]int{"servicePrincipals": 403},
			},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", AppID: app},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana", AppID: app, Notes: []string{
				"client application not looked up: Microsoft Graph refused the request (HTTP 403 Authorization_RequestDenied); podwatch's identity needs Application.Read.All"}},
		},
		"the group that holds the role": {
			&graph{objects: map[string]string{
				userID: object("user", userID, `"displayName":"Dana"`), group: object("group", group, `"displayName":"AKS operators"`)}},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", RoleGroup: group},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "Dana", RoleGroup: "AKS operators"},
		},
		"user by name, for want of an id": {
			&graph{users: map[string]string{"lee_x.example#ext#@example.com": `{"id":"` + guestID + `","displayName":"Lee Park","accountEnabled":true}`}},
			caller.Caller{Kind: "user", Name: "lee_x.example#EXT#@example.com"},
			caller.Caller{Kind: "user", Name: "lee_x.example#EXT#@example.com", DisplayName: "Lee Park"},
		},
		"hostile names come through as data": {
			&graph{objects: map[string]string{userID: object("user", userID, `"displayName":"[x](http://evil) {{DATE(1)}} \u202e"`)}},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com"},
			caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", DisplayName: "[x](http://evil) {{DATE(1)}} \u202e"},
		},
		"accounts of the cluster are not asked about": {
			&graph{},
			caller.Caller{Kind: "kubernetes", ID: userID, Name: "system:serviceaccount:ci:deployer"},
			caller.Caller{Kind: "kubernetes", ID: userID, Name: "system:serviceaccount:ci:deployer"},
		},
		"nothing to ask by": {&graph{}, caller.Caller{Kind: "unknown", Name: "Dana"}, caller.Caller{Kind: "unknown", Name: "Dana"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.in
			got.Notes = slices.Clone(got.Notes)
			d := serve(t, tt.graph, time.Now)
			d.Resolve(t.Context(), []*caller.Caller{&got})
			if len(got.Notes) == 0 {
				got.Notes = nil
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Resolve (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHundredCallersCostOneCall(t *testing.T) {
	g := &graph{objects: map[string]string{
		userID: object("user", userID, `"displayName":"Dana"`),
		spID:   object("servicePrincipal", spID, `"displayName":"deploy-bot","appId":"`+app+`"`),
	}}
	d := serve(t, g, time.Now)
	var callers []*caller.Caller
	for range 50 {
		callers = append(callers, &caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com"},
			&caller.Caller{Kind: "unknown", ID: spID})
	}
	d.Resolve(t.Context(), callers)
	for i, c := range callers {
		if c.DisplayName != "Dana" && c.Name != "deploy-bot" {
			t.Fatalf("caller %d is %+v", i, c)
		}
	}
	if got := g.count(); got != 1 {
		t.Errorf("%d calls for 100 callers, want 1: %v", got, g.calls)
	}
	if diff := cmp.Diff([][]string{{userID, spID}}, g.ids); diff != "" {
		t.Errorf("ids asked for (-want +got):\n%s", diff)
	}

	// An application answered by object id is known by application id, too.
	tool := &caller.Caller{Kind: "user", ID: userID, AppID: app}
	d.Resolve(t.Context(), []*caller.Caller{tool})
	if tool.AppName != "deploy-bot" || g.count() != 1 {
		t.Errorf("AppName %q after %d calls, want it from the cache", tool.AppName, g.count())
	}
}

func TestThousandIDsACall(t *testing.T) {
	g := &graph{objects: map[string]string{}}
	var callers []*caller.Caller
	for i := range 1001 {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		g.objects[id] = object("user", id, `"displayName":"n","userPrincipalName":"u`+fmt.Sprint(i)+`@example.com"`)
		callers = append(callers, &caller.Caller{Kind: "unknown", ID: id})
	}
	serve(t, g, time.Now).Resolve(t.Context(), callers)
	for i, c := range callers {
		if want := fmt.Sprintf("u%d@example.com", i); c.Name != want {
			t.Fatalf("caller %d is %q (%v), want %q", i, c.Name, c.Notes, want)
		}
	}
	if len(g.ids) != 2 || len(g.ids[0]) != 1000 {
		t.Errorf("%d calls, want 1000 ids and 1", len(g.ids))
	}
}

func TestSingleLookupsAreBounded(t *testing.T) {
	g := &graph{}
	var callers []*caller.Caller
	for i := range 20 {
		callers = append(callers, &caller.Caller{Kind: "servicePrincipal", AppID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i)})
	}
	serve(t, g, time.Now).Resolve(t.Context(), callers)
	if got := g.count(); got != 8 {
		t.Errorf("%d calls, want 8", got)
	}
	if want := []string{"not looked up in the directory: too many different accounts in one batch"}; !slices.Equal(callers[19].Notes, want) {
		t.Errorf("notes %q, want %q", callers[19].Notes, want)
	}
}

func TestAnswersAreCached(t *testing.T) {
	g := &graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`)}}
	now := time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)
	d := serve(t, g, func() time.Time { return now })
	resolve := func(id string) *caller.Caller {
		c := &caller.Caller{Kind: "unknown", ID: id}
		d.Resolve(t.Context(), []*caller.Caller{c})
		return c
	}
	for _, step := range []struct {
		at    time.Duration
		id    string
		calls int
	}{
		{0, userID, 1},
		{59 * time.Minute, userID, 1},
		{61 * time.Minute, userID, 2},
		{61 * time.Minute, guestID, 4}, // unknown: getByIds and the recycle bin
		{61*time.Minute + 59*time.Second, guestID, 4},
		{62 * time.Minute, guestID, 6}, // it may have been created in the meantime
	} {
		now = time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC).Add(step.at)
		resolve(step.id)
		if got := g.count(); got != step.calls {
			t.Errorf("%d calls after %v, want %d", got, step.at, step.calls)
		}
	}
}

func TestOldAnswerIsBetterThanNone(t *testing.T) {
	g := &graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana","userPrincipalName":"dana@example.com"`)}}
	now := time.Date(2026, 11, 9, 8, 0, 0, 0, time.UTC)
	d := serve(t, g, func() time.Time { return now })
	d.Resolve(t.Context(), []*caller.Caller{{Kind: "unknown", ID: userID}})

	g.refuse = map[string]int{"directoryObjects": 403}
	now = now.Add(2 * time.Hour)
	c := &caller.Caller{Kind: "unknown", ID: userID}
	d.Resolve(t.Context(), []*caller.Caller{c})
	if c.Name != "dana@example.com" {
		t.Errorf("name %q, want the one known before", c.Name)
	}
	if want := "the directory's answer is from 2026-11-09T08:00:00Z: Microsoft Graph refused"; len(c.Notes) != 1 || !strings.HasPrefix(c.Notes[0], want) {
		t.Errorf("notes %q, want one beginning %q", c.Notes, want)
	}
}

func TestSelectionRefused(t *testing.T) {
	g := &graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`), spID: object("servicePrincipal", spID, `"displayName":"bot"`)}}
	g.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("$select") {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	}
	d := serve(t, g, time.Now)
	for i, id := range []string{userID, spID} { // the second does not try the selection again
		c := &caller.Caller{Kind: "unknown", ID: id}
		d.Resolve(t.Context(), []*caller.Caller{c})
		if c.Name == "" && c.DisplayName == "" || g.count() != i+2 {
			t.Errorf("caller %+v after %d calls", c, g.count())
		}
	}
}

func TestPagedAnswer(t *testing.T) {
	g := &graph{}
	var url string
	g.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.URL.Path == "/page2" {
			fmt.Fprintf(w, `{"value":[null,{"id":"not an id"},%s]}`, object("user", userID, `"displayName":"Dana"`))
			return true
		}
		if r.Method == http.MethodPost {
			fmt.Fprintf(w, `{"value":[%s],"@odata.nextLink":"%s"}`, object("user", guestID, `"displayName":"Lee"`), url)
			return true
		}
		return false
	}
	s := httptest.NewServer(g)
	defer s.Close()
	resolve := func() (a, b *caller.Caller) {
		d := directory.New(outboundtest.Client(t, "Microsoft Graph", s.URL), time.Now, slog.New(slog.DiscardHandler))
		a, b = &caller.Caller{Kind: "unknown", ID: userID}, &caller.Caller{Kind: "unknown", ID: guestID}
		d.Resolve(t.Context(), []*caller.Caller{a, b})
		return a, b
	}
	url = s.URL + "/page2"
	if a, b := resolve(); a.DisplayName != "Dana" || b.DisplayName != "Lee" {
		t.Errorf("got %+v and %+v", a, b)
	}
	// Half an answer is used, and the other half is not "unknown".
	url = "http://127.0.0.1:1/page2"
	a, b := resolve()
	if b.DisplayName != "Lee" || !slices.Equal(a.Notes, []string{"not looked up in the directory: Microsoft Graph gave an unreadable answer: the address is not below the service's endpoint"}) {
		t.Errorf("got %+v and %+v", a, b)
	}
}

// TestGraphFails holds that any way of failing leaves the caller as it was, and
// says so.
func TestGraphFails(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"throttled": {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "120"); w.WriteHeader(429) },
			"Microsoft Graph asked podwatch to wait (HTTP 429)"},
		"broken":   {func(w http.ResponseWriter) { w.WriteHeader(500) }, "Microsoft Graph had an error of its own (HTTP 500)"},
		"cut":      {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "Microsoft Graph did not answer: the connection was closed"},
		"bad JSON": {func(w http.ResponseWriter) { io.WriteString(w, `{"value":[{"id":`) }, "Microsoft Graph gave an unreadable answer: not the expected JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &graph{before: func(w http.ResponseWriter, _ *http.Request) bool { tt.answer(w); return true }}
			d := serve(t, g, time.Now)
			c := &caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com"}
			d.Resolve(t.Context(), []*caller.Caller{c})
			want := &caller.Caller{Kind: "user", ID: userID, Name: "dana@example.com", Notes: []string{"not looked up in the directory: " + tt.want}}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}

			before := g.count()
			again := &caller.Caller{Kind: "user", ID: userID}
			d.Resolve(t.Context(), []*caller.Caller{again})
			if g.count() != before {
				t.Errorf("%d calls while the failure is remembered", g.count()-before)
			}
			if len(again.Notes) != 1 || !strings.Contains(again.Notes[0], tt.want) || !strings.Contains(again.Notes[0], "no new attempt before") {
				t.Errorf("notes %q", again.Notes)
			}
		})
	}
}

func TestDeadGraphCostsTheBudgetOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := outboundtest.Client(t, "Microsoft Graph", "http://127.0.0.1")
		c.Transport = outboundtest.Hanging{}
		d := directory.New(c, time.Now, slog.New(slog.DiscardHandler))
		resolve := func(ctx context.Context) (time.Duration, []string) {
			start := time.Now()
			c, tool := &caller.Caller{Kind: "user", ID: userID, AppID: app}, &caller.Caller{Kind: "servicePrincipal", AppID: app}
			d.Resolve(ctx, []*caller.Caller{c, tool})
			return time.Since(start), c.Notes
		}
		took, notes := resolve(t.Context())
		if took != 2*time.Second || len(notes) != 2 || notes[0] != "not looked up in the directory: Microsoft Graph could not be reached: timed out" {
			t.Errorf("took %v with notes %q, want 2s", took, notes)
		}
		if took, notes := resolve(t.Context()); took != 0 || len(notes) != 2 {
			t.Errorf("took %v with notes %q while remembered, want nothing", took, notes)
		}
		time.Sleep(time.Minute)
		if took, _ := resolve(t.Context()); took != 2*time.Second {
			t.Errorf("took %v after the failure was forgotten, want a new attempt of 2s", took)
		}
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if took, _ := resolve(ctx); took != 300*time.Millisecond {
			t.Errorf("took %v, want no longer than the invocation's 300ms", took)
		}
	})
}

func TestResolveConcurrently(t *testing.T) {
	g := &graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`)}}
	d := serve(t, g, time.Now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				c := &caller.Caller{Kind: "user", ID: userID}
				d.Resolve(context.Background(), []*caller.Caller{c, {Kind: "unknown", ID: guestID}})
				if c.DisplayName != "Dana" {
					t.Errorf("caller %+v", c)
				}
			}
		})
	}
	wg.Wait()
}

// TestOneNamesFaultIsItsOwn: whoever holds a certificate chooses a name that Graph
// refuses; the next person is looked up all the same.
func TestOneNamesFaultIsItsOwn(t *testing.T) {
	for name, breaks := range map[string]func(http.ResponseWriter){
		"refused":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
		"unreadable": func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			g := &graph{users: map[string]string{"lee@example.com": `{"displayName":"Lee"}`}}
			g.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "users('bad") {
					return false
				}
				breaks(w)
				return true
			}
			d := serve(t, g, time.Now)
			bad, lee := &caller.Caller{Kind: "user", Name: "bad@example.com"}, &caller.Caller{Kind: "user", Name: "lee@example.com"}
			d.Resolve(t.Context(), []*caller.Caller{bad})
			d.Resolve(t.Context(), []*caller.Caller{lee})
			if len(bad.Notes) != 1 || lee.DisplayName != "Lee" || len(lee.Notes) != 0 {
				t.Errorf("got %+v and %+v", bad, lee)
			}
			calls := g.count()
			if d.Resolve(t.Context(), []*caller.Caller{{Kind: "user", Name: "bad@example.com"}}); g.count() != calls {
				t.Error("the name that failed is asked for again at once")
			}
		})
	}
}

// TestALinksFaultIsItsOwn: what follows a broken page link is asked anew.
func TestALinksFaultIsItsOwn(t *testing.T) {
	for name, status := range map[string]int{"refused": 403, "broken": 500, "bad": 400} {
		t.Run(name, func(t *testing.T) {
			g := &graph{objects: map[string]string{userID: object("user", userID, `"displayName":"Dana"`)}}
			first := true
			g.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/page2" {
					w.WriteHeader(status)
					return true
				}
				if !first {
					return false
				}
				first = false
				fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"http://%s/page2"}`, r.Host)
				return true
			}
			d := serve(t, g, time.Now)
			lost, dana := &caller.Caller{Kind: "unknown", ID: guestID}, &caller.Caller{Kind: "unknown", ID: userID}
			d.Resolve(t.Context(), []*caller.Caller{lost})
			d.Resolve(t.Context(), []*caller.Caller{dana})
			if len(lost.Notes) != 1 || !strings.HasPrefix(lost.Notes[0], "not looked up") || dana.DisplayName != "Dana" {
				t.Errorf("got %+v and %+v", lost, dana)
			}
		})
	}
}

func TestZeroDirectoryAsksNobody(t *testing.T) {
	c := caller.Caller{Kind: "unknown", ID: userID}
	new(directory.Directory).Resolve(t.Context(), []*caller.Caller{&c})
	if diff := cmp.Diff(caller.Caller{Kind: "unknown", ID: userID}, c); diff != "" {
		t.Errorf("caller (-want +got):\n%s", diff)
	}
}

// broken breaks where an answer is read.
type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

// TestAPanicOfACallReachesTheCaller: in the call's own goroutine it would end the
// process.
func TestAPanicOfACallReachesTheCaller(t *testing.T) {
	c := outboundtest.Client(t, "Microsoft Graph", "http://127.0.0.1")
	c.Transport = broken{}
	d := directory.New(c, time.Now, slog.New(slog.DiscardHandler))
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "a bug") || !strings.Contains(text, "broken.RoundTrip") {
			t.Errorf("recovered %s, want the panic and its stack", text)
		}
	}()
	d.Resolve(t.Context(), []*caller.Caller{{Kind: "user", ID: userID}})
}
