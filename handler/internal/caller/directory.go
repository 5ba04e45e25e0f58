package caller

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	lru "github.com/hashicorp/golang-lru/v2"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/lookup"
)

const (
	maxIDs     = 1000 // of one getByIds call, by Graph's own rule
	maxPages   = 10   // of one getByIds answer
	maxSingles = 8    // calls for one object each, of a batch
	maxCached  = 8192
)

// selected are the properties that Resolve reads.
const selected = "id,displayName,userPrincipalName,userType,accountEnabled,appId," +
	"servicePrincipalType,alternativeNames,appOwnerOrganizationId"

// DirectoryOptions tune a Directory; the zero value is right for production.
type DirectoryOptions struct {
	Budget     time.Duration // for one batch; default 2 s
	KnownFor   time.Duration // how long an answer with a name is kept; default 1 h
	UnknownFor time.Duration // the same for "not found" and for a name that may not be read; default 10 min
	Scope      string        // default is the endpoint's own "/.default", which holds in every cloud
	Transport  policy.Transporter
	Now        func() time.Time
	Log        *slog.Logger
}

// A Directory knows Entra accounts by asking Microsoft Graph. It is safe for
// concurrent use.
type Directory struct {
	opts   DirectoryOptions
	client *lookup.Client
	cache  *lru.Cache[key, answer]
	plain  atomic.Bool // this server refuses $select
}

// A key is what an account is asked for by: "id:", "app:" or "upn:" and the value.
type key string

// An answer is what the directory said. object is nil when it knows no such
// account; then unsure may say why its recycle bin could not be seen.
type answer struct {
	object  *directoryObject
	deleted bool
	unsure  error
	asked   time.Time
	expires time.Time
}

// A directoryObject is a user, group or service principal. A nil pointer is a
// property that was not shown: without the permission for a type, Graph gives
// id and type alone, which is not the same as "not found".
type directoryObject struct {
	Type                   string   `json:"@odata.type"`
	ID                     string   `json:"id"`
	DisplayName            *string  `json:"displayName"`
	UserPrincipalName      *string  `json:"userPrincipalName"`
	UserType               *string  `json:"userType"`
	AccountEnabled         *bool    `json:"accountEnabled"`
	AppID                  *string  `json:"appId"`
	ServicePrincipalType   *string  `json:"servicePrincipalType"`
	AppOwnerOrganizationID *string  `json:"appOwnerOrganizationId"`
	AlternativeNames       []string `json:"alternativeNames"`
}

