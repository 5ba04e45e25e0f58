// Package directory completes callers with what Microsoft Graph knows: names,
// kinds, owners of managed identities, and whether an account still exists.
//
// [Directory.Resolve] asks for a whole batch at once, within two seconds, and
// cannot fail: a caller that stays incomplete gets a note with the reason and,
// where one is missing, the permission. "Not found", "not shown" and "not asked"
// are different notes, since none of them proves another.
package directory

import (
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

	lru "github.com/hashicorp/golang-lru/v2"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/caller"
	"podwatch/handler/internal/outbound"
)

const (
	maxIDs     = 1000 // of one getByIds call, by Graph's own rule
	maxPages   = 10   // of one getByIds answer
	maxSingles = 8    // calls for one object each, of a batch
	maxCached  = 8192
)

// How long an answer is kept.
const (
	keepNamed   = time.Hour
	keepHidden  = 10 * time.Minute // an object whose name may not be read
	keepUnknown = time.Minute      // a new account takes moments to show
)

// A Directory knows Entra accounts by asking Microsoft Graph. The zero value
// makes no request and changes no caller. It is safe for concurrent use.
type Directory struct {
	lookup *outbound.Lookup
	cache  *lru.Cache[key, answer]
	now    func() time.Time
	plain  atomic.Bool // this server refuses $select for getByIds
}

// New returns a Directory that asks Microsoft Graph through c.
func New(c *outbound.Client, now func() time.Time, log *slog.Logger) *Directory {
	cache, _ := lru.New[key, answer](maxCached) // fails for a size below one only
	return &Directory{lookup: outbound.NewLookup(c, now, log), cache: cache, now: now}
}

// A key is what an account is asked for by.
type key struct{ by, value string }

// The members of an account that it can be asked for by. The values name the
// permission that each needs.
const (
	byID   = "Directory.Read.All"   // object id
	byApp  = "Application.Read.All" // application id
	byName = "User.Read.All"        // sign-in name
)

// An answer is what the directory returned. object is nil when it knows no such
// account; then unsure may be why its recycle bin could not be read.
type answer struct {
	object  *object
	deleted bool
	unsure  error
	asked   time.Time
	expires time.Time
}

