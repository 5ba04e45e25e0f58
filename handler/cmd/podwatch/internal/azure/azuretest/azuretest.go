// Package azuretest is an Azure for tests, on a loopback address: as much of Azure
// Resource Manager, of an SCM site, of the query service of Log Analytics and of the
// ingestion as podwatch's tool and its scripts use.
//
// A deployment of the template makes the resources that the template makes. What the
// real services do slowly or only now and then is set by the fields, and a request can
// be made to fail by [Azure.Fail]. The manners are those of the vendor's own clients'
// code and tests; their sources are named in the test of this package.
package azuretest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Names of what a deployment makes. Subscription is the only one that exists.
const (
	Subscription = "11111111-2222-3333-4444-555555555555"
	Principal    = "99999999-8888-7777-6666-555555555555" // of the app's identity
	Group        = "/subscriptions/" + Subscription + "/resourceGroups/rg-podwatch-westeurope"
	App          = Group + "/providers/Microsoft.Web/sites/func-podwatch-token"
	Storage      = Group + "/providers/Microsoft.Storage/storageAccounts/stpodwatchtoken"
	Namespace    = Group + "/providers/Microsoft.EventHub/namespaces/evhns-podwatch-token"
	Vault        = Group + "/providers/Microsoft.KeyVault/vaults/kv-podwatch-token"
	Workspace    = Group + "/providers/Microsoft.OperationalInsights/workspaces/log-podwatch-token"
	Rule         = Group + "/providers/Microsoft.Insights/dataCollectionRules/dcr-podwatch-token"
	Identity     = Group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-podwatch-token"
	Cluster      = "/subscriptions/" + Subscription + "/resourceGroups/rg-shop/providers/Microsoft.ContainerService/managedClusters/aks-shop"
	Secret       = Vault + "/secrets/teams-webhook-url"
	Record       = "/subscriptions/" + Subscription + "/providers/Microsoft.Resources/deployments/podwatch-westeurope"
	Setting      = "/providers/Microsoft.Insights/diagnosticSettings/podwatch-token"
)

type object = map[string]any

// Azure is the double. Its fields may be changed inside [Azure.Do] only.
type Azure struct {
	URL string
	Now func() time.Time

	RetryAfter time.Duration // that every answer asks to wait; 0: none does

	// Of the template.
	Plan     string            // flex or premium
	Settings map[string]string // app settings that replace the template's, "": without it
	Teams    bool              // whether the deployment's parameters have the address
	Broken   string            // why the next deployments fail: the JSON of the innermost error

	// Of the SCM site and of the app.
	Unknown  int      // answers 404 to the first questions about a deployment
	Statuses []int    // of a deployment, one a question, the last for good; nil: success at once
	Recycled bool     // the deployment is forgotten after its first status
	Failure  string   // status_text of a status above 2
	Syncs    int      // synchronizations until the functions are listed
	Host     []string // errors of the host; nil: it runs
	Running  string   // version of the handler that has started
	Started  time.Time
	Hanging  bool              // a published package does not start
	Status   map[string]string // of references, by setting; Resolved where it has none
	Refresh  int               // refreshes until references are resolved

	// Of the workspace.
	NoTable, NoTelemetry bool
	Rows                 []map[string]any
	Beat                 time.Time // of the latest heartbeat that succeeded
	Error, Refused       string    // logged; of the ingestion

	// Published is called with the package when the app would start it. Without it the
	// version in the package has started.
	Published func(archive []byte)

	mu        sync.Mutex
	resources map[string]object // by id in lower case
	settings  map[string]string // of the app
	faults    []*fault
	calls     []string
	scm       []object // deployments, oldest first
	asked     int      // how often the latest was asked for
	synced    int
	pending   []byte // package that is being deployed
	archive   []byte // package that is about to start
}

// A fault answers requests instead of Azure.
type fault struct {
	method, path string
	times        int
	status       int
	body         string
}