// NewDirectory makes a Directory for Graph at endpoint, such as
// "https://graph.microsoft.com". A loopback http endpoint is called without a
// token, and cred may then be nil.
func NewDirectory(endpoint string, cred azcore.TokenCredential, o DirectoryOptions) (*Directory, error) {
	o.Budget = cmp.Or(o.Budget, 2*time.Second)
	o.KnownFor = cmp.Or(o.KnownFor, time.Hour)
	o.UnknownFor = cmp.Or(o.UnknownFor, 10*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	client, err := lookup.New(strings.TrimSuffix(strings.TrimRight(endpoint, "/"), "/v1.0"), cred, lookup.Options{
		Service: "Microsoft Graph", Scope: o.Scope, Transport: o.Transport, Now: o.Now, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[key, answer](maxCached)
	if err != nil {
		return nil, err
	}
	return &Directory{opts: o, client: client, cache: cache}, nil
}

// Resolve completes callers in place. The object ids of the whole batch go into
// one call. It takes no longer than the budget and cannot fail: a caller that
// stays incomplete gets a note with the reason and, where one is missing, the
// permission. The callers must not be read or changed meanwhile.
func (d *Directory) Resolve(ctx context.Context, callers []*Caller) {
	ctx, cancel := lookup.WithBudget(ctx, d.opts.Budget)
	defer cancel()

	b := batch{d: d, answers: map[key]answer{}, errs: map[key]error{}}
	var missing []key
	seen := map[key]bool{"": true}
	for _, c := range callers {
		for _, k := range keysOf(c) {
			if seen[k] {
				continue
			}
			seen[k] = true
			if a, ok := d.cache.Get(k); ok && d.opts.Now().Before(a.expires) {
				b.answers[k] = a
			} else {
				missing = append(missing, k)
			}
		}
	}
	b.ask(ctx, missing)
	for _, c := range callers {
		b.complete(c)
	}
}

// keysOf lists what to ask about c: itself, its client application, and the
// group that holds its role. Accounts of a cluster are not in the directory.
func keysOf(c *Caller) [3]key {
	var keys [3]key
	if c.Kind == KindKubernetes {
		return keys
	}
	if id, ok := arm.ParseGUID(c.ID); ok {
		keys[0] = "id:" + key(id)
	} else if app, ok := arm.ParseGUID(c.AppID); ok && c.Kind != KindUser {
		keys[0] = "app:" + key(app)
	} else if c.Kind == KindUser && strings.Contains(c.Name, "@") && len(c.Name) <= 256 {
		keys[0] = "upn:" + key(strings.ToLower(c.Name))
	}
	if app, ok := arm.ParseGUID(c.AppID); ok && c.Kind == KindUser && c.AppName == "" {
		keys[1] = "app:" + key(app)
	}
	if group, ok := arm.ParseGUID(c.RoleGroup); ok {
		keys[2] = "id:" + key(group)
	}
	return keys
}

// A batch is the state of one Resolve.
type batch struct {
	d *Directory

	mu      sync.Mutex
	answers map[key]answer
	errs    map[key]error // why there is no answer
}

// ask fetches what is missing: all object ids in one call, next to at most
// maxSingles calls for the others.
func (b *batch) ask(ctx context.Context, missing []key) {
	var ids, singles []key
	for _, k := range missing {
		if strings.HasPrefix(string(k), "id:") {
			ids = append(ids, k)
		} else {
			singles = append(singles, k)
		}
	}
	var g lookup.Group // its calls report into b
	if len(ids) > 0 {
		g.Go(func() {
			unknown := b.askIDs(ctx, ids)
			// Beyond maxSingles an id is "not found" without a look into
			// the recycle bin.
			for _, k := range unknown[:min(len(unknown), maxSingles)] {
				g.Go(func() { b.askDeleted(ctx, k) })
			}
		})
	}
	for i, k := range singles {
		if i >= maxSingles {
			b.fail(errTooMany, k)
			continue
		}
		g.Go(func() { b.askSingle(ctx, k) })
	}
	g.Wait()
}

var errTooMany = errors.New("too many different accounts in one batch")

// askIDs asks for all ids at once and returns those that the directory does not
// know.
func (b *batch) askIDs(ctx context.Context, ids []key) (unknown []key) {
	for chunk := range slices.Chunk(ids, maxIDs) {
		found, err := b.d.getByIDs(ctx, chunk)
		for id, o := range found {
			b.keep("id:"+key(id), answer{object: o})
			if o.AppID != nil {
				if app, ok := arm.ParseGUID(*o.AppID); ok {
					b.keep("app:"+key(app), answer{object: o})
				}
			}
		}
		for _, k := range chunk {
			if _, ok := found[value(k)]; ok {
				continue
			}
			if err != nil {
				b.fail(err, k)
				continue
			}
			b.keep(k, answer{})
			unknown = append(unknown, k)
		}
	}
	return unknown
}

// getByIDs returns what Graph knows by id, in whatever order it came. An error
// may come with a part of the answer.
func (d *Directory) getByIDs(ctx context.Context, ids []key) (map[string]*directoryObject, error) {
	values := make([]string, len(ids))
	for i, k := range ids {
		values[i] = value(k)
	}
	r := lookup.Request{
		Method: http.MethodPost, Path: "v1.0/directoryObjects/getByIds", Area: "objects",
		Query: url.Values{"$select": {selected}},
		Body:  map[string][]string{"ids": values, "types": {"user", "group", "servicePrincipal"}},
	}
	if d.plain.Load() {
		r.Query, r.Area = nil, "objects without selection"
	}
	found := make(map[string]*directoryObject, len(ids))
	for range maxPages {
		var page struct {
			Value []*directoryObject `json:"value"`
			Next  string             `json:"@odata.nextLink"`
		}
		err := d.client.Do(ctx, r, &page)
		if lookup.Is(err, lookup.Rejected) && r.Query != nil {
			// A server that does not take $select here, as Graph itself
			// once did not: ask again for the default properties.
			d.plain.Store(true)
			r.Query, r.Area = nil, "objects without selection"
			continue
		}
		if err != nil {
			return found, err
		}
		for _, o := range page.Value {
			if o == nil {
				continue
			}
			if id, ok := arm.ParseGUID(o.ID); ok {
				found[id] = o
			}
		}
		if page.Next == "" {
			return found, nil
		}
		r = lookup.Request{Method: http.MethodGet, Link: page.Next, Area: r.Area}
	}
	return found, errTooMany
}

// askDeleted looks for an unknown id in the directory's recycle bin.
func (b *batch) askDeleted(ctx context.Context, k key) {
	var o directoryObject
	err := b.d.client.Do(ctx, lookup.Request{
		Method: http.MethodGet, Path: "v1.0/directory/deletedItems/" + value(k), Area: "deleted items",
	}, &o)
	switch {
	case err == nil:
		b.keep(k, answer{object: &o, deleted: true})
	case lookup.Is(err, lookup.Refused):
		b.keep(k, answer{unsure: err})
	case !lookup.Is(err, lookup.NotFound):
		b.keep(k, answer{unsure: err})
		b.d.cache.Remove(k) // worth another try with the next batch
	}
}

// askSingle asks for a service principal by application id, or for a user by
// name.
func (b *batch) askSingle(ctx context.Context, k key) {
	r := lookup.Request{Method: http.MethodGet, Query: url.Values{"$select": {selected}}}
	if strings.HasPrefix(string(k), "app:") {
		r.Path, r.Area = "v1.0/servicePrincipals(appId='"+value(k)+"')", "applications"
	} else {
		r.Path, r.Area = "v1.0/users/"+url.PathEscape(value(k)), "users"
		// The selection holds properties of other types, which this address refuses.
		r.Query.Set("$select", "id,displayName,userPrincipalName,userType,accountEnabled")
	}
	if r.Area == "applications" {
		r.Query.Set("$select", "id,displayName,accountEnabled,appId,servicePrincipalType,alternativeNames,appOwnerOrganizationId")
	}
	var o directoryObject
	err := b.d.client.Do(ctx, r, &o)
	switch {
	case err == nil:
		if o.Type == "" { // a single object is of the type that was asked for
			o.Type = map[string]string{"applications": "#microsoft.graph.servicePrincipal", "users": "#microsoft.graph.user"}[r.Area]
		}
		b.keep(k, answer{object: &o})
	case lookup.Is(err, lookup.NotFound):
		b.keep(k, answer{})
	default:
		b.fail(err, k)
	}
}

func (b *batch) keep(k key, a answer) {
	a.asked = b.d.opts.Now()
	a.expires = a.asked.Add(b.d.opts.UnknownFor)
	if a.object != nil && a.object.DisplayName != nil {
		a.expires = a.asked.Add(b.d.opts.KnownFor)
	}
	b.mu.Lock()
	b.answers[k] = a
	b.mu.Unlock()
	b.d.cache.Add(k, a)
}

// fail records why k has no answer. An answer that has expired is better than
// none: names rarely change.
func (b *batch) fail(err error, k key) {
	stale, ok := b.d.cache.Peek(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs[k] = err
	if ok && stale.object != nil {
		b.answers[k] = stale
	}
}

// complete applies the answers to c.
func (b *batch) complete(c *Caller) {
	keys := keysOf(c)
	if k := keys[0]; k != "" {
		a, ok := b.answers[k]
		err := b.errs[k]
		switch {
		case ok && a.object != nil:
			c.apply(a)
			if err != nil {
				c.note("the directory's answer is from " + a.asked.UTC().Format(time.RFC3339) + ": " + err.Error())
			}
		case ok:
			c.note(notFound(k, a))
		case err != nil:
			c.note("not looked up in the directory: " + err.Error() + remedy(err, permission(k)))
		}
	}
	if k := keys[1]; k != "" {
		if a := b.answers[k]; a.object != nil && a.object.DisplayName != nil {
			c.AppName = *a.object.DisplayName
		} else if err := b.errs[k]; err != nil {
			c.note("client application not looked up: " + err.Error() + remedy(err, permission(k)))
		}
	}
	if k := keys[2]; k != "" {
		if a := b.answers[k]; a.object != nil && a.object.DisplayName != nil {
			c.RoleGroup = *a.object.DisplayName
		}
	}
}

// apply copies what the directory knows. What the record says of the name wins,
// for that is what other logs of the time show too; the kind is the directory's
// to say.
func (c *Caller) apply(a answer) {
	o := a.object
	c.Notes = slices.DeleteFunc(c.Notes, func(n string) bool { return n == noteIDOnly })
	switch o.kind() {
	case "user":
		c.Kind = KindUser
		today := deref(o.UserPrincipalName)
		c.Name = cmp.Or(c.Name, today, deref(o.DisplayName))
		c.DisplayName = cmp.Or(c.DisplayName, deref(o.DisplayName))
		if today != "" && !strings.EqualFold(today, c.Name) && strings.Contains(c.Name, "@") && !a.deleted {
			c.note("the account's name in the directory is " + short(today))
		}
		c.Guest = c.Guest || strings.EqualFold(deref(o.UserType), "Guest") || strings.Contains(today, "#EXT#")
	case "serviceprincipal":
		c.applyApplication(o)
	default:
		c.note("the directory says that this id is not an account but a " + short(o.kind()))
	}
	if o.DisplayName == nil {
		c.note("the directory knows this id but shows no name: podwatch's identity needs " + permissionFor(o.kind()))
	}
	switch {
	case a.deleted:
		c.Account = AccountDeleted
		c.note("the account has since been deleted")
	case o.AccountEnabled != nil && !*o.AccountEnabled:
		c.Account = AccountDisabled
		c.note("the account is disabled now")
	case o.AccountEnabled != nil:
		c.Account = AccountEnabled
	}
}

func (c *Caller) applyApplication(o *directoryObject) {
	switch {
	case strings.EqualFold(deref(o.ServicePrincipalType), "ManagedIdentity"):
		c.Kind = KindManagedIdentity
		for _, name := range o.AlternativeNames { // in no promised order
			if strings.HasPrefix(strings.ToLower(name), "/subscriptions/") || strings.HasPrefix(strings.ToLower(name), "/providers/") {
				c.OwnerResource = cmp.Or(c.OwnerResource, name)
			}
		}
		if strings.Contains(strings.ToLower(c.OwnerResource), "/policyassignments/") {
			c.note("the identity belongs to a policy assignment")
		}
	case slices.Contains(microsoftTenants, strings.ToLower(deref(o.AppOwnerOrganizationID))):
		c.Kind = KindMicrosoftApplication
	case c.Kind == KindUnknown || c.Kind == KindUser:
		c.Kind = KindServicePrincipal
	}
	c.Name = cmp.Or(c.Name, deref(o.DisplayName))
	if id, ok := arm.ParseGUID(deref(o.AppID)); ok {
		c.AppID = cmp.Or(c.AppID, id)
	}
	c.AppName = cmp.Or(c.AppName, deref(o.DisplayName))
}

// kind is the object's type in lower case without its namespace.
func (o *directoryObject) kind() string {
	return strings.ToLower(o.Type[strings.LastIndexByte(o.Type, '.')+1:])
}

func notFound(k key, a answer) string {
	if strings.HasPrefix(string(k), "app:") {
		return "the application has no service principal in this tenant"
	}
	text := "not in this tenant's directory: an account of another tenant, or one deleted for good"
	if a.unsure != nil {
		text = "not in this tenant's directory; whether it was deleted is not known: " + a.unsure.Error() +
			remedy(a.unsure, permission("id:"))
	}
	return text
}

// remedy names the permission when a permission is what is missing.
func remedy(err error, permission string) string {
	if lookup.Is(err, lookup.Refused) {
		return "; podwatch's identity needs " + permission
	}
	return ""
}

func permission(k key) string {
	kind, _, _ := strings.Cut(string(k), ":")
	switch kind {
	case "app":
		return "Application.Read.All"
	case "upn":
		return "User.Read.All"
	}
	return "Directory.Read.All"
}

func permissionFor(objectKind string) string {
	switch objectKind {
	case "user":
		return "User.Read.All"
	case "serviceprincipal":
		return "Application.Read.All"
	}
	return "Directory.Read.All"
}

// value is the part of k after its prefix.
func value(k key) string {
	_, v, _ := strings.Cut(string(k), ":")
	return v
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