// Resolve completes callers in place. They must not be read or changed meanwhile.
func (d *Directory) Resolve(ctx context.Context, callers []*caller.Caller) {
	if d.lookup == nil {
		return
	}
	ctx, cancel := outbound.WithBudget(ctx)
	defer cancel()

	b := batch{Directory: d, answers: map[key]answer{}, errs: map[key]error{}}
	var missing []key
	seen := map[key]bool{{}: true}
	for _, c := range callers {
		for _, k := range keysOf(c) {
			if seen[k] {
				continue
			}
			seen[k] = true
			if a, ok := d.cache.Get(k); ok && d.now().Before(a.expires) {
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
func keysOf(c *caller.Caller) (keys [3]key) {
	if c.Kind == caller.KindKubernetes || c.Kind == caller.KindExternalIdentity {
		return keys
	}
	id, hasID := arm.ParseGUID(c.ID)
	app, hasApp := arm.ParseGUID(c.AppID)
	switch person := c.Kind == caller.KindUser; {
	case hasID:
		keys[0] = key{byID, id}
	case hasApp && !person:
		keys[0] = key{byApp, app}
	case person && strings.Contains(c.Name, "@") && len(c.Name) <= 256:
		keys[0] = key{byName, strings.ToLower(c.Name)}
	}
	if hasApp && c.Kind == caller.KindUser && c.AppName == "" {
		keys[1] = key{byApp, app}
	}
	if group, ok := arm.ParseGUID(c.RoleGroup); ok {
		keys[2] = key{byID, group}
	}
	return keys
}

// A batch is the state of one Resolve.
type batch struct {
	*Directory

	mu      sync.Mutex
	answers map[key]answer
	errs    map[key]error // why there is no answer
}

// ask fetches what is missing: all object ids in one call, next to at most
// maxSingles calls for the others.
func (b *batch) ask(ctx context.Context, missing []key) {
	var ids, singles []key
	for _, k := range missing {
		if k.by == byID {
			ids = append(ids, k)
		} else {
			singles = append(singles, k)
		}
	}
	var g outbound.Group // its calls report into b
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
		found, err := b.getByIDs(ctx, chunk)
		for id, o := range found {
			b.keep(key{byID, id}, answer{object: o})
			if app, ok := arm.ParseGUID(o.AppID); ok {
				b.keep(key{byApp, app}, answer{object: o})
			}
		}
		for _, k := range chunk {
			switch {
			case found[k.value] != nil:
			case err != nil:
				b.fail(err, k)
			default:
				b.keep(k, answer{})
				unknown = append(unknown, k)
			}
		}
	}
	return unknown
}

// getByIDs returns what Graph knows by id, in whatever order it came. An error
// may come with a part of the answer.
func (d *Directory) getByIDs(ctx context.Context, ids []key) (map[string]*object, error) {
	values := make([]string, len(ids))
	for i, k := range ids {
		values[i] = k.value
	}
	const path = "v1.0/directoryObjects/getByIds"
	selected, plain := d.lookup.URL(path, url.Values{"$select": {userFields + "," + applicationFields}}), d.lookup.URL(path, nil)
	q := outbound.Question{
		URL:  selected,
		Body: map[string][]string{"ids": values, "types": {"user", "group", "servicePrincipal"}},
		Area: "objects",
	}
	if d.plain.Load() {
		q.URL = plain
	}
	found := make(map[string]*object, len(ids))
	for range maxPages {
		var page struct {
			Value []*object `json:"value"`
			Next  string    `json:"@odata.nextLink"`
		}
		err := d.lookup.Ask(ctx, q, &page)
		if outbound.Answered(err, http.StatusBadRequest) && q.URL == selected {
			// A server that does not take $select here, as Graph itself
			// once did not: ask again for the default properties.
			q.URL = plain
			continue
		}
		if err != nil {
			return found, err
		}
		if q.URL == plain {
			d.plain.Store(true)
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
		q = outbound.Question{URL: page.Next, Link: true, Area: q.Area}
	}
	return found, errTooMany
}

// askDeleted looks for an unknown id in the directory's recycle bin.
func (b *batch) askDeleted(ctx context.Context, k key) {
	var o object
	err := b.lookup.Ask(ctx, outbound.Question{URL: b.lookup.URL("v1.0/directory/deletedItems/"+k.value, nil), Area: "deleted items"}, &o)
	switch {
	case err == nil:
		b.keep(k, answer{object: &o, deleted: true})
	case !outbound.Answered(err, http.StatusNotFound):
		b.keep(k, answer{unsure: err})
	}
}

// askSingle asks for a service principal by application id, or for a user by
// name.
func (b *batch) askSingle(ctx context.Context, k key) {
	// "users/NAME" would not take a name that begins with "$".
	path, fields, kind := "users('"+url.PathEscape(strings.ReplaceAll(k.value, "'", "''"))+"')", userFields, user
	if k.by == byApp {
		path, fields, kind = "servicePrincipals(appId='"+k.value+"')", applicationFields, servicePrincipal
	}
	o := object{Type: kind} // a single answer names its type only where it is a derived one
	err := b.lookup.Ask(ctx, outbound.Question{
		URL: b.lookup.URL("v1.0/"+path, url.Values{"$select": {fields}}), Area: kind,
	}, &o)
	switch {
	case err == nil:
		b.keep(k, answer{object: &o})
	case outbound.Answered(err, http.StatusNotFound):
		b.keep(k, answer{})
	default:
		b.fail(err, k)
	}
}

func (b *batch) keep(k key, a answer) {
	a.asked = b.now()
	switch {
	case a.object == nil:
		a.expires = a.asked.Add(keepUnknown)
	case a.object.DisplayName == nil:
		a.expires = a.asked.Add(keepHidden)
	default:
		a.expires = a.asked.Add(keepNamed)
	}
	b.mu.Lock()
	b.answers[k] = a
	b.mu.Unlock()
	b.cache.Add(k, a)
}

// fail records why k has no answer. An answer that has expired is better than
// none: names rarely change.
func (b *batch) fail(err error, k key) {
	stale, ok := b.cache.Peek(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs[k] = err
	if ok && stale.object != nil {
		b.answers[k] = stale
	}
}

// complete applies the answers to c.
func (b *batch) complete(c *caller.Caller) {
	keys := keysOf(c)
	k := keys[0]
	a, ok := b.answers[k]
	err := b.errs[k]
	switch {
	case ok && a.object != nil:
		a.object.apply(c, a.deleted)
		if err != nil {
			c.Note("the directory's answer is from " + a.asked.UTC().Format(time.RFC3339) + ": " + err.Error())
		}
	case ok:
		c.Note(notFound(k, a))
	case err != nil:
		c.Note("not looked up in the directory: " + err.Error() + outbound.Remedy(err, k.by))
	}
	if name := b.name(keys[1]); name != "" {
		c.AppName = name
	} else if err := b.errs[keys[1]]; err != nil {
		c.Note("client application not looked up: " + err.Error() + outbound.Remedy(err, byApp))
	}
	if name := b.name(keys[2]); name != "" {
		c.RoleGroup = name
	}
}

func (b *batch) name(k key) string {
	if o := b.answers[k].object; o != nil {
		return o.name()
	}
	return ""
}

func notFound(k key, a answer) string {
	switch {
	case k.by == byApp:
		return "the application has no service principal in this tenant, or one created moments ago"
	case a.unsure != nil:
		return "not in this tenant's directory, unless created moments ago; whether it was deleted is not known: " + a.unsure.Error() + outbound.Remedy(a.unsure, byID)
	}
	return "not in this tenant's directory: an account of another tenant, one deleted for good, or created moments ago"
}
