package deployment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/hub"
)

// A State is the result of a check.
type State string

const (
	OK      State = "ok"
	Waiting State = "waiting" // not yet, and there is nothing to do
	Failed  State = "failed"  // until somebody follows Cure
)

// A Finding is one line of the page.
type Finding struct {
	Check string    `json:"check"`
	State State     `json:"state"`
	Says  string    `json:"says"`           // OK: what was seen; Waiting: for what; Failed: the cause
	Since time.Time `json:"since,omitzero"` // Waiting: since when, where that is known
	Cure  string    `json:"cure,omitempty"` // Failed
}

func ok(format string, args ...any) Finding {
	return Finding{State: OK, Says: fmt.Sprintf(format, args...)}
}

func waiting(since time.Time, format string, args ...any) Finding {
	return Finding{State: Waiting, Since: since.UTC(), Says: fmt.Sprintf(format, args...)}
}

func failed(cure, format string, args ...any) Finding {
	return Finding{State: Failed, Cure: cure, Says: fmt.Sprintf(format, args...)}
}

// A Page is what doctor found.
type Page struct {
	Subject  string    `json:"subject"` // what was examined
	Findings []Finding `json:"findings"`
}

func (p *Page) add(check string, f Finding) {
	f.Check = check
	p.Findings = append(p.Findings, f)
}

// State returns that of the worst line.
func (p *Page) State() State {
	worst := OK
	for _, f := range p.Findings {
		if f.State == Failed || f.State == Waiting && worst == OK {
			worst = f.State
		}
	}
	return worst
}

// Write prints the page for people. clean makes a text of Azure safe for a terminal.
func (p *Page) Write(w io.Writer, now time.Time, clean func(string) string) {
	fmt.Fprintf(w, "%s\n\n", clean(p.Subject))
	for _, f := range p.Findings {
		says := f.Says
		if f.State == Waiting {
			says = "for " + says
			if !f.Since.IsZero() {
				says = fmt.Sprintf("since %s (%s) %s", f.Since.Format("15:04 MST"), ago(now.Sub(f.Since)), says)
			}
		}
		fmt.Fprintf(w, "%-8s %-12s %s\n", f.State, f.Check, clean(says))
		if f.Cure != "" {
			fmt.Fprintf(w, "%-21s do: %s\n", "", clean(f.Cure))
		}
	}
}

// ago writes a time that has passed as people say it.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(max(d, 0).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Options steer [Examine].
type Options struct {
	Clusters []string // resource ids of clusters in other subscriptions that should export
	Send     bool     // put a synthetic deletion through the hub and wait for its row and card
	Version  string   // that the row must carry where no record says what was published
}

// A visit is one examination. What several checks need is read once.
type visit struct {
	*Deployment
	Options

	send    func(ctx context.Context, c hub.Connection, body []byte) error // tests have no hub
	latest  func(ctx context.Context, c hub.Connection) (time.Time, error)
	changed time.Time // the latest deployment or publication that is known
	history []published
	sent    Deletion          // the latest
	row     map[string]string // of a deletion, with the right version; nil: none has come
}

// A check makes one line.
type check struct {
	name      string
	run       func(*visit, context.Context) Finding
	essential bool // without it no row can come
}

// checks are the lines of the page in their order.
var checks = []check{
	{"deployment", (*visit).checkParts, true},
	{"package", (*visit).checkPackage, true},
	{"functions", (*visit).checkFunctions, true},
	{"host", (*visit).checkHost, true},
	{"teams", (*visit).checkReferences, false},
	{"rows", (*visit).checkRule, true},
	{"event hub", (*visit).checkHub, true},
	{"exporters", (*visit).checkExporters, false},
	{"sources", (*visit).checkSources, false},
	{"heartbeat", (*visit).checkHeartbeat, false},
	{"rules", (*visit).checkRules, false},
	{"queue", (*visit).checkQueue, false},
	{"unreadable", (*visit).checkUnreadable, false},
	{"errors", (*visit).checkErrors, false},
}

// Examine examines the deployment that t means. It changes nothing, but with
// Options.Send it asks for a refresh of references that are not resolved, and sends a
// deletion. An error is only that of ctx: what cannot be read is a line that failed.
func Examine(ctx context.Context, c *azure.Client, t Target, o Options) (*Page, error) {
	return examine(ctx, c, t, &visit{Options: o, send: sendBody, latest: hub.Latest})
}

func examine(ctx context.Context, c *azure.Client, t Target, v *visit) (*Page, error) {
	page := &Page{Subject: "podwatch in subscription " + t.Subscription}
	d, err := Find(ctx, c, t)
	if err != nil {
		page.add("deployment", notDeployed(ctx, c, t, err))
		return page, ctx.Err()
	}
	v.Deployment = d
	page.Subject = fmt.Sprintf("podwatch in resource group %s, region %s, function app %s", d.Group, d.Location, d.AppName())
	mayRun, complete := true, len(d.lacks()) == 0
	for _, ch := range checks {
		f := waiting(time.Time{}, "the deployment")
		if complete || ch.name == "deployment" {
			c.Say("looking at " + ch.name)
			f = ch.run(v, ctx)
		}
		page.add(ch.name, f)
		mayRun = mayRun && (f.State != Failed || !ch.essential)
	}
	if v.Send {
		v.sendAndWait(ctx, page, mayRun)
	}
	roles := waiting(time.Time{}, "the deployment")
	if complete {
		roles = v.checkRoles(ctx) // a row proves them
	}
	page.add("roles", roles)
	return page, ctx.Err()
}

// notDeployed makes the one line where no deployment is found.
func notDeployed(ctx context.Context, c *azure.Client, t Target, err error) Finding {
	f := failed("make deploy SUBSCRIPTION=... LOCATION=...", "%v", err)
	if !errors.Is(err, ErrNone) {
		f.Cure = azure.Explain(azure.Anywhere, err).Cure
	} else if t.Location != "" {
		if r, err := readRecord(ctx, c, t, "podwatch"); err == nil && r != nil {
			f = r.finding(f)
		}
	}
	return f
}

// problem is the line about something that could not be read or done: what passes by
// itself is awaited for that long after the latest change, and then failed.
func (v *visit) problem(where string, err error) Finding {
	return v.because(azure.Explain(where, err), err)
}

func (v *visit) because(cause azure.Cause, err error) Finding {
	says := cause.What
	if err != nil && strings.Contains(err.Error(), says) {
		says = err.Error()
	} else if err != nil {
		says = fmt.Sprintf("%s (%v)", says, err)
	}
	if cause.Passes > 0 && v.recently(cause.Passes) {
		return waiting(v.changed, "%s", says)
	}
	return failed(cmp.Or(cause.Cure, "run doctor again"), "%s", says)
}

// recently reports whether something was deployed or published within d.
func (v *visit) recently(d time.Duration) bool {
	return !v.changed.IsZero() && v.c.Now().Sub(v.changed) < d
}

// storageProblem is the line about storage that could not be read.
func (v *visit) storageProblem(err error) Finding {
	return v.because(azure.Cause{What: "the app's storage account could not be read",
		Cure: "you need Storage Blob and Queue Data Contributor on it (operatorPrincipalId); check its network rules", Passes: 10 * time.Minute}, err)
}

// connection is the event hub that the app reads.
func (v *visit) connection(ctx context.Context) (hub.Connection, error) {
	s, err := v.Settings(ctx)
	if err != nil {
		return hub.Connection{}, err
	}
	return hub.ConnectionFrom(func(name string) string { return s[name] }), nil
}