// Start runs a double until the test ends: a subscription with one cluster, into which
// nothing was deployed.
func Start(t testing.TB) *Azure {
	a := &Azure{Now: time.Now, Plan: "flex", resources: map[string]object{}, Status: map[string]string{}}
	a.put("/subscriptions/"+Subscription, "", object{"displayName": "test", "state": "Enabled", "tenantId": "00000000-1111-2222-3333-444444444444"})
	a.put(Cluster, "westeurope", object{})
	server := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Do changes the double.
func (a *Azure) Do(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// Fail lets the next requests whose method and path match fail; times below zero: all.
// path is a regular expression that is matched ignoring case.
func (a *Azure) Fail(times int, method, path string, status int, body string) {
	a.Do(func() { a.faults = append(a.faults, &fault{method, "(?i)" + path, times, status, body}) })
}

// Mend ends all faults.
func (a *Azure) Mend() { a.Do(func() { a.faults = nil }) }

// Calls returns the requests so far that match a regular expression, as METHOD PATH.
func (a *Azure) Calls(pattern string) (found []string) {
	a.Do(func() {
		for _, call := range a.calls {
			if regexp.MustCompile("(?i)" + pattern).MatchString(call) {
				found = append(found, call)
			}
		}
	})
	return found
}

// Put makes a resource.
func (a *Azure) Put(id, location string, properties map[string]any) {
	a.Do(func() { a.put(id, location, properties) })
}

// Disable disables the subscription.
func (a *Azure) Disable() {
	a.Do(func() { a.resources["/subscriptions/"+Subscription]["state"] = "Disabled" })
}

// PutGroup makes a resource group with podwatch's tag.
func (a *Azure) PutGroup(id, location string) {
	a.Do(func() { a.put(id, location, object{})["tags"] = object{"app": "podwatch"} })
}

// Runs makes a package of that version the one that was published and runs, and returns
// the id of its deployment.
func (a *Azure) Runs(version string) (id string) {
	a.Do(func() {
		id = fmt.Sprintf("%08d-0000-4000-8000-000000000000", len(a.scm)+1)
		a.scm = append(a.scm, object{"id": id, "deployer": "podwatch"})
		a.synced = 1
		a.Running, a.Started, a.Beat = version, a.Now(), a.Now()
	})
	return id
}

// AppSetting changes a setting of the app.
func (a *Azure) AppSetting(name, value string) { a.Do(func() { a.settings[name] = value }) }

// Remove deletes a resource and what is below it.
func (a *Azure) Remove(id string) { a.Do(func() { a.remove(id) }) }

// IDs lists the resources below an id.
func (a *Azure) IDs(below string) (ids []string) {
	a.Do(func() {
		for _, r := range a.all(func(key string) bool { return strings.HasPrefix(key, strings.ToLower(below)) }) {
			ids = append(ids, r["id"].(string))
		}
	})
	return ids
}

// AppSettings returns the settings of the app.
func (a *Azure) AppSettings() (s map[string]string) {
	a.Do(func() { s = maps.Clone(a.settings) })
	return s
}

func (a *Azure) put(id, location string, properties object) object {
	r := object{"id": id, "name": id[strings.LastIndexByte(id, '/')+1:], "location": location, "properties": properties}
	if parts := strings.Split(id, "/providers/"); len(parts) > 1 {
		last := strings.Split(parts[len(parts)-1], "/")
		r["type"] = last[0]
		for i := 1; i < len(last); i += 2 {
			r["type"] = r["type"].(string) + "/" + last[i]
		}
	}
	if strings.Count(id, "/") == 2 { // a subscription has no properties
		maps.Copy(r, properties)
	}
	a.resources[strings.ToLower(id)] = r
	return r
}

func (a *Azure) remove(id string) bool {
	id = strings.ToLower(id)
	before := len(a.resources)
	maps.DeleteFunc(a.resources, func(key string, _ object) bool { return key == id || strings.HasPrefix(key, id+"/") })
	return len(a.resources) < before
}

func (a *Azure) props(id string) object {
	r := a.resources[strings.ToLower(id)]
	if r == nil {
		return object{}
	}
	return r["properties"].(object)
}

// Change changes a property of a resource.
func (a *Azure) Change(id, property string, value any) {
	a.Do(func() { a.props(id)[property] = value })
}

// Deploy deploys the template as the Azure CLI would, with an existing hub and storage
// in the app's settings.
func (a *Azure) Deploy(t testing.TB) {
	t.Helper()
	body := strings.NewReader(`{"location":"westeurope"}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, a.URL+Record+"?api-version=x", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode > 299 {
		t.Fatalf("deploy: %d %s", resp.StatusCode, text)
	}
}

type answer struct {
	status int
	body   any
}

func no(status int, code, format string, args ...any) answer {
	return answer{status, object{"error": object{"code": code, "message": fmt.Sprintf(format, args...)}}}
}

func list(values ...object) answer {
	if values == nil {
		values = []object{}
	}
	return answer{200, object{"value": values}}
}

func (a *Azure) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.calls = append(a.calls, r.Method+" "+r.URL.Path)
	out := a.fault(r)
	if out.status == 0 {
		out = a.answer(r, body)
	}
	published := a.starting()
	pause := a.RetryAfter
	a.mu.Unlock()
	if published != nil {
		published()
	}
	if pause > 0 {
		w.Header().Set("Retry-After-Ms", strconv.FormatInt(pause.Milliseconds(), 10))
	}
	if text, plain := out.body.(string); plain {
		w.WriteHeader(out.status)
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(out.status)
	if out.body != nil {
		_ = json.NewEncoder(w).Encode(out.body)
	}
}

func (a *Azure) fault(r *http.Request) answer {
	for _, f := range a.faults {
		if f.times != 0 && (f.method == r.Method || f.method == "*") && regexp.MustCompile(f.path).MatchString(r.URL.Path) {
			f.times--
			if f.body == "" {
				return no(f.status, http.StatusText(f.status), "it failed")
			}
			return answer{f.status, f.body}
		}
	}
	return answer{}
}

// route is one kind of request. The groups of path are handed to serve.
type route struct {
	method string
	path   *regexp.Regexp
	serve  func(a *Azure, r *http.Request, body []byte, at []string) answer
}

func on(method, path string, serve func(*Azure, *http.Request, []byte, []string) answer) route {
	return route{method, regexp.MustCompile("(?i)^" + path + "$"), serve}
}

func (a *Azure) answer(r *http.Request, body []byte) answer {
	if strings.HasPrefix(r.URL.Path, "/subscriptions/") && !strings.HasPrefix(r.URL.Path, "/subscriptions/"+Subscription) {
		return no(404, "SubscriptionNotFound", "The subscription '%s' could not be found.", strings.Split(r.URL.Path, "/")[2])
	}
	for _, route := range routes {
		if at := route.path.FindStringSubmatch(r.URL.Path); at != nil && route.method == r.Method {
			return route.serve(a, r, body, at)
		}
	}
	return a.resource(r)
}

// resource answers for every kind of resource: it can be read and deleted. Whether a
// diagnostic setting existed makes no difference to its deletion.
func (a *Azure) resource(r *http.Request) answer {
	key := strings.ToLower(r.URL.Path)
	switch found := a.resources[key]; {
	case r.Method == http.MethodDelete && (a.remove(key) || strings.Contains(key, "/diagnosticsettings/")):
		return answer{200, nil}
	case r.Method == http.MethodDelete:
		return answer{204, nil}
	case r.Method != http.MethodGet || found == nil:
		return no(404, "ResourceNotFound", "The Resource '%s' was not found.", r.URL.Path)
	default:
		return answer{200, found}
	}
}

// all lists the resources that are wanted by their ids in lower case.
func (a *Azure) all(wanted func(key string) bool) (found []object) {
	for _, key := range slices.Sorted(maps.Keys(a.resources)) {
		if wanted(key) {
			found = append(found, a.resources[key])
		}
	}
	return found
}

// below lists the resources of a kind directly below a scope.
func (a *Azure) below(scope, kind string) []object {
	return a.all(func(key string) bool {
		rest, ok := strings.CutPrefix(key, strings.ToLower(scope+kind))
		return ok && rest != "" && !strings.Contains(rest, "/")
	})
}
